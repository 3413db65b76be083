"""What a test in another process asks of the double itself: its record, faults, and zones and tokens to begin with."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from tests.doubles.cloudflare import zones
from tests.doubles.cloudflare.core import Cloudflare
from tests.doubles.web import Fault, Request, Routes

routes = Routes()


@routes.on("GET", "/_double/log", needs="-")
def log(cloud: Cloudflare, _request: Request) -> list[dict[str, Any]]:
    return [asdict(seen) for seen in cloud.log]


@routes.on("DELETE", "/_double/log", needs="-")
def forget(cloud: Cloudflare, _request: Request) -> None:
    cloud.log.clear()


@routes.on("POST", "/_double/faults", needs="-")
def fault(cloud: Cloudflare, request: Request) -> None:
    """The fields of :class:`Fault`."""
    cloud.faults.append(Fault(**request.body))


@routes.on("DELETE", "/_double/faults", needs="-")
def heal(cloud: Cloudflare, _request: Request) -> None:
    cloud.faults.clear()


@routes.on("POST", "/_double/zones", needs="-")
def zone(cloud: Cloudflare, request: Request) -> dict[str, str]:
    """``{name, plan?}``."""
    return {"id": zones.add_zone(cloud, **request.body)}


@routes.on("POST", "/_double/tokens", needs="-")
def token(cloud: Cloudflare, request: Request) -> dict[str, str]:
    """``{value, groups, owner?}``."""
    made = cloud.add_token(request.body["value"], *request.body["groups"], owner=request.body.get("owner", "account"))
    return {"id": made.id}
