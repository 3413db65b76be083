"""What status makes of the server's answer, and what a restore refuses."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from roles.walg.files.pgsafe_parts import plan, restore, status
from roles.walg.files.pgsafe_parts.cli import parser
from roles.walg.files.pgsafe_parts.common import REFUSED, Config, PgsafeError
from roles.walg.files.pgsafe_parts.walg import Backup

from .conftest import Walg

MB16 = 16 * 1024 * 1024
NOW = 1795435200.0


@pytest.mark.parametrize(
    ("last", "current", "offset", "pending"),
    [
        ("000000010000000000000004", "000000010000000000000005", 40, 0),
        ("000000010000000000000004", "000000010000000000000005", 41, 41),
        ("000000010000000000000004", "000000010000000000000006", 0, MB16),
        ("000000010000000000000004", "000000010000000000000007", 100, 2 * MB16 + 100),
        ("0000000100000000000000FF", "000000010000000100000000", 500, 500),
        ("000000010000000000000009", "000000010000000000000009", 500, 0),
    ],
)
def test_pending_bytes(last: str, current: str, offset: int, pending: int) -> None:
    assert status.pending_bytes(last, current, offset, MB16) == pending


def row(**changed: Any) -> dict[str, Any]:
    """The server's answer when all is well: the last segment was closed 20 s ago and nothing came since."""
    return {
        "now": NOW,
        "mode": "on",
        "last_archived_wal": "000000010000000000000004",
        "last_archived": NOW - 19,
        "last_failed_wal": None,
        "last_failed": None,
        "failed_count": 0,
        "closed": NOW - 20,
        "ready": 0,
        "oldest_ready": None,
        "wal_bytes": 83886444,
        "max_wal_bytes": 1 << 30,
        "current_wal": "000000010000000000000005",
        "offset": 40,
        "segment_bytes": MB16,
        **changed,
    }


@pytest.mark.parametrize(
    ("changed", "key", "value"),
    [
        ({}, "archive_lag_seconds", 0),
        ({"offset": 100}, "archive_lag_seconds", 20),
        ({}, "newest_restorable", "2026-11-23T11:59:40.000000Z"),
        ({"closed": None}, "newest_restorable", "2026-11-23T11:59:41.000000Z"),
        ({"last_archived_wal": None, "last_archived": None, "closed": None}, "newest_restorable", None),
        ({"last_archived_wal": None, "last_archived": None, "closed": None}, "archive_lag_seconds", None),
        ({"last_archived_wal": "000000010000000000000004.00000028.backup"}, "pending_bytes", None),
        ({"last_failed": NOW - 5, "last_failed_wal": "x"}, "failing", True),
        ({"last_failed": NOW - 50, "last_failed_wal": "x"}, "failing", False),
        ({"last_failed": NOW - 5, "last_archived": None}, "failing", True),
        ({"ready": 2, "oldest_ready": NOW - 61}, "oldest_ready_seconds", 61),
        ({"mode": "off"}, "archiving", False),
    ],
)
def test_archiving(changed: dict[str, Any], key: str, value: object) -> None:
    assert status.archiving(row(**changed))[key] == value


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({}, ""),
        ({"mode": "off"}, "WAL is not archived"),
        ({"last_failed": NOW, "last_failed_wal": "0A"}, "archiving 0A fails"),
        ({"ready": 4, "oldest_ready": NOW - 3}, "4 segments wait"),
        ({"ready": 1, "oldest_ready": NOW - 121}, "the oldest for 121 s"),
        ({"ready": 3, "oldest_ready": NOW - 3}, ""),
        ({"wal_bytes": 2 << 30}, ""),
        ({"wal_bytes": (2 << 30) + 1}, "pg_wal holds 2147 MB, 1074 MB are usual"),
    ],
)
def test_problems_of_the_host(config: Config, changed: dict[str, Any], message: str) -> None:
    report = {**status.archiving(row(**changed)), "fenced": False, "free_percent": 14, "free_bytes": 5_000_000_000}
    found = status.local_problems(config, report)
    assert len(found) == (1 if message else 0)
    assert message in "".join(found)


def test_a_fence_and_a_full_disk_are_problems(config: Config) -> None:
    report = {**status.archiving(row()), "fenced": True, "free_percent": 14, "free_bytes": 4_999_999_999}
    assert [found.split(":")[0] for found in status.local_problems(config, report)] == [
        "the cluster is fenced",
        f"only 14 % of the disk under {config.data} are free",
    ]


@pytest.mark.parametrize(
    ("finished", "message"),
    [
        ([], "there is no base backup"),
        (["2026-11-23T03:17:00Z"], ""),
        (["2026-11-20T03:17:00Z", "2026-11-22T03:17:00Z"], "33 hours old"),
        # a clock that was ahead when it was made
        (["2027-11-22T03:17:00Z"], ""),
    ],
)
def test_problems_of_the_bucket(finished: list[str], message: str) -> None:
    backups = [dataclasses.replace(a_backup(), finish_time=moment) for moment in finished]
    found = status.bucket_problems(backups, NOW)
    assert len(found) == (1 if message else 0)
    assert message in "".join(found)


