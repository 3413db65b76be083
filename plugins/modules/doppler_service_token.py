#!/usr/bin/python

# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A service token of a config of Doppler, its key in a file and nowhere else."""

from __future__ import annotations

DOCUMENTATION = r"""
module: doppler_service_token
version_added: 0.1.0
short_description: A service token of a config of Doppler
description:
  - Makes a token that reads one config, or writes it too, and nothing else.
  - Doppler shows the key of a token once. It goes into a file of mode 0600 and is in no result, diff or log.
  - A token cannot be changed. Where its access is another one, its key is lost, or it is over, a new one is made, its
    key is written, and only then the old one is removed.
author:
  - The sapflux.hosting authors (@sapflux)
extends_documentation_fragment:
  - sapflux.hosting._doppler
options:
  name:
    description: Name of the token, by which it is known again.
    type: str
    required: true
  state:
    description: Whether the token is there. V(absent) also removes the file of O(path).
    type: str
    choices: [present, absent]
    default: present
  access:
    description: What the token may do with the config.
    type: str
    choices: [read, read/write]
    default: read
  expire_at:
    description:
      - When the token ends, like V(2027-01-01T00:00:00Z). Without this it does not. It counts when the token is made;
        one that has another end is left.
    type: str
  path:
    description: File that holds the key. Its folder has to be there.
    type: path
  rotate:
    description: Whether a new token takes the place of the old one. A run with this always changes something.
    type: bool
    default: false
notes:
  - The token that does this is one of a person, a service account or an identity; it may write the config.
"""

EXAMPLES = r"""
- name: A token with which the host reads its config
  sapflux.hosting.doppler_service_token:
    project: app
    config: prd
    name: production
    path: "{{ playbook_dir }}/secrets/doppler_token"
"""

RETURN = r"""
changes:
  description: What was done, or would be done in check mode, one sentence each.
  type: list
  elements: str
  returned: always
  sample: [create token production]
slug:
  description: Id of the token, empty where there is none.
  type: str
  returned: always
access:
  description: What it may do, empty where there is no token.
  type: str
  returned: always
expires_at:
  description: When the token ends, empty where it does not.
  type: str
  returned: always
"""

import os
from datetime import datetime, timezone
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sapflux.hosting.plugins.module_utils import _api_token
from ansible_collections.sapflux.hosting.plugins.module_utils._cloudflare import CloudflareError
from ansible_collections.sapflux.hosting.plugins.module_utils._doppler import (
    CONFIG,
    TOKEN,
    Doppler,
    DopplerError,
    run,
)
from ansible_collections.sapflux.hosting.plugins.module_utils._http import HttpError
from ansible_collections.sapflux.hosting.plugins.module_utils._plan import Change, outcome

HOME = f"{CONFIG}/tokens"
ARGUMENT_SPEC: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "access": {"type": "str", "choices": ["read", "read/write"], "default": "read"},
    "expire_at": {"type": "str"},
    "path": {"type": "path"},
    "rotate": {"type": "bool", "default": False},
}


def named(doppler: Doppler, name: str) -> list[dict[str, Any]]:
    """The tokens of this name. A run that ended between two steps leaves more than one."""
    listed = (doppler.ask("GET", HOME).body or {}).get("tokens") or []
    return [token for token in listed if token.get("name") == name]


def over(token: dict[str, Any]) -> bool:
    """Whether the end of a token has come."""
    end = token.get("expires_at")
    return bool(end) and datetime.fromisoformat(str(end).replace("Z", "+00:00")) <= datetime.now(timezone.utc)


