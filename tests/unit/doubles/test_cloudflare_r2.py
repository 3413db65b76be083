"""The R2 of Cloudflare's double: what it refuses, with which code."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.doubles.cloudflare import ACCOUNT, cloudflare, r2, zones
from tests.unit.doubles.test_cloudflare import NOW, Live

BUCKETS = f"/accounts/{ACCOUNT}/r2/buckets"


@pytest.fixture
def live() -> Iterator[Live]:
    """A double with one bucket."""
    cloud = cloudflare(clock=lambda: NOW)
    cloud.add_token("good", "Workers R2 Storage Write")
    with cloud.running() as url:
        started = Live(cloud, url)
        assert started.ask("POST", BUCKETS, {"name": "backup"})[0] == 200
        yield started


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "", {"name": "backup"}, 409, 10004),
        ("POST", "", {"name": "Backup"}, 400, 10005),
        ("POST", "", {"name": "other", "locationHint": "mars"}, 400, 10040),
        ("POST", "", {"name": "other", "location_hint": "weur"}, 400, 10040),
        ("GET", "/other", None, 404, 10006),
        ("PATCH", "/backup", {"storageClass": "InfrequentAccess"}, 400, 10040),
        ("PUT", "/backup/lifecycle", {"Rules": []}, 400, 10040),
        ("PUT", "/backup/lifecycle", {"rules": [{"id": "x", "enabled": True, "conditions": {}}]}, 400, 10040),
        ("PUT", "/backup/lifecycle", {"rules": [r2.ABORT_RULE] * 2}, 400, 10040),
        ("GET", "/backup/cors", None, 404, 10059),
        ("PUT", "/backup/cors", {"rules": [{"AllowedOrigins": ["*"]}]}, 400, 10040),
        ("PUT", "/backup/lock", {"rules": [{"id": "x", "condition": {"type": "Week"}}]}, 400, 10040),
        ("GET", "/backup/domains/custom/a.example.org", None, 404, 10061),
        ("DELETE", "/backup/objects/none", None, 404, 10007),
    ],
)
def test_what_is_wrong_is_refused(live: Live, method: str, path: str, body: Any, status: int, code: int) -> None:
    answer = live.ask(method, f"{BUCKETS}{path}", body)
    assert (answer[0], answer[2]["errors"][0]["code"]) == (status, code)


def test_a_bucket_goes_only_when_it_is_empty(live: Live) -> None:
    """Objects come through the double's own control, as if through S3."""
    url = live.cloud.url + "/_double/r2/objects"
    body = json.dumps({"bucket": "backup", "keys": ["wal/1"]}).encode()
    with urllib.request.urlopen(urllib.request.Request(url, body), timeout=10):
        assert live.ask("DELETE", f"{BUCKETS}/backup")[2]["errors"][0]["code"] == 10008
    rule = {"id": "x", "enabled": True, "prefix": "wal/", "condition": {"type": "Age", "maxAgeSeconds": 60}}
    live.ask("PUT", f"{BUCKETS}/backup/lock", {"rules": [rule]})
    assert live.ask("DELETE", f"{BUCKETS}/backup/objects/wal%2F1")[2]["errors"][0]["code"] == 10069
    # A minute later.
    live.cloud.clock = lambda: NOW + 60
    assert live.ask("DELETE", f"{BUCKETS}/backup/objects/wal%2F1")[0] == 200
    assert live.ask("DELETE", f"{BUCKETS}/backup")[0] == 200


def test_a_domain_becomes_active_in_steps(live: Live) -> None:
    zone = zones.add_zone(live.cloud, "example.org")
    wish = {"domain": "a.example.org", "zoneId": zone, "enabled": True}
    assert live.ask("POST", f"{BUCKETS}/backup/domains/custom", {**wish, "domain": "a.example.net"})[0] == 400
    live.ask("POST", f"{BUCKETS}/backup/domains/custom", wish)
    steps = []
    for _look in range(4):
        state = live.ask("GET", f"{BUCKETS}/backup/domains/custom/a.example.org")[2]["result"]["status"]
        steps.append((state["ownership"], state["ssl"]))
    assert steps == [*r2.STEPS, r2.STEPS[-1]]


def test_buckets_are_listed_with_cursors(live: Live) -> None:
    for number in range(4):
        live.ask("POST", BUCKETS, {"name": f"bucket-{number}"})
    names, cursor = [], ""
    while True:
        answer = live.ask("GET", f"{BUCKETS}?per_page=2&cursor={cursor}")[2]
        names += [bucket["name"] for bucket in answer["result"]["buckets"]]
        cursor = answer["result_info"].get("cursor", "")
        if not cursor:
            break
    assert names == ["backup", *(f"bucket-{number}" for number in range(4))]
