#!/usr/bin/python

# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The DNS records of a zone, all or ours only, in one transaction."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cloudflare_dns_zone_state
version_added: 0.1.0
short_description: DNS records of a zone at Cloudflare, in one transaction
description:
  - Reads the zone, compares, and sends everything that is missing as one batch, which Cloudflare does whole or not at
    all. (Over 200 changes on the free plan, 3500 on others, are more than one batch.)
  - By default only records that carry the mark of O(owner) in their comment are ours; others are never touched. With
    O(whole=true) the zone has the records that are wanted and no others.
  - Takes all 21 types. Names may be relative, C(@), or absolute, and hold any letters; TXT texts need no quotes.
  - Where an answer is lost, the zone is read again before anything is sent twice, so that nothing is made double.
  - Records that other products of Cloudflare keep (mail routing, buckets, workers) and the name servers of the zone
    itself are left alone.
author:
  - The sapflux.hosting authors (@sapflux)
extends_documentation_fragment:
  - sapflux.hosting._cloudflare
  - sapflux.hosting._cloudflare.zone
options:
  records:
    description: The records that are wanted, beside those of O(presets).
    type: list
    elements: dict
    default: []
    suboptions:
      type:
        description: Type of the record.
        type: str
        required: true
        choices: [A, AAAA, CAA, CERT, CNAME, DNSKEY, DS, HTTPS, LOC, MX, NAPTR, NS, OPENPGPKEY, PTR, SMIMEA, SRV,
          SSHFP, SVCB, TLSA, TXT, URI]
      name:
        description: Name, relative to the zone or with it; V(@) is the zone.
        type: str
        required: true
      content:
        description:
          - Content. For types with O(records[].data) the text form is understood, too
            (V(0 issue "letsencrypt.org")), but for LOC and NAPTR.
        type: str
      data:
        description: Content in fields, by the names of the API, for types that have them.
        type: dict
      priority:
        description: Priority, of MX and URI.
        type: int
      ttl:
        description: Seconds, 60 to 86400; V(1) leaves it to Cloudflare. Proxied records always have V(1).
        type: int
        default: 1
      proxied:
        description: Whether Cloudflare's edge answers, for A, AAAA and CNAME.
        type: bool
        default: false
      comment:
        description: Comment. At most 100 characters on the free plan, the mark of O(owner) included.
        type: str
      tags:
        description: Tags, on paid plans. Without this they are left as they are.
        type: list
        elements: str
      settings:
        description: Settings by the names of the API (V(flatten_cname), V(ipv4_only), V(ipv6_only)).
        type: dict
  presets:
    description: Sets of records that belong together.
    type: dict
    suboptions:
      clerk:
        description: The five CNAMEs of a production instance of Clerk, never proxied.
        type: dict
        suboptions:
          id:
            description: Id of the instance, as in C(mail.<id>.clerk.services).
            type: str
          cname_targets:
            description: What Clerk's API gives as C(cname_targets); wins over O(presets.clerk.id).
            type: list
            elements: dict
            suboptions:
              host:
                description: Name of the record, whole.
                type: str
                required: true
              value:
                description: Where it points.
                type: str
                required: true
              required:
                description: Whether Clerk needs it; not looked at.
                type: bool
      mail:
        description: The records of mail.
        type: dict
        suboptions:
          none:
            description: The domain neither sends nor receives mail, and says so, that nobody can send in its name.
            type: bool
            default: false
          mx:
            description: Servers that receive.
            type: list
            elements: dict
            suboptions:
              host:
                description: Name of the server.
                type: str
                required: true
              priority:
                description: The lowest is asked first.
                type: int
                default: 10
          spf:
            description: Who may send, like V(include:_spf.example.com).
            type: list
            elements: str
          spf_rest:
            description: What holds for everyone else.
            type: str
            default: ~all
            choices: [~all, -all, "?all"]
          dkim:
            description: Public keys, each as a CNAME to where the provider keeps it, or as it is.
            type: list
            elements: dict
            suboptions:
              selector:
                description: Selector, without C(._domainkey).
                type: str
                required: true
              cname:
                description: Where the provider keeps the key.
                type: str
              key:
                description: The public key, RSA, in base64.
                type: str
          dmarc:
            description: What receivers do with mail that is not ours.
            type: dict
            suboptions:
              policy:
                description: The policy.
                type: str
                required: true
                choices: [none, quarantine, reject]
              rua:
                description: Addresses that get reports.
                type: list
                elements: str
  whole:
    description: Whether records that are not wanted are removed, whoever made them.
    type: bool
    default: false
  owner:
    description: Mark in the comment of our records. Records with another mark are those of somebody else.
    type: str
    default: sapflux.hosting
  keep:
    description: Patterns of names that are left alone; by default what proves a domain to a certificate authority.
    type: list
    elements: str
    default: ["_acme-challenge*"]
  takeover:
    description:
      - Whether records of others are replaced where they would answer beside ours (addresses and CNAMEs at the same
        name). Without it that is an error.
    type: bool
    default: false
notes:
  - The token needs the permission C(DNS Write).
"""

EXAMPLES = r"""
- name: The names of production
  sapflux.hosting.cloudflare_dns_zone_state:
    zone: example.org
    records:
      - {type: A, name: "@", content: 192.0.2.10, proxied: true}
      - {type: AAAA, name: "@", content: "2001:db8::10", proxied: true}
      - {type: CNAME, name: www, content: "@", proxied: true}
      - {type: CAA, name: "@", content: 0 issue "letsencrypt.org"}
    presets:
      clerk: {id: abcdefghijkl}
      mail:
        mx: [{host: mx1.example.net}, {host: mx2.example.net, priority: 20}]
        spf: [include:_spf.example.net]
        dkim: [{selector: key1, cname: key1.dkim.example.net}]
        dmarc: {policy: quarantine, rua: [postmaster@example.org]}
