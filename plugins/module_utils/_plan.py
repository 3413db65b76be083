# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plan: what has to change for a wish to be met, and how that is shown (private to this collection)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Dict, Sequence

VERBS = {"create": "create", "update": "change", "delete": "remove"}


@dataclass(frozen=True)
class Change:
    """One thing that is made, changed or removed. ``before`` and ``after`` are what a diff may show of it."""

    action: str
    name: str
    before: Any = None
    after: Any = None

    def __str__(self) -> str:
        if self.action != "update" or not isinstance(self.before, dict) or not isinstance(self.after, dict):
            return f"{VERBS[self.action]} {self.name}"
        steps = [
            f"{key} {_word(self.before.get(key))} -> {_word(value)}"
            for key, value in self.after.items()
            if self.before.get(key) != value
        ]
        return f"change {self.name}: {', '.join(steps)}"


def outcome(changes: Sequence[Change], header: str) -> Dict[str, Any]:
    """The part of a module's result that every module has: ``changed``, ``changes`` as sentences, ``diff``."""
    shown: Dict[str, Any] = {"changed": bool(changes), "changes": [str(change) for change in changes]}
    if changes:
        before = {change.name: change.before for change in changes if change.action != "create"}
        after = {change.name: change.after for change in changes if change.action != "delete"}
        shown["diff"] = {
            "before": _text(before),
            "after": _text(after),
            "before_header": header,
            "after_header": header,
        }
    return shown


def holds(have: Any, want: Any) -> bool:
    """Whether ``have`` is what ``want`` says; keys that ``want`` does not name are free, at any depth."""
    if isinstance(want, dict):
        return isinstance(have, dict) and all(holds(have.get(key), value) for key, value in want.items())
    if isinstance(want, list):
        return isinstance(have, list) and len(have) == len(want) and all(map(holds, have, want))
    return bool(have == want) and isinstance(have, bool) == isinstance(want, bool)


def _text(value: Any) -> str:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _word(value: Any) -> str:
    return "nothing" if value is None else json.dumps(value, sort_keys=True, ensure_ascii=False)
