#!/usr/bin/python
# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask a running host how it is."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_status
short_description: Ask a running host how it is, in one call
version_added: 0.1.0
description:
  - Reads versions, units, disks, memory, certificates, loopback probes, the archive, containers and releases of a host,
    and what its own look over it (role P(sapflux.hosting.monitoring#role)) found.
  - Asks the running system, never the files it was configured with, and changes nothing.
  - A part that cannot be asked carries an C(error) and does not fail the others.
  - Judge what was found with the filter P(sapflux.hosting.status_problems#filter).
author: The sapflux.hosting authors (@sapflux)
attributes:
  check_mode: {support: full, description: Reads only.}
  diff_mode: {support: none, description: Nothing to show.}
options:
  units:
    description: The systemd units to look at.
    type: list
    elements: str
    default: []
  hostnames:
    description: Names under which the web server on this host must present a certificate.
    type: list
    elements: str
    default: []
  ca_file:
    description: A CA bundle on the host to verify those certificates with; the system's own where there is none.
    type: path
  urls:
    description: Loopback URLs to ask.
    type: list
    elements: str
    default: []
  project:
    description: The Compose project whose containers and releases to list.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Look at the host
  sapflux.hosting.host_status:
    units: [caddy.service, postgresql@17-main.service]
    hostnames: [api.example.org]
    urls: ["http://127.0.0.1:18080/ready"]
    project: sapflux
  register: result
"""

RETURN = r"""
status:
  description: What was found.
  returned: always
  type: dict
  contains:
    versions: {description: Name to version., type: dict, returned: always}
    units: {description: "Unit to loaded, active, state, result, memory_bytes.", type: dict, returned: always}
    disks: {description: "A dict for each file system: path, size_mb, free_mb.", type: list, returned: always}
    memory: {description: "total_mb, available_mb, swap_total_mb, swap_free_mb.", type: dict, returned: always}
    certificates: {description: "hostname, hours_left and issuer, or error.", type: list, returned: always}
    probes: {description: "url, status and seconds, or error.", type: list, returned: always}
    archive: {description: "What pgsafe status says; empty without the role walg.", type: dict, returned: always}
    ca: {description: "The content of O(ca_file), PEM; empty where there is none.", type: str, returned: always}
    containers: {description: "name, image, state, status.", type: list, returned: always}
    releases: {description: "What compose_release shows, or error; empty without one.", type: dict, returned: always}
    look: {description: "What the host check saw, waited_seconds; empty without it.", type: dict, returned: always}
    updates: {description: "pending and security packages, reboot_days (null for none).", type: dict, returned: always}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sapflux.hosting.plugins.module_utils._host_status import collect


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "units": {"type": "list", "elements": "str", "default": []},
            "hostnames": {"type": "list", "elements": "str", "default": []},
            "ca_file": {"type": "path"},
            "urls": {"type": "list", "elements": "str", "default": []},
            "project": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    params = module.params
    status = collect(params["units"], params["hostnames"], params["ca_file"], params["urls"], params["project"])
    module.exit_json(changed=False, status=status)


if __name__ == "__main__":
    main()
