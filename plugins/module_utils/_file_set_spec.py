# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a caller may ask of C(file_set): the argument spec, its records, and every rule that needs no host to check.

The action plugin uses this file on the controller and the module uses it on the target, so it needs nothing but the
standard library of Python 3.9.
"""

from __future__ import annotations

import base64
import json
import os
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

STATE_DIR = "/var/lib/sapflux/file_set"
MAX_CONTENT = 16 * 1024 * 1024
"""Bytes one set may carry. They travel inside the module's arguments; a program belongs into
C(sapflux.hosting.binary)."""

_NAME = re.compile(r"[a-z0-9_-]+\Z")
_MODE = re.compile(r"0?[0-7]{3,4}\Z")
_UNIT = re.compile(r"[A-Za-z0-9:_.@\\-]+\.(service|socket|timer|path|mount|automount|swap|target|slice|scope)\Z")

ARGUMENT_SPEC: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "default": "present", "choices": ["present", "absent"]},
    "state_dir": {"type": "path", "default": STATE_DIR},
    "directories": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "path": {"type": "str", "required": True},
            "owner": {"type": "str", "default": "root"},
            "group": {"type": "str", "default": "root"},
            "mode": {"type": "str", "default": "0755"},
            "state": {"type": "str", "default": "present", "choices": ["present", "absent"]},
        },
    },
    "files": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "path": {"type": "str", "required": True},
            "template": {"type": "str"},
            "content": {"type": "str", "no_log": True},
            "source": {"type": "str"},
            "vars": {"type": "dict", "default": {}},
            "owner": {"type": "str", "default": "root"},
            "group": {"type": "str", "default": "root"},
            "mode": {"type": "str", "default": "0644"},
            "secret": {"type": "bool", "default": False, "no_log": False},
            "state": {"type": "str", "default": "present", "choices": ["present", "absent"]},
        },
    },
    "validate": {"type": "list", "elements": "list", "default": []},
    "validate_user": {"type": "str"},
    "check_installed": {"type": "list", "elements": "list", "default": []},
    "check_user": {"type": "str"},
    "commands": {"type": "list", "elements": "list", "default": []},
    "units": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": {"type": "str", "required": True},
            "enabled": {"type": "bool"},
            "state": {"type": "str", "choices": ["started", "stopped"]},
            "on_change": {
                "type": "str",
                "default": "none",
                "choices": ["none", "reload", "restart", "reload_or_restart"],
            },
            "watch": {"type": "list", "elements": "str", "default": []},
        },
    },
    "probe": {"type": "list", "elements": "list", "default": []},
    "probe_timeout": {"type": "int", "default": 30},
    "report": {"type": "list", "elements": "list", "default": []},
    "exclusive": {"type": "bool", "default": False},
    "payload": {"type": "str", "no_log": True},
}

COMMAND_LISTS = ("validate", "check_installed", "commands", "probe", "report")
SOURCES = ("template", "content", "source")


class FileSetError(Exception):
    """What went wrong and the way out, in one sentence; output of tools may follow on lines of its own. Holds no
    secret. C(units): the units whose journal tells more."""

    def __init__(self, message: str, units: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.units = tuple(units)


@dataclass(frozen=True)
class DirectorySpec:
    """One directory. C(mode) is the number, C(owner)/C(group) are names or decimal ids."""

    path: str
    owner: str = "root"
    group: str = "root"
    mode: int = 0o755
    absent: bool = False


@dataclass(frozen=True)
class FileEntry:
    """One file. C(content) is None when the file shall not exist."""

    path: str
    owner: str = "root"
    group: str = "root"
    mode: int = 0o644
    secret: bool = False
    content: bytes | None = None


@dataclass(frozen=True)
class UnitSpec:
    """One systemd unit. C(enabled)/C(state) are None where the caller has no opinion."""

    name: str
    enabled: bool | None = None
    state: str | None = None
    on_change: str = "none"
    watch: tuple[str, ...] = ()


@dataclass(frozen=True)
class SetSpec:
    """The whole wish: everything one call is about."""

    name: str
    absent: bool = False
    state_dir: str = STATE_DIR
    directories: tuple[DirectorySpec, ...] = ()
    files: tuple[FileEntry, ...] = ()
    validate: tuple[tuple[str, ...], ...] = ()
    validate_user: str | None = None
    check_installed: tuple[tuple[str, ...], ...] = ()
    check_user: str | None = None
    commands: tuple[tuple[str, ...], ...] = ()
    units: tuple[UnitSpec, ...] = ()
    probe: tuple[tuple[str, ...], ...] = ()
    probe_timeout: int = 30
    report: tuple[tuple[str, ...], ...] = ()
    exclusive: bool = False

    def without_leftovers(self, files: Iterable[str], directories: Iterable[str]) -> SetSpec:
        """With C(exclusive): also wish away what earlier runs made (these paths) and this one does not list."""
        if not self.exclusive:
            return self
        listed = {entry.path for entry in self.files}
        kept = {entry.path for entry in self.directories}
        return replace(
            self,
            files=(*self.files, *(FileEntry(path) for path in sorted(set(files) - listed))),
            directories=(
                *self.directories,
                *(DirectorySpec(path, absent=True) for path in sorted(set(directories) - kept)),
            ),
        )


def pack(contents: Mapping[str, bytes]) -> str:
    """Return file contents as one opaque string: base64 of zlib of a JSON header line and the raw bytes one after
    the other.

    One string because Ansible masks values of C(no_log) options by searching for them: one long value hides
    everything and never hits an innocent word in the result.
    """
    header = json.dumps([[path, len(data)] for path, data in contents.items()]).encode("ascii")
    return base64.b64encode(zlib.compress(header + b"\n" + b"".join(contents.values()))).decode("ascii")


def unpack(payload: str | None) -> dict[str, bytes]:
    """Undo C(pack); an empty payload is an empty set. A damaged one raises C(FileSetError)."""
    if not payload:
        return {}
    try:
        raw = zlib.decompress(base64.b64decode(payload, validate=True))
        header, _newline, body = raw.partition(b"\n")
        contents: dict[str, bytes] = {}
        offset = 0
        for path, size in json.loads(header):
            contents[path] = body[offset : offset + size]
            offset += size
    except (ValueError, TypeError, zlib.error):
        raise FileSetError(
            "The payload of file_set is damaged: use the action sapflux.hosting.file_set, which builds it."
        ) from None
    if offset != len(body):
        raise FileSetError("The payload of file_set is cut short: run the task again.")
    return contents


def clean_path(path: str) -> str:
    """Return C(path) without a slash at its end and without doubled slashes (C(//etc/x) -> C(/etc/x))."""
    return "/" + "/".join(part for part in path.split("/") if part not in ("", "."))


def _path_problem(what: str, path: str, state_dir: str) -> str | None:
    if not path.startswith("/"):
        return f"{what} {path!r} is not an absolute path"
    if ".." in path.split("/"):
        return f"{what} {path!r} contains '..'"
    if "\0" in path or "\n" in path:
        return f"{what} {path!r} contains a control character"
    clean = clean_path(path)
    if clean == "/":
        return f"{what} '/' cannot be managed"
    if clean == state_dir or clean.startswith(state_dir + "/"):
        return f"{what} {path!r} lies inside file_set's own state directory {state_dir}"
    return None


def _mode_problem(what: str, entry: Mapping[str, Any]) -> str | None:
    mode = entry.get("mode")
    if mode is None or (isinstance(mode, str) and _MODE.match(mode)):
        return None
    return f'{what} {entry.get("path")!r} has the mode {mode!r}, which must be a quoted octal string like "0640"'


def _entries(params: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    value = params.get(key) or []
    return [entry for entry in value if isinstance(entry, Mapping)] if isinstance(value, list) else []


def _file_problems(params: Mapping[str, Any], state_dir: str) -> Iterable[str]:
    seen: dict[str, str] = {}
    present_files: set[str] = set()
    for kind, key in (("directory", "directories"), ("file", "files")):
        for entry in _entries(params, key):
            path = entry.get("path")
            if not isinstance(path, str):
                yield f"a {kind} has no path"
                continue
            problem = _path_problem(kind, path, state_dir)
            if problem:
                yield problem
                continue
            problem = _mode_problem(kind, entry)
            if problem:
                yield problem
            clean = clean_path(path)
            if clean in seen:
                yield f"{clean!r} is listed twice (as {seen[clean]} and as {kind})"
            seen[clean] = kind
            if kind == "file" and entry.get("state", "present") != "absent":
                present_files.add(clean)
    for path in seen:
        parent = os.path.dirname(path)
        while parent != "/":
            if parent in present_files:
                yield f"{path!r} lies below {parent!r}, which is a file of the same set"
            parent = os.path.dirname(parent)


def _source_problems(params: Mapping[str, Any]) -> Iterable[str]:
    absent = params.get("state") == "absent"
    for entry in _entries(params, "files"):
        given = [name for name in SOURCES if entry.get(name) is not None]
        path = entry.get("path")
        if entry.get("state", "present") == "absent":
            if given:
                yield f"file {path!r} has state absent and also {given[0]}: give one of them"
        elif len(given) > 1 or (not given and not absent):
            found = " and ".join(given) if given else "none"
            yield f"file {path!r} needs exactly one of template, content and source (found {found})"
        content = entry.get("content")
        if content is not None and not isinstance(content, str):
            kind = type(content).__name__
            yield f"the content of file {path!r} is a {kind}, not a string: pass it through | string or | to_json"


def _unit_problems(params: Mapping[str, Any]) -> Iterable[str]:
    names: set[str] = set()
    for unit in _entries(params, "units"):
        name = unit.get("name")
        if not isinstance(name, str) or not _UNIT.match(name):
            yield f"unit {name!r} must be named in full, like caddy.service"
            continue
        if "@." in name:
            yield f"unit {name!r} is a template: name its instance, like postgresql@17-main.service"
        if name in names:
            yield f"unit {name!r} is listed twice"
        names.add(name)


def _command_problems(params: Mapping[str, Any]) -> Iterable[str]:
    for key in COMMAND_LISTS:
        value = params.get(key) or []
        if not isinstance(value, list):
            yield f"{key} must be a list of argument lists, like [[caddy, version]]"
            continue
        for argv in value:
            if (
                not isinstance(argv, list)
                or not argv
                or not all(isinstance(word, (str, int)) and word is not True for word in argv)
            ):
                yield f"{key} holds {argv!r}, which must be a list of strings, like [caddy, version]"
            elif "\0" in "".join(str(word) for word in argv):
                yield f"{key} holds a command with a NUL character"


def problems(params: Mapping[str, Any]) -> list[str]:
    """Return everything wrong with task arguments, one clause each; [] when nothing is.

    C(params) may be raw (as written in the task) or validated. All rules are checked, so that a person mends them in
    one go.
    """
    found: list[str] = []
    name = params.get("name")
    if not isinstance(name, str) or not _NAME.match(name):
        found.append(f"name {name!r} may hold only a-z, 0-9, _ and -")
    state_dir = params.get("state_dir") or STATE_DIR
    if not isinstance(state_dir, str) or not state_dir.startswith("/") or ".." in state_dir.split("/"):
        found.append(f"state_dir {state_dir!r} is not an absolute path")
        state_dir = STATE_DIR
    found.extend(_file_problems(params, clean_path(state_dir)))
    found.extend(_source_problems(params))
    found.extend(_unit_problems(params))
    found.extend(_command_problems(params))
    return found


def refuse(name: object, found: Sequence[str]) -> None:
    """Raise one C(FileSetError) that names every problem; do nothing for an empty list."""
    if found:
        raise FileSetError(f"file_set {name}: " + "; ".join(found) + ".")


def _argvs(value: Iterable[Iterable[Any]]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(str(word) for word in argv) for argv in value)


def parse(params: Mapping[str, Any], contents: Mapping[str, bytes]) -> SetSpec:
    """Build the records from validated arguments and the unpacked payload (path as written -> bytes).

    Raises C(FileSetError) for anything C(problems) finds and for a present file without content.
    """
    # The sources were resolved into the payload on the controller; here a file has content or it has not.
    found = [text for text in problems(params) if "exactly one of template" not in text]
    absent_set = params["state"] == "absent"
    files = []
    for entry in params["files"]:
        content = contents.get(entry["path"])
        if entry["state"] == "absent" or absent_set:
            content = None
        elif content is None:
            found.append(f"file {entry['path']!r} came without content: use the action sapflux.hosting.file_set")
        files.append((entry, content))
    refuse(params["name"], found)
    return SetSpec(
        name=params["name"],
        absent=absent_set,
        state_dir=clean_path(params["state_dir"]),
        directories=tuple(
            DirectorySpec(clean_path(d["path"]), d["owner"], d["group"], int(d["mode"], 8), d["state"] == "absent")
            for d in params["directories"]
        ),
        files=tuple(
            FileEntry(clean_path(f["path"]), f["owner"], f["group"], int(f["mode"], 8), bool(f["secret"]), content)
            for f, content in files
        ),
        validate=_argvs(params["validate"]),
        validate_user=params["validate_user"],
        check_installed=_argvs(params["check_installed"]),
        check_user=params["check_user"],
        commands=_argvs(params["commands"]),
        units=tuple(
            UnitSpec(u["name"], u["enabled"], u["state"], u["on_change"], tuple(u["watch"] or ()))
            for u in params["units"]
        ),
        probe=_argvs(params["probe"]),
        probe_timeout=params["probe_timeout"],
        report=_argvs(params["report"]),
        exclusive=params["exclusive"],
    )
