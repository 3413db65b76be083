#!/usr/bin/python

# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A key pair for S3 on some buckets of R2, in a file and nowhere else."""

from __future__ import annotations

DOCUMENTATION = r"""
module: r2_credentials
version_added: 0.1.0
short_description: A key pair for S3 on some buckets of Cloudflare R2
description:
  - Makes an API token that may read, or read and write, the objects of the named buckets and nothing else. Its id is
    the access key of S3, and the SHA-256 of its value the secret key.
  - Cloudflare shows the value once. The pair goes into a file of mode 0600, as C(AWS_ACCESS_KEY_ID=...) and
    C(AWS_SECRET_ACCESS_KEY=...); it is in no result, diff or log, and the value itself is not kept at all.
  - Where the file does not hold a pair of this token, the token is rolled, which ends the old pair.
author:
  - the sapflux.hosting authors
extends_documentation_fragment:
  - sapflux.hosting._cloudflare
  - sapflux.hosting._cloudflare.account
options:
  name:
    description: Name of the token, by which it is known again.
    type: str
    required: true
  state:
    description: Whether the pair is there. V(absent) revokes it and removes the file of O(path).
    type: str
    choices: [present, absent]
    default: present
  buckets:
    description: Names of the buckets, at least one.
    type: list
    elements: str
  jurisdiction:
    description: Jurisdiction of the buckets. Each has an address of its own, so a pair is for one of them.
    type: str
    choices: [default, eu, us, fedramp, fedramp-high]
    default: default
  access:
    description: What may be done with objects. Neither makes buckets, nor changes what is set on them.
    type: str
    choices: [read, write]
    default: read
  path:
    description: File that holds the pair. Its folder has to be there.
    type: path
  allowed_ips:
    description: Addresses and networks from which the pair may be used.
    type: list
    elements: str
    default: []
  expires_on:
    description: When the pair ends, like V(2027-01-01T00:00:00Z). Without this it does not.
    type: str
  rotate:
    description: Whether the secret key is changed in this run. A run with this always changes something.
    type: bool
    default: false
notes:
  - The token that does this needs C(Account API Tokens Write).
  - Cloudflare does not tell whether a secret key is still the one of its token. One that was rolled by other means
    takes a run with O(rotate).
"""

EXAMPLES = r"""
- name: A key pair for backups
  sapflux.hosting.r2_credentials:
    account_id: 0123456789abcdef0123456789abcdef
    name: backup of production
    buckets: [backup]
    jurisdiction: eu
    access: write
    path: "{{ playbook_dir }}/secrets/r2.env"
"""

RETURN = r"""
changes:
  description: What was done, or would be done in check mode, one sentence each.
  type: list
  elements: str
  returned: always
  sample: [create key pair backup of production]
access_key_id:
  description: The access key, empty where there is none. It is no secret.
  type: str
  returned: always
endpoint:
  description: Address of the S3 server for these buckets.
  type: str
  returned: always
expires_on:
  description: When the pair ends, empty where it does not.
  type: str
  returned: always
"""

import contextlib
import hashlib
import re
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sapflux.hosting.plugins.module_utils import _api_token
from ansible_collections.sapflux.hosting.plugins.module_utils._cloudflare import (
    ACCOUNT_OPTIONS,
    Cloudflare,
    CloudflareError,
    run,
)
from ansible_collections.sapflux.hosting.plugins.module_utils._plan import Change, outcome
from ansible_collections.sapflux.hosting.plugins.module_utils._r2_options import JURISDICTION
from ansible_collections.sapflux.hosting.plugins.module_utils._r2_wish import NAME, moment

ARGUMENT_SPEC: dict[str, Any] = {
    **ACCOUNT_OPTIONS,
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "buckets": {"type": "list", "elements": "str"},
    "jurisdiction": JURISDICTION,
    "access": {"type": "str", "choices": ["read", "write"], "default": "read"},
    "path": {"type": "path"},
    "allowed_ips": {"type": "list", "elements": "str", "default": []},
    "expires_on": {"type": "str"},
    "rotate": {"type": "bool", "default": False},
}
PAIR = re.compile(r"AWS_ACCESS_KEY_ID=(?P<id>[0-9a-f]{32})\nAWS_SECRET_ACCESS_KEY=[0-9a-f]{64}")


def pair(token_id: str, value: str) -> str:
    """What the file holds: the key pair of a token."""
    secret = hashlib.sha256(value.encode()).hexdigest()
    return f"AWS_ACCESS_KEY_ID={token_id}\nAWS_SECRET_ACCESS_KEY={secret}"


