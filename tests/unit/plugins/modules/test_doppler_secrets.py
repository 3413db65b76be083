"""Secrets of Doppler: whole or not at all, nothing of others overwritten, and no value printed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.sapflux.hosting.plugins.modules import doppler_secrets

from tests.doubles.doppler import Doppler
from tests.doubles.web import Fault
from tests.unit.plugins.module_utils.scripted_http import Call
from tests.unit.plugins.modules.doppler_module import WHERE, Runner

LISTED = "/v3/configs/config/secrets?project=app&config=prd&include_managed_secrets=false"
OLD, NEW, OTHER = "old-marker-xyzzy", "new-marker-xyzzy", "other-marker-xyzzy"


@pytest.fixture
def runner(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Runner:
    made = Runner(doppler_secrets, capsys, monkeypatch)
    made.secrets += [OLD, NEW, OTHER]
    return made


def values(double: Doppler) -> dict[str, str]:
    return double.configs["app/prd"].values


def test_one_request_says_what_it_takes_for_granted(runner: Runner) -> None:
    listed = {"secrets": {name: {"raw": OLD, "rawVisibility": "masked"} for name in ("A", "B", "KEPT")}}
    wish = [
        {"name": "A", "originalName": "A", "value": NEW, "originalValue": OLD},
        {"name": "N", "originalName": None, "value": NEW},
        {"name": "B", "originalName": "B", "value": None, "originalValue": OLD, "shouldDelete": True},
    ]
    script = runner.script(
        Call("GET", LISTED, listed),
        Call("POST", "/v3/configs/config/secrets", {"secrets": {}}, body={**WHERE, "change_requests": wish}),
    )
    result = runner(values={"N": NEW, "A": NEW, "KEPT": OLD}, absent=["B", "GONE"], _ansible_diff=True)
    script.done()
    assert result["changes"] == ['change A: value "the old value" -> "a new value"', "create N", "remove B"]
    assert result["names"] == ["A", "KEPT", "N"]
    assert json.loads(result["diff"]["before"]) == {"A": {"value": "the old value"}, "B": {"value": "the old value"}}
    assert json.loads(result["diff"]["after"]) == {"A": {"value": "a new value"}, "N": {"value": "a new value"}}


def test_against_the_double(runner: Runner) -> None:
    with runner.double({"A": OLD, "B": OTHER}) as double:
        wish = {"A": NEW, "URL": "pg://${A}"}
        assert runner.check_then_do(double, values=wish)["names"] == ["A", "B", "URL"]
        assert values(double) == {**wish, "B": OTHER}
        assert runner.check_then_do(double, values=wish, whole=True)["changes"] == ["remove B"]
        said = runner.check_then_do(double, values=wish, visibility="unmasked")["changes"]
        assert said[0] == 'change A: visibility "masked" -> "unmasked"'
        runner.check_then_do(double, absent=["A", "URL"])
        assert values(double) == {}
        runner.check_then_do(double, values={"A": NEW}, visibility="masked")


def test_secrets_that_are_there_keep_their_value(runner: Runner) -> None:
    with runner.double({"A": OLD}) as double:
        assert runner.check_then_do(double, values={"A": NEW, "B": NEW}, if_missing=True)["changes"] == ["create B"]
        assert values(double) == {"A": OLD, "B": NEW}


def test_a_restricted_secret_is_set_in_every_run(runner: Runner) -> None:
    with runner.double({"A": OLD}) as double:
        double.configs["app/prd"].visibility["A"] = "restricted"
        assert [runner(values={"A": NEW})["changed"] for _each in range(2)] == [True, True]
        assert values(double) == {"A": NEW}
        assert runner(values={"A": OLD}, if_missing=True)["changed"] is False
        assert runner(absent=["A"])["changes"] == ["remove A"]


def test_a_second_writer_is_noticed(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody changes a secret between our look and our write: theirs stays, and nothing else is written."""
    with runner.double({"A": OLD}) as double:
        plan = doppler_secrets.plan

        def meanwhile(*arguments: Any) -> Any:
            made = plan(*arguments)
            values(double)["A"] = "theirs"
            return made

        monkeypatch.setattr(doppler_secrets, "plan", meanwhile)
        said = runner.fails(values={"A": NEW, "B": NEW})
        assert "with 409: Secret A has been changed" in said
        assert said.endswith("; nothing was changed of A, B")
        assert values(double) == {"A": "theirs"}


def test_an_answer_that_is_lost_doubles_nothing(runner: Runner) -> None:
    with runner.double({"A": OLD}) as double:
        double.faults = [Fault("lost", method="POST")]
        assert "look before you repeat it" in runner.fails(values={"A": NEW})
        assert runner(values={"A": NEW})["changed"] is False
        assert [seen.status for seen in double.writes()] == [0]


def test_a_storm_before_the_write_passes(runner: Runner) -> None:
    with runner.double() as double:
        limited: dict[str, Any] = {"kind": "status", "status": 429, "headers": {"retry-after": "1"}}
        double.faults = [Fault("page", method="GET"), Fault(**limited), Fault(**limited, method="POST", times=2)]
        runner(values={"A": NEW})
        assert values(double) == {"A": NEW}


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"values": {"lower": NEW}}, "lower is no name of a secret: use capital letters"),
        ({"values": {"DOPPLER_CONFIG": NEW}}, "DOPPLER_CONFIG is set by Doppler itself"),
        ({"values": {"A": NEW}, "absent": ["A"]}, "A cannot be set and be absent"),
        ({"values": {"A": 5, "B": {"x": NEW}}}, "the value of A, B is no text: put it in quotes"),
        ({"values": {"A": NEW}, "token": f"dp.st.prd.{'Z9' * 20}", "project": None}, "with 401"),
    ],
)
def test_wishes_that_cannot_be(runner: Runner, wish: dict[str, Any], said: str) -> None:
    with runner.double({"A": OLD}) as double:
        assert said in runner.fails(**wish)
        assert double.writes() == []


def test_a_token_that_only_reads(runner: Runner) -> None:
    with runner.double() as double:
        for token in double.tokens.values():
            token.access = "read"
        said = runner.fails(values={"A": NEW})
        assert "give the token access to this config: to write it, read/write; nothing was changed of A" in said
