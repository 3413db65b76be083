# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets of a config of Doppler, downloaded once per run."""

from __future__ import annotations

DOCUMENTATION = r"""
name: doppler
author: The sapflux.hosting authors (@sapflux)
version_added: 0.1.0
short_description: Secrets of a config of Doppler
description:
  - Reads secrets on the machine that runs Ansible, with references to others already followed.
  - Without terms it answers one mapping of all secrets of the config, with terms the values in their order.
  - A config is downloaded once per run of Ansible, whatever the number of lookups, tasks and hosts. Downloads are
    kept encrypted with the token, in the folder that Ansible makes for the run and removes at its end.
  - Values are never templates, whatever they hold. Errors name secrets and never hold a value.
options:
  _terms:
    description: Names of secrets. Without any, all are answered as one mapping.
    type: list
    elements: str
  token:
    description:
      - Token of Doppler. A service token knows its config; every other kind needs O(project) and O(config).
      - Needed unless O(oidc_identity) is given.
    type: str
    env:
      - name: DOPPLER_TOKEN
    vars:
      - name: doppler_token
  project:
    description: Name of the project.
    type: str
    env:
      - name: DOPPLER_PROJECT
    ini:
      - section: doppler
        key: project
    vars:
      - name: doppler_project
  config:
    description: Name of the config.
    type: str
    env:
      - name: DOPPLER_CONFIG
    ini:
      - section: doppler
        key: config
    vars:
      - name: doppler_config
  base_url:
    description: URL of the API.
    type: str
    default: https://api.doppler.com
    env:
      - name: DOPPLER_API_HOST
    ini:
      - section: doppler
        key: base_url
    vars:
      - name: doppler_base_url
  oidc_identity:
    description: Id of an identity of a service account, which takes O(oidc_token) for a token that lives shortly.
    type: str
    env:
      - name: DOPPLER_OIDC_IDENTITY
    ini:
      - section: doppler
        key: oidc_identity
    vars:
      - name: doppler_oidc_identity
  oidc_token:
    description: The OIDC token that a CI job has of its platform.
    type: str
    env:
      - name: DOPPLER_OIDC_TOKEN
    vars:
      - name: doppler_oidc_token
  only:
    description: Names that are asked for; others do not leave Doppler. Each such list is a download of its own.
    type: list
    elements: str
    default: []
  default:
    description: What stands for a name that the config does not have.
    type: str
  required:
    description:
      - Whether a name that the config does not have is an error. With V(false), and without O(default), it is null.
    type: bool
    default: true
  fresh:
    description:
      - Whether Doppler is asked if the config is still what this run read, like after a task that changed it. Where it
        is, no value is sent again.
    type: bool
    default: false
notes:
  - Each of O(token), O(project), O(config) and O(base_url) is known to Doppler's own command line by the same
    environment variable.
  - A refusal is never answered from what was read before.
"""

EXAMPLES = r"""
- name: All secrets, as a variable that is read only when it is needed
  ansible.builtin.debug:
    msg: "{{ secrets.keys() | list }}"
  vars:
    secrets: "{{ lookup('sapflux.hosting.doppler') }}"

- name: One secret of a config that a personal token sees
  ansible.builtin.set_fact:
    database_url: "{{ lookup('sapflux.hosting.doppler', 'DATABASE_URL', project='app', config='prd') }}"
  no_log: true

- name: One that may be missing
  ansible.builtin.debug:
    msg: "{{ lookup('sapflux.hosting.doppler', 'LOG_LEVEL', default='info') }}"
"""

RETURN = r"""
_raw:
  description: One mapping without the names that Doppler itself adds, or the values of the terms.
  type: list
  elements: raw
"""

from typing import Any

from ansible import constants
from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible_collections.sapflux.hosting.plugins.module_utils._doppler import MANAGED, DopplerError
from ansible_collections.sapflux.hosting.plugins.module_utils._doppler_session import download


class LookupModule(LookupBase):  # type: ignore[misc]
    """The lookup plugin."""

    def run(self, terms: list[str], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[Any]:
        """Answer all secrets, or those of ``terms``. Raises ``AnsibleLookupError`` naming all that are missing."""
        self.set_options(var_options=variables, direct=kwargs)
        options: dict[str, Any] = self.get_options()
        try:
            values = download(options, constants.DEFAULT_LOCAL_TMP).values
        except DopplerError as error:
            raise AnsibleLookupError(str(error)) from None
        if not terms:
            return [{name: value for name, value in values.items() if name not in MANAGED}]
        missing = [name for name in dict.fromkeys(terms) if name not in values]
        if missing and options["required"] and options["default"] is None:
            # With a filter the answer does not say which config it is of.
            where = values.get("DOPPLER_CONFIG") or options["config"] or "of the token"
            raise AnsibleLookupError(
                f"the config {where} of Doppler has no {', '.join(missing)}; set it there, or give a default"
            )
        return [values.get(name, options["default"]) for name in terms]
