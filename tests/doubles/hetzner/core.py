"""Envelopes, tokens, rate limits, pages, labels and actions of Hetzner Cloud's API."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NoReturn, Protocol

from tests.doubles.web import Reply, Request, Route, Routes, Stop, WebDouble, page_of

PREFIX = "/v1"
HOUR = 3600.0
# What a status means in Hetzner's own words; the code decides, not the status.
BROKEN = {
    401: ("unauthorized", "unable to authenticate"),
    409: ("conflict", "the resource has changed during the request, please retry"),
    423: ("locked", "the item is locked"),
    429: ("rate_limit_exceeded", "limit of 3600 requests per hour reached"),
    502: ("bad_gateway", "bad gateway"),
    503: ("unavailable", "the service is unavailable"),
    504: ("timeout", "the request timed out"),
}
Resource = dict[str, Any]


class Machines(Protocol):
    """What becomes of a server outside the API. Each call takes as long as it takes, and raises where it fails."""

    def create(self, server: Resource, user_data: str, keys: Sequence[str]) -> None:
        """Boot a new machine at the addresses of ``server``."""

    def rebuild(self, server: Resource, user_data: str, keys: Sequence[str]) -> None:
        """Boot it anew with an empty disk."""

    def power(self, server: Resource, on: bool, *, hard: bool) -> None:
        """Switch it on, or off: ``hard`` is to pull the plug."""

    def delete(self, server: Resource) -> None:
        """Throw it away."""


class NoMachines:
    """Servers that are nothing but records."""

    def create(self, server: Resource, user_data: str, keys: Sequence[str]) -> None:
        pass

    def rebuild(self, server: Resource, user_data: str, keys: Sequence[str]) -> None:
        pass

    def power(self, server: Resource, on: bool, *, hard: bool) -> None:
        pass

    def delete(self, server: Resource) -> None:
        pass


@dataclass
class Action:
    """Something that takes time: done when it was asked for ``polls`` times and its work has ended."""

    id: int
    command: str
    resources: list[dict[str, Any]]
    started: str
    polls: int = 0
    status: str = "running"
    finished: str | None = None
    error: dict[str, str] | None = None
    then: list[Callable[[], None]] = field(default_factory=list)
    undo: Callable[[], None] | None = None
    fails: tuple[str, str] | None = None
    work: threading.Thread | None = None

    def shown(self) -> dict[str, Any]:
        """As the API tells it."""
        return {
            "id": self.id,
            "command": self.command,
            "status": self.status,
            "progress": 100 if self.status == "success" else 0,
            "started": self.started,
            "finished": self.finished,
            "resources": self.resources,
            "error": self.error,
        }


def refuse(status: int, code: str, message: str, **details: Any) -> NoReturn:
    """Answer with an error."""
    raise Stop(Reply(status, {"error": {"code": code, "message": message, "details": details or None}}))


def invalid(name: str, message: str) -> NoReturn:
    """Answer that a field of the request is wrong."""
    refuse(422, "invalid_input", f"invalid input in field '{name}'", fields=[{"name": name, "messages": [message]}])


class Hetzner(WebDouble):
    """The API. ``limit`` requests an hour; ``polls`` is how often an action is still running when it is asked for."""

    def __init__(
        self, *parts: Routes, clock: Callable[[], float] = time.time, machines: Machines | None = None
    ) -> None:
        super().__init__(*parts, clock=clock)
        self.machines: Machines = machines or NoMachines()
        self.tokens: dict[str, str] = {}
        self.limit = 3600
        self.left = 3600.0
        self.last = clock()
        self.polls = 0
        self.actions: dict[int, Action] = {}
        self.failing: list[tuple[str, str, str]] = []
        self.kinds: dict[str, dict[int, Resource]] = {}
        self.most: dict[str, int] = {"servers": 10}
        self._numbers = itertools.count(1001)

    # What the parts use.

    def new_id(self) -> int:
        """A number, the same ones in every run."""
        return next(self._numbers)

    def now(self) -> str:
        """The moment, as the API writes it."""
        return datetime.fromtimestamp(self.clock(), UTC).strftime("%Y-%m-%dT%H:%M:%S+00:00")

    def all(self, kind: str) -> dict[int, Resource]:
        """The resources of a kind by id."""
        return self.kinds.setdefault(kind, {})

    def one(self, kind: str, request: Request) -> Resource:
        """The resource that the path of a request names."""
        text = request.params["id"]
        found = self.all(kind).get(int(text)) if text.isdigit() else None
        if found is None:
            refuse(404, "not_found", f"{kind[:-1]} with ID '{text}' not found")
        return found

    def reference(self, kind: str, value: Any, name: str) -> Resource:
        """The resource that a field of a request names, by id or by name."""
        for each in self.all(kind).values():
            if value in (each["id"], str(each["id"])) or (isinstance(value, str) and each["name"] == value):
                return each
        refuse(404, "not_found", f"{kind[:-1]} '{value}' in field '{name}' not found")

    def named(self, kind: str, name: str) -> Resource:
        """The resource of that name, for tests."""
        return next(each for each in self.all(kind).values() if each["name"] == name)

    def names(self, kind: str) -> list[str]:
        """The names of all resources of a kind, for tests."""
        return sorted(each["name"] for each in self.all(kind).values())

    def unique(self, kind: str, name: Any) -> str:
        """A name that is not taken. Refuses what is none."""
        if not isinstance(name, str) or not name:
            invalid("name", "is required")
        if any(each["name"] == name for each in self.all(kind).values()):
            refuse(409, "uniqueness_error", "name is already used", fields=[{"name": "name"}])
        if len(self.all(kind)) >= self.most.get(kind, 100):
            refuse(
                403, "resource_limit_exceeded", f"{kind[:-1]} limit exceeded", limits=[{"name": f"{kind[:-1]}_limit"}]
            )
        return name

    def list_of(self, kind: str, request: Request, shown: Callable[[Resource], Resource] = dict) -> Reply:
        """One page of a kind, filtered by name and labels."""
        items = [
            each
            for each in self.all(kind).values()
            if request.query.get("name") in (None, each["name"])
            and request.query.get("fingerprint") in (None, each.get("fingerprint"))
            and selected(each.get("labels") or {}, request.query.get("label_selector", ""))
        ]
        return self.page(kind, [shown(each) for each in items], request)

    def page(self, kind: str, items: Sequence[Any], request: Request) -> Reply:
        """One page of a list with its numbers."""
        part, numbers = page_of(items, request.query, 25, 50)
        page, last = numbers["page"], max(1, numbers["total_pages"])
        pagination = {
            "page": page,
            "per_page": numbers["per_page"],
            "previous_page": page - 1 if page > 1 else None,
            "next_page": page + 1 if page < last else None,
            "last_page": last,
            "total_entries": numbers["total_count"],
        }
        return Reply(200, {kind: part, "meta": {"pagination": pagination}})

    def begin(
        self,
        command: str,
        *resources: tuple[str, int],
        then: Callable[[], None] | None = None,
        work: Callable[[], None] | None = None,
        undo: Callable[[], None] | None = None,
    ) -> dict[str, Any]:
        """Start an action; ``work`` runs beside the API; ``then`` is done at its end, ``undo`` where it fails."""
        action = Action(
            self.new_id(),
            command,
            [{"type": kind, "id": number} for kind, number in resources],
            self.now(),
            self.polls,
            then=[then] if then else [],
            undo=undo,
        )
        for failing in list(self.failing):
            if failing[0] == command:
                self.failing.remove(failing)
                action.fails = (failing[1], failing[2])
                break
        if work and not action.fails:
            self._work(action, work)
        self.actions[action.id] = action
        return action.shown()

    def _work(self, action: Action, work: Callable[[], None]) -> None:
        def run() -> None:
            try:
                work()
            except Exception as error:
                action.fails = ("action_failed", f"Action failed: {error}")

        if isinstance(self.machines, NoMachines):
            run()
            return
        action.work = threading.Thread(target=run, daemon=True)
        action.work.start()

    def look(self, action: Action) -> dict[str, Any]:
        """An action as it is now."""
        if action.status == "running":
            if action.polls > 0:
                action.polls -= 1
            elif action.work is None or not action.work.is_alive():
                self._finish(action)
        return action.shown()

    def _finish(self, action: Action) -> None:
        action.finished = self.now()
        if action.fails:
            action.status = "error"
            action.error = dict(zip(("code", "message"), action.fails, strict=True))
            if action.undo:
                action.undo()
            return
        action.status = "success"
        for then in action.then:
            then()

    def busy(self, kind: str, number: int) -> bool:
        """Whether something is being done to a resource."""
        return any(
            action.status == "running" and {"type": kind, "id": number} in action.resources
            for action in self.actions.values()
        )

    def settle(self) -> None:
        """Bring what has ended to its end, as time does."""
        for action in list(self.actions.values()):
            if action.status == "running" and action.polls == 0 and not (action.work and action.work.is_alive()):
                self._finish(action)

    def break_action(self, command: str, code: str = "action_failed", message: str = "Action failed") -> None:
        """The next action of this kind fails."""
        self.failing.append((command, code, message))

    # What the web double asks.

    def admit(self, request: Request, _route: Route) -> None:
        """Who asks, how often, and whether the token may write."""
        header = request.headers.get("authorization", "")
        scope = self.tokens.get(header.removeprefix("Bearer ")) if header.startswith("Bearer ") else None
        if scope is None:
            refuse(401, "unauthorized", "unable to authenticate")
        self._count()
        if scope == "read" and request.method != "GET":
            refuse(403, "token_readonly", "token is only allowed to perform GET requests")
        self.settle()

    def _count(self) -> None:
        now = self.clock()
        self.left = min(self.limit, self.left + (now - self.last) * self.limit / HOUR)
        self.last = now
        if self.left < 1:
            refuse(429, "rate_limit_exceeded", f"limit of {self.limit} requests per hour reached")
        self.left -= 1

    def wrap(self, result: Any) -> Reply:
        """A handler gives the whole body."""
        return Reply(200, result)

    def dress(self, reply: Reply) -> Reply:
        """Every answer says how many requests are left and when all are."""
        missing = (self.limit - self.left) * HOUR / self.limit
        rate = {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(int(self.left)),
            "RateLimit-Reset": str(int(self.clock() + missing)),
        }
        reply.headers = {**rate, **reply.headers}
        return reply

    def unknown(self, request: Request) -> Reply:
        """No such place."""
        return Reply(404, {"error": {"code": "not_found", "message": f"{request.path} not found", "details": None}})

    def broken(self, status: int) -> Reply:
        """An error in the API's own form."""
        code, message = BROKEN.get(status, ("service_error", "internal server error"))
        return Reply(status, {"error": {"code": code, "message": message, "details": None}})


def selected(labels: Mapping[str, str], selector: str) -> bool:
    """Whether labels fit a selector of the forms ``key``, ``key=value`` and ``!key``, joined by commas."""
    for part in filter(None, selector.split(",")):
        key, equals, value = part.replace("==", "=").partition("=")
        if key.startswith("!"):
            if key[1:] in labels:
                return False
        elif key not in labels or (equals and labels[key] != value):
            return False
    return True


def labels_of(body: Mapping[str, Any], before: Mapping[str, str] | None = None) -> dict[str, str]:
    """The labels of a request; those that were there where it does not speak of them."""
    labels = body.get("labels")
    if labels is None:
        return dict(before or {})
    if not isinstance(labels, dict) or not all(isinstance(each, str) for each in labels.values()):
        invalid("labels", "must be text by text")
    return dict(labels)
