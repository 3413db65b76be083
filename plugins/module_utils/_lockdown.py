# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of the lockdown: the order of its steps and what is said when one fails.

Private to the collection, used on the controller only. How a host is reached is behind `Link`, so that every failure
can be played without a host.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional, Protocol

#: Which way a call takes.
AS_BEFORE, TAILNET, PUBLIC = "as before", "tailnet", "public"
#: Seconds that the dead-man timer may be late, and the way in may take to be seen.
GRACE = 20.0
#: Seconds between two looks.
PAUSE = 1.0


class LinkError(Exception):
    """The host was not reached; the message says how it was tried."""


class RefusedError(Exception):
    """The host was reached and said no, in one sentence."""


class LockdownError(Exception):
    """The lockdown failed; the message says why, what is open now, and what to do."""


@dataclass(frozen=True)
class Plan:
    """What is wanted. `opened` and `locked` are rulesets as text, `seconds` is the dead-man timer's time.

    `state` is kept on the host: {operator, break_glass: networks}. `wan_addresses` are the host's own where it is
    empty.
    """

    host: str
    tailnet_host: str
    opened: str
    locked: str
    seconds: int
    state: dict[str, list[str]]
    wan_addresses: Sequence[str] = ()

    @property
    def fingerprint(self) -> str:
        """What the locked ruleset calls itself."""
        found = re.search(r'comment "(sapflux [0-9a-f]+)"', self.locked)
        return found.group(1) if found else ""


class Link(Protocol):
    """How the host is reached. Every method but the last three raises LinkError."""

    def call(self, verb: str, way: str, token: str = "", request: Optional[dict[str, Any]] = None) -> dict[str, Any]:
        """Run the host's program. Raises RefusedError with its sentence."""
        ...

    def prove(self) -> dict[str, Any]:
        """Run a real module as the admin over a fresh connection to the tailnet address; answers the host's status."""
        ...

    def drop(self) -> None:
        """Close every connection that is still open."""
        ...

    def answering(self, addresses: Sequence[str], port: int) -> list[str]:
        """Which of the addresses an SSH server answers on, seen from here, without the tailnet."""
        ...

    def clock(self) -> float:
        """Seconds of a clock that only goes forward."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


def lockdown_ssh_cidrs(
    operator: Sequence[str], state: Optional[Mapping[str, Any]], break_glass: Sequence[str] = (), wanted: bool = True
) -> list[str]:
    """Return the networks for `firewall_ssh_cidrs`: the operator's, unless the host is locked and shall stay so."""
    locked = wanted and bool((state or {}).get("locked"))
    return [*([] if locked else operator), *break_glass]


def problems_of(plan: Plan) -> list[str]:
    """What is wrong with a plan, before any host is asked."""
    found = []
    if not plan.tailnet_host:
        found.append("no tailnet address is known: set sapflux_tailnet_host to the host's name or address there")
    if not plan.state["operator"]:
        found.append("firewall_lockdown_cidrs is empty, so nothing would open while the tailnet is down: name yours")
    if plan.seconds < 10:
        found.append(f"firewall_lockdown_seconds is {plan.seconds}; write at least 10")
    return found


def settled(status: dict[str, Any], plan: Plan) -> bool:
    """Whether the host is locked by exactly these rules, in the kernel and on the disk."""
    same = status["loaded"] == status["file"] == plan.fingerprint
    return bool(same and status["state"].get("locked") and not status["armed_seconds"])


