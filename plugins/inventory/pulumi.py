# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that a Pulumi stack made."""

from __future__ import annotations

DOCUMENTATION = r"""
name: pulumi
author: The sapflux.hosting authors (@sapflux)
version_added: 0.1.0
short_description: Hosts from the outputs of a Pulumi stack
description:
  - Reads one output of a stack, a mapping of hosts, from Pulumi's command line or from a file that it wrote.
  - The program in C(infra/pulumi) exports it. Groups, names and addresses are those that the inventory of Hetzner
    Cloud gives of the same servers.
  - Outputs that are secrets are never asked for. A stack that was not brought up yet has no hosts.
  - The name of the file that configures this ends in C(pulumi.yml) or C(pulumi.yaml).
extends_documentation_fragment:
  - constructed
options:
  plugin:
    description: Says that the file is for this plugin.
    type: str
    required: true
    choices: [sapflux.hosting.pulumi]
  file:
    description:
      - File with the outputs, as C(pulumi stack output --json) writes them. Pulumi is not asked then.
      - A relative path begins at the folder of the inventory file.
    type: str
  stack:
    description: Name of the stack, V(organisation/project/stack). Without it the one that is selected in O(cwd).
    type: str
    env: [{name: PULUMI_STACK}]
  cwd:
    description: Folder of the Pulumi program.
    type: path
    default: infra/pulumi
  program:
    description: Pulumi's command line.
    type: str
    default: pulumi
  output:
    description: The output that holds the hosts.
    type: str
    default: hosts
notes:
  - The command line needs what it always needs, such as E(PULUMI_ACCESS_TOKEN) or E(PULUMI_BACKEND_URL).
"""

EXAMPLES = r"""
# inventory/production/pulumi.yml, in place of hosts.yml
plugin: sapflux.hosting.pulumi
stack: production

# The same from a file, for a machine without Pulumi
---
plugin: sapflux.hosting.pulumi
file: outputs.json
"""

import os
from typing import Any

from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin, Constructable
from ansible_collections.sapflux.hosting.plugins.module_utils import _pulumi


class InventoryModule(BaseInventoryPlugin, Constructable):  # type: ignore[misc]
    """The inventory plugin."""

    NAME = "sapflux.hosting.pulumi"

    def verify_file(self, path: str) -> bool:
        """Whether the file is for this plugin, judged by its name."""
        return bool(super().verify_file(path)) and path.endswith(("pulumi.yml", "pulumi.yaml"))

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        """Add the hosts. Raises ``AnsibleParserError`` where the outputs cannot be had."""
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        try:
            outputs = (
                _pulumi.saved(os.path.join(os.path.dirname(path), os.path.expanduser(self.get_option("file"))))
                if self.get_option("file")
                else _pulumi.asked(
                    str(self.get_option("program")), str(self.get_option("cwd")), str(self.get_option("stack") or "")
                )
            )
            found = _pulumi.hosts(outputs, str(self.get_option("output")))
        except _pulumi.PulumiError as error:
            raise AnsibleParserError(f"inventory {path}: {error}") from None
        for name, host in found.items():
            self._add(name, host)

    def _add(self, name: str, host: dict[str, Any]) -> None:
        self.inventory.add_host(name)
        for group in host["groups"]:
            self.inventory.add_group(group)
            self.inventory.add_host(name, group=group)
        for key, value in host["variables"].items():
            self.inventory.set_variable(name, key, value)
        strict = self.get_option("strict")
        variables = self.inventory.get_host(name).get_vars()
        self._set_composite_vars(self.get_option("compose"), variables, name, strict=strict)
        self._add_host_to_composed_groups(self.get_option("groups"), variables, name, strict=strict)
        self._add_host_to_keyed_groups(self.get_option("keyed_groups"), variables, name, strict=strict)
