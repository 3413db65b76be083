"""Private networks and their subnets."""

from __future__ import annotations

import ipaddress
from typing import Any

from tests.doubles.hetzner.core import PREFIX, Hetzner, Resource, invalid, labels_of, refuse
from tests.doubles.web import Reply, Request, Routes

routes = Routes()
HOME = f"{PREFIX}/networks"


def network_of(text: Any, name: str) -> ipaddress.IPv4Network:
    """A private network in canonical form."""
    try:
        found = ipaddress.IPv4Network(text)
    except ValueError:
        invalid(name, "must be a network without host bits")
    if not found.is_private:
        invalid(name, "must be private")
    return found


def subnet_of(body: dict[str, Any], network: Resource) -> dict[str, Any]:
    """A subnet that lies inside of its network and overlaps no other."""
    wanted = network_of(body.get("ip_range"), "ip_range")
    if not wanted.subnet_of(ipaddress.IPv4Network(network["ip_range"])):
        invalid("ip_range", "must be inside of the network")
    if any(wanted.overlaps(ipaddress.IPv4Network(each["ip_range"])) for each in network["subnets"]):
        refuse(409, "service_error", "subnet overlaps with another subnet")
    gateway = str(ipaddress.IPv4Network(network["ip_range"])[1])
    return {"type": body["type"], "ip_range": str(wanted), "network_zone": body["network_zone"], "gateway": gateway}


def next_address(double: Hetzner, network: Resource, number: int) -> str:
    """An address that no other server has in the network."""
    taken = {
        net["ip"]
        for server in double.all("servers").values()
        for net in server["private_net"]
        if net["network"] == network["id"] and server["id"] != number
    }
    hosts = ipaddress.IPv4Network(network["subnets"][0]["ip_range"]).hosts()
    return next(str(host) for host in list(hosts)[1:] if str(host) not in taken)


@routes.on("GET", HOME)
def listed(double: Hetzner, request: Request) -> Reply:
    return double.list_of("networks", request)


@routes.on("POST", HOME)
def create(double: Hetzner, request: Request) -> Reply:
    body = request.body or {}
    network: Resource = {
        "id": double.new_id(),
        "name": double.unique("networks", body.get("name")),
        "ip_range": str(network_of(body.get("ip_range"), "ip_range")),
        "subnets": [],
        "routes": [],
        "servers": [],
        "load_balancers": [],
        "protection": {"delete": False},
        "labels": labels_of(body),
        "expose_routes_to_vswitch": bool(body.get("expose_routes_to_vswitch")),
        "created": double.now(),
    }
    network["subnets"] += [subnet_of(each, network) for each in body.get("subnets") or []]
    double.all("networks")[network["id"]] = network
    return Reply(201, {"network": network})


@routes.on("GET", f"{HOME}/{{id}}")
def read(double: Hetzner, request: Request) -> dict[str, Any]:
    return {"network": double.one("networks", request)}


@routes.on("PUT", f"{HOME}/{{id}}")
def update(double: Hetzner, request: Request) -> dict[str, Any]:
    network, body = double.one("networks", request), request.body or {}
    if body.get("name", network["name"]) != network["name"]:
        network["name"] = double.unique("networks", body["name"])
    network["labels"] = labels_of(body, network["labels"])
    return {"network": network}


@routes.on("DELETE", f"{HOME}/{{id}}")
def delete(double: Hetzner, request: Request) -> Reply:
    network = double.one("networks", request)
    if network["protection"]["delete"]:
        refuse(423, "protected", "network is protected")
    if network["servers"]:
        refuse(409, "resource_in_use", "network is still in use")
    del double.all("networks")[network["id"]]
    return Reply(204)


@routes.on("POST", f"{HOME}/{{id}}/actions/add_subnet")
def add_subnet(double: Hetzner, request: Request) -> Reply:
    network = double.one("networks", request)
    network["subnets"].append(subnet_of(request.body or {}, network))
    return Reply(201, {"action": double.begin("add_subnet", ("network", network["id"]))})


@routes.on("POST", f"{HOME}/{{id}}/actions/delete_subnet")
def delete_subnet(double: Hetzner, request: Request) -> Reply:
    network = double.one("networks", request)
    kept = [each for each in network["subnets"] if each["ip_range"] != (request.body or {}).get("ip_range")]
    network["subnets"] = kept
    return Reply(201, {"action": double.begin("delete_subnet", ("network", network["id"]))})


@routes.on("POST", f"{HOME}/{{id}}/actions/change_protection")
def protect(double: Hetzner, request: Request) -> Reply:
    network = double.one("networks", request)
    network["protection"] = {"delete": bool((request.body or {}).get("delete"))}
    return Reply(201, {"action": double.begin("change_protection", ("network", network["id"]))})
