"""The firewall's rules: what is allowed, what is refused, and what counts as drift."""

from __future__ import annotations

import copy
import ipaddress
import random
from typing import Any

import pytest
from ansible_collections.sapflux.hosting.plugins.module_utils._firewall import FirewallError, ruleset

OPTIONS: dict[str, Any] = {
    "ssh_cidrs": ["203.0.113.0/24", "198.51.100.7/32", "2001:db8:1::/48"],
    "ssh_port": 22,
    "https_cidrs": ["0.0.0.0/0", "::/0"],
    "wan_interface": "eth0",
    "tailnet_interface": "tailscale0",
    "tailnet_ports": [],
    "tailscale_port": 0,
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


def test_networks_are_split_by_family_sorted_and_joined() -> None:
    """Sets hold canonical networks; a single address is written without its prefix."""
    cidrs = ["10.0.1.0/24", "10.0.0.0/24", "2001:db8::/33", "2001:db8:8000::/33", "192.0.2.1/32"]
    result = ruleset(options(ssh_cidrs=cidrs))
    assert elements(result, "ssh4") == ["10.0.0.0/23", "192.0.2.1"]
    assert elements(result, "ssh6") == ["2001:db8::/32"]


def test_an_open_family_needs_no_set() -> None:
    """0.0.0.0/0 is a rule without a set, and swallows what stands beside it."""
    result = ruleset(options(https_cidrs=["0.0.0.0/0", "203.0.113.0/24"]))
    assert [item["name"] for item in result["sets"] if item["elements"]] == ["ssh4", "ssh6"]
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


def test_only_containers_start_connections_through_the_host() -> None:
    """The forward chain: metadata closed to everybody, replies pass, outside is dropped, containers go out."""
    assert ruleset(options(wan_interface="ens3", container_interfaces=["br-app"]))["forward"] == [
        'ip daddr 169.254.0.0/16 counter drop comment "cloud metadata"',
        'ip6 daddr { fe80::/10, fd00:ec2::/32, fd20:ce::/32 } counter drop comment "cloud metadata"',
        "ct state established,related counter accept",
        "ct state invalid counter drop",
        'iifname "ens3" ct status dnat counter drop comment "published container ports"',
        'iifname "ens3" counter drop comment "into containers"',
        'iifname "br-app" counter accept comment "from containers"',
    ]


def tailnet_rules(**changes: Any) -> list[str]:
    """The rules of the input chain about the tailnet."""
    return [rule for rule in ruleset(options(**changes))["input"] if "tailnet" in rule or "tailscale" in rule]


def test_ssh_is_always_open_from_the_tailnet() -> None:
    """By default nothing else is, and the port of Tailscale itself stays closed."""
    assert tailnet_rules() == ['iifname "tailscale0" tcp dport 22 counter accept comment "tailnet"']
    assert tailnet_rules(ssh_port=2222)[0].startswith('iifname "tailscale0" tcp dport 2222 ')


def test_without_a_tailnet_nothing_is_opened_for_it() -> None:
    """An empty name means that there is none, whatever ports are listed."""
    assert tailnet_rules(tailnet_interface="", tailnet_ports=[443]) == []


def test_ports_of_the_tailnet_are_one_set_without_overlaps() -> None:
    """nft refuses overlapping ranges, so the list is sorted, joined and cleaned of repetitions."""
    ports = [5432, "8000-8100", "443", 22, "8050-8200"]
    assert tailnet_rules(tailnet_ports=ports) == [
        'iifname "tailscale0" tcp dport { 22, 443, 5432, 8000-8200 } counter accept comment "tailnet"'
    ]


def test_the_port_of_tailscale_can_be_opened() -> None:
    """For direct paths to clients behind a hard NAT, over UDP, from everywhere."""
    assert tailnet_rules(tailscale_port=41641)[-1] == 'udp dport 41641 counter accept comment "tailscale"'


def test_ssh_may_be_closed_to_the_outside_where_there_is_a_tailnet() -> None:
    """The end of the lockdown: no rule for SSH but the tailnet's, and the interface is there or nobody knows."""
    for present in (["lo", "eth0", "tailscale0"], None):
        rules = ruleset(options(ssh_cidrs=[], interfaces=present))["input"]
        assert [rule for rule in rules if "dport 22" in rule and "saddr @ssh_" not in rule] == tailnet_rules()


def test_the_lockdown_can_let_somebody_in_without_new_rules() -> None:
    """Two pairs of sets, empty as loaded, after everything that is dropped; none where there is no tailnet."""
    result = ruleset(options(ssh_cidrs=[]))
    own = [item for item in result["sets"] if item["elements"] is None]
    assert {item["name"]: item["flags"] for item in own} == {
        "ssh_rescue4": "interval",
        "ssh_rescue6": "interval",
        "ssh_grant4": "interval,timeout",
        "ssh_grant6": "interval,timeout",
    }
    assert [rule for rule in result["input"] if "@ssh_rescue" in rule] == [
        'ip saddr @ssh_rescue4 tcp dport 22 counter accept comment "ssh_rescue"',
        'ip6 saddr @ssh_rescue6 tcp dport 22 counter accept comment "ssh_rescue"',
    ]
    assert not any("@ssh_" in rule for rule in ruleset(options(tailnet_interface=""))["input"])


def test_the_word_cloudflare_stands_for_its_networks() -> None:
    """443 from the edge only, in both families."""
    result = ruleset(options(https_cidrs=["cloudflare"]))
    assert "162.158.0.0/15" in elements(result, "https4")
    assert "2606:4700::/32" in elements(result, "https6")
    assert len([rule for rule in result["input"] if "tcp dport 443" in rule]) == 2
    newer = ruleset(options(https_cidrs=["cloudflare"], cloudflare_cidrs=["198.51.100.0/24"]))
    assert elements(newer, "https4") == ["198.51.100.0/24"]
    assert ruleset(options(https_cidrs=["cloudflare"], cloudflare_cidrs=[]))["fingerprint"] == result["fingerprint"]


REFUSED = [
    ({"ssh_cidrs": [], "tailnet_interface": ""}, ["no tailnet interface is named", "lock everybody out"]),
    ({"ssh_cidrs": [], "interfaces": ["lo", "eth0"]}, ["has no interface tailscale0", "join the tailnet first"]),
    ({"tailnet_interface": "eth0"}, ["firewall_tailnet_interface holds eth0", "interface to the outside"]),
    ({"tailnet_interface": "e*"}, ["firewall_tailnet_interface holds e*", "interface to the outside"]),
    ({"tailnet_interface": "br-tail"}, ["firewall_container_interfaces holds br-*", "tailnet's br-tail"]),
    ({"tailnet_interface": 'a" accept #'}, ["firewall_tailnet_interface"]),
    ({"container_interfaces": ["eth*"]}, ["firewall_container_interfaces holds eth*", "interface to the outside"]),
    ({"tailnet_ports": 443}, ["firewall_tailnet_ports is not a list"]),
    ({"tailnet_ports": [443, "http"]}, ["firewall_tailnet_ports[1]", "'http'"]),
    ({"tailscale_port": 70000}, ["firewall_tailscale_port", "70000"]),
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
        ruleset(options(ssh_cidrs=[], https_cidrs=["x"], ssh_port="a", wan_interface="", interfaces=[]))
    assert len(caught.value.problems) == 4


def test_the_fingerprint_follows_the_rules_and_not_their_order() -> None:
    """The same networks in another order are the same firewall; another port is not."""
    first = ruleset(options())
    assert ruleset(options(ssh_cidrs=list(reversed(OPTIONS["ssh_cidrs"]))))["fingerprint"] == first["fingerprint"]
    assert ruleset(options(ssh_port=2222))["fingerprint"] != first["fingerprint"]
    assert ruleset(options(wan_interface="eth1"))["fingerprint"] != first["fingerprint"]


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
