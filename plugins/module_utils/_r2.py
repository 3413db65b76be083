# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Buckets of R2 through Cloudflare's REST API (private to this collection)."""

from __future__ import annotations

import time
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence
from urllib.parse import quote

from ansible_collections.sapflux.hosting.plugins.module_utils import _r2_wish
from ansible_collections.sapflux.hosting.plugins.module_utils._cloudflare import Cloudflare, CloudflareError

NEEDS = "Workers R2 Storage"
NO_BUCKET = 10006
NO_CORS = 10059
THERE_ALREADY = frozenset({10004, 10073})
WAYS_OUT = {
    10008: "say force to empty it; open uploads and event notifications keep it, too, until they are removed",
    10009: "remove buckets that are not needed, or ask Cloudflare for more",
    10042: "switch R2 on for the account in the dashboard",
    10069: "a lock of the bucket holds the object: take its rule out of lock, or wait until it is over",
}
PAGE = 1000
"""Items of a list that are asked for at once, the most that the API gives."""
PAUSE = 5.0
"""Seconds between two looks at a domain."""
BROKEN = frozenset({"blocked", "deactivated", "error"})
clock = time.monotonic
pause: Callable[[float], None] = time.sleep
"""Seams for tests."""


class R2:
    """The buckets of one account in one jurisdiction; elsewhere a bucket of the same name is another one."""

    fresh: Mapping[str, Any] = _r2_wish.FRESH

    def __init__(self, cloud: Cloudflare, account: str, jurisdiction: str = "default") -> None:
        self.cloud = cloud
        self.home = f"/accounts/{account}/r2/buckets"
        self.headers = {} if jurisdiction == "default" else {"cf-r2-jurisdiction": jurisdiction}

    def ask(
        self, method: str, path: str, body: Any = None, query: Any = None, headers: Optional[Mapping[str, str]] = None
    ) -> Dict[str, Any]:
        """The envelope of one request below the buckets. Raises :class:`CloudflareError`."""
        needs = f"{NEEDS} {'Read' if method == 'GET' else 'Write'}"
        try:
            return self.cloud.ask(
                method, f"{self.home}{path}", body, query, {**self.headers, **(headers or {})}, needs=needs
            )
        except CloudflareError as error:
            for code in sorted(error.codes & frozenset(WAYS_OUT)):
                raise CloudflareError(f"{error}; {WAYS_OUT[code]}", error.status, error.codes) from error
            raise

    def find(self, path: str, gone: int) -> Optional[Dict[str, Any]]:
        """The ``result`` of a GET, None where the API says with the code ``gone`` that it is not there."""
        try:
            found: Dict[str, Any] = self.ask("GET", path).get("result") or {}
        except CloudflareError as error:
            if gone in error.codes:
                return None
            raise
        return found

    def drop(self, path: str) -> bool:
        """Remove something; False where it is not there, because the answer to a try before may have been lost."""
        try:
            self.ask("DELETE", path)
        except CloudflareError as error:
            if error.status != 404 or 7003 in error.codes:
                raise
            return False
        return True

    def names(self) -> Iterator[Dict[str, Any]]:
        """Every bucket, page after page."""
        where = self.cloud.pages(self.home, None, self.headers, size=PAGE, key="buckets", needs=f"{NEEDS} Read")
        yield from where

    def read(self, name: str) -> Optional[Dict[str, Any]]:
        """``{name, location, jurisdiction, storage_class, creation_date}``, None where there is no such bucket."""
        found = self.find(f"/{name}", NO_BUCKET)
        if found is None:
            return None
        # An older API wrote it in capitals.
        return {**found, "location": str(found.get("location") or "").lower()}

    def aspect(self, name: str, kind: str) -> Any:
        """One aspect of a bucket as it is, other than its class."""
        if kind == "r2_dev":
            return bool(self.ask("GET", f"/{name}/domains/managed")["result"]["enabled"])
        if kind == "domains":
            return self.ask("GET", f"/{name}/domains/custom")["result"]["domains"]
        found = self.find(f"/{name}/{kind}", NO_CORS if kind == "cors" else -1)
        return _r2_wish.tidy(kind, (found or {}).get("rules") or [])

    def create(self, name: str, location: Optional[str], storage_class: Optional[str]) -> bool:
        """Make a bucket; False where somebody was faster."""
        body = {"name": name, "locationHint": location, "storageClass": storage_class}
        try:
            self.ask("POST", "", {key: value for key, value in body.items() if value is not None})
        except CloudflareError as error:
            if error.codes & THERE_ALREADY and self.read(name) is not None:
                return False
            raise
        return True

    def apply(self, name: str, kind: str, have: Any, want: Any) -> None:
        """Set one aspect."""
        if kind == "storage_class":
            self.ask("PATCH", f"/{name}", headers={"cf-r2-storage-class": want})
        elif kind == "r2_dev":
            self.ask("PUT", f"/{name}/domains/managed", {"enabled": want})
        elif kind == "domains":
            self._domains(name, have, want)
        elif kind == "cors" and not want:
            self.ask("DELETE", f"/{name}/cors")
        else:
            self.ask("PUT", f"/{name}/{kind}", {"rules": want})

    def _domains(self, name: str, have: Sequence[Mapping[str, Any]], want: Sequence[Mapping[str, Any]]) -> None:
        there = {each["domain"]: each for each in have}
        kept = {each["domain"] for each in want}
        for domain in sorted(set(there) - kept):
            self.drop(f"/{name}/domains/custom/{domain}")
        for each in want:
            if each["domain"] not in there:
                self.ask("POST", f"/{name}/domains/custom", dict(each))
                continue
            steps = _r2_wish.domain_steps(there[each["domain"]], each)
            if steps:
                self.ask("PUT", f"/{name}/domains/custom/{each['domain']}", {"enabled": each["enabled"], **steps})

    def wait_for(self, name: str, domains: Sequence[str], seconds: float) -> List[Dict[str, Any]]:
        """Wait until Cloudflare serves these custom domains; gives them with their states.

        Raises :class:`CloudflareError` where one cannot become active, or takes longer than ``seconds``.
        """
        end = clock() + seconds
        found = []
        for domain in domains:
            while True:
                state = self.ask("GET", f"/{name}/domains/custom/{domain}")["result"]
                ownership, ssl = state["status"]["ownership"], state["status"]["ssl"]
                if (ownership, ssl) == ("active", "active"):
                    found.append(state)
                    break
                if BROKEN & {ownership, ssl}:
                    raise CloudflareError(
                        f"the domain {domain} of the bucket {name} does not become active: its ownership is"
                        f" {ownership}, its certificate {ssl}; look at its DNS records in the dashboard"
                    )
                if clock() >= end:
                    raise CloudflareError(
                        f"the domain {domain} of the bucket {name} is not active after {seconds:.0f} s: its ownership"
                        f" is {ownership}, its certificate {ssl}; run this again later"
                    )
                pause(PAUSE)
        return found

    def holds_objects(self, name: str) -> bool:
        """Whether there is an object in the bucket."""
        return bool(self.ask("GET", f"/{name}/objects", query={"per_page": 1}).get("result"))

    def empty(self, name: str) -> int:
        """Remove every object, page after page; how many there were."""
        removed = 0
        while True:
            # No cursor: what was listed before is gone when the next page is asked for.
            page = self.ask("GET", f"/{name}/objects", query={"per_page": PAGE}).get("result") or []
            if not page:
                return removed
            gone = sum(self.drop(f"/{name}/objects/{quote(each['key'], safe='')}") for each in page)
            if not gone:
                raise CloudflareError(f"the bucket {name} lists objects that are not there; run this again later", 404)
            removed += gone

    def remove(self, name: str) -> None:
        """Remove an empty bucket."""
        self.drop(f"/{name}")
