"""Rules of a zone by phase: a list that is replaced whole, and rules that keep their id by their ref."""

from __future__ import annotations

from typing import Any

from tests.doubles.cloudflare.core import PREFIX, Cloudflare, refuse
from tests.doubles.cloudflare.zones import zone_of
from tests.doubles.web import Request, Routes

routes = Routes()

HOME = f"{PREFIX}/zones/{{zone}}/rulesets/phases/{{phase}}/entrypoint"
PERMISSIONS = {
    "http_config_settings": "Config Rules",
    "http_custom_errors": "Zone WAF",
    "http_ratelimit": "Zone WAF",
    "http_request_cache_settings": "Cache Settings",
    "http_request_dynamic_redirect": "Dynamic URL Redirects",
    "http_request_firewall_custom": "Zone WAF",
    "http_request_firewall_managed": "Zone WAF",
    "http_request_origin": "Origin Rules",
    "http_request_transform": "Transform Rules",
    "http_response_headers_transform": "Transform Rules",
}
ACTIONS = {
    *("block", "challenge", "js_challenge", "managed_challenge", "log", "skip", "execute", "set_cache_settings"),
    *("set_config", "rewrite", "redirect", "route", "score", "serve_error", "compress_response"),
}
TAKEN = {
    *("id", "ref", "action", "action_parameters", "expression", "description", "enabled", "ratelimit", "logging"),
    "exposed_credential_check",
}
RATE_RULES = {"free": 1, "pro": 2, "business": 5}
RATE_PERIOD = {"free": 10, "pro": 60, "business": 600}
CUSTOM_RULES = {"free": 5, "pro": 20, "business": 100}

Rule = dict[str, Any]


class Rulesets:
    """The entry points of each zone and phase."""

    def __init__(self) -> None:
        self.of: dict[tuple[str, str], dict[str, Any]] = {}


def rules_of(cloud: Cloudflare, zone: str, phase: str) -> list[Rule]:
    """The rules of a phase, as the API shows them."""
    rules: list[Rule] = cloud.part(Rulesets).of.get((zone, phase), {}).get("rules", [])
    return rules


def set_rules(cloud: Cloudflare, zone: str, phase: str, rules: list[Rule]) -> None:
    """Rules that somebody made by hand."""
    _save(cloud, zone, phase, rules)


def _save(cloud: Cloudflare, zone: str, phase: str, rules: list[Rule]) -> dict[str, Any]:
    sets = cloud.part(Rulesets).of
    old = sets.get((zone, phase), {"id": cloud.new_id(), "version": "0", "rules": []})
    known = {rule["ref"]: rule for rule in old["rules"]}
    made = []
    for rule in rules:
        before = known.get(rule.get("ref", ""))
        new = {"enabled": True, "description": "", **{key: value for key, value in rule.items() if key != "id"}}
        if rule["action"] == "execute":
            new["action_parameters"] = {"version": "latest", **new.get("action_parameters", {})}
        if "ratelimit" in rule:
            new["ratelimit"] = {"requests_to_origin": False, **rule["ratelimit"]}
        new["id"] = before["id"] if before else cloud.new_id()
        new.setdefault("ref", new["id"])
        content = {key: value for key, value in (before or {}).items() if key in new}
        unchanged = before is not None and content == new
        new["version"] = before["version"] if before and unchanged else str(int(before["version"] if before else 0) + 1)
        new["last_updated"] = cloud.now()
        made.append(new)
    sets[zone, phase] = {
        "id": old["id"],
        "kind": "zone",
        "name": "default",
        "description": "",
        "phase": phase,
        "version": str(int(old["version"]) + 1),
        "last_updated": cloud.now(),
        "rules": made,
    }
    return sets[zone, phase]


def _phase(cloud: Cloudflare, request: Request, verb: str) -> str:
    phase = request.params["phase"]
    if phase not in PERMISSIONS:
        refuse(400, 20012, f"unknown phase {phase}")
    if not cloud.may(cloud.token_of(request), f"{PERMISSIONS[phase]} {verb}", request.params["zone"]):
        refuse(403, 10000, "Authentication error")
    return phase


def _wrong(rule: Rule, phase: str, plan: str) -> str:
    """What the API says against a rule, "" where nothing."""
    if set(rule) - TAKEN:
        return f"unknown field {sorted(set(rule) - TAKEN)[0]}"
    if rule.get("action") not in ACTIONS:
        return f"unknown action {rule.get('action')}"
    expression = rule.get("expression") or ""
    if not expression or expression.count("(") != expression.count(")") or expression.count('"') % 2:
        return "could not parse the expression"
    limit = rule.get("ratelimit")
    if (phase == "http_ratelimit") != (limit is not None):
        return "ratelimit belongs to the phase http_ratelimit"
    if limit is None:
        return ""
    if "cf.colo.id" not in limit.get("characteristics", []) or "cf.colo.id" in expression:
        return "cf.colo.id must be a characteristic, and not in the expression"
    if limit.get("period", 0) > RATE_PERIOD.get(plan, 86400):
        return "not entitled to use the period"
    return ""


@routes.on("GET", HOME)
def read(cloud: Cloudflare, request: Request) -> dict[str, Any]:
    zone, phase = zone_of(cloud, request), _phase(cloud, request, "Read")
    found = cloud.part(Rulesets).of.get((zone["id"], phase))
    if found is None:
        refuse(404, 10003, f"could not find entrypoint ruleset in the {phase} phase")
    return found


@routes.on("PUT", HOME)
def replace(cloud: Cloudflare, request: Request) -> dict[str, Any] | None:
    zone, phase = zone_of(cloud, request), _phase(cloud, request, "Write")
    plan = zone["plan"]["legacy_id"]
    rules = (request.body or {}).get("rules", [])
    most = {"http_ratelimit": RATE_RULES, "http_request_firewall_custom": CUSTOM_RULES}.get(phase, {}).get(plan, 10_000)
    if len(rules) > most:
        refuse(400, 20217, f"exceeded maximum number of rules in the phase {phase}: {len(rules)} out of {most}")
    refs = [rule["ref"] for rule in rules if "ref" in rule]
    if len(refs) != len(set(refs)):
        refuse(400, 20101, "rule refs must be unique")
    for rule in rules:
        wrong = _wrong(rule, phase, plan)
        if wrong:
            refuse(400, 20120, wrong)
    if request.query.get("dry_run") == "true":
        return None
    return _save(cloud, zone["id"], phase, rules)
