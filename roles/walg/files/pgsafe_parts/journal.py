"""A chain of steps that can be interrupted anywhere and then be finished or taken back.

The journal says which steps were begun and which are done. Every step can be done again, and taken back, whatever part
of it had happened: it looks before it acts. So a run that was killed has lost nothing but time.
"""

# paths are plain strings in all of pgsafe
from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from . import objects
from .common import PgsafeError, say


class PausedError(Exception):
    """A step asks for a decision before the next one: the journal stays open."""


@dataclass(frozen=True)
class Step:
    """``do`` and ``undo`` may each be called again after a part of them has happened."""

    name: str
    do: Callable[[], None]
    undo: Callable[[], None]


def nothing() -> None:
    """The undo of a step that changes nothing."""


class Journal:
    """{id, direction: forward or back, begun and done: [step], seconds: {step: seconds}, facts} in one file."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.content: dict[str, Any] = objects.read(path) or {}

    def __bool__(self) -> bool:
        return bool(self.content)

    def open(self, identifier: str, facts: dict[str, Any]) -> None:
        os.makedirs(os.path.dirname(self.path), 0o700, exist_ok=True)
        self.content = {
            "id": identifier,
            "direction": "forward",
            "begun": [],
            "done": [],
            "seconds": {},
            "facts": facts,
        }
        self.save()

    @property
    def facts(self) -> dict[str, Any]:
        return dict(self.content["facts"])

    def note(self, **facts: Any) -> None:
        """Remembers facts for later steps, before the step that needs them acts."""
        self.content["facts"].update(facts)
        self.save()

    def save(self) -> None:
        objects.write(self.path, self.content, 0o600)

    def close(self) -> None:
        os.unlink(self.path)
        self.content = {}


def forward(journal: Journal, steps: Sequence[Step]) -> None:
    """Does every step that is not done; PausedError leaves the rest for later."""
    content = journal.content
    if content["direction"] == "back":
        raise PgsafeError(
            "this restore is being taken back: finish that with `pgsafe restore --undo`, then begin another one"
        )
    for step in steps:
        if step.name in content["done"]:
            continue
        if step.name not in content["begun"]:
            content["begun"].append(step.name)
            journal.save()
        clock = time.monotonic()
        step.do()
        content["seconds"][step.name] = round(content["seconds"].get(step.name, 0.0) + time.monotonic() - clock, 1)
        content["done"].append(step.name)
        journal.save()
        say(f"{step.name.replace('_', ' ')}: done in {content['seconds'][step.name]} s")


def back(journal: Journal, steps: Sequence[Step]) -> None:
    """Takes back every step that was begun, the last one first."""
    content = journal.content
    content["direction"] = "back"
    journal.save()
    for step in reversed(steps):
        if step.name not in content["begun"]:
            continue
        step.undo()
        content["begun"].remove(step.name)
        content["done"] = [name for name in content["done"] if name != step.name]
        journal.save()
        say(f"{step.name.replace('_', ' ')}: taken back")
