"""Firewalls: their rules, and what they are applied to."""

from __future__ import annotations

import ipaddress
from typing import Any

from tests.doubles.hetzner.core import PREFIX, Hetzner, Resource, invalid, labels_of, refuse
from tests.doubles.web import Reply, Request, Routes

routes = Routes()
HOME = f"{PREFIX}/firewalls"
RULES_MOST, EFFECTIVE_MOST, FIREWALLS_MOST = 50, 500, 5


def rules_of(body: dict[str, Any]) -> list[dict[str, Any]]:
    """The rules of a request, as they are given back."""
    rules = [_rule(each, f"rules.{index}") for index, each in enumerate(body.get("rules") or [])]
    effective = sum(len(each["source_ips"]) + len(each["destination_ips"]) for each in rules)
    if len(rules) > RULES_MOST or effective > EFFECTIVE_MOST:
        invalid("rules", "too many rules")
    return rules


def _rule(rule: dict[str, Any], name: str) -> dict[str, Any]:
    if (rule["protocol"] in ("tcp", "udp")) != bool(rule.get("port")):
        invalid(f"{name}.port", "is required for tcp and udp, and not allowed for others")
    for key in ("source_ips", "destination_ips"):
        for text in rule.get(key) or []:
            try:
                ipaddress.ip_network(text)
            except ValueError:
                invalid(f"{name}.{key}", f"{text} is not a valid network")
    if rule["direction"] == "in" and not rule.get("source_ips"):
        invalid(f"{name}.source_ips", "is required")
    return {
        "direction": rule["direction"],
        "protocol": rule["protocol"],
        "port": rule.get("port"),
        "source_ips": list(rule.get("source_ips") or []),
        "destination_ips": list(rule.get("destination_ips") or []),
        "description": rule.get("description"),
    }


def shown(double: Hetzner, firewall: Resource) -> Resource:
    """A firewall with what it is applied to."""
    applied = [
        {"type": "server", "server": {"id": server["id"]}}
        for server in double.all("servers").values()
        if firewall["id"] in server["firewalls"]
    ]
    return {**firewall, "applied_to": applied}


@routes.on("GET", HOME)
def listed(double: Hetzner, request: Request) -> Reply:
    return double.list_of("firewalls", request, lambda each: shown(double, each))


@routes.on("POST", HOME)
def create(double: Hetzner, request: Request) -> Reply:
    body = request.body or {}
    firewall: Resource = {
        "id": double.new_id(),
        "name": double.unique("firewalls", body.get("name")),
        "labels": labels_of(body),
        "rules": rules_of(body),
        "created": double.now(),
    }
    double.all("firewalls")[firewall["id"]] = firewall
    action = double.begin("set_firewall_rules", ("firewall", firewall["id"]))
    return Reply(201, {"firewall": shown(double, firewall), "actions": [action]})


@routes.on("GET", f"{HOME}/{{id}}")
def read(double: Hetzner, request: Request) -> dict[str, Any]:
    return {"firewall": shown(double, double.one("firewalls", request))}


@routes.on("PUT", f"{HOME}/{{id}}")
def update(double: Hetzner, request: Request) -> dict[str, Any]:
    firewall, body = double.one("firewalls", request), request.body or {}
    if body.get("name", firewall["name"]) != firewall["name"]:
        firewall["name"] = double.unique("firewalls", body["name"])
    firewall["labels"] = labels_of(body, firewall["labels"])
    return {"firewall": shown(double, firewall)}


@routes.on("DELETE", f"{HOME}/{{id}}")
def delete(double: Hetzner, request: Request) -> Reply:
    firewall = double.one("firewalls", request)
    if shown(double, firewall)["applied_to"]:
        refuse(409, "resource_in_use", f"firewall with ID '{firewall['id']}' is still in use")
    del double.all("firewalls")[firewall["id"]]
    return Reply(204)


@routes.on("POST", f"{HOME}/{{id}}/actions/set_rules")
def set_rules(double: Hetzner, request: Request) -> Reply:
    firewall = double.one("firewalls", request)
    firewall["rules"] = rules_of(request.body or {})
    return Reply(201, {"actions": [double.begin("set_firewall_rules", ("firewall", firewall["id"]))]})


def _serve(verb: str, key: str, *, apply: bool) -> None:
    @routes.on("POST", f"{HOME}/{{id}}/actions/{verb}")
    def act(double: Hetzner, request: Request) -> Reply:
        firewall, actions = double.one("firewalls", request), []
        for resource in (request.body or {}).get(key) or []:
            server = double.reference("servers", resource["server"]["id"], "server")
            there = firewall["id"] in server["firewalls"]
            if apply and there:
                refuse(422, "firewall_already_applied", "firewall is already applied")
            if apply and len(server["firewalls"]) >= FIREWALLS_MOST:
                refuse(422, "firewall_managed_limit", "a server has at most 5 firewalls")
            if apply:
                server["firewalls"].append(firewall["id"])
            elif there:
                server["firewalls"].remove(firewall["id"])
            command = "apply_firewall" if apply else "remove_firewall"
            actions.append(double.begin(command, ("firewall", firewall["id"]), ("server", server["id"])))
        return Reply(201, {"actions": actions})


_serve("apply_to_resources", "apply_to", apply=True)
_serve("remove_from_resources", "remove_from", apply=False)
