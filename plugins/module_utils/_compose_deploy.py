# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bringing a Compose project to its wish: pull, install, up, wait for health, migrate, wait until ready, or put back.

Standard library of Python 3.9 only. Private to this collection.
"""

from __future__ import annotations

import datetime
import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ._compose_host import (
    DeployError,
    FileWish,
    Layout,
    Mask,
    ServiceWish,
    Wish,
    append_release,
    container_problems,
    diff_entry,
    file_matches,
    hashes,
    make_directories,
    make_key,
    read_good,
    read_key,
    read_state,
    release_id,
    stale_files,
    wanted_files,
    write_file,
    write_state,
)
from ._compose_seams import LOG_LINES, Ran, Seams
from ._docker_api import DockerError

LOCK_WAIT = 120.0
PULL_TIMEOUT = 1800.0
UP_TIMEOUT = 600.0
MIGRATE_TIMEOUT = 1800.0
MIGRATED_KEPT = 50
ENDED = ("restarting", "exited", "dead")
#: A container that came up and died this often will not come up by waiting.
RESTARTS_TOLERATED = 3


@dataclass
class Plan:
    """What differs: reasons for people, entries for Ansible's diff, and whether the unit file is new."""

    reasons: list[str] = field(default_factory=list)
    diff: list[dict[str, str]] = field(default_factory=list)
    unit_changed: bool = False


@dataclass
class Outcome:
    """What was done. `release` names the configuration; `migrated` lists the services that were migrated now."""

    changed: bool
    release: str
    reasons: list[str]
    diff: list[dict[str, str]]
    migrated: list[str] = field(default_factory=list)


def _tail(text: str, lines: int) -> str:
    return "\n".join(text.rstrip().splitlines()[-lines:])


