# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules of the section ``hetzner`` of the document ``site`` (private to this collection).

What Hetzner would refuse half-way, or take and silently ignore, is refused here, before anything is made.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from ansible_collections.sapflux.hosting.plugins.module_utils import _site_formats as fmt
from ansible_collections.sapflux.hosting.plugins.module_utils import _site_hcloud as hcloud
from ansible_collections.sapflux.hosting.plugins.module_utils._site_rules import Add, Document, select
from ansible_collections.sapflux.hosting.plugins.module_utils._ssh_keys import KEY_TYPES

PLACEMENT_MOST = 10
_LABEL_KEY = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
_OURS = ("managed-by", "site", hcloud.SSH_STATE, *hcloud.MARKS)
_IN_USE = {"172.17.0.0/16": "Docker's network", "100.64.0.0/10": "the tailnet's"}


def private_range(value: str) -> fmt.Verdict:
    """A private IPv4 network of at least 16 addresses that nothing else on the host uses, or nothing."""
    if not value:
        return None
    verdict = fmt.cidr(value)
    if verdict:
        return verdict
    network = ipaddress.ip_network(value)
    if not isinstance(network, ipaddress.IPv4Network) or not network.is_private or network.prefixlen > 28:
        return "is no private network with room for servers", "write one such as 10.20.0.0/24"
    for used, whose in _IN_USE.items():
        if network.overlaps(ipaddress.IPv4Network(used)):
            return f"overlaps {used}, which is {whose}", "write one such as 10.20.0.0/24"
    return None


FORMATS = {
    "hetzner.servers[].name": fmt.matches(
        r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?", "a host name without dots", "sapflux-1"
    ),
    "hetzner.servers[].type": fmt.matches(r"[a-z]{2,4}[0-9]{1,3}", "a type of server", "cpx11"),
    "hetzner.servers[].image": fmt.matches(r"debian-[0-9]{2}", "an image of Debian", "debian-13"),
    "hetzner.endpoint": fmt.url("https", "http"),
    "hetzner.network": private_range,
}


def hetzner(document: Document, add: Add) -> None:
    """Limits of Hetzner, labels, and a key that opens the server at its first boot."""
    for pattern, check in FORMATS.items():
        for path, value in select(document, pattern):
            verdict = check(value)
            if verdict:
                add(path, value, *verdict)
    servers = (document.get("hetzner") or {}).get("servers") or []
    if not servers:
        return
    if len(servers) > PLACEMENT_MOST:
        add(
            "site.hetzner.servers",
            None,
            f"has {len(servers)} servers, and a placement group takes {PLACEMENT_MOST}",
            "leave some out",
        )
    keys = [key for _path, key in select(document, "admin.authorized_keys[]")]
    if keys and not any(key.split()[:1] and key.split()[0] in KEY_TYPES for key in keys):
        add(
            "site.admin.authorized_keys",
            None,
            "has only keys with options, and Hetzner gives root keys without any",
            "add a key without options, or nobody gets in at the first boot",
        )
    _labels(document, add)
    _firewall(document, add)


def _labels(document: Document, add: Add) -> None:
    for path, labels in select(document, "hetzner.labels"):
        for key, value in labels.items():
            where = f"{path}.{key}"
            if key in _OURS or key.startswith("group-"):
                add(where, None, "is a label of this collection", "choose another name")
            elif not _LABEL_KEY.fullmatch(key):
                add(where, None, "is no name of a label", "write at most 63 letters, digits, - . and _")
            elif not isinstance(value, str) or not _LABEL_VALUE.fullmatch(value):
                add(where, value, "is no value of a label", "write at most 63 letters, digits, - . and _, in quotes")


def _firewall(document: Document, add: Add) -> None:
    network: dict[str, Any] = document.get("network") or {}
    if any(network.get(key) is None for key in ("ssh_cidrs", "break_glass_cidrs", "https_cidrs")):
        return
    known = {
        key: [cidr for cidr in value if isinstance(cidr, str)]
        for key, value in network.items()
        if isinstance(value, list)
    }
    rules = hcloud.firewall_rules(known, "open")
    effective = sum(len(rule["source_ips"]) for rule in rules)
    if effective > hcloud.EFFECTIVE_MOST:
        add(
            "site.network",
            None,
            f"names {effective} networks, and a firewall of Hetzner takes {hcloud.EFFECTIVE_MOST}",
            "join some into larger ones",
        )