class Lockdown:
    """One lockdown of one host."""

    def __init__(self, link: Link, plan: Plan) -> None:
        self.link = link
        self.plan = plan
        self.began = 0.0
        self.wan: list[str] = []
        self.port = 22

    def run(self, check: bool = False) -> dict[str, Any]:
        """Lock, or find that it is done. Answers {changed, state}. Raises LockdownError."""
        faults = problems_of(self.plan)
        if faults:
            raise self._unchanged("; ".join(faults))
        try:
            status = self.link.call("status", AS_BEFORE)
            if settled(status, self.plan):
                return self._note(status, check)
            self._look(status)
            if check:
                return {"changed": True, "state": status["state"]}
            token = str(self.link.call("arm", AS_BEFORE, request=self._request())["token"])
        except (LinkError, RefusedError) as error:
            raise self._unchanged(str(error)) from None
        self.began = self.link.clock()
        return {"changed": True, "state": self._switch(token)}

    def _unchanged(self, why: str) -> LockdownError:
        return LockdownError(f"{self.plan.host} was not locked and nothing was changed: {why}")

    def _request(self) -> dict[str, Any]:
        plan = self.plan
        return {"open": plan.opened, "locked": plan.locked, "seconds": plan.seconds, "state": plan.state}

    def _note(self, status: dict[str, Any], check: bool) -> dict[str, Any]:
        """The host is locked; at most, what it remembers about it is renewed."""
        if {key: status["state"].get(key) for key in self.plan.state} == self.plan.state:
            return {"changed": False, "state": status["state"]}
        if not check:
            status = self.link.call("note", AS_BEFORE, request=self._request())
        return {"changed": True, "state": status["state"]}

    def _look(self, status: dict[str, Any]) -> None:
        """Make sure, before anything changes, that the tailnet leads to this host and will go on doing so."""
        self.wan = list(self.plan.wan_addresses) or list(status["wan_addresses"])
        self.port = int(status["ssh_port"])
        if not self.wan:
            raise RefusedError("the host has no public address to look at: set firewall_lockdown_wan_addresses")
        tailnet = status["tailnet"]
        faults = [] if tailnet["up"] else [f"the tailnet is down ({tailnet['why']})"]
        faults.extend(tailnet["problems"])
        if faults:
            raise RefusedError("; ".join(faults))
        self._prove(status["machine"])

    def _prove(self, machine: str = "") -> None:
        """A real module over the tailnet, on this machine and not another, by the tailnet and not a detour."""
        seen = self.link.prove()
        where = self.plan.tailnet_host
        if machine and seen["machine"] != machine:
            raise RefusedError(f"{where} is another machine: mend sapflux_tailnet_host")
        if seen["via"] not in seen["tailnet"]["addresses"]:
            raise RefusedError(
                f"{where} leads to {seen['via'] or 'no SSH session'}, which is not on the tailnet "
                f"({', '.join(seen['tailnet']['addresses'])}): mend sapflux_tailnet_host"
            )

    def _switch(self, token: str) -> dict[str, Any]:
        """From the open host with a running timer to the locked one. Raises LockdownError."""
        committing = False
        try:
            if not self.link.answering(self.wan, self.port):
                raise RefusedError(
                    f"port {self.port} of {', '.join(self.wan)} does not answer from here even now, so the way back "
                    f"would not lead here: add this machine's network to {', '.join(self.plan.state['operator'])}"
                )
            self.link.call("apply", AS_BEFORE, token)
            self.link.drop()
            self._prove_with_patience()
            if not self.plan.state["break_glass"]:
                self._prove_closed()
            committing = True
            state: dict[str, Any] = self.link.call("commit", TAILNET, token)["state"]
        except (LinkError, RefusedError) as error:
            # The answer may be lost on the way and the work done.
            found = self._committed() if committing and isinstance(error, LinkError) else None
            if found is None:
                raise LockdownError(f"{self.plan.host} is not locked: {error}. {self._undo(token)}") from None
            state = found
        return state

    def _prove_with_patience(self) -> None:
        """The switch may cost the tailnet a moment; a third of the timer is left for it, and the rest for us."""
        deadline = self.began + self.plan.seconds / 3
        while True:
            try:
                return self._prove()
            except LinkError:
                if self.link.clock() > deadline:
                    raise
            self.link.sleep(PAUSE)

    def _prove_closed(self) -> None:
        still = self.link.answering(self.wan, self.port)
        if still:
            raise RefusedError(f"port {self.port} of {', '.join(still)} still answers from here after the switch")

    def _committed(self) -> Optional[dict[str, Any]]:
        """The state of a host that was locked although its answer was lost."""
        try:
            status = self.link.call("status", TAILNET)
        except (LinkError, RefusedError):
            return None
        return dict(status["state"]) if settled(status, self.plan) else None

    def _undo(self, token: str) -> str:
        """Open the host again, or wait for its timer to do it. Returns what is open now and what to do."""
        for way in (TAILNET, PUBLIC):
            try:
                self.link.call("rollback", way, token)
                break
            except (LinkError, RefusedError):
                continue
        deadline = self.began + self.plan.seconds + GRACE
        while True:
            found = self.link.answering(self.wan, self.port)
            if found:
                return f"SSH is open again at {', '.join(found)}, as before; mend that and run again"
            if self.link.clock() > deadline:
                break
            self.link.sleep(PAUSE)
        try:
            self.link.call("status", TAILNET)
        except (LinkError, RefusedError):
            return (
                f"Neither {', '.join(self.wan)} nor {self.plan.tailnet_host} answers from here: log in from "
                f"{', '.join(self.plan.state['operator'])}, or run `lockdown open` at the provider's console"
            )
        opened = ", ".join(self.plan.state["operator"])
        return f"SSH is open for {opened}, which this machine is not in, and {self.plan.tailnet_host} answers here"
