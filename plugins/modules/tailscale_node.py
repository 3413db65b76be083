#!/usr/bin/python
# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host's membership in a tailnet and its preferences there, in one call."""

from __future__ import annotations

DOCUMENTATION = r"""
module: tailscale_node
version_added: 0.1.0
author:
  - The sapflux.hosting authors (@sapflux)
short_description: A host's membership in a tailnet and its preferences there
description:
  - Reads the real state (C(tailscale status --json), C(tailscale debug prefs)), and changes only what differs.
  - Joins with C(tailscale up) when the node needs a login, and only then. From there on it calls only C(tailscale set),
    with the flags of the preferences that differ, so a node that has joined needs no key any more.
  - A key reaches tailscale through standard input. It is in no argument, no file and no log, also when a run is killed.
  - A node that runs is never given a key and never logged in again, for a wrong key would log it out first and then
    fail.
  - Fails, and leaves the node running, when the node has other tags than O(tags) or belongs to another O(login_server),
    and (with O(permanent)) when it has no tags or its key will expire, for then the host is lost with the key.
  - Refuses what would end the connection it came in over (logging out, O(ssh), O(shields_up)) when that is the tailnet.
attributes:
  check_mode:
    description: Predicts, and asks only.
    support: full
  diff_mode:
    description: Shows the state and the preferences that the options speak of.
    support: full
  idempotent:
    description: A second run with the same arguments changes nothing.
    support: full
options:
  state:
    description:
      - V(present) is a node that runs, as wished. A node that is down is started.
      - V(absent) logs the node out, which ends its key. What the package installed stays.
    type: str
    choices: [present, absent]
    default: present
  login_server:
    description: URL of the control server, for headscale. Without one a new node joins Tailscale's own.
    type: str
  auth_key:
    description:
      - What to join with, an auth key or the secret of an OAuth client (C(tskey-client-...)).
      - Used only when the node needs a login. A key in the play of a node that runs does no harm and has no effect.
      - The secret of an OAuth client is used with C(?ephemeral=false&preauthorized=true), unless it says otherwise
        itself, because a node that is ephemeral is deleted when the server is off for a while.
    type: str
  client_id:
    description:
      - Client id of a workload identity, to join without a stored secret. Needs O(tags) and O(id_token) or O(audience).
      - Needs tailscale 1.90 or later.
    type: str
  id_token:
    description: The token that the identity provider (GitHub Actions, for one) has issued for this run.
    type: str
  audience:
    description: Let tailscale ask the cloud that this machine runs in for a token with this audience.
    type: str
  tags:
    description:
      - Exactly the tags that the node has, such as V(tag:server). Left out, any will do.
      - With the secret of an OAuth client or a workload identity the node joins with them. With an auth key they are
        those of the key.
      - Tags of a node that runs are changed at the control server, never here.
    type: list
    elements: str
    default: []
  permanent:
    description:
      - Whether the node must stay by itself. A node without tags is refused, and so is one whose key will expire.
      - V(false) is for machines that a person sits at, or that are thrown away.
    type: bool
    default: true
  hostname:
    description: Name of the node. Empty means the host's own.
    type: str
  accept_dns:
    description: Whether the tailnet's DNS settings are taken over. They replace C(/etc/resolv.conf).
    type: bool
  accept_routes:
    description: Whether routes that other nodes offer are used.
    type: bool
  advertise_exit_node:
    description: Whether the node offers to be the way to the internet.
    type: bool
  advertise_routes:
    description: Exactly the networks that the node offers a route to.
    type: list
    elements: str
  auto_update:
    description: Whether tailscale updates itself.
    type: bool
  netfilter_mode:
    description: How much of the packet filter tailscale manages.
    type: str
    choices: ["on", nodivert, "off"]
  operator:
    description: User who may use C(tailscale) without being root; empty for nobody.
    type: str
  report_posture:
    description: Whether the control server may ask for details of the machine.
    type: bool
  shields_up:
    description: Whether everything that comes in is refused.
    type: bool
  snat_subnet_routes:
    description: Whether traffic into the networks of O(advertise_routes) takes the address of this host.
    type: bool
  ssh:
    description: Whether tailscale answers SSH on the tailnet address itself, past the host's SSH server.
    type: bool
  stateful_filtering:
    description: Whether forwarded packets must belong to a known connection.
    type: bool
  update_check:
    description: Whether tailscale looks for updates.
    type: bool
  webclient:
    description: Whether the web interface is offered on the tailnet.
    type: bool
  timeout:
    description: Seconds to wait until the node runs.
    type: int
    default: 60
notes:
  - Each preference that is left out is left alone, as well when a node joins again.
requirements:
  - tailscale 1.40 or later on the target, with its daemon running
"""

