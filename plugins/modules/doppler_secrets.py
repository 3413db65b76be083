#!/usr/bin/python

# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Secrets of a config of Doppler, set whole or not at all."""

from __future__ import annotations

DOCUMENTATION = r"""
module: doppler_secrets
version_added: 0.1.0
short_description: Secrets of a config of Doppler
description:
  - Sets and removes secrets of one config in one request, which is done whole or not at all.
  - Each change says what the secret was when it was read. Where somebody changed it in between, Doppler refuses, and
    nothing is overwritten.
  - Values are in no result, diff or message; what a diff shows is which names are new, changed or gone.
author:
  - The sapflux.hosting authors (@sapflux)
extends_documentation_fragment:
  - sapflux.hosting._doppler
options:
  values:
    description:
      - Raw values by name. C(${OTHER}) in a value refers to another secret. Names are of capital letters, digits and
        underscores.
      - A restricted secret shows its value to nobody, so that it is set in every run unless O(if_missing) holds.
    type: dict
    default: {}
  absent:
    description: Names that are not to be there.
    type: list
    elements: str
    default: []
  whole:
    description: Whether names that O(values) does not have are removed from the config.
    type: bool
    default: false
  if_missing:
    description: Whether secrets that are there keep the value they have, like generated passwords.
    type: bool
    default: false
  visibility:
    description: Who sees the values of O(values) in the dashboard. Without it new ones are as the project says.
    type: str
    choices: [masked, unmasked, restricted]
"""

EXAMPLES = r"""
- name: A password that is made once
  sapflux.hosting.doppler_secrets:
    values:
      DATABASE_PASSWORD: "{{ lookup('ansible.builtin.password', '/dev/null', length=40) }}"
    if_missing: true
"""

RETURN = r"""
changes:
  description: What was done, or would be done in check mode, one sentence each.
  type: list
  elements: str
  returned: always
  sample: [create DATABASE_PASSWORD]
names:
  description: Names of all secrets of the config, in their order.
  type: list
  elements: str
  returned: always
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sapflux.hosting.plugins.module_utils._doppler import (
    CONFIG,
    MANAGED,
    NAME,
    Doppler,
    DopplerError,
    run,
)
from ansible_collections.sapflux.hosting.plugins.module_utils._plan import Change, outcome

ARGUMENT_SPEC: dict[str, Any] = {
    "values": {"type": "dict", "default": {}, "no_log": True},
    "absent": {"type": "list", "elements": "str", "default": []},
    "whole": {"type": "bool", "default": False},
    "if_missing": {"type": "bool", "default": False},
    "visibility": {"type": "str", "choices": ["masked", "unmasked", "restricted"]},
}
OLD = "the old value"
NEW = "a new value"


def check(values: dict[str, Any], absent: list[str]) -> None:
    """Refuse what cannot be, before anything is asked."""
    for name in (*values, *absent):
        if not NAME.fullmatch(name):
            raise DopplerError(f"{name} is no name of a secret: use capital letters, digits and underscores")
        if name in MANAGED:
            raise DopplerError(f"{name} is set by Doppler itself: leave it out")
    both = sorted(set(values) & set(absent))
    if both:
        raise DopplerError(f"{', '.join(both)} cannot be set and be absent: name each of them once")
    odd = [name for name, value in values.items() if not isinstance(value, str)]
    if odd:
        raise DopplerError(f"the value of {', '.join(sorted(odd))} is no text: put it in quotes")


def plan(have: dict[str, dict[str, Any]], params: dict[str, Any]) -> tuple[list[Change], list[dict[str, Any]]]:
    """(what changes, the requests for it, each with what it takes for granted)."""
    changes: list[Change] = []
    requests: list[dict[str, Any]] = []
    seen = params["visibility"]
    for name, value in sorted(params["values"].items()):
        old = have.get(name)
        if old is None:
            changes.append(Change("create", name, None, {"value": NEW}))
            request = {"name": name, "originalName": None, "value": value}
            requests.append({**request, "visibility": seen} if seen else request)
            continue
        before: dict[str, Any] = {}
        after: dict[str, Any] = {}
        request = guarded(name, old)
        if not params["if_missing"] and old.get("raw") != value:
            before["value"], after["value"] = OLD, NEW
            request["value"] = value
        if seen and old.get("rawVisibility") != seen:
            before["visibility"], after["visibility"] = old.get("rawVisibility"), seen
            request |= {"visibility": seen, "originalVisibility": old.get("rawVisibility")}
        if after:
            changes.append(Change("update", name, before, after))
            requests.append(request)
    others = set(have) - set(params["values"]) if params["whole"] else set()
    for name in sorted(set(have) & set(params["absent"]) | others):
        changes.append(Change("delete", name, {"value": OLD}))
        requests.append({**guarded(name, have[name]), "shouldDelete": True})
    return changes, requests


def guarded(name: str, old: dict[str, Any]) -> dict[str, Any]:
    """A request that changes nothing yet, and is refused where the secret is no longer what it was."""
    request: dict[str, Any] = {"name": name, "originalName": name, "value": None}
    if old.get("raw") is not None:
        request["originalValue"] = old["raw"]
    return request


def converge(module: AnsibleModule, doppler: Doppler) -> dict[str, Any]:
    """Set what is to be there and remove what is not."""
    params = module.params
    doppler.hide(params["values"].values())
    check(params["values"], params["absent"])
    have = doppler.raw()
    changes, requests = plan(have, params)
    if requests and not module.check_mode:
        try:
            doppler.ask("POST", f"{CONFIG}/secrets", {"change_requests": requests})
        except DopplerError as error:
            untouched = f"; nothing was changed of {', '.join(change.name for change in changes)}"
            raise DopplerError(f"{error}{untouched if 400 <= error.status < 500 else ''}", error.status) from error
    gone = {change.name for change in changes if change.action == "delete"}
    return {**outcome(changes, "secrets"), "names": sorted(({*have, *params["values"]}) - gone)}


def main() -> None:
    run(ARGUMENT_SPEC, converge)


if __name__ == "__main__":
    main()
