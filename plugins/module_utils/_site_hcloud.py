# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the document ``site`` to what has to be there at Hetzner Cloud (private to this collection).

Pure, and the only place where this is decided: whoever makes the resources (Ansible, Pulumi) makes them from
:func:`resources`. Takes a complete document (see ``_site_complete.complete``) and answers plain data.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.sapflux.hosting.plugins.module_utils._networks import networks
from ansible_collections.sapflux.hosting.plugins.module_utils._ssh_keys import KEY_TYPES

Site = Mapping[str, Any]

NETWORK_ZONES = {
    "fsn1": "eu-central",
    "nbg1": "eu-central",
    "hel1": "eu-central",
    "ash": "us-east",
    "hil": "us-west",
    "sin": "ap-southeast",
}
"""Where a private network of a location lies."""
OWNER = {"managed-by": "sapflux.hosting"}
MARKS = ("ssh-keys", "user-data")
"""Labels of a server that say what it was made with, which nobody can ask Hetzner for. A rebuild alone changes them."""
SSH_STATE = "ssh"
"""Label of the firewall: ``open`` or ``closed`` to the networks of the people who run the server."""
SSH_STATES = ("open", "closed")
ANYWHERE = ("0.0.0.0/0", "::/0")
RULES_MOST, EFFECTIVE_MOST, USER_DATA_MOST = 50, 500, 32768
"""Rules of a firewall, networks in all of them, and bytes of ``user_data`` that Hetzner takes."""


def enabled(site: Site) -> bool:
    """Whether the document has servers at Hetzner."""
    return bool(site["hetzner"]["servers"])


def resources(site: Site, ssh: str = "open", cloudflare: Sequence[str] = ()) -> dict[str, Any]:
    """Everything that has to be there, by kind, in the order in which it is made.

    ``ssh`` is ``open`` until SSH has moved to the tailnet, and ``closed`` from then on; ``cloudflare`` is what the word
    stands for in a list of networks, empty for the list that ships. Answers {ssh_keys: [{name, public_key, fingerprint,
    labels}], network: {name, ip_range, labels, subnet: {ip_range, type, network_zone}} or None, placement_group:
    {name, type, labels} or None, firewall: {name, labels, rules, closed_rules}, primary_ips: [{name, type, location,
    auto_delete, delete_protection, labels, server, dns_ptr}], servers: [{name, server_type, image, location, labels,
    ssh_keys, firewall, network, placement_group, ipv4, ipv6, backups, delete_protection, rebuild_protection, user_data,
    groups, tailnet_host}]}; all of it empty where the document has no servers. Names refer to the other resources;
    ``closed_rules`` are those of a firewall that SSH is closed in, None where it is to stay open.
    """
    if not enabled(site):
        return {
            "ssh_keys": [],
            "network": None,
            "placement_group": None,
            "firewall": None,
            "primary_ips": [],
            "servers": [],
        }
    section, name = site["hetzner"], site["name"]
    labels = {**section["labels"], **OWNER, "site": name}
    keys = ssh_keys(site, labels)
    return {
        "ssh_keys": keys,
        "network": {
            "name": name,
            "ip_range": section["network"],
            "labels": labels,
            "subnet": {
                "ip_range": section["network"],
                "type": "cloud",
                "network_zone": NETWORK_ZONES[section["location"]],
            },
        }
        if section["network"]
        else None,
        "placement_group": {"name": name, "type": "spread", "labels": labels},
        "firewall": {
            "name": name,
            "labels": {**labels, SSH_STATE: ssh},
            "rules": firewall_rules(site["network"], ssh, cloudflare),
            "closed_rules": firewall_rules(site["network"], "closed", cloudflare) if may_close(site) else None,
        },
        "primary_ips": [
            {
                "name": f"{server['name']}-{kind}",
                "type": kind,
                "location": section["location"],
                "auto_delete": False,
                "delete_protection": section["protection"],
                "labels": labels,
                "server": server["name"],
                "dns_ptr": f"{server['name']}.{site['domain']}",
            }
            for server in section["servers"]
            for kind in ("ipv4", "ipv6")
        ],
        "servers": [_server(site, server, labels, keys) for server in section["servers"]],
    }


