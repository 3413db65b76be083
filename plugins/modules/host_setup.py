#!/usr/bin/python
# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module host_setup: the administrator, the way in over SSH, time zone and locale of a host in one call."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_setup
version_added: 0.1.0
author:
  - The sapflux.hosting authors (@sapflux)
short_description: Set up the administrator of a host and the way in over SSH
description:
  - Makes the administrator's account, installs its SSH keys and a sudo rule without password, and sets time zone and
    locale.
  - The keys stand in a marked block of C(~/.ssh/authorized_keys). A key that is dropped from the list is revoked;
    keys that somebody else has put there stay, unless O(exclusive) is set.
  - With O(ssh_group), fills that group with the users that may log in, before an SSH server is told to let in nobody
    else; replaces host keys that are missing or too short; lets C(ssh.service) alone hold the port; and tells what the
    SSH server does and offers. Refuses, before anything changes, when another file of the server would keep the
    administrator out.
  - Root's password is locked when this run did not log in as root, so that there is another way in for sure.
  - One call instead of ten, because nearly all the time of a remote task is its start.
attributes:
  check_mode:
    description: Predicts the changes and makes none.
    support: full
  diff_mode:
    description: Shows the differences of keys, sudo rule, group, time zone and locale.
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
  locale:
    description: Locale by its name, such as V(C.UTF-8). Left out, the locale is not looked at.
    type: str
  ssh_group:
    description: Group whose members may log in over SSH. Left out, nothing about SSH is looked at but the keys.
    type: str
  ssh_users:
    description: Members of O(ssh_group) besides the administrator. They must be users of the host.
    type: list
    elements: str
    default: []
  ssh_port:
    description: Port whose holders are named in RV(ssh).
    type: int
    default: 22
seealso:
  - module: sapflux.hosting.sshd_info
"""

EXAMPLES = r"""
- name: Let ops in
  sapflux.hosting.host_setup:
    user: ops
    authorized_keys:
      - ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMJr0xGT6Vb1Xbm3pVtKQ8pNqTuHuZ6bqk5vC0gQ2n1r me@example.org
    timezone: UTC
    ssh_group: sapflux-ssh
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
ssh:
  description:
    - What the SSH server does once this module is done, as of M(sapflux.hosting.sshd_info).
    - C(offers) is what it is built with, the lists C(kex), C(ciphers), C(macs), C(host_keys). Empty without OpenSSH.
  type: dict
  returned: when O(ssh_group) is given
"""

import os
from typing import Any, Callable, Dict, List

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sapflux.hosting.plugins.module_utils._host_setup import (
    Change,
    Host,
    SetupError,
    check_keys,
    check_user,
)
from ansible_collections.sapflux.hosting.plugins.module_utils._host_ssh import SshServer


def plans(params: Dict[str, Any], host: Host, server: SshServer, as_root: bool) -> List[Callable[[], List[Change]]]:
    """Return the steps in the order in which they are planned and made."""
    name: str = params["user"]
    steps: List[Callable[[], List[Change]]] = [
        lambda: host.plan_account(name, params["shell"]),
        lambda: host.plan_keys(name, params["authorized_keys"], params["exclusive"]),
        lambda: host.plan_sudo(name),
    ]
    if not as_root:
        steps.append(host.plan_root_lock)
    if params["timezone"]:
        steps.append(lambda: host.plan_timezone(params["timezone"]))
    if params["locale"]:
        steps.append(lambda: host.plan_locale(params["locale"]))
    if params["ssh_group"]:
        steps.append(lambda: server.plan_group(params["ssh_group"], [name, *params["ssh_users"]]))
        # The owner of the port first: an sshd that was given its socket does not survive a reload.
        steps += [server.plan_one_owner, server.plan_host_keys]
    return steps


def setup(module: AnsibleModule, host: Host, server: SshServer, as_root: bool) -> List[Change]:
    """Plan and, outside check mode, make each change in order. Raises SetupError."""
    params = module.params
    check_user(params["user"])
    check_keys(params["authorized_keys"])
    if params["ssh_group"]:
        server.check(params["user"], params["ssh_users"], params["ssh_group"], params["ssh_port"])
    done: List[Change] = []
    for plan in plans(params, host, server, as_root):
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
            "locale": {"type": "str"},
            "ssh_group": {"type": "str"},
            "ssh_users": {"type": "list", "elements": "str", "default": []},
            "ssh_port": {"type": "int", "default": 22},
        },
        supports_check_mode=True,
    )
    connected_as = os.environ.get("SUDO_USER", "root")
    host = Host()
    server = SshServer(host)
    try:
        done = setup(module, host, server, connected_as == "root")
    except SetupError as error:
        module.fail_json(msg=str(error))
    result: Dict[str, Any] = {
        "changed": bool(done),
        "changes": [change.summary for change in done],
        "connected_as": connected_as,
    }
    if module.params["ssh_group"]:
        result["ssh"] = server.report(module.params["user"], module.params["ssh_port"])
    if module._diff:
        result["diff"] = [
            {"before": c.before, "after": c.after, "before_header": c.path, "after_header": c.path}
            for c in done
            if c.path
        ]
    module.exit_json(**result)


if __name__ == "__main__":
    main()
