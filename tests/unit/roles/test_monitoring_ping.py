"""The program that tells how a unit fares: every end, every failure of the server, and never the key."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.doubles.healthchecks import Healthchecks, healthchecks
from tests.doubles.healthchecks.checks import PING_KEY
from tests.doubles.web import Fault

SOURCE = Path(__file__).resolve().parents[3] / "roles" / "monitoring" / "files" / "ping.py"
RUN = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def ping(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("sapflux_ping", SOURCE)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "PAUSE", 0.0)
    monkeypatch.setattr(module, "journal", lambda invocation: f"the log of {invocation}\n" if invocation else "")
    return module


@pytest.fixture
def server() -> Iterator[Healthchecks]:
    double = healthchecks()
    double.add().slug = "web-1-backup"
    with double.running():
        yield double


@pytest.fixture
def environment(server: Healthchecks, tmp_path: Path) -> dict[str, str]:
    config = {"url": server.url, "key": PING_KEY, "slugs": {"sapflux-backup": "web-1-backup"}}
    (tmp_path / "ping.json").write_text(json.dumps(config))
    return {"CREDENTIALS_DIRECTORY": str(tmp_path)}


def ended(result: str, code: str = "exited", status: str = "0") -> dict[str, str]:
    """What systemd hands to a unit that is started by OnSuccess= or OnFailure=."""
    return {
        "MONITOR_SERVICE_RESULT": result,
        "MONITOR_EXIT_CODE": code,
        "MONITOR_EXIT_STATUS": status,
        "MONITOR_INVOCATION_ID": RUN,
    }


def heard(server: Healthchecks) -> list[tuple[str, str, str]]:
    return [(one.kind, one.body.decode(), one.rid) for one in server.with_slug("web-1-backup")[0].pings]


@pytest.mark.parametrize(
    ("result", "code", "status"),
    [("exit-code", "exited", "3"), ("signal", "killed", "KILL"), ("oom-kill", "killed", "KILL"), ("timeout", "", "")],
)
def test_every_bad_end_is_told_with_its_reason(
    ping: ModuleType, server: Healthchecks, environment: dict[str, str], result: str, code: str, status: str
) -> None:
    assert ping.main(["end", "sapflux-backup"], {**environment, **ended(result, code, status)}) == 0
    kind, body, number = heard(server)[0]
    assert (kind, number) == ("fail", "01234567-89ab-cdef-0123-456789abcdef")
    assert body == f"result {result}, code {code}, status {status}\n\nthe log of {RUN}\n"


def test_a_good_end_says_nothing_but_that(ping: ModuleType, server: Healthchecks, environment: dict[str, str]) -> None:
    assert ping.main(["end", "sapflux-backup"], {**environment, **ended("success")}) == 0
    assert heard(server) == [("success", "", "01234567-89ab-cdef-0123-456789abcdef")]
    assert ping.main(["end", "sapflux-backup"], {**environment, **ended("exec-condition")}) == 0
    assert len(heard(server)) == 1


def test_two_ends_at_once_are_asked_of_the_unit(
    ping: ModuleType,
    server: Healthchecks,
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    answer = f"Result=exit-code\nExecMainCode=1\nExecMainStatus=7\nInvocationID={RUN}\n"
    monkeypatch.setattr(ping.subprocess, "run", lambda argv, **_more: subprocess.CompletedProcess(argv, 0, answer, ""))
    assert ping.main(["end", "sapflux-backup"], environment) == 0
    assert heard(server)[0][1].startswith("result exit-code, code 1, status 7\n")
    monkeypatch.setattr(
        ping.subprocess, "run", lambda argv, **_more: subprocess.CompletedProcess(argv, 1, "", "no bus")
    )
    assert ping.main(["end", "sapflux-backup"], environment) == 1
    assert "systemd does not answer about sapflux-backup: no bus" in capsys.readouterr().err


def test_a_start_is_told_when_the_unit_has_begun(
    ping: ModuleType, server: Healthchecks, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    running = {"ActiveState": "activating", "InvocationID": RUN}
    states = [{"ActiveState": "inactive", "InvocationID": ""}, running, running]
    monkeypatch.setattr(ping, "show", lambda _unit, _names: states.pop(0))
    assert ping.main(["start", "sapflux-backup"], environment) == 0
    assert heard(server) == [("start", "", "01234567-89ab-cdef-0123-456789abcdef")]
    monkeypatch.setattr(ping, "show", lambda _unit, _names: {"ActiveState": "inactive"})
    monkeypatch.setattr(ping, "STARTING", 0.1)
    assert ping.main(["start", "sapflux-backup"], environment) == 0
    assert len(heard(server)) == 1


def test_a_job_that_ended_while_its_start_was_told_is_not_left_running(
    ping: ModuleType, server: Healthchecks, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    states = [
        {"ActiveState": "activating", "InvocationID": RUN},
        {"ActiveState": "inactive"},
        {"Result": "success", "InvocationID": RUN},
    ]
    monkeypatch.setattr(ping, "show", lambda _unit, _names: states.pop(0))
    assert ping.main(["start", "sapflux-backup"], environment) == 0
    assert [kind for kind, _body, _number in heard(server)] == ["start", "success"]


def test_a_server_that_stumbles_is_asked_again(
    ping: ModuleType, server: Healthchecks, environment: dict[str, str]
) -> None:
    server.faults = [Fault("cut"), Fault("page", status=502), Fault("status", status=429)]
    assert ping.main(["end", "sapflux-backup"], {**environment, **ended("success")}) == 0
    assert len(heard(server)) == 1


def test_a_server_that_stays_away_is_one_sentence_without_the_key(
    ping: ModuleType, server: Healthchecks, environment: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    server.faults = [Fault("cut", times=99)]
    assert ping.main(["end", "sapflux-backup"], {**environment, **ended("success")}) == 1
    assert len(server.log) == ping.TRIES
    server.faults = []
    server.ping_key = "another"
    assert ping.main(["end", "sapflux-backup"], {**environment, **ended("success")}) == 1
    said = capsys.readouterr().err
    assert "it answered 404; is there a check of that slug" in said
    assert PING_KEY not in said


def test_what_is_not_set_up_is_said(
    ping: ModuleType, environment: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert ping.main(["end", "sapflux-unknown"], {**environment, **ended("success")}) == 1
    assert "sapflux-unknown has no check; run the role monitoring again" in capsys.readouterr().err
    assert ping.main(["end", "sapflux-backup"], {}) == 1
    assert "the credential ping.json cannot be read" in capsys.readouterr().err


def test_the_newest_lines_of_a_long_log_go_along(ping: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ping, "journal", lambda _invocation: "old\n" + "x" * 20000 + "\nthe last line\n")
    body = ping.report({"result": "exit-code", "code": "exited", "status": "1", "invocation": RUN})
    assert len(body) == ping.BODY
    assert body.endswith(b"the last line\n")
