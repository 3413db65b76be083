"""Backups: believed only when the bucket shows them; retention that never takes too much."""

from __future__ import annotations

import fcntl
import json
import re
from pathlib import Path

import pytest

from roles.walg.files.pgsafe_parts import backup, fence
from roles.walg.files.pgsafe_parts.common import BUSY, REFUSED, Config, PgsafeError, only_one
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


def name(number: int) -> str:
    return f"base_{1:08X}{0:08X}{number:08X}"


OLDEST = entry(name(1), "2026-01-01T00:00:00Z")
OLD = entry(name(2), "2026-11-22T03:17:00.000001Z")
NEW = entry(name(3), "2026-11-23T12:00:10.000001Z")


def in_the_bucket(walg: Walg, *catalogues: list[dict[str, object]]) -> None:
    """What backup-list answers, one after the other; the last for ever."""
    for number, listed in enumerate(catalogues):
        walg.answer("backup-list", stdout=json.dumps(listed), once=number < len(catalogues) - 1)


def test_a_backup_is_good_when_the_bucket_shows_it(config: Config, walg: Walg) -> None:
    walg.holds_identity()
    walg.answer("backup-push")
    in_the_bucket(walg, [OLD], [OLD, NEW])
    receipt = backup.make(config)
    assert receipt["made"] is True
    assert receipt["backup"]["backup_name"] == name(3)
    assert (receipt["backups"], receipt["deleted"]) == (2, 0)
    assert walg.asked() == ["st cat", "backup-list", "st cat", "backup-push", "backup-list"]


@pytest.mark.parametrize(
    "listed",
    [[], [OLD], [OLD, entry(name(3), "2026-11-23T12:00:10Z", OTHER)]],
    ids=["nothing", "only the old one", "one of another cluster"],
)
def test_success_without_a_backup_in_the_bucket_is_a_failure(
    config: Config, walg: Walg, listed: list[dict[str, object]]
) -> None:
    walg.holds_identity()
    walg.answer("backup-push")
    in_the_bucket(walg, [OLD], listed)
    with pytest.raises(PgsafeError, match="reported success, but the archive"):
        backup.make(config)


def test_a_clock_that_was_turned_back_hides_no_backup_and_deletes_none(config: Config, walg: Walg) -> None:
    """The new one seems older than the others: it is found by its name, and nothing is deleted by time."""
    walg.holds_identity()
    walg.answer("backup-push")
    before = [OLDEST, OLD, entry(name(3), "2026-11-23T12:00:10Z")]
    in_the_bucket(walg, before, [*before, entry(name(4), "2026-06-01T00:00:00Z")])
    receipt = backup.make(config)
    assert receipt["backup"]["backup_name"] == name(4)
    assert "delete" not in walg.asked()


def test_a_fenced_cluster_makes_no_backup(config: Config, walg: Walg) -> None:
    fence.put_up(config, "a restore runs")
    with pytest.raises(PgsafeError, match=r"is fenced \(a restore runs\)") as caught:
        backup.make(config)
    assert caught.value.code == REFUSED
    assert walg.asked() == []


def test_a_failed_push_says_why_and_deletes_nothing(config: Config, walg: Walg) -> None:
    walg.holds_identity()
    in_the_bucket(walg, [OLD])
    walg.answer(
        "backup-push", exit=1, stderr="INFO: 2026/11/23 01:00:00.1 Starting\nERROR: 2026/11/23 01:00:00.1 no room\n"
    )
    with pytest.raises(PgsafeError, match=r"wal-g backup-push failed \(exit 1\): no room"):
        backup.make(config)
    assert "delete" not in walg.asked()


