"""The filters of the firewall as a playbook calls them."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.sapflux.hosting.plugins.filter.firewall import FilterModule

FILTERS = FilterModule().filters()


def test_networks_are_tidied() -> None:
    """Sorted, joined, IPv4 first."""
    assert FILTERS["networks"](["::/0", "10.0.1.0/24", "10.0.0.0/24"], "x") == ["10.0.0.0/23", "::/0"]
    assert FILTERS["networks"]([], "x") == []


def test_cloudflare_is_the_given_list_or_the_one_that_ships() -> None:
    """The wiring hands over what a refresh wrote, an empty list where there was none."""
    assert FILTERS["networks"](["cloudflare"], "x", ["2001:db8::/32", "192.0.2.0/24"]) == [
        "192.0.2.0/24",
        "2001:db8::/32",
    ]
    assert "173.245.48.0/20" in FILTERS["networks"](["cloudflare"], "x", [])


def test_wrong_networks_are_all_named() -> None:
    """One error with the option's name and the way out."""
    with pytest.raises(AnsibleFilterError, match=r"my_list holds 'a'.*; my_list holds '10\.0\.0\.1/8'") as caught:
        FILTERS["networks"](["a", "10.0.0.1/8"], "my_list")
    assert "write 10.0.0.0/8" in str(caught.value)


def test_a_refused_ruleset_is_a_filter_error() -> None:
    """Ansible shows the sentence, not a traceback."""
    options = {
        "ssh_cidrs": [],
        "ssh_port": 22,
        "https_cidrs": [],
        "wan_interface": "eth0",
        "tailnet_interface": "",
        "tailnet_ports": [],
        "tailscale_port": 0,
        "container_interfaces": [],
        "input": [],
    }
    with pytest.raises(AnsibleFilterError, match="firewall_ssh_cidrs is empty"):
        FILTERS["firewall_ruleset"](options)
    assert FILTERS["firewall_ruleset"]({**options, "ssh_cidrs": ["0.0.0.0/0"]})["sets"] == []


def test_a_missing_table_is_drift() -> None:
    """The filter is the function."""
    assert FILTERS["firewall_drift"]("", "") == ["table inet sapflux is not loaded"]
