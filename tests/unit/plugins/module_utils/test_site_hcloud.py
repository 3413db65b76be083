"""From the document to what has to be there at Hetzner Cloud."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from ansible_collections.sapflux.hosting.plugins.filter import site as filters
from ansible_collections.sapflux.hosting.plugins.module_utils import _site_hcloud as hcloud
from ansible_collections.sapflux.hosting.plugins.module_utils._site_complete import complete

from tests.unit.fixtures import Mutation, document, drop, put

FILTERS = filters.FilterModule().filters()


def resources(*mutations: Mutation, **more: Any) -> dict[str, Any]:
    """What the valid document, changed, stands for."""
    return hcloud.resources(complete(document(*mutations)), **more)


def test_a_document_without_servers_makes_nothing() -> None:
    nothing = resources(drop("hetzner"))
    assert not any(nothing.values())
    assert set(nothing) == set(resources())


def test_everything_has_a_name_and_says_whose_it_is() -> None:
    wanted = resources()
    (key,) = wanted["ssh_keys"]
    assert (key["name"], key["fingerprint"][:8]) == ("sapflux-d69a3045", "d6:9a:30")
    assert wanted["network"]["subnet"]["network_zone"] == "us-east"
    assert [address["name"] for address in wanted["primary_ips"]] == ["sapflux-1-ipv4", "sapflux-1-ipv6"]
    assert {address["dns_ptr"] for address in wanted["primary_ips"]} == {"sapflux-1.sapflux.test"}
    (server,) = wanted["servers"]
    assert (server["server_type"], server["ssh_keys"], server["firewall"]) == ("cpx11", [key["name"]], "sapflux")
    assert server["tailnet_host"] == "sapflux-1.tail1234.example.org"
    for each in (key, wanted["network"], wanted["firewall"], wanted["placement_group"], server, *wanted["primary_ips"]):
        assert each["labels"].items() >= {"managed-by": "sapflux.hosting", "site": "sapflux", "team": "field"}.items()


def test_no_network_and_no_tailnet() -> None:
    wanted = resources(put("hetzner.network", ""), put("tailscale.enabled", False))
    assert (wanted["network"], wanted["servers"][0]["network"]) == (None, None)
    assert wanted["servers"][0]["tailnet_host"] == ""


def test_the_firewall_has_the_networks_of_the_host() -> None:
    by_name = {rule["description"]: rule for rule in resources()["firewall"]["rules"]}
    assert by_name["ssh"]["source_ips"] == ["0.0.0.0/0", "::/0"]
    assert by_name["https"]["source_ips"] == ["192.0.2.0/24", "2001:db8::/32"]
    assert (by_name["https"]["port"], by_name["icmp"]["port"]) == ("443", None)


def test_a_closed_firewall_keeps_the_way_for_emergencies() -> None:
    closed = resources(ssh="closed")["firewall"]
    assert closed["labels"]["ssh"] == "closed"
    assert closed["rules"] == resources()["firewall"]["closed_rules"]
    assert closed["rules"][0]["source_ips"] == ["203.0.113.0/24"]
    without = resources(put("network.break_glass_cidrs", []), ssh="closed")["firewall"]
    assert [rule["description"] for rule in without["rules"]] == ["https", "icmp"]


@pytest.mark.parametrize("path", ["hetzner.lockdown", "tailscale.lockdown", "tailscale.enabled"])
def test_a_firewall_that_is_to_stay_open_cannot_be_closed(path: str) -> None:
    assert resources(put(path, False))["firewall"]["closed_rules"] is None
    assert FILTERS["site_hcloud_hook"](complete(document(put(path, False))), "/p") == ""


def test_the_hook_is_a_task_file_of_the_playbooks() -> None:
    assert FILTERS["site_hcloud_hook"](complete(document()), "/p") == "/p/tasks/hetzner_close.yml"
    assert FILTERS["site_hcloud_hook"](complete(document(drop("hetzner"))), "/p") == ""


def test_cloudflare_stands_for_its_networks() -> None:
    behind = put("network.https_cidrs", ["cloudflare"])
    assert len(resources(behind)["firewall"]["rules"][1]["source_ips"]) == 22
    refreshed = FILTERS["site_hcloud"](complete(document(behind)), ["198.51.100.0/24"])
    assert refreshed["firewall"]["rules"][1]["source_ips"] == ["198.51.100.0/24"]


def test_a_key_with_options_is_not_for_root() -> None:
    restricted = put("admin.authorized_keys[+]", f"restrict {document()['admin']['authorized_keys'][0]}")
    wanted = resources(restricted)
    assert len(wanted["ssh_keys"]) == 1
    assert len(json.loads(wanted["servers"][0]["user_data"].partition("\n")[2])["users"][0]["ssh_authorized_keys"]) == 2


def test_user_data_is_a_cloud_config_without_a_secret() -> None:
    text = resources()["servers"][0]["user_data"]
    assert text.startswith("#cloud-config\n")
    config = yaml.safe_load(text)
    assert config["users"][0]["name"] == "ops"
    assert (config["ssh_pwauth"], config["disable_root"], "ssh_keys" in config) == (False, True, False)
    pinned = hcloud.with_host_key(text, "PRIVATE", "PUBLIC")
    assert yaml.safe_load(pinned)["ssh_keys"] == {"ed25519_private": "PRIVATE", "ed25519_public": "PUBLIC"}
    assert len(pinned) < hcloud.USER_DATA_MOST


def test_marks_change_with_what_only_a_rebuild_applies() -> None:
    def marks(*mutations: Mutation) -> dict[str, str]:
        labels = resources(*mutations)["servers"][0]["labels"]
        return {name: labels[name] for name in hcloud.MARKS}

    before = marks()
    other = put(
        "admin.authorized_keys[0]", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIC"
    )
    assert marks(other)["ssh-keys"] != before["ssh-keys"]
    assert marks(other)["user-data"] == before["user-data"]
    assert marks(put("admin.user", "anna"))["user-data"] != before["user-data"]
    assert marks(put("hetzner.servers[0].type", "cpx21")) == before
