"""The firewall's rules: what is allowed, what is refused, and what counts as drift."""

from __future__ import annotations

import copy
import ipaddress
import json
import random
from typing import Any

import pytest
from ansible_collections.sapflux.hosting.plugins.module_utils._firewall import (
    FirewallError,
    drift,
    ruleset,
)

OPTIONS: dict[str, Any] = {
    "ssh_cidrs": ["203.0.113.0/24", "198.51.100.7/32", "2001:db8:1::/48"],
    "ssh_port": 22,
    "https_cidrs": ["0.0.0.0/0", "::/0"],
    "wan_interface": "eth0",
    "container_interfaces": ["docker*", "br-*"],
    "input": [],
}


def options(**changes: Any) -> dict[str, Any]:
    """The usual options with some of them replaced."""
    return {**copy.deepcopy(OPTIONS), **changes}


def elements(result: dict[str, Any], name: str) -> list[str]:
    """The elements of one set."""
    found: list[str] = next(item["elements"] for item in result["sets"] if item["name"] == name)
    return found


def listing(result: dict[str, Any]) -> dict[str, Any]:
    """What `nft -j list table` prints for a ruleset (shape of nft 1.1)."""
    objects: list[dict[str, Any]] = [
        {"metainfo": {"json_schema_version": 1}},
        {"table": {"family": "inet", "name": "sapflux", "comment": result["fingerprint"]}},
        {"chain": {"name": "input", "policy": "drop"}},
        {"chain": {"name": "forward", "policy": "accept"}},
    ]
    for item in result["sets"]:
        elem: list[Any] = []
        for element in item["elements"]:
            if "/" in element:
                address, length = element.split("/")
                elem.append({"prefix": {"addr": address, "len": int(length)}})
            else:
                elem.append(element)
        objects.append({"set": {"name": item["name"], "elem": elem}})
    objects += [{"rule": {"chain": "input", "expr": []}} for _ in range(result["rules"])]
    return {"nftables": objects}


def test_networks_are_split_by_family_sorted_and_joined() -> None:
    """Sets hold canonical networks; a single address is written without its prefix."""
    cidrs = ["10.0.1.0/24", "10.0.0.0/24", "2001:db8::/33", "2001:db8:8000::/33", "192.0.2.1/32"]
    result = ruleset(options(ssh_cidrs=cidrs))
    assert elements(result, "ssh4") == ["10.0.0.0/23", "192.0.2.1"]
    assert elements(result, "ssh6") == ["2001:db8::/32"]


def test_an_open_family_needs_no_set() -> None:
    """0.0.0.0/0 is a rule without a set, and swallows what stands beside it."""
    result = ruleset(options(https_cidrs=["0.0.0.0/0", "203.0.113.0/24"]))
    assert [item["name"] for item in result["sets"]] == ["ssh4", "ssh6"]
    assert [rule for rule in result["input"] if "443" in rule] == [
        'meta nfproto ipv4 tcp dport 443 counter accept comment "https"'
    ]


def test_no_https_network_leaves_443_closed() -> None:
    """An empty list opens nothing."""
    assert not [rule for rule in ruleset(options(https_cidrs=[]))["input"] if "443" in rule]


def test_containers_are_stopped_before_ssh_and_after_what_is_opened_for_them() -> None:
    """The order of the input chain: established, opened ports, containers out, SSH."""
    rules = ruleset(
        options(input=[{"interface": "br-app", "protocol": "tcp", "port": 5432, "cidrs": ["172.30.0.0/24"]}])
    )["input"]
    position = {
        name: next(i for i, rule in enumerate(rules) if name in rule)
        for name in ("established", "5432", "containers to host", 'comment "ssh"')
    }
    assert list(position) == sorted(position, key=lambda name: position[name])
    assert 'iifname "br-app" ip saddr @input0_4 tcp dport 5432 counter accept comment "firewall_input[0]"' in rules


def test_new_connections_from_outside_never_reach_containers() -> None:
    """The forward chain drops translated and untranslated ones, and the metadata service for containers."""
    forward = ruleset(options(wan_interface="ens3"))["forward"]
    assert any("169.254.169.254" in rule and "drop" in rule for rule in forward)
    assert any(rule.startswith('iifname "ens3" ct status dnat ct state new') and "drop" in rule for rule in forward)
    assert any(rule.startswith('iifname "ens3" ct state new,invalid,untracked') and "drop" in rule for rule in forward)


