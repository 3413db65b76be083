"""Zones."""

from __future__ import annotations

from typing import Any

from tests.doubles.cloudflare.core import ACCOUNT, PREFIX, Cloudflare, refuse
from tests.doubles.web import Reply, Request, Routes

routes = Routes()

PLANS = {
    "free": "Free Website",
    "pro": "Pro Website",
    "business": "Business Website",
    "enterprise": "Enterprise Website",
}


class Zones:
    """The zones of the account by id."""

    def __init__(self) -> None:
        self.by_id: dict[str, dict[str, Any]] = {}


def add_zone(cloud: Cloudflare, name: str, plan: str = "free") -> str:
    """A zone that is active; answers its id."""
    zone = cloud.new_id()
    cloud.part(Zones).by_id[zone] = {
        "id": zone,
        "name": name,
        "status": "active",
        "type": "full",
        "paused": False,
        "development_mode": 0,
        "name_servers": ["ada.ns.cloudflare.com", "bob.ns.cloudflare.com"],
        "original_name_servers": [],
        "created_on": cloud.now(),
        "modified_on": cloud.now(),
        "activated_on": cloud.now(),
        "account": {"id": ACCOUNT, "name": "the account"},
        "owner": {"id": None, "type": "user", "email": None},
        "plan": {"id": "0feeeeeeeeeeeeeeeeeeeeeeeeeeeeee", "name": PLANS[plan], "legacy_id": plan, "price": 0},
        "meta": {"step": 4, "page_rule_quota": 3, "phishing_detected": False},
        "permissions": [],
    }
    return zone


def zone_of(cloud: Cloudflare, request: Request) -> dict[str, Any]:
    """The zone of a request's path. Refuses where there is none."""
    zone = cloud.part(Zones).by_id.get(request.params["zone"])
    if zone is None:
        refuse(404, 7003, f"Could not route to {request.path}, perhaps your object identifier is invalid?")
    return zone


@routes.on("GET", f"{PREFIX}/zones", needs="Zone Read")
def find(cloud: Cloudflare, request: Request) -> Reply:
    """Only what the token may see; the filter takes a name with the dot at its end, too."""
    token = cloud.token_of(request)
    wanted = request.query.get("name", "").rstrip(".")
    zones = [
        zone
        for zone in cloud.part(Zones).by_id.values()
        if cloud.may(token, "Zone Read", zone["id"]) and wanted in ("", zone["name"])
    ]
    return cloud.pages(zones, request)


@routes.on("GET", f"{PREFIX}/zones/{{zone}}", needs="Zone Read")
def read(cloud: Cloudflare, request: Request) -> dict[str, Any]:
    return zone_of(cloud, request)
