"""Service tokens of Doppler: the key in one file and nowhere else, and never a moment without a good one."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.sapflux.hosting.plugins.modules import doppler_service_token

from tests.doubles.doppler import Doppler, Token
from tests.doubles.web import Fault
from tests.unit.plugins.module_utils.scripted_http import Call
from tests.unit.plugins.modules.doppler_module import CHECK, WHERE, Runner

HOME = "/v3/configs/config/tokens"
KEY = f"dp.st.prd.{'K1' * 20}"


@pytest.fixture
def runner(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Runner:
    return Runner(doppler_service_token, capsys, monkeypatch)


def host(folder: Path, **more: Any) -> dict[str, Any]:
    return {"name": "host", "path": str(folder / "token"), **more}


def made(double: Doppler) -> list[Token]:
    """The tokens that the module made."""
    return [token for token in double.tokens.values() if token.name == "host"]


def test_the_key_goes_into_the_file_and_nowhere_else(runner: Runner, tmp_path: Path) -> None:
    shown = {"name": "host", "slug": "s1", "access": "read", "expires_at": None, "key": KEY}
    wish = {**WHERE, "name": "host", "access": "read", "expire_at": "2099-01-01T00:00:00Z"}
    script = runner.script(
        Call("GET", f"{HOME}?project=app&config=prd", {"tokens": []}),
        Call("POST", HOME, {"token": shown}, body=wish),
    )
    runner.secrets.append(KEY)
    result = runner(**host(tmp_path, expire_at="2099-01-01T00:00:00Z"), _ansible_diff=True, _ansible_verbosity=3)
    script.done()
    assert (result["slug"], result["access"], result["expires_at"]) == ("s1", "read", "")
    path = tmp_path / "token"
    assert path.read_text() == f"{KEY}\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_against_the_double(runner: Runner, tmp_path: Path) -> None:
    with runner.double({"A": "1"}) as double:
        runner.check_then_do(double, **host(tmp_path))
        first = made(double)[0]
        assert (tmp_path / "token").read_text().strip() == first.value
        # A token cannot be changed: another one takes its place.
        assert runner.check_then_do(double, **host(tmp_path, access="read/write"))["access"] == "read/write"
        assert [token.access for token in made(double)] == ["read/write"]
        assert made(double)[0].value == (tmp_path / "token").read_text().strip() != first.value
        runner.check_then_do(double, **host(tmp_path, state="absent"))
        assert (made(double), list(tmp_path.iterdir())) == ([], [])


@pytest.mark.parametrize("content", [None, "", f"{KEY}\n", "no token at all\n"])
def test_a_key_that_is_lost_is_replaced(runner: Runner, tmp_path: Path, content: str | None) -> None:
    with runner.double() as double:
        runner(**host(tmp_path))
        old = made(double)[0].value
        (tmp_path / "token").unlink()
        if content is not None:
            (tmp_path / "token").write_text(content)
        runner.check_then_do(double, **host(tmp_path))
        assert [token.value for token in made(double)] == [(tmp_path / "token").read_text().strip()] != [old]


def test_a_token_that_is_over_is_replaced(runner: Runner, tmp_path: Path) -> None:
    with runner.double() as double:
        runner(**host(tmp_path))
        made(double)[0].expires_at = "2020-01-01T00:00:00.000Z"
        runner.check_then_do(double, **host(tmp_path))
        assert [token.expires_at for token in made(double)] == [None]
    assert doppler_service_token.over({"expires_at": "2020-01-01T00:00:00.000Z"})
    assert not doppler_service_token.over({"expires_at": "2999-01-01T00:00:00Z"})


def test_rotation_ends_the_old_key(runner: Runner, tmp_path: Path) -> None:
    with runner.double() as double:
        runner(**host(tmp_path))
        old = made(double)[0].value
        assert runner(**host(tmp_path, rotate=True), **CHECK)["changed"] is True
        assert [token.value for token in made(double)] == [old]
        runner(**host(tmp_path, rotate=True))
        assert [token.value for token in made(double)] == [(tmp_path / "token").read_text().strip()] != [old]


def test_there_is_always_a_good_key(runner: Runner, tmp_path: Path) -> None:
    """The old token goes after the new key is written; a run that ends between the two is made good by the next."""
    with runner.double() as double:
        runner(**host(tmp_path))
        double.faults = [Fault("status", method="DELETE", status=500)]
        assert "with 500" in runner.fails(**host(tmp_path, rotate=True))
        key = (tmp_path / "token").read_text().strip()
        assert len(made(double)) == 2
        assert runner.check_then_do(double, **host(tmp_path))["changes"] == ["remove 1 more of token host"]
        assert [token.value for token in made(double)] == [key]
        double.faults = [Fault("lost", method="DELETE")]
        runner(**host(tmp_path, rotate=True))
        assert len(made(double)) == 1


def test_an_answer_that_is_lost_leaves_one_token(runner: Runner, tmp_path: Path) -> None:
    with runner.double() as double:
        double.faults = [Fault("lost", method="POST")]
        assert "look before you repeat it" in runner.fails(**host(tmp_path))
        assert (len(made(double)), list(tmp_path.iterdir())) == (1, [])
        runner.check_then_do(double, **host(tmp_path))
        assert [token.value for token in made(double)] == [(tmp_path / "token").read_text().strip()]


def test_a_folder_that_is_missing_is_told_before_a_token_is_made(runner: Runner, tmp_path: Path) -> None:
    with runner.double() as double:
        assert "make its folder first" in runner.fails(**host(tmp_path / "missing"))
        assert double.writes() == []


def test_the_branch_one_sits_on(runner: Runner, tmp_path: Path) -> None:
    with runner.double() as double:
        own = double.add_token(KEY, ["app/prd"], "read/write")
        own.name = "host"
        said = "is the one that this run uses and cannot be removed by itself"
        assert said in runner.fails(**host(tmp_path, state="absent", token=KEY))
        assert said in runner.fails(**host(tmp_path, token=KEY))
        assert double.writes() == []


def test_a_key_that_nobody_can_ask_about_now_is_not_replaced(runner: Runner, tmp_path: Path) -> None:
    with runner.double() as double:
        runner(**host(tmp_path))
        double.faults = [Fault("status", path="/me", status=500)]
        assert "with 500" in runner.fails(**host(tmp_path))
        assert len(double.writes()) == 1


def test_a_token_that_says_another_id_of_itself_is_known_by_its_name(runner: Runner, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(KEY)
    shown = {"name": "host", "slug": "s1", "access": "read", "expires_at": None}
    script = runner.script(
        Call("GET", f"{HOME}?project=app&config=prd", {"tokens": [shown]}),
        Call("GET", "/v3/me", {"name": "host", "slug": "id-9"}),
    )
    assert runner(**host(tmp_path))["changed"] is False
    script.done()
