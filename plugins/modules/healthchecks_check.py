#!/usr/bin/python

# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Checks of Healthchecks.io as code: all of a project in one call, pruned by a tag of our own."""

from __future__ import annotations

DOCUMENTATION = r"""
module: healthchecks_check
version_added: 0.1.0
short_description: Checks of Healthchecks.io, or of a server of one's own
description:
  - Makes, changes and removes the checks that wait for the pings of jobs. A check is known by its slug.
  - Sends only what differs, so that a run without a change is one request, or two where channels are named.
  - Checks that people made by hand are left alone, unless O(checks) names their slug; such a one is taken over.
author:
  - The sapflux.hosting authors (@sapflux)
options:
  api_key:
    description: Key of the project that may write.
    type: str
    required: true
  base_url:
    description: URL of the server.
    type: str
    default: https://healthchecks.io
  tag:
    description: Tag that all of O(checks) carry, and by which O(prune) knows what is ours.
    type: str
    default: sapflux.hosting
  prune:
    description: Whether checks with O(tag) that O(checks) does not name are removed, with their history.
    type: bool
    default: false
  checks:
    description: The checks. What is left out of one stays as it is.
    type: list
    elements: dict
    default: []
    suboptions:
      slug:
        description: Name in addresses, of lower case letters, digits, C(-) and C(_).
        type: str
        required: true
      name:
        description: Name for people. Without it the slug.
        type: str
      tags:
        description: Tags beside O(tag). Others are removed.
        type: list
        elements: str
      desc:
        description: What to do when it fails.
        type: str
      timeout:
        description: Seconds between two pings, 60 to 31536000. Give this or O(checks[].schedule).
        type: int
      schedule:
        description: When pings are expected, as cron or as lines of systemd's C(OnCalendar).
        type: str
      tz:
        description: Time zone of O(checks[].schedule). Without it UTC.
        type: str
      grace:
        description: Seconds a ping may be late, and a job may run, before somebody is told. 60 to 31536000.
        type: int
      channels:
        description: Names or identifiers of the channels that are told. They have to be there.
        type: list
        elements: str
      methods:
        description: V(POST) where only a POST counts as a ping.
        type: str
        choices: ["", POST]
      manual_resume:
        description: Whether a paused check stays so when it is pinged.
        type: bool
      start_kw:
        description: Word that marks a start in what a job sends.
        type: str
      success_kw:
        description: Word that marks a success.
        type: str
      failure_kw:
        description: Word that marks a failure.
        type: str
attributes:
  check_mode:
    description: Can run in check_mode and return changed status prediction without modifying target.
    support: full
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in check_mode), when in diff mode.
    support: full
notes:
  - Runs where Ansible runs; say C(delegate_to=localhost) in a play on other hosts.
  - Channels cannot be made through the API.
"""

EXAMPLES = r"""
- name: The nightly backup is waited for
  sapflux.hosting.healthchecks_check:
    api_key: "{{ lookup('sapflux.hosting.doppler', 'HEALTHCHECKS_API_KEY') }}"
    prune: true
    checks:
      - slug: backup
        schedule: "*-*-* 03:17:00"
        tz: Europe/Zurich
        grace: 3600
        channels: [Mail to the operator]
  delegate_to: localhost
"""

RETURN = r"""
changes:
  description: What was done, or would be done in check mode, one sentence each.
  type: list
  elements: str
  returned: always
  sample: [create backup]
checks:
  description: The wanted checks by slug, as the server sees them; one that check mode would make is not among them.
  type: dict
  returned: always
  contains:
    status: {description: "One of new, up, grace, down, paused.", type: str, returned: always}
    last_ping: {description: When it was last heard of; null for never., type: str, returned: always}
    n_pings: {description: How many pings there were., type: int, returned: always}
requests:
  description: How many requests were sent.
  type: int
  returned: always
"""

from typing import Any, Dict

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sapflux.hosting.plugins.module_utils._healthchecks import (
    BASE,
    Healthchecks,
    HealthchecksError,
    plan,
    refuse_wishes,
    wanted,
)
from ansible_collections.sapflux.hosting.plugins.module_utils._plan import outcome

CHECK: Dict[str, Any] = {
    "slug": {"type": "str", "required": True},
    "name": {"type": "str"},
    "tags": {"type": "list", "elements": "str"},
    "desc": {"type": "str"},
    "timeout": {"type": "int"},
    "schedule": {"type": "str"},
    "tz": {"type": "str"},
    "grace": {"type": "int"},
    "channels": {"type": "list", "elements": "str"},
    "methods": {"type": "str", "choices": ["", "POST"]},
    "manual_resume": {"type": "bool"},
    "start_kw": {"type": "str"},
    "success_kw": {"type": "str"},
    "failure_kw": {"type": "str"},
}
ARGUMENT_SPEC: Dict[str, Any] = {
    "api_key": {"type": "str", "required": True, "no_log": True},
    "base_url": {"type": "str", "default": BASE},
    "tag": {"type": "str", "default": "sapflux.hosting"},
    "prune": {"type": "bool", "default": False},
    "checks": {"type": "list", "elements": "dict", "default": [], "options": CHECK},
}
SHOWN = ("status", "last_ping", "n_pings")


def converge(module: AnsibleModule, api: Healthchecks) -> Dict[str, Any]:
    """Bring the project to what is wanted."""
    params = module.params
    refuse_wishes(params["checks"], params["tag"])
    have = api.checks()
    named = any(wish["channels"] for wish in params["checks"])
    channels = api.channels() if named else {}
    want = [wanted(wish, params["tag"], channels) for wish in params["checks"]]
    steps = plan(have, want, params["tag"], params["prune"])
    found = {check["slug"]: check for check in have if check.get("slug")}
    for change, method, path, body in [] if module.check_mode else steps:
        answer = api.ask(method, path, body or None)
        if change.action != "delete" and isinstance(answer.body, dict):
            found[change.name] = answer.body
    slugs = [check["slug"] for check in want if check["slug"] in found]
    return {
        **outcome([step[0] for step in steps], "checks"),
        "checks": {slug: {key: found[slug].get(key) for key in SHOWN} for slug in slugs},
        "requests": api.client.requests,
    }


def main() -> None:
    """Entry point."""
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    try:
        result = converge(module, Healthchecks(module.params["api_key"], module.params["base_url"]))
    except HealthchecksError as error:
        module.fail_json(msg=str(error))
    if not module._diff:
        result.pop("diff", None)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
