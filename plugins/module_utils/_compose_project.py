# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One project on one host: what every way of changing it uses to look and to act.

Standard library of Python 3.9 only. Private to this collection.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from ._compose_host import DeployError, FileWish, Layout, Mask, file_matches, read_bytes, write_file
from ._compose_seams import LOG_LINES, Answer, Ran, Seams
from ._compose_secrets import sealed_values
from ._compose_state import Settings
from ._compose_wish import CA_NAME, HASH_LABEL, Deployed, ServiceWish, Wish, compose_text, definitions, upstreams

UP_TIMEOUT = 600.0
ENDED = ("restarting", "exited", "dead")
#: A container that came up and died this often will not come up by waiting.
RESTARTS_TOLERATED = 3
FAILURE_LINES = 2000
POLL = 0.2
#: What the name of a slot's directory of secrets ends with. It belongs to the container's user and to nobody else.
DIRECTORY = ".doppler"


def tail(text: str, lines: int) -> str:
    """The last lines of a text."""
    return "\n".join(text.rstrip().splitlines()[-lines:])


class Project:
    """Looks and acts; decides nothing."""

    def __init__(self, layout: Layout, seams: Seams, settings: Settings, masked: Sequence[ServiceWish]) -> None:
        self.layout = layout
        self.seams = seams
        self.settings = settings
        self.mask = Mask(masked, lambda: sealed_values(masked, layout, seams.cli))

    # Files.

    def definitions(self, deployed: Deployed) -> dict[str, dict[str, Any]]:
        """Every slot that serves, by its name. What an image runs follows the entrypoint that its slot is given."""
        found = definitions(deployed, self.layout.told_base)
        for slot, (service, _colour) in deployed.slots.items():
            if "entrypoint" in found[slot]:
                words = self.seams.engine.image_command(service.image)
                found[slot]["command"] = [word.replace("$", "$$") for word in words]
        return found

    def set_files(self, deployed: Deployed, directory: Path) -> dict[Path, FileWish]:
        """Everything a reboot needs of a release: its Compose file, secrets and upstreams."""
        slots = self.definitions(deployed)
        files = {directory / "compose.json": FileWish(compose_text(deployed.wish, slots).encode(), 0o600)}
        for slot, (service, _colour) in deployed.slots.items():
            if service.secrets_env:
                content = service.secrets_env.encode()
                files[directory / "secrets" / f"{slot}.env"] = FileWish(content, 0o400, service.uid, service.gid, True)
            for name, text in service.secret_files.items():
                place = directory / "secrets" / f"{slot}{DIRECTORY}"
                files[place / name] = FileWish(text.encode(), 0o400, service.uid, service.gid, True)
        for name, address in upstreams(deployed).items():
            files[directory / "upstreams" / self.layout.upstream(name).name] = FileWish(address.encode(), 0o644)
        return files

    def live_files(self, deployed: Deployed) -> dict[Path, FileWish]:
        """What containers and Caddy read: the authority, and in memory, where the unit puts it at a start, the rest."""
        found = {}
        for path, wish in self.set_files(deployed, Path()).items():
            if path.parts[0] == "secrets":
                found[self.layout.run / path.relative_to("secrets")] = wish
            if path.parts[0] == "upstreams":
                found[self.layout.upstream_home / path.name] = wish
        for service in deployed.wish.services:
            authority = self.layout.root / service.ca_file.lstrip("/")
            if service.ca_file and authority.exists():
                found[self.layout.base / CA_NAME] = FileWish(authority.read_bytes(), 0o644)
        return found

    def write(self, files: Mapping[Path, FileWish]) -> None:
        """Write what differs, each file at once."""
        for path, wish in files.items():
            if not file_matches(path, wish):
                path.parent.mkdir(parents=True, exist_ok=True)
                if path.parent.suffix == DIRECTORY:
                    os.chmod(path.parent, 0o700)
                    os.chown(path.parent, wish.uid, wish.gid)
                write_file(path, wish)

    def point_upstream(self, service: str, address: str) -> None:
        """Tell Caddy where a service is. It reads the file for each request, so this is all there is to a switch."""
        self.write({self.layout.upstream(service): FileWish(address.encode(), 0o644)})

    def remove_stale(self, wanted: Collection[Path]) -> None:
        """Secrets in memory and upstreams that no slot uses any more."""
        run = self.layout.run
        for path in (*run.glob("*.env"), *run.glob(f"*{DIRECTORY}/*"), *self.stale_upstreams(wanted)):
            if path not in wanted:
                path.unlink()
        for path in run.glob(f"*{DIRECTORY}"):
            if path not in [one.parent for one in wanted]:
                path.rmdir()

    def stale_upstreams(self, wanted: Collection[Path]) -> list[Path]:
        """Upstreams of services this project had once. A project whose name begins like ours is left alone."""
        before = set()
        for path in self.layout.sets.glob("*/upstreams/*"):
            before.add(self.layout.upstream_home / path.name)
        return sorted(path for path in before if path not in wanted and path.exists())

    # Programs.

    def compose(self, words: Sequence[str], path: Path, timeout: float = UP_TIMEOUT) -> Ran:
        """`docker compose` with one of the project's files."""
        project, base = self.layout.project, str(self.layout.base)
        where = ["--project-name", project, "--project-directory", base, "--file", str(path)]
        return self.seams.run(["docker", "compose", "--ansi", "never", *where, *words], timeout)

    def up(self, path: Path, slots: Sequence[str] = (), orphans: bool = False) -> None:
        """Start what the file says, or these slots of it; `orphans` = what it does not name is removed."""
        words = ["up", "--detach", "--no-build", "--pull", "never", *(["--remove-orphans"] if orphans else []), *slots]
        ran = self.compose(words, path)
        if ran.rc != 0:
            raise DeployError(f"the containers of {self.layout.project} do not start: {self.mask(tail(ran.output, 5))}")

    def stop(self, path: Path, slots: Sequence[str], timeout: float = UP_TIMEOUT) -> None:
        """Stop slots: SIGTERM, and after the service's grace SIGKILL."""
        ran = self.compose(["stop", *slots], path, timeout)
        if ran.rc != 0:
            raise DeployError(f"{', '.join(slots)} cannot be stopped: {self.mask(tail(ran.output, 3))}")

    def systemctl(self, *words: str) -> None:
        """systemctl, or DeployError with what it said."""
        ran = self.seams.run(["systemctl", *words], UP_TIMEOUT)
        if ran.rc != 0:
            raise DeployError(f"systemctl {' '.join(words)} failed: {tail(ran.output, 3)}")

    def unit_is_up(self) -> bool:
        """Whether the unit that brings everything back after a reboot is enabled and started."""
        shown = self.seams.run(
            ["systemctl", "show", "--property=ActiveState,UnitFileState", self.layout.unit_name], 30.0
        ).output.split()
        return "ActiveState=active" in shown and "UnitFileState=enabled" in shown

    def install_unit(self, text: str) -> None:
        """Write the unit when it differs, enable and start it; on a running project a start changes nothing."""
        wish = FileWish(text.encode(), 0o644)
        if not file_matches(self.layout.unit, wish):
            write_file(self.layout.unit, wish)
            self.systemctl("daemon-reload")
        if not self.unit_is_up():
            self.systemctl("enable", self.layout.unit_name)
            self.systemctl("start", self.layout.unit_name)

    # Containers.

    def containers(self) -> dict[str, list[dict[str, Any]]]:
        """Containers of the project by the name of their Compose service."""
        found: dict[str, list[dict[str, Any]]] = {}
        for container in self.seams.engine.containers(self.layout.project):
            found.setdefault(str(container["Labels"].get("com.docker.compose.service")), []).append(container)
        return found

    def container_problems(self, deployed: Deployed) -> list[str]:
        """How the running containers differ from what shall serve."""
        problems, found = [], self.containers()
        for slot, (service, _colour) in deployed.slots.items():
            mine = found.pop(slot, [])
            if len(mine) != 1:
                problems.append(f"{slot}: {'no container' if not mine else f'{len(mine)} containers'}")
            elif mine[0]["Labels"].get(HASH_LABEL) != deployed.hashes[service.name]:
                problems.append(f"{slot}: the container has another configuration")
            elif mine[0]["State"] != "running":
                problems.append(f"{slot}: the container is {mine[0]['State']}")
        return problems + [f"{name}: not wanted any more" for name in sorted(found)]

    def remove_other_containers(self, keep: Collection[str]) -> None:
        """Remove every container of the project but those of these slots."""
        gone = [item["Id"] for slot, items in self.containers().items() if slot not in keep for item in items]
        if gone:
            ran = self.seams.run(["docker", "rm", "--force", *gone], UP_TIMEOUT)
            if ran.rc != 0:
                raise DeployError(f"containers of {self.layout.project} cannot be removed: {tail(ran.output, 3)}")

    def details(self, slot: str) -> dict[str, Any]:
        """Everything the engine knows of a slot's container; {} when there is none."""
        found = self.containers().get(slot, [])
        return self.seams.engine.inspect(found[0]["Id"]) if found else {}

    def with_logs(self, slot: str, message: str) -> str:
        """The message with the last lines the container wrote; more of them are kept in a file."""
        found = self.containers().get(slot, [])
        logs = self.mask(self.seams.engine.logs(found[0]["Id"], FAILURE_LINES)) if found else ""
        write_file(self.layout.failure_log, FileWish(logs.encode(), 0o600))
        shown = tail(logs, LOG_LINES) or "(it logged nothing)"
        return f"{message}\nLast lines of its log (more in {self.layout.failure_log}):\n{shown}"

    # Asking the application.

    def wait(self, service: ServiceWish, colour: str, path: str, verdict: str) -> None:
        """Ask until the answer is good, the time is over, or the container is beyond hope."""
        slot, port = service.slot(colour), service.port(colour)
        deadline = self.seams.clock() + service.health_timeout
        restarts: int | None = None
        end: Mapping[str, Any] = {}
        while True:
            answer = self.seams.ask(port, "GET", path)
            if answer.good:
                return
            details = self.details(slot)
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
                why = cause(details, end) if hopeless else f"no good answer within {service.health_timeout} s"
                said = f"GET http://127.0.0.1:{port}{path} says: {self.mask(str(answer))}"
                raise DeployError(self.with_logs(slot, f"service {service.name} {verdict}: {why}; {said}"))
            self.seams.sleep(POLL)

    def wait_healthy(self, deployed: Deployed, only: Collection[str] | None = None) -> None:
        """Every service (or those of these names) answers on the port of its slot."""
        for service, colour in deployed.slots.values():
            if only is None or service.name in only:
                self.wait(service, colour, service.health_path, "did not become healthy")

    def through_caddy(self, probe: Mapping[str, Any]) -> Answer:
        """What the web server of this host says to {hostname, path}."""
        settings = self.settings
        return self.seams.edge(settings.edge_address, settings.edge_port, probe["hostname"], probe["path"])

    def wait_idle(self, port: int, seconds: float) -> bool:
        """Whether nothing was connected to a loopback port any more within the time."""
        return self.until(lambda: self.seams.connections(port) == 0, seconds)

    def until(self, done: Callable[[], bool], seconds: float) -> bool:
        """Whether it was so within the time."""
        deadline = self.seams.clock() + seconds
        while not done():
            if self.seams.clock() >= deadline:
                return False
            self.seams.sleep(POLL)
        return True


def cause(details: Mapping[str, Any], end: Mapping[str, Any]) -> str:
    """Why a container is beyond hope."""
    if not details:
        return "it has no container"
    if end.get("OOMKilled"):
        return "its container was stopped for using more memory than memory_mb allows"
    return "its container ends again and again" + (f" (exit code {end['ExitCode']})" if end else "")


def masked_services(*wishes: Wish | None) -> list[ServiceWish]:
    """Services whose secrets must not be shown: those that shall run and those that do."""
    return [service for wish in wishes if wish for service in wish.services]


def stored(path: Path) -> str:
    """Text of a small file; '' where there is none."""
    return (read_bytes(path) or b"").decode(errors="replace")
