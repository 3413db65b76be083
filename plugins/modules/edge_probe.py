#!/usr/bin/python
# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin edge_probe, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: edge_probe
short_description: Look at a host from outside, where its users are
version_added: 0.1.0
description:
  - Runs on the controller. Asks each route over TLS under its public name and tries ports that must be closed.
  - Fails with every finding at once; changes nothing.
author: The sapflux.hosting authors (@sapflux)
attributes:
  check_mode: {support: full, description: Reads only.}
  diff_mode: {support: none, description: Nothing to show.}
options:
  address:
    description: The address to connect to; the name's own by DNS where it is empty.
    type: str
    default: ""
  ca:
    description: PEM certificates to trust; the controller's own where it is empty.
    type: str
    default: ""
  routes:
    description: What to ask.
    type: list
    elements: dict
    default: []
    suboptions:
      hostname: {description: The public name., type: str, required: true}
      path: {description: The path to GET., type: str, required: true}
      status: {description: The HTTP status it must answer with., type: int, required: true}
  closed_ports:
    description: TCP ports of O(closed_address) that must not answer. Needs an address.
    type: list
    elements: int
    default: []
  closed_address:
    description:
      - The public address of the host, where O(address) is not it. A host that answers on 443 to a proxy only
        is asked over the tailnet, and its ports are tried from outside.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Look from outside
  sapflux.hosting.edge_probe:
    routes:
      - {hostname: api.example.org, path: /health, status: 200}
      - {hostname: api.example.org, path: /admin/migrate, status: 404}
"""

RETURN = r"""
asked:
  description: How many routes and ports were tried.
  returned: always
  type: int
problems:
  description: What was found, one sentence each.
  returned: always
  type: list
  elements: str
"""
