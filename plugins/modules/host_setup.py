#!/usr/bin/python
# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module host_setup: the administrator and the time zone of a host in one call."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_setup
version_added: 0.1.0
author:
  - the sapflux.hosting authors
short_description: Set up the administrator and the time zone of a host
description:
  - Makes the administrator's account, installs its SSH keys and a sudo rule without password, and sets the time zone.
  - The keys stand in a marked block of C(~/.ssh/authorized_keys). A key that is dropped from the list is revoked;
    keys that somebody else has put there stay, unless O(exclusive) is set.
  - One call instead of five, because nearly all the time of a remote task is its start.
attributes:
  check_mode:
    description: Predicts the changes and makes none.
    support: full
  diff_mode:
    description: Shows the differences of keys, sudo rule and time zone.
    support: full
options:
  user:
    description: Name of the administrator. Not V(root).
    type: str
    required: true
  authorized_keys:
    description: Public keys, one line each, at least one.
    type: list
    elements: str
    required: true
  exclusive:
    description: Remove every other key from the administrator's C(authorized_keys).
    type: bool
    default: false
  shell:
    description: Shell of an account that is made, or that has none.
    type: path
    default: /bin/bash
  timezone:
    description: Time zone by its name, such as V(UTC) or V(Europe/Zurich). Left out, the zone is not looked at.
    type: str
"""

EXAMPLES = r"""
- name: Let ops in
  sapflux.hosting.host_setup:
    user: ops
    authorized_keys:
      - ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMJr0xGT6Vb1Xbm3pVtKQ8pNqTuHuZ6bqk5vC0gQ2n1r me@example.org
    timezone: UTC
"""

RETURN = r"""
changes:
  description: What was changed (or would be, in check mode), a clause each.
  type: list
  elements: str
  returned: always
  sample: [made the user ops]
connected_as:
  description: The user that this run logged in with, before it became root.
  type: str
  returned: always
  sample: ops
"""

import os
from typing import Callable, List

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sapflux.hosting.plugins.module_utils._host_setup import (
    Change,
    Host,
    SetupError,
    check_keys,
    check_user,
)


def setup(module: AnsibleModule, host: Host) -> List[Change]:
    """Plan and, outside check mode, make each change in order. Raises SetupError."""
    params = module.params
    name: str = params["user"]
    check_user(name)
    check_keys(params["authorized_keys"])
    plans: List[Callable[[], List[Change]]] = [
        lambda: host.plan_account(name, params["shell"]),
        lambda: host.plan_keys(name, params["authorized_keys"], params["exclusive"]),
        lambda: host.plan_sudo(name),
        lambda: host.plan_timezone(params["timezone"]) if params["timezone"] else [],
    ]
    done: List[Change] = []
    for plan in plans:
        # Planned one after the other: where the keys go is only known once the account is there.
        for change in plan():
            if not module.check_mode:
                change.act()
            done.append(change)
    return done


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "user": {"type": "str", "required": True},
            "authorized_keys": {"type": "list", "elements": "str", "required": True, "no_log": False},
            "exclusive": {"type": "bool", "default": False},
            "shell": {"type": "path", "default": "/bin/bash"},
            "timezone": {"type": "str"},
        },
        supports_check_mode=True,
    )
    try:
        done = setup(module, Host())
    except SetupError as error:
        module.fail_json(msg=str(error))
    result = {
        "changed": bool(done),
        "changes": [change.summary for change in done],
        "connected_as": os.environ.get("SUDO_USER", "root"),
    }
    if module._diff:
        result["diff"] = [
            {"before": c.before, "after": c.after, "before_header": c.path, "after_header": c.path}
            for c in done
            if c.path
        ]
    module.exit_json(**result)


if __name__ == "__main__":
    main()
