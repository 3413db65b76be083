# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the document ``site`` to what has to be there at Cloudflare (private to this collection).

Pure, and the only place where this is decided: whoever makes the resources (Ansible, Pulumi) makes them from
:func:`resources`. Takes a complete document (see ``_site_complete.complete``) and answers plain data without a secret.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.sapflux.hosting.plugins.module_utils import _dns_presets
from ansible_collections.sapflux.hosting.plugins.module_utils._secrets import references

Site = Mapping[str, Any]

OWNER = "sapflux.hosting"
"""The mark of our records, in their comment."""
PREFIX = "sapflux_"
"""The mark of our rules, in their ``ref``."""
FIREWALL = "http_request_firewall_custom"
RATE_LIMIT = "http_ratelimit"
CACHE = "http_request_cache_settings"
RATE_SECONDS = 10
"""The one period, and the one penalty, that every plan of Cloudflare has."""
SETTINGS: dict[str, Any] = {
    "always_use_https": "on",
    "automatic_https_rewrites": "on",
    "brotli": "on",
    # Pages come from the origin as they were built: what the edge writes into them, a script may not find again.
    "email_obfuscation": "off",
    "rocket_loader": "off",
    "http3": "on",
    "tls_1_3": "on",
    # Replayed requests are no requests of a visitor.
    "0rtt": "off",
    "min_tls_version": "1.2",
    "opportunistic_encryption": "on",
    "websockets": "on",
    # The origin says how long a page may be kept.
    "browser_cache_ttl": 0,
    # What is served while the origin is down is old, and looks like now.
    "always_online": "off",
    "development_mode": "off",
    "security_level": "medium",
}
"""Settings of a zone that the document may override one by one; ``ssl`` follows from its certificates."""
HOST_ADDRESSES = ("public_ipv4", "public_ipv6", "hcloud_ipv4", "hcloud_ipv6")
"""Variables of a host in which inventories keep its public addresses."""


def enabled(site: Site) -> bool:
    """Whether the document has anything at Cloudflare."""
    section = site["cloudflare"]
    return bool(section["zone"] or section["buckets"] or section["tokens"] or site["backup"]["r2"]["create"])


def resources(site: Site, addresses: Sequence[str] = ()) -> dict[str, Any]:
    """Everything that has to be there, by kind, in the order in which it is made.

    ``addresses`` are the public ones of the hosts in ``edge``; those that the document writes win. Answers {zone,
    account_id, records: [{type, name, content, ...} as ``cloudflare_dns_zone_state`` takes them], pending: [names whose
    address is not known], takeover, settings: {name: value}, rules: [{phase, rules: [...]}], origin_pulls: bool,
    buckets: [{name, jurisdiction, location, cors}], credentials: [{name, buckets, jurisdiction, access, names:
    {access_key_id, secret_access_key}}], tokens: [{name, permissions, zones, names: {value}}]}. ``names`` are those of
    secrets; all of it is empty where the document has nothing at Cloudflare.
    """
    section = site["cloudflare"]
    zone = section["zone"] or ""
    known = list(section["dns"]["addresses"] or addresses)
    return {
        "zone": zone,
        "account_id": section["account_id"] or "",
        "records": records(site, known) if zone else [],
        "pending": public_names(site) if zone and not known else [],
        "takeover": section["dns"]["takeover"],
        "settings": settings(site) if zone else {},
        "rules": rules(site) if zone else [],
        "origin_pulls": bool(zone and section["origin"]["certificate"]),
        "buckets": buckets(site),
        "credentials": credentials(site),
        "tokens": [
            {
                "name": f"{site['name']} {token['name']}",
                "permissions": list(token["permissions"]),
                "zones": [zone] if zone else [],
                "names": {"value": reference(token["value"])},
            }
            for token in section["tokens"]
        ],
    }


