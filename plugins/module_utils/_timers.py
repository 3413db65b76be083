# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What systemd's timers say about themselves, read from `systemctl show` (private to this collection)."""

from __future__ import annotations

import re
from typing import Any, Dict, List, Optional

PROPERTIES = (
    "Id",
    "Unit",
    "ActiveState",
    "TimersCalendar",
    "TimersMonotonic",
    "AccuracyUSec",
    "RandomizedDelayUSec",
    "NextElapseUSecRealtime",
)
LIMIT = "TimeoutStartUSec"
UNITS = {
    "us": 1e-6, "ms": 1e-3, "s": 1, "min": 60, "h": 3600, "d": 86400, "w": 604800, "month": 2629800, "y": 31557600,
}  # fmt: skip
_CALENDAR = re.compile(r"OnCalendar=(.*?) ; next_elapse=")
_REPEAT = re.compile(r"On(?:UnitActive|UnitInactive)USec=(.*?) ; next_elapse=")
_PART = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s|min|h|d|w|month|y)")


def seconds(span: str) -> Optional[float]:
    """A time span of systemd, such as "1h 30min"; None for "infinity" and what is none."""
    if span.strip() in ("0", ""):
        return 0.0
    parts = [_PART.fullmatch(word) for word in span.split()]
    if any(part is None for part in parts):
        return None
    return sum(float(part[1]) * UNITS[part[2]] for part in parts if part)


def blocks(output: str) -> List[Dict[str, List[str]]]:
    """The units of an answer; a property that comes more than once has more than one value."""
    units: List[Dict[str, List[str]]] = []
    for block in output.split("\n\n"):
        unit: Dict[str, List[str]] = {}
        for line in block.splitlines():
            key, equals, value = line.partition("=")
            if equals:
                unit.setdefault(key, []).append(value)
        if unit:
            units.append(unit)
    return units


def parse(output: str, limits: Dict[str, str]) -> Dict[str, Dict[str, Any]]:
    """Timers by the name of the service they start, without those that will never run again.

    Each has `schedule` (lines of OnCalendar, "" for a timer that repeats by `every` seconds), `delay` (seconds it may
    come late by its own settings) and `limit` (seconds the service may take, None for no limit). `limits` are the
    TimeoutStartUSec of the services by name.
    """
    found: Dict[str, Dict[str, Any]] = {}
    for unit in blocks(output):
        service = unit.get("Unit", [""])[0]
        if not service.endswith(".service") or unit.get("ActiveState") != ["active"]:
            continue
        calendar = [line for text in unit.get("TimersCalendar", []) for line in _CALENDAR.findall(text)]
        repeats = [seconds(line) for text in unit.get("TimersMonotonic", []) for line in _REPEAT.findall(text)]
        never = not unit.get("NextElapseUSecRealtime", [""])[0]
        if (calendar and never) or not (calendar or repeats):
            continue
        name = service[: -len(".service")]
        delays = (unit.get(key, ["0"])[0] for key in ("AccuracyUSec", "RandomizedDelayUSec"))
        found[name] = {
            "schedule": "\n".join(calendar),
            "every": None if calendar else repeats[0],
            "delay": sum(seconds(delay) or 0.0 for delay in delays),
            "limit": seconds(limits.get(name, "infinity")),
        }
    return found


def parse_limits(output: str) -> Dict[str, str]:
    """TimeoutStartUSec of services by name."""
    return {
        unit["Id"][0][: -len(".service")]: unit.get(LIMIT, ["infinity"])[0] for unit in blocks(output) if "Id" in unit
    }
