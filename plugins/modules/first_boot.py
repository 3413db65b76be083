#!/usr/bin/python

# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Wait for the first boot of a server, and give it a host key that nobody else has seen."""

from __future__ import annotations

DOCUMENTATION = r"""
module: first_boot
version_added: 0.1.0
short_description: Wait until a new server is ready, and replace the host key it was born with
description:
  - Waits until cloud-init has done everything and nobody holds apt's lock. A cloud-init that failed is told, and why.
  - O(host_key=next) makes a second SSH host key beside the one in use, for the controller to pin both;
    O(host_key=switch) puts it in place. Interrupted anywhere, a key that is pinned is in use.
author:
  - The sapflux.hosting authors (@sapflux)
options:
  seconds:
    description: Seconds to wait at most.
    type: int
    default: 600
  host_key:
    description: What becomes of the host key.
    type: str
    choices: [keep, next, switch]
    default: keep
  directory:
    description: Where the host keys of the SSH server are.
    type: path
    default: /etc/ssh
attributes:
  check_mode:
    description: Can run in check_mode and return changed status prediction without modifying target.
    support: full
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in check_mode), when in diff mode.
    support: none
"""

EXAMPLES = r"""
- name: Wait for the first boot
  sapflux.hosting.first_boot:
    host_key: next
  register: boot
"""

RETURN = r"""
cloud_init:
  description: How cloud-init ended, V(done), V(disabled) or V(absent).
  type: str
  returned: always
host_keys:
  description: Public host keys of the server, the one in use first.
  type: list
  elements: str
  returned: always
"""

import fcntl
import json
import os
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule

ARGUMENT_SPEC: dict[str, Any] = {
    "seconds": {"type": "int", "default": 600},
    "host_key": {"type": "str", "choices": ["keep", "next", "switch"], "default": "keep", "no_log": False},
    "directory": {"type": "path", "default": "/etc/ssh"},
}
KEY = "ssh_host_ed25519_key"
LOCKS = ("/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock", "/var/lib/apt/lists/lock")
GOOD = ("done", "disabled", "not run")
EVERY = 1.0
# Seams for tests.
pause = time.sleep
clock = time.monotonic


def cloud_init(module: AnsibleModule, until: float) -> str:
    """How cloud-init ended. Fails where it failed or takes too long."""
    program = module.get_bin_path("cloud-init")
    if program is None:
        return "absent"
    while True:
        _code, out, _error = module.run_command([program, "status", "--format", "json"])
        try:
            found = json.loads(out)
        except ValueError:
            found = {}
        status = str(found.get("status", "unknown"))
        if status in GOOD:
            return status
        if status == "error":
            reasons = "; ".join(map(str, found.get("errors") or [])) or "no reason given"
            module.fail_json(
                msg=f"cloud-init failed: {reasons}; see /var/log/cloud-init.log there, then rebuild the server"
            )
        if clock() >= until:
            module.fail_json(
                msg=f"cloud-init is still {status}; see /var/log/cloud-init.log there, then run this again"
            )
        pause(EVERY)


def wait_for_apt(module: AnsibleModule, until: float, locks: tuple[str, ...]) -> None:
    """Return once no lock of apt is held."""
    for path in locks:
        while held(path):
            if clock() >= until:
                module.fail_json(msg=f"something holds {path}; see `ps aux` there, then run this again")
            pause(EVERY)


def held(path: str) -> bool:
    """Whether another process holds a lock of dpkg or apt."""
    if not os.path.exists(path):
        return False
    with open(path, "r+b") as stream:
        try:
            fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def public(path: str) -> str:
    """The first two words of a public key's file."""
    with open(f"{path}.pub", encoding="ascii") as stream:
        return " ".join(stream.read().split()[:2])


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    until = clock() + module.params["seconds"]
    status = cloud_init(module, until)
    wait_for_apt(module, until, LOCKS)
    key = os.path.join(module.params["directory"], KEY)
    following = f"{key}.next"
    wish, changed = module.params["host_key"], False
    if wish == "next" and not os.path.exists(f"{following}.pub"):
        changed = True
        if not module.check_mode:
            for half in (following, f"{following}.pub"):
                if os.path.exists(half):
                    os.unlink(half)
            module.run_command(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", following], check_rc=True
            )
    if wish == "switch" and os.path.exists(f"{following}.pub"):
        changed = True
        if not module.check_mode:
            # The private half decides: sshd makes the public one from it.
            os.replace(following, key)
            os.replace(f"{following}.pub", f"{key}.pub")
            module.run_command(["systemctl", "reload", "ssh.service"], check_rc=True)
    keys = [public(path) for path in (key, following) if os.path.exists(f"{path}.pub")]
    module.exit_json(changed=changed, cloud_init=status, host_keys=keys)


if __name__ == "__main__":
    main()
