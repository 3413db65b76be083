"""What is sold: locations, types of servers with where they can be had, images."""

from __future__ import annotations

from typing import Any

from tests.doubles.hetzner.core import PREFIX, Hetzner, Resource, refuse
from tests.doubles.web import Reply, Request, Routes

routes = Routes()

PLACES = {"fsn1": "eu-central", "nbg1": "eu-central", "hel1": "eu-central", "ash": "us-east", "hil": "us-west"}
# name: cores, memory, disk, architecture, price, locations
TYPES = {
    "cpx11": (2, 2, 40, "x86", 4.99, ("ash", "hil")),
    "cpx21": (3, 4, 80, "x86", 8.99, ("ash", "hil")),
    "cpx31": (4, 8, 160, "x86", 15.99, ("ash", "hil")),
    "cpx22": (2, 4, 80, "x86", 7.99, ("fsn1", "nbg1", "hel1")),
    "cx23": (2, 4, 40, "x86", 3.99, ("fsn1", "nbg1", "hel1")),
    "cax11": (2, 4, 40, "arm", 3.79, ("fsn1", "nbg1", "hel1")),
}
IMAGES = (("debian-12", "x86"), ("debian-13", "x86"), ("debian-13", "arm"), ("ubuntu-24.04", "x86"))
AGO = "2024-01-01T00:00:00+00:00"


def fill(double: Hetzner) -> None:
    """Put the shop's goods on its shelves."""
    for number, (name, zone) in enumerate(PLACES.items(), 1):
        double.all("locations")[number] = {
            "id": number,
            "name": name,
            "description": f"{name} DC Park",
            "country": "US" if zone.startswith("us") else "DE",
            "city": name,
            "latitude": 39.0,
            "longitude": -77.5,
            "network_zone": zone,
        }
    for number, (name, (cores, memory, disk, architecture, price, where)) in enumerate(TYPES.items(), 20):
        double.all("server_types")[number] = {
            "id": number,
            "name": name,
            "description": name.upper(),
            "cores": cores,
            "memory": memory,
            "disk": disk,
            "category": "Shared vCPU",
            "architecture": architecture,
            "cpu_type": "shared",
            "storage_type": "local",
            "deprecated": False,
            "deprecation": None,
            "prices": [_price(place, price) for place in where],
            "locations": [
                {
                    "id": double.named("locations", place)["id"],
                    "name": place,
                    "available": True,
                    "recommended": True,
                    "deprecation": None,
                }
                for place in where
            ],
        }
    for number, (name, architecture) in enumerate(IMAGES, 60):
        flavor, _dash, version = name.partition("-")
        double.all("images")[number] = {
            "id": number,
            "type": "system",
            "status": "available",
            "name": name,
            "description": name,
            "image_size": None,
            "disk_size": 5,
            "created": AGO,
            "created_from": None,
            "bound_to": None,
            "os_flavor": flavor,
            "os_version": version,
            "rapid_deploy": True,
            "protection": {"delete": False},
            "deprecated": None,
            "deleted": None,
            "labels": {},
            "architecture": architecture,
        }


def _price(place: str, month: float) -> dict[str, Any]:
    def both(value: float) -> dict[str, str]:
        return {"net": f"{value:.4f}", "gross": f"{value * 1.19:.4f}"}

    return {
        "location": place,
        "price_hourly": both(month / 600),
        "price_monthly": both(month),
        "included_traffic": 1 << 40,
        "price_per_tb_traffic": both(1.0),
    }


def offer(double: Hetzner, kind: str, location: str, **changes: Any) -> None:
    """Change how a type can be had somewhere: ``available=False``, ``deprecation={announced, unavailable_after}``."""
    for place in double.named("server_types", kind)["locations"]:
        if place["name"] == location:
            place.update(changes)


def withdraw(double: Hetzner, kind: str, location: str) -> None:
    """A type is no longer sold somewhere at all."""
    known = double.named("server_types", kind)
    known["locations"] = [each for each in known["locations"] if each["name"] != location]


def buy(double: Hetzner, kind: Resource, location: str) -> None:
    """Refuse a type that cannot be had in a location."""
    place = next((each for each in kind["locations"] if each["name"] == location), None)
    if place is None or (place["deprecation"] and place["deprecation"]["unavailable_after"] <= double.now()):
        refuse(422, "invalid_input", "unsupported location for server type")
    if not place["available"]:
        refuse(412, "resource_unavailable", "error during placement")


def _serve(kind: str) -> None:
    @routes.on("GET", f"{PREFIX}/{kind}")
    def listed(double: Hetzner, request: Request) -> Reply:
        return double.list_of(kind, request)

    @routes.on("GET", f"{PREFIX}/{kind}/{{id}}")
    def read(double: Hetzner, request: Request) -> dict[str, Any]:
        return {kind[:-1]: double.one(kind, request)}


@routes.on("GET", f"{PREFIX}/images")
def images(double: Hetzner, request: Request) -> Reply:
    """Images are told apart by name and architecture."""
    asked = request.query
    found = [
        each
        for each in double.all("images").values()
        if asked.get("name") in (None, each["name"])
        and asked.get("architecture") in (None, each["architecture"])
        and asked.get("type") in (None, each["type"])
        and (each["deprecated"] is None or asked.get("include_deprecated", "").lower() == "true")
    ]
    return double.page("images", found, request)


@routes.on("GET", f"{PREFIX}/datacenters")
def datacenters(_double: Hetzner, _request: Request) -> None:
    """Gone since October 2026."""
    refuse(410, "deprecated_api_endpoint", "datacenters are gone, use locations")


for _kind in ("locations", "server_types", "images"):
    _serve(_kind)
