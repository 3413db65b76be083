# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters that turn the services of an application into what the compose_project module needs."""

from __future__ import annotations

import json
import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.sapflux.hosting.plugins.module_utils._compose_model import (
    ComposeError,
    packed_secrets,
    parse_services,
    project_frame,
    service_record,
)

DOCUMENTATION = r"""
name: compose_project
short_description: A hardened Compose project from a list of services
version_added: 0.1.0
author: The sapflux.hosting authors (@sapflux)
description:
  - Checks the services and renders definitions in Compose's words, in which every container is pinned by digest, bound
    to the loopback address, limited in memory and processes, without capabilities, and, unless told otherwise,
    read-only and not root. The host puts the slot (blue or green) of a release and its port in.
  - Secrets are not part of a definition; they are returned on their own for the module
    M(sapflux.hosting.compose_project), which writes them to a file only the container's user can read.
positional: _input
options:
  _input:
    description:
      - The services, each a dictionary with V(name), V(image) (by digest), V(port), V(host_port) and optionally
        V(standby_port), V(blue_green), V(health_path), V(health_timeout) (seconds), V(ready_path), V(migrate_path),
        V(migrate_irreversible), V(drain_sql), V(drain_database), V(drain_timeout), V(stop_grace), V(assets),
        V(memory_mb), V(user), V(read_only), V(tmpfs), V(env), V(secrets), V(secrets_path), V(doppler),
        V(database_socket), V(ca_file), V(extra_hosts). The role P(sapflux.hosting.app#role) describes them.
    type: list
    elements: dict
    required: true
  project:
    description: Name of the project.
    type: str
    required: true
  run_dir:
    description: Directory of memory-backed files below which the secrets of running containers lie.
    type: str
    default: /run/sapflux/app
"""

EXAMPLES = r"""
- name: Show the definitions
  ansible.builtin.debug:
    msg: "{{ (app_services | sapflux.hosting.compose_project(project='sapflux')).services }}"
"""

RETURN = r"""
_value:
  description:
    - V(compose) holds the Compose file without its services as JSON, V(services) the options of the module for each
      service, V(secrets) the secrets of all services as one opaque string.
  type: dict
"""


def compose_project(services: object, project: str, run_dir: str = "/run/sapflux/app") -> dict[str, object]:
    """{compose: frame as JSON, services: [options of the module], secrets: opaque}; errors never show a secret."""
    try:
        parsed = parse_services(services)
        frame = project_frame(str(project))
    except ComposeError as error:
        raise AnsibleFilterError(str(error)) from None
    records = [service_record(str(project), service, str(run_dir)) for service in parsed]
    return {"compose": json.dumps(frame, sort_keys=True), "services": records, "secrets": packed_secrets(parsed)}


class FilterModule:
    """Filters for the app role."""

    def filters(self) -> dict[str, t.Callable[..., object]]:
        return {"compose_project": compose_project}
