"""Servers: made, found, changed, removed. What is done to one that is there is in ``server_actions``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tests.doubles.hetzner import addresses, networks
from tests.doubles.hetzner.catalogue import buy
from tests.doubles.hetzner.core import PREFIX, Hetzner, Resource, invalid, labels_of, refuse
from tests.doubles.web import Reply, Request, Routes

routes = Routes()
HOME = f"{PREFIX}/servers"
HOSTNAME = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9.-]{0,251}[a-zA-Z0-9])?")
USER_DATA_MOST = 32768


def shown(double: Hetzner, server: Resource) -> Resource:
    """A server as the API tells it. What it was made with (user_data, SSH keys) is not among it."""
    group = double.all("placement_groups").get(server["placement_group"])
    image = double.all("images").get(server["image"])
    return {
        "id": server["id"],
        "name": server["name"],
        "status": server["status"],
        "created": server["created"],
        "labels": server["labels"],
        "locked": double.busy("server", server["id"]),
        "protection": server["protection"],
        "backup_window": server["backup_window"],
        "rescue_enabled": False,
        "server_type": double.all("server_types")[server["server_type"]],
        "image": image,
        "iso": None,
        "location": double.all("locations")[server["location"]],
        "placement_group": group,
        "primary_disk_size": server["primary_disk_size"],
        "private_net": server["private_net"],
        "public_net": {
            "ipv4": _public(addresses.of(double, server, "ipv4")),
            "ipv6": _public(addresses.of(double, server, "ipv6")),
            "floating_ips": [],
            "firewalls": [{"id": number, "status": "applied"} for number in server["firewalls"]],
        },
        "volumes": [],
        "load_balancers": [],
        "included_traffic": 1 << 40,
        "ingoing_traffic": 0,
        "outgoing_traffic": 0,
    }


def _public(address: Resource | None) -> dict[str, Any] | None:
    if address is None:
        return None
    found = {"id": address["id"], "ip": address["ip"], "blocked": False}
    if address["type"] == "ipv6":
        return {**found, "dns_ptr": address["dns_ptr"]}
    return {**found, "dns_ptr": (address["dns_ptr"] or [{"dns_ptr": ""}])[0]["dns_ptr"]}


@routes.on("GET", HOME)
def listed(double: Hetzner, request: Request) -> Reply:
    return double.list_of("servers", request, lambda each: shown(double, each))


@routes.on("GET", f"{HOME}/{{id}}")
def read(double: Hetzner, request: Request) -> dict[str, Any]:
    return {"server": shown(double, double.one("servers", request))}


@routes.on("PUT", f"{HOME}/{{id}}")
def update(double: Hetzner, request: Request) -> dict[str, Any]:
    """Name and labels; whatever else is sent is ignored."""
    server, body = double.one("servers", request), request.body or {}
    if body.get("name", server["name"]) != server["name"]:
        server["name"] = double.unique("servers", body["name"])
    server["labels"] = labels_of(body, server["labels"])
    return {"server": shown(double, server)}


def _addresses(double: Hetzner, body: dict[str, Any], location: Resource) -> list[tuple[str, Resource | None]]:
    """(type, the primary IP that was named) of the addresses a new server is to have."""
    wanted = body.get("public_net") or {}
    found: list[tuple[str, Resource | None]] = []
    for kind in ("ipv4", "ipv6"):
        if not wanted.get(f"enable_{kind}", True):
            continue
        number = wanted.get(kind)
        if number is None:
            found.append((kind, None))
            continue
        address = double.reference("primary_ips", number, f"public_net.{kind}")
        if address["type"] != kind:
            invalid(f"public_net.{kind}", "has the wrong type")
        if address["assignee_id"] is not None:
            refuse(409, "primary_ip_assigned", "primary IP is already assigned")
        if address["location"]["id"] != location["id"]:
            refuse(422, "primary_ip_location_mismatch", "primary IP is in another location")
        found.append((kind, address))
    return found


@routes.on("POST", HOME)
def create(double: Hetzner, request: Request) -> Reply:
    body = request.body or {}
    name = double.unique("servers", body.get("name"))
    if not HOSTNAME.fullmatch(name):
        invalid("name", "must be a hostname")
    kind = double.reference("server_types", body.get("server_type"), "server_type")
    image = double.reference("images", body.get("image"), "image")
    if image["architecture"] != kind["architecture"]:
        invalid("image", "image architecture differs from that of the server type")
    place = body.get("location")
    location = double.reference("locations", place, "location") if place else double.all("locations")[1]
    keys = [double.reference("ssh_keys", each, "ssh_keys") for each in body.get("ssh_keys") or []]
    walls = [double.reference("firewalls", each["firewall"], "firewalls") for each in body.get("firewalls") or []]
    nets = [double.reference("networks", each, "networks") for each in body.get("networks") or []]
    if any(not net["subnets"] for net in nets):
        invalid("networks", "network has no subnet")
    if any(net["subnets"][0]["network_zone"] != location["network_zone"] for net in nets):
        invalid("networks", "network is in another zone")
    group = body.get("placement_group")
    if group is not None:
        double.reference("placement_groups", group, "placement_group")
    if len(str(body.get("user_data") or "").encode()) > USER_DATA_MOST:
        invalid("user_data", "is longer than 32 KiB")
    wanted = _addresses(double, body, location)
    buy(double, kind, location["name"])
    server: Resource = {
        "id": double.new_id(),
        "name": name,
        "status": "initializing",
        "created": double.now(),
        "labels": labels_of(body),
        "protection": {"delete": False, "rebuild": False},
        "backup_window": None,
        "server_type": kind["id"],
        "image": image["id"],
        "location": location["id"],
        "placement_group": group,
        "primary_disk_size": kind["disk"],
        "private_net": [],
        "firewalls": [each["id"] for each in walls],
        "user_data": body.get("user_data") or "",
        "keys": [each["public_key"] for each in keys],
    }
    double.all("servers")[server["id"]] = server
    for type_, address in wanted:
        given = address or addresses.new(double, type_, f"primary_ip-{double.new_id()}", location, auto_delete=True)
        addresses.assign(given, server)
    if group is not None:
        double.all("placement_groups")[group]["servers"].append(server["id"])
    return _made(double, server, nets, start=body.get("start_after_create", True), password=not keys)


def _made(double: Hetzner, server: Resource, nets: Sequence[Resource], *, start: bool, password: bool) -> Reply:
    machine = machine_of(double, server)
    action = double.begin(
        "create_server",
        ("server", server["id"]),
        then=lambda: server.update(status="off"),
        work=lambda: double.machines.create(machine, server["user_data"], server["keys"]),
        # A creation that fails leaves nothing behind.
        undo=lambda: remove(double, server),
    )
    made = double.actions[action["id"]]
    following = []
    for net in nets:
        attach(double, server, net)
        following.append(double.begin("attach_to_network", ("server", server["id"]), ("network", net["id"])))
    if start:
        following.append(
            double.begin(
                "start_server",
                ("server", server["id"]),
                then=lambda: server.update(status="running" if made.status == "success" else server["status"]),
                work=made.work.join if made.work else None,
            )
        )
    answer = {
        "server": shown(double, server),
        "action": action,
        "next_actions": following,
        "root_password": "YItygq1v3GYjjMomLaKc" if password else None,
    }
    return Reply(201, answer)


def machine_of(double: Hetzner, server: Resource) -> Resource:
    """What a machine has to know of its server."""
    found = {kind: addresses.of(double, server, kind) for kind in ("ipv4", "ipv6")}
    ips = {kind: each["ip"] if each else None for kind, each in found.items()}
    memory = double.all("server_types")[server["server_type"]]["memory"]
    return {"id": server["id"], "name": server["name"], **ips, "memory": memory}


def attach(double: Hetzner, server: Resource, net: Resource, ip: str | None = None) -> None:
    """Connect a server with a network."""
    if any(each["network"] == net["id"] for each in server["private_net"]):
        refuse(409, "server_already_attached", "server is already attached to the network")
    server["private_net"].append(
        {
            "network": net["id"],
            "ip": ip or networks.next_address(double, net, server["id"]),
            "alias_ips": [],
            "mac_address": f"86:00:00:00:{server['id'] >> 8 & 255:02x}:{server['id'] & 255:02x}",
        }
    )
    net["servers"].append(server["id"])


def detach(double: Hetzner, server: Resource, number: int) -> None:
    """Disconnect it."""
    server["private_net"] = [each for each in server["private_net"] if each["network"] != number]
    net = double.all("networks")[number]
    net["servers"] = [each for each in net["servers"] if each != server["id"]]


@routes.on("DELETE", f"{HOME}/{{id}}")
def delete(double: Hetzner, request: Request) -> dict[str, Any]:
    server = double.one("servers", request)
    if server["protection"]["delete"]:
        refuse(423, "protected", "server deletion is protected")
    machine = machine_of(double, server)
    remove(double, server)
    return {
        "action": double.begin("delete_server", ("server", server["id"]), work=lambda: double.machines.delete(machine))
    }


def remove(double: Hetzner, server: Resource) -> None:
    """Take a server out of everything that knows it. Addresses stay, unless they were made for it alone."""
    for net in list(server["private_net"]):
        detach(double, server, net["network"])
    for address in [each for each in double.all("primary_ips").values() if each["assignee_id"] == server["id"]]:
        addresses.release(address)
        if address["auto_delete"]:
            del double.all("primary_ips")[address["id"]]
    if server["placement_group"] is not None:
        double.all("placement_groups")[server["placement_group"]]["servers"].remove(server["id"])
    del double.all("servers")[server["id"]]
