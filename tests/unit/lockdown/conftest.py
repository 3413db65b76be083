"""A fresh host for every test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.lockdown.world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A host that runs the open rules and has joined its tailnet."""
    return World(tmp_path / "root")