def public_addresses(variables: Sequence[Mapping[str, Any]]) -> list[str]:
    """The public addresses of hosts, from the variables that inventories keep them in, else from ``ansible_host``.

    An address of the tailnet is none.
    """
    found: list[str] = []
    for host in variables:
        of_host = [str(host[name]) for name in HOST_ADDRESSES if host.get(name)]
        found += of_host or [str(host.get("ansible_host") or "")]
    return list(dict.fromkeys(address for address in found if is_public(address)))


def is_public(text: str) -> bool:
    """Whether this is an address that visitors could reach: none of a private network or a tailnet."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    closed = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.0/8", "fc00::/7", "fe80::/10"]
    networks = [ipaddress.ip_network(each) for each in closed]
    return not any(address in network for network in networks if network.version == address.version)


def public_names(site: Site) -> list[str]:
    """Host names that visitors ask for: those of services with a public route, in their order."""
    open_ = [service for service in site["services"] if any(is_open(route) for route in service["routes"])]
    return list(dict.fromkeys(service["hostname"] for service in open_))


def is_open(route: Mapping[str, Any]) -> bool:
    """Whether everybody may follow a route."""
    return bool(route["visibility"] == "public")


def records(site: Site, addresses: Sequence[str]) -> list[dict[str, Any]]:
    """The records of the zone, those of presets included. Raises ``CloudflareError`` where presets cannot be."""
    dns = site["cloudflare"]["dns"]
    wanted: list[dict[str, Any]] = [
        {
            "type": "A" if ipaddress.ip_address(address).version == 4 else "AAAA",
            "name": name,
            "content": address,
            "proxied": dns["proxied"],
        }
        for name in public_names(site)
        for address in addresses
    ]
    wanted += [{key: value for key, value in record.items() if value is not None} for record in dns["records"]]
    if dns["clerk"]:
        wanted += _dns_presets.clerk({"id": dns["clerk"]})
    if dns["mail"]:
        wanted += _dns_presets.mail(dns["mail"])
    return wanted


def settings(site: Site) -> dict[str, Any]:
    """The settings of the zone. A certificate that Caddy signs itself is one that ``strict`` would refuse."""
    ssl = "full" if site["tls"]["mode"] == "internal" else "strict"
    return {**SETTINGS, "ssl": ssl, **site["cloudflare"]["settings"]}


def rules(site: Site) -> list[dict[str, Any]]:
    """Our rules by phase. A phase whose rules were switched off is there without any, so that they are removed."""
    section = site["cloudflare"]["rules"]
    phases: dict[str, list[dict[str, Any]]] = {FIREWALL: [], RATE_LIMIT: [], CACHE: []}
    hidden = hidden_paths(site) if section["hidden"] else ""
    if hidden:
        phases[FIREWALL].append({"name": "hidden", "action": "block", "expression": hidden})
    if section["requests"]:
        # Pages fetch a heap of files at once that never change; only what is left counts.
        counted = " and ".join(f"not {path_matches(path)}" for path in section["cache"])
        phases[RATE_LIMIT].append(
            {
                "name": "requests",
                "action": "block",
                "expression": counted or path_matches("/*"),
                "ratelimit": {
                    "characteristics": ["cf.colo.id", "ip.src"],
                    "period": RATE_SECONDS,
                    "requests_per_period": section["requests"],
                    "mitigation_timeout": RATE_SECONDS,
                },
            }
        )
    if section["cache"]:
        phases[CACHE].append(
            {
                "name": "files",
                "action": "set_cache_settings",
                "expression": " or ".join(path_matches(path) for path in section["cache"]),
                "action_parameters": {
                    "cache": True,
                    "edge_ttl": {"mode": "respect_origin"},
                    "browser_ttl": {"mode": "respect_origin"},
                },
            }
        )
    for rule in section["more"]:
        given = {key: value for key, value in rule.items() if key != "phase" and value is not None}
        phases.setdefault(rule["phase"], []).append(given)
    return [{"phase": phase, "rules": found} for phase, found in phases.items()]


def hidden_paths(site: Site) -> str:
    """An expression that is true for paths which not everybody may see, empty where there are none.

    Routes are asked in their order, as the web server does: a path that an earlier public route opens is not hidden.
    """
    closed: list[str] = []
    for service in site["services"]:
        opened: list[str] = []
        for route in service["routes"]:
            matches = path_matches(route["path"])
            if is_open(route):
                opened.append(matches)
                if route["path"] == "/*":
                    break
                continue
            unless = [f"not {each}" for each in opened]
            host = f'http.host eq "{service["hostname"]}"'
            closed.append("(" + " and ".join([host, matches, *unless]) + ")")
    return " or ".join(closed)


def path_matches(path: str) -> str:
    """A route's path in Cloudflare's language; the case of letters makes no difference, as at the web server."""
    field = "http.request.uri.path"
    if not path.endswith("/*"):
        return f'(lower({field}) eq "{path.lower()}")'
    stem = path.removesuffix("/*").lower()
    if not stem:
        return f'(starts_with({field}, "/"))'
    return f'(lower({field}) eq "{stem}" or starts_with(lower({field}), "{stem}/"))'


def buckets(site: Site) -> list[dict[str, Any]]:
    """The buckets of R2: that of the backups, and those of services."""
    found: list[dict[str, Any]] = []
    backup = site["backup"]
    if backup["r2"]["create"]:
        found.append(_bucket(backup["bucket"], backup["r2"], []))
    found += [_bucket(bucket["name"], bucket, bucket["origins"]) for bucket in site["cloudflare"]["buckets"]]
    return found


def _bucket(name: str, options: Mapping[str, Any], origins: Sequence[str]) -> dict[str, Any]:
    cors = [{"origins": list(origins), "methods": ["GET", "PUT", "HEAD"], "headers": ["content-type"]}]
    return {
        "name": name,
        "jurisdiction": options["jurisdiction"],
        "location": options["location"],
        "cors": cors if origins else [],
    }


def credentials(site: Site) -> list[dict[str, Any]]:
    """The key pairs of those buckets, and the names of the secrets that they are kept as."""
    backup = site["backup"]
    pairs: list[tuple[str, str, Mapping[str, Any], str, Any, Any]] = []
    if backup["r2"]["create"]:
        of = (backup["bucket"], backup["r2"])
        pairs.append(("backup", *of, "write", backup["access_key_id"], backup["secret_access_key"]))
        if backup["read_secret_access_key"]:
            keys = backup["read_access_key_id"], backup["read_secret_access_key"]
            pairs.append(("backup read", *of, "read", *keys))
    for bucket in site["cloudflare"]["buckets"]:
        if bucket["secret_access_key"]:
            keys = bucket["access_key_id"], bucket["secret_access_key"]
            pairs.append((bucket["name"], bucket["name"], bucket, "write", *keys))
    return [
        {
            "name": f"{site['name']} {name}",
            "buckets": [bucket],
            "jurisdiction": options["jurisdiction"],
            "access": access,
            "names": {"access_key_id": reference(key), "secret_access_key": reference(secret)},
        }
        for name, bucket, options, access, key, secret in pairs
    ]


def reference(text: Any) -> str:
    """The name in a text that is one reference, ``${NAME}``, and nothing else; empty where it is another text."""
    found = references(str(text or ""))
    return found[0].name if len(found) == 1 and text == f"${{{found[0].name}}}" else ""


def made_secrets(site: Site) -> list[str]:
    """Names of the secrets that are made here, so that a store without them is in order until then."""
    wanted = [*credentials(site), *resources(site)["tokens"]]
    return sorted({name for each in wanted for name in each["names"].values() if name})


def endpoint(site: Site) -> str:
    """Address of the bucket of the backups, where it is made here."""
    where = site["backup"]["r2"]["jurisdiction"]
    below = "" if where == "default" else f"{where}."
    return f"https://{site['cloudflare']['account_id']}.{below}r2.cloudflarestorage.com"
