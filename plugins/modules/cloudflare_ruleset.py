#!/usr/bin/python

# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Our rules in one phase of a zone, among those of others."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cloudflare_ruleset
version_added: 0.1.0
short_description: Rules of a zone at Cloudflare (firewall, rate limit, cache, redirects)
description:
  - Keeps our rules in one phase of a zone. Rules are known by their C(ref), which is O(prefix) and the name of the
    rule; those of others stay as they are and where they are.
  - Cloudflare replaces all rules of a phase at once, so that a run is one read and at most one write.
  - What a plan does not allow of rate limiting is refused before anything is sent. In check mode Cloudflare itself
    checks the rules without saving them (C(dry_run)).
author:
  - The sapflux.hosting authors (@sapflux)
extends_documentation_fragment:
  - sapflux.hosting._cloudflare
  - sapflux.hosting._cloudflare.zone
options:
  phase:
    description: The phase in which the rules run.
    type: str
    required: true
    choices:
      - http_config_settings
      - http_custom_errors
      - http_ratelimit
      - http_request_cache_settings
      - http_request_dynamic_redirect
      - http_request_firewall_custom
      - http_request_firewall_managed
      - http_request_late_transform
      - http_request_origin
      - http_request_transform
      - http_response_cache_settings
      - http_response_compression
      - http_response_firewall_managed
      - http_response_headers_transform
  rules:
    description: Our rules in their order; ours that are not here are removed.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the rule, unique in the phase.
        type: str
        required: true
      action:
        description: What the rule does, like V(block), V(managed_challenge), V(set_cache_settings), V(redirect).
        type: str
        required: true
      expression:
        description: For which requests, in Cloudflare's language.
        type: str
        required: true
      description:
        description: Shown in the dashboard; the name where it is not given.
        type: str
      enabled:
        description: Whether the rule is in force.
        type: bool
        default: true
      action_parameters:
        description: Parameters of the action, by the names of the API.
        type: dict
      ratelimit:
        description:
          - What is counted, in the phase V(http_ratelimit), by the names of the API.
          - V(characteristics) is the visitor's address where it is not given; the data centre is added.
        type: dict
      logging:
        description: Whether matches are logged, by the names of the API.
        type: dict
      exposed_credential_check:
        description: Where credentials are in the request, by the names of the API.
        type: dict
  prefix:
    description: Beginning of the C(ref) of our rules.
    type: str
    default: sapflux_
  position:
    description: Where our rules go when there are none yet, before or behind those of others.
    type: str
    choices: [first, last]
    default: last
  whole:
    description: Whether rules of others are removed.
    type: bool
    default: false
notes:
  - The token needs the write permission of the phase, C(Zone WAF Write) for firewall and rate limit.
"""

EXAMPLES = r"""
- name: A lid on the API, as far as the free plan goes
  sapflux.hosting.cloudflare_ruleset:
    zone: example.org
    phase: http_ratelimit
    rules:
      - name: api
        action: block
        expression: starts_with(http.request.uri.path, "/api/")
        ratelimit: {period: 10, requests_per_period: 50, mitigation_timeout: 10}

- name: Nobody asks for the admin pages
  sapflux.hosting.cloudflare_ruleset:
    zone: example.org
    phase: http_request_firewall_custom
    rules:
      - name: admin
        action: block
        expression: starts_with(http.request.uri.path, "/admin")
"""

RETURN = r"""
changes:
  description: What was done, or would be done in check mode, one sentence each.
  type: list
  elements: str
  returned: always
  sample: [create rule sapflux_api]
rules:
  description: All rules of the phase as they are afterwards, without what the API adds.
  type: list
  elements: dict
  returned: always
foreign:
  description: How many of them are not ours.
  type: int
  returned: always
version:
  description: Version of the ruleset, empty where there is none yet.
  type: str
  returned: always
zone_id:
  description: Id of the zone.
  type: str
  returned: always
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sapflux.hosting.plugins.module_utils import _ruleset
from ansible_collections.sapflux.hosting.plugins.module_utils._cloudflare import (
    ZONE_OPTIONS,
    Cloudflare,
    CloudflareError,
    run,
)
from ansible_collections.sapflux.hosting.plugins.module_utils._plan import outcome

ARGUMENT_SPEC: dict[str, Any] = {
    **ZONE_OPTIONS,
    "phase": {"type": "str", "required": True, "choices": list(_ruleset.PHASES)},
    "rules": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "name": {"type": "str", "required": True},
            "action": {"type": "str", "required": True},
            "expression": {"type": "str", "required": True},
            "description": {"type": "str"},
            "enabled": {"type": "bool", "default": True},
            "action_parameters": {"type": "dict"},
            "ratelimit": {"type": "dict"},
            "logging": {"type": "dict"},
            "exposed_credential_check": {"type": "dict", "no_log": False},
        },
    },
    "prefix": {"type": "str", "default": "sapflux_"},
    "position": {"type": "str", "choices": ["first", "last"], "default": "last"},
    "whole": {"type": "bool", "default": False},
}


def converge(module: AnsibleModule, cloud: Cloudflare) -> dict[str, Any]:
    """Merge, check against the plan, and replace the list where it differs."""
    params = module.params
    phase, prefix = params["phase"], params["prefix"]
    if not prefix:
        raise CloudflareError("prefix is empty, so that every rule would be ours: give one, or set whole to true")
    zone = cloud.zone(params["zone"])
    path = f"/zones/{zone['id']}/rulesets/phases/{phase}/entrypoint"
    permission = _ruleset.PHASES[phase]
    present = cloud.find(path, needs=f"{permission} Read") or {}
    want = [_ruleset.wish(each, prefix) for each in params["rules"]]
    first = params["position"] == "first"
    merged = _ruleset.merge(present.get("rules") or [], want, prefix, first=first, whole=params["whole"])
    plan = (zone.get("plan") or {}).get("legacy_id") or ""
    problems = _ruleset.problems(phase, plan, want, len(merged.rules))
    if problems:
        raise CloudflareError("; ".join(problems))
    version = str(present.get("version") or "")
    if merged.changes:
        body = {"rules": merged.rules}
        query = {"dry_run": True} if module.check_mode else None
        written = cloud.result("PUT", path, body, query, needs=f"{permission} Write") or {}
        new = str(written.get("version") or version)
        if version.isdigit() and new.isdigit() and int(new) > int(version) + 1:
            module.warn(
                f"somebody else changed {phase} of {zone['name']} at the same moment; look at it in the dashboard"
            )
        version = new
    return {
        **outcome(merged.changes, f"{phase} of {zone['name']}"),
        "rules": merged.rules,
        "foreign": merged.foreign,
        "version": version,
        "zone_id": zone["id"],
    }


def main() -> None:
    run(ARGUMENT_SPEC, converge)


if __name__ == "__main__":
    main()
