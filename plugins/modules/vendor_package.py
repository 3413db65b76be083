#!/usr/bin/python
# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A package from its vendor's own apt repository, in one call."""

from __future__ import annotations

DOCUMENTATION = r"""
module: vendor_package
version_added: 0.1.0
author:
  - The sapflux.hosting authors (@sapflux)
short_description: A package from its vendor's own apt repository
description:
  - Key, source, pin and package in one call, because nearly all the time of a remote task is its start.
  - The key is downloaded only when the one on the host has another sha256, and is trusted for this repository alone.
  - The repository can give this host the one package only. Others in it are pinned away, so that whoever holds the
    repository cannot replace a package of Debian.
  - With O(version) the package stays at it, whoever upgrades (unattended-upgrades, a person); a newer one is put back.
  - systemd runs apt, so that an upgrade which cuts off the connection it came in over (a VPN, the SSH server) ends all
    the same. The next run waits for it and reports what came of it.
attributes:
  check_mode:
    description: Predicts, without a download.
    support: full
  diff_mode:
    description: Shows the source and the pin.
    support: full
  idempotent:
    description: A second run with the same arguments changes nothing.
    support: full
options:
  name:
    description: Name of the package.
    type: str
    required: true
  state:
    description: V(absent) purges the package with its settings, and removes key, source and pin.
    type: str
    choices: [present, absent]
    default: present
  version:
    description: Exactly this version of the package. Without one a package that is installed is left as it is.
    type: str
  uri:
    description: URL of the repository. Required to install.
    type: str
  suite:
    description: Suite of the repository, such as V(trixie). Required to install.
    type: str
  components:
    description: Components of the repository.
    type: list
    elements: str
    default: [main]
  key_url:
    description: URL of the key that signs the repository, in binary form. Required to install.
    type: str
  key_sha256:
    description: The sha256 of that file. Required to install.
    type: str
  timeout:
    description: Seconds that apt may take.
    type: int
    default: 600
"""

EXAMPLES = r"""
- name: Tailscale as its vendor delivers it
  sapflux.hosting.vendor_package:
    name: tailscale
    version: 1.102.3
    uri: https://pkgs.tailscale.com/stable/debian
    suite: trixie
    key_url: https://pkgs.tailscale.com/stable/debian/trixie.noarmor.gpg
    key_sha256: 3e03dacf222698c60b8e2f990b809ca1b3e104de127767864284e6c228f1fb39

- name: No Tailscale
  sapflux.hosting.vendor_package:
    name: tailscale
    state: absent
"""

RETURN = r"""
actions:
  description: What was done, or would be done in check mode, a clause each.
  type: list
  elements: str
  returned: success
  sample: [replace tailscale 1.102.2 by 1.102.3]
version:
  description: The installed version, empty for none.
  type: str
  returned: success
  sample: 1.102.3
"""

from typing import Any, Dict

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sapflux.hosting.plugins.module_utils._vendor_package import (
    Package,
    VendorError,
    as_diff,
    parse_wish,
)

ARGUMENT_SPEC: Dict[str, Dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "version": {"type": "str"},
    "uri": {"type": "str"},
    "suite": {"type": "str"},
    "components": {"type": "list", "elements": "str", "default": ["main"]},
    "key_url": {"type": "str", "no_log": False},
    "key_sha256": {"type": "str", "no_log": False},
    "timeout": {"type": "int", "default": 600},
}


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec=ARGUMENT_SPEC,
        required_if=[("state", "present", ["uri", "suite", "key_url", "key_sha256"])],
        supports_check_mode=True,
    )
    try:
        package = Package(parse_wish(module.params), check=module.check_mode)
        outcome = package.present() if module.params["state"] == "present" else package.absent()
    except VendorError as error:
        module.fail_json(msg=str(error))
    result = {"changed": bool(outcome.actions), "actions": outcome.actions, "version": outcome.version}
    if module._diff and outcome.diff:
        result["diff"] = as_diff(outcome)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