EXAMPLES = r"""
- name: On the tailnet, as a server
  sapflux.hosting.tailscale_node:
    auth_key: "{{ tailscale_auth_key | default(omit) }}"
    tags: [tag:server]
    accept_dns: false
  register: tailnet

- name: Say where the host is now
  ansible.builtin.debug:
    msg: "{{ tailnet.node.ipv4 }} {{ tailnet.node.dns_name }}"

- name: Off the tailnet
  sapflux.hosting.tailscale_node:
    state: absent
"""

RETURN = r"""
actions:
  description: What was done, or would be done in check mode, a clause each.
  type: list
  elements: str
  returned: always
  sample: [set hostname to db-1 (was db)]
node:
  description: The node as tailscaled describes it, also when the module fails.
  type: dict
  returned: always
  contains:
    backend_state:
      description: State of tailscaled, such as V(Running) or V(NeedsLogin); V(NoState) where nobody answered.
      type: str
    version:
      description: Version of tailscaled.
      type: str
    addresses:
      description: Addresses on the tailnet.
      type: list
      elements: str
    ipv4:
      description: IPv4 address on the tailnet, empty without one.
      type: str
    ipv6:
      description: IPv6 address on the tailnet, empty without one.
      type: str
    dns_name:
      description: Full name on the tailnet, without a dot at its end.
      type: str
    hostname:
      description: Name the node gives itself.
      type: str
    tags:
      description: Tags that the control server has given it.
      type: list
      elements: str
    key_expiry:
      description: When its key expires (RFC 3339), empty for never.
      type: str
    online:
      description: Whether it is connected to the control server now.
      type: bool
    health:
      description: What tailscaled complains about, a sentence each.
      type: list
      elements: str
    tailnet:
      description: Name of the tailnet.
      type: str
    login_server:
      description: URL of the control server.
      type: str
  sample:
    backend_state: Running
    addresses: [100.64.0.1, "fd7a:115c:a1e0::1"]
    ipv4: 100.64.0.1
    dns_name: db-1.tail1234.ts.net
    tags: [tag:server]
    key_expiry: ""
"""

import json
from typing import Any, Dict

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sapflux.hosting.plugins.module_utils._tailscale import Cli, TailscaleError
from ansible_collections.sapflux.hosting.plugins.module_utils._tailscale_node import Node, Outcome, Wish, parse_wish

# Secrets stand at the top: those Ansible leaves out of what it writes to the host's journal.
ARGUMENT_SPEC: Dict[str, Dict[str, Any]] = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "login_server": {"type": "str"},
    "auth_key": {"type": "str", "no_log": True},
    "client_id": {"type": "str"},
    "id_token": {"type": "str", "no_log": True},
    "audience": {"type": "str"},
    "tags": {"type": "list", "elements": "str", "default": []},
    "permanent": {"type": "bool", "default": True},
    "hostname": {"type": "str"},
    "accept_dns": {"type": "bool"},
    "accept_routes": {"type": "bool"},
    "advertise_exit_node": {"type": "bool"},
    "advertise_routes": {"type": "list", "elements": "str"},
    "auto_update": {"type": "bool"},
    "netfilter_mode": {"type": "str", "choices": ["on", "nodivert", "off"]},
    "operator": {"type": "str"},
    "report_posture": {"type": "bool"},
    "shields_up": {"type": "bool"},
    "snat_subnet_routes": {"type": "bool"},
    "ssh": {"type": "bool"},
    "stateful_filtering": {"type": "bool"},
    "update_check": {"type": "bool"},
    "webclient": {"type": "bool"},
    "timeout": {"type": "int", "default": 60},
}


def result(outcome: Outcome) -> Dict[str, Any]:
    """What every path returns."""
    return {"actions": outcome.actions, "node": outcome.status.facts(outcome.login_server)}


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec=ARGUMENT_SPEC,
        mutually_exclusive=[("auth_key", "client_id"), ("id_token", "audience")],
        required_by={"id_token": ["client_id"], "audience": ["client_id"]},
        supports_check_mode=True,
    )
    node = Node(Cli(), Wish(), check=module.check_mode)
    try:
        node = Node(Cli(), parse_wish(module.params), check=module.check_mode)
        outcome = node.present() if module.params["state"] == "present" else node.absent()
    except TailscaleError as error:
        module.fail_json(msg=str(error), **result(node.outcome))
    if outcome.warning:
        module.warn(outcome.warning)
    answer = {"changed": bool(outcome.actions), **result(outcome)}
    if module._diff and outcome.actions:
        texts = {key: json.dumps(getattr(outcome, key), indent=2, sort_keys=True) + "\n" for key in ("before", "after")}
        answer["diff"] = {**texts, "before_header": "tailscale", "after_header": "tailscale"}
    module.exit_json(**answer)


if __name__ == "__main__":
    main()
