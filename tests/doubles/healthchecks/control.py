"""What a test in another process asks of the double beside its record and faults: its clock, and what jobs told it."""

from __future__ import annotations

from typing import Any

from tests.doubles.healthchecks.checks import Healthchecks
from tests.doubles.web import Request, Routes

routes = Routes()


@routes.on("POST", "/_double/clock")
def clock(double: Healthchecks, request: Request) -> dict[str, Any]:
    """``{forward: seconds}``: let time pass."""
    double.moved += request.body["forward"]
    return {}


@routes.on("GET", "/_double/heard")
def heard(double: Healthchecks, _request: Request) -> dict[str, list[dict[str, Any]]]:
    """The pings of each slug, oldest first."""
    return {
        check.slug: [
            {"kind": ping.kind, "body": ping.body.decode(errors="replace"), "rid": ping.rid} for ping in check.pings
        ]
        for check in double.checks.values()
    }


@routes.on("POST", "/_double/plan")
def plan(double: Healthchecks, request: Request) -> dict[str, Any]:
    """``{quota, per_minute}``: a larger plan."""
    double.quota = request.body.get("quota", double.quota)
    double.per_minute = request.body.get("per_minute", double.per_minute)
    return {}
