"""The double of Healthchecks.io: states over time, and every rule that a client trips over."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.doubles.healthchecks import Healthchecks, healthchecks
from tests.doubles.healthchecks.checks import API_KEY, PING_KEY, READ_KEY

HOME = "/api/v3/checks/"


@pytest.fixture
def double() -> Iterator[Healthchecks]:
    made = healthchecks()
    with made.running():
        yield made


def ask(double: Healthchecks, method: str, path: str, body: Any = None, key: str = API_KEY) -> tuple[int, Any]:
    """(status, body)."""
    data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(double.url + path, data, {"X-Api-Key": key}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            raw, status = answer.read(), answer.status
    except urllib.error.HTTPError as error:
        raw, status = error.read(), error.code
    try:
        return status, json.loads(raw)
    except ValueError:
        return status, raw.decode()


def make(double: Healthchecks, **wish: Any) -> dict[str, Any]:
    status, check = ask(double, "POST", HOME, {"unique": ["slug"], **wish})
    assert status in (200, 201), check
    return dict(check)


def state(double: Healthchecks, check: dict[str, Any]) -> str:
    return str(ask(double, "GET", HOME + check["uuid"])[1]["status"])


def ping(double: Healthchecks, path: str, body: bytes | None = None) -> tuple[int, Any]:
    return ask(double, "POST" if body else "GET", path, body)


def test_a_check_goes_from_new_over_up_and_grace_to_down_and_back(double: Healthchecks) -> None:
    check = make(double, slug="backup", timeout=600, grace=60)
    assert (check["status"], check["last_ping"], check["n_pings"]) == ("new", None, 0)
    assert ping(double, f"/{PING_KEY}/backup") == (200, "OK")
    seen = []
    for forward in (0, 601, 60):
        double.moved += forward
        seen.append(state(double, check))
    assert seen == ["up", "grace", "down"]
    ping(double, f"/{check['uuid']}")
    assert state(double, check) == "up"
    ping(double, f"/{check['uuid']}/fail", b"result: exit-code")
    assert state(double, check) == "down"
    assert ask(double, "GET", f"{HOME}{check['uuid']}/pings/3/body") == (200, "result: exit-code")


def test_a_job_that_starts_and_never_ends_is_noticed(double: Healthchecks) -> None:
    check = make(double, slug="drill", timeout=86400, grace=600)
    ping(double, f"/{PING_KEY}/drill?rid=1")
    ping(double, f"/{PING_KEY}/drill/start?rid=2")
    assert ask(double, "GET", HOME + check["uuid"])[1]["started"] is True
    double.moved += 601
    assert state(double, check) == "down"
    assert [one["type"] for one in ask(double, "GET", f"{HOME}{check['uuid']}/pings/")[1]["pings"]] == [
        "start",
        "success",
    ]


@pytest.mark.parametrize(
    ("schedule", "kind", "wait"), [("0 * * * *", "cron", 3600), ("*-*-* *:00:00", "oncalendar", 3600)]
)
def test_schedules(double: Healthchecks, schedule: str, kind: str, wait: int) -> None:
    check = make(double, slug="hourly", schedule=schedule, tz="Europe/Zurich", grace=60)
    assert (double.checks[check["uuid"]].kind, check["schedule"], check["tz"]) == (kind, schedule, "Europe/Zurich")
    assert "timeout" not in check
    ping(double, f"/{PING_KEY}/hourly")
    assert state(double, check) == "up"
    double.moved += wait + 61
    assert state(double, check) == "down"
    assert make(double, slug="hourly", timeout=60)["timeout"] == 60


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"desc": None}, "desc is not a string"),
        ({"timeout": 59}, "timeout is too small"),
        ({"grace": 31536001}, "grace is too large"),
        ({"timeout": "60"}, "timeout is not a number"),
        ({"slug": "Upper"}, "slug does not match pattern"),
        ({"schedule": "whenever"}, "schedule is not a valid"),
        ({"tz": "Mars/Base"}, "tz is not a valid timezone"),
        ({"methods": "PUT"}, "methods has unexpected value"),
        ({"manual_resume": "yes"}, "manual_resume is not a boolean"),
        ({"name": "n" * 101}, "name is too long"),
        ({"channels": "Nobody"}, "invalid channel identifier: Nobody"),
        ({"unique": ["desc"]}, "unexpected value in unique"),
    ],
)
def test_what_the_api_refuses(double: Healthchecks, wish: dict[str, Any], said: str) -> None:
    status, body = ask(double, "POST", HOME, {"slug": "x", **wish})
    assert (status, said in body["error"]) == (400, True)
    assert double.checks == {}


def test_unique_that_names_a_field_that_is_not_sent_makes_one_more(double: Healthchecks) -> None:
    make(double, name="a")
    make(double, name="a")
    assert len(double.checks) == 2
    make(double, slug="b")
    make(double, slug="b")
    assert len(double.checks) == 3


def test_keys_quota_and_rate(double: Healthchecks) -> None:
    check = make(double, slug="a")
    assert ask(double, "GET", HOME, key="wrong") == (401, {"error": "wrong api key"})
    seen = ask(double, "GET", HOME, key=READ_KEY)[1]["checks"][0]
    assert "unique_key" in seen
    assert {"uuid", "ping_url", "channels"} & set(seen) == set()
    assert ask(double, "DELETE", HOME + check["uuid"], key=READ_KEY)[0] == 401
    double.quota = 1
    assert ask(double, "POST", HOME, {"slug": "b"})[0] == 403
    double.per_minute = len(double.asked)
    assert ask(double, "GET", HOME)[0] == 429


def test_what_jobs_may_call(double: Healthchecks) -> None:
    make(double, slug="a")
    make(double, name="other", slug="b")
    assert ping(double, f"/{PING_KEY}/a/KILL")[0] == 404
    assert ping(double, f"/{PING_KEY}/a/256")[0] == 400
    assert ping(double, f"/{PING_KEY}/unknown")[0] == 404
    assert ping(double, "/no-key/a")[0] == 404
    assert ping(double, f"/{PING_KEY}/new?create=1") == (201, "Created")
    assert ping(double, f"/{PING_KEY}/a/137") == (200, "OK")
    double.with_slug("b")[0].slug = "a"
    assert ping(double, f"/{PING_KEY}/a") == (409, "ambiguous slug")


def test_pause_and_resume(double: Healthchecks) -> None:
    check = make(double, slug="a")
    assert ask(double, "POST", f"{HOME}{check['uuid']}/resume")[0] == 409
    assert ask(double, "POST", f"{HOME}{check['uuid']}/pause", {})[1]["status"] == "paused"
    ping(double, f"/{PING_KEY}/a")
    assert state(double, check) == "up"
    ask(double, "POST", f"{HOME}{check['uuid']}/pause", {})
    assert ask(double, "POST", f"{HOME}{check['uuid']}/resume")[1]["status"] == "new"


def test_what_a_test_elsewhere_may_ask(double: Healthchecks) -> None:
    make(double, slug="a")
    ping(double, f"/{PING_KEY}/a/fail", b"why")
    assert ask(double, "GET", "/_double/heard")[1] == {"a": [{"kind": "fail", "body": "why", "rid": ""}]}
    ask(double, "POST", "/_double/clock", {"forward": 5})
    assert double.moved == 5
    ask(double, "POST", "/_double/faults", {"kind": "status", "status": 503})
    assert ask(double, "GET", HOME)[0] == 503
    ask(double, "DELETE", "/_double/faults")
    assert [one["status"] for one in ask(double, "GET", "/_double/log")[1]][-1] == 503
    ask(double, "DELETE", "/_double/log")
    assert double.log == []
    assert ask(double, "GET", "/api/v3/nowhere")[0] == 404
    assert ask(double, "GET", "/api/v3/channels/")[1]["channels"][0]["kind"] == "email"
    assert ask(double, "GET", "/api/v3/status/") == (200, "OK")
