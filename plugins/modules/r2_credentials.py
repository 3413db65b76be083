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
  - Instead of the file, or besides it, the pair is kept by name in the secret store or in Doppler (O(store)).
  - Where none of these places holds a pair of this token, the token is rolled, which ends the old pair.
author:
  - The sapflux.hosting authors (@sapflux)
extends_documentation_fragment:
  - sapflux.hosting._cloudflare
  - sapflux.hosting._cloudflare.account
  - sapflux.hosting._cloudflare.store
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

- name: A key pair that is kept in the secret store
  sapflux.hosting.r2_credentials:
    account_id: 0123456789abcdef0123456789abcdef
    name: backup of production
    buckets: [backup]
    store:
      file: "{{ inventory_dir }}/.secrets.yml"
      names: {access_key_id: BACKUP_ACCESS_KEY_ID, secret_access_key: BACKUP_SECRET_ACCESS_KEY}
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

import hashlib
import re
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sapflux.hosting.plugins.module_utils import _api_token, _secret_sinks
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
    "store": _secret_sinks.STORE_OPTIONS,
    "allowed_ips": {"type": "list", "elements": "str", "default": []},
    "expires_on": {"type": "str"},
    "rotate": {"type": "bool", "default": False},
}
PAIR = re.compile(r"AWS_ACCESS_KEY_ID=(?P<id>[0-9a-f]{32})\nAWS_SECRET_ACCESS_KEY=(?P<secret>[0-9a-f]{64})")
SECRET = re.compile(r"[0-9a-f]{64}")
FIELDS = ("access_key_id", "secret_access_key")


def pair(token_id: str, value: str) -> dict[str, str]:
    """The key pair of a token."""
    return {"access_key_id": token_id, "secret_access_key": hashlib.sha256(value.encode()).hexdigest()}


def own_file(path: str) -> _secret_sinks.OwnFile:
    """The file of a pair, in the form that tools which speak S3 read."""

    def render(values: dict[str, str]) -> str:
        return f"AWS_ACCESS_KEY_ID={values['access_key_id']}\nAWS_SECRET_ACCESS_KEY={values['secret_access_key']}"

    def parse(text: str) -> dict[str, str]:
        found = PAIR.fullmatch(text)
        return {"access_key_id": found["id"], "secret_access_key": found["secret"]} if found else {}

    return _secret_sinks.OwnFile(path, render, parse)


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
    account = params["account_id"]
    home, write = _api_token.home(account), _api_token.permission(account, "Write")
    label = f"key pair {params['name']}"
    if params["state"] == "absent":
        return remove(module, cloud, _api_token.by_name(cloud, account, params["name"]))
    sinks = _secret_sinks.sinks(params, own_file(params["path"]) if params["path"] else None, FIELDS)
    read = [(sink, sink.read()) for sink in sinks]
    body = wish(cloud, params)
    token = _api_token.by_name(cloud, account, params["name"])
    want = gist(body)
    changes = []
    differs = False
    held: dict[str, str] = {}
    if token is None:
        changes.append(Change("create", label, None, want))
    else:
        have = gist(token)
        keys = [key for key in want if have[key] != want[key]]
        differs = bool(keys)
        if keys:
            changes.append(Change("update", label, {key: have[key] for key in keys}, {key: want[key] for key in keys}))
        held = next((values for _sink, values in read if is_pair_of(token, values)), {})
        if params["rotate"] or not held:
            held = {}
            _api_token.spare_own(params, token, "given a new value")
            changes.append(Change("update", f"secret of {label}", "the old one", "a new one"))
    behind = [sink for sink, values in read if not held or values != held]
    if held:
        changes += [Change("update", f"{label} in {sink.name}", "another one", "the one in use") for sink in behind]
    if changes and not module.check_mode:
        with _secret_sinks.all_opened(behind) as keep:
            if token is None:
                new = {key: value for key, value in body.items() if key != "status"}
                token = cloud.result("POST", home, new, needs=write)
                held = pair(token["id"], token.pop("value"))
            elif differs:
                token = cloud.result("PUT", f"{home}/{token['id']}", body, needs=write)
            if not held:
                held = pair(token["id"], cloud.result("PUT", f"{home}/{token['id']}/value", {}, needs=write))
            keep(held)
    return {**outcome(changes, "key pairs"), **shown(params, token)}


def is_pair_of(token: dict[str, Any], values: dict[str, str]) -> bool:
    """Whether these are the keys of this token, as far as anybody can tell."""
    return values.get("access_key_id") == token["id"] and bool(SECRET.fullmatch(values.get("secret_access_key", "")))


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
    run(
        ARGUMENT_SPEC,
        converge,
        required_if=[("state", "present", ("buckets",)), ("state", "present", ("path", "store"), True)],
    )


if __name__ == "__main__":
    main()
