#!/usr/bin/python

# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Shut a server of Hetzner Cloud down the way its own button does."""

from __future__ import annotations

DOCUMENTATION = r"""
module: hcloud_shutdown
version_added: 0.1.0
short_description: Shut a server at Hetzner Cloud down cleanly
description:
  - Presses the button of a server and waits until it is off. M(hetzner.hcloud.server) can only pull its plug, which
    leaves a database to recover from a crash.
  - A server that does not go down is left running.
author:
  - The sapflux.hosting authors (@sapflux)
options:
  api_token:
    description: API token of the project. The environment variable E(HCLOUD_TOKEN) is used where it is not given.
    type: str
    required: true
  api_endpoint:
    description: URL of the API. The environment variable E(HCLOUD_ENDPOINT) is used where it is not given.
    type: str
    default: https://api.hetzner.cloud/v1
  name:
    description: Name of the server.
    type: str
    required: true
  seconds:
    description: Seconds that it has to go down.
    type: int
    default: 180
attributes:
  check_mode:
    description: Can run in check_mode and return changed status prediction without modifying target.
    support: full
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in check_mode), when in diff mode.
    support: none
  action_group:
    description: Use C(group/sapflux.hosting.hetzner) in C(module_defaults) to set defaults for these modules.
    support: full
    membership: [sapflux.hosting.hetzner]
notes:
  - Runs where Ansible runs; say C(delegate_to=localhost) in a play on other hosts.
"""

EXAMPLES = r"""
- name: Shut the server down
  sapflux.hosting.hcloud_shutdown:
    name: sapflux-1
"""

RETURN = r"""
status:
  description: Status of the server afterwards.
  type: str
  returned: always
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sapflux.hosting.plugins.module_utils._hcloud import Hcloud, HcloudError, run

ARGUMENT_SPEC: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "seconds": {"type": "int", "default": 180},
}


def status_of(cloud: Hcloud, name: str) -> tuple[int, str]:
    """(id, status) of a server. Raises :class:`HcloudError` where there is none."""
    found = cloud.all("servers", {"name": name})
    if not found:
        raise HcloudError(f"there is no server {name} in this project; provision makes it")
    return found[0]["id"], found[0]["status"]


def converge(module: AnsibleModule, cloud: Hcloud) -> dict[str, Any]:
    """Press, then look until it is off."""
    name, seconds = module.params["name"], module.params["seconds"]
    number, status = status_of(cloud, name)
    if status == "off" or module.check_mode:
        return {"changed": status != "off", "status": status}
    cloud.act(f"/servers/{number}/actions/shutdown", seconds=seconds)
    for _second in range(seconds):
        _number, status = status_of(cloud, name)
        if status == "off":
            return {"changed": True, "status": status}
        cloud.sleep(1.0)
    raise HcloudError(
        f"the server {name} is not off after {seconds} s; log in and see what holds it, then run this again"
    )


def main() -> None:
    run(ARGUMENT_SPEC, converge)


if __name__ == "__main__":
    main()
