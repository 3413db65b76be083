# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file a document was written in: doubled keys, and the lines problems are on (private to this collection).

Only the controller can look, and only where the file is plain YAML: an encrypted one is checked like any other
document, but without line numbers.
"""

from __future__ import annotations

import dataclasses
import pathlib
import re
from collections.abc import Iterable
from typing import Any

from ansible_collections.sapflux.hosting.plugins.module_utils._site_schema import Problem

CANDIDATES = ("group_vars/all/site.yml", "group_vars/all/site.yaml", "group_vars/all.yml", "group_vars/all.yaml")


@dataclasses.dataclass(frozen=True)
class Source:
    """A file that holds the document, and the YAML nodes of the document in it."""

    path: pathlib.Path
    node: Any

    def line(self, path: str) -> int:
        """The line of the key ``path`` (``site.a[0].b``), or of the nearest thing above it that is there."""
        node = self.node
        line: int = node.start_mark.line + 1
        for word, number in re.findall(r"\.([^.\[\]]+)|\[(\d+)\]", path):
            found = _child(node, word, number)
            if found is None:
                break
            node, line = found[1], found[0].start_mark.line + 1
        return line

    def doubled(self) -> list[Problem]:
        """Keys that are there twice in one mapping: YAML keeps the last one and says nothing."""
        return list(_doubled(self.node, "site"))


def locate(directory: str | None) -> Source | None:
    """The document's file below the directory of an inventory, or None where it is somewhere else or not plain YAML."""
    import yaml

    for name in CANDIDATES if directory else ():
        path = pathlib.Path(str(directory)) / name
        try:
            root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        except (OSError, UnicodeDecodeError, yaml.YAMLError):
            continue
        found = _child(root, "site", "")
        if found is not None:
            return Source(path, found[1])
    return None


def _child(node: Any, word: str, number: str) -> tuple[Any, Any] | None:
    """The (key, value) nodes of a key or an item; the item itself stands for its key."""
    value = getattr(node, "value", None)
    if not isinstance(value, list):
        return None
    if number:
        items = value if getattr(node, "id", "") == "sequence" else []
        return (items[int(number)], items[int(number)]) if int(number) < len(items) else None
    pairs = value if getattr(node, "id", "") == "mapping" else []
    return next(((key, item) for key, item in pairs if key.value == word), None)


def _doubled(node: Any, path: str) -> Iterable[Problem]:
    kind = getattr(node, "id", "")
    if kind == "sequence":
        for index, item in enumerate(node.value):
            yield from _doubled(item, f"{path}[{index}]")
    elif kind == "mapping":
        seen: dict[Any, int] = {}
        for key, item in node.value:
            below = f"{path}.{key.value}"
            line = key.start_mark.line + 1
            # A merge key may be there as often as one likes.
            if key.value in seen and key.value != "<<":
                yield Problem(below, "", f"is there twice, on lines {seen[key.value]} and {line}", "remove one of them")
            seen.setdefault(key.value, line)
            yield from _doubled(item, below)


def with_lines(problems: list[Problem], source: Source | None) -> list[str]:
    """The problems as lines of a message, each with the place in the file where that is known."""
    if source is None:
        return [str(problem) for problem in problems]
    return [f"{problem} ({source.path.name} line {source.line(problem.path)})" for problem in problems]
