# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Talk to Uptime Kuma 2 as its own pages do (private to this collection).

What one trips over: a message sent before the server's ``info`` is lost and never answered; logging in is limited to 20
times a minute for everybody together, successes included; objects are edited whole; lists arrive as events, unasked.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Optional

from ansible_collections.sapflux.hosting.plugins.module_utils._engineio import Opener, Wire, WireError, opener

LISTS = ("monitorList", "notificationList", "maintenanceList", "statusPageList")
LOGIN_WAIT = 75.0
"""Seconds that a login may wait for its turn: the limiter lets everybody in again within a minute."""
LOGIN_PAUSE = 5.0
TOO_MANY = "Too frequently"
Object = Dict[str, Any]
pause = time.sleep
"""A seam for tests."""


class KumaError(Exception):
    """The server refused, or what was asked makes no sense. One sentence with the way out, never a secret."""


class KumaAwayError(KumaError):
    """Nobody answers."""


@dataclass
class Found:
    """What is there. Monitors by number; a status page's ``groups`` are [{name, monitors: [number]}]."""

    monitors: Dict[int, Object] = field(default_factory=dict)
    notifications: List[Object] = field(default_factory=list)
    tags: List[Object] = field(default_factory=list)
    maintenances: List[Object] = field(default_factory=list)
    pages: Dict[str, Object] = field(default_factory=dict)
    settings: Object = field(default_factory=dict)