REFUSED = [
    ({"ssh_cidrs": []}, ["firewall_ssh_cidrs is empty", "lock everybody out"]),
    ({"ssh_cidrs": ["10.0.0.1/8"]}, ["'10.0.0.1/8'", "write 10.0.0.0/8"]),
    ({"ssh_cidrs": ["office"]}, ["'office'", "write one like 203.0.113.0/24"]),
    ({"ssh_cidrs": "0.0.0.0/0"}, ["firewall_ssh_cidrs is not a list"]),
    ({"https_cidrs": ["300.0.0.0/8"]}, ["firewall_https_cidrs", "300.0.0.0/8"]),
    ({"ssh_port": 0}, ["firewall_ssh_port", "0"]),
    ({"ssh_port": 70000}, ["firewall_ssh_port", "70000"]),
    ({"wan_interface": ""}, ["firewall_wan_interface"]),
    ({"wan_interface": 'eth0" accept #'}, ["firewall_wan_interface"]),
    ({"container_interfaces": ["br-*", "x" * 16]}, ["firewall_container_interfaces"]),
    ({"input": "22"}, ["firewall_input is not a list"]),
    ({"input": ["22"]}, ["firewall_input[0] is not a mapping"]),
    ({"input": [{"protocl": "tcp", "port": 1}]}, ["firewall_input[0].protocl is unknown", "did you mean protocol"]),
    ({"input": [{"protocol": "icmp", "port": 1}]}, ["firewall_input[0].protocol", "'icmp'"]),
    ({"input": [{"port": "90-80"}]}, ["firewall_input[0].port", "90-80"]),
    ({"input": [{}]}, ["firewall_input[0].port is None"]),
    ({"input": [{"port": 80, "cidrs": ["x"]}]}, ["firewall_input[0].cidrs holds 'x'"]),
    ({"input": [{"port": 80, "interface": "a b"}]}, ["firewall_input[0].interface"]),
]


@pytest.mark.parametrize(("changes", "words"), REFUSED)
def test_wrong_options_are_refused_by_name(changes: dict[str, Any], words: list[str]) -> None:
    """Each error names the option and the way out."""
    with pytest.raises(FirewallError) as caught:
        ruleset(options(**changes))
    for word in words:
        assert word in str(caught.value)


def test_all_problems_are_reported_at_once() -> None:
    """One run tells everything there is to mend."""
    with pytest.raises(FirewallError) as caught:
        ruleset(options(ssh_cidrs=[], https_cidrs=["x"], ssh_port="a", wan_interface=""))
    assert len(caught.value.problems) == 4


def test_the_fingerprint_follows_the_rules_and_not_their_order() -> None:
    """The same networks in another order are the same firewall; another port is not."""
    first = ruleset(options())
    assert ruleset(options(ssh_cidrs=list(reversed(OPTIONS["ssh_cidrs"]))))["fingerprint"] == first["fingerprint"]
    assert ruleset(options(ssh_port=2222))["fingerprint"] != first["fingerprint"]
    assert ruleset(options(wan_interface="eth1"))["fingerprint"] != first["fingerprint"]


def test_the_loaded_table_is_recognised() -> None:
    """What nft prints for our table is no drift."""
    result = ruleset(options())
    assert drift(json.dumps(listing(result)), result) == []


def test_ranges_of_adjacent_networks_are_no_drift() -> None:
    """nft may print adjacent networks as one range."""
    result = ruleset(options(ssh_cidrs=["10.0.1.0/24", "10.0.2.0/23"]))
    live = listing(result)
    for item in live["nftables"]:
        if "set" in item:
            item["set"]["elem"] = [{"range": ["10.0.1.0", "10.0.3.255"]}]
    assert drift(json.dumps(live), result) == []


@pytest.mark.parametrize("text", ["", "not json", "[]", '{"nftables": []}', '{"nftables": [{"metainfo": {}}]}'])
def test_a_missing_table_is_drift(text: str) -> None:
    """After `nft flush ruleset` there is no table."""
    assert drift(text, ruleset(options())) == ["table inet sapflux is not loaded"]


def spoil(live: dict[str, Any], how: str) -> None:
    """Change a listing the way a person with nft would."""
    objects: list[dict[str, Any]] = live["nftables"]
    match how:
        case "version":
            objects[1]["table"]["comment"] = "sapflux 0000000000000000"
        case "rule added":
            objects.append({"rule": {"chain": "input"}})
        case "rule removed":
            objects.pop()
        case "policy":
            objects[2]["chain"]["policy"] = "accept"
        case "element":
            next(item["set"] for item in objects if "set" in item)["elem"].append("192.0.2.99")
        case "set":
            objects[:] = [item for item in objects if "set" not in item]


@pytest.mark.parametrize(
    ("how", "word"),
    [
        ("version", "another version"),
        ("rule added", "rules are loaded instead of"),
        ("rule removed", "rules are loaded instead of"),
        ("policy", "policy of the input chain is accept"),
        ("element", "set ssh4 holds other networks"),
        ("set", "set ssh4 holds other networks"),
    ],
)
def test_every_change_by_hand_is_drift(how: str, word: str) -> None:
    """The kernel is compared, not the file."""
    result = ruleset(options())
    live = listing(result)
    spoil(live, how)
    assert word in " ".join(drift(json.dumps(live), result))


def test_random_networks_are_neither_lost_nor_widened() -> None:
    """For random lists, exactly the addresses of the listed networks are in the sets."""
    source = random.Random(20261123)
    for _ in range(200):
        nets = [
            ipaddress.ip_network((source.getrandbits(32) & (-1 << (32 - length)) & 0xFFFFFFFF, length))
            for length in (source.randint(4, 32) for _ in range(source.randint(1, 6)))
        ]
        result = ruleset(options(ssh_cidrs=[str(net) for net in nets]))
        found = [ipaddress.ip_network(item) for item in elements(result, "ssh4")]
        for net in nets:
            assert any(net.subnet_of(other) for other in found if isinstance(other, ipaddress.IPv4Network))  # type: ignore[arg-type]
        distinct = list(ipaddress.collapse_addresses([net for net in nets if isinstance(net, ipaddress.IPv4Network)]))
        assert sum(net.num_addresses for net in distinct) == sum(net.num_addresses for net in found)
