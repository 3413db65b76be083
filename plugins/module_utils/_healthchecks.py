# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Talk to the management API v3 of Healthchecks.io, or of a server of one's own (private to this collection).

A check is known by its slug. What the API does not say and what one trips over: a null is refused, a field that is not
sent stays, C(unique) compares only fields that are sent, a C(timeout) sent alone turns a check of a schedule into a
simple one, and channels cannot be made by the API.
"""

from __future__ import annotations

import re
import time
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.sapflux.hosting.plugins.module_utils._http import Answer, Client, HttpError, Opener
from ansible_collections.sapflux.hosting.plugins.module_utils._plan import Change

BASE = "https://healthchecks.io"
HOME = "/api/v3/checks/"
SLUG = re.compile(r"[a-z0-9_-]{1,100}")
TAG = re.compile(r"\S{1,50}")
SECONDS = (60, 31536000)
TIMEOUT = 15.0
FREE = ("name", "desc", "grace", "methods", "manual_resume", "start_kw", "success_kw", "failure_kw")
"""Fields that are compared and sent as they are."""
Check = Dict[str, Any]
pause = time.sleep
"""A seam for tests."""


class HealthchecksError(Exception):
    """The API refused, or what was asked makes no sense. One sentence with the way out, never a key."""


class Healthchecks:
    """The API with one key. ``requests`` of ``client`` counts what was sent."""

    def __init__(self, key: str, base: str = BASE, opener: Optional[Opener] = None) -> None:
        self.client = Client(
            "Healthchecks",
            base.rstrip("/"),
            {"X-Api-Key": key},
            (key,),
            explain=lambda _status, body: str(body.get("error", "")) if isinstance(body, dict) else "",
            timeout=TIMEOUT,
            opener=opener,
            sleep=lambda seconds: pause(seconds),
        )

    def ask(self, method: str, path: str, body: Optional[Mapping[str, Any]] = None) -> Answer:
        """The answer to one request. Raises :class:`HealthchecksError`."""
        try:
            # A check that is set twice is the same check: the slug says which.
            return self.client.request(
                method, path, None, body, accept=(404,) if method == "DELETE" else (), repeatable=True
            )
        except HttpError as error:
            raise HealthchecksError(f"{error}{way_out(error.status, method, path)}") from error

    def checks(self) -> List[Check]:
        """All checks of the project."""
        found = (self.ask("GET", HOME).body or {}).get("checks")
        if not isinstance(found, list):
            raise HealthchecksError("Healthchecks answered the list of checks with something else than checks")
        if any("uuid" not in check for check in found):
            raise HealthchecksError("the key only reads: use a key of the project that may write")
        return found

    def channels(self) -> Dict[str, str]:
        """Every name by which a channel can be meant -> its identifier. A name that two share is left out."""
        listed = (self.ask("GET", "/api/v3/channels/").body or {}).get("channels", [])
        names = [channel["name"] for channel in listed]
        known = {channel["id"]: channel["id"] for channel in listed}
        return {**{c["name"]: c["id"] for c in listed if c["name"] and names.count(c["name"]) == 1}, **known}


def way_out(status: int, method: str, path: str) -> str:
    """What to do about a refusal, with the words that join it to the reason; "" where nothing is known."""
    if status == 401:
        return "; check that the key is one of this project, whole, and may write"
    if status == 403 and method == "POST" and path == HOME:
        return "; the plan allows no more checks: remove some, or take a larger plan"
    return ""


def refuse_wishes(wishes: Sequence[Mapping[str, Any]], tag: str) -> None:
    """Refuse checks that cannot be, before anything is asked. Raises :class:`HealthchecksError`."""
    if not TAG.fullmatch(tag):
        raise HealthchecksError(f"{tag!r} is no tag: use up to 50 characters without a space")
    slugs = [wish["slug"] for wish in wishes]
    for wish in wishes:
        slug = wish["slug"]
        if not SLUG.fullmatch(slug):
            raise HealthchecksError(f"{slug!r} is no slug: use lower case letters, digits, - and _")
        if slugs.count(slug) > 1:
            raise HealthchecksError(f"{slug} is there twice: name each check once")
        if (wish.get("timeout") is None) == (not wish.get("schedule")):
            raise HealthchecksError(f"{slug} needs either a timeout or a schedule")
        for key in ("timeout", "grace"):
            value = wish.get(key)
            if value is not None and not SECONDS[0] <= value <= SECONDS[1]:
                raise HealthchecksError(f"{key} of {slug} is {value} s: use {SECONDS[0]} to {SECONDS[1]}")
        bad = [name for name in wish.get("tags") or [] if not TAG.fullmatch(name)]
        if bad:
            raise HealthchecksError(f"{bad[0]!r} of {slug} is no tag: use up to 50 characters without a space")


def wanted(wish: Mapping[str, Any], tag: str, channels: Mapping[str, str]) -> Check:
    """What a wish says about a check, in the API's fields; what it leaves open is left out.

    Raises :class:`HealthchecksError` where it names a channel that is not there.
    """
    check: Check = {"slug": wish["slug"], "name": wish.get("name") or wish["slug"]}
    check.update({key: wish[key] for key in FREE if key != "name" and wish.get(key) is not None})
    check["tags"] = " ".join(sorted({tag, *(wish.get("tags") or [])}))
    if wish.get("schedule"):
        check.update({"schedule": wish["schedule"], "tz": wish.get("tz") or "UTC"})
    else:
        check["timeout"] = wish["timeout"]
    if wish.get("channels") is not None:
        check["channels"] = ",".join(sorted(_channel(name, wish["slug"], channels) for name in wish["channels"]))
    return check


def _channel(name: str, slug: str, channels: Mapping[str, str]) -> str:
    if name in channels:
        return channels[name]
    known = ", ".join(sorted(key for key, code in channels.items() if key != code)) or "none with a name"
    raise HealthchecksError(
        f"{slug} shall tell the channel {name!r}, which is not there or not the only one of its name; "
        f"make it in the dashboard first (there are: {known})"
    )


def seen(check: Mapping[str, Any]) -> Check:
    """A check of the API in the form in which wishes are compared: sets in a fixed order."""
    known = dict(check)
    known["tags"] = " ".join(sorted(str(check.get("tags", "")).split()))
    known["channels"] = ",".join(sorted(filter(None, str(check.get("channels", "")).split(","))))
    return known


Step = Tuple[Change, str, str, Check]
"""(what changes, method, path, body)."""


def plan(have: Sequence[Check], want: Sequence[Check], tag: str, prune: bool) -> List[Step]:
    """The steps from the checks there are to those that are wanted; only fields that differ are sent.

    With ``prune`` checks of our tag that nobody wants any more are removed; others are never touched. Raises
    :class:`HealthchecksError` where two checks share a slug that is wanted.
    """
    steps: List[Step] = []
    for check in want:
        slug = check["slug"]
        same = [seen(one) for one in have if one.get("slug") == slug]
        if len(same) > 1:
            raise HealthchecksError(f"there are {len(same)} checks with the slug {slug}: remove all but one by hand")
        if not same:
            steps.append((Change("create", slug, None, check), "POST", HOME, {**check, "unique": ["slug"]}))
            continue
        delta = {key: value for key, value in check.items() if same[0].get(key) != value}
        if "tz" in delta:
            # A zone belongs to its schedule.
            delta["schedule"] = check["schedule"]
        if delta:
            before = {key: same[0].get(key) for key in delta}
            steps.append((Change("update", slug, before, delta), "POST", f"{HOME}{same[0]['uuid']}", delta))
    slugs = {check["slug"] for check in want}
    for one in have if prune else []:
        if tag in str(one.get("tags", "")).split() and one.get("slug") not in slugs:
            name = one.get("slug") or one.get("name") or one["uuid"]
            shown = {key: one.get(key) for key in ("name", "tags", "n_pings")}
            steps.append((Change("delete", name, shown), "DELETE", f"{HOME}{one['uuid']}", {}))
    return steps
