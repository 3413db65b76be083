# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's half of C(sapflux.hosting.binary): asks the host first and sends a file only when it is needed."""

from __future__ import annotations

import os
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.sapflux.hosting.plugins.module_utils._binary import ARGUMENT_SPEC, CONSTRAINTS, wanted_from
from ansible_collections.sapflux.hosting.plugins.module_utils._binary_fetch import BinaryError, digest

MODULE = "sapflux.hosting.binary"


class ActionModule(ActionBase):  # type: ignore[misc]
    """One call of the module when nothing has to be sent, else two with the transfer between them."""

    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the module's result; AnsibleActionFail for wrong options or a wrong file, before anything is sent."""
        super().run(tmp, task_vars)
        parameters = self.validate_argument_spec(ARGUMENT_SPEC, **CONSTRAINTS)[1]
        try:
            wanted = wanted_from(parameters)
        except BinaryError as error:
            raise AnsibleActionFail(str(error)) from error
        source = None
        if parameters["state"] == "present" and parameters["src"] and not parameters["remote_src"]:
            source = self._source(wanted.name, parameters["src"])
        # Options that were not given are left out, so that the module's own defaults and constraints hold.
        arguments = {key: parameters[key] for key in ARGUMENT_SPEC if parameters[key] is not None}
        try:
            result = self._execute_module(module_name=MODULE, module_args=arguments, task_vars=task_vars)
            if result.pop("_needs_file", False) and source is not None and not result.get("failed"):
                self._verify(wanted.name, source, wanted.sha256)
                if not self._task.check_mode:
                    arguments.update(src=self._send(source), remote_src=True)
                    result = self._execute_module(module_name=MODULE, module_args=arguments, task_vars=task_vars)
                    result.pop("_needs_file", None)
        finally:
            self._remove_tmp_path(self._connection._shell.tmpdir)
        # Ansible adds these to every result that has a path; ours is described by its own keys.
        unwanted = {"uid", "gid", "owner", "group", "mode", "size", "state", *([] if self._task.diff else ["diff"])}
        return {key: value for key, value in result.items() if key not in unwanted}

    def _source(self, name: str, src: str) -> str:
        """Return the file on the controller, found like that of ansible.builtin.copy."""
        try:
            found = self._find_needle("files", os.path.expanduser(src))
        except AnsibleError:
            found = os.path.expanduser(src)
        if not os.path.isfile(found):
            raise AnsibleActionFail(
                f"{name}: there is no file {src} on the controller; put it there, correct src, or set url instead."
            )
        return str(found)

    @staticmethod
    def _verify(name: str, source: str, sha256: str) -> None:
        try:
            got = digest(source)
        except OSError as error:
            raise AnsibleActionFail(f"{name}: {source} cannot be read ({error.strerror}).") from error
        if got != sha256:
            raise AnsibleActionFail(
                f"{name}: {source} has sha256 {got}, wanted is {sha256}; nothing was sent. "
                "Correct sha256 if the file is the right one, else get the right file."
            )

    def _send(self, source: str) -> str:
        """Copy the file into the task's temporary folder on the host, readable by the user the task becomes."""
        if self._connection._shell.tmpdir is None:
            self._make_tmp_path()
        folder = self._connection._shell.tmpdir
        staged = self._connection._shell.join_path(folder, "source")
        self._transfer_file(source, staged)
        self._fixup_perms2((folder, staged))
        return str(staged)
