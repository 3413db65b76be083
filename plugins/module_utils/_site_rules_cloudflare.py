# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules of the sections ``cloudflare`` and ``backup.r2`` of the document ``site`` (private to this collection).

What Cloudflare would refuse half-way, and what it would take although visitors then see an error, is refused here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.sapflux.hosting.plugins.module_utils import _dns_plan, _ruleset, _secrets, _zone_settings
from ansible_collections.sapflux.hosting.plugins.module_utils import _site_cloudflare as edge
from ansible_collections.sapflux.hosting.plugins.module_utils import _site_formats as fmt
from ansible_collections.sapflux.hosting.plugins.module_utils._cloudflare import CloudflareError
from ansible_collections.sapflux.hosting.plugins.module_utils._site_rules import Add, Document, select

_BUCKET = fmt.matches(r"[a-z0-9](?:[a-z0-9-]{1,61})[a-z0-9]", "the name of a bucket", "sapflux-objects")
_EXPRESSION_MOST = 4096
"""Characters of one expression that Cloudflare takes."""

FORMATS: dict[str, Callable[[Any], fmt.Verdict]] = {
    "cloudflare.zone": fmt.domain,
    "cloudflare.account_id": fmt.matches(
        r"[0-9a-f]{32}", "the id of an account", "0123456789abcdef0123456789abcdef, as the dashboard shows it"
    ),
    "cloudflare.base_url": fmt.url("https", "http"),
    "cloudflare.dns.addresses[]": fmt.address,
    "cloudflare.dns.clerk": fmt.matches(r"[a-z0-9]{6,40}", "the id of an instance of Clerk", "abcdefghijkl"),
    "cloudflare.rules.requests": fmt.between(0, 1000000, "requests"),
    "cloudflare.rules.cache[]": fmt.route_path,
    "cloudflare.buckets[].name": _BUCKET,
    "cloudflare.buckets[].origins[]": fmt.url("https", "http"),
    "cloudflare.tokens[].name": fmt.matches(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,60}", "a name of a token", "caddy"),
    "cloudflare.doppler.base_url": fmt.url("https", "http"),
}


def cloudflare(document: Document, add: Add) -> None:
    """Values, names in the zone, what hangs together, and what the modules would refuse."""
    for pattern, check in FORMATS.items():
        for path, value in select(document, pattern):
            verdict = check(value)
            if verdict:
                add(path, value, *verdict)
    section = document.get("cloudflare") or {}
    r2 = (document.get("backup") or {}).get("r2") or {}
    if section.get("zone") and not fmt.domain(section["zone"]):
        _names(document, section, add)
        _records(section, add)
        _settings(section, add)
        _rules(document, section, add)
    else:
        _without_zone(section, add)
    account = section.get("account_id")
    if not account and (r2.get("create") or section.get("buckets") or section.get("tokens")):
        add(
            "site.cloudflare.account_id",
            None,
            "is missing, and buckets and tokens belong to an account",
            "write its id",
        )
    if r2.get("create"):
        _backup(document, add)
    _kept(document, add)


def _without_zone(section: dict[str, Any], add: Add) -> None:
    dns, origin = section.get("dns") or {}, section.get("origin") or {}
    given = {
        "settings": section.get("settings"),
        "dns": any(dns.get(key) for key in ("addresses", "records", "clerk", "mail")),
        "origin": any(origin.values()),
        "rules": (section.get("rules") or {}).get("more"),
    }
    idle = [key for key, value in given.items() if value]
    if idle and section.get("zone") is None:
        add("site.cloudflare.zone", None, f"is missing, so that {', '.join(idle)} would do nothing", "write the zone")


def _names(document: Document, section: dict[str, Any], add: Add) -> None:
    """Every name is in the zone, and under a certificate that the edge has without being paid for it."""
    zone, proxied = section["zone"], (section.get("dns") or {}).get("proxied")
    for _path, domain in select(document, "domain"):
        if not f".{domain}".endswith(f".{zone}"):
            add("site.cloudflare.zone", zone, f"is not the zone that {domain} is in", f"write {domain}")
            return
    for path, name in select(document, "services[].hostname"):
        if proxied and f".{name}".endswith(f".{zone}") and name.removesuffix(zone).count(".") > 1:
            add(
                path,
                name,
                f"is two levels below {zone}, and the certificate of Cloudflare's edge covers one",
                "write a name one level below, or cloudflare.dns.proxied: false",
            )


def _records(section: dict[str, Any], add: Add) -> None:
    dns = section.get("dns") or {}
    for index, record in enumerate(dns.get("records") or []):
        path = f"site.cloudflare.dns.records[{index}]"
        if not isinstance(record, dict) or not {"type", "name"} <= set(record):
            add(path, record, "has no type or no name", "write {type: TXT, name: www, content: text}")
            return
    scope = _dns_plan.Scope(section["zone"], edge.OWNER)
    for key, nothing in (("records", []), ("clerk", None), ("mail", {})):
        if dns.get(key) and not (key == "clerk" and FORMATS["cloudflare.dns.clerk"](dns[key])):
            only: dict[str, Any] = {"records": [], "clerk": None, "mail": {}, "proxied": True, key: dns[key] or nothing}
            _try(f"site.cloudflare.dns.{key}", add, lambda only=only: _wish(only, scope))


