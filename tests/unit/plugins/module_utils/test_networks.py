"""Lists of networks and the words that may stand in them."""

from __future__ import annotations

import datetime
import ipaddress

from ansible_collections.sapflux.hosting.plugins.module_utils._cloudflare_ips import AS_OF, CIDRS
from ansible_collections.sapflux.hosting.plugins.module_utils._networks import networks


def expand(*cidrs: str, cloudflare: tuple[str, ...] = ()) -> list[str]:
    """The networks of a list without mistakes."""
    problems: list[str] = []
    found = [str(network) for network in networks(list(cidrs), "list", problems, cloudflare)]
    assert problems == []
    return found


def test_cloudflare_is_the_list_that_ships() -> None:
    """Alone it is that list, sorted, IPv4 first, and nothing is lost by joining."""
    found = expand("cloudflare")
    spans = {version: [net for net in map(ipaddress.ip_network, CIDRS) if net.version == version] for version in (4, 6)}
    for nets in spans.values():
        size = sum(net.num_addresses for net in nets)
        mine = [net for net in map(ipaddress.ip_network, found) if net.version == nets[0].version]
        assert sum(net.num_addresses for net in mine) == size
    assert found == [str(net) for version in (4, 6) for net in ipaddress.collapse_addresses(spans[version])]  # type: ignore[type-var]


def test_a_newer_list_replaces_the_one_that_ships() -> None:
    """What the refresh found is used instead of the collection's own, not beside it."""
    assert expand("cloudflare", cloudflare=("198.51.100.0/24",)) == ["198.51.100.0/24"]


def test_cloudflare_stands_beside_other_networks() -> None:
    """The word is one entry among others."""
    assert "203.0.113.7/32" in expand("203.0.113.7/32", "cloudflare")


def test_a_misspelt_word_is_refused_with_the_right_one() -> None:
    """Words are exact."""
    problems: list[str] = []
    assert networks(["Cloudflare"], "https", problems) == []
    assert problems == [
        "https holds 'Cloudflare', which is no network; write one like 203.0.113.0/24 or 2001:db8::/32, or cloudflare"
    ]


def test_the_list_that_ships_is_in_order() -> None:
    """Canonical, sorted, public, both families, with the day it was read."""
    nets = [ipaddress.ip_network(cidr) for cidr in CIDRS]
    assert [str(net) for net in nets] == list(CIDRS)
    assert nets == sorted(nets, key=lambda net: (net.version, net))
    assert all(net.is_global for net in nets)
    assert {net.version for net in nets} == {4, 6}
    assert datetime.date.fromisoformat(AS_OF) >= datetime.date(2026, 11, 22)
