# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private: the audit's results on a screen, and the list of checks for the documentation. Pure functions."""

from __future__ import annotations

import json
from typing import Any, Iterable, List, Mapping, Sequence, Tuple

from ansible_collections.sapflux.hosting.plugins.module_utils._audit import Check, summary

WIDTH = 120
MARKS = {"pass": "pass", "fail": "FAIL", "n/a": "n/a"}


def _mark(result: Mapping[str, str]) -> str:
    return "note" if (result["result"], result["severity"]) == ("fail", "note") else MARKS[result["result"]]


def _line(head: str, rest: str) -> str:
    """A line of the table; what programs said is put on it whatever it holds, and cut where the screen ends."""
    line = head + " ".join(rest.split())
    return line if len(line) <= WIDTH else line[: WIDTH - 3] + "..."


def screen(results: Sequence[Mapping[str, str]], host: str, everything: bool = True) -> List[str]:
    """The table of a host, as lines of at most 120 characters; without `everything` only what failed.

    Under what failed stands what was expected and the command that shows it.
    """
    lines = [host]
    for result in results:
        mark = _mark(result)
        if everything or mark in ("FAIL", "note"):
            lines.append(_line(f"  {mark:4s}  {result['id']:24s} ", f"{result['title']}: {result['found']}"))
        if mark in ("FAIL", "note"):
            lines.append(_line(" " * 33, f"wanted: {result['expected']}; see: {result['shows']}"))
    count = summary(results)
    lines.append(
        f"  {count['checks']} checks: {count['pass']} pass, {count['fail']} fail, {count['note']} to note, "
        f"{count['n/a']} do not apply"
    )
    return lines


def failures(results: Sequence[Mapping[str, str]]) -> List[str]:
    """What counts for the exit code, one sentence each; empty when the host passes."""
    return [
        f"{result['id']}: {result['title']}: found {result['found']}, wanted {result['expected']}"
        for result in results
        if _mark(result) == "FAIL"
    ]


def documents(hosts: Iterable[Mapping[str, Any]]) -> List[Tuple[str, Sequence[Mapping[str, str]]]]:
    """(name, results) of each host that was asked, from the variables of hosts."""
    return [
        (host["inventory_hostname"], host["__audit"]["checks"]) for host in hosts if "checks" in host.get("__audit", {})
    ]


def text(hosts: Iterable[Tuple[str, Sequence[Mapping[str, str]]]]) -> str:
    """The JSON document about hosts: {fail, hosts: [{host, summary, checks}]}."""
    found = [{"host": host, "summary": summary(results), "checks": list(results)} for host, results in hosts]
    return json.dumps({"fail": sum(one["summary"]["fail"] for one in found), "hosts": found}, indent=2) + "\n"  # type: ignore[index]


def table(checks: Iterable[Check]) -> str:
    """The list of checks as a table in Markdown."""
    rows = [
        f"| `{check.id}` | {check.title} | {check.severity} | {_cell(check.expected)} | {_code(check.shows)} |"
        for check in checks
    ]
    return (
        "\n".join(["| id | what is claimed | severity | expected | shown by |", "|---|---|---|---|---|", *rows]) + "\n"
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _code(text: str) -> str:
    return f"`{_cell(text)}`"
