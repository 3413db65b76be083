"""What jobs call: ``/<uuid>`` or ``/<ping key>/<slug>``, then ``/start``, ``/fail``, ``/log`` or an exit status."""

from __future__ import annotations

import re
import uuid

from tests.doubles.healthchecks.checks import Check, Healthchecks, Ping
from tests.doubles.web import Reply, Request, Routes, Stop

routes = Routes()
LIMIT = 100_000
"""Bytes of a body that are kept."""
STATUS = re.compile(r"\d{1,3}")
ENDS = ("start", "fail", "log")


def words(status: int, text: str) -> Reply:
    return Reply(status, raw=text.encode(), content_type="text/plain", headers={"Ping-Body-Limit": str(LIMIT)})


def heard(double: Healthchecks, check: Check, request: Request, what: str) -> Reply:
    """Write one ping down."""
    kind, code = what, None
    if STATUS.fullmatch(what):
        code = int(what)
        if code > 255:
            return words(400, "invalid url format")
        kind = "fail" if code else "success"
    elif what not in ("", *ENDS):
        # A name of a signal, for one: nothing is recorded, and nobody is told that the job failed.
        return words(404, "not found")
    if check.methods == "POST" and request.method != "POST":
        kind = "ign"
    check.pings.append(Ping(kind or "success", double.now(), request.raw[:LIMIT], code, request.query.get("rid", "")))
    if check.paused and kind != "ign" and not check.manual_resume:
        check.paused = False
    return words(200, "OK")


def by_slug(double: Healthchecks, request: Request) -> tuple[Check, int]:
    """(the check that is meant, 201 where it was made for this)."""
    key, slug = request.params["key"], request.params["slug"]
    if key != double.ping_key:
        raise Stop(words(404, "not found"))
    found = double.with_slug(slug)
    if len(found) > 1:
        raise Stop(words(409, "ambiguous slug"))
    if found:
        return found[0], 200
    if request.query.get("create") != "1" or len(double.checks) >= 2 * double.quota:
        raise Stop(words(404, "not found"))
    check = double.add()
    check.name = check.slug = slug
    check.channels = ",".join(str(channel["id"]) for channel in double.channels)
    return check, 201


def is_code(text: str) -> bool:
    """Whether this is an identifier of a check, as opposed to a ping key."""
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


def one(double: Healthchecks, request: Request) -> Reply:
    if request.params["code"] not in double.checks:
        return words(200 if is_code(request.params["code"]) else 404, "OK (not found)")
    return heard(double, double.checks[request.params["code"]], request, "")


def two(double: Healthchecks, request: Request) -> Reply:
    if is_code(request.params["key"]):
        check = double.checks.get(request.params["key"])
        return heard(double, check, request, request.params["slug"]) if check else words(200, "OK (not found)")
    check, status = by_slug(double, request)
    reply = heard(double, check, request, "")
    return words(status, "Created") if status == 201 else reply


def three(double: Healthchecks, request: Request) -> Reply:
    check, status = by_slug(double, request)
    reply = heard(double, check, request, request.params["what"])
    return words(status, "Created") if status == 201 and reply.status == 200 else reply


for method in ("GET", "HEAD", "POST"):
    routes.on(method, "/{code}")(one)
    routes.on(method, "/{key}/{slug}")(two)
    routes.on(method, "/{key}/{slug}/{what}")(three)
