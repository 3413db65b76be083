"""The server of the role caddy, as a client on this machine meets it."""

from __future__ import annotations

import http.client
import json
import shlex
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from testinfra.host import Host

from tests.bed import acme
from tests.scenario import Applied, apply

ZONE = "sapflux.test"
TOKEN = "dns-token-marker-0123456789-abcdefghijkl"
ORIGIN_TOKEN = "origin-token-marker-0123456789-abcdefghi"
STORAGE = "/var/lib/caddy/.local/share/caddy"


#: Asks the server from the host itself: name, path, address it speaks from, headers as JSON. Prints status and body.
INSIDE = """
import http.client, json, socket, ssl, sys
name, path, source, headers = sys.argv[1:]
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
connection = http.client.HTTPConnection(name, timeout=20)
plain = socket.create_connection(("127.0.0.1", 443), 20, (source, 0))
connection.sock = context.wrap_socket(plain, server_hostname=name)
connection.request("GET", path, headers=json.loads(headers))
answer = connection.getresponse()
print(answer.status, answer.read().decode())
"""


@dataclass(frozen=True)
class Reply:
    """An HTTP answer; header names in lower case, values of one that came twice joined by a comma."""

    status: int
    headers: dict[str, str]
    body: bytes


class Client:
    """Sends requests from this machine to the host's port 443, trusting the host's own authority alone."""

    def __init__(self, host: Host) -> None:
        said = host.check_output(f"hostname -I; cat {STORAGE}/pki/authorities/local/root.crt")
        addresses, _, root = said.partition("\n")
        self.address = addresses.split()[0]
        self.context = ssl.create_default_context(cadata=root)

    def trust(self, root: str | None) -> None:
        """Trust another authority (PEM) alone, or with None whatever is shown."""
        self.context = ssl.create_default_context(cadata=root)
        if root is None:
            self.context.check_hostname, self.context.verify_mode = False, ssl.CERT_NONE

    def connect(
        self, name: str | None, alpn: list[str] | None = None, context: ssl.SSLContext | None = None
    ) -> ssl.SSLSocket:
        """A TLS session for a server name; None sends no name and checks none."""
        context = context or self.context
        if name is None or alpn:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            context.set_alpn_protocols(alpn or ["http/1.1"])
        return context.wrap_socket(socket.create_connection((self.address, 443), 20), server_hostname=name)

    def ask(self, name: str, path: str, method: str = "GET", body: bytes = b"", **headers: str) -> Reply:
        """One request; `headers` with underscores for dashes, `Host` may differ from `name`."""
        connection = http.client.HTTPConnection(name, timeout=20)
        connection.sock = self.connect(name)
        sent = {key.replace("_", "-"): value for key, value in headers.items()}
        connection.request(method, path, body, {"Host": name, **sent})
        answer = connection.getresponse()
        found: dict[str, str] = {}
        for key, value in answer.getheaders():
            found[key.lower()] = f"{found[key.lower()]}, {value}" if key.lower() in found else value
        reply = Reply(answer.status, found, answer.read())
        connection.close()
        return reply

    def announce(self, name: str, path: str, size: int) -> int:
        """Status of a POST that announces a body and sends none of it."""
        connection = http.client.HTTPConnection(name, timeout=20)
        connection.sock = self.connect(name)
        connection.putrequest("POST", path)
        connection.putheader("Content-Length", str(size))
        connection.endheaders()
        status = connection.getresponse().status
        connection.close()
        return status

    def steady(self, name: str) -> Callable[[], list[str]]:
        """Ask a site again and again in the background; the returned function stops that and lists what went wrong.

        A connection that is closed before its first answer began is tried once more, as browsers and proxies do: a
        server that is being reloaded closes connections on which it has not read a request yet.
        """
        failures: list[str] = []
        asked: list[int] = []
        over = threading.Event()

        def again(name: str) -> int:
            try:
                return self.ask(name, "/steady").status
            except http.client.RemoteDisconnected:
                return self.ask(name, "/steady").status

        def loop() -> None:
            while not over.is_set():
                try:
                    status = again(name)
                    asked.append(status)
                    if status != 200:
                        failures.append(str(status))
                except OSError as error:
                    failures.append(str(error))
                time.sleep(0.05)

        thread = threading.Thread(target=loop)
        thread.start()

        def stop() -> list[str]:
            over.set()
            thread.join()
            assert len(asked) > 5
            return failures

        return stop


def pid(host: Host) -> str:
    return str(host.check_output("systemctl show -P MainPID caddy.service"))


def inside(host: Host, name: str, path: str, source: str = "127.0.0.1", **headers: str) -> tuple[int, str]:
    """(status, body) of a request that the host sends itself, from one of its loopback addresses."""
    sent = json.dumps({key.replace("_", "-"): value for key, value in headers.items()})
    said = host.check_output(f"python3 -c {shlex.quote(INSIDE)} {name} {path} {source} {shlex.quote(sent)}")
    status, _, body = said.partition(" ")
    return int(status), body


def wanted(world: acme.World, **changes: Any) -> dict[str, Any]:
    """Variables of the role for this world."""
    return {
        "caddy_tls_mode": "dns01",
        "caddy_acme_ca": world.directory,
        "caddy_acme_ca_root": world.ca,
        # Pebble deals out profiles at random to whoever names none, the one of a minute among them.
        "caddy_acme_profile": "default",
        "caddy_cloudflare_token": TOKEN,
        "caddy_dns_resolvers": [world.resolver],
        "caddy_dns_propagation_delay": 0,
        "caddy_zone": ZONE,
        "caddy_origin_token": ORIGIN_TOKEN,
        "caddy_issue_budget": 120,
        **changes,
    }


def reach(world: acme.World, **changes: Any) -> Applied:
    """Apply the role with the API of the double for what runs on this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLOUDFLARE_BASE_URL", world.api)
        return apply(wanted(world, **changes))
