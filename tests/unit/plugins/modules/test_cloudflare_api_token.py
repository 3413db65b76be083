"""A scoped token: only what is named, its value in one file, and never in anything that is printed."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.sapflux.hosting.plugins.module_utils import _api_token
from ansible_collections.sapflux.hosting.plugins.modules import cloudflare_api_token

from tests.doubles.cloudflare import ACCOUNT, Cloudflare, tokens
from tests.doubles.cloudflare.core import group_id
from tests.doubles.web import Fault
from tests.unit.plugins.module_utils.scripted_http import Call
from tests.unit.plugins.modules.cloud_module import CHECK, TOKEN, Runner, good

HOME = f"/accounts/{ACCOUNT}/tokens"
WRITE = "Account API Tokens Write"
VALUE = "a-value_that-must-not-show"


@pytest.fixture
def runner(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Runner:
    return Runner(cloudflare_api_token, capsys, monkeypatch)


def caddy(folder: Path, **more: Any) -> dict[str, Any]:
    """Arguments of a token for certificates."""
    return {
        "account_id": ACCOUNT, "name": "caddy", "permissions": ["DNS Write", "Zone Read"], "zones": ["example.org"],
        "path": str(folder / "token"), **more,
    }  # fmt: skip


def made(cloud: Cloudflare) -> Any:
    """The token that the module made."""
    return next(token for token in cloud.tokens.values() if token.name == "caddy")


def groups(*names: str) -> list[dict[str, Any]]:
    return [{"id": group_id(name), "name": name, "scopes": ["com.cloudflare.api.account"]} for name in names]


def test_the_value_goes_into_the_file_and_nowhere_else(runner: Runner, tmp_path: Path) -> None:
    policy = {
        "effect": "allow",
        "permission_groups": [{"id": group_id("Queues Read")}],
        "resources": {f"com.cloudflare.api.account.{ACCOUNT}": "*"},
    }
    body = {"name": "q", "policies": [policy], "condition": {"request_ip": {"in": ["192.0.2.0/24"]}}}
    script = runner.script(
        Call("GET", f"{HOME}?include_expired=true&per_page=50", good([])),
        Call("GET", f"{HOME}/permission_groups", good(groups("Queues Read"))),
        Call("POST", HOME, good({"id": "7" * 32, "status": "active", "value": VALUE}), body=body),
    )
    runner.secrets.append(VALUE)
    path = tmp_path / "token"
    result = runner(
        account_id=ACCOUNT, name="q", permissions=["Queues Read"], allowed_ips=["192.0.2.0/24"], path=str(path),
        _ansible_diff=True,
    )  # fmt: skip
    script.done()
    assert (result["id"], result["status"], result["expires_on"]) == ("7" * 32, "active", "")
    assert path.read_text() == f"{VALUE}\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_against_the_double(runner: Runner, tmp_path: Path) -> None:
    with runner.double(WRITE) as (cloud, zone):
        runner.check_then_do(cloud, **caddy(tmp_path))
        token = made(cloud)
        assert (tmp_path / "token").read_text().strip() == token.value
        assert cloud.may(token, "DNS Read", zone)
        assert not cloud.may(token, "DNS Read", "0" * 32)
        assert not cloud.may(token, WRITE)
        # Other permissions, other limits: the same token with the same value.
        value = token.value
        more = {"permissions": ["DNS Write"], "expires_on": "2099-01-01T00:00:00Z", "allowed_ips": ["192.0.2.1/32"]}
        assert runner.check_then_do(cloud, **caddy(tmp_path, **more))["expires_on"] == "2099-01-01T00:00:00Z"
        assert (made(cloud).id, made(cloud).value) == (token.id, value)
        assert runner.check_then_do(cloud, **caddy(tmp_path, enabled=False))["status"] == "disabled"
        assert runner.check_then_do(cloud, **caddy(tmp_path))["status"] == "active"
        runner.check_then_do(cloud, **caddy(tmp_path, state="absent"))
        assert [each.name for each in cloud.tokens.values()] == ["made by the test"]
        assert not (tmp_path / "token").exists()


def test_a_token_that_begins_switched_off(runner: Runner, tmp_path: Path) -> None:
    with runner.double(WRITE) as (cloud, _zone):
        assert runner.check_then_do(cloud, **caddy(tmp_path, enabled=False))["status"] == "disabled"


def test_permissions_go_to_where_they_belong(runner: Runner, tmp_path: Path) -> None:
    """Those of the account, of zones and of buckets are in policies of their own."""
    names = ["DNS Read", "Workers R2 Storage Read", "Workers R2 Storage Bucket Item Write"]
    with runner.double(WRITE) as (cloud, _zone):
        buckets = [{"name": "backup", "jurisdiction": "eu"}]
        runner.check_then_do(cloud, **caddy(tmp_path, permissions=names, zones=[], buckets=buckets))
        resources = [policy["resources"] for policy in made(cloud).policies]
        account = f"com.cloudflare.api.account.{ACCOUNT}"
        assert resources == [
            {account: "*"},
            {account: {"com.cloudflare.api.account.zone.*": "*"}},
            {f"com.cloudflare.edge.r2.bucket.{ACCOUNT}_eu_backup": "*"},
        ]
        runner.check_then_do(cloud, **caddy(tmp_path, permissions=names[2:]))
        assert made(cloud).policies[0]["resources"] == {account: {"com.cloudflare.edge.r2.bucket.*": "*"}}


@pytest.mark.parametrize("content", [None, "", "of-another-token\n", "no token at all\n"])
def test_a_value_that_is_lost_is_replaced(runner: Runner, tmp_path: Path, content: str | None) -> None:
    with runner.double(WRITE) as (cloud, _zone):
        runner(**caddy(tmp_path))
        old = made(cloud).value
        path = tmp_path / "token"
        path.unlink()
        if content is not None:
            path.write_text(content)
        result = runner.check_then_do(cloud, **caddy(tmp_path))
        assert result["changes"] == ["change value of token caddy"]
        assert path.read_text().strip() == made(cloud).value != old


def test_rotation_ends_the_old_value(runner: Runner, tmp_path: Path) -> None:
    with runner.double(WRITE) as (cloud, _zone):
        runner(**caddy(tmp_path))
        old = made(cloud).value
        planned = runner(**caddy(tmp_path, rotate=True), **CHECK)
        assert (planned["changed"], made(cloud).value) == (True, old)
        runner(**caddy(tmp_path, rotate=True))
        assert (tmp_path / "token").read_text().strip() == made(cloud).value != old


def test_no_value_is_printed(runner: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither when it is made, nor rolled, nor when that fails."""
    monkeypatch.setattr("tests.doubles.cloudflare.tokens.new_value", lambda _cloud: VALUE)
    runner.secrets.append(VALUE)
    with runner.double(WRITE) as (cloud, _zone):
        runner(**caddy(tmp_path), _ansible_verbosity=3)
        runner(**caddy(tmp_path, rotate=True), _ansible_diff=True, _ansible_verbosity=3)
        cloud.faults = [Fault("status", path="verify", status=500, times=9)]
        assert "with 500" in runner.fails(**caddy(tmp_path))