def owner_of(key: str, tokens: list[dict[str, Any]], base: str) -> dict[str, Any] | None:
    """The token among ``tokens`` whose key this is; None where it is that of none, or no longer good."""
    if not TOKEN.fullmatch(key) or not key.startswith("dp.st."):
        return None
    try:
        me = Doppler(key, base=base).client.request("GET", "/v3/me").body or {}
    except HttpError as error:
        if error.status in (401, 403):
            return None
        raise DopplerError(str(error), error.status) from error
    by_slug = [token for token in tokens if token["slug"] == me.get("slug")]
    by_name = [token for token in tokens if token["name"] == me.get("name")]
    # What a token says of itself is its slug or its own id; its name is sure where no other has the same one.
    return by_slug[0] if by_slug else by_name[0] if len(by_name) == 1 else None


def converge(module: AnsibleModule, doppler: Doppler) -> dict[str, Any]:
    """Make, replace or remove the token."""
    try:
        return remove(module, doppler) if module.params["state"] == "absent" else keep(module, doppler)
    except CloudflareError as error:  # of the file that holds a value, which both clouds' tokens share
        raise DopplerError(str(error)) from error


def keep(module: AnsibleModule, doppler: Doppler) -> dict[str, Any]:
    """One token of the name, of which the file holds the key."""
    params = module.params
    name, path = params["name"], params["path"]
    tokens = named(doppler, name)
    token = owner_of(_api_token.read_value(path), tokens, params["base_url"])
    if token is not None and (params["rotate"] or over(token) or token["access"] != params["access"]):
        token = None
    olds = [each for each in tokens if each is not token]
    spare_own(module, olds)
    changes = []
    if token is None:
        want = {"access": params["access"], "key": "a new one"}
        have = {"access": tokens[0]["access"], "key": "the old one"} if tokens else None
        changes.append(Change("update" if tokens else "create", f"token {name}", have, want))
    elif olds:
        changes.append(Change("delete", f"{len(olds)} more of token {name}", [each["slug"] for each in olds]))
    if changes and not module.check_mode:
        if token is None:
            token = make(doppler, params)
        for old in olds:
            revoke(doppler, old)
    return {**outcome(changes, "tokens"), **shown(token)}


def make(doppler: Doppler, params: dict[str, Any]) -> dict[str, Any]:
    """Make a token and write its key."""
    wish = {"name": params["name"], "access": params["access"]}
    if params["expire_at"]:
        wish["expire_at"] = params["expire_at"]
    with _api_token.value_file(params["path"]) as put:
        token: dict[str, Any] = doppler.ask("POST", HOME, wish).body["token"]
        put(token.pop("key"))
    return token


def revoke(doppler: Doppler, token: dict[str, Any]) -> None:
    """Remove a token; one that is gone is what was wanted."""
    try:
        doppler.ask("DELETE", f"{HOME}/token", {"slug": token["slug"]})
    except DopplerError as error:
        if error.status != 404:
            raise


def spare_own(module: AnsibleModule, tokens: list[dict[str, Any]]) -> None:
    """Refuse to saw off the branch: the token that this run itself uses."""
    params = module.params
    if tokens and owner_of(params["token"], tokens, params["base_url"]) is not None:
        raise DopplerError(f"the token {params['name']} is the one that this run uses and cannot be removed by itself")


def remove(module: AnsibleModule, doppler: Doppler) -> dict[str, Any]:
    """Revoke every token of the name and remove the file."""
    params = module.params
    tokens, path = named(doppler, params["name"]), params["path"]
    spare_own(module, tokens)
    changes = []
    if tokens:
        changes.append(Change("delete", f"token {params['name']}", [token["slug"] for token in tokens]))
    if path and os.path.exists(path):
        changes.append(Change("delete", f"file {path}", "a key"))
    if not module.check_mode:
        for token in tokens:
            revoke(doppler, token)
        if path and os.path.exists(path):
            os.unlink(path)
    return {**outcome(changes, "tokens"), **shown(None)}


def shown(token: dict[str, Any] | None) -> dict[str, Any]:
    """What a result says of a token; never its key."""
    return {key: str((token or {}).get(key) or "") for key in ("slug", "access", "expires_at")}


def main() -> None:
    run(ARGUMENT_SPEC, converge, required_if=[("state", "present", ("path",))])


if __name__ == "__main__":
    main()
