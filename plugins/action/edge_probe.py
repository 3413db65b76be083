# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look at a host from the controller, as its users do. Documented in plugins/modules/edge_probe.py."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.sapflux.hosting.plugins.module_utils._edge_probe import Route, look

SPEC = {
    "address": {"type": "str", "default": ""},
    "ca": {"type": "str", "default": ""},
    "routes": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "hostname": {"type": "str", "required": True},
            "path": {"type": "str", "required": True},
            "status": {"type": "int", "required": True},
        },
    },
    "closed_ports": {"type": "list", "elements": "int", "default": []},
    "closed_address": {"type": "str", "default": ""},
}


class ActionModule(ActionBase):  # type: ignore[misc]
    """Makes no remote call."""

    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask everything and fail with all findings at once."""
        super().run(tmp, task_vars)
        _spec, args = self.validate_argument_spec(argument_spec=SPEC)
        routes = [Route(one["hostname"], one["path"], one["status"]) for one in args["routes"]]
        problems = look(args["address"], args["ca"], routes, args["closed_ports"], args["closed_address"])
        result: dict[str, Any] = {
            "changed": False,
            "asked": len(routes) + len(args["closed_ports"]),
            "problems": problems,
        }
        if problems:
            result.update(failed=True, msg="; ".join(problems))
        return result
