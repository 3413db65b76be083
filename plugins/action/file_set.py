# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of C(sapflux.hosting.file_set): render and read every file here, then make one call to the
host."""

from __future__ import annotations

import os
from typing import Any

from ansible._internal._templating import _template_vars
from ansible.errors import AnsibleActionFail, AnsibleError, AnsibleFileNotFound, AnsibleUndefinedVariable
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase
from ansible.template import trust_as_template
from ansible_collections.sapflux.hosting.plugins.module_utils._file_set_spec import (
    ARGUMENT_SPEC,
    MAX_CONTENT,
    SOURCES,
    FileSetError,
    pack,
    problems,
    refuse,
)


def _given(value: Any) -> Any:
    """Return ``value`` without the options that nobody gave, at any depth."""
    if isinstance(value, dict):
        return {key: _given(one) for key, one in value.items() if one is not None}
    return [_given(one) for one in value] if isinstance(value, list) else value


class ActionModule(ActionBase):  # type: ignore[misc]
    """Fills C(payload) from template, content and source, and runs the module once."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the module's result. Raises C(AnsibleActionFail) before anything is sent when something is wrong
        here."""
        super().run(tmp, task_vars)
        variables: dict[str, Any] = task_vars or {}
        args = self._checked_args()
        contents: dict[str, bytes] = {}
        for entry in args["files"]:
            if args["state"] == "present" and entry["state"] == "present":
                contents[entry["path"]] = self._content(entry, variables)
            for key in (*SOURCES, "vars"):
                entry.pop(key, None)
        total = sum(len(data) for data in contents.values())
        if total > MAX_CONTENT:
            raise AnsibleActionFail(
                f"file_set {args['name']}: the files hold {total} bytes, more than the {MAX_CONTENT} of one set: "
                "install programs with sapflux.hosting.binary."
            )
        args["payload"] = pack(contents)
        # The host validates again, and takes an option that is None for one that was given.
        args = _given(args)
        try:
            result: dict[str, Any] = self._execute_module(
                module_name="sapflux.hosting.file_set", module_args=args, task_vars=variables
            )
        finally:
            self._remove_tmp_path(self._connection._shell.tmpdir)
        return result

    def _checked_args(self) -> dict[str, Any]:
        """Return the task's arguments with defaults filled in; raises with every fault found in them."""
        raw = dict(self._task.args)
        if raw.pop("payload", None) is not None:
            raise AnsibleActionFail("file_set: payload is filled in by the action; give files instead.")
        # Before validation, which would turn a mode of 0640 (the number 416) into the text "416" without a word.
        try:
            refuse(raw.get("name"), problems(raw))
        except FileSetError as error:
            raise AnsibleActionFail(str(error)) from None
        checked = ArgumentSpecValidator(ARGUMENT_SPEC).validate(raw)
        if checked.error_messages:
            raise AnsibleActionFail(f"file_set {raw.get('name')}: {'; '.join(checked.error_messages)}.")
        args: dict[str, Any] = checked.validated_parameters
        args.pop("payload", None)
        return args

    def _content(self, entry: dict[str, Any], variables: dict[str, Any]) -> bytes:
        """Return the bytes of one present file."""
        if entry["content"] is not None:
            return str(entry["content"]).encode("utf-8", "surrogateescape")
        if entry["source"] is not None:
            return self._read(self._find("files", "source", entry["source"], entry["path"]))
        return self._render(entry, variables)

    def _find(self, folder: str, what: str, name: str, path: str) -> str:
        try:
            found: str = self._find_needle(folder, name)
        except AnsibleFileNotFound as error:
            searched = ", ".join(str(place) for place in error.paths or [name])
            raise AnsibleActionFail(f"The {what} {name} of {path} does not exist; searched: {searched}.") from None
        if not os.path.isfile(found):
            raise AnsibleActionFail(f"The {what} {name} of {path} is not a file: {found}.")
        return found

    def _read(self, path: str) -> bytes:
        # Vault-encrypted files are decrypted into a private temporary file, as the copy action does.
        real = self._loader.get_real_file(path)
        try:
            with open(real, "rb") as handle:
                return handle.read()
        finally:
            self._loader.cleanup_tmp_file(real)

    def _render(self, entry: dict[str, Any], variables: dict[str, Any]) -> bytes:
        """Render a template the way ansible.builtin.template does."""
        source = self._find("templates", "template", entry["template"], entry["path"])
        text = trust_as_template(self._loader.get_text_file_contents(source))
        places = [*self._task.get_search_path(), self._loader.get_basedir(), os.path.dirname(source)]
        scope = {
            **variables,
            **_template_vars.generate_ansible_template_vars(
                path=entry["template"],
                fullpath=source,
                dest_path=entry["path"],
                include_ansible_managed="ansible_managed" not in variables,
            ),
            **entry["vars"],
        }
        templar = self._templar.copy_with_new_env(
            searchpath=[path for place in places for path in (os.path.join(place, "templates"), place)],
            available_variables=scope,
        )
        overrides = {"trim_blocks": True, "lstrip_blocks": False, "newline_sequence": "\n"}
        try:
            rendered = templar.template(text, escape_backslashes=False, overrides=overrides)
        except AnsibleError as error:
            headline = f"The template {entry['template']} of {entry['path']} cannot be rendered"
            if entry["secret"] and not isinstance(error, AnsibleUndefinedVariable):
                # The message of a filter often quotes the value it choked on.
                raise AnsibleActionFail(
                    f"{headline} ({type(error).__name__}; the details are hidden: it is secret)."
                ) from None
            raise AnsibleActionFail(headline) from error
        return ("" if rendered is None else str(rendered)).encode("utf-8", "surrogateescape")
