"""Our rules among those of others: nobody else's is touched, and a plan's limit is known before the call."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.sapflux.hosting.plugins.module_utils import _ruleset
from ansible_collections.sapflux.hosting.plugins.modules import cloudflare_ruleset

from tests.doubles.cloudflare import rulesets
from tests.doubles.web import Fault
from tests.unit.plugins.module_utils.scripted_http import Call
from tests.unit.plugins.modules.cloud_module import CHECK, ZONE, Runner, found, good

CUSTOM = "http_request_firewall_custom"
PATH = f"/zones/{ZONE}/rulesets/phases/{CUSTOM}/entrypoint"
ADMIN = {"name": "admin", "action": "block", "expression": 'starts_with(http.request.uri.path, "/admin")'}
BOTS = {"name": "bots", "action": "managed_challenge", "expression": "cf.client.bot", "description": "Not for bots"}
SENT_ADMIN = {**ADMIN, "ref": "sapflux_admin", "description": "admin", "enabled": True}
del SENT_ADMIN["name"]
THEIRS = {"ref": "theirs", "action": "log", "expression": "true", "description": "", "enabled": True}
LIMIT: dict[str, Any] = {"period": 10, "requests_per_period": 50, "mitigation_timeout": 10}
IN_API = 'starts_with(http.request.uri.path, "/api/")'
API = {"name": "api", "action": "block", "expression": IN_API, "ratelimit": LIMIT}

KINDS: list[tuple[str, str, dict[str, Any]]] = [
    ("http_ratelimit", "Zone WAF", API),
    ("http_request_cache_settings", "Cache Settings", {"name": "c", "action": "set_cache_settings", "expression":
     "true", "action_parameters": {"cache": True, "edge_ttl": {"mode": "override_origin", "default": 60}}}),
    ("http_request_dynamic_redirect", "Dynamic URL Redirects", {"name": "r", "action": "redirect", "expression":
     "true", "action_parameters": {"from_value": {"status_code": 301, "target_url": {"value": "https://x"}}}}),
    ("http_request_firewall_managed", "Zone WAF", {"name": "m", "action": "execute", "expression": "true",
     "action_parameters": {"id": "77454fe2d30c4220b5701f6fdfb893ba"}}),
]  # fmt: skip


@pytest.fixture
def runner(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Runner:
    return Runner(cloudflare_ruleset, capsys, monkeypatch)


def answered(*rules: dict[str, Any], version: str = "3") -> dict[str, Any]:
    """An entry point as the API gives it."""
    extra = {"id": "a" * 32, "version": "1", "last_updated": "2026-01-01T00:00:00Z", "categories": ["x"]}
    return good({"id": "b" * 32, "version": version, "rules": [{**rule, **extra} for rule in rules]})


def missing() -> Call:
    """The answer where a phase never had a rule."""
    error = {"code": 10003, "message": "could not find entrypoint ruleset"}
    body = {"success": False, "errors": [error], "messages": [], "result": None}
    return Call("GET", PATH, body, status=404)


def test_the_list_is_sent_whole_with_the_rules_of_others(runner: Runner) -> None:
    gone = {**SENT_ADMIN, "ref": "sapflux_gone"}
    script = runner.script(
        found(),
        Call("GET", PATH, answered(THEIRS, gone)),
        Call("PUT", PATH, answered(THEIRS, SENT_ADMIN, version="4"), body={"rules": [THEIRS, SENT_ADMIN]}),
    )
    result = runner(zone="example.org", phase=CUSTOM, rules=[ADMIN], _ansible_diff=True)
    script.done()
    assert result["changes"] == ["remove rule sapflux_gone", "create rule sapflux_admin"]
    assert (result["foreign"], result["version"], len(result["rules"])) == (1, "4", 2)
    assert "sapflux_gone" in result["diff"]["before"]


def test_in_check_mode_cloudflare_checks_and_saves_nothing(runner: Runner) -> None:
    script = runner.script(
        found(), missing(), Call("PUT", f"{PATH}?dry_run=true", good(None), body={"rules": [SENT_ADMIN]})
    )
    result = runner(zone="example.org", phase=CUSTOM, rules=[ADMIN], **CHECK)
    script.done()
    assert (result["changed"], result["version"]) == (True, "")


def test_nothing_to_do_is_two_requests(runner: Runner) -> None:
    script = runner.script(found(), Call("GET", PATH, answered(SENT_ADMIN, THEIRS)))
    assert runner(zone="example.org", phase=CUSTOM, rules=[ADMIN])["changed"] is False
    script.done()
    script = runner.script(found(), missing())
    assert runner(zone="example.org", phase=CUSTOM, rules=[])["changed"] is False
    script.done()


def test_a_second_writer_is_noticed(runner: Runner) -> None:
    runner.script(found(), Call("GET", PATH, answered()), Call("PUT", PATH, answered(SENT_ADMIN, version="5")))
    assert "somebody else changed" in str(runner(zone="example.org", phase=CUSTOM, rules=[ADMIN])["warnings"])


def test_against_the_double(runner: Runner) -> None:
    with runner.double("Zone WAF Write") as (cloud, zone):
        rulesets.set_rules(cloud, zone, CUSTOM, [THEIRS, {**THEIRS, "ref": "more"}])
        wish: dict[str, Any] = {"zone": "example.org", "phase": CUSTOM}
        runner.check_then_do(cloud, rules=[ADMIN, BOTS], position="first", **wish)
        ids = {rule["ref"]: rule["id"] for rule in rulesets.rules_of(cloud, zone, CUSTOM)}
        assert list(ids) == ["sapflux_admin", "sapflux_bots", "theirs", "more"]
        # In another order and with another action they are the same rules, where they were.
        result = runner.check_then_do(cloud, rules=[BOTS, {**ADMIN, "action": "log"}], **wish)
        assert result["changes"] == [
            'change rule sapflux_admin: action "block" -> "log"',
            'change order: rules ["sapflux_admin", "sapflux_bots"] -> ["sapflux_bots", "sapflux_admin"]',
        ]
        now = rulesets.rules_of(cloud, zone, CUSTOM)
        assert [rule["ref"] for rule in now] == ["sapflux_bots", "sapflux_admin", "theirs", "more"]
        assert {rule["ref"]: rule["id"] for rule in now} == ids
        runner.check_then_do(cloud, rules=[], **wish)
        assert [rule["ref"] for rule in rulesets.rules_of(cloud, zone, CUSTOM)] == ["theirs", "more"]
        runner.check_then_do(cloud, rules=[ADMIN], whole=True, **wish)
        assert [rule["ref"] for rule in rulesets.rules_of(cloud, zone, CUSTOM)] == ["sapflux_admin"]


@pytest.mark.parametrize(("phase", "permission", "rule"), KINDS)
def test_rules_of_all_kinds_stay_as_they_are(runner: Runner, phase: str, permission: str, rule: dict[str, Any]) -> None:
    """Also where the API adds to what was sent."""
    with runner.double(f"{permission} Write") as (cloud, _zone):
        runner.check_then_do(cloud, zone="example.org", phase=phase, rules=[rule])
        changed = {**rule, "action_parameters": {"version": "latest"}} if phase.endswith("managed") else rule
        runner.check_then_do(cloud, zone="example.org", phase=phase, rules=[changed])


def test_a_parameter_that_is_left_out_is_taken_away(runner: Runner) -> None:
    rule = {"name": "c", "action": "set_cache_settings", "expression": "true"}
    phase = "http_request_cache_settings"
    with runner.double("Cache Settings Write") as (cloud, zone):
        more = {"cache": True, "browser_ttl": {"mode": "bypass"}}
        runner(zone="example.org", phase=phase, rules=[{**rule, "action_parameters": more}])
        runner.check_then_do(
            cloud, zone="example.org", phase=phase, rules=[{**rule, "action_parameters": {"cache": True}}]
        )
        assert rulesets.rules_of(cloud, zone, phase)[0]["action_parameters"] == {"cache": True}


def test_what_cloudflare_refuses_is_refused_in_check_mode(runner: Runner) -> None:
    with runner.double("Zone WAF Write") as (_cloud, _zone):
        bad = [{**ADMIN, "expression": "("}]
        assert "could not parse" in runner.fails(zone="example.org", phase=CUSTOM, rules=bad, **CHECK)
        many = [{**ADMIN, "name": f"n{number}"} for number in range(6)]
        assert "6 out of 5" in runner.fails(zone="example.org", phase=CUSTOM, rules=many, **CHECK)


def test_an_answer_that_is_lost_doubles_nothing(runner: Runner) -> None:
    with runner.double("Zone WAF Write") as (cloud, zone):
        cloud.faults = [Fault("lost", method="PUT"), Fault("page", method="PUT", status=502)]
        assert runner(zone="example.org", phase=CUSTOM, rules=[ADMIN])["changed"] is True
        assert len(rulesets.rules_of(cloud, zone, CUSTOM)) == 1


def test_a_token_of_another_permission(runner: Runner) -> None:
    with runner.double("Cache Settings Write") as (_cloud, _zone):
        assert "permission Zone WAF Read there" in runner.fails(zone="example.org", phase=CUSTOM, rules=[ADMIN])


@pytest.mark.parametrize(
    ("plan", "change", "said"),
    [
        ("free", {"ratelimit": {**LIMIT, "period": 60}}, "counts over 60 s, but the free plan allows 10 s"),
        ("free", {"ratelimit": {**LIMIT, "mitigation_timeout": 60}}, "lasts 60 s, but the free plan allows 10 s"),
        ("free", {"expression": 'http.host eq "x"'}, "uses http.host, but the free plan has only"),
        ("pro", {"ratelimit": {"period": 120, "mitigation_timeout": 60}}, "allows 10 to 60 s"),
        ("pro", {"ratelimit": {**LIMIT, "characteristics": ["cf.unique_visitor_id"]}}, "counts by cf.unique"),
        ("business", {"ratelimit": {**LIMIT, "mitigation_timeout": 86401}}, "lasts 86401 s"),
        ("pro", {"action": "managed_challenge"}, "needs mitigation_timeout 0"),
        ("free", {"expression": 'cf.colo.id eq 1'}, "must not use cf.colo.id in its expression"),
        ("enterprise", {"ratelimit": {"characteristics": ['http.request.headers["X-Key"]']}}, "headers in lower case"),
        ("free", {"ratelimit": None}, "needs a ratelimit"),
    ],
)  # fmt: skip
def test_limits_of_a_plan_are_known_before_the_call(
    runner: Runner, plan: str, change: dict[str, Any], said: str
) -> None:
    with runner.double("Zone WAF Write", plan=plan) as (cloud, _zone):
        assert said in runner.fails(zone="example.org", phase="http_ratelimit", rules=[{**API, **change}])
        assert cloud.writes() == []


def test_how_many_rules_a_plan_has_counts_those_of_others(runner: Runner) -> None:
    with runner.double("Zone WAF Write") as (cloud, zone):
        limit = {**LIMIT, "characteristics": ["cf.colo.id"]}
        rulesets.set_rules(cloud, zone, "http_ratelimit", [{**THEIRS, "ratelimit": limit}])
        said = runner.fails(zone="example.org", phase="http_ratelimit", rules=[API])
        assert said == "the free plan has 1 rate limiting rule(s), but there would be 2"


def test_names_are_unique_and_a_prefix_is_needed(runner: Runner) -> None:
    runner.script(found(), missing())
    assert "admin is wanted twice" in runner.fails(zone="example.org", phase=CUSTOM, rules=[ADMIN, ADMIN])
    runner.script()
    assert "prefix is empty" in runner.fails(zone="example.org", phase=CUSTOM, rules=[ADMIN], prefix="")


def test_no_difference_where_the_api_fills_in() -> None:
    assert _ruleset.same({"a": 1, "b": None, "version": "latest", "c": [], "d": False}, {"a": 1})
    assert not _ruleset.same({"a": 1, "b": 2}, {"a": 1})
    assert not _ruleset.same({"a": [1, 2]}, {"a": [2, 1]})
    assert not _ruleset.same({}, {"enabled": False})
