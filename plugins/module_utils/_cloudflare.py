# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Talk to Cloudflare's API v4 (private to this collection).

Every answer is an envelope ``{success, errors, messages, result, result_info}``, also one with an error status, and a
good status can carry ``success: false``. :class:`Cloudflare` takes the envelope off, pages through lists of both
kinds, and turns error codes into one sentence with the way out.
"""

from __future__ import annotations

import re
import time
from typing import Any, Callable, Dict, FrozenSet, Iterable, Iterator, List, Mapping, Optional

from ansible.module_utils.basic import AnsibleModule, env_fallback
from ansible_collections.sapflux.hosting.plugins.module_utils._http import Client, Headers, HttpError, Opener

BASE = "https://api.cloudflare.com/client/v4"
ID = re.compile(r"[0-9a-f]{32}")
TOKEN = re.compile(r"[A-Za-z0-9_-]+")
pause = time.sleep
"""A seam for tests."""

OPTIONS: Dict[str, Any] = {
    "api_token": {
        "type": "str",
        "required": True,
        "no_log": True,
        "fallback": (env_fallback, ["CLOUDFLARE_API_TOKEN", "CLOUDFLARE_TOKEN"]),
    },
    "base_url": {"type": "str", "default": BASE, "fallback": (env_fallback, ["CLOUDFLARE_BASE_URL"])},
}
ZONE_OPTIONS: Dict[str, Any] = {"zone": {"type": "str", "required": True}}
ACCOUNT_OPTIONS: Dict[str, Any] = {
    "account_id": {"type": "str", "required": True, "fallback": (env_fallback, ["CLOUDFLARE_ACCOUNT_ID"])}
}

# What helps against an error code; codes that only repeat their message are not here.
WAYS_OUT = {
    6003: "copy the token again, whole and without spaces",
    7003: "check the id of the zone or account",
    81053: "a CNAME stands alone at its name: remove the other A, AAAA or CNAME record",
    81057: "remove one of the two",
    81058: "remove one of the two",
}
UNAUTHORIZED = frozenset({1000, 1001, 9109, 10000, 10001, 10002, 10003})
"""Codes that speak of the token where the status is 401 or 403; with others they mean something else."""


class CloudflareError(Exception):
    """The API refused, or what was asked makes no sense. The message is one sentence with the way out, no secret in it.

    ``status`` is that of the answer (0: none came, -1: nothing was asked), ``codes`` are those of its ``errors``.
    """

    def __init__(self, message: str, status: int = -1, codes: Iterable[int] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.codes: FrozenSet[int] = frozenset(codes)

    @property
    def uncertain(self) -> bool:
        """Whether what was asked may have been done all the same: no answer came, or one of a broken server."""
        return self.status == 0 or self.status >= 500


class Cloudflare:
    """The API with one token. ``requests`` of ``client`` counts what was sent."""

    def __init__(self, token: str, base: str = BASE, opener: Optional[Opener] = None) -> None:
        # A token that cannot be one would come back in an error of the header check, or break the request apart.
        if not TOKEN.fullmatch(token):
            raise CloudflareError("api_token is no token of Cloudflare: copy it again, whole and without spaces")
        self.client = Client(
            "Cloudflare",
            base.rstrip("/"),
            {"Authorization": f"Bearer {token}"},
            [token],
            explain=lambda _status, body: reasons(body),
            opener=opener,
            sleep=lambda seconds: pause(seconds),
        )

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        query: Optional[Mapping[str, Any]] = None,
        headers: Optional[Headers] = None,
        *,
        needs: str = "",
    ) -> Dict[str, Any]:
        """The envelope of one request. ``needs`` names the permission it takes, for the message where it is missing.

        Raises :class:`CloudflareError`.
        """
        try:
            answer = self.client.request(method, path, query, body, headers)
        except HttpError as error:
            codes = error_codes(error.body)
            way = way_out(error.status, codes, needs)
            raise CloudflareError(f"{error}{way}", error.status, codes) from error
        envelope = answer.body if isinstance(answer.body, dict) else {}
        if not envelope.get("success"):
            codes = error_codes(envelope)
            reason = reasons(envelope) or "no reason given"
            message = f"Cloudflare refused {method} {path}: {reason}{way_out(answer.status, codes, needs)}"
            raise CloudflareError(self.client._mask(message), answer.status, codes)
        return envelope

    def result(self, method: str, path: str, body: Any = None, query: Any = None, *, needs: str = "") -> Any:
        """The ``result`` of one request."""
        return self.ask(method, path, body, query, needs=needs).get("result")

    def find(self, path: str, *, needs: str = "", gone: Iterable[int] = ()) -> Any:
        """The ``result`` of a GET, None where it is not found: status 404, or one of the codes ``gone``."""
        try:
            return self.result("GET", path, needs=needs)
        except CloudflareError as error:
            if (error.status == 404 and 7003 not in error.codes) or error.codes & frozenset(gone):
                return None
            raise

    def pages(
        self,
        path: str,
        query: Optional[Mapping[str, Any]] = None,
        headers: Optional[Headers] = None,
        *,
        size: int = 50,
        key: str = "",
        needs: str = "",
    ) -> Iterator[Any]:
        """Every item of a list, page after page, whether it counts pages or hands out cursors.

        ``key`` names the list inside ``result`` where it is in an object (R2's buckets).
        """
        where: Dict[str, Any] = {**(query or {}), "per_page": size}
        seen = set()
        while True:
            envelope = self.ask("GET", path, query=where, headers=headers, needs=needs)
            result: Any = envelope.get("result") or {}
            items: List[Any] = list(result.get(key) or [] if key else result)
            yield from items
            info = envelope.get("result_info") or {}
            cursor = info.get("cursor") or (info.get("cursors") or {}).get("after")
            if cursor:
                following = {"cursor": cursor}
            elif items and int(info.get("page") or 1) < int(info.get("total_pages") or 1):
                following = {"page": int(info.get("page") or 1) + 1}
            else:
                return
            # An API that hands out the same cursor for ever must not be asked for ever.
            if str(following) in seen:
                raise CloudflareError(f"Cloudflare's list {path} does not end; run this again later", 500)
            seen.add(str(following))
            where = {**(query or {}), "per_page": size, **following}

    def zone(self, name: str) -> Dict[str, Any]:
        """The zone ``name`` (or with this id), with its plan. Raises where the token sees none."""
        needs = "Zone Read"
        if ID.fullmatch(name):
            zone: Dict[str, Any] = self.result("GET", f"/zones/{name}", needs=needs)
            return zone
        wanted = ascii_name(name)
        for zone in self.pages("/zones", {"name": wanted}, needs=needs):
            if zone["name"] == wanted:
                return zone
        raise CloudflareError(
            f"the token sees no zone {wanted}: add the domain to the account, or give the token Zone Read on it"
        )


def error_codes(body: Any) -> List[int]:
    """The codes of an envelope's errors, those of their chains included."""
    errors = body.get("errors") if isinstance(body, dict) else None
    codes: List[int] = []
    for error in errors or []:
        if isinstance(error, dict):
            chain = [each for each in error.get("error_chain") or [] if isinstance(each, dict)]
            codes += [int(each["code"]) for each in (error, *chain) if str(each.get("code", "")).isdigit()]
    return codes


def reasons(body: Any) -> str:
    """What an envelope's errors say, "" where they say nothing."""
    errors = body.get("errors") if isinstance(body, dict) else None
    said = []
    for error in errors or []:
        if not isinstance(error, dict):
            said.append(str(error))
            continue
        chain = [str(each.get("message")) for each in error.get("error_chain") or [] if isinstance(each, dict)]
        where = (error.get("source") or {}).get("pointer") or ""
        text = ", ".join([str(error.get("message") or "error").strip().rstrip("."), *chain])
        said.append(f"{text} (code {error.get('code')}{', at ' + where if where else ''})")
    return "; ".join(said)


def way_out(status: int, codes: Iterable[int], needs: str) -> str:
    """The way out of an error, with the words that join it to the reason; "" where none is known."""
    found = frozenset(codes)
    for code in sorted(found & frozenset(WAYS_OUT)):
        return f"; {WAYS_OUT[code]}"
    if status in (401, 403) and (not found or found & UNAUTHORIZED):
        what = f", and that it has the permission {needs} there" if needs else ""
        return f"; check that the token is active{what}"
    return ""


def ascii_name(name: str) -> str:
    """A domain name as the API holds it: lower case, punycode, no dot at the end. Raises :class:`CloudflareError`."""
    labels = name.strip().rstrip(".").lower().split(".")
    try:
        plain = ".".join(label if label.isascii() else label.encode("idna").decode() for label in labels)
    except UnicodeError as error:
        raise CloudflareError(f"{name} is no domain name: {error}") from error
    if len(plain) > 253 or any(not 0 < len(label) <= 63 for label in plain.split(".")):
        raise CloudflareError(f"{name} is no domain name: a label has 1 to 63 characters, a name at most 253")
    return plain


Act = Callable[[AnsibleModule, Cloudflare], Mapping[str, Any]]


def run(spec: Mapping[str, Any], act: Act, **more: Any) -> None:
    """The body of a module: its options with those that all share, ``act``, and every refusal as one sentence."""
    module = AnsibleModule(argument_spec={**OPTIONS, **spec}, supports_check_mode=True, **more)
    try:
        cloud = Cloudflare(module.params["api_token"], module.params["base_url"])
        result = dict(act(module, cloud))
    except CloudflareError as error:
        module.fail_json(msg=str(error))
    if not module._diff:
        result.pop("diff", None)
    module.exit_json(**result)