def _wish(dns: dict[str, Any], scope: _dns_plan.Scope) -> None:
    try:
        _dns_plan.wishes(edge.records({"services": [], "cloudflare": {"dns": dns}}, []), scope)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CloudflareError(f"is not of the form that the module takes ({error})") from error


def _settings(section: dict[str, Any], add: Add) -> None:
    _try("site.cloudflare.settings", add, lambda: _zone_settings.parse(section.get("settings") or {}))


def _try(path: str, add: Add, attempt: Any) -> None:
    """Report what a function of the modules would refuse."""
    try:
        attempt()
    except CloudflareError as error:
        reason, _mark, hint = str(error).partition("; ")
        add(path, None, f"cannot be: {reason}", hint or "see `ansible-doc sapflux.hosting` for what the module takes")


def _rules(document: Document, section: dict[str, Any], add: Add) -> None:
    given = (section.get("rules") or {}).get("more") or []
    seen: set[tuple[Any, Any]] = {(edge.FIREWALL, "hidden"), (edge.RATE_LIMIT, "requests"), (edge.CACHE, "files")}
    for index, rule in enumerate(given):
        path = f"site.cloudflare.rules.more[{index}]"
        missing = [key for key in ("phase", "name", "action", "expression") if not (rule or {}).get(key)]
        if missing:
            add(path, None, f"has no {' and no '.join(missing)}", "write phase, name, action and expression")
            continue
        if rule["phase"] not in _ruleset.PHASES:
            add(f"{path}.phase", rule["phase"], "is no phase", f"write one of: {', '.join(_ruleset.PHASES)}")
            continue
        if (rule["phase"], rule["name"]) in seen:
            add(f"{path}.name", rule["name"], "is there twice in its phase", "choose another name")
        seen.add((rule["phase"], rule["name"]))
        for problem in _ruleset.problems(rule["phase"], "", [_ruleset.wish(rule, edge.PREFIX)], 1):
            add(path, None, problem.partition(" ")[2].partition(" ")[2], "see ansible-doc cloudflare_ruleset")
    services = document.get("services") or []
    if all(service.get("hostname") and None not in (service.get("routes") or [None]) for service in services):
        length = len(edge.hidden_paths({"services": services}))
        if length > _EXPRESSION_MOST and (section.get("rules") or {}).get("hidden"):
            add(
                "site.cloudflare.rules.hidden",
                None,
                f"makes an expression of {length} characters, and Cloudflare takes {_EXPRESSION_MOST}",
                "write false; the web server hides these paths all the same",
            )


def _backup(document: Document, add: Add) -> None:
    """The bucket that is made is the one that is used, and its keys have names to be kept under."""
    backup = document["backup"]
    account = (document.get("cloudflare") or {}).get("account_id")
    if account and not FORMATS["cloudflare.account_id"](account) and backup["r2"].get("jurisdiction"):
        wanted = edge.endpoint(document)
        if backup.get("endpoint") and backup["endpoint"].rstrip("/") != wanted:
            add("site.backup.endpoint", backup["endpoint"], "is not where the bucket is made", f"write {wanted}")
    if backup.get("bucket") and _BUCKET(backup["bucket"]):
        add("site.backup.bucket", backup["bucket"], "is no name of a bucket of R2", "write letters, digits and -")


def _kept(document: Document, add: Add) -> None:
    """What is made is kept under a name, one for each, or a run would overwrite another's secret."""
    wanted: list[tuple[str, Any, str]] = []
    backup = document.get("backup") or {}
    if (backup.get("r2") or {}).get("create"):
        keys = ["access_key_id", "secret_access_key"]
        if backup.get("read_secret_access_key") is not None:
            keys += ["read_access_key_id", "read_secret_access_key"]
        wanted += [(f"site.backup.{key}", backup.get(key), f"BACKUP_{key.upper()}") for key in keys]
    for index, bucket in enumerate((document.get("cloudflare") or {}).get("buckets") or []):
        if bucket.get("secret_access_key") is not None:
            for key in ("access_key_id", "secret_access_key"):
                path = f"site.cloudflare.buckets[{index}].{key}"
                wanted.append((path, bucket.get(key), f"APP_S3_{key.upper()}"))
    wanted += [(path, value, "CADDY_CLOUDFLARE_TOKEN") for path, value in select(document, "cloudflare.tokens[].value")]
    if wanted and (document.get("secrets") or {}).get("provider") == "doppler" and not _writes_doppler(document):
        hint = 'write "${DOPPLER_WRITE_TOKEN}", a token that may write the config which the secrets are read from'
        add("site.cloudflare.doppler.token", None, "is missing, so that keys made here could be kept nowhere", hint)
    seen: dict[str, str] = {}
    for path, value, example in wanted:
        name = edge.reference(value)
        if not name:
            if value is None or _secrets.references(value) or path.endswith("access_key_id"):
                add(path, None, "names no secret that it could be kept as", f'write "${{{example}}}"')
        elif name in seen:
            add(path, None, f"is kept as {name}, like {seen[name]}", "give each a name of its own")
        seen.setdefault(name, path)


def _writes_doppler(document: Document) -> bool:
    return bool(((document.get("cloudflare") or {}).get("doppler") or {}).get("token"))
