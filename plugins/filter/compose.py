# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters that turn the services of an application into what the compose_project module needs."""

from __future__ import annotations

import typing as t

import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.sapflux.hosting.plugins.module_utils._compose_model import (
    ComposeError,
    packed_secrets,
    parse_services,
    project_document,
    service_record,
)

DOCUMENTATION = r"""
name: compose_project
short_description: A hardened Compose project from a list of services
version_added: 0.1.0
author: The sapflux.hosting authors (@sapflux)
description:
  - Checks the services and renders a Compose file in which every container is pinned by digest, bound to the loopback
    address, limited in memory and processes, without capabilities, and, unless told otherwise, read-only and not root.
  - Secrets are not part of the Compose file; they are returned on their own for the module
    M(sapflux.hosting.compose_project), which writes them to a file only the container's user can read.
positional: _input
options:
  _input:
    description:
      - The services, each a dictionary with V(name), V(image) (by digest), V(port), V(host_port) and optionally
        V(health_path), V(health_timeout) (seconds), V(ready_path), V(migrate_path), V(memory_mb), V(user),
        V(read_only), V(tmpfs), V(env), V(secrets), V(secrets_path), V(database_socket), V(extra_hosts).
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
- name: Show the Compose file
  ansible.builtin.debug:
    msg: "{{ (app_services | sapflux.hosting.compose_project(project='sapflux')).compose }}"
"""

RETURN = r"""
_value:
  description:
    - V(compose) holds the Compose file as text, V(services) the options of the module for each service, V(secrets) the
      secrets of all services as one opaque string.
  type: dict
"""


class _PlainDumper(yaml.SafeDumper):
    """No anchors: `&id001` in a file that people read helps nobody."""

    def ignore_aliases(self, data: t.Any) -> bool:  # noqa: ARG002 - the signature is PyYAML's
        return True


def compose_project(services: object, project: str, run_dir: str = "/run/sapflux/app") -> dict[str, object]:
    """{compose: YAML text, services: [options of the module], secrets: opaque}; errors never show a secret's value."""
    try:
        parsed = parse_services(services)
        document = project_document(str(project), parsed, str(run_dir))
    except ComposeError as error:
        raise AnsibleFilterError(str(error)) from None
    text = yaml.dump(_plain(document), Dumper=_PlainDumper, sort_keys=False, default_flow_style=False, width=160)
    records = [service_record(str(project), service, str(run_dir)) for service in parsed]
    return {"compose": text, "services": records, "secrets": packed_secrets(parsed)}


def _plain(value: object) -> object:
    """The same data in Python's own types; the dumper does not know subclasses of str."""
    if isinstance(value, str):
        return "".join(value)
    if isinstance(value, dict):
        return {"".join(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


class FilterModule:
    """Filters for the app role."""

    def filters(self) -> dict[str, t.Callable[..., object]]:
        return {"compose_project": compose_project}
