"""The names by which Pulumi knows resources, the same for who makes them and for who adopts them. Needs no Pulumi."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.sapflux.hosting.plugins.module_utils import _dns_plan
from ansible_collections.sapflux.hosting.plugins.module_utils._site_cloudflare import OWNER

KINDS = ("ipv4", "ipv6")
_BASES = {"ipv4": ipaddress.ip_network("203.0.113.0/24"), "ipv6": ipaddress.ip_network("2001:db8:0:7::/64")}
"""Networks of documentation: addresses that no host has, in place of those that are not known yet."""


def of(kind: str, name: str) -> str:
    """The logical name of a resource."""
    return f"{kind}-{name}"


def placeholder_keys(servers: Sequence[str]) -> dict[tuple[str, str], str]:
    """An address in place of each of the (server, ``ipv4`` or ``ipv6``), until Pulumi knows the real ones."""
    return {(server, kind): str(_BASES[kind][index + 1]) for index, server in enumerate(servers) for kind in KINDS}


def placeholders(servers: Sequence[str]) -> list[str]:
    """Those addresses."""
    return list(placeholder_keys(servers).values())


def records(found: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The records as the API takes them, by logical name.

    A name holds what the record says, so that records keep theirs when others come and go. Addresses change, and are
    counted instead.
    """
    wanted = _dns_plan.wishes(found["records"], _dns_plan.Scope(found["zone"], OWNER))
    counted: dict[tuple[str, str], int] = {}
    named: dict[str, dict[str, Any]] = {}
    for record in wanted:
        if record.type in ("A", "AAAA"):
            counted[record.group] = counted.get(record.group, 0) + 1
            mark = str(counted[record.group])
        else:
            mark = hashlib.sha256(record.identity.encode()).hexdigest()[:8]
        body = {"type": record.type, "name": record.name, "ttl": record.ttl, "comment": record.comment, **record.body}
        optional: dict[str, Any] = {"tags": list(record.tags) if record.tags is not None else None}
        optional["settings"] = dict(record.settings) if record.settings is not None else None
        if record.type in _dns_plan.ALONE:
            optional["proxied"] = record.proxied
        body |= {key: value for key, value in optional.items() if value is not None}
        named[of("record", f"{record.type}-{record.name}-{mark}")] = body
    return named
