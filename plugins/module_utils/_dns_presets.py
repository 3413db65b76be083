# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sets of DNS records that belong together: Clerk's, and those of mail (private to this collection)."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping

from ansible_collections.sapflux.hosting.plugins.module_utils._cloudflare import CloudflareError

CLERK = (
    ("clerk", "frontend-api.clerk.services"),
    ("accounts", "accounts.clerk.services"),
    ("clkmail", "mail.{id}.clerk.services"),
    ("clk._domainkey", "dkim1.{id}.clerk.services"),
    ("clk2._domainkey", "dkim2.{id}.clerk.services"),
)
"""Names and targets of a production instance. Clerk checks them itself, so that they must not be proxied."""
Wish = Dict[str, Any]


def clerk(options: Mapping[str, Any]) -> List[Wish]:
    """Clerk's five CNAMEs, from ``cname_targets`` as its API gives them, or from the ``id`` of the instance."""
    targets = options.get("cname_targets")
    if targets:
        pairs = [(f"{str(each['host']).rstrip('.')}.", str(each["value"])) for each in targets]
    elif options.get("id"):
        pairs = [(host, target.format(id=options["id"])) for host, target in CLERK]
    else:
        raise CloudflareError("presets.clerk needs the id of the instance, or cname_targets as Clerk's API gives them")
    return [{"type": "CNAME", "name": host, "content": target, "proxied": False} for host, target in pairs]


def mail(options: Mapping[str, Any]) -> List[Wish]:
    """The records of a domain that sends and receives mail, or (``none``) of one that does neither."""
    if options.get("none"):
        if any(options.get(key) for key in ("mx", "spf", "dkim")):
            raise CloudflareError("presets.mail.none says that there is no mail: leave out mx, spf and dkim")
        return [
            {"type": "MX", "name": "@", "content": ".", "priority": 0},
            {"type": "TXT", "name": "@", "content": "v=spf1 -all"},
            {"type": "TXT", "name": "*._domainkey", "content": "v=DKIM1; p="},
            {"type": "TXT", "name": "_dmarc", "content": _dmarc({"policy": "reject", **(options.get("dmarc") or {})})},
        ]
    wishes: List[Wish] = [
        {"type": "MX", "name": "@", "content": each["host"], "priority": each.get("priority", 10)}
        for each in options.get("mx") or []
    ]
    if options.get("spf"):
        words = ["v=spf1", *options["spf"]]
        wishes.append({"type": "TXT", "name": "@", "content": " ".join([*words, options.get("spf_rest") or "~all"])})
    for each in options.get("dkim") or []:
        name = f"{each['selector']}._domainkey"
        if bool(each.get("cname")) == bool(each.get("key")):
            raise CloudflareError(f"presets.mail.dkim {each['selector']} needs a cname or a key, one of the two")
        if each.get("cname"):
            wishes.append({"type": "CNAME", "name": name, "content": each["cname"], "proxied": False})
        else:
            wishes.append({"type": "TXT", "name": name, "content": f"v=DKIM1; k=rsa; p={each['key']}"})
    if options.get("dmarc"):
        wishes.append({"type": "TXT", "name": "_dmarc", "content": _dmarc(options["dmarc"])})
    return wishes


def _dmarc(options: Mapping[str, Any]) -> str:
    words = ["v=DMARC1", f"p={options.get('policy') or 'none'}"]
    addresses = [address if ":" in address else f"mailto:{address}" for address in options.get("rua") or []]
    if addresses:
        words.append("rua=" + ",".join(addresses))
    return "; ".join(words)
