"""What all of Doppler's API has in common: tokens and their scopes, rate limits with their headers, error bodies."""

from __future__ import annotations

import hashlib
import itertools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, NoReturn

from tests.doubles.web import Reply, Request, Route, Routes, Stop, WebDouble

LIMITS = {"read": 240, "secrets": 120, "write": 60}
"""Requests per minute of the plan Developer."""


@dataclass
class Config:
    """One config: what each name is set to, and how it may be seen."""

    project: str
    name: str
    environment: str
    root: bool = True
    locked: bool = False
    created_at: str = ""
    values: dict[str, str] = field(default_factory=dict)
    visibility: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return f"{self.project}/{self.name}"


@dataclass
class Token:
    """A token; ``configs`` are the ``project/config`` that it sees (``*``: all)."""

    value: str
    slug: str
    name: str
    configs: tuple[str, ...] = ("*",)
    access: str = "read"
    created_at: str = ""
    expires_at: str | None = None

    @property
    def service(self) -> bool:
        """Whether it is one of a single config."""
        return self.value.startswith("dp.st.")


def refuse(status: int, message: str) -> NoReturn:
    """Answer with an error."""
    raise Stop(Reply(status, {"messages": [message], "success": False}))


class Doppler(WebDouble):
    """The API. ``limits`` are requests per minute and token, by kind of request."""

    def __init__(self, *parts: Routes, clock: Callable[[], float] = time.time) -> None:
        super().__init__(*parts, clock=clock)
        self.projects: dict[str, dict[str, Any]] = {}
        self.environments: dict[tuple[str, str], dict[str, Any]] = {}
        self.configs: dict[str, Config] = {}
        self.tokens: dict[str, Token] = {}
        self.identities: dict[str, tuple[str, tuple[str, ...]]] = {}
        self.limits = dict(LIMITS)
        self.asked: dict[tuple[str, str], list[float]] = {}
        self._numbers = itertools.count(1)

    # What the parts use.

    def new_id(self, kind: str = "id") -> str:
        """40 letters and digits, the same ones in every run."""
        return hashlib.sha256(f"{kind} {next(self._numbers)}".encode()).hexdigest()[:40]

    def now(self) -> str:
        """The moment, as the API writes it."""
        return datetime.fromtimestamp(self.clock(), UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")

    def add_config(self, project: str, name: str, values: dict[str, str] | None = None) -> Config:
        """A config with its project and environment, where they are not there yet."""
        environment = name.partition("_")[0]
        now = self.now()
        self.projects.setdefault(
            project, {"id": project, "slug": project, "name": project, "description": "", "created_at": now}
        )
        self.environments.setdefault(
            (project, environment), {"id": environment, "slug": environment, "name": environment, "project": project}
        )
        config = Config(project, name, environment, "_" not in name, created_at=now, values=dict(values or {}))
        self.configs[config.key] = config
        return config

    def add_token(self, value: str, configs: Sequence[str] = ("*",), access: str = "read", **more: Any) -> Token:
        """A token that sees these ``project/config``."""
        token = Token(value, self.new_id("slug"), "made by the test", tuple(configs), access, self.now(), **more)
        self.tokens[token.value] = token
        return token

    def add_identity(self, identity: str, proof: str, configs: Sequence[str] = ("*",)) -> None:
        """An identity that takes ``proof`` for its login."""
        self.identities[identity] = (proof, tuple(configs))

    def token_of(self, request: Request) -> Token:
        """The token of a request. Refuses where there is none that is good."""
        header = request.headers.get("authorization", "")
        token = self.tokens.get(header.removeprefix("Bearer ")) if header.startswith("Bearer ") else None
        if token is None or (token.expires_at and token.expires_at <= self.now()):
            refuse(401, "Invalid Service token" if "dp.st." in header else "Invalid Auth token")
        return token

    def config_of(self, request: Request) -> Config:
        """The config that a request is about. Refuses where the token does not see it."""
        token = self.token_of(request)
        given = {**request.query, **(request.body if isinstance(request.body, dict) else {})}
        project, name = given.get("project") or "", given.get("config") or ""
        key = f"{project}/{name}"
        if token.service:
            own = token.configs[0]
            if (project and project != own.split("/")[0]) or (name and name != own.split("/")[1]):
                refuse(403, "This token does not have access to requested config")
            key = own
        elif not project or not name:
            refuse(400, f"You must specify a {'config' if project else 'project'}")
        if key not in self.configs or not {"*", key} & set(token.configs):
            refuse(404, f"Could not find requested config '{name}'")
        return self.configs[key]

    # What the web double asks.

    def admit(self, request: Request, route: Route) -> None:
        """Who asks, how often, and whether the token may: ``needs`` is a key of ``limits`` or ``-`` for nothing."""
        if route.needs == "-":
            return
        token = self.token_of(request)
        now = self.clock()
        recent = [moment for moment in self.asked.get((token.value, route.needs), []) if moment > now - 60]
        if len(recent) >= self.limits[route.needs]:
            wait = max(1, math.ceil(recent[0] + 60 - now)) if recent else 60
            body = {"messages": ["Rate limit exceeded"], "success": False}
            raise Stop(Reply(429, body, {"retry-after": str(wait), **self._rate(route.needs, 0, now + wait)}))
        self.asked[token.value, route.needs] = [*recent, now]
        request.params["_rate"] = f"{route.needs} {self.limits[route.needs] - len(recent) - 1} {int(now + 60)}"
        if route.needs == "write" and token.access != "read/write":
            refuse(403, "This token does not have write access")

    def _rate(self, kind: str, remaining: int, reset: float) -> dict[str, str]:
        return {
            "x-ratelimit-limit": str(self.limits[kind]),
            "x-ratelimit-remaining": str(remaining),
            "x-ratelimit-reset": str(int(reset)),
        }

    def handle(self, request: Request) -> Reply:
        """Every answer says how many requests are left."""
        reply = super().handle(request)
        if "_rate" in request.params:
            kind, remaining, reset = request.params["_rate"].split()
            reply.headers = {**self._rate(kind, int(remaining), int(reset)), **reply.headers}
        return reply

    def unknown(self, request: Request) -> Reply:
        """No such place."""
        return Reply(404, {"messages": [f"Not found: {request.path}"], "success": False})

    def broken(self, status: int) -> Reply:
        """An error in the API's own form."""
        return Reply(status, {"messages": [HTTPStatus(status).phrase], "success": False})
