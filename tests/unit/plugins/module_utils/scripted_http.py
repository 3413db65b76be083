"""A web API from a script: the requests a test expects, in their order, each with its answer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.sapflux.hosting.plugins.module_utils._http import Raw


@dataclass
class Call:
    """One expected request and what comes back.

    ``url`` is the path with its query; ``body`` is compared where it is given (a request that must carry none has
    ``body=NOTHING``). ``error`` is raised instead of an answer; ``raw`` answers bytes instead of ``answer`` as JSON.
    """

    method: str
    url: str
    answer: Any = None
    status: int = 200
    body: Any = ...
    headers: Mapping[str, str] = field(default_factory=dict)
    sent_headers: Mapping[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    error: Exception | None = None


NOTHING = None


class Script:
    """An opener that plays ``calls`` and fails at whatever else is asked; ``done()`` asserts that all were made."""

    def __init__(self, base: str, calls: Sequence[Call]) -> None:
        self.base = base
        self.calls = list(calls)
        self.pauses: list[float] = []

    def __call__(self, method: str, url: str, headers: Mapping[str, str], data: bytes | None, timeout: float) -> Raw:
        assert timeout > 0
        assert self.calls, f"unexpected: {method} {url}"
        call = self.calls.pop(0)
        assert (method, url) == (call.method, f"{self.base}{call.url}")
        body = None if data is None else json.loads(data)
        if call.body is not ...:
            assert body == call.body
        for name, value in call.sent_headers.items():
            assert headers[name] == value
        if call.error is not None:
            raise call.error
        raw = call.raw if call.raw is not None else json.dumps(call.answer).encode()
        return call.status, {"Content-Type": "application/json", **call.headers}, raw

    def sleep(self, seconds: float) -> None:
        """Instead of waiting."""
        self.pauses.append(seconds)

    def done(self) -> None:
        """Every expected request was made."""
        assert self.calls == [], f"never asked: {self.calls}"
