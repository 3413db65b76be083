# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters about networks and the firewall."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.sapflux.hosting.plugins.module_utils._firewall import FirewallError, ruleset
from ansible_collections.sapflux.hosting.plugins.module_utils._firewall_drift import drift
from ansible_collections.sapflux.hosting.plugins.module_utils._networks import networks


def firewall_ruleset(options: Mapping[str, Any]) -> dict[str, Any]:
    """Build the lines of the firewall's table; every problem in `options` is reported at once."""
    try:
        return ruleset(options)
    except FirewallError as error:
        raise AnsibleFilterError(str(error)) from error


def firewall_drift(listing: str, expected: str) -> list[str]:
    """Return what differs between the table that the kernel runs and the one in the file, as nft prints both."""
    return drift(listing, expected)


def networks_of(cidrs: object, name: str, cloudflare: Sequence[str] = ()) -> list[str]:
    """Return CIDR strings sorted and joined where they overlap; `name` is the option that an error names.

    `cloudflare` is what the word `cloudflare` stands for, the collection's own list where it is empty.
    """
    problems: list[str] = []
    found = networks(cidrs, name, problems, cloudflare)
    if problems:
        raise AnsibleFilterError("; ".join(problems))
    return [str(network) for network in found]


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {
            "firewall_ruleset": firewall_ruleset,
            "firewall_drift": firewall_drift,
            "networks": networks_of,
        }
