"""A tailscaled that is not there: answers the command line as the real one does, and keeps what it was told."""

from __future__ import annotations

import json
from typing import Any

from ansible_collections.sapflux.hosting.plugins.module_utils._programs import Ran
from ansible_collections.sapflux.hosting.plugins.module_utils._tailscale import Cli
from ansible_collections.sapflux.hosting.plugins.module_utils._tailscale_node import Node, Outcome, parse_wish

KEY = "hskey-auth-marker-0123456789abcdef"
SERVER = "http://10.83.0.13:8080"

DEFAULTS: dict[str, Any] = {
    "ControlURL": "", "RouteAll": False, "CorpDNS": True, "RunSSH": False, "RunWebClient": False, "ShieldsUp": False,
    "AdvertiseTags": None, "Hostname": "", "AdvertiseRoutes": None, "NoSNAT": False, "NoStatefulFiltering": True,
    "NetfilterMode": 2, "AutoUpdate": {"Check": True, "Apply": None}, "PostureChecking": False,
}  # fmt: skip
BOOLEANS = {
    "accept-dns": "CorpDNS", "accept-routes": "RouteAll", "ssh": "RunSSH", "shields-up": "ShieldsUp",
    "report-posture": "PostureChecking", "webclient": "RunWebClient",
}  # fmt: skip


class World:
    """One host with tailscale. `calls` are the commands, `inputs` what they were given on standard input."""

    def __init__(self, state: str = "NeedsLogin", tags: tuple[str, ...] = ("tag:server",), **prefs: Any) -> None:
        self.state, self.tags, self.prefs = state, tags, {**DEFAULTS, **prefs}
        self.version = "1.102.3-t1ca5bdd4f-g0123456"
        self.installed, self.answers, self.have_key = True, True, state != "NeedsLogin"
        self.expiry = ""
        self.health: list[str] = []
        self.passing: list[str] = []  # states to go through, one a question
        self.up_answer: Ran | None = None
        self.up_state = "Running"
        self.set_answer = Ran(0, "", "")
        self.logout_answer = Ran(0, "", "")
        self.calls: list[list[str]] = []
        self.inputs: list[str] = []
        self.time = 0.0
        self.tailnet_session = False

    def run(self, argv: list[str], stdin: str, timeout: float) -> Ran:
        """The seam of Cli."""
        assert timeout > 0
        self.calls.append(argv[1:])
        self.inputs.append(stdin)
        if not self.installed:
            return Ran(127, "", "No such file or directory: '/usr/bin/tailscale'")
        if not self.answers:
            return Ran(1, "", "failed to connect to local tailscaled; it doesn't appear to be running")
        verb, words = argv[1], argv[2:]
        if verb == "status":
            return Ran(0, json.dumps(self._status()), "")
        if verb == "debug":
            return Ran(0, json.dumps(self.prefs), "")
        if verb == "up":
            return self._up(words)
        if verb == "set":
            if self.set_answer.code == 0:
                self._take(words)
            return self.set_answer
        assert verb == "logout"
        if self.logout_answer.code == 0:
            self.state, self.have_key = "NeedsLogin", False
        return self.logout_answer

    def sleep(self, seconds: float) -> None:
        """Time that passes at once."""
        self.time += seconds

    def _status(self) -> dict[str, Any]:
        state = self.passing.pop(0) if self.passing else self.state
        on = state == "Running"
        me: dict[str, Any] = {"HostName": self.prefs["Hostname"] or "db", "DNSName": "db.tail.test." if on else ""}
        me |= {"Online": on, **({"Tags": list(self.tags)} if on and self.tags else {})}
        me |= {"KeyExpiry": self.expiry} if on and self.expiry else {}
        return {
            "Version": self.version, "BackendState": state, "HaveNodeKey": self.have_key, "Self": me,
            "TailscaleIPs": ["100.64.0.1", "fd7a:115c:a1e0::1"] if on else None,
            "Health": self.health, "CurrentTailnet": {"Name": "tail.test"} if on else None,
        }  # fmt: skip

    def _up(self, words: list[str]) -> Ran:
        if self.up_answer is not None:
            return self.up_answer
        self._take(words)
        self.state, self.have_key = self.up_state, True
        return Ran(0, "", "")

    def _take(self, words: list[str]) -> None:
        for word in words:
            name, _equals, value = word.removeprefix("--").partition("=")
            if name in BOOLEANS:
                self.prefs[BOOLEANS[name]] = value == "true"
            elif name == "snat-subnet-routes":
                self.prefs["NoSNAT"] = value != "true"
            elif name == "stateful-filtering":
                self.prefs["NoStatefulFiltering"] = value != "true"
            elif name == "netfilter-mode":
                self.prefs["NetfilterMode"] = ["off", "nodivert", "on"].index(value)
            elif name in ("auto-update", "update-check"):
                self.prefs["AutoUpdate"]["Apply" if name == "auto-update" else "Check"] = value == "true"
            elif name == "advertise-routes":
                exits = [route for route in self.prefs["AdvertiseRoutes"] or [] if route.endswith("/0")]
                self.prefs["AdvertiseRoutes"] = [*filter(None, value.split(",")), *exits]
            elif name in ("hostname", "operator", "login-server", "advertise-tags"):
                key = {"hostname": "Hostname", "operator": "OperatorUser", "login-server": "ControlURL"}.get(
                    name, "Asked"
                )
                self.prefs[key] = value

    def node(self, check: bool = False, **params: Any) -> Node:
        """A node with this world behind it."""
        wish = parse_wish(params)
        return Node(Cli(self.run), wish, check, self.sleep, lambda: self.time, lambda: self.tailnet_session, "db")

    def present(self, check: bool = False, **params: Any) -> Outcome:
        """Bring it to the wish."""
        return self.node(check, **params).present()

    def absent(self, check: bool = False) -> Outcome:
        """Log it out."""
        return self.node(check).absent()

    @property
    def writes(self) -> list[list[str]]:
        """The commands that change something."""
        return [call for call in self.calls if call[0] not in ("status", "debug")]
