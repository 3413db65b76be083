"""A host for deployment tests: files in a directory; engine, systemd, Caddy and the application are Python objects."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.sapflux.hosting.plugins.module_utils._compose_deploy import Deployment, Outcome, Request
from ansible_collections.sapflux.hosting.plugins.module_utils._compose_doppler import Run, run_cli
from ansible_collections.sapflux.hosting.plugins.module_utils._compose_host import Layout
from ansible_collections.sapflux.hosting.plugins.module_utils._compose_seams import Answer, Ran, Seams
from ansible_collections.sapflux.hosting.plugins.module_utils._compose_state import Settings
from ansible_collections.sapflux.hosting.plugins.module_utils._compose_wish import HOLD_ADDRESS, ServiceWish, Wish
from ansible_collections.sapflux.hosting.plugins.module_utils._docker_api import DockerError

PROJECT = "shop"
UNIT = "sapflux-app@shop.service"
PROBES = (
    {"hostname": "api.example.org", "path": "/health", "status": 200},
    {"hostname": "api.example.org", "path": "/admin", "status": 404},
)
Behaviour = Callable[[str, str], Answer]


class Cut(BaseException):
    """The run is killed here; nothing may catch it."""


@dataclass
class World:
    """State outlives a deployment; `cut_at` kills the run at that contact with the outside, counted from 0."""

    root: Path
    containers: dict[str, dict[str, Any]] = field(default_factory=dict)
    images: set[str] = field(default_factory=set)
    labels: dict[str, dict[str, str]] = field(default_factory=dict)
    contents: dict[str, dict[str, str]] = field(default_factory=dict)
    unpullable: set[str] = field(default_factory=set)
    behaviour: dict[str, Behaviour] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=lambda: {"ActiveState": "inactive", "UnitFileState": ""})
    asked: list[tuple[str, str]] = field(default_factory=list)
    ran: list[list[str]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    open: dict[int, int] = field(default_factory=dict)
    busy: int = 0
    hidden: int = 404
    caddy_down: bool = False
    memory: int = 1024
    disk: int = 10_000
    foreign_ports: set[int] = field(default_factory=set)
    log: str = ""
    engine_down: bool = False
    up_fails: str = ""
    sql_fails: bool = False
    settings: Settings = field(default_factory=Settings)
    cli: Run = run_cli
    now: float = 0.0
    contacts: int = 0
    cut_at: int | None = None
    made: int = 0
    unserved: list[str] = field(default_factory=list)
    watched: str = ""

    def __post_init__(self) -> None:
        (self.root / "etc/systemd/system").mkdir(parents=True, exist_ok=True)

    def contact(self) -> None:
        """Count one contact with the outside, be killed at the chosen one, and see that a watched service serves."""
        if self.watched and not self.serves(self.watched):
            self.unserved.append(f"at contact {self.contacts}: {self.ran[-1] if self.ran else ''}")
        self.contacts += 1
        if self.cut_at is not None and self.contacts > self.cut_at:
            raise Cut

    def serves(self, name: str) -> bool:
        """Whether a request to a service would be answered, or be kept by Caddy until it is."""
        address = self.upstream(name)
        if address == HOLD_ADDRESS:
            return True
        slot = self.at_port(int(address.rpartition(":")[2])) if address else None
        return slot is not None

    def upstream(self, name: str = "api") -> str:
        """What Caddy reads."""
        path = self.layout.upstream(name)
        return path.read_text() if path.exists() else ""

    def at_port(self, port: int) -> dict[str, Any] | None:
        """The running container behind a loopback port."""
        return next((c for c in self.containers.values() if c["port"] == port and c["State"] == "running"), None)

    @property
    def layout(self) -> Layout:
        return Layout(PROJECT, root=self.root)

    @property
    def seams(self) -> Seams:
        """What a deployment reaches."""
        return Seams(
            engine=Engine(self),
            run=self.run,
            cli=self.cli,
            ask=self.ask,
            edge=self.edge,
            connections=lambda port: self.open.get(port, 0),
            listening=lambda port: port in self.foreign_ports or self.at_port(port) is not None,
            available_mb=lambda: self.memory,
            free_mb=lambda _path: self.disk,
            clock=lambda: self.now,
            sleep=self.sleep,
            now=lambda: 1_800_000_000.0 + self.now,
        )

    def deployment(self, wish: Wish) -> Deployment:
        """A deployment of the wish on this host."""
        return Deployment(wish, self.layout, self.seams, self.settings)

    def deploy(self, wish: Wish, **request: Any) -> Outcome:
        """Deploy."""
        return self.deployment(wish).deploy(Request("tester", **request))

    def tree(self) -> dict[str, tuple[int, int, bytes]]:
        """Every file: path -> mode, time of modification, content."""
        return {
            str(path): (path.stat().st_mode, path.stat().st_mtime_ns, path.read_bytes())
            for path in sorted(self.root.rglob("*"))
            if path.is_file()
        }

    def receipts(self) -> list[dict[str, Any]]:
        """The record of deployments."""
        return [json.loads(line) for line in self.layout.receipts.read_text().splitlines()]

    def sleep(self, seconds: float) -> None:
        """Time passes at once."""
        self.now += seconds

    def reboot(self) -> None:
        """Everything in memory is gone; then systemd starts the unit, which copies and runs what `current` names."""
        shutil.rmtree(self.layout.run)
        for container in self.containers.values():
            container["State"] = "exited"
        if self.units["UnitFileState"] != "enabled":
            return
        current = self.layout.current
        if (current / "secrets").exists():
            shutil.copytree(current / "secrets", self.layout.run)
        for path in (current / "upstreams").glob("*"):
            (self.layout.upstream_home / path.name).write_bytes(path.read_bytes())
        self._up(json.loads((current / "compose.json").read_text()), [], orphans=True)

    # Programs.

    def run(self, argv: Sequence[str], timeout: float, given: str = "") -> Ran:
        """systemctl, docker and psql, as far as a deployment uses them."""
        self.contact()
        assert timeout >= 0
        words = list(argv)
        self.ran.append(words)
        self.told.append(given)
        if words[0] == "systemctl":
            return self._systemctl(words[1:])
        if words[0] == "runuser":
            return Ran(1, "ERROR: no") if self.sql_fails else Ran(0, f"{self.busy}\n")
        handlers: Mapping[str, Callable[[list[str]], Ran]] = {
            "pull": self._pull,
            "rm": self._rm,
            "create": lambda _words: Ran(0, "assets1\n"),
            "cp": self._cp,
            "image": self._image_rm,
            "compose": self._compose,
        }
        return handlers[words[1]](words)

    def _pull(self, words: list[str]) -> Ran:
        if words[-1] in self.unpullable:
            return Ran(1, "pulling\nmanifest unknown")
        self.images.add(words[-1])
        return Ran(0, "")

    def _image_rm(self, words: list[str]) -> Ran:
        self.images.discard(words[-1])
        return Ran(0, "")

    def _rm(self, words: list[str]) -> Ran:
        for slot in [slot for slot, item in self.containers.items() if item["Id"] in words]:
            del self.containers[slot]
        return Ran(0, "")

    def _cp(self, words: list[str]) -> Ran:
        created = next(argv for argv in reversed(self.ran) if argv[:2] == ["docker", "create"])
        for name, text in self.contents.get(created[2], {}).items():
            path = Path(words[-1], name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return Ran(0, "")

    def _systemctl(self, words: list[str]) -> Ran:
        if words[0] == "show":
            return Ran(0, "".join(f"{key}={value}\n" for key, value in self.units.items()))
        if words[0] == "enable":
            self.units["UnitFileState"] = "enabled"
        if words[0] == "start":
            self.units["ActiveState"] = "active"
        if words[0] == "disable":
            self.units.update(ActiveState="inactive", UnitFileState="")
        return Ran(0, "")

    def _compose(self, words: list[str]) -> Ran:
        if "down" in words:
            self.containers.clear()
            return Ran(0, "")
        document = json.loads(Path(words[words.index("--file") + 1]).read_text())
        verb = words[words.index("--file") + 2]
        if verb == "stop":
            for slot in words[words.index("stop") + 1 :]:
                assert slot in document["services"]
                if slot in self.containers:
                    self.containers[slot]["State"] = "exited"
        if verb == "up":
            if self.up_fails:
                return Ran(1, f"Container starting\n{self.up_fails}")
            return self._up(
                document, [word for word in words if word in document["services"]], "--remove-orphans" in words
            )
        return Ran(0, "")

    def _up(self, document: dict[str, Any], slots: list[str], orphans: bool) -> Ran:
        for slot in set(self.containers) - set(document["services"]) if orphans else ():
            del self.containers[slot]
        for slot, service in document["services"].items():
            if slots and slot not in slots:
                continue
            port = int(service["ports"][0].split(":")[1])
            held = self.at_port(port)
            if held and held is not self.containers.get(slot):
                return Ran(1, f"Bind for 127.0.0.1:{port} failed: port is already allocated")
            for mount in service.get("volumes", []):
                assert (self.root / mount["source"].lstrip("/")).exists()
            labels = {**service["labels"], "com.docker.compose.service": slot}
            if slot not in self.containers or self.containers[slot]["Labels"] != labels:
                self.made += 1
                self.containers[slot] = {
                    "Id": f"id{self.made}",
                    "Names": [f"/{PROJECT}-{slot}-1"],
                    "Labels": labels,
                    "image": service["image"],
                    "port": port,
                    "restarts": 0,
                    "ending": 0,
                    "oom": False,
                }
            self.containers[slot]["State"] = "running"
        return Ran(0, "")

    # The application and what is in front of it.

    def ask(self, port: int, method: str, path: str, timeout: float = 5.0) -> Answer:
        """An application answers as its image's behaviour says, and well without one."""
        self.contact()
        assert timeout > 0
        container = self.at_port(port)
        if container is None:
            return Answer(0, "Connection refused")
        self.asked.append((method, path))
        behaviour = self.behaviour.get(container["image"])
        return behaviour(method, path) if behaviour else Answer(200, "ok")

    def edge(self, address: str, port: int, hostname: str, path: str) -> Answer:
        """Caddy: hidden paths are 404, the others go where the upstream file says."""
        self.contact()
        assert (address, port) == ("127.0.0.1", 443)
        if self.caddy_down:
            return Answer(0, "Connection refused")
        if path.startswith("/admin"):
            return Answer(self.hidden, "")
        upstream = self.upstream(hostname.split(".")[0])
        answer = self.ask(int(upstream.rpartition(":")[2]), "GET", path) if upstream else Answer(0, "")
        return answer if answer.status else Answer(502, "")


