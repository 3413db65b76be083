# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What may be asked of Uptime Kuma, refused before anything is (private to this collection). Pure functions.

Fields have Kuma's own names. The server answers a field it does not know with an error of its database, and takes two
monitors of one name for two monitors; both are caught here.
"""

from __future__ import annotations

import ipaddress
import json
import re
from typing import Any, Dict, List, Mapping, Sequence
from urllib.parse import urlsplit

from ansible_collections.sapflux.hosting.plugins.module_utils._kuma import KumaError

NEEDS = {
    "http": ("url",),
    "keyword": ("url", "keyword"),
    "json-query": ("url", "jsonPath", "expectedValue"),
    "port": ("hostname", "port"),
    "ping": ("hostname",),
    "dns": ("hostname",),
    "push": ("pushToken",),
    "group": (),
    "postgres": ("databaseConnectionString",),
}
"""Types of monitors, and the fields without which one says nothing."""
FIELDS = frozenset({
    "accepted_statuscodes", "basic_auth_pass", "basic_auth_user", "authMethod", "body", "cacheBust", "conditions",
    "databaseConnectionString", "databaseQuery", "description", "dns_resolve_server", "dns_resolve_type",
    "domainExpiryNotification", "expectedValue", "expiryNotification", "headers", "hostname", "httpBodyEncoding",
    "ignoreTls", "interval", "invertKeyword", "ipFamily", "jsonPath", "jsonPathOperator", "keyword", "maxredirects",
    "maxretries", "method", "packetSize", "port", "pushToken", "resendInterval", "retryInterval",
    "saveErrorResponse", "timeout", "upsideDown", "url",
})  # fmt: skip
OWN = frozenset({"name", "type", "active", "parent", "notifications", "tags"})
CREATED: Dict[str, Any] = {
    "interval": 60,
    "retryInterval": 60,
    "maxretries": 2,
    "accepted_statuscodes": ["200-299"],
    "conditions": [],
}
"""What a new monitor has where the wish is silent; without conditions the server's database refuses it."""
TYPED: Dict[str, Dict[str, Any]] = {
    "dns": {"dns_resolve_server": "1.1.1.1", "dns_resolve_type": "A", "port": 53},
    "postgres": {"databaseQuery": "SELECT 1"},
    "json-query": {"jsonPathOperator": "=="},
    # The server's own default is true, and what its pages say is false.
    "http": {"expiryNotification": False},
    "keyword": {"expiryNotification": False},
}
SETTINGS = frozenset({
    "serverTimezone", "keepDataPeriodDays", "checkUpdate", "checkBeta", "trustProxy", "primaryBaseURL",
    "searchEngineIndex", "entryPage", "tlsExpiryNotifyDays", "domainExpiryNotifyDays", "dnsCache", "nscd",
})  # fmt: skip
STRATEGIES = ("manual", "single", "recurring-interval", "recurring-weekday", "recurring-day-of-month", "cron")
MAINTENANCE = frozenset({
    "title", "description", "strategy", "active", "cron", "durationMinutes", "intervalDay", "dateRange",
    "timeRange", "weekdays", "daysOfMonth", "timezoneOption", "monitors",
})  # fmt: skip
PAGE = frozenset({
    "slug", "title", "description", "theme", "published", "showTags", "customCSS", "footerText", "showPoweredBy",
    "showCertificateExpiry", "autoRefreshInterval", "domainNameList", "analyticsType", "analyticsId",
    "analyticsScriptUrl", "groups",
})  # fmt: skip
SLUG = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
PUSH_TOKEN = re.compile(r"[A-Za-z0-9_-]{16,32}")
Wish = Dict[str, Any]


def with_secrets(wishes: Sequence[Mapping[str, Any]], kind: str, secrets: Mapping[str, Any]) -> List[Wish]:
    """The wishes with the fields that ``secrets[kind][name]`` adds. Raises KumaError for secrets of nobody."""
    known: Mapping[str, Mapping[str, Any]] = secrets.get(kind) or {}
    lost = sorted(set(known) - {str(wish.get("name")) for wish in wishes})
    if lost:
        raise KumaError(f"there are secrets for {kind} {', '.join(lost)}, which nobody asks for")
    return [{**wish, **known.get(str(wish.get("name")), {})} for wish in wishes]


def unique(wishes: Sequence[Mapping[str, Any]], key: str, what: str) -> List[str]:
    """The names, each once. Raises KumaError."""
    names = [str(wish.get(key) or "") for wish in wishes]
    if "" in names:
        raise KumaError(f"a {what} has no {key}")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise KumaError(f"the {what} {twice[0]} is there twice: name each once")
    return names


def _known(wish: Mapping[str, Any], known: Sequence[str], what: str) -> None:
    unknown = sorted(set(wish) - set(known))
    if unknown:
        raise KumaError(f"{unknown[0]} is no field of the {what}; there are: {', '.join(sorted(known))}")


