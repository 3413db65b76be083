#!/usr/bin/python
# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module host_audit: judge the effective state of a host, in one call."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_audit
short_description: Judge the effective state of a host, in one call
version_added: 0.1.0
description:
  - Asks sshd, the kernel, nftables, systemd, apt, Docker, PostgreSQL and Tailscale what they really do, and judges the
    answers by more than a hundred checks. It reads no file that they were set up with where the program itself can be
    asked, and changes nothing.
  - A check passes, fails, or does not apply to this host, with the reason. One that cannot be read fails.
  - The checks are listed in C(docs/audit.md). Print the results with the filter P(sapflux.hosting.audit_screen#filter).
author: The sapflux.hosting authors (@sapflux)
attributes:
  check_mode: {support: full, description: Reads only.}
  diff_mode: {support: none, description: Nothing to show.}
options:
  admins:
    description:
      - The users that may become root. Every other user that can is a failure.
      - Without any the checks about people do not apply.
    type: list
    elements: str
    default: []
  firewall:
    description: >-
      Whether the host shall have the table of the role C(firewall). V(false) means that its absence does not count;
      when the table is there it is judged all the same.
    type: bool
    default: true
  public_tcp:
    description: TCP ports besides 443 that may be open to everybody.
    type: list
    elements: int
    default: []
  skip:
    description: Ids of checks that do not apply here by decision, each with the reason.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Judge the host
  sapflux.hosting.host_audit:
    admins: [ops]
    skip:
      container-read-only: the vendor's image writes into its own tree
  register: result
"""

RETURN = r"""
checks:
  description: Every check with its result.
  returned: always
  type: list
  elements: dict
  contains:
    id: {description: Name of the check., type: str, sample: ssh-root-login}
    area: {description: First word of the id., type: str, sample: ssh}
    title: {description: What is claimed., type: str}
    severity: {description: "V(fail), or V(note), which does not count for the exit code.", type: str}
    shows: {description: The command or file that shows it., type: str, sample: sshd -T}
    expected: {description: What is wanted., type: str}
    result: {description: "V(pass), V(fail) or V(n/a).", type: str}
    found: {description: "What was found; for V(n/a) the reason.", type: str}
summary:
  description: How many checks there are, and how many of them passed, failed, are to note and do not apply.
  returned: always
  type: dict
  sample: {checks: 130, pass: 96, fail: 1, note: 2, n/a: 31}
seconds:
  description: How long the host was asked.
  returned: always
  type: float
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sapflux.hosting.plugins.module_utils._audit import audit, summary
from ansible_collections.sapflux.hosting.plugins.module_utils._audit_checks import CHECKS
from ansible_collections.sapflux.hosting.plugins.module_utils._audit_facts import gather


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "admins": {"type": "list", "elements": "str", "default": []},
            "firewall": {"type": "bool", "default": True},
            "public_tcp": {"type": "list", "elements": "int", "default": []},
            "skip": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    unknown = sorted(set(module.params["skip"]) - {check.id for check in CHECKS})
    if unknown:
        module.fail_json(msg=f"skip names checks that do not exist: {', '.join(unknown)}; docs/audit.md lists them")
    began = time.monotonic()
    facts = gather({key: module.params[key] for key in ("admins", "firewall", "public_tcp", "skip")})
    checks = audit(CHECKS, facts)
    module.exit_json(changed=False, checks=checks, summary=summary(checks), seconds=round(time.monotonic() - began, 2))


if __name__ == "__main__":
    main()