"""

RETURN = r"""
changes:
  description: What was done, or would be done in check mode, one sentence each.
  type: list
  elements: str
  returned: always
  sample: [create A example.org 192.0.2.10]
records:
  description: The records that were wanted, as they are afterwards.
  type: list
  elements: dict
  returned: always
kept:
  description: How many records of the zone are not ours and were left alone.
  type: int
  returned: always
batches:
  description: How many transactions that took (would take).
  type: int
  returned: always
zone_id:
  description: Id of the zone.
  type: str
  returned: always
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sapflux.hosting.plugins.module_utils import _dns_plan, _dns_presets
from ansible_collections.sapflux.hosting.plugins.module_utils._cloudflare import (
    ZONE_OPTIONS,
    Cloudflare,
    CloudflareError,
    run,
)
from ansible_collections.sapflux.hosting.plugins.module_utils._dns_records import TYPES
from ansible_collections.sapflux.hosting.plugins.module_utils._plan import outcome

MAIL: dict[str, Any] = {
    "none": {"type": "bool", "default": False},
    "mx": {
        "type": "list",
        "elements": "dict",
        "options": {"host": {"type": "str", "required": True}, "priority": {"type": "int", "default": 10}},
    },
    "spf": {"type": "list", "elements": "str"},
    "spf_rest": {"type": "str", "default": "~all", "choices": ["~all", "-all", "?all"]},
    "dkim": {
        "type": "list",
        "elements": "dict",
        "options": {
            "selector": {"type": "str", "required": True},
            "cname": {"type": "str"},
            "key": {"type": "str", "no_log": False},
        },
    },
    "dmarc": {
        "type": "dict",
        "options": {
            "policy": {"type": "str", "required": True, "choices": ["none", "quarantine", "reject"]},
            "rua": {"type": "list", "elements": "str"},
        },
    },
}
CLERK: dict[str, Any] = {
    "id": {"type": "str"},
    "cname_targets": {
        "type": "list",
        "elements": "dict",
        "options": {
            "host": {"type": "str", "required": True},
            "value": {"type": "str", "required": True},
            "required": {"type": "bool"},
        },
    },
}
ARGUMENT_SPEC: dict[str, Any] = {
    **ZONE_OPTIONS,
    "records": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "type": {"type": "str", "required": True, "choices": list(TYPES)},
            "name": {"type": "str", "required": True},
            "content": {"type": "str"},
            "data": {"type": "dict"},
            "priority": {"type": "int"},
            "ttl": {"type": "int", "default": 1},
            "proxied": {"type": "bool", "default": False},
            "comment": {"type": "str"},
            "tags": {"type": "list", "elements": "str"},
            "settings": {"type": "dict"},
        },
    },
    "presets": {
        "type": "dict",
        "options": {
            "clerk": {"type": "dict", "options": CLERK},
            "mail": {"type": "dict", "options": MAIL},
        },
    },
    "whole": {"type": "bool", "default": False},
    "owner": {"type": "str", "default": "sapflux.hosting"},
    "keep": {"type": "list", "elements": "str", "default": ["_acme-challenge*"]},
    "takeover": {"type": "bool", "default": False},
}
TRIES = 2
"""How often a batch whose answer was lost is looked for before that is an error."""


def converge(module: AnsibleModule, cloud: Cloudflare) -> dict[str, Any]:
    """Plan, and act on the plan."""
    params = module.params
    if not params["whole"] and not params["owner"]:
        raise CloudflareError("owner is empty: give the mark of our records, or set whole to true")
    given = list(params["records"])
    for name, preset in (("clerk", _dns_presets.clerk), ("mail", _dns_presets.mail)):
        options = (params["presets"] or {}).get(name)
        if options:
            given += preset(options)
    if params["whole"] and not given:
        raise CloudflareError("whole without a record would empty the zone: name the records that are to stay")
    zone = cloud.zone(params["zone"])
    owner = "" if params["whole"] else params["owner"]
    scope = _dns_plan.Scope(zone["name"], owner, params["keep"], params["takeover"] or params["whole"])
    want = _dns_plan.wishes(given, scope)
    most = _dns_plan.BATCH.get((zone.get("plan") or {}).get("legacy_id") or "free", _dns_plan.BATCH_PAID)
    home = f"/zones/{zone['id']}/dns_records"

    def plan() -> _dns_plan.Plan:
        return _dns_plan.make(list(cloud.pages(home, size=1000, needs="DNS Read")), want, scope)

    first = todo = plan()
    for attempt in range(TRIES if not module.check_mode else 0):
        try:
            for batch in todo.batches(most):
                cloud.result("POST", f"{home}/batch", batch, needs="DNS Write")
            break
        except CloudflareError as error:
            if not error.uncertain or attempt == TRIES - 1:
                raise
            todo = plan()
    return {
        **outcome(first.changes, f"zone {zone['name']}"),
        "records": first.records,
        "kept": first.kept,
        "batches": len(list(first.batches(most))),
        "zone_id": zone["id"],
    }


def main() -> None:
    run(ARGUMENT_SPEC, converge)


if __name__ == "__main__":
    main()
