# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line of tailscale: questions in, records out; secrets go through standard input only.

Private to the collection. Standard library of Python 3.9.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional, Tuple

from ansible_collections.sapflux.hosting.plugins.module_utils._programs import MISSING, STOPPED, Ran, Runner, run

CLI = "/usr/bin/tailscale"

#: What tailscale reads a secret from. Never a file: nothing is left behind by a run that is killed.
STDIN = "file:/dev/stdin"
#: Both are names of the same control server of Tailscale.
SAAS = ("https://controlplane.tailscale.com", "https://login.tailscale.com")

TAILNET = (ipaddress.ip_network("100.64.0.0/10"), ipaddress.ip_network("fd7a:115c:a1e0::/48"))
_SECRETS = re.compile(r"\b(?:tskey|hskey)-[A-Za-z0-9_?=&.-]+|\beyJ[\w-]+\.[\w-]+\.[\w-]*")
#: Lines that the command line prints around what it has to say.
_NOISE = re.compile(r"^(?:# |Warning: |To authenticate|https?://|Success)")

Prefs = Dict[str, Any]


class TailscaleError(Exception):
    """One sentence that names what is wrong and the way out. Holds no secret."""


class NotInstalledError(TailscaleError):
    """There is no tailscale on this host, or its daemon does not run."""


def redact(text: str, *secrets: str) -> str:
    """Return the text without the secrets, without their parts, and without anything that looks like a key."""
    for secret in secrets:
        for part in sorted({secret, secret.partition("?")[0]}, key=len, reverse=True):
            if len(part) >= 4:
                text = text.replace(part, "***")
    return _SECRETS.sub("***", text)


def same_server(one: str, other: str) -> bool:
    """Tell whether two control server URLs name the same server; an empty one is Tailscale's own."""
    first, second = one.rstrip("/") or SAAS[0], other.rstrip("/") or SAAS[0]
    return first.lower() == second.lower() or (first in SAAS and second in SAAS)


def version_of(text: str) -> Tuple[int, ...]:
    """Return the numbers of a version such as `1.102.3-t1ca5bdd4f`, `()` for anything else."""
    found = re.match(r"(\d+)\.(\d+)\.(\d+)", text)
    return tuple(int(number) for number in found.groups()) if found else ()


def over_tailnet(proc: str = "/proc", pid: Optional[int] = None) -> bool:
    """Tell whether this run came in over SSH through the tailnet.

    sudo drops SSH_CONNECTION, so it is looked for in the processes above this one. Where nothing can be read, the
    answer is no.
    """
    current = os.getpid() if pid is None else pid
    while current > 1:
        try:
            with open(f"{proc}/{current}/environ", "rb") as stream:
                variables = stream.read().split(b"\0")
            with open(f"{proc}/{current}/stat", "rb") as stream:
                parent = int(stream.read().rpartition(b")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            return False
        for variable in variables:
            name, _equals, value = variable.partition(b"=")
            if name == b"SSH_CONNECTION":
                return _in_tailnet(value.split(b" ")[0].decode("ascii", "replace"))
        current = parent
    return False


def _in_tailnet(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return any(address in network for network in TAILNET if network.version == address.version)


@dataclass(frozen=True)
class Status:
    """What tailscaled says about this node."""

    state: str
    version: str = ""
    have_key: bool = False
    addresses: Tuple[str, ...] = ()
    dns_name: str = ""
    hostname: str = ""
    tags: Tuple[str, ...] = ()
    key_expiry: str = ""
    expired: bool = False
    online: bool = False
    health: Tuple[str, ...] = ()
    tailnet: str = ""

    @property
    def running(self) -> bool:
        """Whether the node is on its tailnet, with an address."""
        return self.state == "Running" and bool(self.addresses)

    def facts(self, login_server: str = "") -> Dict[str, Any]:
        """The node as a module returns it."""
        versions = {ipaddress.ip_address(address).version: address for address in reversed(self.addresses)}
        return {
            "backend_state": self.state,
            "version": self.version,
            "addresses": list(self.addresses),
            "ipv4": versions.get(4, ""),
            "ipv6": versions.get(6, ""),
            "dns_name": self.dns_name,
            "hostname": self.hostname,
            "tags": list(self.tags),
            "key_expiry": self.key_expiry,
            "online": self.online,
            "health": list(self.health),
            "tailnet": self.tailnet,
            "login_server": login_server,
        }


def parse_status(answer: Dict[str, Any]) -> Status:
    """Read the answer of `tailscale status --json`."""
    me = answer.get("Self") or {}
    expiry = me.get("KeyExpiry") or ""
    return Status(
        state=str(answer.get("BackendState") or "NoState"),
        version=str(answer.get("Version") or "").partition("-")[0],
        have_key=bool(answer.get("HaveNodeKey")),
        addresses=tuple(answer.get("TailscaleIPs") or ()),
        dns_name=str(me.get("DNSName") or "").rstrip("."),
        hostname=str(me.get("HostName") or ""),
        tags=tuple(sorted(me.get("Tags") or ())),
        key_expiry="" if expiry.startswith("0001-") else expiry,
        expired=bool(me.get("Expired")),
        online=bool(me.get("Online")),
        health=tuple(answer.get("Health") or ()),
        tailnet=str((answer.get("CurrentTailnet") or {}).get("Name") or ""),
    )


@dataclass
class Cli:
    """tailscale on this host. `run` is a seam for tests; `secrets` are kept out of every message."""

    run: Runner = run
    secrets: List[str] = field(default_factory=list)

    def status(self) -> Status:
        """Ask for the state. Raises NotInstalledError where nobody answers."""
        return parse_status(self._json(["status", "--json", "--peers=false"]))

    def prefs(self) -> Prefs:
        """Ask for the preferences as tailscaled holds them."""
        return self._json(["debug", "prefs"])

    def up(self, flags: List[str], secret: str, timeout: float) -> str:
        """Join or start; return why it did not work, "" when it did."""
        ran = self.run([CLI, "up", *flags], secret, timeout)
        if ran.code == 0:
            return ""
        return self.reason(ran)

    def set(self, flags: List[str]) -> None:
        """Change preferences of a node. Raises TailscaleError with tailscale's own words."""
        ran = self.run([CLI, "set", *flags], "", 60)
        if ran.code != 0:
            raise TailscaleError(f"tailscale refuses {' '.join(flags)}: {self.reason(ran)}; nothing was set")

    def logout(self, timeout: float) -> str:
        """Give the node's key up; return why it did not work, "" when it did."""
        ran = self.run([CLI, "logout"], "", timeout)
        return "" if ran.code == 0 else self.reason(ran)

    def reason(self, ran: Ran) -> str:
        """The last thing a command said, on one line and without secrets."""
        if ran.code == STOPPED:
            return "no answer in time"
        lines = [line.strip() for line in f"{ran.out}\n{ran.err}".splitlines()]
        said = [line for line in lines if line and not _NOISE.match(line)]
        return redact(said[-1] if said else f"exit code {ran.code} without a word", *self.secrets)

    def _json(self, words: List[str]) -> Dict[str, Any]:
        ran = self.run([CLI, *words], "", 20)
        if ran.code == MISSING:
            raise NotInstalledError(
                "tailscale is not installed on this host; the role sapflux.hosting.tailscale does that"
            )
        if ran.code != 0:
            raise NotInstalledError(
                f"tailscaled does not answer ({self.reason(ran)}); `systemctl status tailscaled` shows why"
            )
        try:
            answer = json.loads(ran.out)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise TailscaleError(
                f"`tailscale {' '.join(words)}` did not answer with JSON; upgrade the package tailscale"
            )
        return answer
