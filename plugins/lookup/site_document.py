# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The complete document, evaluated once for all the variables a task takes from it."""

from __future__ import annotations

DOCUMENTATION = r"""
name: site_document
author: The sapflux.hosting authors (@sapflux)
version_added: 0.1.0
short_description: The document with every default filled in
description:
  - The same as the filter P(sapflux.hosting.site_document#filter) applied to the variable C(site).
  - Some fifty variables are taken from the document, and each would evaluate all of it again.
    This evaluates it once for a task.
options:
  _terms:
    description: None.
    type: list
    elements: str
"""

EXAMPLES = r"""
- name: Show the host names of all services
  ansible.builtin.debug:
    msg: "{{ lookup('sapflux.hosting.site_document').services | map(attribute='hostname') }}"
"""

RETURN = r"""
_raw:
  description: The complete document, as the only item.
  type: list
  elements: dict
"""

import dataclasses
from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible_collections.sapflux.hosting.plugins.module_utils._site_complete import complete


@dataclasses.dataclass(frozen=True, slots=True)
class _Evaluated:
    """A document with what it was made from. Holding on to those keeps them from being mistaken for later ones."""

    variables: Any
    site: Any
    document: dict[str, Any]


class LookupModule(LookupBase):  # type: ignore[misc]
    """The lookup plugin."""

    _last: _Evaluated | None = None

    def run(self, _terms: list[str], variables: dict[str, Any] | None = None, **_kwargs: Any) -> list[Any]:
        """Answer the document. Raises ``AnsibleLookupError`` where there is none."""
        if not variables or "site" not in variables:
            raise AnsibleLookupError(
                "there is no variable `site`; write the document into group_vars/all/site.yml beside your inventory"
            )
        last, site = LookupModule._last, variables["site"]
        # The very same mapping of variables belongs to one host and one task.
        if last is None or last.variables is not variables or last.site is not site:
            try:
                last = _Evaluated(variables, site, complete(self._templar.template(site)))
            except TypeError as error:
                raise AnsibleLookupError(f"{error}; write it into group_vars of your inventory") from error
            LookupModule._last = last
        return [last.document]
