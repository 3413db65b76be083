#!/usr/bin/python

# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A scoped API token, its value in a file and nowhere else."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cloudflare_api_token
version_added: 0.1.0
short_description: A scoped API token of Cloudflare
description:
  - Makes a token with the permissions that are named, on the zones and buckets that are named, and nothing else.
  - Cloudflare shows the value of a token once. It goes into a file of mode 0600 and is in no result, diff or log.
  - Instead of the file, or besides it, the value is kept by name in the secret store or in Doppler (O(store)).
  - A run asks Cloudflare whether a value that is kept is that of the token. Where none is, or all are lost, the token
    is rolled, which ends the old value.
author:
  - The sapflux.hosting authors (@sapflux)
extends_documentation_fragment:
  - sapflux.hosting._cloudflare
  - sapflux.hosting._cloudflare.store
options:
  account_id:
    description:
      - Id of the account that owns the token. Without it the token is one of the user. The environment variable
        E(CLOUDFLARE_ACCOUNT_ID) is used where it is not given.
    type: str
  name:
    description: Name of the token, by which it is known again.
    type: str
    required: true
  state:
    description: Whether the token is there. V(absent) also removes the file of O(path).
    type: str
    choices: [present, absent]
    default: present
  permissions:
    description: Names of permissions as the API has them. What the dashboard calls Edit is V(Write) there.
    type: list
    elements: str
  zones:
    description: Zones on which permissions of zones hold, by name or id; all of the account where none is named.
    type: list
    elements: str
    default: []
  buckets:
    description: Buckets on which permissions of buckets hold; all of the account where none is named.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the bucket.
        type: str
        required: true
      jurisdiction:
        description: Jurisdiction of the bucket.
        type: str
        default: default
  path:
    description: File that holds the value. Its folder has to be there.
    type: path
  allowed_ips:
    description: Addresses and networks from which the token may be used.
    type: list
    elements: str
    default: []
  expires_on:
    description: When the token ends, like V(2027-01-01T00:00:00Z). Without this it does not.
    type: str
  enabled:
    description: Whether the token may be used.
    type: bool
    default: true
  rotate:
    description: Whether the value is changed in this run, whatever it is. A run with this always changes something.
    type: bool
    default: false
notes:
  - The token that does this needs C(Account API Tokens Write), or C(API Tokens Write) for tokens of the user.
"""

EXAMPLES = r"""
- name: A token for the certificates of one zone
  sapflux.hosting.cloudflare_api_token:
    account_id: 0123456789abcdef0123456789abcdef
    name: caddy on production
    permissions: [DNS Write, Zone Read]
    zones: [example.org]
    path: "{{ playbook_dir }}/secrets/caddy_token"
"""

RETURN = r"""
changes:
  description: What was done, or would be done in check mode, one sentence each.
  type: list
  elements: str
  returned: always
  sample: [create token caddy on production]
id:
  description: Id of the token, empty where there is none. For R2 it is the access key id.
  type: str
  returned: always
status:
  description: V(active), V(disabled) or V(expired), empty where there is no token.
  type: str
  returned: always
expires_on:
  description: When the token ends, empty where it does not.
  type: str
  returned: always
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sapflux.hosting.plugins.module_utils import _api_token, _secret_sinks
from ansible_collections.sapflux.hosting.plugins.module_utils._cloudflare import (
    ACCOUNT_OPTIONS,
    Cloudflare,
    run,
)
from ansible_collections.sapflux.hosting.plugins.module_utils._plan import Change, outcome

ARGUMENT_SPEC: dict[str, Any] = {
    "account_id": {**ACCOUNT_OPTIONS["account_id"], "required": False},
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "permissions": {"type": "list", "elements": "str"},
    "zones": {"type": "list", "elements": "str", "default": []},
    "buckets": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": {"type": "str", "required": True},
            "jurisdiction": {"type": "str", "default": "default"},
        },
    },
    "path": {"type": "path"},
    "store": _secret_sinks.STORE_OPTIONS,
    "allowed_ips": {"type": "list", "elements": "str", "default": []},
    "expires_on": {"type": "str"},
    "enabled": {"type": "bool", "default": True},
    "rotate": {"type": "bool", "default": False},
}


def wish(cloud: Cloudflare, params: dict[str, Any]) -> dict[str, Any]:
    """The body that makes the token as it is wanted."""
    found = _api_token.policies(cloud, params["account_id"], params["permissions"], params["zones"], params["buckets"])
    body: dict[str, Any] = {"name": params["name"], "policies": found}
    if params["allowed_ips"]:
        body["condition"] = {"request_ip": {"in": params["allowed_ips"]}}
    if params["expires_on"]:
        body["expires_on"] = params["expires_on"]
    return body


