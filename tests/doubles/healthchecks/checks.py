"""What a check is, the state it is in at a moment, and the project that all checks are in."""

from __future__ import annotations

import hashlib
import itertools
import math
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any, NoReturn
from zoneinfo import ZoneInfo

from cronsim import CronSim
from oncalendar import OnCalendar

from tests.doubles.web import Reply, Request, Route, Routes, Stop, WebDouble

API_KEY = "hcw_" + "a1" * 14
READ_KEY = "hcr_" + "b2" * 14
PING_KEY = "c3" * 11
QUOTA = 20
"""Checks of the free plan."""
PER_MINUTE = 100
"""Requests to the management API."""
NAMESPACE = uuid.UUID("8f14e45f-ceea-467f-9f2c-0d1c3a6e2b77")
TEXTS = ("name", "slug", "tags", "desc", "methods", "channels", "tz", "schedule")
WORDS = ("start_kw", "success_kw", "failure_kw")
SWITCHES = ("manual_resume", "filter_subject", "filter_body", "filter_http_body", "filter_default_fail")


@dataclass
class Ping:
    """One call of a job: ``kind`` is success, start, fail, log or ign."""

    kind: str
    at: float
    body: bytes = b""
    exitstatus: int | None = None
    rid: str = ""


@dataclass
class Check:
    """One check; ``kind`` is simple (``timeout``), cron or oncalendar (``schedule`` in ``tz``)."""

    code: str
    created: float
    kind: str = "simple"
    name: str = ""
    slug: str = ""
    tags: str = ""
    desc: str = ""
    timeout: int = 86400
    grace: int = 3600
    schedule: str = "* * * * *"
    tz: str = "UTC"
    methods: str = ""
    channels: str = ""
    manual_resume: bool = False
    start_kw: str = ""
    success_kw: str = ""
    failure_kw: str = ""
    filter_subject: bool = False
    filter_body: bool = False
    filter_http_body: bool = False
    filter_default_fail: bool = False
    paused: bool = False
    pings: list[Ping] = field(default_factory=list)

    def _judged(self) -> list[Ping]:
        return [ping for ping in self.pings if ping.kind in ("success", "fail")]

    def due(self) -> float | None:
        """When the next success is expected, None before the first."""
        judged = self._judged()
        if not judged or judged[-1].kind == "fail":
            return None
        last = judged[-1].at
        if self.kind == "simple":
            return last + self.timeout
        moment = datetime.fromtimestamp(last, ZoneInfo(self.tz))
        if self.kind == "cron":
            return float(next(CronSim(self.schedule, moment)).timestamp())
        nexts = [following(line, moment) for line in self.schedule.splitlines()]
        return min(float(one.timestamp()) for one in nexts)

    def started(self) -> bool:
        """Whether a start was heard of that no end has followed."""
        known = [ping for ping in self.pings if ping.kind in ("success", "fail", "start")]
        return bool(known) and known[-1].kind == "start"

    def status(self, now: float) -> str:
        """The state at a moment: new, up, grace, down or paused."""
        if self.paused:
            return "paused"
        known = [ping for ping in self.pings if ping.kind in ("success", "fail", "start")]
        if known and known[-1].kind == "start" and now > known[-1].at + self.grace:
            return "down"
        judged = self._judged()
        if not judged:
            return "new"
        due = self.due()
        if due is None or now > due + self.grace:
            return "down"
        return "grace" if now > due else "up"


def following(line: str, moment: datetime) -> datetime:
    """The next moment of one OnCalendar expression."""
    found: datetime = next(OnCalendar(line, moment))
    return found


def refuse(status: int, message: str) -> NoReturn:
    """Answer with an error in the API's form."""
    raise Stop(Reply(status, {"error": message}))


class Healthchecks(WebDouble):
    """The project. ``moved`` seconds are added to the clock, so that a test need not wait for a check to go down."""

    def __init__(self, *parts: Routes, clock: Callable[[], float] = time.time) -> None:
        super().__init__(*parts, clock=clock)
        self.checks: dict[str, Check] = {}
        self.channels = [
            {"id": str(uuid.uuid5(NAMESPACE, "mail")), "name": "Mail to the operator", "kind": "email"},
            {"id": str(uuid.uuid5(NAMESPACE, "hook")), "name": "", "kind": "webhook"},
        ]
        self.quota = QUOTA
        self.per_minute = PER_MINUTE
        self.keys = {API_KEY: "write", READ_KEY: "read"}
        self.ping_key = PING_KEY
        self.moved = 0.0
        self.asked: list[float] = []
        self._numbers = itertools.count(1)

    def now(self) -> float:
        """The moment of the double."""
        return self.clock() + self.moved

    def add(self) -> Check:
        """A check with the values that the API gives where none are sent."""
        code = str(uuid.uuid5(NAMESPACE, f"check {next(self._numbers)}"))
        self.checks[code] = Check(code, self.now())
        return self.checks[code]

    def with_slug(self, slug: str) -> list[Check]:
        """The checks of that slug, oldest first."""
        return [check for check in self.checks.values() if check.slug == slug]

    def admit(self, request: Request, route: Route) -> None:
        """The key, what it may, and how often: ``needs`` is read, write or "" for nothing."""
        if not route.needs:
            return
        body = request.body if isinstance(request.body, dict) else {}
        may = self.keys.get(request.headers.get("x-api-key") or str(body.get("api_key", "")))
        if may is None or (route.needs == "write" and may != "write"):
            refuse(401, "wrong api key")
        now = self.clock()
        self.asked = [moment for moment in self.asked if moment > now - 60]
        if len(self.asked) >= self.per_minute:
            wait = max(1, math.ceil(self.asked[0] + 60 - now))
            raise Stop(Reply(429, {"error": "rate limit exceeded"}, {"retry-after": str(wait)}))
        self.asked.append(now)
        request.params["_may"] = may

    def shown(self, check: Check, may: str) -> dict[str, Any]:
        """A check as the API answers it; a key that only reads sees no address of it."""
        due = check.due()
        last = [ping for ping in check.pings if ping.kind != "log"]
        answer: dict[str, Any] = {
            **{key: getattr(check, key) for key in (*TEXTS[:5], "grace", *WORDS, *SWITCHES)},
            "n_pings": len(check.pings),
            "status": check.status(self.now()),
            "started": check.started(),
            "last_ping": stamp(last[-1].at) if last else None,
            "next_ping": stamp(due) if due else None,
            "badge_url": None,
        }
        answer |= {"timeout": check.timeout} if check.kind == "simple" else {"schedule": check.schedule, "tz": check.tz}
        if may == "read":
            return {**answer, "unique_key": hashlib.sha1(check.code.encode(), usedforsecurity=False).hexdigest()}
        home = f"{self.url}/api/v3/checks/{check.code}"
        return {
            **answer,
            "uuid": check.code,
            "ping_url": f"{self.url}/{check.code}",
            "update_url": home,
            "pause_url": f"{home}/pause",
            "resume_url": f"{home}/resume",
            "channels": check.channels,
        }

    def unknown(self, request: Request) -> Reply:
        """No such place; the ping addresses answer in words."""
        if request.path.startswith("/api/"):
            return Reply(404, {"error": "not found"})
        return Reply(404, raw=b"(not found)", content_type="text/plain")

    def broken(self, status: int) -> Reply:
        """An error in the API's own form."""
        return Reply(status, {"error": HTTPStatus(status).phrase.lower()})


def stamp(moment: float) -> str:
    """A moment as the API writes it."""
    return (datetime.fromtimestamp(0, UTC) + timedelta(seconds=int(moment))).isoformat()
