"""Who may reach SSH from outside."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.sapflux.hosting.plugins.filter.lockdown import FilterModule

ME, SOMEBODY = "203.0.113.0/24", "192.0.2.7/32"


@pytest.mark.parametrize(
    ("state", "break_glass", "wanted", "expected"),
    [
        ({}, [], True, [ME]),
        (None, [], True, [ME]),
        ({"locked": False}, [SOMEBODY], True, [ME, SOMEBODY]),
        ({"locked": True}, [], True, []),
        ({"locked": True}, [SOMEBODY], True, [SOMEBODY]),
        ({"locked": True}, [], False, [ME]),
    ],
)
def test_a_locked_host_stays_closed_and_an_open_one_open(
    state: Any, break_glass: list[str], wanted: bool, expected: list[str]
) -> None:
    assert FilterModule().filters()["lockdown_ssh_cidrs"]([ME], state, break_glass, wanted) == expected
