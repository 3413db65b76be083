# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a bucket is wanted to be, in the form in which R2's API has it (private to this collection).

A bucket has *aspects*: ``storage_class`` (str), ``lifecycle``, ``cors`` and ``lock`` (lists of rules), ``r2_dev``
(bool) and ``domains`` (a list). What is wanted and what is there are brought to one form, so that they can be compared.
"""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import Any, Dict, List, Mapping, Sequence

from ansible_collections.sapflux.hosting.plugins.module_utils._cloudflare import CloudflareError, ascii_name

NAME = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
DAY = 86400
MOST_RULES = 1000
LONGEST_CORS = 86400
METHODS = ("GET", "PUT", "POST", "DELETE", "HEAD")
Rule = Dict[str, Any]
ABORT_RULE: Rule = {
    "id": "Default Multipart Abort Rule",
    "enabled": True,
    "conditions": {"prefix": ""},
    "abortMultipartUploadsTransition": {"condition": {"type": "Age", "maxAge": 7 * DAY}},
}
"""The rule with which R2 makes a bucket."""
FRESH: Dict[str, Any] = {
    "storage_class": "Standard",
    "lifecycle": [ABORT_RULE],
    "cors": [],
    "lock": [],
    "r2_dev": False,
    "domains": [],
}
"""A bucket of R2 as it begins."""


def wanted(params: Mapping[str, Any]) -> Dict[str, Any]:
    """The aspects that the options of a module ask for; those that they leave out are not in it.

    Raises :class:`CloudflareError` where a wish cannot be met by any bucket.
    """
    if not NAME.fullmatch(params["name"]):
        raise CloudflareError(
            f"{params['name']} is no name of a bucket: 3 to 63 lower-case letters, digits and dashes, no dash at an end"
        )
    wish: Dict[str, Any] = {
        "storage_class": params["storage_class"],
        "lifecycle": _each("lifecycle", params["lifecycle"], lifecycle_rule),
        "cors": _each("cors", params["cors"], cors_rule),
        "lock": _each("lock", params["lock"], lock_rule),
        "r2_dev": params["r2_dev"],
        "domains": params["domains"],
    }
    return {key: value for key, value in wish.items() if value is not None}


def _each(kind: str, rules: Any, make: Any) -> Any:
    if rules is None:
        return None
    ids = [rule["id"] for rule in rules if rule.get("id")]
    twice = sorted({each for each in ids if ids.count(each) > 1})
    if twice:
        raise CloudflareError(f"{kind}: the id {twice[0]} is there more than once")
    if len(rules) > MOST_RULES:
        raise CloudflareError(f"{kind}: {len(rules)} rules are more than the {MOST_RULES} that a bucket takes")
    return tidy(kind, [make(rule) for rule in rules])


def lifecycle_rule(rule: Mapping[str, Any]) -> Rule:
    """A lifecycle rule from its options; days become seconds."""
    where = f"lifecycle rule {rule['id']}"
    made: Rule = {"id": rule["id"], "enabled": rule["enabled"], "conditions": {"prefix": rule["prefix"]}}
    if rule["abort_uploads_after_days"] is not None:
        days = _days(where, rule["abort_uploads_after_days"])
        made["abortMultipartUploadsTransition"] = {"condition": {"type": "Age", "maxAge": days * DAY}}
    delete = _when(where, rule["delete_after_days"], rule["delete_on"], "delete")
    if delete:
        made["deleteObjectsTransition"] = {"condition": delete}
    move = _when(where, rule["infrequent_access_after_days"], rule["infrequent_access_on"], "infrequent_access")
    if move:
        made["storageClassTransitions"] = [{"condition": move, "storageClass": "InfrequentAccess"}]
    if len(made) == 3:
        raise CloudflareError(f"{where} does nothing: say when to delete, to move, or to abort uploads")
    return made


def _when(where: str, days: Any, date: Any, what: str) -> Dict[str, Any]:
    if days is not None and date is not None:
        raise CloudflareError(f"{where}: {what}_after_days and {what}_on exclude each other")
    if days is not None:
        return {"type": "Age", "maxAge": _days(where, days) * DAY}
    return {"type": "Date", "date": moment(where, date)} if date is not None else {}


def _days(where: str, days: int) -> int:
    if days < 1:
        raise CloudflareError(f"{where}: {days} days are too few; the least is 1")
    return days


def moment(where: str, text: str) -> str:
    """A date or moment as the API writes it, like ``2027-01-01T00:00:00Z``."""
    try:
        found = datetime.fromisoformat(re.sub(r"(\.\d+)?Z$", "+00:00", text))
    except ValueError as error:
        raise CloudflareError(f"{where}: {text} is no moment; write it like 2027-01-01T00:00:00Z") from error
    aware = found if found.tzinfo else found.replace(tzinfo=timezone.utc)
    return aware.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def cors_rule(rule: Mapping[str, Any]) -> Rule:
    """A CORS rule from its options."""
    age = rule["max_age_seconds"]
    if age is not None and not 0 <= age <= LONGEST_CORS:
        raise CloudflareError(f"cors: max_age_seconds is 0 to {LONGEST_CORS}, not {age}")
    if not rule["origins"] or not rule["methods"]:
        raise CloudflareError("cors: a rule needs at least one of origins and one of methods")
    allowed = {"origins": rule["origins"], "methods": rule["methods"], "headers": rule["headers"]}
    return {"id": rule["id"], "allowed": allowed, "exposeHeaders": rule["expose_headers"], "maxAgeSeconds": age}


def lock_rule(rule: Mapping[str, Any]) -> Rule:
    """A lock rule from its options: for some days, until a moment, or for ever."""
    where = f"lock rule {rule['id']}"
    given = [rule["days"] is not None, rule["until"] is not None, bool(rule["forever"])]
    if sum(given) != 1:
        raise CloudflareError(f"{where} needs exactly one of days, until and forever")
    condition: Dict[str, Any] = {"type": "Indefinite"}
    if given[0]:
        condition = {"type": "Age", "maxAgeSeconds": _days(where, rule["days"]) * DAY}
    elif given[1]:
        condition = {"type": "Date", "date": moment(where, rule["until"])}
    return {"id": rule["id"], "enabled": rule["enabled"], "prefix": rule["prefix"], "condition": condition}


def keep_abort_rule(rules: Sequence[Rule]) -> List[Rule]:
    """The rules and R2's own one for uploads that were given up, unless one of them is about all of those.

    The API replaces all rules at once, and what stays of such uploads is paid for and keeps a bucket from going.
    """
    for rule in rules:
        if rule["enabled"] and "abortMultipartUploadsTransition" in rule and rule["conditions"]["prefix"] == "":
            return list(rules)
    others = [rule for rule in rules if rule["id"] != ABORT_RULE["id"]]
    return tidy("lifecycle", [*others, ABORT_RULE])


def tidy(kind: str, rules: Sequence[Rule]) -> List[Rule]:
    """Rules in one form: nothing that is empty, sorted, moments in one style."""
    found = [_bare(rule) for rule in rules]
    for rule in found:
        if kind == "lifecycle":
            rule.setdefault("conditions", {}).setdefault("prefix", "")
        elif kind == "lock" and rule.get("prefix") == "":
            del rule["prefix"]
        elif kind == "cors":
            for part, key in ((rule["allowed"], "origins"), (rule["allowed"], "methods"), (rule["allowed"], "headers"),
                              (rule, "exposeHeaders")):  # fmt: skip
                if key in part:
                    part[key] = sorted(part[key])
    return sorted(found, key=lambda rule: (str(rule.get("id", "")), str(rule)))


def _bare(value: Any) -> Any:
    """Without what is None or empty, at any depth; the API fills some of that in."""
    if isinstance(value, dict):
        pairs = {key: _bare(each) for key, each in value.items()}
        if isinstance(pairs.get("date"), str):
            pairs["date"] = moment("the API", pairs["date"])
        return {key: each for key, each in pairs.items() if each not in (None, {}, [])}
    return [_bare(each) for each in value] if isinstance(value, list) else value


def same(kind: str, have: Any, want: Any) -> bool:
    """Whether an aspect is as it is wanted."""
    if kind == "cors" and not any("id" in rule for rule in want):
        have = tidy("cors", [{key: value for key, value in rule.items() if key != "id"} for rule in have])
    if kind == "domains":
        pairs = {each["domain"]: each for each in have}
        return set(pairs) == {each["domain"] for each in want} and all(
            not domain_steps(pairs[each["domain"]], each) for each in want
        )
    return bool(have == want)


def domain_steps(have: Mapping[str, Any], want: Mapping[str, Any]) -> Dict[str, Any]:
    """What has to be set on a custom domain; what is not wanted in any way is left as it is."""
    steps = {}
    for key in ("enabled", "minTLS", "ciphers"):
        value = want.get(key)
        there = have.get(key)
        if value is not None and (sorted(there or []) != sorted(value) if key == "ciphers" else there != value):
            steps[key] = value
    return steps


def domain_wish(cloud: Any, options: Mapping[str, Any]) -> Dict[str, Any]:
    """A custom domain from its options, with the id of its zone."""
    domain = ascii_name(options["domain"])
    zone = cloud.zone(options["zone"])
    if not f".{domain}".endswith(f".{zone['name']}"):
        raise CloudflareError(f"the domain {domain} is not in the zone {zone['name']}")
    wish = {
        "domain": domain,
        "zoneId": zone["id"],
        "enabled": options["enabled"],
        "minTLS": options["min_tls"],
        "ciphers": options["ciphers"],
    }
    return {key: value for key, value in wish.items() if value is not None}
