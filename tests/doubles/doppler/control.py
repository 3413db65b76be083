"""What a test in another process asks of the double itself: its record, faults, configs and tokens to begin with."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from tests.doubles.doppler.core import Doppler
from tests.doubles.web import Fault, Request, Routes

routes = Routes()


@routes.on("GET", "/_double/log", needs="-")
def log(double: Doppler, _request: Request) -> list[dict[str, Any]]:
    return [asdict(seen) for seen in double.log]


@routes.on("DELETE", "/_double/log", needs="-")
def forget(double: Doppler, _request: Request) -> dict[str, Any]:
    double.log.clear()
    return {}


@routes.on("POST", "/_double/faults", needs="-")
def fault(double: Doppler, request: Request) -> dict[str, Any]:
    """The fields of :class:`Fault`."""
    double.faults.append(Fault(**request.body))
    return {}


@routes.on("DELETE", "/_double/faults", needs="-")
def heal(double: Doppler, _request: Request) -> dict[str, Any]:
    double.faults.clear()
    return {}


@routes.on("POST", "/_double/configs", needs="-")
def config(double: Doppler, request: Request) -> dict[str, Any]:
    """``{project, config, values}``."""
    double.add_config(request.body["project"], request.body["config"], request.body.get("values"))
    return {}


@routes.on("POST", "/_double/tokens", needs="-")
def token(double: Doppler, request: Request) -> dict[str, Any]:
    """``{value, configs?: ["project/config"], access?}``."""
    double.add_token(**request.body)
    return {}
