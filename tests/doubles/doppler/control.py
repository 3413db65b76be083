"""What a test in another process asks of the double beside its record and faults: configs and tokens to begin with."""

from __future__ import annotations

from typing import Any

from tests.doubles.doppler.core import Doppler
from tests.doubles.web import Request, Routes

routes = Routes()


@routes.on("POST", "/_double/configs")
def config(double: Doppler, request: Request) -> dict[str, Any]:
    """``{project, config, values}``."""
    double.add_config(request.body["project"], request.body["config"], request.body.get("values"))
    return {}


@routes.on("POST", "/_double/tokens")
def token(double: Doppler, request: Request) -> dict[str, Any]:
    """``{value, configs?: ["project/config"], access?}``."""
    double.add_token(**request.body)
    return {}
