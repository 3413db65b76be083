# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node shall be and how it gets there: join once, change preferences afterwards, never log in again.

Private to the collection. A node that runs is never given a key: a wrong one would log it out first and fail then.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Mapping, Optional
from urllib.parse import parse_qsl, urlencode

from ansible_collections.sapflux.hosting.plugins.module_utils._tailscale import (
    STDIN,
    Cli,
    NotInstalledError,
    Prefs,
    Status,
    TailscaleError,
    over_tailnet,
    redact,
    same_server,
    version_of,
)
from ansible_collections.sapflux.hosting.plugins.module_utils._tailscale_prefs import (
    Change,
    check_tags,
    differences,
    picture,
    up_flags,
    wanted_prefs,
)

#: States that pass by themselves.
PASSING = ("NoState", "Starting")
IDENTITY_VERSION = (1, 90, 0)
OAUTH = "tskey-client-"


@dataclass(frozen=True)
class Wish:
    """What the caller wants, checked."""

    prefs: Dict[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    login_server: str = ""
    auth_key: str = ""
    client_id: str = ""
    id_token: str = ""
    audience: str = ""
    permanent: bool = True
    timeout: float = 60

    @property
    def can_join(self) -> bool:
        """Whether there is something to join with."""
        return bool(self.auth_key or self.client_id)

    @property
    def secret(self) -> str:
        """What goes through standard input, as tailscale expects it."""
        return durable_key(self.auth_key) if self.auth_key else self.id_token

    def join_flags(self) -> List[str]:
        """The flags that prove who is joining; none of them holds a secret.

        Tags are asked for only where the key is made from them. With an ordinary key they belong to the key: asking
        for them as well is refused by headscale, and tags of one's own would need an owner at Tailscale's.
        """
        made = bool(self.client_id) or self.auth_key.startswith(OAUTH)
        flags = [f"--advertise-tags={','.join(self.tags) if made else ''}"]
        if self.auth_key:
            return [*flags, f"--auth-key={STDIN}"]
        flags.append(f"--client-id={self.client_id}")
        return [*flags, f"--id-token={STDIN}" if self.id_token else f"--audience={self.audience}"]


def durable_key(key: str) -> str:
    """An OAuth secret with what a server needs: tailscale's default makes a node that goes when it is offline."""
    if not key.startswith(OAUTH):
        return key
    secret, _mark, query = key.partition("?")
    given = dict(parse_qsl(query, keep_blank_values=True))
    return f"{secret}?{urlencode({'ephemeral': 'false', 'preauthorized': 'true', **given}, safe=':/')}"


def parse_wish(params: Mapping[str, Any]) -> Wish:
    """Check a module's arguments. Raises TailscaleError, before anything was asked."""
    wish = Wish(
        prefs=wanted_prefs(params),
        tags=tuple(sorted(set(params.get("tags") or []))),
        login_server=(params.get("login_server") or "").rstrip("/"),
        auth_key=(params.get("auth_key") or "").strip(),
        client_id=params.get("client_id") or "",
        id_token=(params.get("id_token") or "").strip(),
        audience=params.get("audience") or "",
        permanent=params.get("permanent", True),
        timeout=params.get("timeout", 60),
    )
    check_tags(list(wish.tags))
    if len(wish.auth_key.split()) > 1:
        raise TailscaleError("auth_key holds spaces or lines, so it is no key; give the one line that was shown once")
    if wish.login_server and not wish.login_server.startswith(("https://", "http://")):
        raise TailscaleError(f"login_server {wish.login_server!r} is no URL; write https://<host>")
    if wish.client_id and bool(wish.id_token) == bool(wish.audience):
        raise TailscaleError("client_id needs id_token or audience, one of both")
    if (wish.client_id or wish.auth_key.startswith(OAUTH)) and not wish.tags:
        raise TailscaleError(
            "tags is empty, and a key that is made for this node needs them; name those of the OAuth client, "
            "such as tag:server"
        )
    return wish


@dataclass
class Outcome:
    """What was done, or would be."""

    actions: List[str] = field(default_factory=list)
    status: Status = field(default_factory=lambda: Status("NoState"))
    before: Dict[str, Any] = field(default_factory=dict)
    after: Dict[str, Any] = field(default_factory=dict)
    login_server: str = ""
    warning: str = ""


class Node:
    """The node of this host. `cli`, `sleep`, `clock`, `tailnet_session` and `own_name` are seams for tests."""

    def __init__(
        self,
        cli: Cli,
        wish: Wish,
        check: bool = False,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        tailnet_session: Callable[[], bool] = over_tailnet,
        own_name: str = "",
    ) -> None:
        self.cli, self.wish, self.check = cli, wish, check
        self._sleep, self._clock, self._tailnet_session = sleep, clock, tailnet_session
        self._own_name = own_name or os.uname().nodename.partition(".")[0]
        self.outcome = Outcome()
        cli.secrets.extend(secret for secret in (wish.auth_key, wish.secret, wish.id_token) if secret)

    # --- present

    def present(self) -> Outcome:
        """Bring the node to the wish, or plan it in check mode. Raises TailscaleError."""
        try:
            status = self._settled()
        except NotInstalledError as error:
            if not self.check:
                raise
            return self._from_nothing(str(error))
        prefs = self.cli.prefs()
        self._look(status, prefs)
        self._name_itself(prefs)
        self.outcome.before = {"backend_state": status.state, **picture(prefs, self.wish.prefs)}
        if status.state == "Stopped":
            status = self._start(status)
        if status.state == "NeedsLogin":
            status = self._join(status, prefs)
        if not (self.check and self.outcome.actions):
            self._identity(status, self.cli.prefs() if self.outcome.actions else prefs)
        self._set_prefs(status, prefs)
        return self.outcome

    def _name_itself(self, prefs: Prefs) -> None:
        """Say the host's own name where it shall have its own name again.

        tailscaled goes on under the old one when it is only told to have none.
        """
        if self.wish.prefs.get("hostname") == "" and prefs.get("Hostname"):
            self.wish.prefs["hostname"] = self._own_name

    def _from_nothing(self, reason: str) -> Outcome:
        """What check mode says about a host that is still to be built."""
        self.outcome.actions = ["join the tailnet"]
        self.outcome.before = {"backend_state": "absent"}
        self.outcome.after = {"backend_state": "Running", **self.wish.prefs}
        self.outcome.warning = f"{reason}; everything is reported as to be made"
        return self.outcome

    def _look(self, status: Status, prefs: Optional[Prefs] = None) -> None:
        self.outcome.status = status
        if prefs is not None:
            self.outcome.login_server = str(prefs.get("ControlURL") or "")

    def _settled(self, *until: str) -> Status:
        """Wait until the state is one that stays (or one of `until`), and return the last one in any case."""
        deadline = self._clock() + self.wish.timeout
        while True:
            status = self.cli.status()
            done = status.state not in PASSING and not (status.state == "Running" and not status.addresses)
            if (status.state in until if until else done) or self._clock() > deadline:
                return status
            self._sleep(0.5)

    def _start(self, status: Status) -> Status:
        """Take `tailscale down` back. No key is given: a bare `up` changes nothing else."""
        self.outcome.actions.append("start the node, which was down")
        if self.check:
            return status
        reason = self.cli.up([], "", self.wish.timeout)
        status = self._settled("Running", "NeedsLogin", "NeedsMachineAuth")
        self._look(status)
        if status.state == "Stopped":
            raise TailscaleError(
                f"the node is down and does not start: {reason or 'no reason given'}; try `tailscale up`"
            )
        return status

    def _join(self, status: Status, prefs: Prefs) -> Status:
        """Log in with the key of the wish."""
        wish = self.wish
        server = wish.login_server or str(prefs.get("ControlURL") or "")
        if not wish.can_join:
            known = (
                "its key has expired or it was removed at the control server" if status.have_key else "it never joined"
            )
            raise TailscaleError(
                f"this host is not on the tailnet: {known}, and there is no auth_key to join with; make a key "
                f"with tags at {server or 'the control server'} and run this with it once"
            )
        if wish.client_id and (0,) < version_of(status.version) < IDENTITY_VERSION:
            raise TailscaleError(
                f"tailscale {status.version} knows no workload identity; upgrade it to 1.90 or later, "
                "or give an auth_key"
            )
        self.outcome.actions.append(f"join the tailnet of {server or 'Tailscale'}")
        if self.check:
            return status
        flags = [*([f"--login-server={server}"] if server else []), *wish.join_flags(), *up_flags(wish.prefs, prefs)]
        reason = self.cli.up([*flags, f"--timeout={int(wish.timeout)}s"], wish.secret + "\n", wish.timeout + 15)
        joined = self._settled("Running", "NeedsMachineAuth") if not reason else self.cli.status()
        self._look(joined, self.cli.prefs())
        if joined.state != "NeedsMachineAuth" and (reason or not joined.running):
            raise TailscaleError(self._join_failed(server, reason or f"the state is {joined.state}", status, joined))
        return joined

    def _join_failed(self, server: str, reason: str, before: Status, after: Status) -> str:
        """Say why, and what to do; what tailscaled complains about only where nobody has refused."""
        silent = reason.startswith(("timeout", "no answer", "the state"))
        health = redact("; ".join(after.health), *self.cli.secrets) if silent else ""
        # headscale never renews a tagged node that has expired: it must be made anew.
        again = " Was the node expired, remove it at the control server first." if before.have_key else ""
        return (
            f"joining the tailnet of {server or 'Tailscale'} failed: {reason}{_in_brackets(health)}; see whether the "
            f"key is used up, expired or of another tailnet, and run this again with a good one.{again}"
        )

    def _identity(self, status: Status, prefs: Prefs) -> None:
        """Refuse a node that is not what was wanted, and leave it running. Raises TailscaleError."""
        name, wish = status.hostname or "this node", self.wish
        if status.state == "NeedsMachineAuth":
            raise TailscaleError(f"{name} waits for approval; approve it at the control server, then run this again")
        if status.state == "InUseOtherUser":
            raise TailscaleError(
                "another user of this machine is using tailscale; log that user out, then run this again"
            )
        if not status.running:
            health = redact("; ".join(status.health), *self.cli.secrets)
            raise TailscaleError(
                f"tailscaled has been {status.state} for {wish.timeout:g} s{_in_brackets(health)}; see whether "
                f"{prefs.get('ControlURL') or 'the control server'} can be reached, and `journalctl -u tailscaled`"
            )
        have = str(prefs.get("ControlURL") or "")
        left = "it was left running"
        if wish.login_server and not same_server(have, wish.login_server):
            raise TailscaleError(
                f"{name} belongs to {have}, not to {wish.login_server}; {left}. Apply state absent over another "
                "way in, then join with a key of the other server"
            )
        again = (
            "make a key with the right tags, take the node away with state absent over another way in, and join again"
        )
        if wish.permanent and not status.tags:
            expiry = f" (on {status.key_expiry})" if status.key_expiry else ""
            raise TailscaleError(
                f"{name} has no tags, so its key expires{expiry} and the way in with it; {left}. Give it tags at the "
                f"control server, or {again}"
            )
        if wish.tags and status.tags != wish.tags:
            raise TailscaleError(
                f"{name} has the tags {', '.join(status.tags) or 'none'} instead of {', '.join(wish.tags)}; {left}. "
                f"Change them at the control server, or {again}"
            )
        if wish.permanent and status.key_expiry:
            raise TailscaleError(
                f"the key of {name} expires on {status.key_expiry}, and the way in with it; {left}. Disable key "
                "expiry for it at the control server before that day"
            )

    def _set_prefs(self, status: Status, prefs: Prefs) -> None:
        """Change the preferences that differ, each by its own flag. Raises TailscaleError."""
        outcome, wanted = self.outcome, self.wish.prefs
        joined = any(action.startswith("join") for action in outcome.actions)
        if joined and not self.check:
            # `up` has set those it knows.
            prefs = self.cli.prefs()
        changes = differences(wanted, prefs)
        outcome.after = {"backend_state": "Running", **picture(prefs, wanted)}
        self._refuse_to_cut_off(changes)
        if not joined:
            outcome.actions += [change.summary for change in changes]
        if changes and not self.check:
            self.cli.set([change.flag for change in changes])
            status = self._settled()
        outcome.after.update({change.pref.option: change.after for change in changes})
        self._look(status)

    def _refuse_to_cut_off(self, changes: List[Change]) -> None:
        """Refuse what would end the connection that this run came in over. Raises TailscaleError."""
        cutting = [change for change in changes if change.pref.option == "ssh" or _closes(change)]
        if cutting and self._tailnet_session():
            raise TailscaleError(
                f"this run came in over the tailnet, and to {cutting[0].summary.partition(' (')[0]} would cut it off; "
                "run it over another way in"
            )

    # --- absent

    def absent(self) -> Outcome:
        """Log the node out. Raises TailscaleError."""
        try:
            status = self._settled()
        except NotInstalledError:
            self.outcome.before = self.outcome.after = {"backend_state": "absent"}
            return self.outcome
        self._look(status)
        self.outcome.before = self.outcome.after = {"backend_state": status.state}
        # A node that waits for its key has nothing to give up, unless it still holds one.
        if status.state == "NeedsLogin" and not status.have_key:
            return self.outcome
        if self._tailnet_session():
            raise TailscaleError(
                "this run came in over the tailnet, and logging out would cut it off; run it over another way in"
            )
        self.outcome.actions.append(f"log {status.hostname or 'the node'} out of the tailnet")
        self.outcome.after = {"backend_state": "NeedsLogin"}
        if not self.check:
            reason = self.cli.logout(self.wish.timeout)
            self._look(self.cli.status())
            if reason:
                raise TailscaleError(
                    f"logging out failed: {reason}; remove the node at the control server, then run this again"
                )
        return self.outcome


def _in_brackets(text: str) -> str:
    return f" ({text})" if text else ""


def _closes(change: Change) -> bool:
    """Whether a preference refuses all that comes in."""
    return change.pref.option == "shields_up" and change.after is True
