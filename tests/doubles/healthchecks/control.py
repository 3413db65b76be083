"""What a test in another process asks of the double itself: its record, faults, its clock, and what jobs told it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from tests.doubles.healthchecks.checks import Healthchecks
from tests.doubles.web import Fault, Request, Routes

routes = Routes()


@routes.on("GET", "/_double/log")
def log(double: Healthchecks, _request: Request) -> list[dict[str, Any]]:
    return [asdict(seen) for seen in double.log]


@routes.on("DELETE", "/_double/log")
def forget(double: Healthchecks, _request: Request) -> dict[str, Any]:
    double.log.clear()
    return {}


@routes.on("POST", "/_double/faults")
def fault(double: Healthchecks, request: Request) -> dict[str, Any]:
    """The fields of :class:`Fault`."""
    double.faults.append(Fault(**request.body))
    return {}


@routes.on("DELETE", "/_double/faults")
def heal(double: Healthchecks, _request: Request) -> dict[str, Any]:
    double.faults.clear()
    return {}


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
