"""Hetzner's double keeps the rules of the real one."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.doubles.hetzner import PREFIX, Hetzner, catalogue, hetzner

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB me"


@dataclass
class Api:
    """The double as a client sees it."""

    double: Hetzner
    url: str
    token: str = "write"

    def __call__(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """(status, JSON) of one request."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}{PREFIX}{path}", data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())

    def fails(self, method: str, path: str, body: Any = None) -> str:
        """The code of an error."""
        status, answer = self(method, path, body)
        assert status >= 400, answer
        return str(answer["error"]["code"])

    def make(self, path: str, **body: Any) -> dict[str, Any]:
        """The resource of a creation, whose actions have come to their end."""
        status, answer = self("POST", path, body)
        assert status == 201, answer
        made: dict[str, Any] = next(
            value for value in answer.values() if isinstance(value, dict) and "created" in value
        )
        return made

    def server(self, name: str = "one", **more: Any) -> dict[str, Any]:
        """A new server that runs."""
        body = {"name": name, "server_type": "cpx11", "image": "debian-13", "location": "ash", "ssh_keys": ["me"]}
        made = self.make("/servers", **{**body, **more})
        found: dict[str, Any] = self("GET", f"/servers/{made['id']}")[1]["server"]
        return found


@pytest.fixture
def api() -> Iterator[Api]:
    double = hetzner()
    double.tokens |= {"write": "read-write", "read": "read"}
    with double.running() as url:
        made = Api(double, url)
        made.make("/ssh_keys", name="me", public_key=KEY)
        yield made


def test_who_asks(api: Api) -> None:
    api.token = "nobody"
    assert api.fails("GET", "/servers") == "unauthorized"
    api.token = "read"
    assert api("GET", "/servers")[0] == 200
    assert api.fails("POST", "/servers", {}) == "token_readonly"


def test_requests_are_counted_by_the_hour(api: Api) -> None:
    api.double.left = 2.0
    assert api("GET", "/servers")[0] == 200
    assert api("GET", "/servers")[0] == 200
    assert api.fails("GET", "/servers") == "rate_limit_exceeded"


def test_lists_have_pages_names_and_labels(api: Api) -> None:
    for number in range(3):
        api.make("/networks", name=f"n{number}", ip_range="10.0.0.0/8", labels={"odd": str(number % 2)})
    first = api("GET", "/networks?per_page=2")[1]
    assert (len(first["networks"]), first["meta"]["pagination"]["next_page"]) == (2, 2)
    last = api("GET", "/networks?per_page=2&page=2")[1]
    assert (len(last["networks"]), last["meta"]["pagination"]["next_page"]) == (1, None)
    assert [each["name"] for each in api("GET", "/networks?label_selector=odd=1")[1]["networks"]] == ["n1"]
    assert [each["name"] for each in api("GET", "/networks?name=n2")[1]["networks"]] == ["n2"]


def test_names_and_fingerprints_are_unique(api: Api) -> None:
    assert api.fails("POST", "/ssh_keys", {"name": "me", "public_key": KEY}) == "uniqueness_error"
    assert api.fails("POST", "/ssh_keys", {"name": "other", "public_key": KEY}) == "uniqueness_error"
    api.server()
    body = {"name": "one", "server_type": "cpx11", "image": "debian-13"}
    assert api.fails("POST", "/servers", body) == "uniqueness_error"


def test_a_server_takes_time(api: Api) -> None:
    api.double.polls = 1
    _status, answer = api("POST", "/servers", {"name": "one", "server_type": "cpx11", "image": 61, "location": "ash"})
    assert answer["server"]["status"] == "initializing"
    assert answer["root_password"]
    number = answer["action"]["id"]
    assert api("GET", f"/actions/{number}")[1]["action"]["status"] == "running"
    assert api.fails("POST", f"/servers/{answer['server']['id']}/actions/poweroff", {}) == "locked"
    assert api("GET", f"/actions/{number}")[1]["action"]["status"] == "success"


def test_a_creation_that_fails_leaves_nothing(api: Api) -> None:
    api.double.break_action("create_server")
    _status, answer = api("POST", "/servers", {"name": "one", "server_type": "cpx11", "image": 61, "location": "ash"})
    action = api("GET", f"/actions/{answer['action']['id']}")[1]["action"]
    assert (action["status"], action["error"]["code"]) == ("error", "action_failed")
    assert (api.double.names("servers"), api.double.names("primary_ips")) == ([], [])


def test_what_is_sold_depends_on_the_place(api: Api) -> None:
    body = {"name": "one", "server_type": "cpx22", "image": "debian-13", "location": "ash"}
    assert api.fails("POST", "/servers", body) == "invalid_input"
    catalogue.offer(api.double, "cpx11", "ash", available=False)
    assert api.fails("POST", "/servers", {**body, "server_type": "cpx11"}) == "resource_unavailable"
    gone = {"announced": "2024-01-01T00:00:00+00:00", "unavailable_after": "2024-06-01T00:00:00+00:00"}
    catalogue.offer(api.double, "cpx21", "ash", deprecation=gone)
    assert api.fails("POST", "/servers", {**body, "server_type": "cpx21"}) == "invalid_input"
    api.double.most["servers"] = 0
    assert api.fails("POST", "/servers", {**body, "server_type": "cpx31"}) == "resource_limit_exceeded"


