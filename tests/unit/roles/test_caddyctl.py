"""caddyctl: what it asks of the admin socket, and how it says no."""

from __future__ import annotations

import importlib.util
import json
import socket
import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SOURCE = Path(__file__).resolve().parents[3] / "roles" / "caddy" / "files" / "caddyctl.py"
ROUTE = {"match": [{"host": ["api.example.org"]}], "handle": []}


def load() -> ModuleType:
    """The program as a module."""
    spec = importlib.util.spec_from_file_location("caddyctl", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


caddyctl = load()


class Handler(BaseHTTPRequestHandler):
    """Answers every question with the server's `reply`: (status, body)."""

    def do_GET(self) -> None:
        server: Any = self.server
        status, body = server.reply if self.path == "/config/apps/http/servers" else (404, b"")
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "socket"

    def log_message(self, *_args: Any) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def admin(tmp_path: Path) -> Iterator[Any]:
    path = tmp_path / "admin.sock"
    with socketserver.ThreadingUnixStreamServer(str(path), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def probe(admin: Any, *hostnames: str) -> int:
    return int(caddyctl.main(["probe", "--socket", str(admin.server_address), "--ca", "/nowhere", *hostnames]))


@pytest.mark.parametrize("body", [b"null", b"{}", json.dumps({"srv0": {"routes": [ROUTE]}}).encode()])
def test_without_host_names_an_answer_is_enough(admin: Any, body: bytes) -> None:
    admin.reply = (200, body)
    assert probe(admin) == 0


def test_the_hosts_of_all_servers_are_known(admin: Any) -> None:
    other = {"routes": [{"match": [{"host": ["www.example.org"]}, {"path": ["/x"]}]}, {"handle": []}]}
    admin.reply = (200, json.dumps({"srv0": {"routes": [ROUTE]}, "srv1": other}).encode())
    assert caddyctl.served_hosts(str(admin.server_address)) == {"api.example.org", "www.example.org"}


def test_a_host_name_that_is_not_served_is_named(admin: Any, capsys: pytest.CaptureFixture[str]) -> None:
    admin.reply = (200, json.dumps({"srv0": {"routes": [ROUTE]}}).encode())
    assert probe(admin, "api.example.org", "new.example.org") == 1
    assert capsys.readouterr().err == "caddyctl: the running server does not know new.example.org\n"


def test_an_unhappy_admin_socket(admin: Any, capsys: pytest.CaptureFixture[str]) -> None:
    admin.reply = (500, b"")
    assert probe(admin) == 1
    assert "answers 500" in capsys.readouterr().err


def test_no_admin_socket(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert caddyctl.main(["probe", "--socket", str(tmp_path / "admin.sock"), "--ca", "/nowhere"]) == 1
    assert "does not answer" in capsys.readouterr().err


def test_a_port_without_tls_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        authority = tmp_path / "ca.pem"
        authority.write_text("no certificate")
        with pytest.raises(caddyctl.ProbeError, match=r"https://api\.example\.org:\d+ does not answer"):
            caddyctl.probe_host("api.example.org", str(authority), [], server.getsockname()[1])
