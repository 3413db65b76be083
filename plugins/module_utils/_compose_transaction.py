# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps that take a project from one release to the next.

Until `commit` the old release is complete and serves, and whatever fails leads back to it. `commit` is one rename. What
comes after it only takes the old release away.

Standard library of Python 3.9 only. Private to this collection.
"""

from __future__ import annotations

import datetime
import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any

from . import _compose_assets as assets
from ._compose_host import DeployError, FileWish, point_at, write_file
from ._compose_project import UP_TIMEOUT, Project, masked_services, tail
from ._compose_seams import Answer
from ._compose_state import (
    Journal,
    keep_release,
    kept_releases,
    prune_releases,
    read_state,
    remove_sets,
    write_state,
)
from ._compose_wish import HOLD_ADDRESS, Deployed, Move, ServiceWish, Wish, compose_text, irreversible_between

STEPS = (
    "pull",
    "start",
    "health",
    "restore_point",
    "migrate",
    "ready",
    "switch",
    "verify",
    "commit",
    "drain",
    "retire",
)
#: A hook runs when everything before this step is done.
HOOKS = {"before_pull": "pull", "before_migrate": "restore_point", "before_switch": "switch", "after_switch": "commit"}
PULL_TIMEOUT = 1800.0
MIGRATE_TIMEOUT = 1800.0
#: Seconds that requests under way may take to end while new ones are held, and that new ones can be held at all.
HOLD_DRAIN = 3.0
#: Seconds in which a route that must answer has to.
ROUTE_TIMEOUT = 10.0
PGSAFE = "/usr/local/lib/sapflux/walg/pgsafe"
IRREVERSIBLE_LABEL = "com.sapflux.migration"


class Transaction:
    """One deployment under way: from `now` (None = nothing served yet) to `target`."""

    def __init__(self, project: Project, journal: Journal, wish: Wish, now: Deployed | None, target: Deployed) -> None:
        self.project = project
        self.layout = project.layout
        self.seams = project.seams
        self.journal = journal
        self.wish = wish
        self.now = now
        self.target = target
        self.set = self.layout.sets / journal.set

    # Who moves.

    def movers(self) -> list[tuple[ServiceWish, Move]]:
        """Services that get a new slot, in the order of the wish."""
        return [
            (service, move)
            for service in self.wish.services
            if (move := self.journal.move(service.name)) and move.target
        ]

    def leavers(self, held: bool | None = None) -> list[tuple[ServiceWish, Move]]:
        """Old services whose slots end; with `held` only those that are (not) held."""
        found = []
        for move in self.journal.moves:
            service = self.now.wish.service(move.service) if self.now else None
            if service and move.source and held in (None, move.hold):
                found.append((service, move))
        return found

    # Steps.

    def pull(self) -> None:
        """Fetch what is missing, before anything that runs is touched."""
        for image in sorted({service.image for service, _move in self.movers()}):
            if self.seams.engine.has_image(image):
                continue
            free = self.seams.free_mb(str(self.layout.root / "var/lib/docker"))
            if free < self.project.settings.disk_reserve_mb:
                raise DeployError(
                    f"{free} MB are free for images, {self.project.settings.disk_reserve_mb} MB are kept in reserve; "
                    f"make room (`docker system df` shows what takes it) before {image} is pulled"
                )
            ran = self.seams.run(["docker", "pull", "--quiet", image], PULL_TIMEOUT)
            if ran.rc != 0:
                said = tail(ran.output, 1) or f"docker pull ended with {ran.rc}"
                raise DeployError(f"the image {image} cannot be pulled: {said}. Try `docker pull {image}` on the host")

    def start(self) -> None:
        """Start the new slots beside the old ones; a held service's old slot stops first, and requests wait."""
        slots = self.project.definitions(self.target)
        for service, move in self.movers():
            if "entrypoint" in slots[service.slot(move.target)] and not slots[service.slot(move.target)]["command"]:
                raise DeployError(f"the image {service.image} says nothing of what it runs; give it an entrypoint")
        if self.now:
            staying = {service.slot(move.source) for service, move in self.leavers(held=False)}
            old = self.project.definitions(self.now)
            slots.update({slot: old[slot] for slot in staying if slot in old})
        write_file(self.layout.transit, FileWish(compose_text(self.wish, slots).encode(), 0o600))
        ran = self.project.compose(["config", "--quiet"], self.layout.transit)
        if ran.rc != 0:
            said = self.project.mask(tail(ran.output, 5))
            raise DeployError(f"Compose refuses the project {self.layout.project}: {said}")
        for service, _move in self.movers():
            assets.bridge(self.project, service)
        live = self.project.live_files(self.target)
        self.project.write({path: wish for path, wish in live.items() if path.parent != self.layout.upstream_home})
        self._hold()
        self.project.up(self.layout.transit, sorted(slots))

    def _hold(self) -> None:
        """Have Caddy keep the requests of held services while their old slots end."""
        held = self.leavers(held=True)
        if not held or self.now is None:
            return
        for service, move in held:
            self._gate(service, move, service.drain_timeout)
        for service, _move in held:
            self.project.point_upstream(service.name, HOLD_ADDRESS)
        for service, move in held:
            self.project.wait_idle(service.port(move.source), HOLD_DRAIN)
        self.project.stop(self.layout.current / "compose.json", [service.slot(move.source) for service, move in held])

    def health(self) -> None:
        """Every new slot answers."""
        self.project.wait_healthy(self.target, [service.name for service, _move in self.movers()])

    def restore_point(self) -> None:
        """Name the moment before the migrations in the WAL, and have the segment archived."""
        if not self.project.settings.restore_point or not any(s.database_socket for s, _move in self.movers()):
            return
        moment = datetime.datetime.fromtimestamp(self.seams.now(), datetime.timezone.utc)
        name = f"deploy_{self.journal.release}_{moment:%Y%m%dT%H%M%SZ}"
        as_postgres = ["runuser", "-u", "postgres", "--"]
        if (self.layout.root / PGSAFE.lstrip("/")).exists():
            ran = self.seams.run([*as_postgres, PGSAFE, "mark", name], UP_TIMEOUT)
        else:
            sql = f"SELECT pg_create_restore_point('{name}'); SELECT pg_switch_wal()"
            ran = self.seams.run([*as_postgres, "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql], UP_TIMEOUT)
        if ran.rc != 0:
            raise DeployError(f"no restore point could be made, so nothing was migrated: {tail(ran.output, 2)}")
        self.journal.restore_point = name

    def migrate(self) -> None:
        """Each image digest is migrated once."""
        remembered = read_state(self.layout).migrated
        for service, move in self.movers():
            if not service.migrate_path:
                continue
            known = service.digest in remembered.get(service.name, [])
            port = service.port(move.target)
            # Remembered as migrated, yet not ready: the database may be an older one put in place meanwhile.
            stale = known and service.ready_path and not self.seams.ask(port, "GET", service.ready_path).good
            if not known or stale:
                self._migrate(service, move)

    def _migrate(self, service: ServiceWish, move: Move) -> None:
        """Ask for the migrations and remember it. A cut in between repeats it, and a repeated one does nothing."""
        port = service.port(move.target)
        answer = self.seams.ask(port, "POST", service.migrate_path, MIGRATE_TIMEOUT)
        if not answer.good:
            said = f"POST http://127.0.0.1:{port}{service.migrate_path} says: {self.project.mask(str(answer))}"
            slot = service.slot(move.target)
            raise DeployError(self.project.with_logs(slot, f"service {service.name} could not migrate: {said}"))
        label = self.seams.engine.image_labels(service.image).get(IRREVERSIBLE_LABEL, "")
        state = read_state(self.layout)
        state.migrate(service.name, service.digest, service.migrate_irreversible or label == "irreversible")
        write_state(self.layout, state)
        self.journal.migrated.append(service.name)

    def ready(self) -> None:
        """Every new slot can work."""
        for service, move in self.movers():
            if service.ready_path:
                self.project.wait(service, move.target, service.ready_path, "did not become ready")

    def switch(self) -> None:
        """Lead requests to the new slots."""
        for service, move in self.movers():
            self.project.point_upstream(service.name, service.address(move.target))

    def verify(self) -> None:
        """Through Caddy every route answers as it must, and the new slots stay up for a while."""
        self._routes()
        began = {service.name: self._restarts(service, move) for service, move in self.movers()}
        deadline = self.seams.clock() + self.project.settings.watch_seconds
        while True:
            for service, move in self.movers():
                answer = self.seams.ask(service.port(move.target), "GET", service.health_path)
                if answer.good and self._restarts(service, move) == began[service.name]:
                    continue
                slot = service.slot(move.target)
                raise DeployError(
                    self.project.with_logs(
                        slot, f"service {service.name} did not last after the switch: {self.project.mask(str(answer))}"
                    )
                )
            if self.seams.clock() >= deadline:
                return
            self.seams.sleep(0.5)

    def _restarts(self, service: ServiceWish, move: Move) -> tuple[str, int]:
        details = self.project.details(service.slot(move.target))
        return str(details.get("Id", "")), int(details.get("RestartCount", 0))

    def _answers(self, probe: Mapping[str, Any], last: list[Answer]) -> bool:
        """Whether a route answers as it must; ``last`` takes what it answered."""
        last[0] = self.project.through_caddy(probe)
        return bool(last[0].status == probe["status"])

    def _routes(self) -> None:
        maintenance = self.layout.maintenance.exists()
        for probe in self.project.settings.probes:
            hidden = probe["status"] == 404
            if maintenance and not hidden:
                continue
            last = [Answer(0, "")]
            if not self.project.until(functools.partial(self._answers, probe, last), 0 if hidden else ROUTE_TIMEOUT):
                told = f"https://{probe['hostname']}{probe['path']} answers {self.project.mask(str(last[0]))}"
                raise DeployError(f"{told} through Caddy, it must answer {probe['status']}")

    def commit(self) -> None:
        """Make the new release the one that counts, by one rename; from here on there is no way back but a rollback."""
        state = read_state(self.layout)
        for service, _move in self.movers():
            done, barred = state.migrated.get(service.name, []), state.irreversible.get(service.name, [])
            if irreversible_between(done, barred, service.digest):
                # Allowed, because the database was restored: what it does not know any more is to be done again.
                state.forget_after(service.name, service.digest)
        self.project.write(self.project.set_files(self.target, self.set))
        content = json.dumps(self.target.dump(), sort_keys=True).encode()
        write_file(self.set / "deployed.json", FileWish(content, 0o600, secret=True))
        keep_release(self.layout, self.target)
        state.serve(self.target.release)
        write_state(self.layout, state)
        point_at(self.layout.current, f"sets/{self.journal.set}")
        self.project.install_unit(self.wish.unit)

    def drain(self) -> None:
        """Let the old slots end what they have begun."""
        running = self.project.containers()
        for service, move in self.leavers(held=False):
            if not any(item["State"] == "running" for item in running.get(service.slot(move.source), [])):
                continue
            began = self.seams.clock()
            port = service.port(move.source)
            if not self.project.wait_idle(port, service.drain_timeout):
                self.journal.warnings.append(
                    f"{service.slot(move.source)} still had {self.seams.connections(port)} open connections after "
                    f"{service.drain_timeout} s and was stopped"
                )
            self._gate(service, move, max(0.0, service.drain_timeout - (self.seams.clock() - began)))

    def _gate(self, service: ServiceWish, move: Move, seconds: float) -> None:
        """Wait until the database says that the service has nothing under way."""
        if service.drain_sql and not self.project.until(lambda: self._idle(service), seconds):
            self.journal.warnings.append(
                f"{service.slot(move.source)} still had work in the database {service.drain_database} after "
                f"{service.drain_timeout} s and was stopped"
            )

    def _idle(self, service: ServiceWish) -> bool:
        argv = [
            "runuser",
            "-u",
            "postgres",
            "--",
            "psql",
            "-XAtq",
            "-v",
            "ON_ERROR_STOP=1",
            "-d",
            service.drain_database,
        ]
        question = f"SET default_transaction_read_only = on; SET statement_timeout = '10s';\n{service.drain_sql}\n;\n"
        ran = self.seams.run([*argv, "-f", "-"], 30.0, question)
        if ran.rc != 0:
            raise DeployError(f"drain_sql of {service.name} cannot be asked: {tail(ran.output, 2)}")
        return all(line in ("", "0", "f") for line in ran.output.split())

    def retire(self) -> None:
        """Take the old slots away, and what nobody can need any more."""
        leaving = [service.slot(move.source) for service, move in self.leavers()]
        if leaving and self.layout.transit.exists():
            present = set(self.project.containers())
            stopping = [slot for slot in leaving if slot in present and slot in self.layout.transit.read_text()]
            if stopping:
                self.project.stop(self.layout.transit, stopping)
        self.project.remove_other_containers(self.target.slots)
        clean(self.project, self.target)
        state = read_state(self.layout)
        unused = prune_releases(self.layout, state, self.project.settings.keep_releases)
        for image in unused:
            # Another project may use it, and then the engine refuses; the pruning timer looks again.
            self.seams.run(["docker", "image", "rm", image], UP_TIMEOUT)
        kept = kept_releases(self.layout, state.history).values()
        assets.prune(self.project, masked_services(*(one.wish for one in kept)))


def clean(project: Project, deployed: Deployed) -> None:
    """Remove files of slots that are gone."""
    project.remove_stale(project.live_files(deployed))
    project.layout.transit.unlink(missing_ok=True)


def undo(project: Project, journal: Journal, now: Deployed | None, ports: Sequence[int] = ()) -> str:
    """Back to what served before, by itself; a sentence on what runs now. Safe to repeat.

    `ports` are those of the new slots: requests they have begun may end.
    """
    layout = project.layout
    for move in journal.moves:
        if not move.source:
            layout.upstream(move.service).unlink(missing_ok=True)
    if now is None:
        project.remove_other_containers([])
        _forget(project, journal, {})
        return "Nothing has served before; what was started is removed again."
    held = [move.service for move in journal.moves if move.hold]
    live = project.live_files(now)
    upstreams = {path: wish for path, wish in live.items() if path.parent == layout.upstream_home}
    for path, wish in upstreams.items():
        if path not in [layout.upstream(name) for name in held]:
            project.write({path: wish})
    for name in held:
        # Whoever asks for it waits, now for the old one.
        project.point_upstream(name, HOLD_ADDRESS)
    for port in ports:
        project.wait_idle(port, HOLD_DRAIN)
    project.remove_other_containers(now.slots)
    project.write({path: wish for path, wish in live.items() if path not in upstreams})
    running = project.containers()
    down = [slot for slot in now.slots if not any(item["State"] == "running" for item in running.get(slot, []))]
    if down:
        project.up(layout.current / "compose.json")
        project.wait_healthy(now)
    project.write(upstreams)
    _forget(project, journal, live)
    return f"Release {now.release} serves, as before."


def _forget(project: Project, journal: Journal, live: Mapping[Any, Any]) -> None:
    project.remove_stale(live)
    project.layout.transit.unlink(missing_ok=True)
    remove_sets(project.layout, [journal.source])
