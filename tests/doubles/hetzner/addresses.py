"""Primary IPs: addresses that outlive servers."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any

from tests.doubles.hetzner.core import PREFIX, Hetzner, Resource, invalid, labels_of, refuse
from tests.doubles.web import Reply, Request, Routes

routes = Routes()
HOME = f"{PREFIX}/primary_ips"


class Pool:
    """Where addresses come from; tests put a network in here that their machines are reached in."""

    def __init__(self) -> None:
        self.ipv4: Iterator[str] = (str(address) for address in ipaddress.IPv4Network("203.0.113.0/24").hosts())
        self.ipv6: Iterator[str] = (str(net) for net in ipaddress.IPv6Network("2001:db8::/48").subnets(new_prefix=64))


def new(double: Hetzner, kind: str, name: str, location: Resource, **more: Any) -> Resource:
    """A primary IP of its own."""
    ip = next(double.part(Pool).ipv4 if kind == "ipv4" else double.part(Pool).ipv6)
    pointers = (
        [] if kind == "ipv6" else [{"ip": ip, "dns_ptr": f"static.{'.'.join(reversed(ip.split('.')))}.example.net"}]
    )
    address: Resource = {
        "id": double.new_id(),
        "name": name,
        "type": kind,
        "ip": ip,
        "location": location,
        "assignee_id": None,
        "assignee_type": "unassigned",
        "auto_delete": False,
        "blocked": False,
        "dns_ptr": pointers,
        "labels": {},
        "protection": {"delete": False},
        "created": double.now(),
        **more,
    }
    double.all("primary_ips")[address["id"]] = address
    return address


def assign(address: Resource, server: Resource) -> None:
    """Give it to a server."""
    address.update(assignee_id=server["id"], assignee_type="server")


def release(address: Resource) -> None:
    """Take it from its server."""
    address.update(assignee_id=None, assignee_type="unassigned")


def of(double: Hetzner, server: Resource, kind: str) -> Resource | None:
    """The address of one kind that a server has."""
    return next(
        (
            each
            for each in double.all("primary_ips").values()
            if each["type"] == kind and each["assignee_id"] == server["id"]
        ),
        None,
    )


def point(address: Resource, body: dict[str, Any]) -> None:
    """Set or remove a reverse name."""
    wanted = body.get("ip")
    inside = ipaddress.ip_network(address["ip"], strict=False)
    if not wanted or ipaddress.ip_address(wanted) not in inside:
        invalid("ip", "is not an address of this resource")
    address["dns_ptr"] = [each for each in address["dns_ptr"] if each["ip"] != wanted]
    if body.get("dns_ptr"):
        address["dns_ptr"].append({"ip": wanted, "dns_ptr": body["dns_ptr"]})


@routes.on("GET", HOME)
def listed(double: Hetzner, request: Request) -> Reply:
    return double.list_of("primary_ips", request)


@routes.on("POST", HOME)
def create(double: Hetzner, request: Request) -> Reply:
    body = request.body or {}
    name = double.unique("primary_ips", body.get("name"))
    if body.get("type") not in ("ipv4", "ipv6"):
        invalid("type", "must be ipv4 or ipv6")
    if body.get("location") is None:
        invalid("location", "location or assignee is required")
    location = double.reference("locations", body["location"], "location")
    more = {"labels": labels_of(body), "auto_delete": bool(body.get("auto_delete"))}
    address = new(double, body["type"], name, location, **more)
    return Reply(201, {"primary_ip": address})


@routes.on("GET", f"{HOME}/{{id}}")
def read(double: Hetzner, request: Request) -> dict[str, Any]:
    return {"primary_ip": double.one("primary_ips", request)}


@routes.on("PUT", f"{HOME}/{{id}}")
def update(double: Hetzner, request: Request) -> dict[str, Any]:
    address, body = double.one("primary_ips", request), request.body or {}
    if body.get("name", address["name"]) != address["name"]:
        address["name"] = double.unique("primary_ips", body["name"])
    address["labels"] = labels_of(body, address["labels"])
    address["auto_delete"] = bool(body.get("auto_delete", address["auto_delete"]))
    return {"primary_ip": address}


@routes.on("DELETE", f"{HOME}/{{id}}")
def delete(double: Hetzner, request: Request) -> Reply:
    address = double.one("primary_ips", request)
    if address["protection"]["delete"]:
        refuse(423, "protected", "primary IP is protected")
    if address["assignee_id"] is not None:
        refuse(422, "must_be_unassigned", "primary IP must be unassigned before it can be deleted")
    del double.all("primary_ips")[address["id"]]
    return Reply(204)


@routes.on("POST", f"{HOME}/{{id}}/actions/change_protection")
def protect(double: Hetzner, request: Request) -> Reply:
    address = double.one("primary_ips", request)
    address["protection"] = {"delete": bool((request.body or {}).get("delete"))}
    return Reply(201, {"action": double.begin("change_protection", ("primary_ip", address["id"]))})


@routes.on("POST", f"{HOME}/{{id}}/actions/change_dns_ptr")
def pointer(double: Hetzner, request: Request) -> Reply:
    address = double.one("primary_ips", request)
    point(address, request.body or {})
    return Reply(201, {"action": double.begin("change_dns_ptr", ("primary_ip", address["id"]))})


def _stopped(double: Hetzner, number: Any) -> Resource:
    server = double.reference("servers", number, "assignee_id")
    if server["status"] != "off":
        refuse(422, "server_not_stopped", "the server must be off for this")
    return server


@routes.on("POST", f"{HOME}/{{id}}/actions/assign")
def give(double: Hetzner, request: Request) -> Reply:
    address, body = double.one("primary_ips", request), request.body or {}
    if address["assignee_id"] is not None:
        refuse(409, "primary_ip_assigned", "primary IP is already assigned")
    server = _stopped(double, body.get("assignee_id"))
    if of(double, server, address["type"]):
        refuse(422, "server_has_ipv4", "the server has an address of this type")
    assign(address, server)
    return Reply(201, {"action": double.begin("assign_primary_ip", ("primary_ip", address["id"]))})


@routes.on("POST", f"{HOME}/{{id}}/actions/unassign")
def take(double: Hetzner, request: Request) -> Reply:
    address = double.one("primary_ips", request)
    if address["assignee_id"] is None:
        refuse(422, "primary_ip_not_assigned", "primary IP is not assigned")
    _stopped(double, address["assignee_id"])
    release(address)
    return Reply(201, {"action": double.begin("unassign_primary_ip", ("primary_ip", address["id"]))})
