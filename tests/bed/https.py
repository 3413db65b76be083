"""HTTPS requests to a test host by its public name, which no DNS knows, trusting only the CA that is given."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from dataclasses import dataclass
from typing import Any


class _Pinned(http.client.HTTPSConnection):
    """Connects to a fixed address while the TLS handshake and the Host header carry the name."""

    def __init__(self, name: str, address: str, context: ssl.SSLContext) -> None:
        super().__init__(name, 443, context=context, timeout=30)
        self._address, self._tls = address, context

    def connect(self) -> None:
        plain = socket.create_connection((self._address, self.port), timeout=self.timeout)
        self.sock = self._tls.wrap_socket(plain, server_hostname=self.host)


@dataclass(frozen=True)
class Answer:
    """An HTTP answer: status, headers (names in lower case) and body."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


def request(address: str, name: str, path: str, ca: str, *, method: str = "GET", body: Any = None) -> Answer:
    """Ask `https://<name><path>` at `address`; `ca` is a PEM bundle; `body` is sent as JSON.

    Raises ssl.SSLError when the certificate does not chain to `ca` or does not carry the name, OSError when nobody
    answers.
    """
    connection = _Pinned(name, address, ssl.create_default_context(cadata=ca))
    try:
        payload = None if body is None else json.dumps(body)
        connection.request(method, path, payload, {"Content-Type": "application/json"} if payload else {})
        answer = connection.getresponse()
        return Answer(answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read())
    finally:
        connection.close()
