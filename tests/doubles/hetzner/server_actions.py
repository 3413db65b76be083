"""What is done to a server that is there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.doubles.hetzner import addresses
from tests.doubles.hetzner.catalogue import buy
from tests.doubles.hetzner.core import Hetzner, Resource, invalid, refuse
from tests.doubles.hetzner.servers import HOME, USER_DATA_MOST, attach, detach, machine_of
from tests.doubles.web import Reply, Request, Routes

routes = Routes()
GROUP_MOST = 10
Doing = Callable[[Hetzner, Resource, dict[str, Any]], dict[str, Any]]


def _act(
    verb: str, command: str = ""
) -> Callable[[Callable[[Hetzner, Resource, dict[str, Any]], dict[str, Any]]], None]:
    """Register what happens at ``POST /servers/{id}/actions/<verb>``: it answers how the action goes on."""

    def register(handler: Doing) -> None:
        @routes.on("POST", f"{HOME}/{{id}}/actions/{verb}")
        def act(double: Hetzner, request: Request) -> Reply:
            server = double.one("servers", request)
            if double.busy("server", server["id"]):
                refuse(423, "locked", "server is locked")
            more = handler(double, server, request.body or {})
            answer = more.pop("answer", {})
            return Reply(201, {"action": double.begin(command or verb, ("server", server["id"]), **more), **answer})

    return register


def _stopped(server: Resource) -> None:
    if server["status"] != "off":
        refuse(422, "server_not_stopped", "the server must be off for this")


def _power(double: Hetzner, server: Resource, on: bool, *, hard: bool = True) -> dict[str, Any]:
    machine = machine_of(double, server)
    status = "running" if on else "off"
    return {
        "then": lambda: server.update(status=status),
        "work": lambda: double.machines.power(machine, on, hard=hard),
    }


@_act("poweron", "start_server")
def poweron(double: Hetzner, server: Resource, _body: dict[str, Any]) -> dict[str, Any]:
    return _power(double, server, True)


@_act("poweroff", "stop_server")
def poweroff(double: Hetzner, server: Resource, _body: dict[str, Any]) -> dict[str, Any]:
    return _power(double, server, False)


@_act("shutdown", "shutdown_server")
def shutdown(double: Hetzner, server: Resource, _body: dict[str, Any]) -> dict[str, Any]:
    """The action is done as soon as the button was pressed; when the server is off is its own affair."""
    off = _power(double, server, False, hard=False)
    stopping = double.begin("stop_server", ("machine", server["id"]), **off)
    # Nobody asks for it.
    double.actions[stopping["id"]].polls = 0
    return {}


@_act("reboot", "reboot_server")
def reboot(_double: Hetzner, _server: Resource, _body: dict[str, Any]) -> dict[str, Any]:
    return {}


@_act("rebuild", "rebuild_server")
def rebuild(double: Hetzner, server: Resource, body: dict[str, Any]) -> dict[str, Any]:
    """Keys and user_data are those of the creation, unless user_data is sent again."""
    if server["protection"]["rebuild"]:
        refuse(423, "protected", "server rebuild is protected")
    image = double.reference("images", body.get("image"), "image")
    if image["architecture"] != double.all("server_types")[server["server_type"]]["architecture"]:
        invalid("image", "image architecture differs from that of the server type")
    if len(str(body.get("user_data") or "").encode()) > USER_DATA_MOST:
        invalid("user_data", "is longer than 32 KiB")
    server["user_data"] = body.get("user_data", server["user_data"])
    machine = machine_of(double, server)
    server["status"] = "rebuilding"
    return {
        "then": lambda: server.update(status="running", image=image["id"]),
        "work": lambda: double.machines.rebuild(machine, server["user_data"], server["keys"]),
        "answer": {"root_password": None if server["keys"] else "YItygq1v3GYjjMomLaKc"},
    }


@_act("change_type", "change_server_type")
def change_type(double: Hetzner, server: Resource, body: dict[str, Any]) -> dict[str, Any]:
    _stopped(server)
    kind = double.reference("server_types", body.get("server_type"), "server_type")
    if kind["architecture"] != double.all("server_types")[server["server_type"]]["architecture"]:
        invalid("server_type", "has another architecture")
    if kind["disk"] < server["primary_disk_size"]:
        refuse(422, "invalid_server_type", "the disk of the new type is smaller")
    buy(double, kind, double.all("locations")[server["location"]]["name"])

    def then() -> None:
        server["server_type"] = kind["id"]
        if body.get("upgrade_disk"):
            server["primary_disk_size"] = kind["disk"]

    return {"then": then}


@_act("enable_backup")
def enable_backup(_double: Hetzner, server: Resource, _body: dict[str, Any]) -> dict[str, Any]:
    return {"then": lambda: server.update(backup_window="22-02")}


@_act("disable_backup")
def disable_backup(_double: Hetzner, server: Resource, _body: dict[str, Any]) -> dict[str, Any]:
    """And with it every backup there is."""
    return {"then": lambda: server.update(backup_window=None)}


@_act("change_protection")
def protect(_double: Hetzner, server: Resource, body: dict[str, Any]) -> dict[str, Any]:
    wanted = {key: bool(body.get(key, server["protection"][key])) for key in ("delete", "rebuild")}
    if wanted["delete"] != wanted["rebuild"]:
        invalid("rebuild", "must be the same as delete")
    return {"then": lambda: server.update(protection=wanted)}


@_act("attach_to_network")
def join(double: Hetzner, server: Resource, body: dict[str, Any]) -> dict[str, Any]:
    attach(double, server, double.reference("networks", body.get("network"), "network"), body.get("ip"))
    return {}


@_act("detach_from_network")
def leave(double: Hetzner, server: Resource, body: dict[str, Any]) -> dict[str, Any]:
    detach(double, server, double.reference("networks", body.get("network"), "network")["id"])
    return {}


@_act("change_dns_ptr")
def pointer(double: Hetzner, server: Resource, body: dict[str, Any]) -> dict[str, Any]:
    kind = "ipv6" if ":" in str(body.get("ip")) else "ipv4"
    address = addresses.of(double, server, kind)
    if address is None:
        invalid("ip", "is not an address of this server")
    addresses.point(address, body)
    return {}


@_act("add_to_placement_group")
def gather(double: Hetzner, server: Resource, body: dict[str, Any]) -> dict[str, Any]:
    _stopped(server)
    group = double.reference("placement_groups", body.get("placement_group"), "placement_group")
    if len(group["servers"]) >= GROUP_MOST:
        refuse(422, "placement_error", "the placement group is full")
    group["servers"].append(server["id"])
    server["placement_group"] = group["id"]
    return {}


@_act("remove_from_placement_group")
def scatter(double: Hetzner, server: Resource, _body: dict[str, Any]) -> dict[str, Any]:
    if server["placement_group"] is not None:
        double.all("placement_groups")[server["placement_group"]]["servers"].remove(server["id"])
    server["placement_group"] = None
    return {}
