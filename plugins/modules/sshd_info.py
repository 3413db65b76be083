#!/usr/bin/python
# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module sshd_info: the effective settings of an SSH server, and who holds its port."""

from __future__ import annotations

DOCUMENTATION = r"""
module: sshd_info
version_added: 0.1.0
author:
  - The sapflux.hosting authors (@sapflux)
short_description: Ask an SSH server what it does
description:
  - Returns what C(sshd -T) says for one user, all files and Match blocks included, and the processes that listen on its
    port. Files can be right and yet lose, so this is what is compared with the wanted settings.
attributes:
  check_mode: {support: full, description: Reads only.}
  diff_mode: {support: none, description: Nothing to show.}
options:
  user:
    description: The user whose settings are asked for. It need not be there.
    type: str
    required: true
  port:
    description: Port whose holders are named.
    type: int
    default: 22
seealso:
  - module: sapflux.hosting.host_setup
"""

EXAMPLES = r"""
- name: Ask the SSH server for its settings
  sapflux.hosting.sshd_info:
    user: ops
"""

RETURN = r"""
ssh:
  description: What the SSH server does.
  type: dict
  returned: always
  contains:
    effective: {description: What C(sshd -T) printed; empty when it failed., type: str, returned: always}
    error: {description: Why it failed; empty when it did not., type: str, returned: always}
    listeners:
      description: A process that holds the port, a dict of C(address), C(process) and C(pid), for each address.
      type: list
      elements: dict
      returned: always
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sapflux.hosting.plugins.module_utils import _sshd
from ansible_collections.sapflux.hosting.plugins.module_utils._host_setup import run


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={"user": {"type": "str", "required": True}, "port": {"type": "int", "default": 22}},
        supports_check_mode=True,
    )
    module.exit_json(changed=False, ssh=_sshd.ask(run, module.params["user"], module.params["port"]))


if __name__ == "__main__":
    main()
