#!/usr/bin/python

# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The certificate with which Cloudflare's edge shows the origin that it comes for this zone."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cloudflare_origin_pulls
version_added: 0.1.0
short_description: Authenticated origin pulls of a zone at Cloudflare
description:
  - Uploads a client certificate for the zone, waits until the edge has it, and switches origin pulls on. The origin may
    demand the certificate only after that, so wait for RV(active) before it does; take away the demand before
    O(state=absent).
  - A certificate of one's own proves that a request is of this zone. Cloudflare's shared one proves only that it is of
    some customer of Cloudflare.
  - Certificates cannot be changed. A new one is uploaded and active before the old ones are removed, so the origin
    has to trust both for that time (one CA that signs both does).
author:
  - The sapflux.hosting authors (@sapflux)
extends_documentation_fragment:
  - sapflux.hosting._cloudflare
  - sapflux.hosting._cloudflare.zone
options:
  state:
    description: Whether the edge shows a certificate.
    type: str
    choices: [present, absent]
    default: present
  certificate:
    description: The client certificate in PEM.
    type: str
  private_key:
    description: Its private key in PEM.
    type: str
  prune:
    description: Whether other certificates of the zone are removed.
    type: bool
    default: true
  wait_timeout:
    description: Seconds to wait until the edge has the certificate; V(0) does not wait and does not switch on.
    type: int
    default: 600
notes:
  - The token needs the permission C(SSL and Certificates Write), and C(Zone Settings Read) to see that the zone speaks
    TLS to the origin.
"""

EXAMPLES = r"""
- name: The edge shows our certificate
  sapflux.hosting.cloudflare_origin_pulls:
    zone: example.org
    certificate: "{{ lookup('file', 'edge.pem') }}"
    private_key: "{{ edge_key }}"
  delegate_to: localhost
"""

RETURN = r"""
changes:
  description: What was done, or would be done in check mode, one sentence each.
  type: list
  elements: str
  returned: always
  sample: [create client certificate that ends 2036-01-01T00:00:00Z, 'change origin pulls: enabled false -> true']
active:
  description: Whether the edge shows the certificate now, so that the origin may demand it.
  type: bool
  returned: always
id:
  description: Id of the certificate, empty where there is none.
  type: str
  returned: always
not_after:
  description: When it ends, empty where there is none.
  type: str
  returned: always
zone_id:
  description: Id of the zone.
  type: str
  returned: always
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sapflux.hosting.plugins.module_utils import _certificates, _cloudflare
from ansible_collections.sapflux.hosting.plugins.module_utils._cloudflare import (
    ZONE_OPTIONS,
    Cloudflare,
    CloudflareError,
    run,
)
from ansible_collections.sapflux.hosting.plugins.module_utils._plan import Change, outcome

ARGUMENT_SPEC: dict[str, Any] = {
    **ZONE_OPTIONS,
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "certificate": {"type": "str"},
    "private_key": {"type": "str", "no_log": True},
    "prune": {"type": "bool", "default": True},
    "wait_timeout": {"type": "int", "default": 600},
}
READ = "SSL and Certificates Read"
WRITE = "SSL and Certificates Write"
PENDING = frozenset({"initializing", "pending_deployment"})
GONE = frozenset({"pending_deletion", "deleted", "deletion_timed_out"})
PAUSE = 5
"""Seconds between two looks at a certificate on its way to the edge."""


def is_wanted(each: dict[str, Any], wanted: bytes) -> bool:
    """Whether a certificate of the zone is the one that is wanted, and not on its way out."""
    pem = each.get("certificate") or ""
    return each.get("status") not in GONE and bool(pem) and _certificates.der(pem, "CERTIFICATE") == wanted


