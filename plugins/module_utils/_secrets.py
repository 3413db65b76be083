# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""References to secrets, ``${NAME}``, and the file they are kept in (private to this collection).

``${NAME}`` stands for the value as it is, ``${NAME:url}`` for the value with every character escaped that has a meaning
in a URL. Everything else, a lone ``$`` included, is literal text.
"""

from __future__ import annotations

import dataclasses
import pathlib
import re
import stat
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from ansible_collections.sapflux.hosting.plugins.module_utils._site_schema import load_yaml

_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::(url))?\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPENED = re.compile(r"\$\{[^}]*\}?")
_TOO_WIDE = stat.S_IRWXO | stat.S_IWGRP | stat.S_IXGRP | stat.S_IXUSR


class SecretError(Exception):
    """A secret is missing, or its store is not fit to be read. The message never holds a value."""


@dataclasses.dataclass(frozen=True)
class Reference:
    """One ``${name}`` in a text; ``escaped`` where it is ``${name:url}``."""

    name: str
    escaped: bool


def references(text: str) -> list[Reference]:
    """The references in ``text``, in order, doubles included."""
    return [Reference(found[1], found[2] is not None) for found in _REFERENCE.finditer(text)]


def malformed(text: str) -> list[str]:
    """Pieces of ``text`` that begin like a reference and are none, such as ``${my name}``."""
    return [found[0] for found in _OPENED.finditer(text) if not _REFERENCE.fullmatch(found[0])]


def resolve(value: Any, secrets: Mapping[str, str]) -> Any:
    """``value`` (text, or lists and mappings of it, at any depth) with its references replaced.

    Raises :class:`SecretError` naming every reference the store does not hold.
    """
    missing: set[str] = set()
    resolved = _resolve(value, secrets, missing)
    if missing:
        them = "it" if len(missing) == 1 else "them"
        names = ", ".join(sorted(missing))
        raise SecretError(f"the secret store has no {names}; add {them} where secrets.provider says")
    return resolved


def _resolve(value: Any, secrets: Mapping[str, str], missing: set[str]) -> Any:
    if isinstance(value, str):

        def replace(found: re.Match[str]) -> str:
            if found[1] not in secrets:
                missing.add(found[1])
                return ""
            secret = str(secrets[found[1]])
            return quote(secret, safe="") if found[2] else secret

        return _REFERENCE.sub(replace, value)
    if isinstance(value, Mapping):
        return {key: _resolve(item, secrets, missing) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_resolve(item, secrets, missing) for item in value]
    return value


def texts(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Every (path, text) inside ``value``."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from texts(item, f"{path}.{key}")
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from texts(item, f"{path}[{index}]")


def read_file(name: str) -> dict[str, str]:
    """The secrets of the provider ``file``: a YAML mapping of names to texts.

    Refuses a file that others than its owner and group may read (wider than 0640), because a secret in it is none.
    Raises :class:`SecretError` with the way out.
    """
    path = pathlib.Path(name).expanduser()
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & _TOO_WIDE:
            raise SecretError(f"the secrets file {path} has mode {mode:04o}, wider than 0640; run `chmod 0600 {path}`")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SecretError(
            f"there is no secrets file {path}; make it with `install -m 0600 /dev/null {path}` and write one "
            '`NAME: "value"` a line into it'
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SecretError(f"the secrets file {path} cannot be read: {reason}") from None
    return parse(text, str(path))


def parse(text: str, where: str) -> dict[str, str]:
    """The mapping a secrets file holds. Raises :class:`SecretError` naming the file, never a value."""
    import yaml

    try:
        data = load_yaml(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" at line {mark.line + 1}" if mark else ""
        # The error of the parser quotes the line, and the line is a secret.
        raise SecretError(f'the secrets file {where} is not YAML{line}; write one `NAME: "value"` a line') from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise SecretError(f'the secrets file {where} is not a mapping; write one `NAME: "value"` a line')
    bad_names = [str(key) for key in data if not isinstance(key, str) or not _NAME.fullmatch(key)]
    if bad_names:
        raise SecretError(
            f"the secrets file {where} has names that are none: {', '.join(bad_names)}; write letters, digits and _"
        )
    unquoted = [key for key, value in data.items() if not isinstance(value, str)]
    if unquoted:
        raise SecretError(
            f"the secrets file {where} has values that are not text: {', '.join(unquoted)}; put them in quotes"
        )
    return data


def load(provider: str, file: str) -> dict[str, str]:
    """All secrets of a provider. Raises :class:`SecretError`."""
    if provider != "file":
        raise SecretError(f"there is no secret provider {provider!r}; write secrets.provider: file")
    return read_file(file)
