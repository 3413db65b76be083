# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a secret goes that a cloud shows only once (private to this collection).

A sink is read before anything is asked and opened before anything is made, so that a value never finds its place
missing. Of several sinks each may be the one that still has the value: the others are written from it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
import tempfile
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence

from ansible_collections.sapflux.hosting.plugins.module_utils import _api_token
from ansible_collections.sapflux.hosting.plugins.module_utils._cloudflare import CloudflareError
from ansible_collections.sapflux.hosting.plugins.module_utils._doppler import CONFIG, Doppler, DopplerError

Values = Dict[str, str]
"""Values by field, like ``{"access_key_id": ..., "secret_access_key": ...}``."""
Keep = Callable[[Values], None]

STORE_OPTIONS: Dict[str, Any] = {
    "type": "dict",
    "options": {
        "file": {"type": "path"},
        "doppler": {
            "type": "dict",
            "options": {
                "token": {"type": "str", "required": True, "no_log": True},
                "project": {"type": "str"},
                "config": {"type": "str"},
                "base_url": {"type": "str", "default": "https://api.doppler.com"},
            },
        },
        "names": {"type": "dict", "required": True},
    },
}


class OwnFile:
    """A file of mode 0600 that holds nothing else; ``render`` and ``parse`` are its form."""

    def __init__(self, path: str, render: Callable[[Values], str], parse: Callable[[str], Values]) -> None:
        self.path, self.render, self.parse = path, render, parse
        self.name = f"file {path}"

    def read(self) -> Values:
        """What it holds, nothing where it is of another form."""
        return self.parse(_api_token.read_value(self.path))

    @contextlib.contextmanager
    def opened(self) -> Iterator[Keep]:
        """Gives a function that takes the values."""
        with _api_token.value_file(self.path) as put:
            yield lambda values: put(self.render(values))


class SecretsFile:
    """The YAML mapping that the secret store reads; ``names`` are those of the secrets, by field."""

    def __init__(self, path: str, names: Mapping[str, str]) -> None:
        self.path, self.names = os.path.realpath(os.path.expanduser(path)), names
        self.name = f"secrets file {path}"

    def read(self) -> Values:
        """The values whose names are there. Raises :class:`CloudflareError` where the file is not fit to be read."""
        held = self._all()
        return {field: held[name] for field, name in self.names.items() if name in held}

    def _all(self) -> Dict[str, str]:
        # Only where Ansible runs is there such a file, and only there is the newer Python that this takes.
        from ansible_collections.sapflux.hosting.plugins.module_utils import _secrets

        try:
            return _secrets.read_file(self.path)
        except _secrets.SecretError as error:
            raise CloudflareError(str(error)) from None

    @contextlib.contextmanager
    def opened(self) -> Iterator[Keep]:
        """Gives a function that takes the values. Comments and other lines of the file stay as they are."""
        try:
            handle, temporary = tempfile.mkstemp(dir=os.path.dirname(self.path), prefix=".secrets-")
        except OSError as error:
            raise CloudflareError(f"{self.path} cannot be written: {error.strerror}") from None

        def keep(values: Values) -> None:
            wanted = {self.names[field]: value for field, value in values.items()}
            with open(self.path, encoding="utf-8") as file:
                text = merged(file.read(), self._all(), wanted)
            os.fchmod(handle, stat.S_IMODE(os.stat(self.path).st_mode))
            os.write(handle, text.encode())
            os.fsync(handle)
            os.replace(temporary, self.path)

        try:
            yield keep
        finally:
            os.close(handle)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)


def merged(text: str, held: Mapping[str, str], wanted: Mapping[str, str]) -> str:
    """The text of a secrets file that ``held`` was read from, with ``wanted`` in it.

    Lines are replaced one by one. A file for which that does not do, because a value goes over lines, is written anew.
    """
    from ansible_collections.sapflux.hosting.plugins.module_utils import _secrets

    lines = text.splitlines()
    for name, value in wanted.items():
        line = f"{name}: {json.dumps(value)}"
        places = [index for index, old in enumerate(lines) if re.match(rf"{re.escape(name)}\s*:", old)]
        if places:
            lines[places[0]] = line
        else:
            lines.append(line)
    whole = {**held, **wanted}
    result = "\n".join(lines) + "\n"
    with contextlib.suppress(_secrets.SecretError):
        if _secrets.parse(result, "") == whole:
            return result
    return "---\n" + "".join(f"{name}: {json.dumps(value)}\n" for name, value in whole.items())


class DopplerConfig:
    """A config of Doppler; ``names`` are those of the secrets, by field."""

    def __init__(self, options: Mapping[str, Any], names: Mapping[str, str]) -> None:
        self.options, self.names = options, names
        where = [options.get(key) for key in ("project", "config") if options.get(key)]
        self.name = " ".join(["Doppler", *(str(each) for each in where)])

    def _ask(self, act: Callable[[Doppler], Any]) -> Any:
        options = self.options
        try:
            return act(
                Doppler(options["token"], options.get("project"), options.get("config"), base=options["base_url"])
            )
        except DopplerError as error:
            raise CloudflareError(str(error)) from None

    def read(self) -> Values:
        """The values whose names are there. Raises :class:`CloudflareError` where Doppler refuses."""
        held = self._ask(lambda doppler: doppler.raw())
        found = {field: (held.get(name) or {}).get("raw") for field, name in self.names.items()}
        return {field: str(value) for field, value in found.items() if value is not None}

    @contextlib.contextmanager
    def opened(self) -> Iterator[Keep]:
        """Gives a function that takes the values; they are set in one request, whole or not at all."""

        def put(doppler: Doppler, values: Values) -> None:
            doppler.hide(values.values())
            wanted = {self.names[field]: value for field, value in values.items()}
            doppler.ask("POST", f"{CONFIG}/secrets", {"secrets": wanted})

        yield lambda values: self._ask(lambda doppler: put(doppler, values))


def sinks(params: Mapping[str, Any], own: Optional[OwnFile], fields: Sequence[str]) -> List[Any]:
    """The sinks that the options ``path`` and ``store`` of a module name. Raises :class:`CloudflareError`."""
    found: List[Any] = [own] if own else []
    store = params.get("store") or {}
    names = {field: str(name) for field, name in (store.get("names") or {}).items()}
    if store and sorted(names) != sorted(fields):
        raise CloudflareError(f"store.names needs names for {' and '.join(fields)}, and for nothing else")
    odd = [name for name in names.values() if not re.fullmatch(r"[A-Z_][A-Z0-9_]*", name)]
    if odd:
        raise CloudflareError(f"{odd[0]!r} is no name of a secret: use capital letters, digits and underscores")
    if store.get("file"):
        found.append(SecretsFile(store["file"], names))
    if store.get("doppler"):
        found.append(DopplerConfig(store["doppler"], names))
    if not found:
        raise CloudflareError("nobody says where the secret goes: give path, store.file or store.doppler")
    return found


@contextlib.contextmanager
def all_opened(of: Sequence[Any]) -> Iterator[Keep]:
    """Gives a function that writes to all of ``of``, in their order."""
    with contextlib.ExitStack() as stack:
        keeps = [stack.enter_context(sink.opened()) for sink in of]

        def keep(values: Values) -> None:
            for each in keeps:
                each(values)

        yield keep
