# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of one phase of a zone: ours among those of others, and what a plan allows (private to this collection)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Dict, FrozenSet, List, Mapping, Sequence, Tuple

from ansible_collections.sapflux.hosting.plugins.module_utils._cloudflare import CloudflareError
from ansible_collections.sapflux.hosting.plugins.module_utils._plan import Change

Rule = Dict[str, Any]

RATELIMIT = "http_ratelimit"
PHASES: Dict[str, str] = {
    "http_config_settings": "Config Rules",
    "http_custom_errors": "Zone WAF",
    "http_ratelimit": "Zone WAF",
    "http_request_cache_settings": "Cache Settings",
    "http_request_dynamic_redirect": "Dynamic URL Redirects",
    "http_request_firewall_custom": "Zone WAF",
    "http_request_firewall_managed": "Zone WAF",
    "http_request_late_transform": "Transform Rules",
    "http_request_origin": "Origin Rules",
    "http_request_transform": "Transform Rules",
    "http_response_cache_settings": "Cache Settings",
    "http_response_compression": "Transform Rules",
    "http_response_firewall_managed": "Zone WAF",
    "http_response_headers_transform": "Transform Rules",
}
"""Phases of a zone and the permission that their rules take."""
SENT = (
    *("ref", "action", "action_parameters", "expression", "description", "enabled", "ratelimit", "logging"),
    "exposed_credential_check",
)
"""What a rule is sent with; the API adds id, version, last_updated and categories, and refuses them back."""
FILLED = frozenset({"version", "logging"})
"""Keys that the API fills in by itself."""
COLO = "cf.colo.id"
FIELD = re.compile(r"\b(?:http|ip|cf|ssl|raw|tcp|udp)\.[a-z0-9_.]*[a-z0-9_]")
CHALLENGES = frozenset({"challenge", "js_challenge", "managed_challenge"})
_FREE = frozenset({"http.request.uri.path", "cf.client.bot"})
_PRO = _FREE | {"http.host", "http.request.uri", "http.request.full_uri", "http.request.uri.query"}
_BUSINESS = _PRO | {"http.request.method", "ip.src", "http.user_agent"}


@dataclass(frozen=True)
class RateLimits:
    """What a plan allows of rate limiting: rules, seconds, fields in an expression, characteristics."""

    rules: int
    periods: Tuple[int, int]
    timeouts: Tuple[int, int]
    fields: FrozenSet[str]
    characteristics: FrozenSet[str] = frozenset({COLO, "ip.src"})


LIMITS: Dict[str, RateLimits] = {
    "free": RateLimits(1, (10, 10), (10, 10), _FREE),
    "pro": RateLimits(2, (10, 60), (10, 3600), _PRO),
    "business": RateLimits(5, (10, 600), (10, 86400), _BUSINESS, frozenset({COLO, "ip.src", "cf.unique_visitor_id"})),
}


@dataclass
class Merged:
    """The whole list as it will be sent, and how it differs from what is there."""

    rules: List[Rule]
    changes: List[Change]
    foreign: int


def wish(given: Mapping[str, Any], prefix: str) -> Rule:
    """A rule as the API takes it. The name becomes its ``ref``, by which it is known again."""
    rule: Rule = {"ref": f"{prefix}{given['name']}", "enabled": True, "description": str(given["name"])}
    rule.update({key: given[key] for key in SENT if given.get(key) is not None})
    limit = rule.get("ratelimit")
    if isinstance(limit, dict):
        # The API counts per data centre, always, and wants to hear it.
        of = list(limit.get("characteristics") or ["ip.src"])
        rule["ratelimit"] = {**limit, "characteristics": of if COLO in of else [COLO, *of]}
    return rule


def merge(have: Sequence[Mapping[str, Any]], want: Sequence[Rule], prefix: str, *, first: bool, whole: bool) -> Merged:
    """Our rules among those of others.

    They stay where they are, in the order in which they are wanted; new ones go before or behind the others.
    """
    refs = [rule["ref"] for rule in want]
    doubles = sorted({ref for ref in refs if refs.count(ref) > 1})
    if doubles:
        raise CloudflareError(f"the rule {doubles[0][len(prefix) :]} is wanted twice: names are unique in a phase")
    held = [sent(rule) for rule in have]
    ours = {rule["ref"]: rule for rule in held if whole or str(rule.get("ref", "")).startswith(prefix)}
    foreign = [rule for rule in held if rule.get("ref") not in ours]
    anchor = next((place for place, rule in enumerate(held) if rule.get("ref") in ours), None)
    before = len(foreign) if anchor is None and not first else anchor or 0
    chosen = [ours[rule["ref"]] if rule["ref"] in ours and same(ours[rule["ref"]], rule) else rule for rule in want]
    rules = [*foreign[:before], *chosen, *foreign[before:]]
    changes = [Change("delete", _name(rule), rule) for ref, rule in ours.items() if ref not in refs]
    for rule in want:
        old = ours.get(rule["ref"])
        if old is None:
            changes.append(Change("create", _name(rule), None, rule))
        elif not same(old, rule):
            keys = [key for key in SENT if old.get(key) != rule.get(key) and not (key in FILLED and key not in rule)]
            changes.append(
                Change("update", _name(rule), {key: old.get(key) for key in keys}, {key: rule.get(key) for key in keys})
            )
    order = [rule["ref"] for rule in held if rule.get("ref") in ours and rule["ref"] in refs]
    if order != [ref for ref in refs if ref in ours]:
        changes.append(Change("update", "order", {"rules": order}, {"rules": refs}))
    return Merged(rules, changes, len(foreign))