def test_a_folder_that_is_missing_is_told_before_a_token_is_made(runner: Runner, tmp_path: Path) -> None:
    with runner.double(WRITE) as (cloud, _zone):
        said = runner.fails(**caddy(tmp_path / "missing"))
        assert said.endswith("No such file or directory; make its folder first")
        assert cloud.writes() == []
        (tmp_path / "token").mkdir()
        cloud.add_token("x", "Zone Read").name = "caddy"
        assert "cannot be read" in runner.fails(**caddy(tmp_path))


def test_an_answer_that_is_lost_leaves_one_token(runner: Runner, tmp_path: Path) -> None:
    with runner.double(WRITE) as (cloud, _zone):
        cloud.faults = [Fault("lost", method="POST")]
        assert "look before you repeat it" in runner.fails(**caddy(tmp_path))
        assert not (tmp_path / "token").exists()
        runner.check_then_do(cloud, **caddy(tmp_path))
        assert (tmp_path / "token").read_text().strip() == made(cloud).value
        assert len(cloud.tokens) == 2


def test_the_branch_one_sits_on(runner: Runner, tmp_path: Path) -> None:
    with runner.double(WRITE) as (cloud, _zone):
        next(iter(cloud.tokens.values())).name = "caddy"
        said = "is the one that this run uses and cannot be"
        assert f"{said} removed by itself" in runner.fails(**caddy(tmp_path, state="absent"))
        assert f"{said} given a new value by itself" in runner.fails(**caddy(tmp_path))
        assert [token.value for token in cloud.tokens.values()] == [TOKEN]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"permissions": ["DNS Edit"]}, "there is no permission DNS Edit; did you mean DNS"),
        ({"permissions": ["xyz"]}, "what the dashboard calls Edit is Write here"),
        ({"permissions": ["API Tokens Read"]}, "cannot be given by this module"),
        ({"zones": ["other.example"]}, "sees no zone other.example"),
    ],
)
def test_wishes_that_cannot_be(runner: Runner, tmp_path: Path, change: dict[str, Any], said: str) -> None:
    with runner.double(WRITE) as (cloud, _zone):
        assert said in runner.fails(**caddy(tmp_path, **change))
        assert cloud.writes() == []


def test_an_account_that_is_full(runner: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tokens.QUOTA, "account", 1)
    with runner.double(WRITE) as (_cloud, _zone):
        assert "Token quota exceeded (code 1007)" in runner.fails(**caddy(tmp_path))
        assert list(tmp_path.iterdir()) == []


def test_names_that_are_not_unique(runner: Runner, tmp_path: Path) -> None:
    with runner.double(WRITE) as (cloud, _zone):
        for value in ("x", "y"):
            cloud.add_token(value, "Zone Read").name = "caddy"
        assert "there are 2 tokens with the name caddy" in runner.fails(**caddy(tmp_path))


def test_tokens_of_the_user(runner: Runner, tmp_path: Path) -> None:
    with runner.double("API Tokens Write") as (cloud, _zone):
        arguments = caddy(tmp_path)
        del arguments["account_id"]
        runner.check_then_do(cloud, **arguments)
        assert made(cloud).owner == "user"
        bucket = {**arguments, "permissions": ["Workers R2 Storage Bucket Item Read"]}
        assert "need account_id" in runner.fails(**bucket)


def test_order_and_what_the_api_adds_make_no_difference() -> None:
    policy = {"effect": "allow", "permission_groups": [{"id": "a"}, {"id": "b"}], "resources": {"x": "*", "y": "*"}}
    shown = {
        "id": "1", "effect": "allow", "permission_groups": [{"id": "b", "name": "B"}, {"id": "a", "name": "A"}],
        "resources": json.loads('{"y": "*", "x": "*"}'),
    }  # fmt: skip
    assert _api_token.fingerprint([policy]) == _api_token.fingerprint([shown])
