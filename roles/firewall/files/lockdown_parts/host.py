# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host as lockdown sees it: nftables, systemd, the tailnet, and the few files it keeps."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import ipaddress
import json
import os
import re
import socket
import subprocess
import time
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

NFT = "/usr/sbin/nft"
TABLE = "sapflux"
ROLLBACK = "sapflux-lockdown-rollback"
#: What was opened for a time, on the tmpfs.
GRANT_FILE = "grant.json"
LOCK_SECONDS = 30.0
COMMAND_SECONDS = 20.0
#: Seconds until a tailnet program that hangs counts as one that is down.
TAILNET_SECONDS = 5.0

Span = Tuple[int, int, int]
"""(IP version, first address, last address) of a network."""

Run = Callable[[List[str], str, float], Tuple[int, str, str]]
"""(argv, standard input, seconds) to (exit code, output, error); 124 where the time was up, 127 where it is missing."""


class LockdownError(Exception):
    """One sentence that names the thing and the way out."""


@dataclass(frozen=True)
class Config:
    """/etc/sapflux/lockdown.json. Times are seconds, `rescue_seconds` 0 means never."""

    rules: str
    wan_interface: str
    tailnet_interface: str
    provider: str
    ssh_port: int
    operator: List[str]
    rescue_seconds: int
    watch_seconds: int


@dataclass(frozen=True)
class Table:
    """What the kernel has loaded as table inet sapflux: the comment that names it, and its sets."""

    fingerprint: str
    sets: Dict[str, List[Span]]


@dataclass(frozen=True)
class Tailnet:
    """`why` says why it is not up; `problems` are those that must be gone before SSH may depend on it."""

    up: bool
    why: str = ""
    addresses: List[str] = field(default_factory=list)
    problems: List[str] = field(default_factory=list)


def load_config(path: str) -> Config:
    """Read the configuration. Raises LockdownError."""
    try:
        with open(path, encoding="utf-8") as stream:
            return Config(**json.load(stream))
    except (OSError, ValueError, TypeError) as error:
        raise LockdownError(f"{path} cannot be used ({error}); apply the lockdown of the firewall role again") from None


def run(argv: List[str], stdin: str = "", seconds: float = COMMAND_SECONDS) -> Tuple[int, str, str]:
    """Run a program; see `Run`."""
    try:
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return 124, "", f"{argv[0]} did not answer within {seconds:g} s"
    except OSError as error:
        return 127, "", f"{argv[0]}: {error.strerror}"
    return done.returncode, done.stdout, done.stderr


def greets(port: int) -> bool:
    """Tell whether an SSH server greets on this host's own port."""
    for address in ("127.0.0.1", "::1"):
        with contextlib.suppress(OSError), socket.create_connection((address, port), timeout=5) as connection:
            connection.settimeout(5)
            if connection.recv(4) == b"SSH-":
                return True
    return False


def span(network: str) -> Span:
    """The span of a network. Raises LockdownError."""
    try:
        net = ipaddress.ip_network(network)
    except ValueError as error:
        raise LockdownError(f"{error}; write a network such as 203.0.113.0/24 or 2001:db8::/32") from None
    return net.version, int(net.network_address), int(net.broadcast_address)


def merged(spans: List[Span]) -> List[Span]:
    """Sort spans and join those that touch: nft may list two adjacent networks as one range."""
    found: List[Span] = []
    for version, first, last in sorted(spans):
        if found and found[-1][0] == version and first <= found[-1][2] + 1:
            found[-1] = (version, found[-1][1], max(last, found[-1][2]))
        else:
            found.append((version, first, last))
    return found


def _element(element: Any) -> Span:
    """The span of one set element of `nft --json`."""
    if isinstance(element, dict) and "elem" in element:
        element = element["elem"]["val"]
    if isinstance(element, dict) and "range" in element:
        first, last = (ipaddress.ip_address(end) for end in element["range"])
        return first.version, int(first), int(last)
    if isinstance(element, dict):
        return span(f"{element['prefix']['addr']}/{element['prefix']['len']}")
    return span(str(element))


def fingerprint(rules: str) -> str:
    """The comment of the table in the text of a ruleset, "" where there is none."""
    found = re.search(r'comment "(sapflux [0-9a-f]+)"', rules)
    return found.group(1) if found else ""