def _server(
    site: Site, server: Mapping[str, Any], labels: Mapping[str, str], keys: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    section, tailscale = site["hetzner"], site["tailscale"]
    tailnet = tailscale["domain"] if tailscale["enabled"] else ""
    return {
        "name": server["name"],
        "server_type": server["type"],
        "image": server["image"],
        "location": section["location"],
        "labels": {
            **labels,
            **{f"group-{group}": "true" for group in server["groups"]},
            "ssh-keys": digest(sorted(key["fingerprint"] for key in keys)),
            "user-data": digest(cloud_config(site, keys=False)),
        },
        "ssh_keys": [key["name"] for key in keys],
        "firewall": site["name"],
        "network": site["name"] if section["network"] else None,
        "placement_group": site["name"],
        "ipv4": f"{server['name']}-ipv4",
        "ipv6": f"{server['name']}-ipv6",
        "backups": server["backups"],
        "delete_protection": section["protection"],
        "rebuild_protection": section["protection"],
        "user_data": user_data(cloud_config(site)),
        "groups": list(server["groups"]),
        "tailnet_host": f"{server['name']}.{tailnet}" if tailnet else "",
    }


def may_close(site: Site) -> bool:
    """Whether Hetzner's firewall closes port 22 once SSH has moved to the tailnet."""
    tailscale = site["tailscale"]
    return bool(site["hetzner"]["lockdown"] and tailscale["enabled"] and tailscale["lockdown"])


def firewall_rules(network: Mapping[str, Any], ssh: str, cloudflare: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The rules of the provider's firewall, from the networks that the host's own firewall is made from.

    Networks are canonical, sorted and without overlaps, for Hetzner gives them back so and compares lists in order. A
    firewall without a rule for what goes out lets all of it out.
    """
    own = [*(network["ssh_cidrs"] if ssh == "open" else []), *network["break_glass_cidrs"]]
    wanted = [
        ("ssh", "tcp", "22", cidrs(own, cloudflare)),
        ("https", "tcp", "443", cidrs(network["https_cidrs"], cloudflare)),
        ("icmp", "icmp", None, list(ANYWHERE)),
    ]
    return [
        {
            "direction": "in",
            "protocol": protocol,
            "port": port,
            "source_ips": sources,
            "destination_ips": [],
            "description": description,
        }
        for description, protocol, port, sources in wanted
        if sources
    ]


def cidrs(written: Sequence[str], cloudflare: Sequence[str] = ()) -> list[str]:
    """A list of networks as firewalls want it. What is no network is left out: the document's rules speak of it."""
    return [str(network) for network in networks(list(written), "", [], cloudflare)]


def ssh_keys(site: Site, labels: Mapping[str, str]) -> list[dict[str, Any]]:
    """The keys root is given at the first boot: those of the admin that may do everything.

    A key with options (``restrict``, ``command=``) is left to the role ``base``, for at Hetzner it would lose them.
    """
    found = []
    for line in site["admin"]["authorized_keys"]:
        fields = line.split()
        if fields[0] not in KEY_TYPES:
            continue
        fingerprint = md5_fingerprint(fields[1])
        name = f"{site['name']}-{fingerprint.replace(':', '')[:8]}"
        key = " ".join(fields[:2])
        found.append({"name": name, "public_key": key, "fingerprint": fingerprint, "labels": dict(labels)})
    return found


def md5_fingerprint(body: str) -> str:
    """What Hetzner knows a public key by: the MD5 of its base64 body, in pairs."""
    hexed = hashlib.md5(base64.b64decode(body), usedforsecurity=False).hexdigest()
    return ":".join(hexed[index : index + 2] for index in range(0, 32, 2))


def cloud_config(site: Site, *, keys: bool = True) -> dict[str, Any]:
    """What the first boot does, as the mapping cloud-init reads. It holds no secret.

    Without ``keys``: what of it cannot be changed later without a rebuild. The role ``base`` keeps the keys.
    """
    admin = {
        "name": site["admin"]["user"],
        "shell": "/bin/bash",
        "lock_passwd": True,
        "sudo": "ALL=(ALL) NOPASSWD:ALL",
    }
    if keys:
        admin["ssh_authorized_keys"] = list(site["admin"]["authorized_keys"])
    # Of root's keys Hetzner says nothing and a rebuild brings the old ones back: they are locked away.
    return {"users": [admin], "disable_root": True, "ssh_pwauth": False, "ssh_deletekeys": True}


def user_data(config: Mapping[str, Any]) -> str:
    """A cloud-config as a server is given it: JSON is YAML, and always the same text."""
    return "#cloud-config\n" + json.dumps(config, indent=1, sort_keys=True) + "\n"


def with_host_key(text: str, private: str, public: str) -> str:
    """``user_data`` with the SSH host key that the first boot takes, so that the first contact is no act of faith.

    Everything on the host that reaches the metadata service can read it: it is for the first contact only.
    """
    config = json.loads(text.partition("\n")[2])
    config["ssh_keys"] = {"ed25519_private": private, "ed25519_public": public}
    return user_data(config)


def digest(value: Any) -> str:
    """A short name of a value that fits into a label."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
