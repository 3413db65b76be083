"""A restore in place, killed at every change it makes: it can always be finished, and always be taken back."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from roles.walg.files.pgsafe_parts import archive, common, inplace, journal, lineage
from roles.walg.files.pgsafe_parts.common import REFUSED, Config, PgsafeError

from .restore_world import ENDED, FRESH, KilledError, World


@pytest.fixture
def world(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    values = json.loads(Path(config.path).read_text())
    values |= {"reports": str(tmp_path / "reports"), "journal": str(tmp_path / "journal" / "journal.json")}
    Path(config.path).write_text(json.dumps(values))
    monkeypatch.setattr(inplace, "say", lambda _text: None)
    monkeypatch.setattr(journal, "say", lambda _text: None)
    return World(config, monkeypatch)


def is_restored(world: World) -> None:
    assert world.whose() == "base_1 opened released"
    assert world.names() in (["data", "data.before"], ["data", "data.before", "data.restoring"])
    before = next(world.data.parent.glob("data.before-*"))
    assert world.whose(before) == "old"
    assert (world.server, world.app) == (True, True)
    assert not Path(world.config().fence).exists()
    assert world.prefix() == FRESH
    assert world.bucket[ENDED, "SUCCESSOR.json"]["prefix"] == FRESH
    assert world.stored[-1] == FRESH
    assert not world.journal()


def is_as_before(world: World) -> None:
    assert world.whose() == "old"
    assert set(world.names()) <= {"data", "data.undone"}
    assert (world.server, world.app) == (True, True)
    assert not Path(world.config().fence).exists()
    assert world.prefix() == ENDED
    assert (ENDED, "SUCCESSOR.json") not in world.bucket
    assert not world.journal()


def test_the_way_through(world: World) -> None:
    result = world.begin()
    assert result["state"] == "done"
    assert (result["prefix"], result["backup"]) == (FRESH, "base_2")
    assert result["rto_seconds"] >= 0
    is_restored(world)
    line = json.loads((Path(world.config().reports) / "restores.jsonl").read_text())
    assert line["id"] == result["id"]
    assert line["aside"].endswith(f"data.before-{result['id']}")


def killed(world: World, at: int) -> bool:
    """Runs until that tick; whether it was reached."""
    world.ticks, world.kill_at = 0, at
    try:
        world.begin()
    except KilledError:
        return True
    finally:
        world.kill_at = -1
    return False


def every_tick(world: World) -> int:
    world.begin()
    return world.ticks


def test_there_are_many_moments_to_be_killed_at(world: World) -> None:
    """The two tests below try the first 200; this says that they are enough, and not too few to mean anything."""
    assert 80 < every_tick(world) < 200


@pytest.mark.parametrize("at", range(1, 200))
def test_killed_anywhere_it_can_be_finished(world: World, at: int) -> None:
    if not killed(world, at):
        is_restored(world)
        return
    if world.journal():
        inplace.go_on(world.machine())
    elif world.prefix() == ENDED:
        # it had not begun
        is_as_before(world)
        return
    is_restored(world)


@pytest.mark.parametrize("at", range(1, 200))
def test_killed_anywhere_it_can_be_taken_back(world: World, at: int) -> None:
    """What was in use between the restore and its undo is kept as well."""
    if not killed(world, at):
        return
    if world.journal():
        result = inplace.take_back(world.machine())
        is_as_before(world)
        kept = [name for name in world.names() if name == "data.undone"]
        assert bool(kept) == (result["kept"] is not None)
    elif world.prefix() == FRESH:
        is_restored(world)
    else:
        is_as_before(world)


@pytest.mark.parametrize("at", range(20, 150, 13))
@pytest.mark.parametrize("again", range(1, 60, 7))
def test_the_way_back_can_be_killed_as_well(world: World, at: int, again: int) -> None:
    if not killed(world, at) or not world.journal():
        return
    world.ticks, world.kill_at = 0, again
    try:
        inplace.take_back(world.machine())
    except KilledError:
        world.kill_at = -1
        if world.journal():
            if world.journal().content["direction"] == "back":
                with pytest.raises(PgsafeError, match="is being taken back"):
                    inplace.go_on(world.machine())
            inplace.take_back(world.machine())
    is_as_before(world)


@pytest.mark.parametrize("fault", ["fetch", "replay", "promote", "start", "backup"])
def test_a_step_that_fails_leaves_both_ways_open(world: World, fault: str) -> None:
    world.faults = {fault}
    with pytest.raises(PgsafeError, match=f"{fault} fails"):
        world.begin()
    assert world.journal()
    world.faults = set()
    inplace.go_on(world.machine())
    is_restored(world)


@pytest.mark.parametrize("fault", ["fetch", "replay", "promote", "backup"])
def test_a_step_that_fails_can_be_taken_back(world: World, fault: str) -> None:
    world.faults = {fault}
    with pytest.raises(PgsafeError, match=f"{fault} fails"):
        world.begin()
    inplace.take_back(world.machine())
    is_as_before(world)


def test_without_a_decision_it_waits_with_nothing_changed_but_the_app(world: World) -> None:
    result = world.begin(promote=False)
    assert result["state"] == "paused"
    assert world.whose() == "old"
    assert (world.server, world.app) == (False, False)
    assert Path(world.config().fence).exists()
    world.journal().note(promote=True)
    opened = world.machine()
    opened.journal.note(promote=True)
    assert inplace.go_on(opened)["state"] == "done"
    is_restored(world)


def test_it_moves_forward_and_not_back(world: World) -> None:
    world.begin(promote=False)
    journal = world.journal()
    for target in ("2026-11-23T10:59:59Z", "0/1F0"):
        with pytest.raises(PgsafeError, match="moves forward only") as caught:
            inplace.move_target(journal, target)
        assert caught.value.code == REFUSED
    inplace.move_target(journal, "2026-11-23T11:00:01Z")
    assert journal.facts["target"] == "2026-11-23T11:00:01Z"
    assert inplace.go_on(world.machine())["state"] == "paused"


def test_an_open_copy_does_not_move(world: World) -> None:
    world.faults = {"backup"}
    with pytest.raises(PgsafeError):
        world.begin()
    with pytest.raises(PgsafeError, match="is open already"):
        inplace.move_target(world.journal(), "latest")


def test_a_second_one_is_refused_while_one_is_under_way(world: World) -> None:
    world.begin(promote=False)
    with pytest.raises(PgsafeError, match="a restore is under way since") as caught:
        world.begin()
    assert caught.value.code == REFUSED


def test_units_that_did_not_run_are_not_started(world: World) -> None:
    world.app = False
    world.begin()
    assert world.app is False


def test_two_restores_after_each_other(world: World) -> None:
    """Generations follow each other, also when the second one takes its data from the ended archive."""
    first = world.begin()
    world.bucket["s3://bucket/pg/x/17/g2", "more"] = {}
    config, log = world.config(), world.journal()
    (world.data.parent / Path(first["aside"]).name).rename(world.data.parent / "kept")
    inplace.open_journal(
        lineage.at(config, ENDED), log, world.machine_host(), target="latest", tip=config.prefix, promote=True
    )
    result = inplace.go_on(world.machine())
    assert result["prefix"] == "s3://bucket/pg/x/17/g3"
    assert world.bucket[FRESH, "SUCCESSOR.json"]["prefix"] == "s3://bucket/pg/x/17/g3"
    assert world.prefix() == "s3://bucket/pg/x/17/g3"
    assert lineage.newest(lineage.at(config, ENDED)).prefix == "s3://bucket/pg/x/17/g3"


def test_data_on_a_mount_point_are_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "ismount", lambda _path: True)
    with pytest.raises(PgsafeError, match="is a mount point or a link"):
        world.begin()


def test_segments_that_cannot_be_archived_hold_back_the_latest(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are in the old data, so an earlier target goes on, and tells."""
    status = world.data / "pg_wal" / "archive_status"
    status.mkdir(parents=True)
    (status / "000000010000000000000007.ready").touch()
    monkeypatch.setattr(archive, "push", lambda _config, _path: 1)
    with pytest.raises(PgsafeError, match="1 segments of the log could not be archived"):
        world.begin()
    inplace.take_back(world.machine())
    is_as_before(world)
    assert world.begin(target="2026-11-23T11:00:00Z")["unarchived"] == 1


def test_segments_that_waited_are_archived_before(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    status = world.data / "pg_wal" / "archive_status"
    status.mkdir(parents=True)
    for name in ("000000010000000000000007", "000000010000000000000008"):
        (status / f"{name}.ready").touch()
    sent: list[str] = []

    def push(_config: Config, path: str) -> int:
        sent.append(Path(path).name)
        return 0

    monkeypatch.setattr(archive, "push", push)
    assert world.begin()["unarchived"] == 0
    assert sent == ["000000010000000000000007", "000000010000000000000008"]


def test_a_fenced_server_archives_nothing(config: Config) -> None:
    Path(config.fence).touch()
    with pytest.raises(PgsafeError, match="nothing is archived until"):
        archive.push(config, "000000010000000000000001")


def test_one_run_at_a_time(world: World) -> None:
    with inplace.exclusive(world.config()), pytest.raises(PgsafeError) as caught, inplace.exclusive(world.config()):
        pass
    assert caught.value.code == common.BUSY