def refuse_monitors(wishes: Sequence[Mapping[str, Any]]) -> None:
    """Refuse monitors that cannot be. Raises KumaError."""
    names = unique(wishes, "name", "monitor")
    groups = {str(wish["name"]): wish for wish in wishes if wish.get("type") == "group"}
    for wish in wishes:
        name, kind = wish["name"], wish.get("type")
        if kind not in NEEDS:
            raise KumaError(f"the monitor {name} has the type {kind}, which is none of {', '.join(sorted(NEEDS))}")
        _known(wish, sorted(FIELDS | OWN), f"monitor {name}")
        lacking = [key for key in NEEDS[kind] if wish.get(key) in (None, "")]
        if lacking:
            raise KumaError(f"the monitor {name} of type {kind} needs {' and '.join(lacking)}")
        if kind == "push" and not PUSH_TOKEN.fullmatch(str(wish["pushToken"])):
            raise KumaError(f"the pushToken of {name} is not 16 to 32 letters, digits, - or _")
        codes = wish.get("accepted_statuscodes")
        if codes is not None and not all(isinstance(code, str) for code in codes):
            raise KumaError(f"accepted_statuscodes of {name} has a number; write them as text, like '200-299'")
        parent = wish.get("parent")
        if parent and parent not in groups:
            raise KumaError(f"the monitor {name} is in the group {parent}, which is no monitor of type group here")
        for key in ("interval", "retryInterval"):
            if wish.get(key) is not None and not 1 <= wish[key] <= 2073600:
                raise KumaError(f"{key} of {name} is {wish[key]} s: use 1 to 2073600")
    for name in names:
        _refuse_circle(name, {str(wish["name"]): wish.get("parent") for wish in wishes})


def _refuse_circle(name: str, parents: Mapping[str, Any]) -> None:
    seen, at = [name], parents.get(name)
    while at:
        if at in seen:
            raise KumaError(f"the groups {', '.join(seen)} are in each other")
        seen.append(at)
        at = parents.get(at)


def sees_only_itself(wish: Mapping[str, Any]) -> str:
    """The loopback address that a monitor asks, "" where it asks another. In a container that is the container."""
    places = [str(wish.get("hostname") or "")]
    for key in ("url", "databaseConnectionString"):
        try:
            places.append(urlsplit(str(wish.get(key) or "")).hostname or "")
        except ValueError:
            continue
    return next((place for place in places if _loopback(place)), "")


def _loopback(host: str) -> bool:
    if host.rstrip(".").lower() == "localhost" or host.lower().endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None) or address
    return bool(mapped.is_loopback or mapped.is_unspecified)


def refuse_loopback(wishes: Sequence[Mapping[str, Any]]) -> None:
    """Refuse monitors that would only ever see the container they run in. Raises KumaError."""
    for wish in wishes:
        place = sees_only_itself(wish)
        if place:
            raise KumaError(
                f"the monitor {wish['name']} asks {place}, which in a container is Uptime Kuma itself: "
                "ask the public address, or have the job push"
            )


def refuse_others(
    notifications: Sequence[Mapping[str, Any]],
    pages: Sequence[Mapping[str, Any]],
    maintenances: Sequence[Mapping[str, Any]],
    settings: Mapping[str, Any],
    monitors: Sequence[str],
) -> None:
    """Refuse the rest where it cannot be; ``monitors`` are the names that may be meant. Raises KumaError."""
    unique(notifications, "name", "notification")
    for one in notifications:
        if not one.get("type"):
            raise KumaError(f"the notification {one['name']} has no type, like webhook or smtp")
    unique(pages, "slug", "status page")
    for page in pages:
        _known(page, sorted(PAGE), f"status page {page['slug']}")
        if not SLUG.fullmatch(str(page["slug"])):
            raise KumaError(f"{page['slug']!r} is no slug: use lower case letters, digits and single -")
        if not page.get("title"):
            raise KumaError(f"the status page {page['slug']} has no title")
        _there(
            [name for group in page.get("groups") or [] for name in group.get("monitors", [])], page["slug"], monitors
        )
    unique(maintenances, "title", "maintenance")
    for window in maintenances:
        _known(window, sorted(MAINTENANCE), f"maintenance {window['title']}")
        if window.get("strategy") not in STRATEGIES:
            raise KumaError(f"the maintenance {window['title']} needs a strategy: {', '.join(STRATEGIES)}")
        _there(window.get("monitors") or [], window["title"], monitors)
    _known(settings, sorted(SETTINGS), "settings")


def _there(named: Sequence[str], whose: str, monitors: Sequence[str]) -> None:
    lost = [name for name in named if name not in monitors]
    if lost:
        raise KumaError(f"{whose} shows the monitor {lost[0]}, which is not among the monitors")


def normal(key: str, value: Any) -> Any:
    """A field in the form in which the server keeps it."""
    if key in ("headers", "body") and isinstance(value, (dict, list)):
        return json.dumps(value, sort_keys=True)
    return value
