"""Credentials that end: for one bucket, in one file, renewed before their end, and never in anything that is shown."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.sapflux.hosting.plugins.modules import r2_temporary_credentials as module

from tests.doubles.cloudflare import ACCOUNT, Cloudflare, r2
from tests.doubles.web import Fault
from tests.unit.plugins.module_utils.scripted_http import Call
from tests.unit.plugins.modules.cloud_module import CHECK, Runner, good

LEND = f"/accounts/{ACCOUNT}/r2/temp-access-credentials"
WRITE = "Workers R2 Storage Write"
SECRETS = {"secretAccessKey": "a-secret_that-must-not-show", "sessionToken": "a-session_that-must-not-show"}
MADE = {"accessKeyId": "5" * 32, **SECRETS}
MORNING = datetime(2027, 1, 1, 8, tzinfo=UTC)
REFUSED = {"success": False, "errors": [{"code": 1000, "message": "Invalid API Token"}], "messages": []}


@pytest.fixture
def runner(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Runner:
    made = Runner(module, capsys, monkeypatch)
    made.secrets += SECRETS.values()
    monkeypatch.setattr(module, "now", lambda: MORNING)
    return made


def one(folder: Path, **more: Any) -> dict[str, Any]:
    """Arguments that lend the bucket `backup`."""
    return {"account_id": ACCOUNT, "bucket": "backup", "path": str(folder / "pair"), **more}


def body(parent: str, **more: Any) -> dict[str, Any]:
    """What is sent for it."""
    return {
        "bucket": "backup",
        "parentAccessKeyId": parent,
        "permission": "object-read-only",
        "ttlSeconds": 900,
        **more,
    }


def key_of(folder: Path) -> str:
    """The access key that the file holds."""
    return (folder / "pair").read_text().splitlines()[1].removeprefix("AWS_ACCESS_KEY_ID=")


def lent(cloud: Cloudflare) -> int:
    """How often credentials were made."""
    asked = [seen for seen in cloud.writes() if seen.path.endswith("temp-access-credentials")]
    return len([seen for seen in asked if seen.status == 200])


def test_they_go_into_the_file_and_nowhere_else(runner: Runner, tmp_path: Path) -> None:
    sent = body("7" * 32, prefixes=["a/", "b/"])
    script = runner.script(
        Call("GET", f"/accounts/{ACCOUNT}/tokens/verify", good({"id": "7" * 32, "status": "active"})),
        Call("POST", LEND, good(MADE), body=sent, sent_headers={"cf-r2-jurisdiction": "eu"}),
    )
    given = one(tmp_path, jurisdiction="eu", prefixes=["b/", "a/"])
    result = runner(**given, _ansible_diff=True, _ansible_verbosity=3)
    script.done()
    assert (result["access_key_id"], result["expires_on"]) == ("5" * 32, "2027-01-01T08:15:00Z")
    assert result["endpoint"] == f"https://{ACCOUNT}.eu.r2.cloudflarestorage.com"
    path = tmp_path / "pair"
    comment, *lines = path.read_text().splitlines()
    assert comment.startswith("# ends 2027-01-01T08:15:00Z, for ")
    assert lines == [
        f"AWS_ACCESS_KEY_ID={'5' * 32}",
        f"AWS_SECRET_ACCESS_KEY={SECRETS['secretAccessKey']}",
        f"AWS_SESSION_TOKEN={SECRETS['sessionToken']}",
    ]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_against_the_double(runner: Runner, tmp_path: Path) -> None:
    with runner.double(WRITE) as (cloud, _zone):
        assert "does not exist" in runner.fails(**one(tmp_path))
        r2.add_bucket(cloud, "backup")
        done = runner.check_then_do(cloud, **one(tmp_path))
        assert done["access_key_id"] == key_of(tmp_path)
        # For something else, they are others.
        runner.check_then_do(cloud, **one(tmp_path, objects=["a"], permission="object-read-write"))
        assert key_of(tmp_path) != done["access_key_id"]
        # A parent that is not there lends nothing, and what is held stays.
        before = key_of(tmp_path)
        assert "The parent access key is not valid" in runner.fails(**one(tmp_path, parent_access_key_id="9" * 32))
        assert key_of(tmp_path) == before
        parent = next(iter(cloud.tokens.values())).id
        runner.check_then_do(cloud, **one(tmp_path, parent_access_key_id=parent, prefixes=["x/"]))


def test_they_are_renewed_before_their_end(runner: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with runner.double(WRITE) as (cloud, _zone):
        r2.add_bucket(cloud, "backup")
        runner(**one(tmp_path))
        first = key_of(tmp_path)
        monkeypatch.setattr(module, "now", lambda: MORNING + timedelta(seconds=599))
        assert runner(**one(tmp_path))["changed"] is False
        monkeypatch.setattr(module, "now", lambda: MORNING + timedelta(seconds=600))
        planned = runner(**one(tmp_path), **CHECK)
        assert (planned["changed"], key_of(tmp_path), lent(cloud)) == (True, first, 1)
        assert runner(**one(tmp_path))["expires_on"] == "2027-01-01T08:25:00Z"
        assert key_of(tmp_path) != first


def test_a_file_of_something_else_is_replaced(runner: Runner, tmp_path: Path) -> None:
    (tmp_path / "pair").write_text("AWS_ACCESS_KEY_ID=x\n")
    with runner.double(WRITE) as (cloud, _zone):
        r2.add_bucket(cloud, "backup")
        runner.check_then_do(cloud, **one(tmp_path))


def test_the_token_of_a_user_is_a_parent_too(runner: Runner, tmp_path: Path) -> None:
    script = runner.script(
        Call("GET", f"/accounts/{ACCOUNT}/tokens/verify", REFUSED, status=401),
        Call("GET", "/user/tokens/verify", good({"id": "8" * 32, "status": "active"})),
        Call("POST", LEND, good(MADE), body=body("8" * 32)),
    )
    assert runner(**one(tmp_path))["changed"] is True
    script.done()


def test_a_token_that_is_not_valid_lends_nothing(runner: Runner, tmp_path: Path) -> None:
    runner.script(
        Call("GET", f"/accounts/{ACCOUNT}/tokens/verify", REFUSED, status=401),
        Call("GET", "/user/tokens/verify", REFUSED, status=401),
    )
    assert "give one that is, or parent_access_key_id" in runner.fails(**one(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_an_answer_that_is_lost_leaves_no_half_file(runner: Runner, tmp_path: Path) -> None:
    with runner.double(WRITE) as (cloud, _zone):
        r2.add_bucket(cloud, "backup")
        cloud.faults.append(Fault("lost", "POST"))
        runner.fails(**one(tmp_path))
        assert list(tmp_path.iterdir()) == []
        # What was lent and lost ends by itself.
        assert runner(**one(tmp_path))["changed"] is True


@pytest.mark.parametrize(
    ("wish", "says"),
    [
        ({"bucket": "Backup"}, "Backup is no name of a bucket"),
        ({"ttl": 0}, "ttl is 1 to 604800 seconds, not 0"),
        ({"ttl": 604801}, "ttl is 1 to 604800 seconds, not 604801"),
        ({"ttl": 300}, "renew_before has to be less than ttl"),
        ({"renew_before": -1}, "renew_before has to be less than ttl"),
    ],
)
def test_wishes_that_cannot_be(runner: Runner, tmp_path: Path, wish: dict[str, Any], says: str) -> None:
    script = runner.script()
    assert says in runner.fails(**{**one(tmp_path), **wish})
    script.done()


def test_a_folder_that_is_not_there_is_told_before_anything_is_lent(runner: Runner, tmp_path: Path) -> None:
    with runner.double(WRITE) as (cloud, _zone):
        r2.add_bucket(cloud, "backup")
        assert "make its folder first" in runner.fails(**one(tmp_path / "nowhere"))
        assert lent(cloud) == 0
