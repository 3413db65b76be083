#!/usr/bin/python
# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin preflight."""

from __future__ import annotations

DOCUMENTATION = r"""
module: preflight
short_description: Look at a host before anything changes
version_added: 0.1.0
author: The sapflux.hosting authors (@sapflux)
description:
  - Finds out how to log in, as the admin user, as the user of the inventory, or, on first contact with a fresh server,
    as root. Later tasks log in the same way, because C(ansible_user) is set for the rest of the run.
  - Finds out where, too. A host with the variable C(sapflux_tailnet_host) (its name or address on the tailnet) is
    tried there first, unless it is known to be open, and then at C(ansible_host). Later tasks go where it answered,
    because C(ansible_host) is set for the rest of the run; C(sapflux_public_host) keeps the address of the inventory.
  - Then, in the same round trip, collects the facts the roles of this collection need, installed packages included.
    They have the names and shapes of M(ansible.builtin.setup) and M(ansible.builtin.package_facts).
  - Refuses, with one line each, a host that does not answer, runs another distribution, has no Python, gives no root,
    has too little space, or a clock more than 5 minutes off.
  - Needs neither C(become) nor facts. Changes nothing.
attributes:
  check_mode: {support: full, description: Reads only.}
  diff_mode: {support: none, description: Nothing to show.}
options:
  admin_user:
    description: The login the role P(sapflux.hosting.base#role) makes. It is tried first.
    type: str
  tailnet_host:
    description: The host's name or address on the tailnet, where the variable C(sapflux_tailnet_host) does not say.
    type: str
    default: ""
  distributions:
    description: Distributions that are good, each with its major versions.
    type: dict
    default: {Debian: ["13"]}
  min_free_mb:
    description: MiB that must be free, by path. A path that does not exist is measured where it would be made.
    type: dict
    default: {/: 2048, /var/lib/postgresql: 1024, /var/lib/docker: 1024, /tmp: 32}
seealso:
  - module: sapflux.hosting.site_check
"""

EXAMPLES = r"""
- name: Reach the host and refuse one that cannot carry the stack
  sapflux.hosting.preflight:
    admin_user: ops
"""

RETURN = r"""
user:
  description: The login that works; null where the connection has none.
  returned: success
  type: str
address:
  description: Where it was reached; null where the connection has no address.
  returned: success
  type: str
ansible_facts:
  description: Facts for the roles.
  returned: success
  type: dict
  contains:
    distribution: {description: Name of the distribution., type: str, returned: success}
    distribution_version: {description: Its version., type: str, returned: success}
    distribution_major_version: {description: Its major version., type: str, returned: success}
    distribution_release: {description: Its code name., type: str, returned: success}
    architecture: {description: Architecture of the processor., type: str, returned: success}
    machine: {description: The same., type: str, returned: success}
    hostname: {description: Host name without its domain., type: str, returned: success}
    nodename: {description: Host name as the kernel has it., type: str, returned: success}
    memtotal_mb: {description: Memory in MiB., type: int, returned: success}
    processor_vcpus: {description: Number of processors., type: int, returned: success}
    default_ipv4: {description: Interface and address of the default route., type: dict, returned: success}
    packages: {description: "Installed packages, each a list of version and arch.", type: dict, returned: success}
    sapflux:
      description: "free_mb: MiB free by path. lockdown: what the host's lockdown remembers, empty where there is none."
      type: dict
      returned: success
"""
