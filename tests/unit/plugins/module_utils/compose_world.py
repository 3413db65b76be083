"""A host for deployment tests: files in a directory; engine, systemd and application are Python objects."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.sapflux.hosting.plugins.module_utils._compose_deploy import Deployment
from ansible_collections.sapflux.hosting.plugins.module_utils._compose_host import Layout, ServiceWish, Wish
from ansible_collections.sapflux.hosting.plugins.module_utils._compose_seams import Answer, Ran, Seams
from ansible_collections.sapflux.hosting.plugins.module_utils._docker_api import DockerError

PROJECT = "shop"
UNIT = "sapflux-app@shop.service"


class Cut(BaseException):
    """The run is killed here; nothing may catch it."""


@dataclass
class World:
    """State outlives a deployment; `cut_at` kills the run at that contact with the outside, counted from 0."""

    root: Path
    containers: dict[str, dict[str, Any]] = field(default_factory=dict)
    images: set[str] = field(default_factory=set)
    unpullable: set[str] = field(default_factory=set)
    behaviour: dict[str, Callable[[str, str], Answer]] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=lambda: {"ActiveState": "inactive", "UnitFileState": ""})
    asked: list[tuple[str, str]] = field(default_factory=list)
    ran: list[list[str]] = field(default_factory=list)
    log: str = ""
    engine_down: bool = False
    up_fails: str = ""
    now: float = 0.0
    contacts: int = 0
    cut_at: int | None = None
    made: int = 0

    def __post_init__(self) -> None:
        (self.root / "etc/systemd/system").mkdir(parents=True, exist_ok=True)

    def contact(self) -> None:
        """Count one contact with the outside, and be killed at the chosen one."""
        self.contacts += 1
        if self.cut_at is not None and self.contacts > self.cut_at:
            raise Cut

    @property
    def layout(self) -> Layout:
        return Layout(PROJECT, root=self.root)

    def deployment(self, wish: Wish) -> Deployment:
        """A deployment of the wish on this host."""
        return Deployment(wish, self.layout, Seams(Engine(self), self.run, self.ask, lambda: self.now, self.sleep))

    def tree(self) -> dict[str, tuple[int, int, bytes]]:
        """Every file: path -> mode, time of modification, content."""
        return {
            str(path): (path.stat().st_mode, path.stat().st_mtime_ns, path.read_bytes())
            for path in sorted(self.root.rglob("*"))
            if path.is_file()
        }

    def sleep(self, seconds: float) -> None:
        """Time passes at once."""
        self.now += seconds

    def run(self, argv: Sequence[str], timeout: float) -> Ran:
        """systemctl and docker, as far as a deployment uses them."""
        self.contact()
        assert timeout > 0
        words = list(argv)
        self.ran.append(words)
        if words[0] == "systemctl":
            return self._systemctl(words[1:])
        if words[1] == "pull":
            if words[-1] in self.unpullable:
                return Ran(1, "pulling\nmanifest unknown")
            self.images.add(words[-1])
            return Ran(0, "")
        return self._compose(words)

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
        if "config" in words:
            return Ran(0, "")
        if self.up_fails:
            return Ran(1, f"Container starting\n{self.up_fails}")
        document = yaml.safe_load(Path(words[words.index("--file") + 1]).read_text())
        for name in set(self.containers) - set(document["services"]):
            del self.containers[name]
        for name, service in document["services"].items():
            labels = {**service["labels"], "com.docker.compose.service": name}
            if name not in self.containers or self.containers[name]["Labels"] != labels:
                self.made += 1
                self.containers[name] = {
                    "Id": f"id{self.made}",
                    "Names": [f"/{PROJECT}-{name}-1"],
                    "Labels": labels,
                    "image": service["image"],
                    "restarts": 0,
                    "ending": 0,
                    "oom": False,
                }
            self.containers[name]["State"] = "running"
        return Ran(0, "")

    def ask(self, port: int, method: str, path: str, timeout: float = 5.0) -> Answer:
        """An application answers as its image's behaviour says, and well without one."""
        self.contact()
        assert timeout > 0
        name = {18080: "api", 18082: "web"}[port]
        container = self.containers.get(name)
        if container is None or container["State"] != "running":
            return Answer(0, "Connection refused")
        self.asked.append((method, path))
        behaviour = self.behaviour.get(container["image"])
        return behaviour(method, path) if behaviour else Answer(200, "ok")


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

    def logs(self, container: str, lines: int = 30) -> str:
        """What every container logs."""
        assert container
        return "\n".join(self.world.log.splitlines()[-lines:])


def image(version: int) -> str:
    """An image by digest."""
    return f"r.example/api@sha256:{version:064x}"


def service(name: str = "api", version: int = 1, hidden: str = "secret-one", **changes: Any) -> ServiceWish:
    """One service that migrates and tells when it is ready."""
    values: dict[str, Any] = {
        "name": name,
        "image": image(version),
        "definition": f'{{"image": "{image(version)}"}}',
        "secrets_env": f"TOKEN='{hidden}'\n",
        "uid": os.geteuid(),
        "gid": os.getegid(),
        "host_port": 18080 if name == "api" else 18082,
        "health_path": "/health",
        "health_timeout": 10,
        "ready_path": "/ready",
        "migrate_path": "/migrate",
    }
    return ServiceWish(**{**values, **changes})


def wish(*services: ServiceWish) -> Wish:
    """A project of these services, in the form the filter renders."""
    document = {
        "services": {
            item.name: {"image": item.image, "labels": {"com.sapflux.config-hash": f"sapflux-hash-of-{item.name}"}}
            for item in services
        }
    }
    return Wish(PROJECT, yaml.safe_dump(document), f"# unit of {len(services)}\n", services)