def differences(token: dict[str, Any], body: dict[str, Any], enabled: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """(what differs as it is, as it is wanted)."""
    allowed = sorted((((token.get("condition") or {}).get("request_ip")) or {}).get("in") or [])
    have: dict[str, Any] = {
        "policies": sorted(map(list, _api_token.fingerprint(token.get("policies") or []))),
        "allowed_ips": allowed,
        "expires_on": token.get("expires_on"),
        "enabled": token.get("status") != "disabled",
    }
    want: dict[str, Any] = {
        "policies": sorted(map(list, _api_token.fingerprint(body["policies"]))),
        "allowed_ips": sorted(((body.get("condition") or {}).get("request_ip") or {}).get("in") or []),
        "expires_on": body.get("expires_on"),
        "enabled": enabled,
    }
    keys = [key for key in want if want[key] != have[key]]
    return {key: have[key] for key in keys}, {key: want[key] for key in keys}


def converge(module: AnsibleModule, cloud: Cloudflare) -> dict[str, Any]:
    """Make, change or remove the token."""
    params = module.params
    account = params["account_id"]
    home, write = _api_token.home(account), _api_token.permission(account, "Write")
    token = _api_token.by_name(cloud, account, params["name"])
    label = f"token {params['name']}"
    if params["state"] == "absent":
        return remove(module, cloud, token)
    sinks = _secret_sinks.sinks(params, own_file(params["path"]) if params["path"] else None, ["value"])
    read = [(sink, sink.read().get("value", "")) for sink in sinks]
    body = wish(cloud, params)
    changes: list[Change] = []
    value = after = None
    if token is None:
        changes.append(Change("create", label, None, {key: value for key, value in body.items() if key != "name"}))
    else:
        before, after = differences(token, body, params["enabled"])
        if after:
            changes.append(Change("update", label, before, after))
        value = held_value(params, token, [value for _sink, value in read])
        if value is None:
            _api_token.spare_own(params, token, "given a new value")
            changes.append(Change("update", f"value of {label}", "the old one", "a new one"))
    behind = [sink for sink, kept in read if value is None or kept != value]
    if value is not None:
        changes += [Change("update", f"{label} in {sink.name}", "another one", "the one in use") for sink in behind]
    if changes and not module.check_mode:
        with _secret_sinks.all_opened(behind) as keep:
            if token is None:
                token = cloud.result("POST", home, body, needs=write)
                keep({"value": token.pop("value")})
                if not params["enabled"]:
                    token = cloud.result("PUT", f"{home}/{token['id']}", {**body, "status": "disabled"}, needs=write)
                return {**outcome(changes, "tokens"), **shown(token)}
            if after:
                status = "active" if params["enabled"] else "disabled"
                token = cloud.result("PUT", f"{home}/{token['id']}", {**body, "status": status}, needs=write)
            if value is None:
                value = cloud.result("PUT", f"{home}/{token['id']}/value", {}, needs=write)
            keep({"value": value})
    return {**outcome(changes, "tokens"), **shown(token)}


def own_file(path: str) -> _secret_sinks.OwnFile:
    """The file of a value, which holds nothing else."""
    return _secret_sinks.OwnFile(path, lambda values: values["value"], lambda text: {"value": text} if text else {})


def held_value(params: dict[str, Any], token: dict[str, Any], kept: list[str]) -> str | None:
    """The value of the token, of those that are kept; None where the token needs a new one."""
    known = [value for value in dict.fromkeys(kept) if value]
    if params["rotate"]:
        return None
    # Of a token that is off, or over, nobody can say whether a value is its own; a run after that asks again.
    if known and token.get("status") != "active":
        return known[0]
    for value in known:
        found = _api_token.verify(value, params["base_url"], params["account_id"])
        if found is not None and found.get("id") == token["id"]:
            return value
    return None


def remove(module: AnsibleModule, cloud: Cloudflare, token: dict[str, Any] | None) -> dict[str, Any]:
    """Revoke the token and remove its file."""
    params = module.params
    changes = _api_token.remove(
        params,
        cloud,
        token,
        (
            Change("delete", f"token {params['name']}", {"id": token["id"] if token else ""}),
            Change("delete", f"file {params['path']}", "a value"),
        ),
        module.check_mode,
    )
    return {**outcome(changes, "tokens"), **shown(None)}


def shown(token: dict[str, Any] | None) -> dict[str, Any]:
    """What a result says of a token; never its value."""
    return {key: str((token or {}).get(key) or "") for key in ("id", "status", "expires_on")}


def main() -> None:
    run(
        ARGUMENT_SPEC,
        converge,
        required_if=[("state", "present", ("permissions",)), ("state", "present", ("path", "store"), True)],
    )


if __name__ == "__main__":
    main()
