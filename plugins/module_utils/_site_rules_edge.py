# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules of the document ``site`` about certificates and what the edge proves (private to this collection)."""

from __future__ import annotations

from ansible_collections.sapflux.hosting.plugins.module_utils._site_rules import Add, Document

NEEDS = {"dns01": ("token", "CLOUDFLARE_DNS_TOKEN"), "origin": ("origin_token", "CLOUDFLARE_ORIGIN_TOKEN")}
CLOUDFLARE = "cloudflare"


def certificates(document: Document, add: Add) -> None:
    """A mode has its token, and the names of all services are in the zone that vouches for them."""
    tls = document.get("tls") or {}
    mode = tls.get("mode")
    key, name = NEEDS.get(str(mode), ("", ""))
    if key and not tls.get(key):
        add(f"site.tls.{key}", None, f"is missing, and mode {mode} needs it", f'write {key}: "${{{name}}}"')
    zone = tls.get("zone") or document.get("domain")
    if not key or not isinstance(zone, str):
        return
    for index, service in enumerate(document.get("services") or []):
        hostname = service.get("hostname") if isinstance(service, dict) else None
        if isinstance(hostname, str) and hostname != zone and not hostname.endswith(f".{zone}"):
            where = f"site.services[{index}].hostname"
            add(where, hostname, f"is not in the zone {zone}, which has to prove it", "write the zone in tls.zone")


def origin_pulls(document: Document, add: Add) -> None:
    """What the edge shows is complete, and nobody but the edge and the tailnet was meant to be let in."""
    tls = document.get("tls") or {}
    pulls = tls.get("origin_pulls") or {}
    state = pulls.get("state", "untouched")
    if state not in ("present", "absent"):
        return
    if not tls.get("origin_token"):
        hint = 'write "${CLOUDFLARE_ORIGIN_TOKEN}"'
        add("site.tls.origin_token", None, "is missing, and origin_pulls needs it", hint)
    if state != "present":
        return
    for key in ("certificate", "private_key"):
        if not pulls.get(key):
            name = f"ORIGIN_PULLS_{key.upper()}"
            add(f"site.tls.origin_pulls.{key}", None, "is missing, and origin_pulls needs it", f'write "${{{name}}}"')
    others = [cidr for cidr in (document.get("network") or {}).get("https_cidrs") or [] if cidr != CLOUDFLARE]
    if others:
        hint = f"write https_cidrs: [{CLOUDFLARE}], or leave origin_pulls untouched"
        add("site.network.https_cidrs", others[0], "may connect and would be refused by origin_pulls", hint)
