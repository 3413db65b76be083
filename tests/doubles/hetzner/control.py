"""What a test in another process asks of the double itself: its record, faults, tokens, actions that fail."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from tests.doubles.hetzner.core import Hetzner
from tests.doubles.web import Fault, Request, Routes

routes = Routes()


@routes.on("GET", "/_double/log", needs="-")
def log(double: Hetzner, _request: Request) -> list[dict[str, Any]]:
    return [asdict(seen) for seen in double.log]


@routes.on("DELETE", "/_double/log", needs="-")
def forget(double: Hetzner, _request: Request) -> dict[str, Any]:
    double.log.clear()
    return {}


@routes.on("POST", "/_double/faults", needs="-")
def fault(double: Hetzner, request: Request) -> dict[str, Any]:
    """The fields of :class:`Fault`."""
    double.faults.append(Fault(**request.body))
    return {}


@routes.on("DELETE", "/_double/faults", needs="-")
def heal(double: Hetzner, _request: Request) -> dict[str, Any]:
    double.faults.clear()
    return {}


@routes.on("POST", "/_double/tokens", needs="-")
def token(double: Hetzner, request: Request) -> dict[str, Any]:
    """``{value, scope?: read-write or read}``."""
    double.tokens[request.body["value"]] = request.body.get("scope", "read-write")
    return {}


@routes.on("POST", "/_double/actions", needs="-")
def failing(double: Hetzner, request: Request) -> dict[str, Any]:
    """``{command, code?, message?}``: the next action of this kind fails."""
    double.break_action(**request.body)
    return {}
