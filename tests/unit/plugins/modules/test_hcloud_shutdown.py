"""A server is shut down by its button, and left running where it does not go down."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.sapflux.hosting.plugins.modules import hcloud_shutdown

from tests.unit.plugins.modules.hcloud_module import CHECK, Runner


@pytest.fixture
def runner(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Runner:
    return Runner(hcloud_shutdown, capsys, monkeypatch)


def test_it_goes_down_once(runner: Runner) -> None:
    with runner.double() as double:
        assert runner(name="sapflux-1", **CHECK)["changed"] is True
        assert double.writes() == []
        done = runner(name="sapflux-1")
        assert (done["changed"], done["status"]) == (True, "off")
        before = len(double.writes())
        assert runner(name="sapflux-1")["changed"] is False
        assert double.writes()[before:] == []


class Stubborn:
    """Machines whose button does nothing for a while; the plug is never pulled."""

    def power(self, *_server_and_switch: Any, hard: bool) -> None:
        assert not hard
        raise RuntimeError("still writing")


def test_one_that_does_not_go_down_is_left_running(runner: Runner) -> None:
    with runner.double() as double:
        double.machines = Stubborn()  # type: ignore[assignment]
        assert "is not off after 2 s" in runner.fails(name="sapflux-1", seconds=2)
        assert double.named("servers", "sapflux-1")["status"] == "running"


def test_an_action_that_takes_its_time_or_fails(runner: Runner) -> None:
    with runner.double() as double:
        double.polls = 3
        assert runner(name="sapflux-1", seconds=30)["status"] == "off"
    with runner.double() as double:
        double.break_action("shutdown_server", "action_failed", "no button")
        assert "shutdown_server failed: no button; run this again" in runner.fails(name="sapflux-1")
    with runner.double() as double:
        double.polls = 10_000
        assert "is not done after 3 s" in runner.fails(name="sapflux-1", seconds=3)


def test_there_is_no_such_server(runner: Runner) -> None:
    with runner.double(empty=True):
        assert "there is no server sapflux-1 in this project" in runner.fails(name="sapflux-1")