def converge(module: AnsibleModule, cloud: Cloudflare) -> dict[str, Any]:
    """Upload, wait, switch on, and only then take away what was before."""
    params = module.params
    wanted = _certificates.der(params["certificate"], "CERTIFICATE") if params["state"] == "present" else b""
    zone = cloud.zone(params["zone"])
    home = f"/zones/{zone['id']}/origin_tls_client_auth"
    listed = [each for each in cloud.pages(home, needs=READ) if each.get("status") not in GONE]
    enabled = bool((cloud.result("GET", f"{home}/settings", needs=READ) or {}).get("enabled"))
    changes: list[Change] = []
    if params["state"] == "absent":
        switch(module, cloud, home, changes, enabled, False)
        remove(module, cloud, home, changes, listed)
        return result(zone, changes, {}, active=False)
    mode = (cloud.result("GET", f"/zones/{zone['id']}/settings/ssl", needs="Zone Settings Read") or {}).get("value")
    if mode in ("off", "flexible"):
        raise CloudflareError(
            f"ssl of {zone['name']} is {mode}, so that the edge shows no certificate: set it to strict"
        )
    certificate: dict[str, Any] = next((each for each in listed if is_wanted(each, wanted)), {})
    others = [each for each in listed if each is not certificate]
    if certificate.get("status") == "deployment_timed_out":
        # It will never be active, and the API refuses the same certificate twice.
        remove(module, cloud, home, changes, [certificate])
        certificate = {}
    if not certificate:
        ends = _certificates.stamp(_certificates.not_after(params["certificate"]))
        changes.append(Change("create", f"client certificate that ends {ends}", None, {"not_after": ends}))
        if not module.check_mode:
            certificate = upload(module, cloud, home, wanted)
    if not module.check_mode:
        certificate = wait(cloud, f"{home}/{certificate['id']}", certificate, params["wait_timeout"])
    active = certificate.get("status") == "active"
    if active or module.check_mode:
        switch(module, cloud, home, changes, enabled, True)
        if params["prune"]:
            remove(module, cloud, home, changes, others)
    return result(zone, changes, certificate, active=active and (enabled or not module.check_mode))


def upload(module: AnsibleModule, cloud: Cloudflare, home: str, wanted: bytes) -> dict[str, Any]:
    """Upload the certificate; where the answer is lost, look whether it arrived."""
    body = {"certificate": module.params["certificate"], "private_key": module.params["private_key"]}
    try:
        made: dict[str, Any] = cloud.result("POST", home, body, needs=WRITE)
    except CloudflareError as error:
        arrived = [each for each in cloud.pages(home) if is_wanted(each, wanted)] if error.uncertain else []
        if not arrived:
            raise
        return dict(arrived[0])
    return made


def wait(cloud: Cloudflare, path: str, certificate: dict[str, Any], timeout: int) -> dict[str, Any]:
    """Ask until the certificate is at the edge. Raises where that fails or takes longer than ``timeout`` seconds."""
    waited = 0
    while certificate.get("status") in PENDING and timeout:
        if waited >= timeout:
            raise CloudflareError(
                f"the certificate {certificate['id']} is {certificate['status']} after {waited} s; "
                "nothing was switched on: run this again later"
            )
        _cloudflare.pause(PAUSE)
        waited += PAUSE
        certificate = cloud.result("GET", path, needs=READ)
    if certificate.get("status") not in (*PENDING, "active"):
        raise CloudflareError(f"the certificate {certificate.get('id')} is {certificate.get('status')}; run this again")
    return certificate


def switch(
    module: AnsibleModule, cloud: Cloudflare, home: str, changes: list[Change], enabled: bool, wanted: bool
) -> None:
    """Switch origin pulls on or off."""
    if enabled != wanted:
        changes.append(Change("update", "origin pulls", {"enabled": enabled}, {"enabled": wanted}))
        if not module.check_mode:
            cloud.result("PUT", f"{home}/settings", {"enabled": wanted}, needs=WRITE)


def remove(
    module: AnsibleModule, cloud: Cloudflare, home: str, changes: list[Change], certificates: list[dict[str, Any]]
) -> None:
    """Remove certificates."""
    for each in certificates:
        changes.append(Change("delete", f"client certificate {each['id']}", {"status": each.get("status")}))
        if not module.check_mode:
            cloud.result("DELETE", f"{home}/{each['id']}", needs=WRITE)


def result(zone: dict[str, Any], changes: list[Change], certificate: dict[str, Any], *, active: bool) -> dict[str, Any]:
    """The same shape on every path."""
    pem = certificate.get("certificate") or ""
    return {
        **outcome(changes, f"origin pulls of {zone['name']}"),
        "active": active,
        "id": str(certificate.get("id") or ""),
        "not_after": _certificates.stamp(_certificates.not_after(pem)) if pem else "",
        "zone_id": zone["id"],
    }


def main() -> None:
    run(ARGUMENT_SPEC, converge, required_if=[("state", "present", ("certificate", "private_key"))])


if __name__ == "__main__":
    main()
