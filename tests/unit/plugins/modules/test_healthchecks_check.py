"""Checks as code, against the double: only what differs is sent, only what is ours is removed, no key is printed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from ansible.module_utils.common import warnings
from ansible.module_utils.testing import patch_module_args
from ansible_collections.sapflux.hosting.plugins.module_utils import _healthchecks
from ansible_collections.sapflux.hosting.plugins.modules import healthchecks_check

from tests.doubles.healthchecks import Healthchecks, healthchecks
from tests.doubles.healthchecks.checks import API_KEY, READ_KEY
from tests.doubles.web import Fault

BACKUP = {"slug": "backup", "schedule": "*-*-* 03:17:00", "tz": "Europe/Zurich", "grace": 3600, "desc": "see docs"}
BEAT = {"slug": "heartbeat", "timeout": 300, "grace": 300, "tags": ["host"]}


class Runner:
    """Runs the module for real against the double."""

    def __init__(self, double: Healthchecks, capsys: pytest.CaptureFixture[str]) -> None:
        self.double = double
        self.capsys = capsys

    def __call__(self, **arguments: Any) -> dict[str, Any]:
        warnings._global_warnings.clear()
        with (
            patch_module_args({"api_key": API_KEY, "base_url": self.double.url, **arguments}),
            pytest.raises(SystemExit),
        ):
            healthchecks_check.main()
        text = self.capsys.readouterr().out
        assert API_KEY not in text
        result: dict[str, Any] = json.loads(text)
        return result

    def fails(self, **arguments: Any) -> str:
        result = self(**arguments)
        assert result["failed"] is True, result
        return str(result["msg"])

    def check_then_do(self, **arguments: Any) -> dict[str, Any]:
        """Check mode writes nothing and says what the run then does; the second run is one read."""
        before = len(self.double.writes())
        planned = self(**arguments, _ansible_check_mode=True, _ansible_diff=True)
        assert planned.get("failed") is None, planned
        assert len(self.double.writes()) == before
        done = self(**arguments, _ansible_diff=True)
        assert (planned["changes"], planned.get("diff")) == (done["changes"], done.get("diff"))
        before = len(self.double.writes())
        again = self(**arguments)
        assert (again["changed"], again["changes"], len(self.double.writes())) == (False, [], before)
        return done


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Runner]:
    monkeypatch.setattr("ansible.module_utils._internal.is_controller", False)
    monkeypatch.setattr(_healthchecks, "pause", lambda _seconds: None)
    double = healthchecks()
    with double.running():
        yield Runner(double, capsys)


def test_from_nothing_to_unchanged_to_changed_to_nothing(run: Runner) -> None:
    done = run.check_then_do(checks=[BACKUP, BEAT])
    assert done["changes"] == ["create backup", "create heartbeat"]
    assert done["checks"]["backup"] == {"status": "new", "last_ping": None, "n_pings": 0}
    backup = run.double.with_slug("backup")[0]
    assert (backup.kind, backup.tz, backup.tags, backup.name) == (
        "oncalendar", "Europe/Zurich", "sapflux.hosting", "backup",
    )  # fmt: skip
    assert run.double.with_slug("heartbeat")[0].tags == "host sapflux.hosting"
    done = run.check_then_do(checks=[{**BACKUP, "grace": 7200}, {**BEAT, "timeout": 60}])
    assert done["changes"] == ["change backup: grace 3600 -> 7200", "change heartbeat: timeout 300 -> 60"]
    assert [seen.body for seen in run.double.writes()][-2:] == [{"grace": 7200}, {"timeout": 60}]
    assert run.check_then_do(checks=[BEAT | {"timeout": 60}], prune=True)["changes"] == ["remove backup"]
    assert run.check_then_do(prune=True)["changes"] == ["remove heartbeat"]
    assert run.double.checks == {}


def test_a_second_run_is_one_request_or_two_with_channels(run: Runner) -> None:
    run(checks=[BACKUP, BEAT])
    assert run(checks=[BACKUP, BEAT])["requests"] == 1
    told = {**BACKUP, "channels": ["Mail to the operator"]}
    run(checks=[told])
    assert run(checks=[told])["requests"] == 2


def test_what_a_person_made_by_hand_stays_and_what_is_open_stays_as_it_is(run: Runner) -> None:
    """Pruning knows our checks by the tag; a check without channels in the wish keeps those it has."""
    theirs = run.double.add()
    theirs.name, theirs.slug, theirs.tags = "mine", "", "own"
    run.check_then_do(checks=[BEAT], prune=True)
    assert theirs.code in run.double.checks
    run.double.with_slug("heartbeat")[0].channels = run.double.channels[0]["id"]
    run.double.with_slug("heartbeat")[0].desc = "by hand"
    assert run(checks=[BEAT])["changed"] is False
    assert run.double.with_slug("heartbeat")[0].desc == "by hand"


def test_a_check_of_that_slug_is_taken_over_with_its_history(run: Runner) -> None:
    old = run.double.add()
    old.slug, old.tags = "heartbeat", "own"
    assert run.check_then_do(checks=[BEAT])["changes"][0].startswith("change heartbeat: name")
    assert (len(run.double.checks), old.tags) == (1, "host sapflux.hosting")
    twin = run.double.add()
    twin.slug = "heartbeat"
    assert "there are 2 checks with the slug heartbeat" in run.fails(checks=[BEAT])


def test_a_schedule_becomes_a_timeout_and_back(run: Runner) -> None:
    run(checks=[BACKUP])
    simple = {"slug": "backup", "timeout": 86400}
    assert run.check_then_do(checks=[simple])["changes"] == ["change backup: timeout nothing -> 86400"]
    run.check_then_do(checks=[BACKUP])
    moved = run.check_then_do(checks=[{**BACKUP, "tz": "UTC"}])
    assert moved["changes"] == ['change backup: tz "Europe/Zurich" -> "UTC"']
    assert run.double.with_slug("backup")[0].kind == "oncalendar"


def test_channels_have_to_be_there(run: Runner) -> None:
    said = run.fails(checks=[{**BEAT, "channels": ["Pager"]}])
    assert "heartbeat shall tell the channel 'Pager', which is not there" in said
    assert "(there are: Mail to the operator)" in said
    assert run.double.writes() == []
    both = [run.double.channels[1]["id"], "Mail to the operator"]
    run.check_then_do(checks=[{**BEAT, "channels": both}])
    run.check_then_do(checks=[{**BEAT, "channels": []}])
    assert run.double.with_slug("heartbeat")[0].channels == ""


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"checks": [BEAT, BEAT]}, "heartbeat is there twice"),
        ({"checks": [{**BEAT, "slug": "Upper"}]}, "'Upper' is no slug"),
        ({"checks": [{"slug": "x"}]}, "x needs either a timeout or a schedule"),
        ({"checks": [{**BEAT, "schedule": "* * * * *"}]}, "needs either a timeout or a schedule"),
        ({"checks": [{**BEAT, "grace": 10}]}, "grace of heartbeat is 10 s: use 60 to 31536000"),
        ({"checks": [{**BEAT, "tags": ["two words"]}]}, "'two words' of heartbeat is no tag"),
        ({"tag": "two words"}, "'two words' is no tag"),
    ],
)
def test_wishes_that_cannot_be_are_refused_before_anything_is_asked(
    run: Runner, wish: dict[str, Any], said: str
) -> None:
    assert said in run.fails(**wish)
    assert run.double.log == []


def test_refusals_of_the_server_say_the_way_out(run: Runner) -> None:
    assert "check that the key is one of this project" in run.fails(api_key=READ_KEY, checks=[BEAT])
    run(checks=[BEAT])
    assert "use a key of the project that may write" in run.fails(api_key=READ_KEY, checks=[BEAT])
    assert "check that the key is one of this project" in run.fails(api_key="nonsense", checks=[BEAT])
    run.double.quota = 1
    assert "the plan allows no more checks" in run.fails(checks=[BEAT, BACKUP])
    run.double.quota = 2
    assert run(checks=[BEAT, BACKUP])["changes"] == ["create backup"]
    run.double.faults = [Fault("status", status=400)]
    assert "with 400: bad request" in run.fails(checks=[BEAT])


def test_storms_cuts_and_lost_answers_double_nothing(run: Runner) -> None:
    limited: dict[str, Any] = {"kind": "status", "status": 429, "headers": {"retry-after": "1"}}
    run.double.faults = [
        Fault(**limited),
        Fault("page", method="GET"),
        Fault("lost", method="POST"),
        Fault("cut", method="POST"),
    ]
    assert run(checks=[BEAT, BACKUP])["changed"] is True
    assert sorted(check.slug for check in run.double.checks.values()) == ["backup", "heartbeat"]
    assert run(checks=[BEAT, BACKUP])["changed"] is False
    run.double.faults = [Fault("lost", method="DELETE")]
    assert run(checks=[BEAT], prune=True)["changes"] == ["remove backup"]
    assert len(run.double.checks) == 1