class Deployment:
    """One project on one host."""

    def __init__(self, wish: Wish, layout: Layout, seams: Seams) -> None:
        self.wish = wish
        self.layout = layout
        self.seams = seams
        self.mask = Mask(wish.services)

    # Looking.

    def plan(self, forgive_missing_engine: bool = False) -> Plan:
        """Compare the host with the wish. In check mode a host without Docker is one where all is still to do."""
        known = hashes(self.wish, read_key(self.layout))
        plan = Plan()
        wanted = wanted_files(self.layout, self.wish, known)
        for path, wish in wanted.items():
            if not file_matches(path, wish):
                plan.reasons.append(f"{path} differs" if path.exists() else f"{path} is missing")
                plan.diff.append(diff_entry(path, wish))
                plan.unit_changed = plan.unit_changed or path == self.layout.unit
        plan.reasons += [f"{path} is not wanted any more" for path in stale_files(self.layout, wanted)]
        try:
            plan.reasons += container_problems(self.wish, known, self.seams.engine.containers(self.wish.project))
        except DockerError:
            if not forgive_missing_engine:
                raise
            plan.reasons.append("Docker does not answer yet")
        if not self._unit_is_up():
            plan.reasons.append(f"{self.layout.unit_name} is not enabled and started")
        if read_state(self.layout).applied != release_id(self.wish, known):
            plan.reasons.append("this configuration has not passed a deployment yet")
        return plan

    def _unit_is_up(self) -> bool:
        shown = self.seams.run(
            ["systemctl", "show", "--property=ActiveState,UnitFileState", self.layout.unit_name], 30.0
        ).output.split()
        return "ActiveState=active" in shown and "UnitFileState=enabled" in shown

    # Doing.

    def deploy(self) -> Outcome:
        """Make the wish true; when it cannot be, put back the release that passed last and raise DeployError."""
        make_directories(self.layout)
        with self.locked():
            plan = self.plan()
            if not plan.reasons:
                # The files and containers are right; whether the application answers is still worth one request each.
                self._wait_for_all()
                return Outcome(False, read_state(self.layout).applied, [], [])
            started = self.seams.clock()
            known = hashes(self.wish, make_key(self.layout))
            release = release_id(self.wish, known)
            try:
                self._pull()
            except DeployError as error:
                self._record(release, known, "refused", started, str(error))
                raise
            try:
                self._install(known)
                self._up()
                self._wait_for_all()
                migrated = self._migrate_and_wait_ready()
                self._start_unit()
            except DeployError as error:
                aftermath = self._put_back()
                self._record(release, known, "failed", started, str(error).splitlines()[0])
                raise DeployError(f"{error}\n{aftermath}") from error
            state = read_state(self.layout)
            state.applied = release
            write_file(self.layout.good, FileWish(self.wish.dump().encode(), 0o600))
            self._record(release, known, "ok", started, "")
            # Last, because from here on the next run takes this release for done.
            write_state(self.layout, state)
            return Outcome(True, release, plan.reasons, plan.diff, migrated)

    @contextmanager
    def locked(self) -> Iterator[None]:
        handle = os.open(self.layout.lock, os.O_RDWR | os.O_CREAT, 0o600)
        deadline = self.seams.clock() + LOCK_WAIT
        try:
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if self.seams.clock() > deadline:
                        raise DeployError(
                            f"another deployment of {self.wish.project} is running; run again when it has ended"
                        ) from None
                    self.seams.sleep(0.5)
            yield
        finally:
            os.close(handle)

    def _pull(self) -> None:
        """Fetch what is missing, before anything that runs is touched."""
        for image in sorted({service.image for service in self.wish.services}):
            if self.seams.engine.has_image(image):
                continue
            ran = self.seams.run(["docker", "pull", "--quiet", image], PULL_TIMEOUT)
            if ran.rc != 0:
                good = read_good(self.layout)
                still = (
                    f"what ran before still runs (release {read_state(self.layout).applied})"
                    if good
                    else "nothing runs yet"
                )
                cause = _tail(ran.output, 1) or f"docker pull ended with {ran.rc}"
                raise DeployError(
                    f"the image {image} cannot be pulled: {cause}. Nothing was changed; {still}. "
                    f"Try `docker pull {image}` on the host."
                )

    def _install(self, known: Mapping[str, str]) -> None:
        """Check the Compose file with Compose itself, then write all files and let systemd know."""
        wanted = wanted_files(self.layout, self.wish, known)
        staged = self.layout.base / "compose.staged.yaml"
        write_file(staged, wanted[self.layout.compose])
        try:
            ran = self._compose(["config", "--quiet"], UP_TIMEOUT, staged.name)
            if ran.rc != 0:
                raise DeployError(f"Compose refuses the project {self.wish.project}: {self.mask(_tail(ran.output, 5))}")
        finally:
            staged.unlink(missing_ok=True)
        unit_changed = False
        for path, wish in wanted.items():
            if not file_matches(path, wish):
                write_file(path, wish)
                unit_changed = unit_changed or path == self.layout.unit
        if unit_changed:
            self.systemctl("daemon-reload")

    def _compose(self, words: Sequence[str], timeout: float, name: str = "compose.yaml") -> Ran:
        where = [
            "--project-name",
            self.wish.project,
            "--project-directory",
            str(self.layout.base),
            "--file",
            str(self.layout.base / name),
        ]
        return self.seams.run(["docker", "compose", "--ansi", "never", *where, *words], timeout)

    def _up(self) -> None:
        ran = self._compose(["up", "--detach", "--no-build", "--pull", "never", "--remove-orphans"], UP_TIMEOUT)
        if ran.rc != 0:
            raise DeployError(f"the containers of {self.wish.project} do not start: {self.mask(_tail(ran.output, 5))}")
        # Only now: a container that is gone can no longer miss its secrets.
        for path in stale_files(self.layout, wanted_files(self.layout, self.wish, {})):
            path.unlink(missing_ok=True)

    def systemctl(self, *words: str) -> None:
        ran = self.seams.run(["systemctl", *words], UP_TIMEOUT)
        if ran.rc != 0:
            raise DeployError(f"systemctl {' '.join(words)} failed: {_tail(ran.output, 3)}")

    def _start_unit(self) -> None:
        """The unit makes a reboot work; on a running project its start changes nothing."""
        if not self._unit_is_up():
            self.systemctl("enable", self.layout.unit_name)
            self.systemctl("start", self.layout.unit_name)

    # Asking the application.

    def _container(self, service: ServiceWish) -> dict[str, Any]:
        for container in self.seams.engine.containers(self.wish.project):
            if container["Labels"].get("com.docker.compose.service") == service.name:
                return self.seams.engine.inspect(container["Id"])
        return {}

    def _wait_for_all(self) -> None:
        for service in self.wish.services:
            self._wait(service, service.health_path, "did not become healthy")

    def _wait(self, service: ServiceWish, path: str, verdict: str) -> None:
        """Ask until the answer is good, the time is over, or the container is beyond hope."""
        deadline = self.seams.clock() + service.health_timeout
        restarts: int | None = None
        end: Mapping[str, Any] = {}
        while True:
            answer = self.seams.ask(service.host_port, "GET", path)
            if answer.good:
                return
            details = self._container(service)
            state = details.get("State", {})
            count = int(details.get("RestartCount", 0))
            restarts = count if restarts is None else restarts
            if state.get("Status") in ENDED:
                # Kept, because a container that is up again for a moment no longer tells how it ended.
                end = state
            hopeless = (
                not details or state.get("Status") in ("exited", "dead") or count - restarts >= RESTARTS_TOLERATED
            )
            if hopeless or self.seams.clock() >= deadline:
                why = self._cause(details, end) if hopeless else f"no good answer within {service.health_timeout} s"
                url = f"http://127.0.0.1:{service.host_port}{path}"
                raise DeployError(
                    self._with_logs(
                        service, f"service {service.name} {verdict}: {why}; GET {url} says: {self.mask(str(answer))}"
                    )
                )
            self.seams.sleep(0.5)

    @staticmethod
    def _cause(details: Mapping[str, Any], end: Mapping[str, Any]) -> str:
        if not details:
            return "it has no container"
        if end.get("OOMKilled"):
            return "its container was stopped for using more memory than memory_mb allows"
        return "its container ends again and again" + (f" (exit code {end['ExitCode']})" if end else "")

    def _with_logs(self, service: ServiceWish, message: str) -> str:
        container = self._container(service)
        logs = _tail(self.mask(self.seams.engine.logs(container["Id"], LOG_LINES)), LOG_LINES) if container else ""
        return f"{message}\nLast lines of its log:\n{logs or '(it logged nothing)'}"

    def _migrate(self, service: ServiceWish) -> None:
        """Ask for the migrations and remember it. A cut in between repeats it, and a repeated one does nothing."""
        answer = self.seams.ask(service.host_port, "POST", service.migrate_path, MIGRATE_TIMEOUT)
        if not answer.good:
            url = f"http://127.0.0.1:{service.host_port}{service.migrate_path}"
            raise DeployError(
                self._with_logs(
                    service, f"service {service.name} could not migrate: POST {url} says: {self.mask(str(answer))}"
                )
            )
        state = read_state(self.layout)
        done = [digest for digest in state.migrated.get(service.name, []) if digest != service.digest]
        state.migrated[service.name] = [*done, service.digest][-MIGRATED_KEPT:]
        write_state(self.layout, state)

    def _migrate_and_wait_ready(self) -> list[str]:
        """Each image digest is migrated once; names of the services that were migrated now."""
        remembered = read_state(self.layout).migrated
        migrated = []
        for service in self.wish.services:
            wanted = bool(service.migrate_path)
            if wanted and service.digest not in remembered.get(service.name, []):
                self._migrate(service)
                migrated.append(service.name)
            elif (
                wanted and service.ready_path and not self.seams.ask(service.host_port, "GET", service.ready_path).good
            ):
                # Remembered as migrated, yet not ready: the database may be an older one put in place meanwhile.
                self._migrate(service)
                migrated.append(service.name)
            if service.ready_path:
                self._wait(service, service.ready_path, "did not become ready")
        return migrated

    # After a failure.

    def _put_back(self) -> str:
        """Bring back the release that passed last; a sentence on what runs now."""
        good = read_good(self.layout)
        if good is None:
            return "No release has passed before; the containers are left for you to look at (`docker ps --all`)."
        if good == self.wish:
            return "This is the release that passed last; its containers are left as they are (`docker ps --all`)."
        earlier = Deployment(good, self.layout, self.seams)
        known = hashes(good, make_key(self.layout))
        name = release_id(good, known)
        try:
            earlier._install(known)
            earlier._up()
            earlier._wait_for_all()
            state = read_state(self.layout)
            state.applied = name
            write_state(self.layout, state)
        except (DeployError, DockerError) as error:
            return f"Putting back release {name} failed too, look at `docker ps --all`: {str(error).splitlines()[0]}"
        return f"Release {name} was put back and runs."

    def _record(self, release: str, known: Mapping[str, str], verdict: str, started: float, reason: str) -> None:
        append_release(
            self.layout,
            {
                "when": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
                "project": self.wish.project,
                "release": release,
                "services": {
                    s.name: {"image": s.image, "digest": s.digest, "config_hash": known[s.name]}
                    for s in self.wish.services
                },
                "verdict": verdict,
                "reason": reason,
                "seconds": round(self.seams.clock() - started, 1),
            },
        )
