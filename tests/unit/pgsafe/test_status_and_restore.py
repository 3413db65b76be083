"""What status makes of the server's answer, and what a restore refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from roles.walg.files.pgsafe_parts import restore, status
from roles.walg.files.pgsafe_parts.cli import parser
from roles.walg.files.pgsafe_parts.common import REFUSED, Config, PgsafeError
from roles.walg.files.pgsafe_parts.walg import Backup

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


NEWEST = {"finish_time": "2026-11-23T03:17:00Z", "backup_name": "base_x", "compressed_bytes": 3_000_000}


@pytest.mark.parametrize(
    ("changed", "newest", "message"),
    [
        ({}, NEWEST, ""),
        ({"mode": "off"}, NEWEST, "WAL is not archived"),
        ({"last_failed": NOW, "last_failed_wal": "0A"}, NEWEST, "archiving 0A fails"),
        ({"ready": 4, "oldest_ready": NOW - 3}, NEWEST, "4 segments wait"),
        ({"ready": 1, "oldest_ready": NOW - 121}, NEWEST, "the oldest for 121 s"),
        ({"ready": 3, "oldest_ready": NOW - 3}, NEWEST, ""),
        ({}, None, "there is no base backup"),
        ({}, {**NEWEST, "finish_time": "2026-11-22T03:17:00Z"}, "33 hours old"),
    ],
)
def test_problems(changed: dict[str, Any], newest: dict[str, Any] | None, message: str) -> None:
    found = status.problems({**status.archiving(row(**changed)), "newest_backup": newest}, NOW)
    assert len(found) == (1 if message else 0)
    assert message in "".join(found)


def a_backup(name: str = "base_1", size: int = 100_000_000) -> Backup:
    return Backup(name, "2026-11-23T01:00:00Z", "2026-11-23T01:01:00Z", "1", 170011, size, size // 10, False)


def test_the_newest_backup_is_chosen_or_the_named_one() -> None:
    both = [a_backup("base_1"), a_backup("base_2")]
    assert restore.choose(both, "", "s3://x").name == "base_2"
    assert restore.choose(both, "base_1", "s3://x").name == "base_1"


@pytest.mark.parametrize(
    ("held", "name", "message"), [([], "", "nothing to restore"), ([a_backup()], "base_9", "it holds base_1")]
)
def test_a_backup_that_is_not_there_is_refused(held: list[Backup], name: str, message: str) -> None:
    with pytest.raises(PgsafeError, match=message) as caught:
        restore.choose(held, name, "s3://x")
    assert caught.value.code == REFUSED


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
    restore.must_fit(config, a_backup(), free=398_435_456)
    with pytest.raises(PgsafeError, match=r"needs 398 MB in .*, 398 MB are free") as caught:
        restore.must_fit(config, a_backup(), free=398_435_455)
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
            "recovered_to": "2026-11-23 12:00:00+00",
            "seconds": 2.5,
            "databases": {"app": {"bytes": 8_000_000, "tables": {"public.tree": 123, "public.big": None}}},
            "probes": [{"database": "app", "sql": "SELECT 1", "answer": "1"}],
        }
    )
    for part in ("base_1", "public.tree: 123 rows", "public.big: ? rows", "SELECT 1 -> 1", "pgsafe look x", "rm -r"):
        assert part in text
