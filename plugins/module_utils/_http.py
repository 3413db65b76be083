# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Talk JSON to a cloud's API: retries, rate limits and typed errors in one place (private to this collection).

A client of one API (``_cloudflare``, ``_doppler``) wraps :class:`Client` and says what its error bodies mean. Of a
request only method and path ever reach a message, and a secret that an answer repeats is masked.
"""

from __future__ import annotations

import email.utils
import http.client
import json
import time
import urllib.error
from dataclasses import dataclass, field
from typing import Any, Callable, Mapping, Optional, Sequence, Tuple
from urllib.parse import quote, urlencode, urlsplit

from ansible.module_utils.urls import open_url

TRIES = 5
FIRST_PAUSE = 0.5
"""Seconds before the second try; it doubles with each that follows."""
LONGEST_PAUSE = 30.0
LONGEST_WAIT = 330.0
"""Seconds a rate limit may ask for: Cloudflare shuts a token out for five minutes."""
TIMEOUT = 30.0
LIMIT = 64 << 20
"""Bytes of an answer that are read at most."""
IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE"})
PASSING = frozenset({408, 425, 500, 502, 503, 504, *range(520, 531)})
"""Status codes that may be gone the next time."""
MASK = "********"

Headers = Mapping[str, str]
Raw = Tuple[int, Headers, bytes]
Opener = Callable[[str, str, Headers, Optional[bytes], float], Raw]
"""``opener(method, url, headers, body, timeout)`` answers (status, headers, body) or raises ``OSError``."""


class HttpError(Exception):
    """A request failed. The message is one sentence that names the API, the request and the reason, never a secret.

    ``status`` is 0 where no answer came; ``body`` is the answer's JSON, None where it was none.
    """

    def __init__(self, message: str, status: int = 0, body: Any = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = body


@dataclass(frozen=True)
class Answer:
    """What came back: ``body`` is the JSON (None where there was none), header names are in lower case."""

    status: int
    headers: Headers
    body: Any


@dataclass
class Client:
    """One API: ``name`` for messages, ``base`` URL without a slash at the end, the headers that every request carries.

    ``secrets`` are masked in messages. ``explain(status, body)`` turns an error body into words, "" where it cannot;
    ``final(status, body)`` tells that an answer means what it says although its status may pass. ``opener``, ``sleep``
    and ``clock`` are seams for tests. ``requests`` counts what was sent, tries included.
    """

    name: str
    base: str
    headers: Headers = field(default_factory=dict, repr=False)
    secrets: Sequence[str] = field(default=(), repr=False)
    explain: Callable[[int, Any], str] = lambda _status, _body: ""
    final: Callable[[int, Any], bool] = lambda _status, _body: False
    tries: int = TRIES
    timeout: float = TIMEOUT
    opener: Optional[Opener] = None
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.time
    requests: int = 0

    def request(
        self,
        method: str,
        path: str,
        query: Optional[Mapping[str, Any]] = None,
        body: Any = None,
        headers: Optional[Headers] = None,
        *,
        accept: Sequence[int] = (),
        repeatable: bool = False,
    ) -> Answer:
        """Send one request and answer what came back with a 2xx status or one of ``accept``.

        ``query`` values of None are left out; ``body`` is sent as JSON. What may pass is tried again: rate limits
        always (nothing was done), other failures only where the request may safely run twice, by its method or
        because the caller knows (``repeatable``). Raises :class:`HttpError`.
        """
        repeatable = repeatable or method in IDEMPOTENT
        # Spaces as %20: Cloudflare's filters take a plus for a plus.
        words = {key: _word(value) for key, value in (query or {}).items() if value is not None}
        url = f"{self.base}{path}" + (f"?{urlencode(words, quote_via=quote)}" if words else "")
        sent = {"Accept": "application/json", "User-Agent": "sapflux.hosting", **self.headers, **(headers or {})}
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            sent["Content-Type"] = "application/json"
        what = f"{method} {path}"
        waited, pause = 0.0, FIRST_PAUSE
        for attempt in range(1, self.tries + 1):
            last = attempt == self.tries
            try:
                status, raw_headers, raw = self._send(method, url, sent, data)
            except (OSError, http.client.HTTPException, ValueError) as error:
                if last or not repeatable:
                    reason = self._mask(str(error) or type(error).__name__)
                    undone = "" if repeatable else "; it may have been carried out, so look before you repeat it"
                    raise HttpError(f"{self.name} could not be reached for {what}: {reason}{undone}") from error
                self.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
                continue
            lower = {str(key).lower(): str(value) for key, value in raw_headers.items()}
            parsed, is_json = _json(raw)
            if 200 <= status < 300 or status in accept:
                if not is_json and raw.strip():
                    raise HttpError(
                        f"{self.name} answered {what} with something that is no JSON ({_kind(lower)})", status
                    )
                return Answer(status, lower, parsed)
            wait = self._again(repeatable, status, lower, parsed, pause)
            if wait is None or last or waited + wait > LONGEST_WAIT:
                raise self._error(what, status, lower, parsed, is_json)
            self.sleep(wait)
            waited += wait
            pause = min(pause * 2, LONGEST_PAUSE)
        raise AssertionError("the loop above returns or raises")

    def _send(self, method: str, url: str, headers: Headers, data: Optional[bytes]) -> Raw:
        self.requests += 1
        return (self.opener or urllib_opener)(method, url, headers, data, self.timeout)

    def _again(self, repeatable: bool, status: int, headers: Headers, body: Any, pause: float) -> Optional[float]:
        """Seconds after which to try again; None where it would not help."""
        if self.final(status, body):
            return None
        if status == 429:
            return max(retry_after(headers, self.clock()), pause)
        if status in PASSING and repeatable:
            return max(retry_after(headers, self.clock()), pause)
        return None

    def _error(self, what: str, status: int, headers: Headers, body: Any, is_json: bool) -> HttpError:
        if status == 429:
            wait = retry_after(headers, self.clock())
            said = f"{self.name} is asked too often; wait {wait:.0f} s and run this again" if wait else ""
            return HttpError(said or f"{self.name} is asked too often ({what}); run this again later", status, body)
        reason = self._mask(self.explain(status, body)) if is_json else f"a page that is no JSON ({_kind(headers)})"
        return HttpError(f"{self.name} answered {what} with {status}: {reason or 'no reason given'}", status, body)

    def _mask(self, text: str) -> str:
        for secret in self.secrets:
            if secret:
                text = text.replace(secret, MASK)
        return text


def retry_after(headers: Headers, now: float) -> float:
    """Seconds that an answer asks to wait, 0 where it does not say.

    Understands ``retry-after`` (seconds or a date), ``ratelimit: "x";r=0;t=12`` (Cloudflare) and
    ``x-ratelimit-reset`` (Doppler) or ``ratelimit-reset`` (Hetzner), a moment in seconds since 1970. Header names are
    in lower case.
    """
    given = headers.get("retry-after", "").strip()
    if given:
        try:
            return max(0.0, float(given))
        except ValueError:
            moment = email.utils.parsedate_tz(given)
            return max(0.0, email.utils.mktime_tz(moment) - now) if moment else 0.0
    parts = dict(part.strip().partition("=")[::2] for part in headers.get("ratelimit", "").split(";"))
    reset = headers.get("x-ratelimit-reset", headers.get("ratelimit-reset", ""))
    left = headers.get("x-ratelimit-remaining", headers.get("ratelimit-remaining", "0"))
    try:
        if parts.get("r") == "0":
            return max(0.0, float(parts.get("t", 0)))
        return max(0.0, float(reset) - now) if reset and left == "0" else 0.0
    except ValueError:
        return 0.0


def urllib_opener(method: str, url: str, headers: Headers, data: Optional[bytes], timeout: float) -> Raw:
    """Send a request with Ansible's own client (proxies and certificates as everywhere). Raises ``OSError``."""
    if urlsplit(url).scheme not in ("https", "http"):
        raise ValueError(f"{url} is no URL of a web server")
    try:
        # A redirect would carry the token to another place.
        with open_url(
            url, method=method, headers=dict(headers), data=data, timeout=timeout, follow_redirects="none"
        ) as answer:
            body = whole(answer.read(LIMIT + 1), answer.headers.get("Content-Length"))
            return answer.status, dict(answer.headers.items()), body
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers.items()), error.read(LIMIT)


def whole(body: bytes, announced: Optional[str]) -> bytes:
    """The body of an answer. Raises ``OSError`` where it was cut: that looks like its end, only the length tells."""
    if len(body) > LIMIT or (announced is not None and len(body) != int(announced)):
        raise OSError(f"the answer stopped after {len(body)} of {announced or 'unknown'} bytes")
    return body


def _word(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value


def _json(raw: bytes) -> Tuple[Any, bool]:
    """(the JSON, True), or (None, False) where it is none."""
    try:
        return json.loads(raw), True
    except ValueError:
        return None, False


def _kind(headers: Headers) -> str:
    return headers.get("content-type", "no content type").partition(";")[0]
