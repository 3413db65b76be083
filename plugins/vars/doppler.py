# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All secrets of a config of Doppler as one variable, downloaded once per run."""

from __future__ import annotations

DOCUMENTATION = r"""
name: doppler
author: The sapflux.hosting authors (@sapflux)
version_added: 0.1.0
short_description: All secrets of a config of Doppler as one variable
description:
  - Gives all hosts one variable that maps the names of a config's secrets to their values. One mapping, so that no
    secret takes the place of another variable by its name.
  - The config is downloaded once per run of Ansible, and shared with the lookup P(sapflux.hosting.doppler#lookup) where
    that reads the same config with the same token.
  - Values are never templates, whatever they hold. Errors never hold a value.
  - It runs only where C(vars_plugins_enabled) names it.
options:
  variable:
    description: Name of the variable.
    type: str
    default: secrets
    env:
      - name: DOPPLER_VARIABLE
    ini:
      - section: doppler
        key: variable
  token:
    description:
      - Token of Doppler. A service token knows its config; every other kind needs O(project) and O(config).
      - Needed unless O(oidc_identity) is given.
    type: str
    env:
      - name: DOPPLER_TOKEN
  project:
    description: Name of the project.
    type: str
    env:
      - name: DOPPLER_PROJECT
    ini:
      - section: doppler
        key: project
  config:
    description: Name of the config.
    type: str
    env:
      - name: DOPPLER_CONFIG
    ini:
      - section: doppler
        key: config
  base_url:
    description: URL of the API.
    type: str
    default: https://api.doppler.com
    env:
      - name: DOPPLER_API_HOST
    ini:
      - section: doppler
        key: base_url
  oidc_identity:
    description: Id of an identity of a service account, which takes O(oidc_token) for a token that lives shortly.
    type: str
    env:
      - name: DOPPLER_OIDC_IDENTITY
    ini:
      - section: doppler
        key: oidc_identity
  oidc_token:
    description: The OIDC token that a CI job has of its platform.
    type: str
    env:
      - name: DOPPLER_OIDC_TOKEN
  only:
    description: Names that are asked for; others do not leave Doppler.
    type: list
    elements: str
    default: []
    env:
      - name: DOPPLER_ONLY
    ini:
      - section: doppler
        key: only
notes:
  - C(ansible-inventory) prints variables, and so these. Where that may be seen, the lookup is the better way.
  - A refusal is never answered from what was read before, and ends the run.
extends_documentation_fragment:
  - vars_plugin_staging
"""

from typing import Any

from ansible import constants
from ansible.errors import AnsibleParserError
from ansible.inventory.group import Group
from ansible.plugins.vars import BaseVarsPlugin
from ansible_collections.sapflux.hosting.plugins.module_utils._doppler import MANAGED, DopplerError
from ansible_collections.sapflux.hosting.plugins.module_utils._doppler_session import download


class VarsModule(BaseVarsPlugin):  # type: ignore[misc]
    """The vars plugin."""

    REQUIRES_ENABLED = True

    def get_vars(self, loader: Any, path: str, entities: Any) -> dict[str, Any]:
        """Answer the variable for the group `all`, nothing for anything else. Raises ``AnsibleParserError``."""
        super().get_vars(loader, path, entities)
        listed = entities if isinstance(entities, list) else [entities]
        if not any(isinstance(entity, Group) and entity.name == "all" for entity in listed):
            return {}
        options: dict[str, Any] = {**self.get_options(), "fresh": False}
        try:
            values = download(options, constants.DEFAULT_LOCAL_TMP).values
        except DopplerError as error:
            raise AnsibleParserError(str(error)) from None
        return {options["variable"]: {name: value for name, value in values.items() if name not in MANAGED}}
