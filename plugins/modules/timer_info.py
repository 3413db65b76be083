#!/usr/bin/python
# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module timer_info: when systemd's timers run, as they say themselves."""

from __future__ import annotations

DOCUMENTATION = r"""
module: timer_info
version_added: 0.1.0
author:
  - The sapflux.hosting authors (@sapflux)
short_description: When systemd's timers run
description:
  - Returns the active timers that match a pattern, with schedule, delay, and how long their services may take.
  - A timer that will never run again is left out.
attributes:
  check_mode: {support: full, description: Reads only.}
  diff_mode: {support: none, description: Nothing to show.}
options:
  patterns:
    description: Shell patterns of timer units.
    type: list
    elements: str
    required: true
  ignore:
    description: Names of services, without their suffix, that are left out.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Ask for the timers of the stack
  sapflux.hosting.timer_info:
    patterns: [sapflux-*.timer]
"""

RETURN = r"""
timers:
  description: The timers by the name of the service they start, without its suffix.
  type: dict
  returned: always
  contains:
    schedule: {description: "Lines of OnCalendar; empty for a timer that repeats.", type: str, returned: always}
    every: {description: "Seconds between two runs of a timer that repeats, else null.", type: float, returned: always}
    delay: {description: "Seconds a run may be late by the timer's own settings.", type: float, returned: always}
    limit: {description: "Seconds a run may take, null for any.", type: float, returned: always}
tz:
  description: Time zone of the host.
  type: str
  returned: always
  sample: Europe/Zurich
"""

import os
import subprocess
from typing import List

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sapflux.hosting.plugins.module_utils import _timers


def show(units: List[str], *properties: str) -> str:
    """What systemd says about units that are loaded."""
    argv = ["systemctl", "show", f"--property={','.join(properties)}", "--", *units]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return done.stdout if units else ""


def zone(link: str = "/etc/localtime") -> str:
    """The host's time zone."""
    try:
        _head, found, name = os.readlink(link).partition("zoneinfo/")
    except OSError:
        return "UTC"
    return name if found else "UTC"


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "patterns": {"type": "list", "elements": "str", "required": True},
            "ignore": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    said = show(module.params["patterns"], *_timers.PROPERTIES)
    services = [unit["Unit"][0] for unit in _timers.blocks(said) if unit.get("Unit", [""])[0]]
    timers = _timers.parse(said, _timers.parse_limits(show(services, "Id", _timers.LIMIT)))
    for name in module.params["ignore"]:
        timers.pop(name, None)
    module.exit_json(changed=False, timers=timers, tz=zone())


if __name__ == "__main__":
    main()