@pytest.mark.parametrize(
    ("results", "since", "messages"),
    [
        # NOW is 2026-11-23T12:00:00Z
        ({}, None, []),
        ({}, "2026-11-23T11:00:00Z", []),
        ({}, "2026-11-14T11:00:00Z", ["no look at the archive yet", "no drill yet"]),
        ({"verify": {"passed": True, "at": "2026-11-23T11:59:00Z"}}, "2026-11-23T11:00:00Z", []),
        ({"verify": {"passed": True, "at": "rubbish"}}, "2026-11-23T11:00:00Z", ["the last look at the archive is 49"]),
        (
            {"verify": {"passed": True, "at": "2026-11-23T09:00:00Z"}},
            "2026-11-23T01:00:00Z",
            ["the last look at the archive is 3 hours old"],
        ),
        (
            {
                "verify": {"passed": False, "at": "2026-11-23T11:59:00Z"},
                "drill": {"passed": True, "at": "2026-11-15T11:00:00Z"},
            },
            "2026-10-01T00:00:00Z",
            ["the last look at the archive, at 2026-11-23T11:59:00Z, failed", "the last drill is 193 hours old"],
        ),
    ],
)
def test_problems_of_looks_and_drills(results: dict[str, Any], since: str | None, messages: list[str]) -> None:
    found = status.result_problems(results, since, NOW)
    assert len(found) == len(messages)
    assert all(text.startswith(message) for text, message in zip(found, messages, strict=True))


def test_status_tells_although_neither_server_nor_bucket_answers(config: Config, walg: Walg) -> None:
    walg.answer("backup-list", exit=1, stderr="ERROR: 2026/11/23 01:00:00.1 connection refused\n")
    report = status.gather(config)
    assert report["archiving"] is None
    assert report["newest_restorable"] is None
    assert any("the bucket does not tell what it holds" in problem for problem in report["problems"])
    assert len(report["problems"]) == 2
    assert "PROBLEM" in status.as_text(report)
    assert "NOT ENCRYPTED" in status.as_text(report)


def a_backup(name: str = "base_1", size: int = 100_000_000) -> Backup:
    return Backup(name, "2026-11-23T01:00:00Z", "2026-11-23T01:01:00Z", "1", 170011, size, size // 10, False)


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", "-x", ".x", "x" * 41, "a b", "a\nb"])
def test_names_of_restores(config: Config, name: str) -> None:
    with pytest.raises(PgsafeError, match="is no name for a restore"):
        restore.target(config, name)


@pytest.mark.parametrize("kind", ["directory", "file", "dangling link"])
def test_nothing_is_restored_over_anything(config: Config, kind: str) -> None:
    path = Path(config.restores, "there")
    if kind == "directory":
        path.mkdir()
    elif kind == "file":
        path.write_text("")
    else:
        path.symlink_to("/nowhere")
    with pytest.raises(PgsafeError, match=r"earlier restore: choose another name, or remove it with `rm -r"):
        restore.target(config, "there")


def test_room_for_data_and_wal_is_asked_before(config: Config) -> None:
    """1.3 times the data and 256 MiB: 398,435,456 bytes for 100 MB."""
    plan.must_fit(config.restores, a_backup(), free=398_435_456)
    with pytest.raises(PgsafeError, match=r"needs 398 MB in .*, 398 MB are free") as caught:
        plan.must_fit(config.restores, a_backup(), free=398_435_455)
    assert caught.value.code == REFUSED


@pytest.mark.parametrize("probe", ["SELECT 1", ":SELECT 1", "app:", "app: ", "a b:SELECT 1", "a;b:SELECT 1"])
def test_probes_name_their_database(probe: str) -> None:
    with pytest.raises(PgsafeError, match="is no probe"):
        restore.split_probe(probe)


def test_a_probe_may_hold_colons() -> None:
    assert restore.split_probe("app:SELECT now()::date") == ("app", "SELECT now()::date")


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["look"], ["backup", "--wait", "x"]])
def test_wrong_usage_is_exit_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parser().parse_args(arguments)
    assert caught.value.code == 2
    assert "usage: pgsafe" in capsys.readouterr().err


def test_a_receipt_is_readable() -> None:
    text = restore.as_text(
        {
            "backup": {"backup_name": "base_1"},
            "directory": "/var/lib/postgresql/restore/x",
            "target": "latest",
            "recovered_to": "2026-11-23T12:00:00Z",
            "seconds": 2.5,
            "databases": {"app": {"bytes": 8_000_000, "tables": {"public.tree": 123, "public.big": None}}},
            "probes": [{"database": "app", "sql": "SELECT 1", "answer": "1"}],
        }
    )
    for part in ("base_1", "public.tree: 123 rows", "public.big: ? rows", "SELECT 1 -> 1", "pgsafe look x", "rm -r"):
        assert part in text
