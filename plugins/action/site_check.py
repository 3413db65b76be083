# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the document on the controller. No host is asked."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleLookupError
from ansible.plugins.action import ActionBase, VariableLayer
from ansible.plugins.loader import lookup_loader
from ansible_collections.sapflux.hosting.plugins.module_utils import _secrets
from ansible_collections.sapflux.hosting.plugins.module_utils import _site_validate as validation
from ansible_collections.sapflux.hosting.plugins.module_utils._site_cloudflare import made_secrets
from ansible_collections.sapflux.hosting.plugins.module_utils._site_complete import complete
from ansible_collections.sapflux.hosting.plugins.module_utils._site_schema import Problem, plain
from ansible_collections.sapflux.hosting.plugins.module_utils._site_source import locate, with_lines


def check_secrets(
    document: Any, doppler: Callable[[], dict[str, str]], made: Collection[str], before: bool
) -> tuple[list[Problem], int]:
    """Problems with the secret store and with what the document takes from it, and how many names it holds.

    Names in ``made`` may be missing ``before`` the clouds have made them.
    """
    usable, _problems = validation.usable_parts(document)
    section = usable.get("secrets") or {}
    try:
        if section.get("provider") == "doppler":
            secrets = doppler()
        elif section.get("provider") and section.get("file"):
            secrets = _secrets.load(section["provider"], section["file"])
        else:
            return [], 0
    except _secrets.SecretError as error:
        return [Problem("site.secrets.file", "", str(error), "")], 0
    except AnsibleLookupError as error:
        return [Problem("site.secrets.provider", "doppler", f"cannot be read: {error}", "")], 0
    return validation.validate_secrets(document, secrets, made, before=before), len(secrets)


class ActionModule(ActionBase):  # type: ignore[misc]
    """The action plugin."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Answer what was checked, or raise ``AnsibleActionFail`` with every problem, one a line."""
        super().run(tmp, task_vars)
        _validation, options = self.validate_argument_spec(
            argument_spec={
                "document": {"type": "raw", "required": True},
                "before_clouds": {"type": "bool", "default": False},
            }
        )
        document = plain(options["document"])
        source = locate((task_vars or {}).get("inventory_dir"))

        problems = source.doubled() if source else []
        problems += validation.validate(document)
        file_problems, files = validation.validate_files(document)
        # Which names those are can be said of a good document only.
        made = [] if problems else made_secrets(complete(document))
        secret_problems, secrets = check_secrets(
            document, lambda: self._from_doppler(task_vars or {}), made, options["before_clouds"]
        )
        problems += file_problems + secret_problems
        if problems:
            count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
            listed = "".join(f"\n  {line}" for line in with_lines(validation.tidy(problems), source))
            raise AnsibleActionFail(f"The document has {count}; nothing was changed:{listed}")

        full = complete(document)
        # The variables of the roles are taken from it, task by task; completed once, it costs none of them anything.
        # It holds references to secrets, never their values.
        self.register_host_variables({"__site": full}, VariableLayer.EPHEMERAL_FACT)
        return {
            "changed": False,
            "msg": f"the document of {full['name']} ({full['environment']}) is good",
            "services": len(full["services"]),
            "databases": len(full["postgres"]["databases"]),
            "secrets": secrets,
            "files": files,
        }

    def _from_doppler(self, variables: dict[str, Any]) -> dict[str, str]:
        """All secrets of the config; this download serves the tasks that follow.

        What clouds gave in between is in there: a run that has downloaded before asks whether that still holds.
        """
        lookup = lookup_loader.get("sapflux.hosting.doppler", loader=self._loader, templar=self._templar)
        values: dict[str, str] = lookup.run([], variables=variables, fresh=True)[0]
        return values
