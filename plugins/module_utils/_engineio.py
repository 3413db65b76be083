# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Speak Socket.IO to a server by long polling, with nothing but the standard library (private to this collection).

Engine.IO version 4: a GET waits for packets, a POST sends some, both separate them by a record separator. A packet
of type 4 carries Socket.IO: 0 connects, 2 is an event, 3 acknowledges one, 4 refuses the connection.
"""

from __future__ import annotations

import functools
import http.client
import json
import re
import time
import urllib.error
import urllib.request
from contextlib import suppress
from typing import Any, Callable, Dict, List, Optional, Tuple
from urllib.parse import urlsplit

SEPARATOR = "\x1e"
PATH = "/socket.io/?EIO=4&transport=polling"
PACKET = re.compile(r"(\d*)(.*)", re.DOTALL)
LIMIT = 64 << 20
"""Bytes of an answer that are read at most."""

Opener = Callable[[str, str, Optional[bytes], float], Tuple[int, bytes]]
"""``opener(method, url, body, timeout)`` answers (status, body) or raises ``OSError``."""


class WireError(Exception):
    """The server cannot be talked to. One sentence without the content of a message."""


class _Stays(urllib.request.HTTPRedirectHandler):
    """A redirect would carry what is said to another place."""

    def redirect_request(self, *_arguments: Any) -> None:
        return None


@functools.lru_cache(maxsize=1)
def _director() -> urllib.request.OpenerDirector:
    """One for all requests: making one reads every certificate authority there is."""
    return urllib.request.build_opener(_Stays())


def opener(method: str, url: str, body: Optional[bytes], timeout: float) -> Tuple[int, bytes]:
    """Send a request. Raises ``OSError``."""
    if urlsplit(url).scheme not in ("https", "http"):
        raise OSError(f"{url} is no URL of a web server")
    headers = {"Content-Type": "text/plain;charset=UTF-8", "User-Agent": "sapflux.hosting"}
    request = urllib.request.Request(url, body, headers, method=method)  # noqa: S310 - looked at above
    try:
        with _director().open(request, timeout=timeout) as answer:
            return int(answer.status), answer.read(LIMIT)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(LIMIT)
    except http.client.HTTPException as error:
        raise OSError(str(error) or type(error).__name__) from error


class Wire:
    """One connection. ``heard`` gets every event, as (name, arguments); ``requests`` counts what was sent."""

    def __init__(
        self,
        url: str,
        heard: Callable[[str, List[Any]], None],
        timeout: float = 30.0,
        send: Optional[Opener] = None,
    ) -> None:
        self.base = url.rstrip("/")
        self.heard = heard
        self.timeout = timeout
        self.send = send or opener
        self.sid = ""
        self.requests = 0
        self.next = 0
        self.answers: Dict[int, List[Any]] = {}
        self.connected = False

    def open(self) -> None:
        """Connect, and wait until the server says so. Raises :class:`WireError`."""
        first = self._ask("GET", None, self.timeout)
        try:
            self.sid = str(json.loads(first.lstrip("0"))["sid"])
        except (ValueError, KeyError, TypeError) as error:
            raise WireError(f"{self.base} speaks no Socket.IO") from error
        self._ask("POST", "40", self.timeout)
        self.until(lambda: self.connected, self.timeout, "the connection")

    def close(self) -> None:
        """Say goodbye; a server that is gone needs none."""
        if self.sid:
            with suppress(WireError, TimeoutError):
                self._ask("POST", "1", 5.0)
            self.sid = ""

    def call(self, event: str, *arguments: Any, timeout: float = 0.0) -> Any:
        """Send an event and wait for its acknowledgement; its only argument. Raises :class:`WireError`."""
        number, self.next = self.next, self.next + 1
        self._ask("POST", f"42{number}{json.dumps([event, *arguments])}", self.timeout)
        self.until(lambda: number in self.answers, timeout or self.timeout, f"the answer to {event}")
        answer = self.answers.pop(number)
        return answer[0] if answer else None

    def until(self, done: Callable[[], bool], seconds: float, what: str) -> None:
        """Take what comes until ``done``. Raises :class:`WireError` when it is not within ``seconds``."""
        end = time.monotonic() + seconds
        while not done():
            left = end - time.monotonic()
            if left <= 0:
                raise WireError(f"{self.base} did not send {what} within {seconds:.0f} s")
            try:
                self._poll(left)
            except TimeoutError as error:
                raise WireError(f"{self.base} did not send {what} within {seconds:.0f} s") from error

    def _poll(self, timeout: float) -> None:
        for packet in self._ask("GET", None, timeout).split(SEPARATOR):
            self._take(packet)

    def _take(self, packet: str) -> None:
        kind, rest = packet[:1], packet[1:]
        if kind == "2":
            self._ask("POST", "3", self.timeout)
        elif kind == "1":
            raise WireError(f"{self.base} closed the connection")
        elif kind == "4":
            self._message(rest[:1], rest[1:])

    def _message(self, kind: str, rest: str) -> None:
        if kind == "0":
            self.connected = True
        elif kind in ("1", "4"):
            raise WireError(f"{self.base} refused the connection")
        elif kind in ("2", "3"):
            found = PACKET.fullmatch(rest)
            number, text = found.groups() if found else ("", rest)
            try:
                data = json.loads(text)
            except ValueError as error:
                raise WireError(f"{self.base} sent a message that cannot be read") from error
            if kind == "3":
                self.answers[int(number)] = data
            else:
                self.heard(str(data[0]), list(data[1:]))

    def _ask(self, method: str, body: Optional[str], timeout: float) -> str:
        url = f"{self.base}{PATH}" + (f"&sid={self.sid}" if self.sid else "")
        self.requests += 1
        try:
            status, raw = self.send(method, url, None if body is None else body.encode(), timeout)
        except TimeoutError:
            raise
        except OSError as error:
            reason = getattr(error, "reason", error)
            if isinstance(reason, TimeoutError):
                raise reason from error
            raise WireError(f"{self.base} cannot be reached: {reason}") from error
        if status != 200:
            raise WireError(f"{self.base} answered {method} with {status}: is it a server of Socket.IO?")
        return raw.decode("utf-8", errors="replace")
