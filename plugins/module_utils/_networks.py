# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists of networks, as a person writes them and as firewalls want them.

Private to the collection. Pure functions without Ansible. The host's firewall, the provider's firewall and the web
server's trusted proxies all expand their lists here, so that they cannot disagree about one.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Union

from ._cloudflare_ips import CIDRS

Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]

# What may stand in a list instead of a network.
CLOUDFLARE = "cloudflare"


def networks(cidrs: object, name: str, problems: list[str], cloudflare: Sequence[str] = ()) -> list[Network]:
    """Parse a list of CIDR strings into sorted networks without overlaps, IPv4 first.

    The word `cloudflare` stands for the networks of Cloudflare's edge: those of `cloudflare`, or of the list that ships
    with the collection where that is empty. `name` is the option the list came from. What cannot be read is added to
    `problems` and left out.
    """
    if not isinstance(cidrs, (list, tuple)):
        problems.append(f"{name} is not a list of networks")
        return []
    written: list[str] = []
    for cidr in cidrs:
        written += (cloudflare or CIDRS) if cidr == CLOUDFLARE else [str(cidr)]
    v4: list[ipaddress.IPv4Network] = []
    v6: list[ipaddress.IPv6Network] = []
    for cidr in written:
        try:
            network = ipaddress.ip_network(cidr)
        except ValueError:
            problems.append(f"{name} holds {cidr!r}, which is no network{_nearest(cidr)}")
            continue
        if isinstance(network, ipaddress.IPv4Network):
            v4.append(network)
        else:
            v6.append(network)
    return [*ipaddress.collapse_addresses(v4), *ipaddress.collapse_addresses(v6)]


def _nearest(cidr: str) -> str:
    """Say how `cidr` would be right where only its host bits are wrong."""
    try:
        return f"; write {ipaddress.ip_network(cidr, strict=False)}"
    except ValueError:
        return f"; write one like 203.0.113.0/24 or 2001:db8::/32, or {CLOUDFLARE}"
