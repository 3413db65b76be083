"""The minute's check: the heartbeat, and what it leaves for others to read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from roles.walg.files.pgsafe_parts import check, cli, status
from roles.walg.files.pgsafe_parts.common import Config, PgsafeError

from .test_status_and_restore import row


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements that reach the server; it is a primary and all is well."""
    found: list[str] = []

    def query(_config: Config, sql: str, **_options: Any) -> str:
        found.append(sql)
        return json.dumps(row()) if "pg_stat_archiver" in sql else ""

    monkeypatch.setattr(check, "query", query)
    monkeypatch.setattr(status, "query", query)
    monkeypatch.setattr(status, "_FREE_PERCENT", 0)
    return found


def test_a_beat_is_written_and_the_result_is_left(config: Config, asked: list[str]) -> None:
    report = check.run(config)
    assert report["problems"] == []
    assert any("ops.heartbeat" in sql for sql in asked)
    left = json.loads(Path(config.reports, "check.json").read_text())
    assert left["problems"] == []
    assert left["at"].endswith("Z")
    assert check.as_text(report) == "all well"


def test_a_server_that_does_not_answer_is_told(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    def query(_config: Config, _sql: str, **_options: Any) -> str:
        raise PgsafeError("PostgreSQL at /run port 5432 says: no")

    monkeypatch.setattr(check, "query", query)
    assert check.run(config)["problems"] == ["PostgreSQL at /run port 5432 says: no"]
    assert "says: no" in Path(config.reports, "check.json").read_text()


@pytest.mark.usefixtures("asked")
def test_the_exit_code_says_whether_something_is_wrong(
    config: Config, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "become_owner", lambda _config: None)
    assert cli.main(["--config", config.path, "check"]) == 0
    monkeypatch.setattr(status, "_FREE_PERCENT", 101)
    monkeypatch.setattr(status, "_FREE_BYTES", 1 << 60)
    assert cli.main(["--config", config.path, "check"]) == 1
    assert "make room" in capsys.readouterr().out
