#!/usr/bin/python

# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host key of a server, pinned before the server exists."""

from __future__ import annotations

DOCUMENTATION = r"""
module: known_host_key
version_added: 0.1.0
short_description: Pin the SSH host keys of a server in a file of known hosts
description:
  - Keeps the lines of one server in a file of known hosts. Lines of others stay as they are.
  - With O(state=new) makes a key pair, pins its public half and answers both, for cloud-init to give it to a server
    that does not exist yet. So the first contact is no act of faith. Whatever reaches the provider's metadata service
    on the server can read that key; M(sapflux.hosting.first_boot) replaces it once the server has been met.
author:
  - The sapflux.hosting authors (@sapflux)
options:
  path:
    description: The file. It is made where it is not there.
    type: path
    required: true
  server:
    description: Name of the server, which marks its lines.
    type: str
    required: true
  hosts:
    description: Names and addresses by which SSH knows the server. Those that are empty are left out.
    type: list
    elements: str
    default: []
  keys:
    description: Public keys, C(type base64). O(state=present) pins exactly these; none is like O(state=absent).
    type: list
    elements: str
    default: []
  pending:
    description: Whether the first contact has not come to its end, which O(state=present) remembers in the file.
    type: bool
    default: false
  state:
    description: V(new) makes a key and pins it; V(absent) removes the lines of the server.
    type: str
    choices: [present, new, absent]
    default: present
attributes:
  check_mode:
    description: Can run in check_mode and return changed status prediction without modifying target.
    support: full
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in check_mode), when in diff mode.
    support: none
notes:
  - Use C(no_log) with O(state=new), which answers a private key.
"""

EXAMPLES = r"""
- name: Pin the key of a server that is made next
  sapflux.hosting.known_host_key:
    path: ~/.ssh/known_hosts
    server: sapflux-1
    hosts: [sapflux-1, 203.0.113.10]
    state: new
  register: host_key
  no_log: true
"""

RETURN = r"""
public_key:
  description: The key that was made.
  type: str
  returned: with O(state=new)
private_key:
  description: Its private half. Nowhere else is it kept.
  type: str
  returned: with O(state=new), not in check mode
"""

import os
import tempfile
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sapflux.hosting.plugins.module_utils._known_hosts import pinned

ARGUMENT_SPEC: dict[str, Any] = {
    "path": {"type": "path", "required": True},
    "server": {"type": "str", "required": True},
    "hosts": {"type": "list", "elements": "str", "default": []},
    "keys": {"type": "list", "elements": "str", "default": [], "no_log": False},
    "pending": {"type": "bool", "default": False},
    "state": {"type": "str", "choices": ["present", "new", "absent"], "default": "present"},
}


def new_key(module: AnsibleModule) -> tuple[str, str]:
    """(private, public) of a new key pair, of which no file stays."""
    with tempfile.TemporaryDirectory(prefix="sapflux-") as folder:
        path = os.path.join(folder, "key")
        module.run_command(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", module.params["server"], "-f", path], check_rc=True
        )
        with open(path, encoding="ascii") as private, open(f"{path}.pub", encoding="ascii") as public:
            return private.read(), public.read().strip()


def write(module: AnsibleModule, path: str, text: str) -> None:
    """Put the text in place whole or not at all."""
    folder = os.path.dirname(path)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".known_hosts-", dir=folder)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(text)
    # Keeps the mode of a file that was there.
    module.atomic_move(name, os.path.realpath(path))


def main() -> None:
    module = AnsibleModule(
        argument_spec=ARGUMENT_SPEC,
        supports_check_mode=True,
    )
    given, path = module.params, os.path.abspath(module.params["path"])
    result: dict[str, Any] = {}
    keys = [] if given["state"] == "absent" else list(given["keys"])
    if given["state"] == "new":
        if module.check_mode:
            module.exit_json(changed=True)
        result["private_key"], result["public_key"] = new_key(module)
        keys = [result["public_key"]]
    before = ""
    if os.path.exists(path):
        with open(path, encoding="utf-8") as stream:
            before = stream.read()
    first = given["state"] == "new" or given["pending"]
    after = pinned(before, given["server"], given["hosts"], keys, first)
    if before and not before.endswith("\n"):
        before += "\n"
    if after != before and not module.check_mode:
        write(module, path, after)
    module.exit_json(changed=after != before, **result)


if __name__ == "__main__":
    main()
