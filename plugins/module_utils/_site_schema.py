# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The shape of the document ``site``: types, unknown and missing keys, defaults (private to this collection).

The schema is ``playbooks/site.meta.yml``, the argument spec ansible-core validates plays with. This module reads the
same file, so that there is one list of keys and one list of defaults. It knows nothing of Ansible.
"""

from __future__ import annotations

import copy
import dataclasses
import difflib
import functools
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

SCHEMA_FILE = pathlib.Path(__file__).resolve().parents[2] / "playbooks" / "site.meta.yml"
MASK = "********"
_SHOWN = 80  # characters; a digest is to be seen whole
_TYPE_WORDS = {"str": "text", "int": "a whole number", "bool": "true or false", "dict": "a mapping", "list": "a list"}


@dataclasses.dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a document: where, what was found, why it is wrong, and what to write instead."""

    path: str
    value: str
    reason: str
    suggestion: str

    def __str__(self) -> str:
        """``site.a.b: 'value' reason; suggestion`` in one line."""
        found = f"{self.value} " if self.value else ""
        way_out = f"; {self.suggestion}" if self.suggestion else ""
        return f"{self.path}: {found}{self.reason}{way_out}"


@dataclasses.dataclass(frozen=True)
class Option:
    """One key of the schema. ``options`` is None where any key is allowed (and for everything that is no mapping)."""

    type: str
    elements: str | None = None
    required: bool = False
    default: Any = None
    choices: tuple[Any, ...] = ()
    secret: bool = False
    options: Mapping[str, Option] | None = None

    def item(self) -> Option:
        """The option every element of this list is checked with."""
        return dataclasses.replace(self, type=self.elements or "str", elements=None, required=True, default=None)


def parse_options(options: Mapping[str, Mapping[str, Any]]) -> dict[str, Option]:
    """Turn the ``options`` of an argument spec into :class:`Option` objects."""
    return {
        name: Option(
            type=spec.get("type", "str"),
            elements=spec.get("elements"),
            required=bool(spec.get("required", False)),
            default=spec.get("default"),
            choices=tuple(spec.get("choices", ())),
            secret=bool(spec.get("no_log", False)),
            options=parse_options(spec["options"]) if "options" in spec else None,
        )
        for name, spec in options.items()
    }


def load_yaml(text: str) -> Any:
    """The plain data of a YAML text, with the fast parser where there is one. Raises ``yaml.YAMLError``."""
    import yaml  # here, because a task that needs no schema needs no parser either

    # Ten times faster, and every task of a play may need it.
    return yaml.load(text, Loader=yaml.CSafeLoader) if yaml.__with_libyaml__ else yaml.safe_load(text)


@functools.cache
def load_schema(path: pathlib.Path = SCHEMA_FILE) -> Option:
    """The schema of the document, read once per process. Raises ``OSError`` when the collection is incomplete."""
    spec = load_yaml(path.read_text(encoding="utf-8"))
    return parse_options(spec["argument_specs"]["site"]["options"])["site"]


def plain(value: Any) -> Any:
    """A copy made of plain dicts, lists and scalars only, whatever subclasses the caller's templates produced."""
    if isinstance(value, Mapping):
        return {(str(key) if isinstance(key, str) else key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, bool):
        return value
    for kind in (str, int, float):
        if isinstance(value, kind):
            return kind(value)
    return str(value)


def show(value: Any, secret: bool = False) -> str:
    """A value as it may appear in a message: short, in one line, never a secret."""
    if secret:
        return MASK
    if value is None:
        return "(nothing)"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 4]}...{text[-1]}"


def nearest(word: str, words: list[str], cutoff: float = 0.6) -> str | None:
    """The most similar of ``words``, or None where none is close enough to be what was meant."""
    matches = difflib.get_close_matches(str(word).lower(), sorted(words), n=1, cutoff=cutoff)
    return matches[0] if matches else None


def key_paths(option: Option, path: str) -> Iterator[tuple[str, str]]:
    """Every (key, path) below ``option``, lists written as ``[]``."""
    for name, child in (option.options or {}).items():
        below = f"{path}.{name}"
        yield name, below
        yield from key_paths(child, f"{below}[]" if child.type == "list" else below)


