#!/usr/bin/python
# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin cloudflare_ip_ranges, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cloudflare_ip_ranges
short_description: Keep a current list of the networks of Cloudflare's edge
version_added: 0.1.0
author: The sapflux.hosting authors (@sapflux)
description:
  - Runs on the controller. Asks Cloudflare for the networks of its edge and, where they differ from the list in use,
    writes them to a variables file.
  - Wherever the collection takes a list of networks, the word C(cloudflare) stands for that list; until the first
    change it is the one that ships with the collection.
  - An answer that changes too much is refused with every reason, because the list decides who may reach the web server.
    Refused are a family without networks, fewer than half of the networks kept, a network wider than /8 (IPv4) or /24
    (IPv6), one that is private or overlaps another, and more than ten new ones at once.
  - Contacts no host.
attributes:
  check_mode: {support: full, description: "Asks and judges, and writes nothing."}
  diff_mode: {support: full, description: Shows the variables file.}
options:
  path:
    description:
      - The variables file, such as C(group_vars/all/cloudflare_cidrs.yml) of the inventory. It holds nothing else.
      - Where it does not exist, the list that ships with the collection is the one in use.
    type: path
    required: true
  variable:
    description: Name of the variable in that file.
    type: str
    default: cloudflare_cidrs
  url:
    description: Where to ask. Plain http is accepted from this machine only.
    type: str
    default: https://api.cloudflare.com/client/v4/ips
  pauses:
    description: Seconds to wait before each further try.
    type: list
    elements: float
    default: [2.0, 5.0]
"""

EXAMPLES = r"""
- name: Keep the list beside the inventory
  sapflux.hosting.cloudflare_ip_ranges:
    path: "{{ inventory_dir }}/group_vars/all/cloudflare_cidrs.yml"
  run_once: true
"""

RETURN = r"""
cidrs:
  description: The networks, canonical and sorted, IPv4 first.
  returned: success
  type: list
  elements: str
added:
  description: Networks that were not in the list before.
  returned: success
  type: list
  elements: str
removed:
  description: Networks that are no longer in the list.
  returned: success
  type: list
  elements: str
"""
