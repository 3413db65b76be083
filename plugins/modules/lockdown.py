#!/usr/bin/python
# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin lockdown, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: lockdown
short_description: Close a host's public SSH port, and never its owner's way in
version_added: 0.1.0
author: The sapflux.hosting authors (@sapflux)
description:
  - Used by the role P(sapflux.hosting.firewall#role), entry point C(lockdown), which installs the program it calls.
  - First a real module is run as the admin over the tailnet address. Then a timer is started on the host that loads the
    open rules again, the locked rules are loaded into the kernel only, all connections are dropped, and the module is
    run again over the tailnet. The public port must have answered before and must not answer now, seen from here. Only
    then the timer is stopped and the locked rules become those of the next boot.
  - Whatever fails, the host is opened again, at once or by its timer, and the one error says what is open now.
  - The tasks that follow go over the tailnet, because C(ansible_host) is set for the rest of the run.
attributes:
  check_mode: {support: full, description: Makes every proof that changes nothing.}
  diff_mode: {support: full, description: Says where SSH is open.}
options:
  tailnet_host:
    description: Where this machine finds the host on the tailnet.
    type: str
    default: ""
  open_rules:
    description: The ruleset that is loaded now, and again when something fails.
    type: str
    required: true
  locked_rules:
    description: The ruleset to end with.
    type: str
    required: true
  operator_cidrs:
    description: Networks for which the host opens SSH while its tailnet is down.
    type: list
    elements: str
    required: true
  break_glass_cidrs:
    description: Networks that the locked rules let in; where there are any, the public port may go on answering here.
    type: list
    elements: str
    default: []
  wan_addresses:
    description: Public addresses to try; those of the host's interface to the outside where it is empty.
    type: list
    elements: str
    default: []
  seconds:
    description: Time of the dead-man timer.
    type: int
    default: 180
  program:
    description: The program on the host.
    type: path
    default: /usr/local/sbin/lockdown
seealso:
  - module: sapflux.hosting.preflight
"""

EXAMPLES = r"""
- name: Close SSH to the outside
  ansible.builtin.include_role:
    name: sapflux.hosting.firewall
    tasks_from: lockdown
  vars:
    sapflux_tailnet_host: web-1.tail1234.ts.net
    firewall_lockdown_cidrs: [203.0.113.0/24]
"""

RETURN = r"""
lockdown:
  description: What the host remembers.
  returned: success
  type: dict
  sample: {locked: true, since: "2026-11-25T01:02:03Z", operator: [203.0.113.0/24], break_glass: []}
"""
