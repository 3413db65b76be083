#!/usr/bin/python

# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is not as it is wanted at Hetzner Cloud, and how each difference is applied."""

from __future__ import annotations

DOCUMENTATION = r"""
module: hcloud_drift
version_added: 0.1.0
short_description: Every difference between what is wanted at Hetzner Cloud and what is there
description:
  - Reads a project in a few requests and compares it with the resources that are wanted. Changes nothing.
  - Hetzner's own modules change of a server what they can and ignore the rest in silence. Here the image, the first
    boot's cloud-init and SSH keys, and the location are told as well, each with the way to apply it.
  - Answers the arguments of the modules of C(hetzner.hcloud) that are needed; a run with nothing to do needs none.
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
  resources:
    description: What is wanted, as P(sapflux.hosting.site_hcloud#filter) makes it.
    type: dict
    required: true
  ssh:
    description:
      - Port 22 in the firewall. V(keep) takes it as it is.
      - While a server is missing it is open, for a new server is met from outside.
    type: str
    choices: [keep, open, closed]
    default: keep
  known_hosts:
    description: File that host keys are pinned in. It tells which servers have not been met yet.
    type: path
  strict:
    description: Whether to fail where what is missing cannot be made, such as a type that is not sold in the location.
    type: bool
    default: false
attributes:
  check_mode:
    description: Can run in check_mode and return changed status prediction without modifying target.
    support: full
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in check_mode), when in diff mode.
    support: full
  action_group:
    description: Use C(group/sapflux.hosting.hetzner) in C(module_defaults) to set defaults for these modules.
    support: full
    membership: [sapflux.hosting.hetzner]
notes:
  - Runs where Ansible runs; say C(delegate_to=localhost) in a play on other hosts.
"""

EXAMPLES = r"""
- name: Compare a project with a document
  sapflux.hosting.hcloud_drift:
    resources: "{{ site | sapflux.hosting.site_document | sapflux.hosting.site_hcloud }}"
  register: drift

- name: Say what a rebuild would change
  ansible.builtin.debug:
    msg: "{{ drift.differences | selectattr('apply', 'eq', 'rebuild') | map(attribute='text') }}"
"""

RETURN = r"""
differences:
  description: Every difference.
  type: list
  elements: dict
  returned: always
  contains:
    kind: {description: What it is about., type: str}
    name: {description: Its name., type: str}
    field: {description: What differs; empty where it is not there at all., type: str}
    have: {description: How it is., type: raw}
    want: {description: How it is wanted., type: raw}
    apply:
      description: How it is applied, V(provision), V(resize), V(rebuild), V(replace) or V(person).
      type: str
    how: {description: "What to do, where C(provision) is not enough.", type: str}
    text: {description: The difference as a sentence., type: str}
todo:
  description: Arguments of the modules that apply what can be applied, by step.
  type: dict
  returned: always
servers:
  description: >-
    Where the servers are; C(new) where they are missing, C(pending) where they have not been met yet. C(address) is the
    one that SSH is to be tried at.
  type: list
  elements: dict
  returned: always
there:
  description: Names of what is wanted and exists, by kind.
  type: dict
  returned: always
notes:
  description: What is good to know and no difference, such as a type that is given up.
  type: list
  elements: str
  returned: always
problems:
  description: Why what is missing cannot be made.
  type: list
  elements: str
  returned: always
ssh:
  description: Whether port 22 is V(open) or V(closed) in the firewall that is wanted.
  type: str
  returned: always
"""

import json
import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sapflux.hosting.plugins.module_utils import _known_hosts
from ansible_collections.sapflux.hosting.plugins.module_utils._hcloud import Hcloud, run
from ansible_collections.sapflux.hosting.plugins.module_utils._hcloud_plan import KINDS, Plan, compare

ARGUMENT_SPEC: dict[str, Any] = {
    "resources": {"type": "dict", "required": True},
    "ssh": {"type": "str", "choices": ["keep", "open", "closed"], "default": "keep"},
    "known_hosts": {"type": "path"},
    "strict": {"type": "bool", "default": False},
}
PARTS = ("ssh_keys", "network", "placement_group", "firewall", "primary_ips", "servers")


def look(cloud: Hcloud, wanted: dict[str, Any], ssh: str) -> Plan:
    """The plan. What Hetzner sells is asked for only where something has to be bought."""
    account = {kind: cloud.all(kind) for kind in KINDS}
    plan = compare(wanted, account, ssh)
    if plan.todo.get("new_servers") or plan.todo.get("resize") or plan.notes:
        account["server_types"] = cloud.all("server_types")
        account["images"] = cloud.all("images", {"type": "system"})
        plan = compare(wanted, account, ssh)
    return plan


def converge(module: AnsibleModule, cloud: Hcloud) -> dict[str, Any]:
    """Read, compare, tell."""
    wanted = {part: module.params["resources"].get(part) for part in PARTS}
    if not wanted["servers"]:
        return {"changed": False, "problems": [], **Plan().as_dict()}
    plan = look(cloud, wanted, module.params["ssh"])
    known = ""
    if module.params["known_hosts"] and os.path.exists(module.params["known_hosts"]):
        with open(module.params["known_hosts"], encoding="utf-8") as stream:
            known = stream.read()
    for server in plan.servers:
        server["pending"] = not server["new"] and _known_hosts.pending(known, server["name"])
        outside = server["ipv4"] or server["ipv6"]
        locked = plan.ssh == "closed" and not server["pending"]
        server["address"] = server["tailnet_host"] if locked and server["tailnet_host"] else outside
    if plan.problems and module.params["strict"]:
        module.fail_json(msg="\n".join(plan.problems), problems=plan.problems)
    result = {"changed": False, "problems": plan.problems, **plan.as_dict()}
    if plan.differences:
        result["diff"] = {"before_header": "Hetzner Cloud", "after_header": "Hetzner Cloud", **shown(plan)}
    return result


def shown(plan: Plan) -> dict[str, str]:
    """Before and after of every difference, as text."""
    names = [" ".join(filter(None, (each.kind, each.name, each.field))) for each in plan.differences]
    before = {name: each.have for name, each in zip(names, plan.differences, strict=True) if each.have is not None}
    after = {name: each.want for name, each in zip(names, plan.differences, strict=True)}
    return {key: json.dumps(value, indent=2) + "\n" for key, value in (("before", before), ("after", after))}


def main() -> None:
    run(ARGUMENT_SPEC, converge)


if __name__ == "__main__":
    main()
