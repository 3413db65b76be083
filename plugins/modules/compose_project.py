#!/usr/bin/python
# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deploy a Compose project in one call."""

from __future__ import annotations

DOCUMENTATION = r"""
module: compose_project
short_description: Deploy a Docker Compose project as one transaction
version_added: 0.1.0
author: The sapflux.hosting authors (@sapflux)
description:
  - Brings a project to its wish in one remote call. A service that differs is started in a second slot beside the one
    that serves, asked for its health on its loopback port, migrated once for each image digest, and asked whether it is
    ready. Then the file that tells Caddy where it is changes, the routes are asked through Caddy, the old slot ends
    what it has begun, and goes.
  - Whatever fails before that last part leads back to the release that serves, by itself; the error carries the last
    lines of the new container's log. A run that is cut off at any point leaves the old release serving, and a journal
    from which the next run undoes or finishes it.
  - A service without O(services[].blue_green), and any service when there is no memory for two, is replaced while Caddy
    holds its requests.
  - Secrets lie in files that only root (below O(base_dir)) and the container's user (below O(run_dir), in memory) can
    read. A keyed hash of them is a label of the container, so that a changed secret alone makes a new release.
    C(docker inspect) shows no secret.
  - A project that is as wished costs a few questions to the engine and one request to each service.
  - Every attempt is a line in C(releases.jsonl) below O(base_dir).
options:
  state:
    description:
      - V(present) deploys.
      - V(absent) removes containers, network, unit, files and secrets. Images, volumes and the record of releases stay.
    type: str
    choices: [present, absent]
    default: present
  compose:
    description: The Compose file without services, from P(sapflux.hosting.compose_project#filter). Needed to deploy.
    type: str
    default: ""
  unit:
    description: Text of the systemd unit that brings the project up after a reboot. Needed to deploy.
    type: str
    default: ""
  services:
    description: The services as the filter P(sapflux.hosting.compose_project#filter) returns them. Needed to deploy.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the service.
        type: str
        required: true
      image:
        description: The image, pinned by digest.
        type: str
        required: true
      definition:
        description: The service's definition as JSON; part of what the keyed hash covers.
        type: str
        required: true
      uid:
        description: User id that may read the secrets.
        type: int
        required: true
      gid:
        description: Group id of the secrets file.
        type: int
        required: true
      host_port:
        description: Loopback port of the slot blue.
        type: int
        required: true
      standby_port:
        description: Loopback port of the slot green.
        type: int
        default: 0
      blue_green:
        description: Whether two releases may be up side by side.
        type: bool
        default: true
      health_path:
        description: Path that answers 2xx when the service lives.
        type: str
        required: true
      health_timeout:
        description: Seconds to wait for health, and again for readiness.
        type: int
        default: 60
      ready_path:
        description: Path that answers 2xx when the service can work; empty for none.
        type: str
        default: ""
      migrate_path:
        description: Path to which a POST runs the migrations; empty for none.
        type: str
        default: ""
      migrate_irreversible:
        description:
          - Whether this image's migration cannot be undone. So does its label C(com.sapflux.migration=irreversible).
        type: bool
        default: false
      memory_mb:
        description: Memory limit of a slot in MB.
        type: int
        default: 256
      drain_sql:
        description: Query that answers 0, f or nothing when the service has nothing under way.
        type: str
        default: ""
      drain_database:
        description: Database in which O(services[].drain_sql) is asked.
        type: str
        default: ""
      drain_timeout:
        description: Seconds that requests, and what O(services[].drain_sql) sees, may take to end.
        type: int
        default: 300
      stop_grace:
        description: Seconds between SIGTERM and SIGKILL.
        type: int
        default: 30
      database_socket:
        description: Whether it uses the host's PostgreSQL.
        type: bool
        default: false
      ca_file:
        description: File of the host with the certificate of an authority that it trusts; the container gets a copy.
        type: str
        default: ""
      assets:
        description: Directories in the image whose files are served beside those of earlier releases.
        type: list
        elements: str
        default: []
  secrets:
    description: The secrets of all services as P(sapflux.hosting.compose_project#filter) packs them; empty for none.
    type: str
    default: ""
  only_secrets:
    description: Whether nothing but the secrets of what serves is changed, whatever else the options say of it.
    type: bool
    default: false
  owner:
    description: Who deploys, for the lock and the record.
    type: str
    default: unknown
  until:
    description:
      - Stop where this hook is due, and return its name in RV(paused). Call again with O(transaction) to go on.
      - Empty goes through to the end.
    type: str
    choices: ["", before_pull, before_migrate, before_switch, after_switch]
    default: ""
  transaction:
    description: The deployment to go on with, as RV(transaction) named it; empty begins a new one.
    type: str
    default: ""
  across_irreversible:
    description: Whether a release may serve that is older than a migration which cannot be undone.
    type: bool
    default: false
  probes:
    description: Routes asked through Caddy, before anything starts (those that must be hidden) and after the switch.
    type: list
    elements: dict
    default: []
    suboptions:
      hostname:
        description: Public host name.
        type: str
        required: true
      path:
        description: Path.
        type: str
        required: true
      status:
        description: Status it must answer; V(404) for what must not be reachable.
        type: int
        required: true
  edge_address:
    description: Address at which Caddy is asked.
    type: str
    default: 127.0.0.1
  edge_port:
    description: Port at which Caddy is asked.
    type: int
    default: 443
  keep_releases:
    description: How many releases can be gone back to, the one that serves included; at least 2.
    type: int
    default: 5
  memory_reserve_mb:
    description: Memory that must be left beside two slots; else requests are held while a service is replaced.
    type: int
    default: 64
  disk_reserve_mb:
    description: Free disk without which nothing is pulled.
    type: int
    default: 1024
  watch_seconds:
    description: How long the new release must last after the switch.
    type: int
    default: 2
  restore_point:
    description: Whether a service that uses the host's PostgreSQL gets a named restore point before its migrations.
    type: bool
    default: true
extends_documentation_fragment: [sapflux.hosting._compose]
attributes:
  check_mode:
    description: Whether the module can predict without changing anything.
    support: full
  diff_mode:
    description: Whether the module shows what changes in the project's files; secrets are named, not shown.
    support: full
"""

