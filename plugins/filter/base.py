# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters of the base role."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

# Several files, or several lines, may add to these, so others may be there as well.
ADDITIVE = frozenset({"allowusers", "port"})


def _words(value: object) -> set[str]:
    if isinstance(value, (list, tuple)):
        return {str(word) for word in value}
    return set(str(value).split())


def sshd_differences(effective: str, wanted: Mapping[str, Any]) -> list[str]:
    """Compare what `sshd -T` printed with the wanted settings, a sentence for each difference.

    `wanted` maps keywords, in any case, to a string, a number or a list of words.
    """
    found: dict[str, set[str]] = {}
    for line in effective.splitlines():
        keyword, _space, value = line.strip().partition(" ")
        found.setdefault(keyword.lower(), set()).update(value.split())
    differences = []
    for keyword, value in wanted.items():
        name = keyword.lower()
        have, want = found.get(name, set()), _words(value)
        if (want - have) if name in ADDITIVE else (want != have):
            now = " ".join(sorted(have)) or "not set"
            differences.append(f"{keyword} is {now} instead of {' '.join(sorted(want))}")
    return differences


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"sshd_differences": sshd_differences}
