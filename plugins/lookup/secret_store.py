# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets by name, from where the document says they are."""

from __future__ import annotations

DOCUMENTATION = r"""
name: secret_store
author: The sapflux.hosting authors (@sapflux)
version_added: 0.1.0
short_description: Secrets by name
description:
  - Reads secrets on the machine that runs Ansible.
  - Without terms it answers one mapping of all names, with terms the values in their order.
  - Values are never templates, whatever they hold. Errors name secrets and files and never hold a value.
  - Each source is read once per process.
options:
  _terms:
    description: Names of secrets. Without any, all are answered as one mapping.
    type: list
    elements: str
  provider:
    description:
      - V(file) reads a YAML mapping of names to texts.
      - V(doppler) asks Doppler once a run, with the token of the environment variable E(DOPPLER_TOKEN), as
        P(sapflux.hosting.doppler#lookup) does. Its other variables hold too.
    type: str
    choices: [file, doppler]
    default: file
  file:
    description:
      - Path of that file. Its mode must be 0640 or tighter. Needed with O(provider=file).
    type: str
"""

EXAMPLES = r"""
- name: All secrets, as a variable that is read only when it is needed
  ansible.builtin.debug:
    msg: "{{ secrets.keys() | list }}"
  vars:
    secrets: "{{ lookup('sapflux.hosting.secret_store', file=inventory_dir ~ '/secrets.yml') }}"
"""

RETURN = r"""
_raw:
  description: One mapping, or the values of the terms.
  type: list
  elements: raw
"""

import functools
import os
from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.loader import lookup_loader
from ansible.plugins.lookup import LookupBase
from ansible_collections.sapflux.hosting.plugins.module_utils import _secrets


@functools.lru_cache(maxsize=16)
def _load(provider: str, file: str, _stamp: tuple[int, int, int]) -> dict[str, str]:
    """One source, once per process; ``_stamp`` makes a file that was edited or opened up in between another source."""
    return _secrets.load(provider, file)


def secrets_of(provider: str, file: str) -> dict[str, str]:
    """All secrets of a source. Raises ``SecretError``."""
    try:
        status = os.stat(os.path.expanduser(file))
        stamp = (status.st_mtime_ns, status.st_size, status.st_mode)
    except OSError:
        return _secrets.load(provider, file)  # which says what is wrong, and how to put it right
    return dict(_load(provider, file, stamp))


class LookupModule(LookupBase):  # type: ignore[misc]
    """The lookup plugin."""

    def run(self, terms: list[str], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[Any]:
        """Answer all secrets, or those of ``terms``. Raises ``AnsibleLookupError`` naming all that are missing."""
        self.set_options(var_options=variables, direct=kwargs)
        if self.get_option("provider") == "doppler":
            doppler = lookup_loader.get("sapflux.hosting.doppler", loader=self._loader, templar=self._templar)
            found: list[Any] = doppler.run(terms, variables=variables)
            return found
        if not self.get_option("file"):
            raise AnsibleLookupError("the provider file needs the path of a file; write secrets.file")
        try:
            secrets = secrets_of(str(self.get_option("provider")), str(self.get_option("file")))
            if not terms:
                return [secrets]
            missing = [name for name in terms if name not in secrets]
            if missing:
                file = self.get_option("file")
                raise AnsibleLookupError(f"the secret store has no {', '.join(missing)}; add it to {file}")
            return [secrets[name] for name in terms]
        except _secrets.SecretError as error:
            raise AnsibleLookupError(str(error)) from None
