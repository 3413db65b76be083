# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the document ``site`` to what Uptime Kuma watches (private to this collection). Pure functions.

What is public is asked at its public address, as a visitor would. What is not, readiness, the database, the backups,
is looked at on the host, which pushes: from inside its container Uptime Kuma would see only itself.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.sapflux.hosting.plugins.module_utils._secrets import resolve
from ansible_collections.sapflux.hosting.plugins.module_utils._site_wiring import Site, visibility

PUSH_SECONDS = 180
"""How long a look of the host may be away: it looks every minute."""
BACKUP_SECONDS = 1800
"""The same for the archive, which is asked every ten minutes, for that asks the bucket."""
READABLE = ["200-299"]
ANSWERED = ["200-499"]
"""Of an address of which nothing is known but that it is public: that somebody answers who is not broken."""


def wishes(site: Site) -> dict[str, Any]:
    """``monitoring_kuma_wishes``: monitors, notifications, status_pages, settings, and pushes.

    A push is {name, kind (url, postgres or archive), target, interval}: what the host looks at, and tells.
    """
    kuma = site["monitoring"]["kuma"]
    told = [one["name"] for one in kuma["notifications"]]
    looked = list(pushes(site))
    derived = [*public(site), *({"name": one["name"], "type": "push", "interval": one["interval"]} for one in looked)]
    group = {"name": site["name"], "type": "group"}
    inside = [{**one, "parent": site["name"], "notifications": told} for one in derived]
    own = [{"notifications": told, **one} for one in kuma["monitors"]]
    return {
        "monitors": [group, *inside, *own],
        "notifications": [{"name": one["name"], "type": one["type"], **one["fields"]} for one in kuma["notifications"]],
        "status_pages": kuma["status_pages"],
        "settings": {"keepDataPeriodDays": kuma["keep_days"], "checkUpdate": False},
        "pushes": looked,
    }


def public(site: Site) -> Iterator[dict[str, Any]]:
    """A monitor for each service that anybody may ask, with its certificate, and one for its readiness if open."""
    for service in site["services"]:
        open_ = [route["path"] for route in service["routes"] if route["visibility"] == "public"]
        if not open_:
            continue
        health, ready = service["health"]["path"], service["ready"]
        good = bool(health) and visibility(service, health) == "public"
        path = health if good else (open_[0].removesuffix("*") or "/")
        yield _web(service, service["name"], path, READABLE if good else ANSWERED)
        if ready and visibility(service, ready) == "public" and ready != path:
            yield _web(service, f"{service['name']} ready", ready, READABLE)


def _web(service: Mapping[str, Any], name: str, path: str, codes: list[str]) -> dict[str, Any]:
    return {
        "name": name,
        "type": "http",
        "url": f"https://{service['hostname']}{path}",
        "accepted_statuscodes": codes,
        # The certificate, too: told when it is about to end.
        "expiryNotification": True,
    }


def pushes(site: Site) -> Iterator[dict[str, Any]]:
    """What is looked at on the host."""
    for service in site["services"]:
        ready = service["ready"]
        if ready and visibility(service, ready) != "public":
            target = f"upstream://{site['name']}-{service['name']}{ready}"
            yield {"name": f"{service['name']} ready", "kind": "url", "target": target, "interval": PUSH_SECONDS}
    for database in site["postgres"]["databases"]:
        name = database["name"]
        yield {"name": f"database {name}", "kind": "postgres", "target": name, "interval": PUSH_SECONDS}
    yield {"name": "backups", "kind": "archive", "target": "", "interval": BACKUP_SECONDS}


def token(password: str, name: str) -> str:
    """The token with which a job pushes: the same in every run, and known to nobody who lacks the password."""
    return hmac.new(password.encode(), f"push {name}".encode(), hashlib.sha256).hexdigest()[:32]


def secrets(site: Site, store: Mapping[str, str]) -> str:
    """``monitoring_kuma_secrets``: the option ``secrets`` of ``uptime_kuma``; "{}" while it is off.

    Raises ``SecretError``.
    """
    kuma = site["monitoring"]["kuma"]
    if not kuma["enabled"]:
        return "{}"
    password = str(resolve(kuma["password"] or "", store))
    given = {one["name"]: resolve(one["secrets"], store) for one in kuma["notifications"] if one["secrets"]}
    tokens = {one["name"]: {"pushToken": token(password, one["name"])} for one in pushes(site)}
    return json.dumps({"monitors": tokens, "notifications": given}, sort_keys=True)
