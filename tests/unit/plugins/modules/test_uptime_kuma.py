"""Monitors as code, against the double: one login, whole objects, only what is ours is removed, no secret is shown."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from ansible.module_utils.common import warnings
from ansible.module_utils.testing import patch_module_args
from ansible_collections.sapflux.hosting.plugins.module_utils import _kuma
from ansible_collections.sapflux.hosting.plugins.modules import uptime_kuma

from tests.doubles.kuma import Double

PASSWORD = "correct-horse-1"
HOOK = "https://hooks.example.org/very-secret"
TOKEN = "0123456789abcdef0123456789abcdef"
GROUP = {"name": "site", "type": "group"}
PUSH = {"name": "backup", "type": "push", "interval": 3600, "parent": "site"}
SITE = {
    "name": "www",
    "type": "http",
    "url": "https://www.example.org/",
    "parent": "site",
    "notifications": ["operator"],
}
TELL = {"name": "operator", "type": "webhook", "webhookContentType": "json"}
SECRETS = {
    "monitors": {"backup": {"pushToken": TOKEN}},
    "notifications": {"operator": {"webhookURL": HOOK}},
}
ALL: dict[str, Any] = {"monitors": [PUSH, SITE, GROUP], "notifications": [TELL], "secrets": json.dumps(SECRETS)}
PAGE = {"slug": "status", "title": "Status", "groups": [{"name": "Site", "monitors": ["www"]}]}
WINDOW = {"title": "deploy", "strategy": "manual", "active": False, "monitors": ["www"]}
FAST = {"interval": 1, "retryInterval": 1, "maxretries": 0}


class Runner:
    """Runs the module for real against the double."""

    def __init__(self, double: Double, capsys: pytest.CaptureFixture[str]) -> None:
        self.double = double
        self.kuma = double.kuma
        self.capsys = capsys

    def __call__(self, **arguments: Any) -> dict[str, Any]:
        warnings._global_warnings.clear()
        with (
            patch_module_args({"password": PASSWORD, "url": self.double.url, **arguments}),
            pytest.raises(SystemExit),
        ):
            uptime_kuma.main()
        text = self.capsys.readouterr().out
        for secret in (PASSWORD, HOOK, TOKEN):
            assert secret not in text
        assert self.double.lost == []
        result: dict[str, Any] = json.loads(text)
        return result

    def fails(self, **arguments: Any) -> str:
        result = self(**arguments)
        assert result["failed"] is True, result
        return str(result["msg"])

    def check_then_do(self, **arguments: Any) -> dict[str, Any]:
        """Check mode writes nothing and says what the run then does; the second run finds nothing to do."""
        before = self.double.writes()
        planned = self(**arguments, _ansible_check_mode=True, _ansible_diff=True)
        assert planned.get("failed") is None, planned
        assert self.double.writes() == before
        done = self(**arguments, _ansible_diff=True)
        assert done.get("failed") is None, done
        assert (planned["changes"], planned.get("diff")) == (done["changes"], done.get("diff"))
        before = self.double.writes()
        again = self(**arguments)
        assert (again["changed"], again["changes"], self.double.writes()) == (False, [], before)
        return done

    def monitor(self, name: str) -> dict[str, Any]:
        (found,) = (one for one in self.kuma.data["monitors"].values() if one["name"] == name)
        return found


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Runner]:
    monkeypatch.setattr("ansible.module_utils._internal.is_controller", False)
    monkeypatch.setattr(_kuma, "pause", lambda _seconds: None)
    double = Double()
    with double.running():
        yield Runner(double, capsys)


def test_from_nothing_to_unchanged_to_changed_to_nothing(run: Runner) -> None:
    done = run.check_then_do(**ALL)
    assert done["changes"] == [
        "create user admin", "create tag sapflux.hosting", "create notification operator", "create monitor site",
        "create monitor backup", "create monitor www",
    ]  # fmt: skip
    assert (done["version"], sorted(done["monitors"])) == ("2.5.3", ["backup", "site", "www"])
    www, group = run.monitor("www"), run.monitor("site")
    assert (www["parent"], www["maxretries"], www["expiryNotification"]) == (group["id"], 2, False)
    assert list(www["notificationIDList"]) == list(run.kuma.data["notifications"])
    assert run.monitor("backup")["pushToken"] == TOKEN
    slower = [PUSH, {**SITE, "interval": 120, "url": "https://example.org/"}, GROUP]
    done = run.check_then_do(**{**ALL, "monitors": slower})
    assert done["changes"] == [
        'change monitor www: url "https://www.example.org/" -> "https://example.org/", interval 60 -> 120'
    ]
    # An edit sends the whole object: what is not sent would be emptied.
    assert (www["maxretries"], www["conditions"], www["method"], len(www["tags"])) == (2, [], "GET", 1)
    done = run.check_then_do(monitors=[{"name": "www", "type": "http", "url": "https://example.org/"}], prune=True)
    assert done["changes"] == ["remove monitor backup", "remove monitor site", "remove notification operator"]
    assert run.check_then_do(prune=True)["changes"] == ["remove monitor www"]
    assert run.kuma.data["monitors"] == {}


def test_a_second_run_is_one_login_and_few_requests(run: Runner) -> None:
    run(**ALL)
    run.kuma.logins.clear()
    before = run.double.writes()
    done = run(**ALL)
    assert (len(run.kuma.logins), run.double.writes()) == (1, before)
    assert done["requests"] <= 16


def test_a_server_that_listens_late_loses_nothing(run: Runner) -> None:
    """What is sent before its greeting is lost and never answered."""
    run.kuma.info_delay = 1.0
    assert run(**ALL)["changed"] is True


def test_everything_else_is_kept_too(run: Runner) -> None:
    run()
    rest: dict[str, Any] = {"status_pages": [PAGE], "maintenances": [WINDOW], "settings": {"keepDataPeriodDays": 60}}
    done = run.check_then_do(**ALL, **rest)
    assert done["changes"][-3:] == [
        "create status page status", "create maintenance deploy", "change settings: keepDataPeriodDays 365 -> 60",
    ]  # fmt: skip
    assert run.kuma.settings["tlsExpiryNotifyDays"] == [7, 14, 21]
    rest |= {"maintenances": [{**WINDOW, "active": True}], "status_pages": [{**PAGE, "title": "How we are"}]}
    done = run.check_then_do(**ALL, **rest)
    assert done["changes"] == [
        'change status page status: title "Status" -> "How we are"', "change maintenance deploy: active false -> true",
    ]  # fmt: skip
    assert run.kuma.in_maintenance(run.monitor("www")["id"])
    done = run.check_then_do(**ALL, prune=True)
    assert done["changes"] == ["remove status page status", "remove maintenance deploy"]


def test_what_a_person_made_by_hand_stays_and_what_is_open_stays_as_it_is(run: Runner) -> None:
    run(**ALL)
    mine = {"name": "mine", "type": "ping", "hostname": "example.org"}
    run(
        monitors=[mine],
        notifications=[TELL | {"name": "me"}],
        tag="hand",
        status_pages=[{"slug": "mine", "title": "Mine"}],
    )
    www = run.monitor("www")
    www["description"] = "by hand"
    done = run.check_then_do(**ALL, prune=True)
    assert done["changes"] == []
    assert www["description"] == "by hand"
    assert {one["name"] for one in run.kuma.data["monitors"].values()} == {"backup", "mine", "site", "www"}
    assert set(run.kuma.data["pages"]) == {"mine"}


def test_one_of_that_name_is_taken_over_and_two_are_refused(run: Runner) -> None:
    """So is a monitor of ours whose tag was lost because a run was cut off in between."""
    run(**ALL)
    run.monitor("www")["tags"].clear()
    done = run.check_then_do(**ALL)
    assert done["changes"] == ['change monitor www: tags [] -> ["sapflux.hosting"]']
    twin = {**run.monitor("www"), "id": 99, "tags": []}
    run.kuma.data["monitors"]["99"] = twin
    assert run(**ALL)["changed"] is False
    for one in run.kuma.data["monitors"].values():
        one["tags"] = []
    assert "there are 2 of the name monitor www on the server" in run.fails(**ALL)


def test_the_empty_volume_comes_back_in_one_run(run: Runner) -> None:
    everything = {**ALL, "status_pages": [PAGE], "maintenances": [WINDOW], "settings": {"keepDataPeriodDays": 60}}
    first = run(**everything)["changes"]
    run.kuma.user.clear()
    run.kuma.data = {part: {} for part in run.kuma.data}
    run.kuma.settings["keepDataPeriodDays"] = 365
    assert run(**everything)["changes"] == first
    assert run(**everything)["changed"] is False


def test_pausing_moving_and_tagging(run: Runner) -> None:
    run(**ALL)
    changed = [{**SITE, "active": False, "parent": "", "tags": ["public"], "notifications": []}, PUSH, GROUP]
    done = run.check_then_do(**{**ALL, "monitors": changed})
    assert done["changes"] == ["create tag public", (
        'change monitor www: parent "site" -> nothing, notifications ["operator"] -> [], active true -> false, '
        'tags ["sapflux.hosting"] -> ["public", "sapflux.hosting"]'
    )]  # fmt: skip
    done = run.check_then_do(**{**ALL, "monitors": [{**SITE, "active": True, "tags": []}, PUSH, GROUP]})
    assert (run.monitor("www")["active"], len(run.monitor("www")["tags"])) == (True, 1)


def test_a_secret_that_changed_is_told_and_not_shown(run: Runner) -> None:
    run(**ALL)
    new = {**SECRETS, "notifications": {"operator": {"webhookURL": "https://hooks.example.org/other-secret"}}}
    done = run(**{**ALL, "secrets": json.dumps(new)}, _ansible_diff=True)
    assert done["changes"] == ['change notification operator: webhookURL "(secret)" -> "(another secret)"']
    assert "other-secret" not in json.dumps(done)


def test_the_login_waits_for_its_turn(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    run(**ALL)
    run.kuma.logins.extend(iter([run.kuma.logins[-1]] * 19))
    waits: list[float] = []

    def pause(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            run.kuma.logins.clear()

    monkeypatch.setattr(_kuma, "pause", pause)
    assert run(**ALL)["changed"] is False
    assert waits == [5.0] * 3
    run.kuma.logins.extend(iter([run.kuma.logins[-1]] * 19))
    monkeypatch.setattr(_kuma, "pause", lambda _seconds: None)
    assert "lets nobody log in, for too many do" in run.fails(**ALL)


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"monitors": [GROUP, GROUP]}, "the monitor site is there twice"),
        ({"monitors": [{"name": "x", "type": "docker"}]}, "has the type docker, which is none of dns, group, http"),
        ({"monitors": [{"type": "group"}]}, "a monitor has no name"),
        ({"monitors": [{"name": "x", "type": "http"}]}, "the monitor x of type http needs url"),
        ({"monitors": [{"name": "x", "type": "port", "hostname": "a"}]}, "needs port"),
        ({"monitors": [{"name": "x", "type": "push", "pushToken": "short"}]}, "the pushToken of x is not 16 to 32"),
        ({"monitors": [{**GROUP, "tagz": []}]}, "tagz is no field of the monitor site"),
        ({"monitors": [{**GROUP, "interval": 0}]}, "interval of site is 0 s"),
        ({"monitors": [{**GROUP, "accepted_statuscodes": [200]}]}, "accepted_statuscodes of site has a number"),
        ({"monitors": [{**GROUP, "parent": "nobody"}]}, "is in the group nobody, which is no monitor of type group"),
        ({"monitors": [{**GROUP, "parent": "site"}]}, "the groups site are in each other"),
        ({"secrets": json.dumps({"monitors": {"nobody": {"url": "x"}}})}, "secrets for monitors nobody"),
        ({"secrets": json.dumps({"users": {}})}, "secrets has users"),
        ({"secrets": "["}, "secrets is no JSON document"),
        ({"notifications": [{"name": "x"}]}, "the notification x has no type"),
        ({"status_pages": [{**PAGE, "slug": "Two Words"}]}, "'Two Words' is no slug"),
        ({"status_pages": [{"slug": "a"}]}, "the status page a has no title"),
        ({"status_pages": [PAGE]}, "status shows the monitor www, which is not among the monitors"),
        ({"status_pages": [{**PAGE, "colour": "red"}]}, "colour is no field of the status page status"),
        ({"maintenances": [{"title": "x"}]}, "the maintenance x needs a strategy: manual"),
        ({"settings": {"disableAuth": True}}, "disableAuth is no field of the settings"),
    ],
)
def test_wishes_that_cannot_be_are_refused_before_anything_is_asked(
    run: Runner, wish: dict[str, Any], said: str
) -> None:
    assert said in run.fails(**wish)
    assert run.double.sessions == {}
    assert run.double.writes() == []


@pytest.mark.parametrize(
    "watched",
    [
        {"type": "http", "url": "http://127.0.0.1:18080/ready"},
        {"type": "http", "url": "http://[::ffff:127.0.0.1]/"},
        {"type": "port", "hostname": "localhost", "port": 5432},
        {"type": "ping", "hostname": "0.0.0.0"},
        {"type": "postgres", "databaseConnectionString": "postgres://u:p@[::1]:5432/app"},
    ],
)
def test_a_monitor_that_only_sees_itself_is_refused(run: Runner, watched: dict[str, Any]) -> None:
    said = run.fails(monitors=[{"name": "api", **watched}])
    assert "the monitor api asks" in said
    assert "which in a container is Uptime Kuma itself" in said
    assert run.kuma.data["monitors"] == {}
    run.kuma.is_container = False
    assert run(monitors=[{"name": "api", **watched}])["changed"] is True


def test_refusals_of_the_server_say_the_way_out(run: Runner) -> None:
    assert "passwordTooWeak; use a longer one" in run.fails(password="aaaaaaaa")
    run()
    assert "does not know the user admin with this password" in run.fails(password="another-one-1")
    assert "shall tell nobody, which is no notification; there are: none" in run.fails(
        monitors=[{**SITE, "parent": None, "notifications": ["nobody"]}]
    )
    run.kuma.second_factor = True
    assert "needs a second factor" in run.fails()
    run.kuma.second_factor = False
    run.kuma.version = "1.23.16"
    assert "back them up, then start version 2" in run.fails()
    run.kuma.database = ""
    assert "start it with UPTIME_KUMA_DB_TYPE=sqlite" in run.fails()
    assert "does not answer at http://127.0.0.1:1" in run.fails(url="http://127.0.0.1:1")
    # What check mode does not find is about to be installed.
    assert run(url="http://127.0.0.1:1", _ansible_check_mode=True)["changes"] == ["create user admin"]


def test_a_server_that_says_no_in_the_middle_is_finished_by_the_next_run(
    run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.doubles.kuma import events
    from tests.doubles.kuma.core import Refused

    whole = events.HANDLERS["addMonitorTag"]

    def broken(*_arguments: Any) -> Any:
        raise Refused(f"SQLITE_BUSY at {TOKEN}")

    monkeypatch.setitem(events.HANDLERS, "addMonitorTag", broken)
    assert "refused addMonitorTag: SQLITE_BUSY at ********" in run.fails(**ALL)
    monkeypatch.setitem(events.HANDLERS, "addMonitorTag", whole)
    assert run(**ALL)["changed"] is True
    assert run(**ALL)["changed"] is False
    assert len(run.kuma.data["monitors"]) == 3


def test_beats_are_waited_for_and_what_is_down_is_named(run: Runner) -> None:
    """Real probes: of a page that answers, a page that does not, and a job that has yet to push."""
    good = {"name": "good", "type": "http", "url": f"{run.double.url}/api/entry-page", **FAST}
    run.kuma.is_container = False
    done = run(monitors=[good], beats=30)
    assert done["beats"] == {"good": {"status": 1, "msg": "200 - OK"}}
    bad = {**good, "name": "bad", "url": f"{run.double.url}/nowhere"}
    said = run.fails(monitors=[good, bad, GROUP, {**good, "name": "off", "active": False}], beats=3)
    assert "within 3 s not every monitor was up: bad is down: Request failed with status code 404" in said
    push = {"name": "backup", "type": "push", **FAST, "interval": 60}
    monitors = {"monitors": [push], "secrets": json.dumps({"monitors": SECRETS["monitors"]})}
    assert "backup" in run.fails(**monitors, beats=3)
    with urllib.request.urlopen(f"{run.double.url}/api/push/{TOKEN}?status=up&msg=done"):
        pass
    assert run.kuma.beats[run.monitor("backup")["id"]][-1]["status"] == 1
