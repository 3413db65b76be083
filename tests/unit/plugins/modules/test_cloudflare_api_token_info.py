"""Whether a token is good is known before anything starts."""

from __future__ import annotations

import time

import pytest
from ansible_collections.sapflux.hosting.plugins.modules import cloudflare_api_token_info

from tests.doubles.cloudflare import ACCOUNT
from tests.doubles.cloudflare.core import stamp
from tests.unit.plugins.module_utils.scripted_http import Call
from tests.unit.plugins.modules.cloud_module import CHECK, Runner, good


@pytest.fixture
def runner(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Runner:
    return Runner(cloudflare_api_token_info, capsys, monkeypatch)


def test_a_good_token(runner: Runner) -> None:
    with runner.double(plan="pro") as (cloud, zone):
        token = next(iter(cloud.tokens.values()))
        result = runner(account_id=ACCOUNT, zones=["example.org"])
        assert (result["changed"], result["id"], result["status"]) == (False, token.id, "active")
        assert result["expires_on"] == ""
        assert result["zones"] == [{"id": zone, "name": "example.org", "plan": "pro"}]
        token.expires_on = stamp(time.time() + 20 * 86400)
        assert runner(account_id=ACCOUNT, days=14, **CHECK)["expires_on"] == token.expires_on
        assert "in less than 30 days: renew it" in runner.fails(account_id=ACCOUNT, days=30)
        assert "sees no zone example.net" in runner.fails(account_id=ACCOUNT, zones=["example.net"])
        token.expires_on = stamp(time.time() - 1)
        assert "API Token is expired" in runner.fails(account_id=ACCOUNT)
        assert cloud.writes() == []


def test_a_token_of_the_other_place(runner: Runner) -> None:
    with runner.double() as (cloud, _zone):
        assert "one of the user: give account_id" in runner.fails()
        next(iter(cloud.tokens.values())).owner = "user"
        assert runner()["status"] == "active"
        assert "one of the account: leave account_id out" in runner.fails(account_id=ACCOUNT)


def test_a_token_that_is_off(runner: Runner) -> None:
    runner.script(Call("GET", "/user/tokens/verify", good({"id": "7", "status": "disabled"})))
    assert runner.fails() == "the token 7 is disabled: make another, or switch it on"


def test_an_api_that_is_down(runner: Runner) -> None:
    runner.script(*[Call("GET", "/user/tokens/verify", {}, status=500)] * 5)
    assert "with 500" in runner.fails()
