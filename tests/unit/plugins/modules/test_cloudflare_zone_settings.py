"""A zone's settings: only what differs is sent, and a plan's limit is told, not failed."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.sapflux.hosting.plugins.modules import cloudflare_zone_settings

from tests.doubles.cloudflare import settings
from tests.doubles.web import Fault
from tests.unit.plugins.module_utils.scripted_http import Call
from tests.unit.plugins.modules.cloud_module import CHECK, ZONE, Runner, found, good

HOME = f"/zones/{ZONE}/settings"
# As YAML reads `on`, `1.2` and the rest.
WISH: dict[str, Any] = {
    "http3": True,
    "brotli": "on",
    "0rtt": False,
    "min_tls_version": 1.2,
    "ssl": "strict",
    "browser_cache_ttl": 0,
    "security_header": {"strict_transport_security": {"enabled": True, "max_age": 300}},
    "ssl_recommender": True,
    "ciphers": ["ECDHE-ECDSA-AES128-GCM-SHA256"],
}


@pytest.fixture
def runner(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Runner:
    return Runner(cloudflare_zone_settings, capsys, monkeypatch)


def state(value: Any, editable: bool = True) -> dict[str, Any]:
    """A setting as the API gives it."""
    return good({"id": "x", "value": value, "editable": editable, "modified_on": None})


def test_only_what_differs_is_sent(runner: Runner) -> None:
    script = runner.script(
        found(),
        Call("GET", f"{HOME}/ssl", state("full")),
        Call("PATCH", f"{HOME}/ssl", state("strict"), body={"value": "strict"}),
        Call("GET", f"{HOME}/brotli", state("on")),
        Call("GET", f"{HOME}/polish", state("off", editable=False)),
    )
    result = runner(zone="example.org", settings={"brotli": True, "polish": "lossy", "ssl": "strict"})
    script.done()
    assert result["changes"] == ['change ssl: value "full" -> "strict"']
    assert result["settings"] == {"ssl": "strict", "brotli": "on", "polish": "off"}
    assert result["unavailable"] == ["polish"]
    assert "does not allow to change polish" in str(result["warnings"])


def test_check_mode_only_reads(runner: Runner) -> None:
    script = runner.script(found(), Call("GET", f"{HOME}/ssl", state("full")))
    assert runner(zone="example.org", settings={"ssl": "strict"}, **CHECK)["settings"] == {"ssl": "strict"}
    script.done()


def test_against_the_double(runner: Runner) -> None:
    with runner.double("Zone Settings Write") as (cloud, zone):
        result = runner.check_then_do(cloud, zone="example.org", settings=WISH)
        assert result["changes"][0] == 'change ssl: value "full" -> "strict"'
        values = settings.values_of(cloud, zone)
        assert (values["http3"], values["min_tls_version"], values["ssl_recommender"]) == ("on", "1.2", True)
        # Keys that were not named are as they were.
        kept = {**settings.STRICT_TRANSPORT, "enabled": True, "max_age": 300}
        assert values["security_header"] == {"strict_transport_security": kept}


def test_a_limit_of_the_plan_is_no_failure(runner: Runner) -> None:
    wish = {"polish": "lossy", "max_upload": 200, "http2": "on"}
    with runner.double("Zone Settings Write") as (_cloud, _zone):
        result = runner(zone="example.org", settings=wish)
        assert (result["changes"], result["unavailable"]) == (
            ['change http2: value "off" -> "on"'],
            ["max_upload", "polish"],
        )
    with runner.double("Zone Settings Write", plan="pro") as (cloud, _zone):
        assert runner.check_then_do(cloud, zone="example.org", settings=wish)["unavailable"] == []


def test_a_token_that_expires_half_way_leaves_what_a_rerun_ends(runner: Runner) -> None:
    with runner.double("Zone Settings Write") as (cloud, _zone):
        cloud.faults = [Fault("status", method="PATCH", status=401, times=99, after=2)]
        assert "check that the token is active" in runner.fails(zone="example.org", settings=WISH)
        cloud.faults = []
        assert len(runner.check_then_do(cloud, zone="example.org", settings=WISH)["changes"]) == len(WISH) - 3


def test_a_storm_of_limits_is_waited_for(runner: Runner) -> None:
    with runner.double("Zone Settings Write") as (cloud, _zone):
        cloud.faults = [
            Fault("status", status=429, times=3, headers={"retry-after": "2"}),
            Fault("page", "GET", status=502),
        ]
        assert runner(zone="example.org", settings={"http2": True})["changed"] is True


@pytest.mark.parametrize("mode", ["off", "flexible"])
def test_traffic_in_clear_is_warned_of(runner: Runner, mode: str) -> None:
    with runner.double("Zone Settings Write"):
        result = runner(zone="example.org", settings={"ssl": mode}, **CHECK)
        assert "is not encrypted" in str(result["warnings"])


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"htp3": True}, "htp3 is no setting of a zone; did you mean http3?"),
        ({"quantum_tunnel": 1}, "set allow_unknown to true"),
        ({"ssl": True}, "ssl is on, but may be off, flexible, full, strict"),
        ({"brotli": "maybe"}, "brotli is maybe, but may be on, off"),
        ({"browser_cache_ttl": True}, "browser_cache_ttl is on, but is a number"),
        ({"security_header": "on"}, "security_header is on, but is a mapping"),
        ({"ciphers": "x"}, "ciphers is x, but is a list"),
        ({"ssl_recommender": "x"}, "but is true or false"),
    ],
)
def test_what_no_zone_can_have_is_refused_before_anything_is_asked(
    runner: Runner, wish: dict[str, Any], said: str
) -> None:
    runner.script()
    assert said in runner.fails(zone="example.org", settings={**wish})


def test_a_new_setting_of_cloudflare_can_be_sent(runner: Runner) -> None:
    script = runner.script(
        found(), Call("GET", f"{HOME}/new", state("a")), Call("PATCH", f"{HOME}/new", state("b"), body={"value": "b"})
    )
    assert runner(zone="example.org", settings={"new": "b"}, allow_unknown=True)["changed"] is True
    script.done()
