"""A bucket is brought to what is wanted: only what differs is written, and nothing is lost by the way."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.sapflux.hosting.plugins.module_utils import _r2
from ansible_collections.sapflux.hosting.plugins.modules import r2_bucket

from tests.doubles.cloudflare import ACCOUNT, r2
from tests.doubles.web import Fault
from tests.unit.plugins.module_utils.scripted_http import NOTHING, Call
from tests.unit.plugins.modules.cloud_module import CHECK, Runner, good

HOME = f"/accounts/{ACCOUNT}/r2/buckets"
WRITE = "Workers R2 Storage Write"
SITE = "https://example.org"
DOMAIN = {"domain": "Files.example.org", "zone": "example.org"}
EVERYTHING: dict[str, Any] = {
    "location": "weur",
    "storage_class": "InfrequentAccess",
    "lifecycle": [
        {"id": "z", "prefix": "base/", "delete_after_days": 60},
        {"id": "a", "enabled": False, "delete_on": "2030-01-01", "infrequent_access_after_days": 30},
        {"id": "m", "infrequent_access_on": "2030-01-01T02:00:00+02:00"},
    ],
    "cors": [{"origins": [SITE], "methods": ["PUT", "GET"], "headers": ["b", "a"], "max_age_seconds": 3600}],
    "lock": [
        {"id": "week", "prefix": "wal/", "days": 7},
        {"id": "date", "until": "2030-01-01T00:00:00.000Z"},
        {"id": "ever", "forever": True, "enabled": False},
    ],
    "r2_dev": True,
    "domains": [DOMAIN],
}


@pytest.fixture
def runner(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Runner:
    monkeypatch.setattr(_r2, "pause", lambda _seconds: None)
    return Runner(r2_bucket, capsys, monkeypatch)


def backup(**more: Any) -> dict[str, Any]:
    """Arguments of a bucket."""
    return {"account_id": ACCOUNT, "name": "backup", **more}


def bucket(cloud: Any, jurisdiction: str = "default") -> r2.Bucket:
    """The bucket as the double has it."""
    found: r2.Bucket = cloud.part(r2.Buckets).all[jurisdiction, "backup"]
    return found


def refusal(code: int) -> dict[str, Any]:
    return {"success": False, "errors": [{"code": code, "message": "no"}], "messages": [], "result": None}


def shown(**more: Any) -> dict[str, Any]:
    return good({"name": "backup", "location": "weur", "storage_class": "Standard", "jurisdiction": "eu", **more})


def test_a_bucket_is_made_in_its_jurisdiction_and_never_looked_for_elsewhere(runner: Runner) -> None:
    there = {"cf-r2-jurisdiction": "eu"}
    script = runner.script(
        Call("GET", f"{HOME}/backup", refusal(10006), 404, body=NOTHING, sent_headers=there),
        Call("POST", HOME, shown(), body={"name": "backup", "locationHint": "weur"}, sent_headers=there),
        Call("GET", f"{HOME}/backup", shown(), sent_headers=there),
        Call("PUT", f"{HOME}/backup/domains/managed", good({}), body={"enabled": True}, sent_headers=there),
    )
    result = runner(**backup(jurisdiction="eu", location="weur", r2_dev=True))
    script.done()
    assert result["changes"] == ["create bucket backup", "change bucket backup: r2_dev false -> true"]
    assert (result["name"], result["location"]) == ("backup", "weur")


def test_against_the_double(runner: Runner) -> None:
    with runner.double(WRITE) as (cloud, _zone):
        runner.check_then_do(cloud, **backup())
        assert bucket(cloud).lifecycle == [r2.ABORT_RULE]
        done = runner.check_then_do(cloud, **backup(**EVERYTHING))
        assert done["domains"] == [{"domain": "files.example.org", "ownership": "active", "ssl": "active"}]
        assert len(done["changes"]) == 6
        assert bucket(cloud).storage_class == "InfrequentAccess"
        assert bucket(cloud).domains["files.example.org"]["minTLS"] == "1.2"
        # What is left out stays.
        assert runner(**backup())["changed"] is False
        runner.check_then_do(cloud, **backup(domains=[{**DOMAIN, "min_tls": "1.3", "ciphers": ["X"]}]))
        nothing: dict[str, Any] = {"lifecycle": [], "cors": [], "lock": [], "r2_dev": False, "domains": []}
        runner.check_then_do(cloud, **backup(**nothing, storage_class="Standard"))
        left = bucket(cloud)
        assert (left.lifecycle, left.cors, left.lock, left.public, left.domains) == (
            [r2.ABORT_RULE], None, [], False, {},
        )  # fmt: skip
        runner.check_then_do(cloud, **backup(state="absent"))
        assert cloud.part(r2.Buckets).all == {}


def test_a_new_bucket_with_all_that_can_be_set(runner: Runner) -> None:
    with runner.double(WRITE) as (cloud, _zone):
        runner.check_then_do(cloud, **backup(**EVERYTHING, jurisdiction="eu"))
        assert bucket(cloud, "eu").storage_class == "InfrequentAccess"


def test_the_rule_for_uploads_that_were_given_up_stays(runner: Runner) -> None:
    """The API replaces all rules; without this one leftovers are paid for, and keep the bucket from going."""
    with runner.double(WRITE) as (cloud, _zone):
        runner(**backup(lifecycle=[{"id": "old", "delete_after_days": 60}]))
        assert [rule["id"] for rule in bucket(cloud).lifecycle] == [r2.ABORT_RULE["id"], "old"]
        own = {"id": "mine", "abort_uploads_after_days": 1}
        runner.check_then_do(cloud, **backup(lifecycle=[own]))
        assert [rule["id"] for rule in bucket(cloud).lifecycle] == ["mine"]
        runner.check_then_do(cloud, **backup(lifecycle=[{**own, "prefix": "some/"}]))
        assert [rule["id"] for rule in bucket(cloud).lifecycle] == [r2.ABORT_RULE["id"], "mine"]


def test_what_the_api_fills_in_makes_no_difference(runner: Runner) -> None:
    with runner.double(WRITE) as (cloud, _zone):
        runner(**backup(**EVERYTHING))
        it = bucket(cloud)
        it.lifecycle = [
            {"abortMultipartUploadsTransition": {}, "deleteObjectsTransition": None, **rule}
            for rule in reversed(it.lifecycle)
        ]
        it.lock = [{"prefix": None, **rule} for rule in reversed(it.lock)]
        it.cors = [{"id": "given by the API", "exposeHeaders": None, **rule} for rule in it.cors or []]
        assert runner(**backup(**EVERYTHING))["changes"] == []


@pytest.mark.parametrize("placed", ["WEUR", "enam"])
def test_the_place_is_a_hint(runner: Runner, placed: str) -> None:
    """An older API wrote it in capitals; where it differs nothing can be done, and nothing fails."""
    with runner.double(WRITE) as (cloud, _zone):
        cloud.part(r2.Buckets).placed = placed
        for _run in range(2):
            result = runner(**backup(location="weur"))
            assert result["location"] == placed.lower()
            said = "the bucket backup is in enam, not in weur: a bucket cannot be moved"
            assert (said in str(result.get("warnings"))) is (placed == "enam")
        assert "warnings" not in runner(**backup())


@pytest.mark.parametrize("code", [10004, 10073])
def test_somebody_was_faster(runner: Runner, code: int) -> None:
    script = runner.script(
        Call("GET", f"{HOME}/backup", refusal(10006), 404),
        Call("POST", HOME, refusal(code), 409),
        Call("GET", f"{HOME}/backup", shown()),
        Call("GET", f"{HOME}/backup", shown()),
        Call("GET", f"{HOME}/backup/domains/managed", good({"enabled": True})),
    )
    runner(**backup(r2_dev=True))
    script.done()


def test_an_answer_that_is_lost_leaves_one_bucket(runner: Runner) -> None:
    with runner.double(WRITE) as (cloud, _zone):
        cloud.faults = [Fault("lost", method="POST")]
        assert "look before you repeat it" in runner.fails(**backup(lock=EVERYTHING["lock"]))
        runner.check_then_do(cloud, **backup(lock=EVERYTHING["lock"]))
        assert len(cloud.part(r2.Buckets).all) == 1


def test_a_run_that_broke_off_is_finished_by_the_next(runner: Runner) -> None:
    with runner.double(WRITE) as (cloud, _zone):
        cloud.faults = [Fault("page", path="/lock", times=9)]
        assert "with 503" in runner.fails(**backup(**EVERYTHING))
        cloud.faults = [Fault("status", status=429, times=2)]
        done = runner(**backup(**EVERYTHING))
        assert done["changes"][0] == "change lock of bucket backup"
        assert runner(**backup(**EVERYTHING))["changed"] is False


def test_a_bucket_that_is_not_empty_stays(runner: Runner) -> None:
    with runner.double(WRITE) as (cloud, _zone):
        runner(**backup())
        r2.put_objects(cloud, "backup", "wal/1")
        before = len(cloud.writes())
        for arguments in ({}, CHECK):
            said = runner.fails(**backup(state="absent"), **arguments)
            assert said == "the bucket backup is not empty: say force to remove all that is in it"
        assert cloud.writes()[before:] == []
        assert bucket(cloud).objects


def test_force_empties_page_after_page(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_r2, "PAGE", 4)
    with runner.double(WRITE) as (cloud, _zone):
        runner(**backup())
        r2.put_objects(cloud, "backup", *(f"wal/{number:04} ü?#" for number in range(9)))
        done = runner.check_then_do(cloud, **backup(state="absent", force=True))
        assert done["changes"] == ["remove all objects of bucket backup", "remove bucket backup"]
        assert cloud.part(r2.Buckets).all == {}


def test_answers_that_are_lost_while_all_goes(runner: Runner) -> None:
    """The request is sent again, and finds that it was carried out."""
    with runner.double(WRITE) as (cloud, _zone):
        runner(**backup(domains=[DOMAIN]))
        cloud.faults = [Fault("lost", method="DELETE", path=kind) for kind in ("/domains/", "/objects/", "/backup$")]
        runner(**backup(domains=[]))
        r2.put_objects(cloud, "backup", "a", "b")
        assert runner(**backup(state="absent", force=True))["changed"] is True
        assert (cloud.part(r2.Buckets).all, [fault.times for fault in cloud.faults]) == ({}, [0, 0, 0])


def test_a_list_of_what_is_not_there_is_left(runner: Runner) -> None:
    listed = good([{"key": "a"}])
    script = runner.script(
        Call("GET", f"{HOME}/backup", shown()),
        Call("GET", f"{HOME}/backup/objects?per_page=1", listed),
        Call("GET", f"{HOME}/backup/objects?per_page=1000", listed),
        Call("DELETE", f"{HOME}/backup/objects/a", refusal(10007), 404),
    )
    assert "lists objects that are not there" in runner.fails(**backup(state="absent", force=True))
    script.done()


def test_what_keeps_a_bucket_from_going_is_told(runner: Runner) -> None:
    with runner.double(WRITE) as (cloud, _zone):
        runner(**backup(lock=[{"id": "all", "days": 1}]))
        bucket(cloud).uploads = 1
        assert "open uploads and event notifications keep it" in runner.fails(**backup(state="absent"))
        r2.put_objects(cloud, "backup", "a")
        assert "take its rule out of lock" in runner.fails(**backup(state="absent", force=True))
        assert bucket(cloud).objects


def test_a_bucket_of_another_jurisdiction_is_another_one(runner: Runner) -> None:
    with runner.double(WRITE) as (cloud, _zone):
        runner(**backup(jurisdiction="eu"))
        assert runner(**backup(state="absent"))["changed"] is False
        runner(**backup())
        runner(**backup(state="absent"))
        assert list(cloud.part(r2.Buckets).all) == [("eu", "backup")]


def test_domains_that_are_not_named_are_taken_off(runner: Runner) -> None:
    with runner.double(WRITE) as (cloud, _zone):
        runner(**backup(domains=[DOMAIN]))
        other = {"domain": "img.example.org", "zone": "example.org", "enabled": False}
        done = runner.check_then_do(cloud, **backup(domains=[other]))
        assert done["domains"] == [{"domain": "img.example.org", "ownership": "", "ssl": ""}]
        assert list(bucket(cloud).domains) == ["img.example.org"]
        # It belongs to this bucket.
        assert "code 10073" in runner.fails(account_id=ACCOUNT, name="other", domains=[other])


def test_a_domain_that_does_not_become_active(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter(range(0, 10_000, 100))
    monkeypatch.setattr(_r2, "clock", lambda: next(moments))
    with runner.double(WRITE) as (cloud, _zone):
        cloud.part(r2.Buckets).stuck = ("pending", "pending")
        said = runner.fails(**backup(domains=[DOMAIN]))
        assert "is not active after 600 s: its ownership is pending, its certificate pending" in said
        # A run that does not wait is content, and one that does waits although nothing is to be done.
        assert runner(**backup(domains=[DOMAIN], wait=False))["domains"][0]["ownership"] == "pending"
        cloud.part(r2.Buckets).stuck = ("blocked", "pending")
        assert "its ownership is blocked" in runner.fails(**backup(domains=[DOMAIN]))
        cloud.part(r2.Buckets).stuck = ("", "")
        done = runner(**backup(domains=[DOMAIN]))
        assert (done["changed"], done["domains"][0]["ssl"]) == (False, "active")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "Backup"}, "Backup is no name of a bucket"),
        ({"name": "ab"}, "ab is no name of a bucket"),
        ({"name": "a" * 64}, "is no name of a bucket"),
        ({"name": "ab-"}, "is no name of a bucket"),
        ({"lifecycle": [{"id": "x"}]}, "lifecycle rule x does nothing"),
        ({"lifecycle": [{"id": "x", "delete_after_days": 0}]}, "0 days are too few"),
        ({"lifecycle": [{"id": "x", "delete_on": "soon"}]}, "soon is no moment"),
        (
            {"lifecycle": [{"id": "x", "delete_on": "2030-01-01", "delete_after_days": 1}]},
            "delete_after_days and delete_on exclude each other",
        ),
        ({"lifecycle": [{"id": "x", "delete_after_days": 1}] * 2}, "the id x is there more than once"),
        (
            {"lifecycle": [{"id": f"{number}", "delete_after_days": 1} for number in range(1001)]},
            "1001 rules are more than the 1000",
        ),
        ({"lock": [{"id": "x"}]}, "exactly one of days, until and forever"),
        ({"lock": [{"id": "x", "days": 1, "forever": True}]}, "exactly one of days, until and forever"),
        ({"cors": [{"origins": [], "methods": ["GET"]}]}, "at least one of origins"),
        ({"cors": [{"origins": [SITE], "methods": ["GET"], "max_age_seconds": 86401}]}, "0 to 86400"),
        ({"domains": [{"domain": "example.net", "zone": "example.org"}]}, "is not in the zone example.org"),
        ({"domains": [{"domain": "a.example.net", "zone": "example.net"}]}, "sees no zone example.net"),
    ],
)
def test_wishes_that_cannot_be(runner: Runner, change: dict[str, Any], said: str) -> None:
    with runner.double(WRITE) as (cloud, _zone):
        assert said in runner.fails(**{**backup(), **change})
        assert cloud.writes() == []


def test_an_account_without_r2_or_without_room(runner: Runner) -> None:
    with runner.double(WRITE) as (cloud, _zone):
        cloud.part(r2.Buckets).most = 0
        assert "remove buckets that are not needed" in runner.fails(**backup())
        cloud.part(r2.Buckets).enabled = False
        assert "switch R2 on for the account" in runner.fails(**backup())


def test_a_token_that_may_only_read(runner: Runner) -> None:
    with runner.double("Workers R2 Storage Read") as (cloud, _zone):
        assert f"the permission {WRITE} there" in runner.fails(**backup())
        assert cloud.part(r2.Buckets).all == {}


def test_each_backend_needs_its_own(runner: Runner) -> None:
    assert "account_id" in runner.fails(name="backup")
    assert "s3_endpoint" in runner.fails(name="backup", backend="s3")