def sent(rule: Mapping[str, Any]) -> Rule:
    """A rule of the API in the form in which it may be sent back."""
    return {key: rule[key] for key in SENT if rule.get(key) is not None}


def same(have: Any, want: Any) -> bool:
    """Whether a rule is what is wanted. What the API fills in, and what is empty, makes no difference."""
    if isinstance(have, dict) and isinstance(want, dict):
        return all(same(have.get(key), value) for key, value in want.items()) and not any(
            value and key not in want and key not in FILLED for key, value in have.items()
        )
    if isinstance(have, list) and isinstance(want, list):
        return len(have) == len(want) and all(map(same, have, want))
    return bool(have == want) or (not have and not want and not isinstance(want, (bool, int)))


def problems(phase: str, plan: str, ours: Sequence[Rule], total: int) -> List[str]:
    """What the API or the plan would refuse in ``ours``, when the phase has ``total`` rules; known without a call."""
    found: List[str] = []
    limits = LIMITS.get(plan) if phase == RATELIMIT else None
    if limits and total > limits.rules:
        found.append(f"the {plan} plan has {limits.rules} rate limiting rule(s), but there would be {total}")
    for rule in ours:
        found += [f"{_name(rule)} {problem}" for problem in _of_rule(phase, rule)]
        if limits:
            found += [f"{_name(rule)} {problem}" for problem in _of_plan(plan, limits, rule)]
    return found


def _of_rule(phase: str, rule: Rule) -> List[str]:
    found = []
    limit = rule.get("ratelimit")
    if (phase == RATELIMIT) != isinstance(limit, dict):
        found.append(f"needs a ratelimit in the phase {RATELIMIT}, and has one only there")
    if COLO in FIELD.findall(str(rule.get("expression", ""))):
        found.append(f"must not use {COLO} in its expression")
    named = [each for each in (limit or {}).get("characteristics") or [] if "headers[" in each]
    found += [f"must name headers in lower case, not {each}" for each in named if each != each.lower()]
    return found


def _of_plan(plan: str, limits: RateLimits, rule: Rule) -> List[str]:
    limit = rule.get("ratelimit") or {}
    period, timeout = limit.get("period"), limit.get("mitigation_timeout")
    found = []
    if not _within(period, limits.periods):
        found.append(f"counts over {period} s, but the {plan} plan allows {_span(limits.periods)}")
    if rule.get("action") in CHALLENGES:
        if timeout not in (None, 0):
            found.append(f"needs mitigation_timeout 0, because {rule['action']} on the {plan} plan lasts no time")
    elif not _within(timeout, limits.timeouts):
        found.append(f"lasts {timeout} s, but the {plan} plan allows {_span(limits.timeouts)}")
    fields = set(FIELD.findall(f"{rule.get('expression', '')} {limit.get('counting_expression') or ''}"))
    strange = sorted(fields - limits.fields - {COLO})
    if strange:
        found.append(f"uses {', '.join(strange)}, but the {plan} plan has only {', '.join(sorted(limits.fields))}")
    unknown = sorted(set(limit.get("characteristics") or []) - limits.characteristics)
    if unknown:
        known = ", ".join(sorted(limits.characteristics))
        found.append(f"counts by {', '.join(unknown)}, but the {plan} plan has only {known}")
    return found


def _within(value: Any, span: Tuple[int, int]) -> bool:
    return isinstance(value, int) and span[0] <= value <= span[1]


def _span(span: Tuple[int, int]) -> str:
    return f"{span[0]} s only" if span[0] == span[1] else f"{span[0]} to {span[1]} s"


def _name(rule: Mapping[str, Any]) -> str:
    return f"rule {rule.get('ref') or rule.get('description') or 'without a name'}"
