"""What a test in another process asks of the double beside its record and faults: tokens, and actions that fail."""

from __future__ import annotations

from typing import Any

from tests.doubles.hetzner.core import Hetzner
from tests.doubles.web import Request, Routes

routes = Routes()


@routes.on("POST", "/_double/tokens")
def token(double: Hetzner, request: Request) -> dict[str, Any]:
    """``{value, scope?: read-write or read}``."""
    double.tokens[request.body["value"]] = request.body.get("scope", "read-write")
    return {}


@routes.on("POST", "/_double/actions")
def failing(double: Hetzner, request: Request) -> dict[str, Any]:
    """``{command, code?, message?}``: the next action of this kind fails."""
    double.break_action(**request.body)
    return {}