class Engine:
    """The engine's side of a world."""

    def __init__(self, world: World) -> None:
        self.world = world

    def containers(self, project: str) -> list[dict[str, Any]]:
        """As the engine lists them; DockerError while it is down."""
        assert project == PROJECT
        self.world.contact()
        if self.world.engine_down:
            raise DockerError("Docker does not answer")
        return list(self.world.containers.values())

    def inspect(self, container: str) -> dict[str, Any]:
        """State and restarts of one container; one that keeps ending has one restart more at every question."""
        found = next(item for item in self.world.containers.values() if item["Id"] == container)
        found["restarts"] += found["ending"]
        state = {"Status": found["State"], "ExitCode": 3, "OOMKilled": found["oom"]}
        return {"Id": container, "State": state, "RestartCount": found["restarts"]}

    def has_image(self, reference: str) -> bool:
        """Whether the image was pulled."""
        self.world.contact()
        return reference in self.world.images

    def image_labels(self, reference: str) -> dict[str, str]:
        """Labels of an image."""
        return self.world.labels.get(reference, {})

    def image_command(self, reference: str) -> list[str]:
        """What an image runs, once it was pulled."""
        return ["/server", "$HOME"] if reference in self.world.images else []

    def logs(self, container: str, lines: int = 30) -> str:
        """What every container logs."""
        assert container
        return "\n".join(self.world.log.splitlines()[-lines:])


