"""Our requests to Cloudflare and our double's answers keep to the published description of the API."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.sapflux.hosting.plugins.module_utils import _r2
from ansible_collections.sapflux.hosting.plugins.modules import (
    cloudflare_api_token,
    cloudflare_api_token_info,
    cloudflare_dns_zone_state,
    cloudflare_origin_certificate,
    cloudflare_origin_pulls,
    cloudflare_ruleset,
    cloudflare_zone_settings,
    r2_bucket,
    r2_bucket_info,
    r2_credentials,
    r2_temporary_credentials,
)

from tests.contract.proxy import Proxy
from tests.doubles.cloudflare import ACCOUNT, dns, r2, rulesets, zones
from tests.unit.plugins.modules import pems, test_cloudflare_ruleset, test_r2_bucket
from tests.unit.plugins.modules.cloud_module import Runner
from tests.unit.plugins.modules.test_cloudflare_dns_zone_state import APEX, EVERY_TYPE

KEY = pems.new_key()
PRESETS = {"clerk": {"id": "abc"}, "mail": {"none": True}}
SETTINGS: dict[str, Any] = {
    "ssl": "strict",
    "min_tls_version": "1.2",
    "http3": True,
    "brotli": False,
    "browser_cache_ttl": 0,
    "ssl_recommender": True,
    "ciphers": ["ECDHE-ECDSA-AES128-GCM-SHA256"],
    "security_header": {"strict_transport_security": {"enabled": True, "max_age": 300}},
    "polish": "lossy",
}


SPEC = ("cloudflare", "/client/v4")
pytestmark = pytest.mark.usefixtures("kept")


@pytest.fixture
def runner(proxy: Proxy, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Runner:
    made = Runner(cloudflare_dns_zone_state, capsys, monkeypatch)
    made.port, made.through = proxy.upstream, proxy.url
    return made


def test_dns(runner: Runner) -> None:
    with runner.double("DNS Write", plan="pro") as (cloud, zone):
        old = dns.add_record(cloud, zone, type="A", name="@", content="192.0.2.9", comment="sapflux.hosting")
        records = [*EVERY_TYPE, {**APEX, "tags": ["a:b"], "comment": "the server"}]
        runner.check_then_do(cloud, zone="example.org", records=records, presets=PRESETS)
        assert dns.records_of(cloud, zone)[old["id"]]["content"] == "192.0.2.1"
        runner.check_then_do(cloud, zone="example.org", records=[])


def test_settings(runner: Runner) -> None:
    runner.module = cloudflare_zone_settings
    with runner.double("Zone Settings Write") as (cloud, _zone):
        assert runner.check_then_do(cloud, zone="example.org", settings=SETTINGS)["unavailable"] == ["polish"]


@pytest.mark.parametrize(
    ("phase", "permission", "rule"),
    [
        (test_cloudflare_ruleset.CUSTOM, "Zone WAF", test_cloudflare_ruleset.ADMIN),
        *test_cloudflare_ruleset.KINDS,
    ],
)
def test_rules(runner: Runner, phase: str, permission: str, rule: dict[str, Any]) -> None:
    runner.module = cloudflare_ruleset
    with runner.double(f"{permission} Write") as (cloud, zone):
        if phase == test_cloudflare_ruleset.CUSTOM:
            rulesets.set_rules(cloud, zone, phase, [test_cloudflare_ruleset.THEIRS])
        runner.check_then_do(cloud, zone="example.org", phase=phase, rules=[rule])
        runner.check_then_do(cloud, zone="example.org", phase=phase, rules=[])


@pytest.mark.parametrize("account", [ACCOUNT, None])
def test_tokens(runner: Runner, tmp_path: Path, account: str | None) -> None:
    runner.module = cloudflare_api_token
    wish = {"name": "t", "permissions": ["DNS Write"], "path": str(tmp_path / "token")}
    if account:
        wish["account_id"] = account
    more = {"allowed_ips": ["192.0.2.1/32"], "expires_on": "2099-01-01T00:00:00Z"}
    with runner.double("Account API Tokens Write" if account else "API Tokens Write") as (cloud, _zone):
        next(iter(cloud.tokens.values())).owner = "account" if account else "user"
        runner.check_then_do(cloud, **wish, zones=["example.org"])
        runner.check_then_do(cloud, **wish, **more)
        assert runner(**wish, **more, rotate=True)["changed"] is True
        runner.check_then_do(cloud, **wish, **more, enabled=False)
        runner.check_then_do(cloud, **wish, state="absent")


def test_origin_certificates(runner: Runner) -> None:
    runner.module = cloudflare_origin_certificate
    with runner.double("SSL and Certificates Write") as (cloud, _zone):
        wish = {"zone": "example.org", "csr": pems.request(KEY)}
        runner.check_then_do(cloud, **wish)
        runner.check_then_do(cloud, **wish, state="absent")


def test_origin_pulls(runner: Runner) -> None:
    runner.module = cloudflare_origin_pulls
    wish = {"certificate": pems.certificate(KEY), "private_key": pems.private(KEY)}
    with runner.double("SSL and Certificates Write", "Zone Settings Read") as (cloud, _zone):
        runner.check_then_do(cloud, zone="example.org", **wish)
        runner.check_then_do(cloud, zone="example.org", state="absent")


@pytest.mark.parametrize("jurisdiction", ["default", "eu"])
def test_buckets(runner: Runner, monkeypatch: pytest.MonkeyPatch, jurisdiction: str) -> None:
    runner.module = r2_bucket
    monkeypatch.setattr(_r2, "pause", lambda _seconds: None)
    wish = {"account_id": ACCOUNT, "name": "backup", "jurisdiction": jurisdiction}
    with runner.double("Workers R2 Storage Write") as (cloud, _zone):
        runner.check_then_do(cloud, **wish, **test_r2_bucket.EVERYTHING)
        runner.check_then_do(cloud, **wish, domains=[{**test_r2_bucket.DOMAIN, "enabled": False}])
        runner.module = r2_bucket_info
        for look in ({"name": "backup"}, {}):
            (bucket,) = runner(account_id=ACCOUNT, jurisdiction=jurisdiction, **look)["buckets"]
            assert bucket["jurisdiction"] == jurisdiction
        runner.module = r2_bucket
        nothing: dict[str, Any] = {"lifecycle": [], "cors": [], "lock": [], "domains": []}
        runner.check_then_do(cloud, **wish, **nothing, storage_class="Standard")
        r2.put_objects(cloud, "backup", "a", "b", jurisdiction=jurisdiction)
        assert "is not empty" in runner.fails(**wish, state="absent")
        runner.check_then_do(cloud, **wish, state="absent", force=True)


def test_key_pairs(runner: Runner, tmp_path: Path) -> None:
    runner.module = r2_credentials
    wish = {"account_id": ACCOUNT, "name": "backup", "path": str(tmp_path / "pair"), "buckets": ["backup"]}
    with runner.double("Account API Tokens Write") as (cloud, _zone):
        runner.check_then_do(cloud, **wish)
        runner.check_then_do(cloud, **wish, access="write", allowed_ips=["192.0.2.1/32"], expires_on="2099-01-01")
        assert runner(**wish, rotate=True)["changed"] is True
        runner.check_then_do(cloud, **wish, state="absent")


def test_key_pairs_that_end(runner: Runner, tmp_path: Path) -> None:
    runner.module = r2_temporary_credentials
    wish = {"account_id": ACCOUNT, "bucket": "backup", "path": str(tmp_path / "pair")}
    with runner.double("Workers R2 Storage Write") as (cloud, _zone):
        r2.add_bucket(cloud, "backup")
        runner.check_then_do(cloud, **wish)
        more = {"prefixes": ["a/"], "objects": ["b"], "ttl": 604800, "permission": "object-read-write"}
        runner.check_then_do(cloud, **wish, **more)


def test_a_look_at_the_token(runner: Runner) -> None:
    runner.module = cloudflare_api_token_info
    with runner.double():
        assert runner(account_id=ACCOUNT, zones=["example.org"])["status"] == "active"


def test_networks_of_the_edge(runner: Runner, proxy: Proxy) -> None:
    """Anybody may ask for them."""
    with runner.double(), urllib.request.urlopen(f"{proxy.url}/ips", timeout=30) as answer:
        networks = json.load(answer)["result"]
    assert (len(networks["ipv4_cidrs"]), len(networks["ipv6_cidrs"])) == (15, 7)


def test_refusals(runner: Runner) -> None:
    """Errors keep to the description, too."""
    with runner.double("DNS Read") as (cloud, _zone):
        assert "permission DNS Write" in runner.fails(zone="example.org", records=[APEX])
        assert "sees no zone" in runner.fails(zone="example.net", records=[APEX])
        cloud.limit = 0
        assert "is asked too often" in runner.fails(zone="example.org", records=[APEX])


def test_an_answer_that_breaks_the_description_is_caught(runner: Runner, proxy: Proxy) -> None:
    """A double that is wrong in one field: the test of these tests."""
    with runner.double("DNS Write") as (cloud, zone):
        cloud.part(zones.Zones).by_id[zone]["created_on"] = "yesterday"
        before = len(proxy.violations)
        assert "with 500" in runner.fails(zone="example.org", records=[APEX])
        assert "VIOLATIONS" in proxy.more_violations(before)[0]


def test_a_request_that_breaks_the_description_is_caught(runner: Runner, proxy: Proxy) -> None:
    """A key that the API does not know never reaches the double."""
    with runner.double("DNS Write") as (cloud, _zone):
        before = len(proxy.violations)
        strange = {**APEX, "settings": {"flatten": True}}
        assert "with 422" in runner.fails(zone="example.org", records=[strange])
        assert cloud.writes() == []
        assert proxy.more_violations(before)


def test_everything_went_through_the_proxy(proxy: Proxy) -> None:
    """The last test of this file: how many requests were looked at."""
    print(f"{proxy.validated} requests validated, none broke the description unless it was meant to")
    assert proxy.validated >= 100
