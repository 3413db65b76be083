#!/usr/bin/python
# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Releases of a deployed Compose project: go back, look, lock, maintenance."""

from __future__ import annotations

DOCUMENTATION = r"""
module: compose_release
short_description: Go back to a kept release, look at what serves, lock, close for maintenance
version_added: 0.1.0
author: The sapflux.hosting authors (@sapflux)
description:
  - Works with what M(sapflux.hosting.compose_project) keeps on the host; the document is not needed.
  - A rollback is a deployment like any other, of a kept release with its environment and secrets, in the same steps.
options:
  action:
    description:
      - V(rollback) deploys the kept release that O(release) names.
      - V(abort) gives up the deployment O(transaction), which waits for a hook.
      - V(status) and V(logs) look.
      - V(lock) forbids deployments until V(unlock); nothing ever takes such a lock over.
      - V(maintenance_on) has Caddy answer 503 for the project's services, V(maintenance_off) ends that.
    type: str
    choices: [rollback, abort, status, logs, lock, unlock, maintenance_on, maintenance_off]
    default: status
  release:
    description: The release to go back to, or how an image digest of it begins; V(previous) is the one before.
    type: str
    default: previous
  across_irreversible:
    description: Whether to go back across a migration that cannot be undone.
    type: bool
    default: false
  transaction:
    description: The deployment to give up.
    type: str
    default: ""
  service:
    description: The service whose log is shown; empty for all.
    type: str
    default: ""
  lines:
    description: Number of lines of a log.
    type: int
    default: 100
  owner:
    description: Who acts, for the lock and the record.
    type: str
    default: unknown
  reason:
    description: Why, for the lock.
    type: str
    default: ""
extends_documentation_fragment: [sapflux.hosting._compose]
attributes:
  check_mode:
    description: Whether the module can predict without changing anything.
    support: none
"""

EXAMPLES = r"""
- name: Go back to the release before
  sapflux.hosting.compose_release:
    project: shop
    action: rollback

- name: Look
  sapflux.hosting.compose_release:
    project: shop
  register: found
"""

RETURN = r"""
message:
  description: One sentence on what was done.
  type: str
  returned: success
release:
  description: The release that serves now.
  type: str
  returned: success
receipt:
  description: The line that was kept about a rollback.
  type: dict
  returned: success
status:
  description: What serves, what is kept, who locks, what is under way, the newest receipts.
  type: dict
  returned: for O(action=status)
logs:
  description: The newest lines by slot, without secrets.
  type: dict
  returned: for O(action=logs)
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils import _compose_release as releases
from ..module_utils._compose_deploy import Outcome, Request
from ..module_utils._compose_host import DeployError, Layout
from ..module_utils._compose_seams import Seams
from ..module_utils._docker_api import DockerAPI, DockerError

ARGUMENT_SPEC: dict[str, dict[str, Any]] = {
    "project": {"type": "str", "required": True},
    "action": {
        "type": "str",
        "choices": ["rollback", "abort", "status", "logs", "lock", "unlock", "maintenance_on", "maintenance_off"],
        "default": "status",
    },
    "release": {"type": "str", "default": "previous"},
    "across_irreversible": {"type": "bool", "default": False},
    "transaction": {"type": "str", "default": ""},
    "service": {"type": "str", "default": ""},
    "lines": {"type": "int", "default": 100},
    "owner": {"type": "str", "default": "unknown"},
    "reason": {"type": "str", "default": ""},
    "base_dir": {"type": "path", "default": "/var/lib/sapflux/app"},
    "run_dir": {"type": "path", "default": "/run/sapflux/app"},
    "upstream_dir": {"type": "path", "default": "/etc/sapflux/upstreams"},
    "docker_socket": {"type": "path", "default": "/run/docker.sock"},
}


def act(layout: Layout, seams: Seams, params: dict[str, Any]) -> Outcome:
    """Do what changes something; raises DeployError or DockerError."""
    action, owner = params["action"], params["owner"]
    if action == "rollback":
        request = Request(owner, across_irreversible=params["across_irreversible"])
        return releases.rollback(layout, seams, params["release"], request)
    if action == "abort":
        return releases.abort(layout, seams, params["transaction"], params["reason"])
    if action == "lock":
        return releases.lock(layout, seams, owner, params["reason"])
    if action == "unlock":
        return releases.unlock(layout)
    return releases.maintenance(layout, seams, action == "maintenance_on")


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC)
    params = module.params
    layout = Layout(params["project"], params["base_dir"], params["run_dir"], params["upstream_dir"])
    seams = Seams(DockerAPI(params["docker_socket"]))
    try:
        if params["action"] == "status":
            found = releases.status(layout, seams)
            module.exit_json(changed=False, message="", release=found["release"], receipt={}, status=found)
        if params["action"] == "logs":
            shown = releases.logs(layout, seams, params["service"], params["lines"])
            module.exit_json(changed=False, message="", release="", receipt={}, logs=shown)
        done = act(layout, seams, params)
    except (DeployError, DockerError) as error:
        # Errors of the collection hold no secret: they are masked where they are made.
        module.fail_json(msg=str(error))
    module.exit_json(changed=done.changed, message=done.message, release=done.release, receipt=done.receipt)


if __name__ == "__main__":
    main()