def image(version: int) -> str:
    """An image by digest."""
    return f"r.example/api@sha256:{version:064x}"


def service(name: str = "api", version: int = 1, hidden: str = "secret-one", **changes: Any) -> ServiceWish:
    """One service that migrates and tells when it is ready."""
    mounts = [{"source": "/run/sapflux/app/shop/{sapflux:slot}.env", "target": "/run/secrets/env"}]
    mounts += [
        {"source": f"{{sapflux:base}}/assets/{name}/{number}", "target": path}
        for number, path in enumerate(changes.get("assets", ()))
    ]
    definition = {"image": image(version), "ports": ["127.0.0.1:{sapflux:port}:8080"], "volumes": mounts}
    values: dict[str, Any] = {
        "name": name,
        "image": image(version),
        "definition": json.dumps(definition),
        "secrets_env": f"TOKEN='{hidden}'\n",
        "uid": os.geteuid(),
        "gid": os.getegid(),
        "host_port": 18080 if name == "api" else 18082,
        "standby_port": 18081 if name == "api" else 18083,
        "health_path": "/health",
        "health_timeout": 10,
        "ready_path": "/ready",
        "migrate_path": "/migrate",
        "drain_timeout": 20,
    }
    return ServiceWish(**{**values, **changes})


def wish(*services: ServiceWish) -> Wish:
    """A project of these services, in the form the filter renders."""
    return Wish(PROJECT, json.dumps({"name": PROJECT}), "# unit\n", services)
