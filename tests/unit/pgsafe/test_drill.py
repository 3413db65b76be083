"""Drills: what is picked, when there is room, what counts as a fault, and that nothing is left of them."""

from __future__ import annotations

import contextlib
import errno
import json
import random
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from roles.walg.files.pgsafe_parts import checks, drill, verify, window
from roles.walg.files.pgsafe_parts.common import Config, PgsafeError, RefusedError
from roles.walg.files.pgsafe_parts.instance import Instance
from roles.walg.files.pgsafe_parts.segments import Chain
from roles.walg.files.pgsafe_parts.walg import Backup

from .conftest import Walg

NOON = 1795435200.0
GOOD = {
    "target": "latest",
    "backup": "base_1",
    "segments": 3,
    "recovered_to": "2026-11-23T11:59:00Z",
    "rpo_seconds": 60.0,
    "rto_seconds": 4.0,
    "parts": {"fetch": 1.0},
    "checks": [{"name": "pg_amcheck", "ok": True, "detail": "no faults"}],
    "rates": {"bytes_per_second": 1, "segments_per_second": 2.0},
}


@pytest.fixture
def reports(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    config.reports = str(tmp_path / "reports")
    monkeypatch.setattr(drill, "now", lambda: NOON)
    monkeypatch.setattr(verify, "now", lambda: NOON)
    return Path(config.reports)


def outcome(monkeypatch: pytest.MonkeyPatch, result: Any) -> None:
    def restored(_config: Config, home: str, *_arguments: object) -> dict[str, Any]:
        Path(home).mkdir()
        if isinstance(result, Exception):
            raise result
        return dict(result)

    monkeypatch.setattr(drill, "_restore", restored)


def test_a_pass_is_written_down_here_and_in_the_bucket(
    config: Config, walg: Walg, reports: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome(monkeypatch, GOOD)
    walg.answer("st", "put")
    result = drill.run(config)
    assert (result["passed"], result["outcome"], result["reason"], result["runs"]) == (True, "passed", "", 1)
    assert result["last_pass"] == "2026-11-23T12:00:00.000000Z"
    assert result["last_pass_backup"] == "base_1"
    assert json.loads((reports / "drill.json").read_text()) == result
    assert walg.calls()[-1]["arguments"][-1] == "drills/2026-11-23T120000Z.json"
    assert not Path(config.restores, "drill").exists()
    assert "PASSED" in drill.as_text(result)
    drill.must_have_passed(result)


@pytest.mark.parametrize(
    ("told", "expected", "reason"),
    [
        ({**GOOD, "checks": [{"name": "rows", "ok": False, "detail": "3 rows"}]}, "failed", "rows: 3 rows"),
        (PgsafeError("the copy did not open"), "failed", "did not open"),
        (OSError(28, "No space left on device"), "failed", "No space left"),
        (RefusedError("there is nothing to restore"), "failed", "nothing to restore"),
        (drill.NoRoomError("a drill needs 900 MB"), "skipped", "needs 900 MB"),
    ],
    ids=["a check", "a restore", "the disk", "no backup", "no room"],
)
def test_what_is_no_pass_keeps_the_last_one(
    config: Config,
    walg: Walg,
    reports: Path,
    monkeypatch: pytest.MonkeyPatch,
    told: Any,
    expected: str,
    reason: str,
) -> None:
    """The last pass is what the alarm goes by; a skipped drill is told as loudly as a failed one."""
    walg.answer("st", "put")
    outcome(monkeypatch, GOOD)
    passed = drill.run(config)
    outcome(monkeypatch, told)
    monkeypatch.setattr(drill, "now", lambda: NOON + 604800)
    result = drill.run(config)
    assert result["outcome"] == expected
    assert reason in result["reason"]
    assert (result["last_pass"], result["last_pass_backup"]) == (passed["last_pass"], "base_1")
    assert result["runs"] == 2
    assert json.loads((reports / "drill.json").read_text())["outcome"] == expected
    assert not Path(config.restores, "drill").exists()
    with pytest.raises(PgsafeError, match=f"the drill has {expected}"):
        drill.must_have_passed(result)


def test_what_an_earlier_drill_left_is_removed(
    config: Config, walg: Walg, reports: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert reports
    Path(config.restores, "drill", "data").mkdir(parents=True)
    walg.answer("st", "put")
    outcome(monkeypatch, GOOD)
    assert drill.run(config)["outcome"] == "passed"
    assert not Path(config.restores, "drill").exists()


def test_what_still_writes_into_the_copy_does_not_keep_it(config: Config, tmp_path: Path) -> None:
    """WAL-G's processes that bring segments ahead outlive the server they do it for."""
    folder, began = tmp_path / "copy" / "data" / "pg_wal", threading.Event()
    folder.mkdir(parents=True)

    def bring_ahead() -> None:
        with contextlib.suppress(FileNotFoundError):
            for number in range(400):
                (folder / f"{number}").touch()
                began.set()
                time.sleep(0.0005)

    writer = threading.Thread(target=bring_ahead)
    writer.start()
    assert began.wait(60)
    Instance(config, str(tmp_path / "copy")).remove()
    assert not (tmp_path / "copy").exists()
    writer.join(60)


def test_what_cannot_be_removed_makes_a_drill_fail(
    config: Config, walg: Walg, reports: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert reports
    walg.answer("st", "put")
    outcome(monkeypatch, GOOD)

    def refuse(_path: str) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr("shutil.rmtree", refuse)
    result = drill.run(config)
    assert (result["outcome"], result["passed"]) == ("failed", False)
    assert "drill cannot be removed (Device or resource busy): remove it by hand" in result["reason"]


def test_without_the_store_the_result_is_still_here(
    config: Config, walg: Walg, reports: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome(monkeypatch, GOOD)
    walg.answer("st", "put", exit=1, stderr="ERROR: connection refused")
    assert "the result is not in the bucket" in drill.run(config)["reason"]
    assert json.loads((reports / "drill.json").read_text())["outcome"] == "passed"


def test_every_second_run_goes_to_a_random_second_inside_the_window() -> None:
    found = window.Window([], [(1000.0, 1100.0), (2000.0, 2500.0)], [])
    chance = random.Random(7)
    assert drill.pick(found, 1, chance) == "latest"
    assert drill.pick(found, 3, chance) == "latest"
    picked = {window.seconds(drill.pick(found, 2, chance)) for _ in range(300)}
    assert all(1000 < at <= 1100 or 2000 < at <= 2500 for at in picked)
    assert len(picked) > 150
    assert any(at <= 1100 for at in picked)


def test_an_empty_window_is_left_to_the_restore_to_refuse() -> None:
    assert drill.pick(window.Window([], [], []), 2, random.Random(7)) == "latest"


def test_memory_is_what_programs_can_have() -> None:
    assert drill.available_memory("MemTotal: 10 kB\nMemAvailable:    512 kB\n") == 512 * 1024
    assert drill.available_memory("") == 0


def test_production_comes_first(config: Config) -> None:
    drill.must_have_room(config, 1, memory=2**30)
    with pytest.raises(RefusedError, match="MB of memory"):
        drill.must_have_room(config, 1, memory=2**27)
    with pytest.raises(RefusedError, match=r"10% of the disk left"):
        drill.must_have_room(config, 2**60, memory=2**30)


@pytest.mark.parametrize(
    ("where", "target", "at", "good"),
    [
        ({"complete": True, "recovered_to": "2026-11-23T11:00:00Z"}, "latest", 0.0, True),
        ({"complete": False, "recovered_to": "2026-11-23T11:00:00Z"}, "x", NOON, False),
        ({"complete": True, "recovered_to": "2026-11-23T12:00:01Z"}, "x", NOON, False),
        ({"complete": True, "recovered_to": None}, "x", NOON, True),
    ],
)
def test_a_copy_that_stands_elsewhere_is_a_fault(where: dict[str, Any], target: str, at: float, good: bool) -> None:
    assert drill._position(where, target, at)["ok"] is good


class Answers:
    """An instance that answers from a table."""

    socket, port, data = "/s", 5499, "/d"

    def __init__(self, **answers: str) -> None:
        self.answers = answers

    def query(self, sql: str, database: str = "postgres") -> str:
        assert database
        for part, answer in self.answers.items():
            if part in sql:
                return answer
        raise PgsafeError(f"PostgreSQL says: no answer for {sql}")


def test_floors_and_probes() -> None:
    instance: Any = Answers(tree="7", yes="t", no="f", nothing="")
    assert checks.floor(instance, "app:tree:7")["ok"] is True
    low = checks.floor(instance, "app:public.tree:8")
    assert (low["ok"], low["detail"]) == (False, "public.tree of app has 7 rows, not the 8 that it must have")
    assert checks.floor(instance, "app:absent:1")["ok"] is False
    assert checks.probe(instance, "app:SELECT yes")["ok"] is True
    assert checks.probe(instance, "app:SELECT no")["ok"] is False
    assert checks.probe(instance, "app:SELECT nothing")["ok"] is False
    assert checks.probe(instance, "app:SELECT wrong")["ok"] is False


@pytest.mark.parametrize(
    "text", ["app:tree", "app:tree:", "app:tree:x", "tree:5", "app:a.b.c:5", "a b:tree:5", 'a:"t":5']
)
def test_what_is_no_floor(text: str) -> None:
    with pytest.raises(RefusedError, match="is no floor: write DATABASE:TABLE:ROWS"):
        checks.split_floor(text)


ANSWER = {
    "integrity": {"status": "OK", "details": []},
    "timeline": {"status": "OK", "details": {"current_timeline_id": 1, "highest_storage_timeline_id": 1}},
}
A, C, E = ("00000001000000000000000A", "00000001000000000000000C", "00000001000000000000000E")
LOST = {
    "status": "FAILURE",
    "details": [
        {"start_segment": A, "end_segment": A, "segments_count": 1, "status": "MISSING_LOST"},
        {"start_segment": C, "end_segment": E, "segments_count": 3, "status": "MISSING_LOST"},
    ],
}
WHOLE = window.Window([], [(1.0, 2.0)], [])


def begins_at(name: str) -> window.Window:
    """A window whose newest backup begins with that segment."""
    backup = Backup(f"base_{name}", "", "", "1", 170011, 1, 1, False)
    return window.Window([window.Reach(backup, Chain([name], None), 1.0, 2.0)], [(1.0, 2.0)], [])


@pytest.mark.parametrize(
    ("answer", "found", "message"),
    [
        (ANSWER, WHOLE, ""),
        ({**ANSWER, "integrity": LOST}, WHOLE, f"{A}, {C}..{E} not in the archive"),
        ({**ANSWER, "integrity": LOST}, begins_at(C), f"{C}..{E} not in the archive"),
        ({**ANSWER, "integrity": LOST}, begins_at("00000001000000000000000F"), ""),
        ({**ANSWER, "integrity": {"status": "WARNING", "details": []}}, WHOLE, ""),
        (
            {
                **ANSWER,
                "timeline": {
                    "status": "FAILURE",
                    "details": {"current_timeline_id": 1, "highest_storage_timeline_id": 3},
                },
            },
            WHOLE,
            "the archive holds timeline 3, the server is on 1",
        ),
        (ANSWER, window.Window([], [], []), "no backup in the archive can be restored"),
    ],
)
def test_what_verify_finds(answer: dict[str, Any], found: window.Window, message: str) -> None:
    told = verify.problems(answer, found)
    assert len(told) == (1 if message else 0)
    assert message in "".join(told)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"exit": 1, "stderr": "ERROR: connection refused"}, "connection refused"),
        ({"stdout": "{}"}, "answered something else than its JSON"),
        ({"stdout": "no"}, "answered something else than its JSON"),
    ],
)
def test_verify_writes_down_that_it_could_not(
    config: Config, walg: Walg, reports: Path, answer: dict[str, Any], message: str
) -> None:
    walg.answer("wal-verify", **answer)
    walg.holds_identity()
    walg.answer("st", "ls", "wal_005/")
    walg.answer("backup-list", stdout="[]")
    result = verify.check(config)
    assert result["passed"] is False
    assert message in result["problems"][0]
    assert json.loads((reports / "verify.json").read_text()) == result
    with pytest.raises(PgsafeError, match=message):
        verify.must_be_well(result)
