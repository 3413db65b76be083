"""The management API v3: checks, their pings and flips, and the channels that are told."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError
from oncalendar import OnCalendar, OnCalendarError

from tests.doubles.healthchecks.checks import SWITCHES, TEXTS, WORDS, Check, Healthchecks, refuse, stamp
from tests.doubles.web import Reply, Request, Routes

routes = Routes()
HOME = "/api/v3/checks"
SLUG = re.compile(r"[a-z0-9_-]*")
LENGTHS = {"name": 100, "slug": 100, "tags": 500, "schedule": 100, "start_kw": 200, "success_kw": 200}
SECONDS = range(60, 31536001)
UNIQUE = ("name", "slug", "tags", "timeout", "grace")
MOST_PINGS = 100


@routes.on("GET", "/api/v3/status/")
def status(_double: Healthchecks, _request: Request) -> Reply:
    return Reply(200, raw=b"OK", content_type="text/plain")


@routes.on("GET", f"{HOME}/", needs="read")
def listed(double: Healthchecks, request: Request) -> dict[str, Any]:
    found = list(double.checks.values())
    if "slug" in request.query:
        found = double.with_slug(request.query["slug"])
    if "tag" in request.query:
        found = [check for check in found if request.query["tag"] in check.tags.split()]
    return {"checks": [double.shown(check, request.params["_may"]) for check in found]}


@routes.on("POST", f"{HOME}/", needs="write")
def create(double: Healthchecks, request: Request) -> Reply:
    wish = validated(double, request.body)
    unique = request.body.get("unique", [])
    if not isinstance(unique, list) or any(key not in UNIQUE for key in unique):
        refuse(400, "json validation error: unexpected value in unique")
    # A name that is not sent matches nothing, so that one more check is made.
    same = [
        check
        for check in double.checks.values()
        if unique and all(key in wish and getattr(check, key) == wish[key] for key in unique)
    ]
    if same:
        write(same[0], wish)
        return Reply(200, double.shown(same[0], "write"))
    if len(double.checks) >= double.quota:
        refuse(403, "")
    check = double.add()
    write(check, wish)
    return Reply(201, double.shown(check, "write"))


@routes.on("GET", f"{HOME}/{{code}}", needs="read")
def read(double: Healthchecks, request: Request) -> dict[str, Any]:
    return double.shown(found(double, request), request.params["_may"])


@routes.on("POST", f"{HOME}/{{code}}", needs="write")
def update(double: Healthchecks, request: Request) -> dict[str, Any]:
    check = found(double, request)
    write(check, validated(double, request.body))
    return double.shown(check, "write")


@routes.on("DELETE", f"{HOME}/{{code}}", needs="write")
def delete(double: Healthchecks, request: Request) -> dict[str, Any]:
    check = found(double, request)
    del double.checks[check.code]
    return double.shown(check, "write")


@routes.on("POST", f"{HOME}/{{code}}/pause", needs="write")
def pause(double: Healthchecks, request: Request) -> dict[str, Any]:
    check = found(double, request)
    check.paused = True
    return double.shown(check, "write")


@routes.on("POST", f"{HOME}/{{code}}/resume", needs="write")
def resume(double: Healthchecks, request: Request) -> dict[str, Any]:
    check = found(double, request)
    if not check.paused:
        refuse(409, "check is not paused")
    check.paused, check.pings = False, []
    return double.shown(check, "write")


@routes.on("GET", f"{HOME}/{{code}}/pings/", needs="write")
def pings(double: Healthchecks, request: Request) -> dict[str, Any]:
    check = found(double, request)
    numbered = [
        {
            "type": ping.kind,
            "date": stamp(ping.at),
            "n": number,
            "scheme": "http",
            "method": "POST" if ping.body else "GET",
            "rid": ping.rid or None,
            **({} if ping.exitstatus is None else {"exitstatus": ping.exitstatus}),
        }
        for number, ping in enumerate(check.pings, 1)
    ]
    return {"pings": list(reversed(numbered))[:MOST_PINGS]}


@routes.on("GET", f"{HOME}/{{code}}/pings/{{number}}/body", needs="write")
def ping_body(double: Healthchecks, request: Request) -> Reply:
    check, number = found(double, request), request.params["number"]
    if not number.isdigit() or not 1 <= int(number) <= len(check.pings) or not check.pings[int(number) - 1].body:
        refuse(404, "not found")
    return Reply(200, raw=check.pings[int(number) - 1].body, content_type="text/plain")


@routes.on("GET", "/api/v3/channels/", needs="read")
def channels(double: Healthchecks, _request: Request) -> dict[str, Any]:
    return {"channels": double.channels}


def found(double: Healthchecks, request: Request) -> Check:
    """The check of a request, else 404."""
    return double.checks.get(request.params["code"]) or refuse(404, "not found")


def validated(double: Healthchecks, body: Any) -> dict[str, Any]:
    """What a body says about a check, refused as the API refuses it."""
    if not isinstance(body, Mapping):
        refuse(400, "json validation error: value is not an object")
    wish: dict[str, Any] = {}
    for key in (*TEXTS, *WORDS):
        if key in body:
            if not isinstance(body[key], str):
                refuse(400, f"json validation error: {key} is not a string")
            if len(body[key]) > LENGTHS.get(key, 1000):
                refuse(400, f"json validation error: {key} is too long")
            wish[key] = body[key]
    for key in SWITCHES:
        if key in body:
            if not isinstance(body[key], bool):
                refuse(400, f"json validation error: {key} is not a boolean")
            wish[key] = body[key]
    for key in ("timeout", "grace"):
        if key in body:
            if not isinstance(body[key], int) or isinstance(body[key], bool):
                refuse(400, f"json validation error: {key} is not a number")
            if body[key] not in SECONDS:
                refuse(400, f"json validation error: {key} is too {'small' if body[key] < 60 else 'large'}")
            wish[key] = body[key]
    if not SLUG.fullmatch(wish.get("slug", "")):
        refuse(400, "json validation error: slug does not match pattern")
    if wish.get("methods", "") not in ("", "POST"):
        refuse(400, "json validation error: methods has unexpected value")
    if "schedule" in wish:
        wish["kind"] = kind_of(wish["schedule"])
    elif "timeout" in wish:
        # One of the traps: a timeout alone turns a check of a schedule into a simple one.
        wish["kind"] = "simple"
    if "tz" in wish:
        try:
            ZoneInfo(wish["tz"])
        except (ZoneInfoNotFoundError, ValueError):
            refuse(400, "json validation error: tz is not a valid timezone")
    if "channels" in wish:
        wish["channels"] = resolved(double, wish["channels"])
    return wish


def kind_of(schedule: str) -> str:
    """Whether a schedule is cron or OnCalendar; refused where it is neither."""
    try:
        CronSim(schedule, datetime.now(UTC))
    except CronSimError:
        try:
            for line in schedule.splitlines():
                OnCalendar(line, datetime.now(UTC))
        except OnCalendarError:
            refuse(400, "json validation error: schedule is not a valid cron or OnCalendar expression")
        return "oncalendar"
    return "cron"


def resolved(double: Healthchecks, wanted: str) -> str:
    """Identifiers, comma-separated, of the channels that are named by identifier or by name."""
    if wanted == "*":
        return ",".join(str(channel["id"]) for channel in double.channels)
    codes = []
    for word in filter(None, wanted.split(",")):
        same = [channel for channel in double.channels if word in (channel["id"], channel["name"])]
        if not same:
            refuse(400, f"invalid channel identifier: {word}")
        if len(same) > 1:
            refuse(400, f"non-unique channel identifier: {word}")
        codes.append(str(same[0]["id"]))
    return ",".join(codes)


def write(check: Check, wish: Mapping[str, Any]) -> None:
    """Set what is wished and leave the rest."""
    for key, value in wish.items():
        setattr(check, key, value)
