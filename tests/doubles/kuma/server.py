"""Serves the double: Socket.IO by long polling, and the addresses for machines, on one port."""

from __future__ import annotations

import json
import socketserver
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import socketio

from tests.doubles.kuma import events, probes
from tests.doubles.kuma.core import Kuma, Object

Start = Callable[[str, list[tuple[str, str]]], Any]


class _Listening(socketio.Server):  # type: ignore[misc]
    """Drops what comes before the server listens, and does not acknowledge what nobody listens to, as the real one."""

    double: Double

    def _handle_event(self, eio_sid: str, namespace: str, id: Any, data: list[Any]) -> None:  # noqa: A002
        session = self.double.sessions.get(self.manager.sid_from_eio_sid(eio_sid, namespace or "/"))
        if session is None or not session.listening or data[0] not in events.HANDLERS:
            self.double.lost.append(str(data[0]))
            return
        super()._handle_event(eio_sid, namespace, id, data)


@dataclass
class _Session:
    double: Double
    sid: str
    user: bool = False
    listening: bool = False

    def emit(self, event: str, *arguments: Any) -> None:
        self.double.io.emit(event, arguments, to=self.sid)


class Double:
    """A server on a port of this machine while :meth:`running`. ``lost`` names the events that came too early."""

    def __init__(self, kuma: Kuma | None = None) -> None:
        self.kuma = kuma or Kuma()
        self.io = _Listening(async_mode="threading", transports=["polling"], cors_allowed_origins=[])
        self.io.double = self
        self.sessions: dict[str, _Session] = {}
        self.lost: list[str] = []
        self.url = ""
        self.stopped = threading.Event()
        self.io.on("connect", self._connect)
        self.io.on("disconnect", self._disconnect)
        self.io.on("*", self._any)

    def _connect(self, sid: str, _environ: Object) -> None:
        self.sessions[sid] = _Session(self, sid)
        self.io.start_background_task(self._greet, sid)

    def _greet(self, sid: str) -> None:
        """The race: the greeting waits for the database, and only after it the server listens."""
        self.stopped.wait(self.kuma.info_delay)
        session = self.sessions.get(sid)
        if session is not None:
            session.listening = True
            session.emit("info", {"primaryBaseURL": self.kuma.settings["primaryBaseURL"], "serverTimezone": "UTC"})
            session.emit("loginRequired" if self.kuma.user else "setup")

    def _disconnect(self, sid: str, *_reason: Any) -> None:
        self.sessions.pop(sid, None)

    def _any(self, event: str, sid: str, *arguments: Any) -> Any:
        session = self.sessions[sid]
        with self.kuma.lock:
            if event not in events.READS:
                self.kuma.log.append((event, arguments))
            return events.answer(self.kuma, session, event, list(arguments))

    def writes(self) -> list[str]:
        """The names of the events that change something, oldest first."""
        return [name for name, _arguments in self.kuma.log]

    def _beat(self) -> None:
        """Beats of all that is active, each at its interval."""
        due: dict[int, float] = {}
        while not self.stopped.wait(0.1):
            with self.kuma.lock:
                active = [dict(one) for one in self.kuma.data["monitors"].values() if one["active"]]
            for one in active:
                if time.monotonic() >= due.get(one["id"], 0):
                    due[one["id"]] = time.monotonic() + float(one["interval"])
                    self._send(probes.beat(self.kuma, one))

    def _send(self, made: Object) -> None:
        for session in list(self.sessions.values()):
            if session.user:
                session.emit("heartbeat", made)

    def _page(self, environ: Object, start: Start) -> Iterable[bytes]:
        status, body = self._machine(environ["PATH_INFO"], environ.get("QUERY_STRING", ""))
        start(status, [("Content-Type", "application/json")])
        return [json.dumps(body).encode()]

    def _machine(self, path: str, query: str) -> tuple[str, Any]:
        kuma = self.kuma
        if path == "/api/entry-page":
            wizard = kuma.database != "sqlite"
            return "200 OK", {"type": "setup-database"} if wizard else {"type": "entryPage", "entryPage": None}
        if path.startswith("/api/push/"):
            return self._push(path.removeprefix("/api/push/"), parse_qs(query))
        if path.startswith("/api/status-page/"):
            with kuma.lock:
                page = kuma.data["pages"].get(path.removeprefix("/api/status-page/"))
                if page is not None:
                    return "200 OK", {"config": events.page(page), "publicGroupList": page["groups"]}
        if path == "/_double/state":
            with kuma.lock:
                return "200 OK", {"data": kuma.data, "settings": kuma.settings, "beats": kuma.beats, "told": kuma.told}
        return "404 Not Found", {"ok": False, "msg": "Not Found"}

    def _push(self, token: str, query: dict[str, list[str]]) -> tuple[str, Any]:
        with self.kuma.lock:
            named = [one for one in self.kuma.data["monitors"].values() if one["pushToken"] == token and one["active"]]
            if not named:
                return "404 Not Found", {"ok": False, "msg": "Monitor not found or not active."}
            status, msg = query.get("status", ["up"])[0], query.get("msg", ["OK"])[0]
            self.kuma.pushed[token] = {"at": time.monotonic(), "status": status, "msg": msg}
            monitor = dict(named[0])
        self._send(probes.beat(self.kuma, monitor))
        return "200 OK", {"ok": True}

    @contextmanager
    def running(self, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
        """Serve while the block runs; gives the URL."""
        server = make_server(
            host, port, socketio.WSGIApp(self.io, self._page), server_class=_Threading, handler_class=_Quiet
        )
        threads = [
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True),
            threading.Thread(target=self._beat, daemon=True),
        ]
        for thread in threads:
            thread.start()
        self.url = f"http://{host}:{server.server_address[1]}"
        try:
            yield self.url
        finally:
            self.stopped.set()
            server.shutdown()
            server.server_close()


class _Threading(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128


class _Quiet(WSGIRequestHandler):
    disable_nagle_algorithm = True

    def log_message(self, *args: Any) -> None:
        """Says nothing."""
