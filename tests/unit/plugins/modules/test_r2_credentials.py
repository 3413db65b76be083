"""A key pair: for the named buckets only, in one file, and never in anything that is printed."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.sapflux.hosting.plugins.modules import r2_credentials

from tests.doubles.cloudflare import ACCOUNT, Cloudflare
from tests.doubles.cloudflare.core import group_id
from tests.doubles.web import Fault
from tests.unit.plugins.module_utils.scripted_http import Call
from tests.unit.plugins.modules.cloud_module import CHECK, Runner, good

HOME = f"/accounts/{ACCOUNT}/tokens"
WRITE = "Account API Tokens Write"
VALUE = "a-value_that-must-not-show"
SECRET = hashlib.sha256(VALUE.encode()).hexdigest()
READ_ITEMS = "Workers R2 Storage Bucket Item Read"
WRITE_ITEMS = "Workers R2 Storage Bucket Item Write"


@pytest.fixture
def runner(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Runner:
    made = Runner(r2_credentials, capsys, monkeypatch)
    made.secrets += [VALUE, SECRET]
    return made


def backup(folder: Path, **more: Any) -> dict[str, Any]:
    """Arguments of a key pair."""
    return {"account_id": ACCOUNT, "name": "backup", "buckets": ["backup"], "path": str(folder / "pair"), **more}


def made(cloud: Cloudflare) -> Any:
    """The token that the module made."""
    return next(token for token in cloud.tokens.values() if token.name == "backup")


def expected(cloud: Cloudflare) -> str:
    """What the file has to hold."""
    token = made(cloud)
    secret = hashlib.sha256(token.value.encode()).hexdigest()
    return f"AWS_ACCESS_KEY_ID={token.id}\nAWS_SECRET_ACCESS_KEY={secret}\n"


def test_the_pair_goes_into_the_file_and_nowhere_else(runner: Runner, tmp_path: Path) -> None:
    group = {"id": group_id(READ_ITEMS), "name": READ_ITEMS, "scopes": ["com.cloudflare.edge.r2.bucket"]}
    policy = {
        "effect": "allow",
        "permission_groups": [{"id": "6a018a9f2fc74eb6b293b0c548f38b39"}],
        "resources": {f"com.cloudflare.edge.r2.bucket.{ACCOUNT}_eu_backup": "*"},
    }
    script = runner.script(
        Call("GET", f"{HOME}/permission_groups", good([group])),
        Call("GET", f"{HOME}?include_expired=true&per_page=50", good([])),
        Call("POST", HOME, good({"id": "7" * 32, "value": VALUE}), body={"name": "backup", "policies": [policy]}),
    )
    result = runner(**backup(tmp_path, jurisdiction="eu"), _ansible_diff=True, _ansible_verbosity=3)
    script.done()
    assert result["access_key_id"] == "7" * 32
    path = tmp_path / "pair"
    assert path.read_text() == f"AWS_ACCESS_KEY_ID={'7' * 32}\nAWS_SECRET_ACCESS_KEY={SECRET}\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_against_the_double(runner: Runner, tmp_path: Path) -> None:
    with runner.double(WRITE) as (cloud, _zone):
        runner.check_then_do(cloud, **backup(tmp_path))
        assert (tmp_path / "pair").read_text() == expected(cloud)
        assert cloud.may(made(cloud), READ_ITEMS)
        assert not cloud.may(made(cloud), WRITE_ITEMS)
        assert not cloud.may(made(cloud), "Workers R2 Storage Read")
        # Other rights, other limits: the same pair.
        more = {"access": "write", "buckets": ["backup", "files"], "expires_on": "2099-01-01"}
        done = runner.check_then_do(cloud, **backup(tmp_path, **more, allowed_ips=["192.0.2.1/32"]))
        assert done["expires_on"] == "2099-01-01T00:00:00Z"
        assert cloud.may(made(cloud), WRITE_ITEMS)
        assert (tmp_path / "pair").read_text() == expected(cloud)
        made(cloud).status = "disabled"
        runner.check_then_do(cloud, **backup(tmp_path, **more, allowed_ips=["192.0.2.1/32"]))
        runner.check_then_do(cloud, **backup(tmp_path, state="absent"))
        assert [token.name for token in cloud.tokens.values()] == ["made by the test"]
        assert not (tmp_path / "pair").exists()


@pytest.mark.parametrize("content", [None, "", "AWS_ACCESS_KEY_ID=1\n", "other"])
def test_a_pair_that_is_lost_is_replaced(runner: Runner, tmp_path: Path, content: str | None) -> None:
    with runner.double(WRITE) as (cloud, _zone):
        runner(**backup(tmp_path))
        old = made(cloud).value
        path = tmp_path / "pair"
        if content is None:
            path.unlink()
        else:
            path.write_text(path.read_text().replace(made(cloud).id, "0" * 32) if content == "other" else content)
        done = runner.check_then_do(cloud, **backup(tmp_path))
        assert done["changes"] == ["change secret of key pair backup"]
        assert path.read_text() == expected(cloud)
        assert made(cloud).value != old


def test_rotation_ends_the_old_pair(runner: Runner, tmp_path: Path) -> None:
    with runner.double(WRITE) as (cloud, _zone):
        runner(**backup(tmp_path))
        old = expected(cloud)
        assert runner(**backup(tmp_path, rotate=True), **CHECK)["changed"] is True
        assert (tmp_path / "pair").read_text() == expected(cloud) == old
        runner(**backup(tmp_path, rotate=True))
        assert (tmp_path / "pair").read_text() == expected(cloud) != old


def test_no_secret_is_printed(runner: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.doubles.cloudflare.tokens.new_value", lambda _cloud: VALUE)
    with runner.double(WRITE) as (cloud, _zone):
        runner(**backup(tmp_path), _ansible_verbosity=3)
        runner(**backup(tmp_path, rotate=True), _ansible_diff=True, _ansible_verbosity=3)
        cloud.faults = [Fault("status", path="value", status=500, times=9)]
        assert "with 500" in runner.fails(**backup(tmp_path, rotate=True))
        assert SECRET in (tmp_path / "pair").read_text()


def test_an_answer_that_is_lost_leaves_one_token(runner: Runner, tmp_path: Path) -> None:
    with runner.double(WRITE) as (cloud, _zone):
        cloud.faults = [Fault("lost", method="POST")]
        assert "look before you repeat it" in runner.fails(**backup(tmp_path))
        assert list(tmp_path.iterdir()) == []
        runner.check_then_do(cloud, **backup(tmp_path))
        assert (tmp_path / "pair").read_text() == expected(cloud)
        assert len(cloud.tokens) == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"buckets": []}, "buckets names no bucket"),
        ({"buckets": ["*"]}, "* is no name of a bucket"),
        ({"expires_on": "soon"}, "soon is no moment"),
        ({"path": "/missing/pair"}, "make its folder first"),
    ],
)
def test_wishes_that_cannot_be(runner: Runner, tmp_path: Path, change: dict[str, Any], said: str) -> None:
    with runner.double(WRITE) as (cloud, _zone):
        assert said in runner.fails(**backup(tmp_path, **change))
        assert cloud.writes() == []


def test_the_branch_one_sits_on(runner: Runner, tmp_path: Path) -> None:
    with runner.double(WRITE) as (cloud, _zone):
        next(iter(cloud.tokens.values())).name = "backup"
        assert "cannot be removed by itself" in runner.fails(**backup(tmp_path, state="absent"))
        assert "cannot be given a new value by itself" in runner.fails(**backup(tmp_path))


@pytest.mark.parametrize(("jurisdiction", "where"), [("default", ""), ("eu", "eu."), ("fedramp-high", "fedramp-high.")])
def test_each_jurisdiction_has_its_address(runner: Runner, tmp_path: Path, jurisdiction: str, where: str) -> None:
    with runner.double(WRITE):
        result = runner(**backup(tmp_path, jurisdiction=jurisdiction))
        assert result["endpoint"] == f"https://{ACCOUNT}.{where}r2.cloudflarestorage.com"
