"""A host that is files in a folder, a ruleset, a timer and a clock; and a controller that reaches it or does not."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.sapflux.hosting.plugins.module_utils import _lockdown as controller

from roles.firewall.files.lockdown_parts import lifeline, protocol
from roles.firewall.files.lockdown_parts.host import Config, Host, LockdownError

OPEN = "sapflux 00000000000000aa"
LOCKED = "sapflux 00000000000000bb"
OPERATOR = ["203.0.113.0/24", "2001:db8::/32"]
WAN = "198.51.100.1"
SETS = ("ssh_rescue4", "ssh_rescue6", "ssh_grant4", "ssh_grant6")
WATCH = 20.0
RESCUE = 120
#: Rules as text: a file of the role is known by the comment of its table.
TEXT = {name: f'table inet sapflux {{\n\tcomment "{name}"\n}}\n' for name in (OPEN, LOCKED)}


class KilledError(BaseException):
    """The process that did this is gone; nothing catches it."""


class World:
    """The host. `kill_at` ends the program before its n-th act (1 = the first), `full` names files without room."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self.now = 1000.0
        self.kernel: str | None = OPEN
        self.sets: dict[str, dict[str, float]] = {name: {} for name in SETS}
        self.timer: tuple[float, str] | None = None
        self.tailnet = True
        self.online = True
        self.tags = ["tag:server"]
        self.expiry = ""
        self.state = "Running"
        self.sshd = True
        self.timer_breaks = False
        self.full: Callable[[str], bool] = lambda _path: False
        self.kill_at = 0
        self.acts = 0
        self.commands: list[list[str]] = []
        self.config = Config("/etc/nftables.d/sapflux.nft", "eth0", "tailscale0", "tailscale", 22, OPERATOR, RESCUE, 20)
        self.write(self.config.rules, TEXT[OPEN])
        self.write("/etc/machine-id", "m1\n")

    def write(self, path: str, content: str) -> None:
        """Put a file there, past the program."""
        place = Path(self.root + path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content)

    def read(self, path: str) -> str:
        """A file's text, "" without it."""
        place = Path(self.root + path)
        return place.read_text() if place.exists() else ""

    def host(self) -> Host:
        """The program's view of it: a new one for every run of the program."""
        world = self

        class Watched(Host):
            def stage(self, path: str, content: str, mode: int = 0o640) -> str:
                world.act()
                if world.full(path):
                    raise LockdownError(f"{path} cannot be written: No space left on device; free some space")
                return super().stage(path, content, mode)

            def install(self, staged: str, path: str) -> None:
                world.act()
                super().install(staged, path)

        return Watched(self.config, self.root, self.run, lambda: self.now, lambda _port: self.sshd)

    def act(self) -> None:
        """Count what could be the last act."""
        self.acts += 1
        if self.acts == self.kill_at:
            raise KilledError

    # what happens by itself

    def advance(self, seconds: float, looks: bool = True) -> None:
        """Let time pass: the timer fires, the kernel ends what has a time, the watch looks every 20 s."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + 1)
            if self.timer and self.now >= self.timer[0]:
                # nft itself, whatever became of the program.
                self.load(self.read(self.timer[1].removeprefix(self.root)))
                self.timer = None
            for elements in self.sets.values():
                for network in [network for network, until in elements.items() if until <= self.now]:
                    del elements[network]
            if looks and self.now % WATCH == 0:
                kept, self.kill_at = self.kill_at, 0
                lifeline.watch(self.host())
                self.kill_at = kept

    def reboot(self) -> None:
        """What is in memory is gone, what is on the disk is loaded."""
        self.timer = None
        shutil.rmtree(self.root + "/run", ignore_errors=True)
        self.load(self.read(self.config.rules))

    def load(self, rules: str) -> None:
        """Replace the table."""
        found = re.search(r'comment "([^"]*)"', rules)
        assert found, f"nothing to load: {rules!r}"
        self.kernel = found[1]
        self.sets = {name: {} for name in SETS}

    def open_outside(self) -> bool:
        """Whether the operator gets in from outside."""
        return self.kernel in (OPEN, None) or "203.0.113.0/24" in self.sets["ssh_rescue4"]

    # the programs

    def run(self, argv: list[str], stdin: str, seconds: float) -> tuple[int, str, str]:
        """Answer as nft, systemd, ip and tailscale do."""
        del seconds
        self.commands.append(argv)
        self.act()
        name = Path(argv[0]).name
        if name == "nft":
            return self._nft(argv[1:], stdin)
        if name == "systemd-run":
            return self._systemd_run(argv)
        if name == "systemctl":
            return self._systemctl(argv[1:])
        if name == "ip":
            address = {"eth0": WAN, "tailscale0": "100.64.0.5"}[argv[-1]]
            up = argv[-1] == "eth0" or self.tailnet
            info = [{"local": address, "scope": "global"}]
            return (0, json.dumps([{"flags": ["UP"], "addr_info": info}]), "") if up else (1, "", "no such device")
        assert name == "tailscale", argv
        node: dict[str, Any] = {"Tags": self.tags, "Online": self.online}
        if self.expiry:
            node["KeyExpiry"] = self.expiry
        return 0, json.dumps({"BackendState": self.state, "Self": node}), ""

    def _nft(self, argv: list[str], stdin: str) -> tuple[int, str, str]:
        if "list" in argv:
            if self.kernel is None:
                return 1, "", "No such file or directory"
            sets = [
                {"set": {"name": key, "elem": [{"elem": {"val": self._json(one)}} for one in value]}}
                for key, value in self.sets.items()
            ]
            return 0, json.dumps({"nftables": [{"table": {"comment": self.kernel}}, *sets]}), ""
        if "nonsense" in stdin:
            return 1, "", "/dev/stdin:1:1-8: Error: syntax error\nmore"
        if "--check" in argv:
            return 0, "", ""
        if stdin.startswith("table"):
            self.load(stdin)
            return 0, "", ""
        for line in stdin.splitlines():
            words = line.split()
            if words[0] == "flush":
                self.sets[words[4]] = {}
            else:
                for element in line.partition("{")[2].rstrip(" }").split(","):
                    network, _timeout, limit = element.strip().partition(" timeout ")
                    until = self.now + float(limit.removesuffix("s")) if limit else float("inf")
                    self.sets[words[4]][network] = until
        return 0, "", ""

    @staticmethod
    def _json(network: str) -> Any:
        address, _slash, length = network.partition("/")
        return {"prefix": {"addr": address, "len": int(length)}} if length else address

    def _systemd_run(self, argv: list[str]) -> tuple[int, str, str]:
        if self.timer_breaks:
            return 1, "", "Failed to start transient timer unit: Unit is masked."
        seconds = next(word for word in argv if word.startswith("--on-active="))
        self.timer = (self.now + float(seconds.partition("=")[2].removesuffix("s")), argv[-1])
        return 0, "", ""

    def _systemctl(self, argv: list[str]) -> tuple[int, str, str]:
        if argv[0] == "stop":
            self.timer = None
        if argv[0] == "show" and argv[-1].endswith(".timer"):
            waits = "active\nSubState=waiting" if self.timer else "inactive\nSubState=dead"
            return 0, f"LoadState=loaded\nActiveState={waits}\n", ""
        return 0, "LoadState=loaded\nActiveState=inactive\nSubState=dead\n", ""


class Controller:
    """Ansible's side: reaches the world, or loses it at the n-th call (`lose_at`), or dies there (`die_at`).

    A lost call is one that did not arrive, or (`lose_answer`) one that did and whose answer did not.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.calls: list[str] = []
        self.lose_at = self.die_at = 0
        self.lose_answer = False
        self.reaches_wan = True
        self.wan_is_held_open = False
        self.machine = "m1"
        self.via = "100.64.0.5"
        self.before: Callable[[str], None] = lambda _call: None

    def _step(self, name: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        self.calls.append(name)
        self.before(name)
        number = len(self.calls)
        if number == self.lose_at and not self.lose_answer:
            raise controller.LinkError(f"{name} got no answer")
        answer = work()
        if number == self.die_at:
            raise KilledError
        if number == self.lose_at:
            raise controller.LinkError(f"{name} lost its answer")
        return answer

    def call(self, verb: str, way: str, token: str = "", request: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the host's program over one of the ways."""
        world = self.world

        def work() -> dict[str, Any]:
            public = world.open_outside() and self.reaches_wan
            reached = {controller.TAILNET: world.tailnet, controller.PUBLIC: public}.get(way, world.tailnet or public)
            if not reached:
                raise controller.LinkError(f"{way} does not answer")
            try:
                host = world.host()
                if verb == "status":
                    return {**protocol.status(host), "machine": "m1", "via": self.via}
                if verb in ("arm", "note"):
                    assert request is not None
                    return (protocol.arm if verb == "arm" else protocol.note)(host, json.loads(json.dumps(request)))
                verbs = {"apply": protocol.apply, "commit": protocol.commit, "rollback": protocol.rollback}
                return verbs[verb](host, token)
            except LockdownError as error:
                raise controller.RefusedError(str(error)) from None

        return self._step(verb, work)

    def prove(self) -> dict[str, Any]:
        """A module over the tailnet."""

        def work() -> dict[str, Any]:
            if not self.world.tailnet:
                raise controller.LinkError("web-1.tailnet does not answer SSH (Connection timed out)")
            return {**protocol.status(self.world.host()), "machine": self.machine, "via": self.via}

        return self._step("prove", work)

    def drop(self) -> None:
        """Nothing is open here."""
        self._step("drop", dict)

    def answering(self, addresses: Sequence[str], port: int) -> list[str]:
        """What this controller sees of the public address."""
        assert port == 22
        self.calls.append("look")
        self.before("look")
        opened = self.reaches_wan and self.world.open_outside()
        return list(addresses) if opened or self.wan_is_held_open else []

    def clock(self) -> float:
        """The world's."""
        return self.world.now

    def sleep(self, seconds: float) -> None:
        """Let the world go on."""
        self.world.advance(seconds)


def plan(**changes: Any) -> controller.Plan:
    """The usual plan."""
    values: dict[str, Any] = {
        "host": "web-1",
        "tailnet_host": "web-1.tailnet",
        "opened": TEXT[OPEN],
        "locked": TEXT[LOCKED],
        "seconds": 180,
        "state": {"operator": OPERATOR, "break_glass": []},
        **changes,
    }
    return controller.Plan(**values)
