"""The engine's answers over a real socket, and log streams taken apart."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from ansible_collections.sapflux.hosting.plugins.module_utils._docker_api import DockerAPI, DockerError, demultiplex

REPLIES: dict[str, tuple[int, bytes]] = {
    "/containers/json": (200, b'[{"Id": "abc"}]'),
    "/containers/abc/json": (200, b'{"Id": "abc", "RestartCount": 2}'),
    "/containers/abc/logs": (200, b"\1\0\0\0\0\0\0\4one\n\2\0\0\0\0\0\0\4two\n"),
    "/images/r.example:5000/x@sha256:aa/json": (200, b"{}"),
    "/images/r.example:5000/x@sha256:bb/json": (404, b'{"message": "No such image"}'),
    "/images/r.example:5000/x@sha256:cc/json": (500, b'{"message": "disk full"}'),
}


class Handler(BaseHTTPRequestHandler):
    """Answers from REPLIES, 409 to anything else, and notes what it was asked."""

    def do_GET(self) -> None:
        server: Any = self.server
        parts = urlsplit(self.path)
        server.queries.append(parse_qs(parts.query))
        status, body = REPLIES.get(parts.path, (409, b"not json"))
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "socket"

    def log_message(self, *_args: Any) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[tuple[DockerAPI, Any]]:
    path = tmp_path / "docker.sock"
    with socketserver.ThreadingUnixStreamServer(str(path), Handler) as server:
        server.queries = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield DockerAPI(str(path), timeout=5), server
        server.shutdown()
        thread.join()


def test_containers_of_a_project(engine: tuple[DockerAPI, Any]) -> None:
    api, server = engine
    assert api.containers("shop") == [{"Id": "abc"}]
    (query,) = server.queries
    assert query["all"] == ["1"]
    assert json.loads(query["filters"][0]) == {
        "label": ["com.docker.compose.project=shop", "com.docker.compose.oneoff=False"]
    }


def test_one_container_and_its_log(engine: tuple[DockerAPI, Any]) -> None:
    api, server = engine
    assert api.inspect("abc")["RestartCount"] == 2
    assert api.logs("abc", 7) == "one\ntwo\n"
    assert server.queries[-1]["tail"] == ["7"]


def test_images(engine: tuple[DockerAPI, Any]) -> None:
    api, _server = engine
    assert api.has_image("r.example:5000/x@sha256:aa")
    assert not api.has_image("r.example:5000/x@sha256:bb")
    with pytest.raises(DockerError, match="with 500: disk full"):
        api.has_image("r.example:5000/x@sha256:cc")


def test_a_refusal_is_named(engine: tuple[DockerAPI, Any]) -> None:
    api, _server = engine
    with pytest.raises(DockerError, match="Docker refused /containers/nobody/json with 409: not json"):
        api.inspect("nobody")
    assert api.logs("nobody") == ""


def test_an_engine_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DockerError, match=r"does not answer at .*docker\.sock .*systemctl status docker"):
        DockerAPI(str(tmp_path / "docker.sock")).containers("shop")


@pytest.mark.parametrize(
    ("stream", "text"),
    [
        (b"", b""),
        (b"\1\0\0\0\0\0\0\3abc", b"abc"),
        (b"\1\0\0\0\0\0\0\1a\2\0\0\0\0\0\0\1b", b"ab"),
        (b"plain text of a terminal\n", b"plain text of a terminal\n"),
        (b"\1\0\0\0\0\0\0\3abc\1\0\0", b"abc"),
    ],
)
def test_log_streams(stream: bytes, text: bytes) -> None:
    assert demultiplex(stream) == text
