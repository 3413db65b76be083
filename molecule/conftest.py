"""Fixtures of every scenario's tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import testinfra
from testinfra.host import Host

from tests.scenario import TABLES

SSH_CONFIG = Path(__file__).resolve().parents[1] / ".bed" / "ssh_config"


@pytest.fixture(scope="session")
def peer() -> Host:
    """The scenario's second host, on the same network segment."""
    name = os.environ["MOLECULE_SCENARIO_NAME"]
    return testinfra.get_host(f"ssh://{name}-peer", ssh_config=str(SSH_CONFIG), sudo=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the tests measured."""
    for shown in TABLES:
        terminalreporter.write_line(f"\n{shown}")