def wish(cloud: Cloudflare, params: dict[str, Any]) -> dict[str, Any]:
    """The body that makes the token as it is wanted. Raises :class:`CloudflareError` where that cannot be."""
    # A policy without a bucket would hold for all of them.
    if not params["buckets"]:
        raise CloudflareError("buckets names no bucket: name those that the key pair is for")
    for name in params["buckets"]:
        if not NAME.fullmatch(name):
            raise CloudflareError(f"{name} is no name of a bucket: 3 to 63 lower-case letters, digits and dashes")
    body: dict[str, Any] = {"name": params["name"], "status": "active"}
    if params["allowed_ips"]:
        body["condition"] = {"request_ip": {"in": params["allowed_ips"]}}
    if params["expires_on"]:
        body["expires_on"] = moment("expires_on", params["expires_on"])
    permission = f"Workers R2 Storage Bucket Item {params['access'].capitalize()}"
    buckets = [{"name": name, "jurisdiction": params["jurisdiction"]} for name in params["buckets"]]
    body["policies"] = _api_token.policies(cloud, params["account_id"], [permission], buckets=buckets)
    return body


def gist(token: dict[str, Any]) -> dict[str, Any]:
    """What a token comes to, of one that is there as of one that is wanted."""
    allowed = ((token.get("condition") or {}).get("request_ip") or {}).get("in") or []
    return {
        "policies": sorted(map(list, _api_token.fingerprint(token.get("policies") or []))),
        "allowed_ips": sorted(allowed),
        "expires_on": moment("expires_on", token["expires_on"]) if token.get("expires_on") else None,
        "enabled": token.get("status") != "disabled",
    }


def converge(module: AnsibleModule, cloud: Cloudflare) -> dict[str, Any]:
    """Make, change, roll or revoke the token behind the pair."""
    params = module.params
    account, path = params["account_id"], params["path"]
    home, write = _api_token.home(account), _api_token.permission(account, "Write")
    label = f"key pair {params['name']}"
    if params["state"] == "absent":
        return remove(module, cloud, _api_token.by_name(cloud, account, params["name"]))
    body = wish(cloud, params)
    token = _api_token.by_name(cloud, account, params["name"])
    want = gist(body)
    changes = []
    roll = differs = False
    if token is None:
        changes.append(Change("create", label, None, want))
    else:
        have = gist(token)
        keys = [key for key in want if have[key] != want[key]]
        differs = bool(keys)
        if keys:
            changes.append(Change("update", label, {key: have[key] for key in keys}, {key: want[key] for key in keys}))
        held = PAIR.fullmatch(_api_token.read_value(path))
        roll = params["rotate"] or held is None or held["id"] != token["id"]
        if roll:
            _api_token.spare_own(params, token, "given a new value")
            changes.append(Change("update", f"secret of {label}", "the old one", "a new one"))
    if changes and not module.check_mode:
        with _api_token.value_file(path) if token is None or roll else contextlib.nullcontext(str) as keep:
            if token is None:
                new = {key: value for key, value in body.items() if key != "status"}
                token = cloud.result("POST", home, new, needs=write)
                keep(pair(token["id"], token.pop("value")))
            elif differs:
                token = cloud.result("PUT", f"{home}/{token['id']}", body, needs=write)
            if roll:
                keep(pair(token["id"], cloud.result("PUT", f"{home}/{token['id']}/value", {}, needs=write)))
    return {**outcome(changes, "key pairs"), **shown(params, token)}


def remove(module: AnsibleModule, cloud: Cloudflare, token: dict[str, Any] | None) -> dict[str, Any]:
    """Revoke the pair and remove its file."""
    params = module.params
    changes = _api_token.remove(
        params,
        cloud,
        token,
        (
            Change("delete", f"key pair {params['name']}", {"access_key_id": token["id"] if token else ""}),
            Change("delete", f"file {params['path']}", "a key pair"),
        ),
        module.check_mode,
    )
    return {**outcome(changes, "key pairs"), **shown(params, None)}


def shown(params: dict[str, Any], token: dict[str, Any] | None) -> dict[str, str]:
    """What a result says of a pair; never its secret."""
    where = "" if params["jurisdiction"] == "default" else f"{params['jurisdiction']}."
    return {
        "access_key_id": str((token or {}).get("id") or ""),
        "endpoint": f"https://{params['account_id']}.{where}r2.cloudflarestorage.com",
        "expires_on": str((token or {}).get("expires_on") or ""),
    }


def main() -> None:
    run(ARGUMENT_SPEC, converge, required_if=[("state", "present", ("buckets", "path"))])


if __name__ == "__main__":
    main()