@pytest.mark.parametrize(
    ("listed", "made"), [([OLD], False), ([], True), ([entry(name(9), "2026-11-22T03:17:00Z", OTHER)], True)]
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
    in_the_bucket(walg, [OLD])
    monkeypatch.setattr(backup, "query", lambda *_arguments, **_options: "t")
    with pytest.raises(PgsafeError, match="in recovery"):
        backup.make(config)


def test_only_one_at_a_time(config: Config, walg: Walg) -> None:
    walg.holds_identity()
    with Path(config.state, "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(PgsafeError, match="another backup, restore or drill is running") as caught:
            backup.make(config)
    assert caught.value.code == BUSY
    assert "backup-push" not in walg.asked()


def test_the_lock_is_free_again_whatever_happened(config: Config) -> None:
    def fail() -> None:
        with only_one(config, 0):
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    with only_one(config, 0):
        pass


@pytest.mark.parametrize(
    ("days", "proven", "kept_from"),
    [
        # with keep_full 2 and keep_days 14, from the oldest to the newest, in days before now
        ([], 0, None),
        ([40, 30], 0, None),
        # the newest two are kept, and the last one before the window
        ([40, 30, 20], 0, 2),
        ([40, 30, 20, 10, 5], 0, 3),
        ([40, 30, 20, 16, 13, 12, 1], 0, 4),
        # all within the window
        ([13, 12, 11, 1], 0, None),
        # one that begins the window is enough
        ([15, 13, 12, 1], 0, None),
        # a drill has proven the first, the third; a proof of what is gone binds nothing
        ([40, 30, 20, 10, 5], 1, None),
        ([40, 30, 25, 20, 10, 5], 3, 3),
        ([40, 30, 20, 10, 5], 77, 3),
    ],
)
def test_what_is_kept(config: Config, days: list[int], proven: int, kept_from: int | None) -> None:
    listed = [entry(name(n), backup.iso(NOON - day * 86400)) for n, day in enumerate(days, 1)]
    found = backup.oldest_to_keep(config, parse_catalogue(json.dumps(listed)), NOON, name(proven))
    assert found == ("" if kept_from is None else name(kept_from))


def test_a_clock_that_jumped_ahead_takes_no_more_than_the_number_to_keep(config: Config) -> None:
    listed = [entry(name(n), f"2026-11-{n + 10}T03:17:00Z") for n in range(1, 13)]
    found = backup.oldest_to_keep(config, parse_catalogue(json.dumps(listed)), NOON + 400 * 86400)
    # everything is outside the window; the last of it still begins the window, and two are always kept
    assert found == name(11)


def test_a_drill_that_fails_later_does_not_unprove_a_backup(config: Config) -> None:
    result = Path(config.reports, "drill.json")
    assert backup.drilled(config) == ""
    result.write_text(json.dumps({"backup": name(1), "passed": True, "at": "2026-11-20T00:00:00Z"}))
    assert backup.drilled(config) == name(1)
    result.write_text(json.dumps({"backup": name(2), "passed": False, "at": "2026-11-21T00:00:00Z"}))
    assert backup.drilled(config) == name(1)
    result.write_text(json.dumps({"backup": name(2), "passed": True, "at": "2026-11-22T00:00:00Z"}))
    assert backup.drilled(config) == name(2)
    result.write_text("cut off")
    assert backup.drilled(config) == name(2)


def test_retention_asks_for_everything_before_the_oldest_to_keep(config: Config, walg: Walg) -> None:
    walg.holds_identity()
    walg.answer("backup-push")
    older = entry(name(0), "2025-12-01T00:00:00Z")
    in_the_bucket(walg, [older, OLDEST, OLD], [older, OLDEST, OLD, NEW], [OLDEST, OLD, NEW])
    walg.answer("delete")
    assert backup.make(config)["deleted"] == 1
    asked = next(call["arguments"] for call in walg.calls() if call["arguments"][0] == "delete")
    assert asked == ["delete", "before", "FIND_FULL", name(1), "--use-sentinel-time", "--confirm"]


def test_old_backups_that_stay_are_told_and_the_new_one_is_called_good(config: Config, walg: Walg) -> None:
    walg.holds_identity()
    walg.answer("backup-push")
    older = entry(name(0), "2025-12-01T00:00:00Z")
    in_the_bucket(walg, [older, OLDEST, OLD], [older, OLDEST, OLD, NEW])
    walg.answer("delete", exit=1, stderr="ERROR: 2026/11/23 01:00:00.1 locked\n")
    with pytest.raises(PgsafeError, match=rf"{name(3)} is made and good, but old ones were not deleted: .*locked"):
        backup.make(config)


def test_a_new_backup_that_retention_took_is_noticed(config: Config, walg: Walg) -> None:
    walg.holds_identity()
    walg.answer("backup-push")
    older = entry(name(0), "2025-12-01T00:00:00Z")
    in_the_bucket(walg, [older, OLDEST, OLD], [older, OLDEST, OLD, NEW], [OLDEST, OLD])
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
    assert [one.name for one in found] == [name(2), name(3), "base_000"]
    assert parse_catalogue("") == []


def test_times_compare_as_text() -> None:
    assert backup.iso(NOON) == "2026-11-23T12:00:00.000000Z"
    assert re.fullmatch(r"[0-9T:.-]+Z", backup.iso(NOON + 0.5))
    assert isinstance(parse_catalogue(json.dumps([NEW]))[0], Backup)
