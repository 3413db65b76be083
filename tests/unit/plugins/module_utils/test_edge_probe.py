"""Looking from outside: real sockets and real TLS on the loopback interface."""

from __future__ import annotations

import datetime
import http.server
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.sapflux.hosting.plugins.module_utils import _edge_probe
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NAME = "api.example.test"


class Handler(http.server.BaseHTTPRequestHandler):
    """200 for /health, 404 for everything else."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Stay quiet."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, str]]:
    """A TLS server for NAME; (port, its CA as PEM)."""
    folder: Path = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test CA")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    both = folder / "both.pem"
    both.write_bytes(
        pem
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.socket = context.wrap_socket(httpd.socket, server_side=True)
    thread = threading.Thread(target=httpd.serve_forever)
    thread.start()
    yield httpd.server_address[1], pem.decode()
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def ask(server: tuple[int, str], path: str, status: int, name: str = NAME, ca: str | None = None) -> str:
    port, pem = server
    return _edge_probe.ask(_edge_probe.Route(name, path, status), "127.0.0.1", pem if ca is None else ca, port)


def test_the_expected_answer_is_no_problem(server: tuple[int, str]) -> None:
    assert ask(server, "/health", 200) == ""
    assert ask(server, "/admin/migrate", 404) == ""


def test_another_answer_is_named(server: tuple[int, str]) -> None:
    assert ask(server, "/health", 404) == f"https://{NAME}/health answers 200, it must answer 404"


def test_a_certificate_for_another_name_is_a_problem(server: tuple[int, str]) -> None:
    assert "does not verify" in ask(server, "/health", 200, name="other.example.test")


def test_an_unknown_ca_is_a_problem(server: tuple[int, str]) -> None:
    assert "does not verify" in ask(server, "/health", 200, ca="")


def test_nobody_there_is_a_problem() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    found = _edge_probe.ask(_edge_probe.Route(NAME, "/health", 200), "127.0.0.1", "", port)
    assert "does not answer at 127.0.0.1" in found


def test_ports_that_must_be_closed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as open_one, socket.socket() as closed_one:
        closed_one.bind(("127.0.0.1", 0))
        opened, closed = open_one.getsockname()[1], closed_one.getsockname()[1]
        found = _edge_probe.look("127.0.0.1", "", [], [opened, closed])
    assert len(found) == 1
    assert f"port {opened} of 127.0.0.1 answers from outside" in found[0]
