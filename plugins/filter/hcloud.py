# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters of the role ``hetzner``. The ``.yml`` files beside it say more."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.sapflux.hosting.plugins.module_utils._site_hcloud import with_host_key

WAYS = {
    "provision": "applied by provision",
    "resize": "applied while the server is off",
    "rebuild": "applied with an empty disk",
    "replace": "applied by taking something else",
    "person": "left to you",
}
WORDS = {
    "servers": "servers",
    "primary_ips": "addresses",
    "firewalls": "firewalls",
    "placement_groups": "placement groups",
    "networks": "networks",
    "ssh_keys": "SSH keys",
}


def hcloud_screen(drift: Mapping[str, Any], ways: Sequence[str] = tuple(WAYS)) -> list[str]:
    """What M(sapflux.hosting.hcloud_drift) found, in lines: by the way it is applied, the notes last."""
    lines: list[str] = []
    for way in WAYS:
        found = [each for each in drift["differences"] if each["apply"] == way and way in ways]
        if found:
            lines.append(f"{WAYS[way]}:")
        for each in found:
            lines.append(f"  {each['text']}")
            if each["how"]:
                lines.append(f"    -> {each['how']}")
    lines += [f"note: {note}" for note in drift["notes"]]
    return lines or ["nothing differs"]


def hcloud_ssh_names(servers: Sequence[Mapping[str, Any]], name: str) -> list[str]:
    """Everything that SSH may know a server by: its name, addresses and name on the tailnet."""
    server = next((each for each in servers if each["name"] == name), None)
    if server is None:
        raise AnsibleFilterError(f"there is no server {name}")
    return [each for each in (name, server["ipv4"], server["ipv6"], server["tailnet_host"]) if each]


def hcloud_user_data(text: str, key: Mapping[str, str]) -> str:
    """The user_data of a server with the host key that M(sapflux.hosting.known_host_key) made."""
    return with_host_key(text, key["private_key"], key["public_key"])


def hcloud_inventory(there: Mapping[str, Sequence[str]]) -> str:
    """What there is of a site, in words."""
    found = [f"{WORDS[kind]} {', '.join(there[kind])}" for kind in WORDS if there.get(kind)]
    return "; ".join(found) or "nothing"


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {
            "hcloud_screen": hcloud_screen,
            "hcloud_ssh_names": hcloud_ssh_names,
            "hcloud_user_data": hcloud_user_data,
            "hcloud_inventory": hcloud_inventory,
        }
