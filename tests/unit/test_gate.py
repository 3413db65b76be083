"""The gate: order, parallel steps, what a failure holds back, and the closing count."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests import gate


@pytest.fixture(autouse=True)
def _output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "OUTPUT", tmp_path)
    monkeypatch.setattr(gate, "ROOT", tmp_path)


def step(name: str, code: str, needs: tuple[str, ...] = ()) -> gate.Step:
    return gate.Step(name, [sys.executable, "-c", code], needs)


def test_steps_wait_for_what_they_need(tmp_path: Path) -> None:
    touch = f"import pathlib; pathlib.Path({str(tmp_path / 'made')!r}).touch()"
    look = f"import pathlib, sys; sys.exit(not pathlib.Path({str(tmp_path / 'made')!r}).exists())"
    one = gate.Gate([step("look", look, ("touch",)), step("touch", touch)], workers=4)
    one.run()
    assert one.report() == 0


def test_a_failure_holds_back_only_what_needs_it(capsys: pytest.CaptureFixture[str]) -> None:
    one = gate.Gate(
        [step("bad", "print('the cause'); raise SystemExit(1)"), step("after", "", ("bad",)), step("other", "")],
        workers=2,
    )
    one.run()
    assert one.report() == 1
    said = capsys.readouterr()
    assert said.out.splitlines()[-1] == "1 passed, 2 failed"
    assert "the cause" in said.err
    assert [one.steps[name].state for name in ("bad", "after", "other")] == ["failed", "blocked", "passed"]


def test_counts_come_from_the_junit_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "unit.xml").write_text(
        '<testsuites><testsuite tests="7" failures="1" errors="1" skipped="1"/></testsuites>'
    )
    one = gate.Gate([step("unit", "raise SystemExit(1)")], workers=1)
    one.run()
    assert one.report() == 1
    assert capsys.readouterr().out.splitlines()[-1] == "4 passed, 2 failed"


def test_a_step_that_fails_after_green_tests_still_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "molecule-x.xml").write_text('<testsuites><testsuite tests="5" failures="0" errors="0"/></testsuites>')
    one = gate.Gate([step("molecule-x", "raise SystemExit(2)")], workers=1)
    one.run()
    assert one.report() == 1
    assert capsys.readouterr().out.splitlines()[-1] == "5 passed, 1 failed"


def test_every_scenario_of_the_tree_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "ROOT", Path(gate.__file__).parents[1])
    names = {one.name for one in gate.test_steps()}
    assert {f"molecule-{name}" for name in gate.SCENARIOS} <= names
    assert len(gate.SCENARIOS) >= 7


def test_a_failed_test_is_named_with_its_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The end of a scenario's log is of the host's removal and not of the cause."""
    (tmp_path / "molecule-x.xml").write_text(
        '<testsuites><testsuite tests="1" failures="1"><testcase classname="test_x" name="test_it">'
        '<failure message="assert 1 == 2">trace</failure></testcase></testsuite></testsuites>'
    )
    gate.Gate([step("molecule-x", "print('hosts are gone'); raise SystemExit(1)")], workers=1).run()
    said = capsys.readouterr().err
    assert "    test_x::test_it\n        assert 1 == 2\n" in said