class Host:
    """`root` is put before every path of a file; `run_`, `clock` (monotonic, s) and `greets_` are seams for tests."""

    def __init__(
        self,
        config: Config,
        root: str = "",
        run_: Run = run,
        clock: Callable[[], float] = time.monotonic,
        greets_: Callable[[int], bool] = greets,
    ) -> None:
        self.config = config
        self.rules = root + config.rules
        self.state = root + "/var/lib/sapflux/lockdown.json"
        self.kept = root + "/var/lib/sapflux/lockdown"
        self.volatile = root + "/run/sapflux-lockdown"
        self.clock = clock
        self.greets = greets_
        self._run = run_

    # files

    def read(self, path: str) -> str:
        """The text of a file, "" where there is none."""
        try:
            with open(path, encoding="utf-8") as stream:
                return stream.read()
        except OSError:
            return ""

    def read_json(self, path: str) -> Dict[str, Any]:
        """The mapping in a file; empty where there is none, or a torn one."""
        try:
            found = json.loads(self.read(path))
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def stage(self, path: str, content: str, mode: int = 0o640) -> str:
        """Write `content` beside `path`, safely on the disk, and return where; `install` makes it count."""
        staged = path + ".new"
        try:
            os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
            handle = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                os.fchmod(stream.fileno(), mode)
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            self.forget(staged)
            hint = "free some space (df -h)" if error.errno == errno.ENOSPC else "mend that"
            raise LockdownError(f"{path} cannot be written: {error.strerror}; {hint} and run again") from None
        return staged

    def install(self, staged: str, path: str) -> None:
        """Put a staged file in its place, in one step that a crash cannot halve."""
        try:
            os.replace(staged, path)
            folder = os.open(os.path.dirname(path), os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise LockdownError(f"{path} cannot be replaced: {error.strerror}") from None

    def write(self, path: str, content: str) -> None:
        """Replace a file."""
        self.install(self.stage(path, content), path)

    def forget(self, path: str) -> None:
        """Remove a file if it is there."""
        with contextlib.suppress(OSError):
            os.unlink(path)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold off every other run of this program. Raises LockdownError when one takes too long."""
        os.makedirs(self.volatile, mode=0o750, exist_ok=True)
        with open(os.path.join(self.volatile, "lock"), "w", encoding="utf-8") as handle:
            deadline = self.clock() + LOCK_SECONDS
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if self.clock() > deadline:
                        raise LockdownError("another run of lockdown does not end; see `ps -C lockdown`") from None
                    time.sleep(0.1)
            yield

    # nftables

    def nft(self, text: str, check: bool = False) -> None:
        """Load rules from their text, all or nothing. Raises LockdownError."""
        argv = [NFT, *(["--check"] if check else []), "--file", "-"]
        code, _output, error = self._run(argv, text, COMMAND_SECONDS)
        if code != 0:
            reason = (error.strip().splitlines() or ["no reason given"])[0]
            raise LockdownError(f"nft refuses the rules: {reason}")

    def table(self) -> Optional[Table]:
        """What is loaded; None where our table is not."""
        code, output, _error = self._run([NFT, "--json", "list", "table", "inet", TABLE], "", COMMAND_SECONDS)
        if code != 0:
            return None
        objects: List[Dict[str, Any]] = json.loads(output)["nftables"]
        comment = next((str(one["table"].get("comment", "")) for one in objects if "table" in one), "")
        sets = {
            str(one["set"]["name"]): merged([_element(element) for element in one["set"].get("elem", [])])
            for one in objects
            if "set" in one and str(one["set"]["name"]).startswith("ssh_")
        }
        return Table(comment, sets)

    # systemd

    def arm_timer(self, seconds: int, rules: str) -> None:
        """Start the timer that loads `rules` after `seconds`. Raises LockdownError unless it is known to run."""
        self.stop_timer()
        argv = ["systemd-run", "--quiet", f"--unit={ROLLBACK}", f"--on-active={seconds}s"]
        argv += ["--timer-property=AccuracySec=200ms", "--timer-property=RemainAfterElapse=no"]
        argv += ["--description=Undo a lockdown that nobody confirmed", "--property=Type=oneshot"]
        code, _output, error = self._run([*argv, "--", NFT, "--file", rules], "", COMMAND_SECONDS)
        if code != 0 or not self.timer_runs():
            self.stop_timer()
            reason = (error.strip().splitlines() or ["it is not active"])[-1]
            raise LockdownError(f"the dead-man timer {ROLLBACK} does not run, so nothing was changed: {reason}")

    def timer_runs(self) -> bool:
        """Tell whether the timer waits and knows what to start."""
        properties = "--property=LoadState,ActiveState,SubState"
        _code, timer, _error = self._run(["systemctl", "show", properties, f"{ROLLBACK}.timer"], "", COMMAND_SECONDS)
        _code, job, _error = self._run(["systemctl", "show", properties, f"{ROLLBACK}.service"], "", COMMAND_SECONDS)
        waiting = {"ActiveState=active", "SubState=waiting"} <= set(timer.split())
        return waiting and {"LoadState=loaded", "ActiveState=inactive"} <= set(job.split())

    def stop_timer(self) -> None:
        """Stop the timer and what it may be about to start; nothing happens where there is none."""
        for verb in ("stop", "reset-failed"):
            self._run(["systemctl", verb, f"{ROLLBACK}.timer", f"{ROLLBACK}.service"], "", COMMAND_SECONDS)

    # the network

    def addresses(self, interface: str) -> List[str]:
        """Global addresses of an interface that is up."""
        code, output, _error = self._run(["ip", "-json", "address", "show", "dev", interface], "", COMMAND_SECONDS)
        if code != 0:
            return []
        links = [link for link in json.loads(output or "[]") if "UP" in link.get("flags", [])]
        return [
            str(info["local"])
            for link in links
            for info in link.get("addr_info", [])
            if info.get("scope") == "global" and not info.get("temporary")
        ]

    def tailnet(self) -> Tailnet:
        """Whether the tailnet works, as far as this host can tell."""
        interface = self.config.tailnet_interface
        addresses = self.addresses(interface)
        if not addresses:
            return Tailnet(False, f"{interface} is missing, down or without an address")
        if self.config.provider != "tailscale":
            return Tailnet(True, "", addresses)
        argv = ["tailscale", "status", "--json", "--peers=false"]
        code, output, error = self._run(argv, "", TAILNET_SECONDS)
        try:
            found = json.loads(output)
            node = found.get("Self") or {}
        except ValueError:
            reason = (error.strip().splitlines() or [f"exit code {code}"])[0]
            return Tailnet(False, f"tailscaled does not answer: {reason}", addresses)
        problems = []
        if not node.get("Tags"):
            problems.append("the node has no tag, so its key will expire: join it with a tagged key")
        if node.get("KeyExpiry"):
            problems.append(f"the node's key expires on {node['KeyExpiry']}: disable key expiry for it")
        if found.get("BackendState") != "Running":
            return Tailnet(False, f"tailscaled is {found.get('BackendState')}, not Running", addresses, problems)
        if not node.get("Online"):
            return Tailnet(False, "the node has lost its control server", addresses, problems)
        return Tailnet(True, "", addresses, problems)
