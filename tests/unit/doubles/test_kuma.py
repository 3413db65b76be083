"""The double of Uptime Kuma keeps the rules that break clients, and its beats are real."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.doubles.kuma import Kuma, events, probes
from tests.doubles.kuma.core import LOGINS_PER_MINUTE


class Page:
    """A connection that keeps what it is sent."""

    def __init__(self) -> None:
        self.user = True
        self.sent: list[str] = []

    def emit(self, event: str, *_arguments: Any) -> None:
        self.sent.append(event)


GOOD = {
    "type": "http", "name": "a", "url": "http://127.0.0.1:1/", "interval": 60, "retryInterval": 60, "maxretries": 1,
    "accepted_statuscodes": ["200-299"], "notificationIDList": {}, "conditions": [],
}  # fmt: skip


def ask(kuma: Kuma, event: str, *arguments: Any) -> Any:
    return events.answer(kuma, Page(), event, list(arguments))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"conditions": None}, "NOT NULL constraint failed: monitor.conditions"),
        ({"tags": []}, "table monitor has no column named tags"),
        ({"accepted_statuscodes": [200]}, "Accepted status codes are not all strings"),
        ({"notificationIDList": None}, "Cannot convert undefined or null to object"),
        ({"interval": 0}, "Interval cannot be less than 1"),
    ],
)
def test_what_breaks_clients_breaks_here(change: dict[str, Any], said: str) -> None:
    kuma = Kuma()
    assert said in ask(kuma, "add", {**GOOD, **change})["msg"]
    assert ask(kuma, "add", GOOD)["ok"]
    assert ask(kuma, "add", GOOD)["ok"]
    assert len(kuma.data["monitors"]) == 2


def test_an_edit_empties_what_is_not_sent() -> None:
    kuma = Kuma()
    number = ask(kuma, "add", {**GOOD, "description": "mine"})["monitorID"]
    assert ask(kuma, "editMonitor", {**GOOD, "id": number})["ok"]
    assert kuma.monitor(number)["description"] is None


def test_nobody_is_served_without_a_login_and_all_logins_count() -> None:
    kuma, stranger = Kuma(), Page()
    stranger.user = False
    assert events.answer(kuma, stranger, "getTags", []) == {"ok": False, "msg": "You are not logged in."}
    assert events.answer(kuma, stranger, "noSuchEvent", []) is None
    assert ask(kuma, "setup", "admin", "correct-1")["ok"]
    assert "has been initialized" in ask(kuma, "setup", "admin", "correct-1")["msg"]
    good = {"username": "admin", "password": "correct-1", "token": ""}
    assert all(ask(kuma, "login", good)["ok"] for _ in range(LOGINS_PER_MINUTE))
    assert "Too frequently" in ask(kuma, "login", good)["msg"]


def test_beats_pass_from_pending_to_down_and_tell_once() -> None:
    kuma = Kuma()
    kuma.data["notifications"]["7"] = {"id": 7, "name": "operator", "isDefault": False, "config": {"type": "none"}}
    number = ask(kuma, "add", {**GOOD, "notificationIDList": {"7": True}})["monitorID"]
    seen = [probes.beat(kuma, kuma.monitor(number))["status"] for _ in range(3)]
    assert seen == [probes.PENDING, probes.DOWN, probes.DOWN]
    assert [(one["notification"], one["status"]) for one in kuma.told] == [("operator", probes.DOWN)]


def test_what_it_knows_outlives_it(tmp_path: Path) -> None:
    kuma = Kuma(tmp_path / "kuma.db")
    ask(kuma, "setup", "admin", "correct-1")
    ask(kuma, "add", GOOD)
    again = Kuma(tmp_path / "kuma.db")
    assert (again.user["name"], again.data, again.number) == ("admin", kuma.data, kuma.number)
