"""Backups: believed only when the bucket shows them; retention that never takes too much."""

from __future__ import annotations

import fcntl
import json
import re
from pathlib import Path

import pytest

from roles.walg.files.pgsafe_parts import backup
from roles.walg.files.pgsafe_parts.common import BUSY, Config, PgsafeError
from roles.walg.files.pgsafe_parts.walg import Backup, parse_catalogue

from .conftest import IDENTIFIER, OTHER, Walg

NOON = 1795435200.0  # 2026-11-23T12:00:00Z


@pytest.fixture(autouse=True)
def _primary_at_noon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup, "query", lambda *_arguments, **_options: "f")
    monkeypatch.setattr(backup, "now", lambda: NOON)


def entry(name: str, finished: str, identifier: int = IDENTIFIER) -> dict[str, object]:
    return {
        "backup_name": name,
        "start_time": finished,
        "finish_time": finished,
        "system_identifier": identifier,
        "pg_version": 170011,
        "uncompressed_size": 30_000_000,
        "compressed_size": 3_000_000,
        "is_permanent": False,
    }


OLD = entry("base_old", "2026-11-22T03:17:00.000001Z")
NEW = entry("base_new", "2026-11-23T12:00:10.000001Z")


def test_a_backup_is_good_when_the_bucket_shows_it(config: Config, walg: Walg) -> None:
    walg.holds_identity()
    walg.answer("backup-push")
    walg.answer("backup-list", stdout=json.dumps([OLD, NEW]))
    receipt = backup.make(config)
    assert receipt["made"] is True
    assert receipt["backup"]["backup_name"] == "base_new"
    assert (receipt["backups"], receipt["deleted"]) == (2, 0)
    assert walg.asked() == ["st cat", "st cat", "backup-push", "backup-list"]


@pytest.mark.parametrize(
    "listed",
    [[], [OLD], [OLD, entry("base_new", "2026-11-23T12:00:10Z", OTHER)]],
    ids=["nothing", "only the old one", "one of another cluster"],
)
def test_success_without_a_backup_in_the_bucket_is_a_failure(
    config: Config, walg: Walg, listed: list[dict[str, object]]
) -> None:
    walg.holds_identity()
    walg.answer("backup-push")
    walg.answer("backup-list", stdout=json.dumps(listed))
    with pytest.raises(PgsafeError, match="reported success, but the archive"):
        backup.make(config)


def test_a_failed_push_says_why_and_deletes_nothing(config: Config, walg: Walg) -> None:
    walg.holds_identity()
    walg.answer(
        "backup-push", exit=1, stderr="INFO: 2026/11/23 01:00:00.1 Starting\nERROR: 2026/11/23 01:00:00.1 no room\n"
    )
    with pytest.raises(PgsafeError, match=r"wal-g backup-push failed \(exit 1\): no room"):
        backup.make(config)
    assert "delete" not in walg.asked()


@pytest.mark.parametrize(
    ("listed", "made"), [([OLD], False), ([], True), ([entry("base_x", "2026-11-22T03:17:00Z", OTHER)], True)]
)
def test_if_none_makes_one_only_when_the_bucket_holds_none_of_ours(
    config: Config, walg: Walg, listed: list[dict[str, object]], made: bool
) -> None:
    walg.holds_identity()
    walg.answer("backup-push")
    for _ in range(2):
        walg.answer("backup-list", stdout=json.dumps(listed), once=True)
    walg.answer("backup-list", stdout=json.dumps([*listed, NEW]))
    assert backup.make(config, if_none=True)["made"] is made
    assert ("backup-push" in walg.asked()) is made


def test_a_standby_makes_no_backup(config: Config, walg: Walg, monkeypatch: pytest.MonkeyPatch) -> None:
    walg.holds_identity()
    monkeypatch.setattr(backup, "query", lambda *_arguments, **_options: "t")
    with pytest.raises(PgsafeError, match="in recovery"):
        backup.make(config)


def test_only_one_at_a_time(config: Config, walg: Walg) -> None:
    walg.holds_identity()
    with Path(config.state, "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(PgsafeError, match="another backup or restore is running") as caught:
            backup.make(config)
    assert caught.value.code == BUSY
    assert "backup-push" not in walg.asked()


@pytest.mark.parametrize(("count", "asked"), [(0, False), (1, False), (2, False), (3, True), (30, True)])
def test_retention_never_goes_below_the_number_to_keep(config: Config, count: int, asked: bool) -> None:
    """With keep_full 2: `retain 2 --after T` would delete both of two old backups."""
    kept = [parse_catalogue(json.dumps([entry(f"base_{n}", "2026-01-01T00:00:00Z")]))[0] for n in range(count)]
    arguments = backup.retention(config, kept, NOON)
    assert bool(arguments) is asked
    if asked:
        assert arguments[:4] == ["delete", "retain", "FULL", "2"]
        assert arguments[4:6] == ["--after", "2026-11-09T12:00:00Z"]
        assert {"--use-sentinel-time", "--confirm"} <= set(arguments)


def test_old_backups_that_stay_are_told_and_the_new_one_is_called_good(config: Config, walg: Walg) -> None:
    walg.holds_identity()
    walg.answer("backup-push")
    walg.answer("backup-list", stdout=json.dumps([entry("base_a", "2026-01-01T00:00:00Z"), OLD, NEW]))
    walg.answer("delete", exit=1, stderr="ERROR: 2026/11/23 01:00:00.1 locked\n")
    with pytest.raises(PgsafeError, match=r"base_new is made and good, but old ones were not deleted: .*locked"):
        backup.make(config)


def test_a_new_backup_that_retention_took_is_noticed(config: Config, walg: Walg) -> None:
    walg.holds_identity()
    walg.answer("backup-push")
    listed = [entry("base_a", "2026-01-01T00:00:00Z"), OLD, NEW]
    walg.answer("backup-list", stdout=json.dumps(listed), once=True)
    walg.answer("backup-list", stdout=json.dumps(listed[:2]))
    walg.answer("delete")
    with pytest.raises(PgsafeError, match="not in the catalogue"):
        backup.make(config)


@pytest.mark.parametrize("text", ["nonsense", '{"a": 1}', '[{"backup_name": "x"}]', "[1]"])
def test_a_catalogue_that_is_none_is_told(text: str) -> None:
    with pytest.raises(PgsafeError, match="something else than a catalogue"):
        parse_catalogue(text)


def test_the_catalogue_is_in_order_of_time() -> None:
    """Not of names: after a new initdb the newest backup has the smallest name."""
    found = parse_catalogue(json.dumps([NEW, OLD, entry("base_000", "2026-11-23T13:00:00Z")]))
    assert [one.name for one in found] == ["base_old", "base_new", "base_000"]
    assert parse_catalogue("") == []


def test_times_compare_as_text() -> None:
    assert backup.iso(NOON) == "2026-11-23T12:00:00.000000Z"
    assert re.fullmatch(r"[0-9T:.-]+Z", backup.iso(NOON + 0.5))
    assert isinstance(parse_catalogue(json.dumps([NEW]))[0], Backup)
