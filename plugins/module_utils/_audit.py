# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private: what a check of the audit is, and how checks are judged.

A check is data with one pure function over the facts of a host (see `_audit_facts`). It passes, fails, or does not
apply; what cannot be read counts as failed, for nothing is known about it then.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterable, List, Mapping, Sequence

Facts = Mapping[str, Any]


class NotApplicableError(Exception):
    """The check says nothing about this host; the message says why."""


class UnreadableError(Exception):
    """What the check looks at could not be read; the message says why."""


@dataclass(frozen=True)
class Verdict:
    """Whether what was found is good, and what it was, in a few words."""

    ok: bool
    found: str


@dataclass(frozen=True)
class Check:
    """One line of the audit.

    `severity` is `fail` (counts for the exit code) or `note` (does not). `shows` is the command or file in which a
    person sees the same thing. `judge` raises NotApplicableError or UnreadableError.
    """

    id: str
    title: str
    severity: str
    shows: str
    expected: str
    judge: Callable[[Facts], Verdict]

    @property
    def area(self) -> str:
        """The first word of the id."""
        return self.id.split("-", 1)[0]


def part(facts: Facts, name: str, absent: str) -> Any:
    """One part of the facts; `absent` is the reason where the host has no such thing (None).

    Raises NotApplicableError, or UnreadableError for a part that could not be gathered ({"error": reason}).
    """
    value = facts.get(name)
    if value is None:
        raise NotApplicableError(absent)
    if isinstance(value, Mapping) and set(value) == {"error"}:
        raise UnreadableError(str(value["error"]))
    return value


def bare_metal(facts: Facts) -> None:
    """Raise NotApplicableError in a container, whose kernel belongs to the machine below."""
    if facts["container"]:
        raise NotApplicableError(f"a container ({facts['container']}); the kernel belongs to the machine below it")


def row(
    name: str, title: str, expected: str, shows: str, judge: Callable[[Facts], Verdict], severity: str = "fail"
) -> Check:
    """A check, in the order in which one reads it."""
    return Check(name, title, severity, shows, expected, judge)


def few(names: Iterable[Any], limit: int = 6) -> str:
    """Some names in a line; 'none' without any."""
    listed = [str(name) for name in names]
    more = f" and {len(listed) - limit} more" if len(listed) > limit else ""
    return (", ".join(listed[:limit]) + more) or "none"


def none_of(names: Iterable[Any]) -> Verdict:
    """Good when there are none; shows them otherwise."""
    listed = list(names)
    return Verdict(not listed, few(listed))


def equals(found: Any, *wanted: Any) -> Verdict:
    """Good when the value is one of the wanted."""
    return Verdict(found in wanted, "not set" if found is None or found == "" else str(found))


def judge(check: Check, facts: Facts) -> Dict[str, str]:
    """The result of one check: its data, `result` (pass, fail, n/a), `found`, which for n/a is the reason."""
    try:
        if check.id in facts["wanted"]["skip"]:
            raise NotApplicableError(f"by decision: {facts['wanted']['skip'][check.id]}")
        verdict = check.judge(facts)
        result, found = ("pass" if verdict.ok else "fail"), verdict.found
    except NotApplicableError as reason:
        result, found = "n/a", str(reason)
    except UnreadableError as error:
        result, found = "fail", f"cannot be read: {error}"
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        # A program answered in a way that nobody has seen yet: better a failed check than none.
        result, found = "fail", f"cannot be judged: {type(error).__name__} {error}"
    return {
        "id": check.id,
        "area": check.area,
        "title": check.title,
        "severity": check.severity,
        "shows": check.shows,
        "expected": check.expected,
        "result": result,
        "found": found,
    }


def audit(checks: Sequence[Check], facts: Facts) -> List[Dict[str, str]]:
    """The results of all checks, in their order."""
    return [judge(check, facts) for check in checks]


def summary(results: Sequence[Mapping[str, str]]) -> Dict[str, int]:
    """How many passed, failed, failed as a mere note, and did not apply."""
    failed = [result for result in results if result["result"] == "fail"]
    return {
        "checks": len(results),
        "pass": sum(result["result"] == "pass" for result in results),
        "fail": sum(result["severity"] == "fail" for result in failed),
        "note": sum(result["severity"] == "note" for result in failed),
        "n/a": sum(result["result"] == "n/a" for result in results),
    }
