"""A web API that stands in for a real one: routes, faults to be switched on, and a record of every request.

Built on the standard library: a double must be able to cut a connection in the middle of an answer, which no
framework lets it do. A double of one API is a subclass of :class:`WebDouble` that says who may ask (``admit``) and how
answers look (``dress``); its parts bring their routes and their state, each in a module of its own::

    routes = Routes()

    class Things:
        def __init__(self) -> None:
            self.by_id: dict[str, str] = {}

    @routes.on("GET", "/things/{thing}")
    def read(double: MyDouble, request: Request) -> Any:
        return double.part(Things).by_id[request.params["thing"]]

Handlers run one at a time, so that none needs a lock.
"""

from __future__ import annotations

import http.server
import json
import re
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from http import HTTPStatus
from typing import Any, TypeVar, cast
from urllib.parse import parse_qsl, unquote, urlsplit

PartT = TypeVar("PartT")
CONTROL = "/_double/"
"""Where a double is told what to do: no fault strikes there, and nothing is recorded."""


@dataclass
class Request:
    """One request: header names in lower case, ``body`` is its JSON (None where there is none), ``raw`` its bytes."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    raw: bytes = b""
    body: Any = None
    params: dict[str, str] = field(default_factory=dict)


@dataclass
class Reply:
    """What goes back: ``body`` as JSON, or ``raw`` as it is."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    content_type: str = "application/json"


class Stop(Exception):  # noqa: N818 - it is an answer, not an error of the double
    """Answers at once with ``reply``."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


@dataclass
class Fault:
    """Something that goes wrong for the next ``times`` requests that match, after ``after`` that do not.

    Kinds: ``status`` (an error in the API's own form), ``page`` (HTML of an edge in front), ``cut`` (the connection
    ends before the request is carried out), ``lost`` (it is carried out and the answer cut half-way), ``slow`` (it is
    answered after ``seconds``).
    """

    kind: str
    method: str = ".*"
    path: str = ".*"
    times: int = 1
    after: int = 0
    status: int = 503
    seconds: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)

    def strikes(self, request: Request) -> bool:
        """Whether this request is one that fails; counts it."""
        if self.times <= 0 or not re.fullmatch(self.method, request.method) or not re.search(self.path, request.path):
            return False
        if self.after > 0:
            self.after -= 1
            return False
        self.times -= 1
        return True


@dataclass(frozen=True)
class Seen:
    """One line of the record: what was asked, with which body, and the status of the answer (0: cut)."""

    method: str
    path: str
    query: Mapping[str, str]
    body: Any
    status: int


Handler = Callable[[Any, Request], Any]


@dataclass(frozen=True)
class Route:
    """A handler and what it answers to; ``needs`` is for the double's ``admit``."""

    method: str
    path: str
    pattern: re.Pattern[str]
    handler: Handler
    needs: str


class Routes:
    """The routes of one part of a double."""

    def __init__(self) -> None:
        self.all: list[Route] = []

    def on(self, method: str, path: str, needs: str = "") -> Callable[[Handler], Handler]:
        """Register a handler; ``{name}`` in ``path`` is one segment, ``{name+}`` the rest of the path."""
        pattern = re.sub(r"\\\{(\w+)\\\+\\\}", r"(?P<\1>.+)", re.escape(path))
        pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", pattern)

        def register(handler: Handler) -> Handler:
            self.all.append(Route(method, path, re.compile(pattern), handler, needs))
            return handler

        return register


_control = Routes()


@_control.on("GET", f"{CONTROL}log")
def _log(double: WebDouble, _request: Request) -> list[dict[str, Any]]:
    return [asdict(seen) for seen in double.log]


@_control.on("DELETE", f"{CONTROL}log")
def _forget(double: WebDouble, _request: Request) -> dict[str, Any]:
    double.log.clear()
    return {}


@_control.on("POST", f"{CONTROL}faults")
def _fault(double: WebDouble, request: Request) -> dict[str, Any]:
    """The fields of :class:`Fault`."""
    double.faults.append(Fault(**request.body))
    return {}


@_control.on("DELETE", f"{CONTROL}faults")
def _heal(double: WebDouble, _request: Request) -> dict[str, Any]:
    double.faults.clear()
    return {}