class Kuma:
    """One session with a server."""

    wire_timeout = 30.0

    def __init__(self, url: str, secrets: Optional[List[str]] = None, send: Optional[Opener] = None) -> None:
        self.url = url.rstrip("/")
        self.secrets = [secret for secret in secrets or [] if secret]
        self.send = send or opener
        self.info: Object = {}
        self.lists: Dict[str, Any] = {}
        self.beats: Dict[int, Object] = {}
        self.logins = 0
        self.wire = Wire(self.url, self._heard, send=send)

    def _heard(self, name: str, arguments: List[Any]) -> None:
        first: Any = arguments[0] if arguments else None
        if name == "info":
            self.info = dict(first or {})
        elif name == "heartbeat":
            self.beats[int(first["monitorID"])] = first
        elif name == "updateMonitorIntoList":
            self.lists.setdefault("monitorList", {}).update(first or {})
        elif name in LISTS:
            self.lists[name] = first

    def connect(self) -> bool:
        """Connect and wait until the server listens; whether nobody is known there yet. Raises :class:`KumaError`."""
        self._refuse_unready()
        try:
            self.wire.open()
            # What is sent before the server says this is lost.
            self.wire.until(lambda: bool(self.info), self.wire.timeout, "its greeting (info)")
        except (WireError, TimeoutError) as error:
            raise KumaError(f"Uptime Kuma does not answer: {error}") from error
        return bool(self.call("needSetup"))

    def _refuse_unready(self) -> None:
        try:
            status, raw = self.send("GET", f"{self.url}/api/entry-page", None, self.wire_timeout)
            page = json.loads(raw) if status == 200 else {}
        except (OSError, ValueError) as error:
            raise KumaAwayError(
                f"Uptime Kuma does not answer at {self.url}: {getattr(error, 'reason', error)}"
            ) from error
        if page.get("type") == "setup-database":
            raise KumaError("Uptime Kuma asks which database to use: start it with UPTIME_KUMA_DB_TYPE=sqlite")
        if "type" not in page:
            raise KumaError(f"{self.url} is no Uptime Kuma: it answers /api/entry-page with {status}")

    def close(self) -> None:
        """Leave."""
        self.wire.close()

    def call(self, event: str, *arguments: Any) -> Any:
        """The answer to an event. Raises :class:`KumaError` where it does not come, or says no."""
        try:
            answer = self.wire.call(event, *arguments)
        except (WireError, TimeoutError) as error:
            raise KumaError(
                f"Uptime Kuma failed at {event}: {error}; look at what is there, and run this again"
            ) from error
        if isinstance(answer, dict) and answer.get("ok") is False:
            raise KumaError(f"Uptime Kuma refused {event}: {self.mask(str(answer.get('msg', 'no reason given')))}")
        return answer

    def mask(self, text: str) -> str:
        """The text without secrets."""
        for secret in self.secrets:
            text = text.replace(secret, "********")
        return text

    def setup(self, user: str, password: str) -> None:
        """Make the first user."""
        try:
            self.call("setup", user, password)
        except KumaError as error:
            weak = "passwordTooWeak" in str(error) or "weak" in str(error)
            raise KumaError(f"{error}{'; use a longer one of letters and digits' if weak else ''}") from error

    def login(self, user: str, password: str) -> None:
        """Log in once, waiting for its turn where others did too often, and take what the server tells."""
        waited = 0.0
        while True:
            self.logins += 1
            answer = self._login(user, password)
            if answer.get("ok") or TOO_MANY not in str(answer.get("msg")):
                break
            if waited >= LOGIN_WAIT:
                raise KumaError("Uptime Kuma lets nobody log in, for too many do; run this again in a minute")
            pause(LOGIN_PAUSE)
            waited += LOGIN_PAUSE
        if answer.get("tokenRequired"):
            raise KumaError(
                f"the user {user} needs a second factor, which a program does not have; give it a user without"
            )
        if not answer.get("ok"):
            raise KumaError(f"Uptime Kuma does not know the user {user} with this password; see monitoring.kuma")
        try:
            self.wire.until(
                lambda: all(name in self.lists for name in LISTS) and bool(self.info.get("version")),
                self.wire.timeout,
                "what it knows",
            )
        except (WireError, TimeoutError) as error:
            raise KumaError(f"Uptime Kuma does not answer: {error}") from error
        self._refuse_version()

    def _login(self, user: str, password: str) -> Object:
        try:
            answer = self.wire.call("login", {"username": user, "password": password, "token": ""})
        except (WireError, TimeoutError) as error:
            raise KumaError(f"Uptime Kuma failed at login: {error}") from error
        return answer if isinstance(answer, dict) else {}

    def _refuse_version(self) -> None:
        version = str(self.info["version"])
        if version.partition(".")[0] != "2":
            raise KumaError(
                f"this is Uptime Kuma {version} and the collection speaks to 2; its data only go forward: "
                "back them up, then start version 2 on them"
            )

    def found(self, slugs: Optional[List[str]] = None) -> Found:
        """What is there, with the groups of the status pages ``slugs``. Needs a login."""
        notifications = [
            {**json.loads(one.get("config") or "{}"), "id": one["id"], "name": one["name"]}
            for one in self.lists["notificationList"]
        ]
        pages = {page["slug"]: dict(page) for page in self.lists["statusPageList"].values()}
        for slug in slugs or []:
            if slug in pages:
                pages[slug].update(self.call("getStatusPage", slug)["config"])
                pages[slug]["groups"] = self._groups(slug)
        maintenances = [dict(one) for one in self.lists["maintenanceList"].values()]
        for one in maintenances:
            said = self.call("getMonitorMaintenance", one["id"])
            one["monitors"] = sorted(int(monitor["id"]) for monitor in said["monitors"])
        return Found(
            {int(number): dict(one) for number, one in self.lists["monitorList"].items()},
            notifications,
            list(self.call("getTags")["tags"]),
            maintenances,
            pages,
            dict(self.call("getSettings")["data"]),
        )

    def _groups(self, slug: str) -> List[Object]:
        """Only the public page tells its groups."""
        try:
            status, raw = self.send("GET", f"{self.url}/api/status-page/{slug}", None, self.wire_timeout)
            page = json.loads(raw) if status == 200 else {}
        except (OSError, ValueError) as error:
            raise KumaError(f"the status page {slug} cannot be read: {error}") from error
        return [
            {"name": group["name"], "monitors": [int(one["id"]) for one in group["monitorList"]]}
            for group in page.get("publicGroupList", [])
        ]

    def wait_for_beats(self, numbers: List[int], seconds: float, good: Callable[[Object], bool]) -> Dict[int, Object]:
        """The newest beat since the login of each monitor, waiting until each had a ``good`` one, at most so long."""
        # What did not come is what the caller asks for.
        with suppress(WireError, TimeoutError):
            self.wire.until(
                lambda: all(number in self.beats and good(self.beats[number]) for number in numbers), seconds, "beats"
            )
        return {number: self.beats[number] for number in numbers if number in self.beats}
