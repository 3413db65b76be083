#!/usr/bin/python
# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deploy a Compose project in one call."""

from __future__ import annotations

DOCUMENTATION = r"""
module: compose_project
short_description: Deploy a Docker Compose project in one call
version_added: 0.1.0
author: The sapflux.hosting authors (@sapflux)
description:
  - Brings a project to its wish in one remote call. Missing images are pulled by digest before anything that runs is
    touched, then the files are installed and the containers brought up. Each service is asked for its health on its
    loopback port, migrated once for each image digest, and asked whether it is ready.
  - When a step fails, the release that passed last is put back, and the error carries the last lines of the container's
    log.
  - Secrets lie in files that only root (below O(base_dir)) and the container's user (below O(run_dir), in memory) can
    read. A keyed hash of them is a label of the container, so that a changed secret alone makes a new container.
    C(docker inspect) shows no secret.
  - A project that is as wished costs a few questions to the engine and one request to each service.
  - Every attempt is a line in C(releases.jsonl) below O(base_dir).
options:
  project:
    description: Name of the project.
    type: str
    required: true
  state:
    description:
      - V(present) deploys.
      - V(absent) removes containers, network, unit, files and secrets. Images, volumes and the record of releases stay.
    type: str
    choices: [present, absent]
    default: present
  compose:
    description: The Compose file as P(sapflux.hosting.compose_project#filter) renders it. Required to deploy.
    type: str
    default: ""
  unit:
    description: Text of the systemd unit that brings the project up after a reboot. Required to deploy.
    type: str
    default: ""
  services:
    description: The services as the filter P(sapflux.hosting.compose_project#filter) returns them. Required to deploy.
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
        description: Loopback port on which the service answers.
        type: int
        required: true
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
  secrets:
    description: The secrets of all services as P(sapflux.hosting.compose_project#filter) packs them; empty for none.
    type: str
    default: ""
  base_dir:
    description: Directory of the projects' files.
    type: path
    default: /var/lib/sapflux/app
  run_dir:
    description: Directory, in memory, of the secrets that containers read.
    type: path
    default: /run/sapflux/app
  docker_socket:
    description: Socket of the Docker engine.
    type: path
    default: /run/docker.sock
requirements:
  - Docker engine with the Compose plugin on the target, for O(state=present).
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
  description: Name of the configuration that runs now, 12 hexadecimal digits; empty when absent or only predicted.
  type: str
  returned: success
reasons:
  description: What differed from the wish.
  type: list
  elements: str
  returned: success
migrated:
  description: Services that were migrated by this call.
  type: list
  elements: str
  returned: success
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._compose_deploy import Deployment, Outcome
from ..module_utils._compose_host import DeployError, Layout, ServiceWish, Wish, unpacked_secrets
from ..module_utils._compose_remove import leftovers, remove
from ..module_utils._compose_seams import Seams
from ..module_utils._docker_api import DockerAPI, DockerError

SERVICE_OPTIONS: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "image": {"type": "str", "required": True},
    "definition": {"type": "str", "required": True},
    "uid": {"type": "int", "required": True},
    "gid": {"type": "int", "required": True},
    "host_port": {"type": "int", "required": True},
    "health_path": {"type": "str", "required": True},
    "health_timeout": {"type": "int", "default": 60},
    "ready_path": {"type": "str", "default": ""},
    "migrate_path": {"type": "str", "default": ""},
}
ARGUMENT_SPEC: dict[str, dict[str, Any]] = {
    "project": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "compose": {"type": "str", "default": ""},
    "unit": {"type": "str", "default": ""},
    "services": {"type": "list", "elements": "dict", "default": [], "options": SERVICE_OPTIONS},
    "secrets": {"type": "str", "default": "", "no_log": True},
    "base_dir": {"type": "path", "default": "/var/lib/sapflux/app"},
    "run_dir": {"type": "path", "default": "/run/sapflux/app"},
    "docker_socket": {"type": "path", "default": "/run/docker.sock"},
}


def run(deployment: Deployment, absent: bool, check_mode: bool) -> Outcome:
    """Deploy, remove, or in check mode predict; raises DeployError or DockerError."""
    if absent:
        if check_mode:
            found = leftovers(deployment)
            return Outcome(bool(found), "", [f"{item} would be removed" for item in found], [])
        return remove(deployment)
    if check_mode:
        plan = deployment.plan(forgive_missing_engine=True)
        return Outcome(bool(plan.reasons), "", plan.reasons, plan.diff)
    return deployment.deploy()


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    params = module.params
    if params["state"] == "present" and not (params["compose"] and params["unit"] and params["services"]):
        module.fail_json(
            msg=f"Project {params['project']} has nothing to deploy: give compose, unit and services, or state: absent."
        )
    secrets = unpacked_secrets(params["secrets"])
    services = tuple(ServiceWish(**item, secrets_env=secrets.get(item["name"], "")) for item in params["services"])
    wish = Wish(params["project"], params["compose"], params["unit"], services)
    layout = Layout(params["project"], params["base_dir"], params["run_dir"])
    deployment = Deployment(wish, layout, Seams(DockerAPI(params["docker_socket"])))
    try:
        outcome = run(deployment, params["state"] == "absent", module.check_mode)
    except (DeployError, DockerError) as error:
        module.fail_json(msg=deployment.mask(str(error)))
    result: dict[str, Any] = {"release": outcome.release, "reasons": outcome.reasons, "migrated": outcome.migrated}
    if module._diff:
        result["diff"] = outcome.diff
    module.exit_json(changed=outcome.changed, **result)


if __name__ == "__main__":
    main()