class WebDouble:
    """A stateful stand-in for one web API, on a port of this machine while :meth:`running`.

    Every double can be asked for its record and told of faults below ``CONTROL``, where nobody has to log in.
    """

    def __init__(self, *parts: Routes, clock: Callable[[], float] = time.time) -> None:
        self.routes = [route for part in (_control, *parts) for route in part.all]
        self.clock = clock
        self.faults: list[Fault] = []
        self.log: list[Seen] = []
        self.lock = threading.RLock()
        self._parts: dict[type, Any] = {}
        self.url = ""

    def part(self, kind: type[PartT]) -> PartT:
        """The state of one part, made at its first use."""
        if kind not in self._parts:
            self._parts[kind] = kind()
        return cast(PartT, self._parts[kind])

    def admit(self, request: Request, route: Route) -> None:
        """Raise :class:`Stop` where this request may not be carried out."""

    def wrap(self, result: Any) -> Reply:
        """What a handler answered that is no :class:`Reply`."""
        return Reply(200, result)

    def dress(self, reply: Reply) -> Reply:
        """Give a reply the form of the API."""
        return reply

    def unknown(self, request: Request) -> Reply:
        """What is answered where no route fits."""
        return Reply(404, {"message": f"no route for {request.path}"})

    def broken(self, status: int) -> Reply:
        """The body of a fault of kind ``status``."""
        return Reply(status, {"message": HTTPStatus(status).phrase if status in list(HTTPStatus) else "failed"})

    def writes(self) -> list[Seen]:
        """What was asked for other than to read."""
        return [seen for seen in self.log if seen.method not in ("GET", "HEAD")]

    def handle(self, request: Request) -> Reply:
        """Answer one request."""
        try:
            for route in self.routes:
                found = route.pattern.fullmatch(request.path)
                if found and route.method == request.method:
                    request.params = {key: unquote(value) for key, value in found.groupdict().items()}
                    if not request.path.startswith(CONTROL):
                        self.admit(request, route)
                    result = route.handler(self, request)
                    return self.dress(result if isinstance(result, Reply) else self.wrap(result))
            return self.dress(self.unknown(request))
        except Stop as stop:
            return self.dress(stop.reply)

    def serve(self, request: Request) -> tuple[Reply | None, int]:
        """(the reply, how many bytes of it are sent: -1 for all); no reply where the connection is cut."""
        if request.path.startswith(CONTROL):
            with self.lock:
                return self.handle(request), -1
        with self.lock:
            fault = next((each for each in self.faults if each.strikes(request)), None)
        if fault and fault.kind == "slow":
            threading.Event().wait(fault.seconds)
        with self.lock:
            reply: Reply | None
            if fault and fault.kind == "cut":
                reply = None
            elif fault and fault.kind == "page":
                page = b"<html><body><h1>Error 5xx</h1>cloud-edge</body></html>"
                reply = Reply(fault.status, raw=page, content_type="text/html; charset=UTF-8", headers=fault.headers)
            elif fault and fault.kind == "status":
                reply = self.dress(self.broken(fault.status))
                reply.headers |= fault.headers
            else:
                reply = self.handle(request)
            lost = fault is not None and fault.kind == "lost"
            status = 0 if reply is None or lost else reply.status
            self.log.append(Seen(request.method, request.path, request.query, request.body, status))
        return reply, 1 if lost else -1

    @contextmanager
    def running(self, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None) -> Iterator[str]:
        """Serve while the block runs, over TLS where its context is given; gives the URL."""
        server = _Server((host, port), _handler_for(self))
        if tls is not None:
            # The handshake belongs to the thread of its connection: one that hangs must not keep others out.
            server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        self.url = f"{'https' if tls else 'http'}://{host}:{server.server_address[1]}"
        try:
            yield self.url
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is no news; anything else is shown."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def _handler_for(double: WebDouble) -> type[http.server.BaseHTTPRequestHandler]:
    class Answers(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30

        def _any(self) -> None:
            parts = urlsplit(self.path)
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            request = Request(
                self.command,
                parts.path,
                dict(parse_qsl(parts.query, keep_blank_values=True)),
                {key.lower(): value for key, value in self.headers.items()},
                raw,
                _json(raw),
            )
            reply, part = double.serve(request)
            if reply is None:
                self._cut()
                return
            body = reply.raw if reply.raw is not None else json.dumps(reply.body).encode()
            if reply.status in (204, 304):
                body = b""
            self.send_response(reply.status)
            # An answer to HEAD may speak of a body that it does not have.
            always = {"Content-Type": reply.content_type, "Content-Length": str(len(body))}
            for name, value in {**always, **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body if part < 0 and self.command != "HEAD" else body[: max(part, 0)])
            if part >= 0:
                self._cut()

        def _cut(self) -> None:
            self.close_connection = True
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)

        def log_message(self, *args: Any) -> None:
            """Says nothing: the double keeps its own record."""

    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
        setattr(Answers, f"do_{method}", Answers._any)
    return Answers


def _json(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return None


def page_of(
    items: Sequence[Any], query: Mapping[str, str], default: int, most: int
) -> tuple[list[Any], dict[str, int]]:
    """(one page of ``items``, its numbers as most APIs give them)."""
    page = max(1, int(query.get("page", 1)))
    size = min(most, max(1, int(query.get("per_page", default))))
    part = list(items[(page - 1) * size : page * size])
    pages = -(-len(items) // size)
    numbers = {"page": page, "per_page": size, "count": len(part), "total_count": len(items), "total_pages": pages}
    return part, numbers