class Checker:
    """Walks a document along the schema, collects every problem and keeps what is usable.

    ``check`` answers the part that can be judged further: defaults applied, None in place of what is wrong.
    """

    def __init__(self, schema: Option, root: str = "site") -> None:
        self.schema = schema
        self.root = root
        self.problems: list[Problem] = []

    def check(self, document: Any) -> dict[str, Any]:
        """Check a whole plain document; problems are appended to :attr:`problems`."""
        usable = self._value(self.schema, document, self.root)
        return usable if isinstance(usable, dict) else {}

    def _add(self, path: str, value: str, reason: str, suggestion: str = "") -> None:
        self.problems.append(Problem(path, value, reason, suggestion))

    def _value(self, option: Option, value: Any, path: str) -> Any:
        fits = {
            "dict": isinstance(value, dict),
            "list": isinstance(value, list),
            "str": isinstance(value, str),
            "int": isinstance(value, int) and not isinstance(value, bool),
            "bool": isinstance(value, bool),
        }[option.type]
        if not fits:
            self._add(
                path, show(value, option.secret), f"is not {_TYPE_WORDS[option.type]}", _other_type(option, value)
            )
            return None
        if option.type == "dict":
            return self._mapping(option, value, path)
        if option.type == "list":
            return [self._value(option.item(), item, f"{path}[{index}]") for index, item in enumerate(value)]
        if option.choices and value not in option.choices:
            close = nearest(value, [str(choice) for choice in option.choices]) if isinstance(value, str) else None
            hint = f"did you mean {close}?" if close else f"write one of: {', '.join(map(str, option.choices))}"
            self._add(path, show(value, option.secret), "is not a choice", hint)
            return None
        return value

    def _mapping(self, option: Option, value: dict[Any, Any], path: str) -> dict[str, Any]:
        if option.options is None:
            for key in value:
                if not isinstance(key, str):
                    self._add(path, show(key), "is no name for a key", "write the key in quotes")
            return {key: item for key, item in value.items() if isinstance(key, str)}
        meant = self._unknown_keys(option, value, path)
        usable: dict[str, Any] = {}
        for name, child in option.options.items():
            below = f"{path}.{name}"
            given = value.get(name)
            if given is None and child.required:
                if name not in meant:
                    self._add(below, "", "is missing", f"write {name}: <{_TYPE_WORDS[child.type]}>")
                usable[name] = None
            else:
                usable[name] = with_defaults(child, None) if given is None else self._value(child, given, below)
        return usable

    def _unknown_keys(self, option: Option, value: dict[Any, Any], path: str) -> set[str]:
        """Report keys the schema does not have; answers the valid keys they were taken for."""
        valid = option.options or {}
        meant: set[str] = set()
        for key in value:
            if isinstance(key, str) and key in valid:
                continue
            absent = [name for name in valid if name not in value]
            typo = nearest(str(key), absent, cutoff=0.8)
            close = typo or nearest(str(key), absent) or nearest(str(key), list(valid))
            places = list(key_paths(self.schema, self.root))
            elsewhere = [place for name, place in places if name == key]
            similar = nearest(str(key), list({name for name, _place in places}))
            if elsewhere and not typo:
                hint = f"it belongs in {' or '.join(elsewhere)}"
            elif close:
                meant.add(close)
                hint = f"did you mean {close}?"
            elif similar:
                hint = f"did you mean {' or '.join(place for name, place in places if name == similar)}?"
            else:
                hint = f"the keys here are: {', '.join(valid)}"
            self._add(f"{path}.{key}", "", "is not a key", hint)
        return meant


def _other_type(option: Option, value: Any) -> str:
    """What to write where a value has the wrong type."""
    if option.type == "str" and isinstance(value, (int, float)):
        return "put it in quotes"
    if option.type in ("int", "bool") and isinstance(value, str):
        if option.type == "int" and value.strip().lstrip("-").isdigit():
            return f"write {value.strip()} without quotes"
        if option.type == "bool" and value.lower() in ("yes", "on", "true", "no", "off", "false"):
            return f"write {'true' if value.lower() in ('yes', 'on', 'true') else 'false'} without quotes"
    if option.type == "list":
        return (
            "write one item a line, each after a dash"
            if isinstance(value, Mapping)
            else f"write [{show(value, option.secret)}]"
        )
    return f"write {_TYPE_WORDS[option.type]}"


def with_defaults(option: Option, value: Any) -> Any:
    """``value`` with every default of the schema filled in. Keys without one are None. What is wrong stays as it is."""
    if value is None:
        optional = option.type == "dict" and option.options is not None and not option.required
        value = {} if optional else copy.deepcopy(option.default)
    if option.type == "dict" and option.options is not None and isinstance(value, Mapping):
        known = {name: with_defaults(child, value.get(name)) for name, child in option.options.items()}
        return {**value, **known}
    if option.type == "list" and isinstance(value, list):
        item = option.item()
        return [with_defaults(item, element) for element in value]
    return value
