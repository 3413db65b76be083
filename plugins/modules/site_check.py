#!/usr/bin/python
# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin site_check, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: site_check
short_description: Check the document before anything changes
version_added: 0.1.0
author: The sapflux.hosting authors (@sapflux)
description:
  - Runs on the controller. Checks the document against its schema and the rules between its keys,
    the secrets it refers to, and the programs it takes from this machine.
  - Reports every problem at once, with its path, the value, the reason and the way out. Secrets are never shown.
  - Where the document is in C(group_vars/all) of the inventory, problems carry the line, and keys that are there twice
    are refused.
  - Contacts no host and changes nothing.
attributes:
  check_mode: {support: full, description: Reads only.}
  diff_mode: {support: none, description: Nothing to show.}
options:
  document:
    description: The document, with its templates evaluated.
    type: raw
    required: true
  before_clouds:
    description: Whether secrets that the playbook clouds makes may be missing still.
    type: bool
    default: false
seealso:
  - module: sapflux.hosting.preflight
"""

EXAMPLES = r"""
- name: Refuse a document with mistakes, naming all of them
  sapflux.hosting.site_check:
    document: "{{ site }}"
  run_once: true
"""

RETURN = r"""
services:
  description: How many services the document has.
  returned: success
  type: int
databases:
  description: How many databases the document has.
  returned: success
  type: int
secrets:
  description: How many names the secret store has.
  returned: success
  type: int
files:
  description: Programs of this machine whose digests were compared.
  returned: success
  type: list
  elements: str
"""