EXAMPLES = r"""
- name: Deploy the project
  sapflux.hosting.compose_project:
    project: sapflux
    compose: "{{ rendered.compose }}"
    services: "{{ rendered.services }}"
    secrets: "{{ rendered.secrets }}"
    unit: "{{ lookup('ansible.builtin.template', 'app.service.j2') }}"
  vars:
    rendered: "{{ app_services | sapflux.hosting.compose_project(project='sapflux') }}"

- name: Remove the project
  sapflux.hosting.compose_project:
    project: sapflux
    state: absent
"""

RETURN = r"""
release:
  description: Name of the configuration that serves now, 12 hexadecimal digits; empty when absent.
  type: str
  returned: success
reasons:
  description: What differed from the wish.
  type: list
  elements: str
  returned: success
message:
  description: One sentence on what was done.
  type: str
  returned: success
migrated:
  description: Services that were migrated by this deployment.
  type: list
  elements: str
  returned: success
receipt:
  description: The line that was kept about the deployment, with the seconds of its steps; empty when nothing was done.
  type: dict
  returned: success
paused:
  description: The hook that is due now; empty when the deployment has ended.
  type: str
  returned: success
transaction:
  description: Names the deployment that waits for a hook.
  type: str
  returned: success
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._compose_deploy import Deployment, Outcome, Request
from ..module_utils._compose_host import DeployError, Layout
from ..module_utils._compose_remove import leftovers, remove
from ..module_utils._compose_seams import Seams
from ..module_utils._compose_secrets import prepared
from ..module_utils._compose_state import Settings
from ..module_utils._compose_transaction import HOOKS
from ..module_utils._compose_wish import ServiceWish, Wish, unpacked_secrets
from ..module_utils._docker_api import DockerAPI, DockerError

SERVICE_OPTIONS: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "image": {"type": "str", "required": True},
    "definition": {"type": "str", "required": True},
    "uid": {"type": "int", "required": True},
    "gid": {"type": "int", "required": True},
    "host_port": {"type": "int", "required": True},
    "standby_port": {"type": "int", "default": 0},
    "blue_green": {"type": "bool", "default": True},
    "health_path": {"type": "str", "required": True},
    "health_timeout": {"type": "int", "default": 60},
    "ready_path": {"type": "str", "default": ""},
    "migrate_path": {"type": "str", "default": ""},
    "migrate_irreversible": {"type": "bool", "default": False},
    "memory_mb": {"type": "int", "default": 256},
    "drain_sql": {"type": "str", "default": ""},
    "drain_database": {"type": "str", "default": ""},
    "drain_timeout": {"type": "int", "default": 300},
    "stop_grace": {"type": "int", "default": 30},
    "database_socket": {"type": "bool", "default": False},
    "ca_file": {"type": "str", "default": ""},
    "assets": {"type": "list", "elements": "str", "default": []},
}
PROBE_OPTIONS: dict[str, dict[str, Any]] = {
    "hostname": {"type": "str", "required": True},
    "path": {"type": "str", "required": True},
    "status": {"type": "int", "required": True},
}
SETTINGS: dict[str, dict[str, Any]] = {
    "probes": {"type": "list", "elements": "dict", "default": [], "options": PROBE_OPTIONS},
    "edge_address": {"type": "str", "default": "127.0.0.1"},
    "edge_port": {"type": "int", "default": 443},
    "keep_releases": {"type": "int", "default": 5},
    "memory_reserve_mb": {"type": "int", "default": 64},
    "disk_reserve_mb": {"type": "int", "default": 1024},
    "watch_seconds": {"type": "int", "default": 2},
    "restore_point": {"type": "bool", "default": True},
}
ARGUMENT_SPEC: dict[str, dict[str, Any]] = {
    "project": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "compose": {"type": "str", "default": ""},
    "unit": {"type": "str", "default": ""},
    "services": {"type": "list", "elements": "dict", "default": [], "options": SERVICE_OPTIONS},
    "secrets": {"type": "str", "default": "", "no_log": True},
    "only_secrets": {"type": "bool", "default": False, "no_log": False},
    "owner": {"type": "str", "default": "unknown"},
    "until": {"type": "str", "choices": ["", *HOOKS], "default": ""},
    "transaction": {"type": "str", "default": ""},
    "across_irreversible": {"type": "bool", "default": False},
    **SETTINGS,
    "base_dir": {"type": "path", "default": "/var/lib/sapflux/app"},
    "run_dir": {"type": "path", "default": "/run/sapflux/app"},
    "upstream_dir": {"type": "path", "default": "/etc/sapflux/upstreams"},
    "docker_socket": {"type": "path", "default": "/run/docker.sock"},
}


def run(deployment: Deployment, params: dict[str, Any], check_mode: bool) -> Outcome:
    """Deploy, remove, or in check mode predict; raises DeployError or DockerError."""
    if params["state"] == "absent":
        if check_mode:
            found = leftovers(deployment)
            return Outcome(bool(found), "", [f"{item} would be removed" for item in found])
        return remove(deployment)
    if check_mode:
        plan = deployment.plan(forgive_missing_engine=True)
        return Outcome(bool(plan.reasons), plan.target.release, plan.reasons, plan.diff)
    kind = "rotate" if params["only_secrets"] else "deploy"
    asked = {key: params[key] for key in ("transaction", "until", "across_irreversible")}
    return deployment.deploy(Request(params["owner"], kind, **asked))


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    params = module.params
    if params["state"] == "present" and not (params["compose"] and params["unit"] and params["services"]):
        module.fail_json(
            msg=f"Project {params['project']} has nothing to deploy: give compose, unit and services, or state: absent."
        )
    secrets = unpacked_secrets(params["secrets"])
    services = tuple(
        ServiceWish(**{**item, "assets": tuple(item["assets"])}, secrets_env=secrets.get(item["name"], ""))
        for item in params["services"]
    )
    wish = Wish(params["project"], params["compose"], params["unit"], services)
    layout = Layout(params["project"], params["base_dir"], params["run_dir"], params["upstream_dir"])
    settings = Settings(**{**{key: params[key] for key in SETTINGS}, "probes": tuple(params["probes"])})
    try:
        wish, warnings = prepared(wish, secrets, layout, module.check_mode, params["only_secrets"])
    except DeployError as error:
        module.fail_json(msg=str(error))
    for warning in warnings:
        module.warn(warning)
    deployment = Deployment(wish, layout, Seams(DockerAPI(params["docker_socket"])), settings)
    try:
        outcome = run(deployment, params, module.check_mode)
    except (DeployError, DockerError) as error:
        module.fail_json(msg=deployment.mask(str(error)))
    result: dict[str, Any] = {
        "release": outcome.release,
        "reasons": outcome.reasons,
        "message": outcome.message,
        "migrated": outcome.receipt.get("migrated", []),
        "receipt": outcome.receipt,
        "paused": outcome.paused,
        "transaction": outcome.transaction,
    }
    if module._diff:
        result["diff"] = outcome.diff
    module.exit_json(changed=outcome.changed, **result)


if __name__ == "__main__":
    main()