def test_what_a_server_was_made_with_cannot_be_asked_or_changed(api: Api) -> None:
    server = api.server(user_data="#cloud-config\n{}")
    assert "user_data" not in server
    assert "ssh_keys" not in server
    wish = {"labels": {"a": "b"}, "image": "debian-12", "location": "hil", "user_data": "x"}
    changed = api("PUT", f"/servers/{server['id']}", wish)[1]["server"]
    assert changed == {**server, "labels": {"a": "b"}}


def test_protection(api: Api) -> None:
    server = api.server()
    home = f"/servers/{server['id']}"
    assert api.fails("POST", f"{home}/actions/change_protection", {"delete": True, "rebuild": False}) == "invalid_input"
    api("POST", f"{home}/actions/change_protection", {"delete": True, "rebuild": True})
    assert api.fails("DELETE", home) == "protected"
    assert api.fails("POST", f"{home}/actions/rebuild", {"image": "debian-13"}) == "protected"
    address = server["public_net"]["ipv4"]["id"]
    api("POST", f"/primary_ips/{address}/actions/change_protection", {"delete": True})
    assert api.fails("DELETE", f"/primary_ips/{address}") == "protected"


def test_some_things_take_a_server_that_is_off(api: Api) -> None:
    home = f"/servers/{api.server()['id']}"
    assert api.fails("POST", f"{home}/actions/change_type", {"server_type": "cpx21"}) == "server_not_stopped"
    api("POST", f"{home}/actions/poweroff", {})
    assert api("GET", home)[1]["server"]["status"] == "off"
    api("POST", f"{home}/actions/change_type", {"server_type": "cpx21", "upgrade_disk": True})
    server = api("GET", home)[1]["server"]
    assert (server["server_type"]["name"], server["primary_disk_size"]) == ("cpx21", 80)
    assert api.fails("POST", f"{home}/actions/change_type", {"server_type": "cpx11"}) == "invalid_server_type"


def test_addresses_outlive_servers_unless_they_were_made_for_them(api: Api) -> None:
    kept = api.make("/primary_ips", name="kept", type="ipv4", location="ash")
    server = api.server(public_net={"ipv4": kept["id"], "enable_ipv6": True})
    assert server["public_net"]["ipv4"]["ip"] == kept["ip"]
    assert len(api.double.all("primary_ips")) == 2
    assert api.fails("DELETE", f"/primary_ips/{kept['id']}") == "must_be_unassigned"
    body = {"name": "two", "server_type": "cpx11", "image": 61, "location": "ash", "public_net": {"ipv4": kept["id"]}}
    assert api.fails("POST", "/servers", body) == "primary_ip_assigned"
    api("DELETE", f"/servers/{server['id']}")
    assert api.double.names("primary_ips") == ["kept"]


def test_a_rebuild_keeps_the_address_and_the_keys(api: Api) -> None:
    server = api.server(user_data="first")
    api("POST", f"/servers/{server['id']}/actions/rebuild", {"image": "debian-12", "user_data": "second"})
    after = api("GET", f"/servers/{server['id']}")[1]["server"]
    assert after["image"]["name"] == "debian-12"
    assert after["public_net"] == server["public_net"]
    kept = api.double.all("servers")[server["id"]]
    assert (kept["user_data"], kept["keys"]) == ("second", [KEY])


@pytest.mark.parametrize(
    ("rule", "field"),
    [
        ({"direction": "in", "protocol": "tcp", "source_ips": ["0.0.0.0/0"]}, "port"),
        ({"direction": "in", "protocol": "icmp", "port": "1", "source_ips": ["0.0.0.0/0"]}, "port"),
        ({"direction": "in", "protocol": "tcp", "port": "22", "source_ips": ["10.0.0.1/8"]}, "source_ips"),
        ({"direction": "in", "protocol": "tcp", "port": "22", "source_ips": []}, "source_ips"),
    ],
)
def test_rules_of_a_firewall(api: Api, rule: dict[str, Any], field: str) -> None:
    _status, answer = api("POST", "/firewalls", {"name": "f", "rules": [rule]})
    assert answer["error"]["details"]["fields"][0]["name"] == f"rules.0.{field}"


def test_a_firewall_that_is_in_use_stays(api: Api) -> None:
    wall = api.make("/firewalls", name="f", rules=[])
    server = api.server(firewalls=[{"firewall": wall["id"]}])
    assert server["public_net"]["firewalls"] == [{"id": wall["id"], "status": "applied"}]
    assert api.fails("DELETE", f"/firewalls/{wall['id']}") == "resource_in_use"
    resources = [{"type": "server", "server": {"id": server["id"]}}]
    api("POST", f"/firewalls/{wall['id']}/actions/remove_from_resources", {"remove_from": resources})
    assert api("DELETE", f"/firewalls/{wall['id']}")[0] == 204


def test_networks_of_another_zone(api: Api) -> None:
    net = api.make("/networks", name="n", ip_range="10.0.0.0/16")
    body = {"name": "one", "server_type": "cpx11", "image": 61, "location": "ash", "networks": [net["id"]]}
    assert api.fails("POST", "/servers", body) == "invalid_input"
    subnet = {"type": "cloud", "ip_range": "10.0.0.0/24", "network_zone": "eu-central"}
    api("POST", f"/networks/{net['id']}/actions/add_subnet", subnet)
    assert api.fails("POST", f"/networks/{net['id']}/actions/add_subnet", subnet) == "service_error"
    assert api.fails("POST", "/servers", body) == "invalid_input"


def test_datacenters_are_gone(api: Api) -> None:
    assert api("GET", "/datacenters")[0] == 410
    assert "datacenter" not in api.server()
