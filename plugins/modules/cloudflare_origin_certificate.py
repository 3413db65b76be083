#!/usr/bin/python

# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A certificate of Cloudflare's Origin CA for a key that never leaves its host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cloudflare_origin_certificate
version_added: 0.1.0
short_description: A certificate of Cloudflare's Origin CA
description:
  - Has a certificate signing request signed by Cloudflare's Origin CA. The private key stays where it was made.
  - Looks first whether the zone already has a certificate of the same key for these names that is good for long
    enough, and answers that one.
  - Only Cloudflare's edge trusts such a certificate. It goes with proxied records and the zone setting C(ssl=strict).
author:
  - The sapflux.hosting authors (@sapflux)
extends_documentation_fragment:
  - sapflux.hosting._cloudflare
  - sapflux.hosting._cloudflare.zone
options:
  csr:
    description: The certificate signing request in PEM.
    type: str
    required: true
  state:
    description: Whether there is a certificate. V(absent) revokes every certificate of this key.
    type: str
    choices: [present, absent]
    default: present
  hostnames:
    description: Names of the certificate, at most 200, wildcards of one level. By default the zone and V(*.zone).
    type: list
    elements: str
    default: []
  key_type:
    description: Kind of the key of the request.
    type: str
    choices: [ecc, rsa]
    default: ecc
  validity_days:
    description: For how many days.
    type: int
    choices: [7, 30, 90, 365, 730, 1095, 5475]
    default: 365
  renew_days:
    description: A certificate that ends within so many days is replaced; the old one stays valid until it ends.
    type: int
    default: 30
notes:
  - The token needs the permission C(SSL and Certificates Write).
"""

EXAMPLES = r"""
- name: A certificate for the key on the host
  sapflux.hosting.cloudflare_origin_certificate:
    zone: example.org
    csr: "{{ csr_of_the_host }}"
  delegate_to: localhost
  register: origin
"""

RETURN = r"""
changes:
  description: What was done, or would be done in check mode, one sentence each.
  type: list
  elements: str
  returned: always
  sample: ['create certificate for *.example.org, example.org']
id:
  description: Serial number of the certificate, empty where there is none.
  type: str
  returned: always
certificate:
  description: The certificate in PEM, empty where there is none (in check mode, before it is made).
  type: str
  returned: always
not_after:
  description: When it ends, read from the certificate itself.
  type: str
  returned: always
  sample: '2027-11-25T00:00:00Z'
hostnames:
  description: Its names.
  type: list
  elements: str
  returned: always
zone_id:
  description: Id of the zone.
  type: str
  returned: always
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sapflux.hosting.plugins.module_utils import _certificates
from ansible_collections.sapflux.hosting.plugins.module_utils._cloudflare import (
    ZONE_OPTIONS,
    Cloudflare,
    CloudflareError,
    ascii_name,
    run,
)
from ansible_collections.sapflux.hosting.plugins.module_utils._plan import Change, outcome

ARGUMENT_SPEC: dict[str, Any] = {
    **ZONE_OPTIONS,
    "csr": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "hostnames": {"type": "list", "elements": "str", "default": []},
    "key_type": {"type": "str", "choices": ["ecc", "rsa"], "default": "ecc", "no_log": False},
    "validity_days": {"type": "int", "choices": [7, 30, 90, 365, 730, 1095, 5475], "default": 365},
    "renew_days": {"type": "int", "default": 30},
}
READ = "SSL and Certificates Read"
WRITE = "SSL and Certificates Write"
MOST_NAMES = 200


def names_of(given: list[str], zone: str) -> list[str]:
    """The names as they are sent. Raises with all that the Origin CA does not sign."""
    names = sorted({ascii_name(name) for name in given or [zone, f"*.{zone}"]})
    problems = [
        f"{name} is not a name of the zone {zone}, or has a wildcard that is not its first label"
        for name in names
        if (name.removeprefix("*.") != zone and not name.endswith(f".{zone}")) or "*" in name.removeprefix("*.")
    ]
    if len(names) > MOST_NAMES:
        problems.append(f"there are {len(names)} names, and a certificate holds {MOST_NAMES}")
    if problems:
        raise CloudflareError("; ".join(problems))
    return names


def of_key(cloud: Cloudflare, zone: str, key: bytes) -> list[dict[str, Any]]:
    """The certificates of the zone that are for this key, with their end, the longest first."""
    listed = cloud.pages("/certificates", {"zone_id": zone}, needs=READ)
    found = [
        {**each, "ends": _certificates.not_after(each["certificate"])}
        for each in listed
        if each.get("certificate") and _certificates.public_key(each["certificate"]) == key
    ]
    return sorted(found, key=lambda each: -int(each["ends"]))


def converge(module: AnsibleModule, cloud: Cloudflare) -> dict[str, Any]:
    """Find a good certificate, or have one signed."""
    params = module.params
    key = _certificates.requested_key(params["csr"])
    if params["renew_days"] >= params["validity_days"]:
        raise CloudflareError("renew_days is not less than validity_days: every run would make a new certificate")
    zone = cloud.zone(params["zone"])
    names = names_of(params["hostnames"], zone["name"])
    have = of_key(cloud, zone["id"], key)
    changes: list[Change] = []
    certificate: dict[str, Any] = {}
    if params["state"] == "absent":
        for each in have:
            changes.append(Change("delete", f"certificate {each['id']}", {"hostnames": each["hostnames"]}))
            if not module.check_mode:
                cloud.result("DELETE", f"/certificates/{each['id']}", needs=WRITE)
    else:
        enough = time.time() + params["renew_days"] * 86400

        def good(each: dict[str, Any]) -> bool:
            return bool(each["ends"] > enough and sorted(map(str.lower, each["hostnames"])) == names)

        certificate = next(filter(good, have), {})
        if not certificate:
            after = {"hostnames": names, "validity_days": params["validity_days"]}
            changes.append(Change("create", f"certificate for {', '.join(names)}", None, after))
            if not module.check_mode:
                try:
                    certificate = sign(module, cloud, names)
                except CloudflareError as error:
                    # The answer may be lost and the certificate made all the same.
                    signed = list(filter(good, of_key(cloud, zone["id"], key))) if error.uncertain else []
                    if not signed:
                        raise
                    certificate = signed[0]
    pem = str(certificate.get("certificate") or "")
    return {
        **outcome(changes, f"origin certificates of {zone['name']}"),
        "id": str(certificate.get("id") or ""),
        "certificate": pem,
        "not_after": _certificates.stamp(_certificates.not_after(pem)) if pem else "",
        "hostnames": names if certificate else [],
        "zone_id": zone["id"],
    }


def sign(module: AnsibleModule, cloud: Cloudflare, names: list[str]) -> dict[str, Any]:
    """Have the request signed, and see that what comes back is for its key."""
    params = module.params
    body = {
        "csr": params["csr"],
        "hostnames": names,
        "request_type": f"origin-{params['key_type']}",
        "requested_validity": params["validity_days"],
    }
    certificate: dict[str, Any] = cloud.result("POST", "/certificates", body, needs=WRITE)
    if _certificates.public_key(certificate["certificate"]) != _certificates.requested_key(params["csr"]):
        raise CloudflareError("Cloudflare answered with a certificate of another key; run this again")
    return certificate


def main() -> None:
    run(ARGUMENT_SPEC, converge)


if __name__ == "__main__":
    main()
