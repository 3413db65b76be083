"""What there is in R2, without a write."""

from __future__ import annotations

import pytest
from ansible_collections.sapflux.hosting.plugins.module_utils import _r2
from ansible_collections.sapflux.hosting.plugins.modules import r2_bucket, r2_bucket_info

from tests.doubles.cloudflare import ACCOUNT, r2
from tests.unit.plugins.module_utils.scripted_http import Call
from tests.unit.plugins.modules.cloud_module import Runner, good
from tests.unit.plugins.modules.test_r2_bucket import EVERYTHING, HOME


@pytest.fixture
def runner(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Runner:
    monkeypatch.setattr(_r2, "pause", lambda _seconds: None)
    return Runner(r2_bucket_info, capsys, monkeypatch)


def test_lists_are_read_to_their_end_by_cursors(runner: Runner) -> None:
    there = {"cf-r2-jurisdiction": "eu"}
    listed = [{"name": "b", "location": "WEUR", "jurisdiction": "eu", "storage_class": "Standard"}, {"name": "a"}]
    script = runner.script(
        Call("GET", f"{HOME}?per_page=1000", good({"buckets": listed[:1]}, cursor="c"), sent_headers=there),
        Call("GET", f"{HOME}?per_page=1000&cursor=c", good({"buckets": listed[1:]}, cursor=""), sent_headers=there),
    )
    found = runner(account_id=ACCOUNT, jurisdiction="eu")["buckets"]
    script.done()
    assert [(bucket["name"], bucket["location"]) for bucket in found] == [("a", ""), ("b", "weur")]


def test_against_the_double(runner: Runner) -> None:
    with runner.double("Workers R2 Storage Write") as (cloud, _zone):
        assert runner(account_id=ACCOUNT, name="backup")["buckets"] == []
        runner.module = r2_bucket
        runner(account_id=ACCOUNT, name="plain")
        runner(account_id=ACCOUNT, name="backup", **EVERYTHING)
        runner.module = r2_bucket_info
        before = len(cloud.writes())
        (bucket,) = runner(account_id=ACCOUNT, name="backup")["buckets"]
        assert (bucket["storage_class"], bucket["r2_dev"], bucket["created"] != "") == ("InfrequentAccess", True, True)
        assert [len(bucket[kind]) for kind in ("lifecycle", "cors", "lock", "domains")] == [4, 1, 3, 1]
        (plain,) = runner(account_id=ACCOUNT, name="plain")["buckets"]
        assert (plain["lifecycle"], plain["cors"]) == ([r2.ABORT_RULE], [])
        assert [each["name"] for each in runner(account_id=ACCOUNT)["buckets"]] == ["backup", "plain"]
        assert runner(account_id=ACCOUNT, jurisdiction="us")["buckets"] == []
        assert cloud.writes()[before:] == []
