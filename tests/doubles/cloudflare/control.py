"""What a test in another process asks of the double beside its record and faults: zones and tokens to begin with."""

from __future__ import annotations

from tests.doubles.cloudflare import zones
from tests.doubles.cloudflare.core import Cloudflare
from tests.doubles.web import Request, Routes

routes = Routes()


@routes.on("POST", "/_double/zones")
def zone(cloud: Cloudflare, request: Request) -> dict[str, str]:
    """``{name, plan?}``."""
    return {"id": zones.add_zone(cloud, **request.body)}


@routes.on("POST", "/_double/tokens")
def token(cloud: Cloudflare, request: Request) -> dict[str, str]:
    """``{value, groups, owner?}``."""
    made = cloud.add_token(request.body["value"], *request.body["groups"], owner=request.body.get("owner", "account"))
    return {"id": made.id}
