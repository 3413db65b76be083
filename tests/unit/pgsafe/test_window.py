"""From when to when: gaps, timelines, incomplete backups; and which backup leads to a target."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from roles.walg.files.pgsafe_parts import plan, segments, target, window
from roles.walg.files.pgsafe_parts.common import REFUSED, Config, PgsafeError
from roles.walg.files.pgsafe_parts.segments import SIZE, Log
from roles.walg.files.pgsafe_parts.walg import Backup

from .conftest import IDENTIFIER, Walg

NOON = 1795435200.0  # 2026-11-23T12:00:00Z
MINUTE = 60.0


@pytest.fixture(autouse=True)
def _evening(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target, "now", lambda: NOON + 3600)


def log(*numbers: int, timeline: int = 1, at: float = NOON) -> Log:
    """Segments, one a minute: number 3 was stored three minutes after ``at``."""
    names = {segments.join(timeline, number): at + number * MINUTE for number in numbers}
    return Log(dict.fromkeys(names, 1000), names)


def backup(number: int, timeline: int = 1) -> Backup:
    """A backup within one segment, finished half a minute before that segment was closed."""
    finished = datetime.fromtimestamp(NOON + number * MINUTE - 30, UTC)
    stamp = finished.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    start = number * SIZE
    name = f"base_{segments.join(timeline, number)}"
    return Backup(name, stamp, stamp, str(IDENTIFIER), 170011, 10**8, 10**7, False, start + 40, start + 400)


def at(minutes: float) -> target.Target:
    moment = datetime.fromtimestamp(NOON + minutes * MINUTE, UTC)
    return target.parse(moment.strftime("%Y-%m-%dT%H:%M:%SZ"))


@pytest.mark.parametrize("name", ["000000010000000000000001", "0000000200000003000000FF", "000000010000000A00000000"])
def test_names_of_segments(name: str) -> None:
    assert segments.join(*segments.split(name)) == name


def test_the_sequence_has_256_segments_a_file() -> None:
    assert segments.split("000000010000000100000000")[1] == segments.split("0000000100000000000000FF")[1] + 1


def test_a_listing_as_recorded() -> None:
    listing = (
        "type size    last modified                     name\n"
        "obj  2386870 2026-11-23 01:20:49.093 +0000 UTC 000000010000000000000001.zst                  \n"
        "obj  207     2026-11-23 01:20:49.346 +0000 UTC 000000010000000000000002.00000028.backup.zst  \n"
        "obj  1977    2026-11-23 01:20:49 +0000 UTC     000000010000000000000002.zst                  \n"
        "obj  44      2026-11-23 01:20:50 +0000 UTC     00000002.history.zst  \n"
        "dir  0       0001-01-01 00:00:00 +0000 UTC     other/  \n"
    )
    sizes, stored, histories = segments.parse(listing)
    assert sizes == {"000000010000000000000001": 2386870, "000000010000000000000002": 1977}
    assert stored["000000010000000000000001"] == pytest.approx(1795396849.093)
    assert histories == ["00000002.history"]


def test_a_history() -> None:
    text = "1\t0/3000060\tno recovery target specified\n\n2\t1/A0\tbefore 2026-11-20 14:00:00+00\n"
    assert segments.parse_history(text) == [(1, 0x3000060), (2, 0x1000000A0)]


def test_one_backup_and_its_log() -> None:
    found = window.measure([backup(3)], log(2, 3, 4, 5))
    assert found.ranges == [(NOON + 150, NOON + 300)]
    assert found.lost == []


def test_two_backups_make_one_range() -> None:
    found = window.measure([backup(3), backup(5)], log(3, 4, 5, 6))
    assert found.ranges == [(NOON + 150, NOON + 360)]
    assert [reach.backup.name[-2:] for reach in found.reaches] == ["03", "05"]


def test_a_lost_segment_is_a_gap_until_the_next_backup() -> None:
    found = window.measure([backup(3), backup(7)], log(3, 4, 6, 7, 8))
    assert found.ranges == [(NOON + 150, NOON + 240), (NOON + 390, NOON + 480)]
    assert found.lost == [segments.join(1, 5)]


def test_a_backup_without_its_own_log_is_none() -> None:
    """Its replay would never become consistent."""
    assert window.measure([backup(3)], log(2, 4)).ranges == []
    long = Backup(**{**backup(3).__dict__, "finish_lsn": 5 * SIZE + 1})
    assert window.measure([long], log(3, 4)).ranges == []
    assert window.measure([long], log(3, 4, 5)).ranges != []


def test_the_log_goes_on_over_a_change_of_timeline() -> None:
    """Timeline 2 begins in segment 5, of which it holds a whole copy."""
    both = log(3, 4)
    later = log(5, 6, timeline=2)
    joined = Log({**both.sizes, **later.sizes}, {**both.stored, **later.stored}, {2: [(1, 5 * SIZE + 100)]})
    found = window.measure([backup(3)], joined)
    assert found.reaches[0].chain.names[-2:] == [segments.join(2, 5), segments.join(2, 6)]
    assert found.ranges == [(NOON + 150, NOON + 360)]


def test_a_backup_on_a_timeline_that_was_left_leads_nowhere() -> None:
    stray = log(3, 4, timeline=3)
    main = log(1, 2, 3)
    joined = Log({**main.sizes, **stray.sizes}, {**main.stored, **stray.stored}, {3: [(2, 2 * SIZE)]})
    assert window.measure([backup(2)], joined).reaches == []


def two_ranges() -> window.Window:
    return window.measure([backup(3), backup(7)], log(3, 4, 6, 7, 8))


@pytest.mark.parametrize(
    ("wanted", "number"),
    [(at(3), "03"), (at(4), "03"), (at(7), "07"), (at(8), "07"), (target.Target("latest", "latest"), "07")],
)
def test_the_backup_is_chosen_by_its_end(wanted: target.Target, number: str) -> None:
    assert window.choose(two_ranges(), wanted, "s3://x").backup.name[-2:] == number


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (
            at(2),
            "is before the oldest restorable moment: the archive leads from 2026-11-23T12:02:30Z to 2026-11-23T12:08",
        ),
        (at(2.4), "is before the oldest"),
        (at(9), "is after the newest restorable moment: .*; ask for latest, or wait"),
        (at(5), "is in a gap: 000000010000000000000005 is not in the archive, .*T12:04:00Z and .*T12:06:30Z"),
        (at(4.1), "is in a gap"),
        (at(6.4), "is in a gap"),
        (target.Target("lsn", "0/1", lsn=1), "does not lead to 0/1"),
        (target.Target("lsn", "0/90", lsn=9 * SIZE + 1), "does not lead to"),
        (target.Target("name", "name:x"), "was not recorded by `pgsafe mark`"),
    ],
)
def test_targets_that_cannot_be_reached(wanted: target.Target, message: str) -> None:
    with pytest.raises(PgsafeError, match=message) as caught:
        window.choose(two_ranges(), wanted, "s3://x")
    assert caught.value.code == REFUSED


def test_the_latest_behind_a_gap_is_not_reached_by_accident() -> None:
    found = window.measure([backup(3)], log(3, 4, 6))
    with pytest.raises(PgsafeError, match=r"000000010000000000000005 is not in the archive, .* 2026-11-23T12:04:00Z"):
        window.choose(found, target.parse("latest"), "s3://x")


def test_positions_and_marked_points_choose_as_well() -> None:
    for kind in ("lsn", "name"):
        wanted = target.Target(kind, "x", lsn=4 * SIZE)
        assert window.choose(two_ranges(), wanted, "s3://x").backup.name[-2:] == "03"


def test_a_named_backup_must_lead_to_the_target() -> None:
    found = two_ranges()
    with pytest.raises(PgsafeError, match="holds no backup 'base_9'; it holds base_"):
        window.choose(found, at(3), "s3://x", "base_9")
    with pytest.raises(PgsafeError, match=r"cannot be reached from the backup .*: leave --backup out"):
        window.choose(found, at(7.5), "s3://x", found.reaches[0].backup.name)
    assert window.choose(found, target.parse("name:x"), "s3://x", found.reaches[1].backup.name).backup.name[-2:] == "07"


def test_an_empty_archive_restores_nothing() -> None:
    with pytest.raises(PgsafeError, match="holds no complete backup of this cluster: there is nothing to restore"):
        window.choose(window.measure([], log(1)), at(3), "s3://x")


def test_the_report(config: Config) -> None:
    found = window.report(two_ranges(), log(3, 4, 6, 7, 8), config)
    assert (found["oldest"], found["newest"]) == ("2026-11-23T12:02:30Z", "2026-11-23T12:08:00Z")
    assert found["gaps"] == [{"after": "2026-11-23T12:04:00Z", "before": "2026-11-23T12:06:30Z"}]
    text = window.as_text(found)
    assert "GAP         nothing between 2026-11-23T12:04:00Z and 2026-11-23T12:06:30Z" in text
    assert "lost        000000010000000000000005" in text
    assert "nothing can be restored" in window.as_text(window.report(window.measure([], log()), log(), config))


def test_the_segments_up_to_a_target() -> None:
    """The first one that was stored after it still holds what was committed before."""
    reach = window.measure([backup(3)], log(3, 4, 5, 6)).reaches[0]
    assert len(plan.needed(reach, log(3, 4, 5, 6), at(4.5))) == 3
    assert len(plan.needed(reach, log(3, 4, 5, 6), target.Target("latest", "latest"))) == 4
    assert len(plan.needed(reach, log(3, 4, 5, 6), target.Target("lsn", "x", lsn=4 * SIZE + 1))) == 2


def listing(*numbers: int) -> str:
    lines = ["type size last modified name"]
    for number in numbers:
        moment = datetime.fromtimestamp(NOON + number * MINUTE, UTC).strftime("%Y-%m-%d %H:%M:%S")
        lines.append(f"obj 1000 {moment} +0000 UTC {segments.join(1, number)}.zst")
    return "\n".join(lines)


def listed(one: Backup) -> str:
    names = {"backup_name": one.name, "is_permanent": one.permanent}
    return json.dumps([{**one.__dict__, **names}])


@pytest.fixture
def archive(config: Config, walg: Walg, monkeypatch: pytest.MonkeyPatch) -> Walg:
    def silent(*_arguments: object, **_options: object) -> str:
        raise PgsafeError("no server")

    monkeypatch.setattr(window, "query", silent)
    walg.holds_identity()
    walg.answer("st", "ls", "wal_005/", stdout=listing(3, 4, 5))
    walg.answer("backup-list", stdout=listed(backup(3)))
    Path(config.walg_config).write_text("{}")
    return walg


def test_a_plan_asks_for_one_segment_to_know_that_the_key_fits(config: Config, archive: Walg) -> None:
    archive.answer("wal-fetch")
    made = plan.make(config, "latest")
    assert made.backup.name == backup(3).name
    assert archive.calls()[-1]["arguments"][:2] == ["wal-fetch", segments.join(1, 3)]
    told = made.as_json()
    assert (told["segments"], told["bytes"]) == (3, 10**7 + 3000)
    assert "10.0 MB: the backup and 3 segments" in plan.as_text(told)


def test_an_archive_that_cannot_be_read_is_refused(config: Config, archive: Walg) -> None:
    archive.answer("wal-fetch", exit=1, stderr="ERROR: decryption failed")
    with pytest.raises(PgsafeError, match=r"cannot be read, .*decryption failed.*: if the key has changed") as caught:
        plan.make(config, "latest")
    assert caught.value.code == REFUSED


@pytest.mark.parametrize("key", ["WALG_LIBSODIUM_KEY_PATH", "WALG_PGP_KEY_PATH"])
def test_a_missing_key_is_refused_before_anything_is_asked(config: Config, walg: Walg, key: str) -> None:
    Path(config.walg_config).write_text(json.dumps({key: "/nowhere/key"}))
    with pytest.raises(PgsafeError, match=r"the key /nowhere/key is not there, .*: put it back") as caught:
        plan.make(config, "latest")
    assert caught.value.code == REFUSED
    assert walg.calls() == []


def test_another_clusters_archive_is_refused(config: Config, walg: Walg) -> None:
    Path(config.walg_config).write_text("{}")
    walg.holds_identity(1)
    with pytest.raises(PgsafeError, match=r"belongs to another cluster \(1, this host keeps"):
        plan.make(config, "latest")


def test_a_history_is_fetched_as_the_server_fetches_it(config: Config, walg: Walg) -> None:
    """Compressed and encrypted it is no text in the bucket."""
    line = "obj 44 2026-11-23 12:00:00 +0000 UTC 00000002.history.zst\n"
    walg.answer("st", "ls", "wal_005/", stdout=listing(3) + "\n" + line)
    walg.answer("wal-fetch", "00000002.history", write="1\t0/3000060\tno recovery target\n")
    assert segments.read(config).histories == {2: [(1, 0x3000060)]}
    assert list(Path(config.state).glob("history*")) == []
