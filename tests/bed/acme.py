"""A certificate authority, the DNS it asks and the Cloudflare that fills it, for hosts that get certificates by DNS-01.

Real is Pebble (the small ACME server of Let's Encrypt) and every byte between it, Caddy and the DNS; the double of
Cloudflare's API is what publishes the records. All of it runs on this machine, on the gateway of the bed's network and
ports of its own, so that two checkouts never meet, and lasts as long as the block::

    with acme.world("sapflux.test", token="...") as world:
        world.introduce("web")       # its CA, and api.cloudflare.com leads to the double
        world.directory              # what Caddy is told to use
        world.authority.mode = "limited"
"""

from __future__ import annotations

import http.client
import http.server
import json
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import urllib.request
from calendar import timegm
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.doubles.cloudflare import Cloudflare, cloudflare
from tests.doubles.cloudflare.dns import records_of
from tests.doubles.cloudflare.zones import Zones, add_zone
from tests.doubles.dns import DnsServer, Record

from . import hosts, pki
from .artifacts import artifact
from .shell import wait_for

NAME = "acme.sapflux.test"
CLOUDFLARE = "api.cloudflare.com"
# An address nobody has, so that a redirection of it can harm nothing.
ELSEWHERE = "203.0.113.80"
GATEWAY = f"{hosts.PREFIX}.0.1"
LIMITED = {
    "type": "urn:ietf:params:acme:error:rateLimited",
    "detail": "too many certificates already issued for this exact set of identifiers in the last 168h0m0s",
    "status": 429,
}
# systemd hands a service its credentials through a mount that must spread from one namespace to another, as on a real
# machine; Docker's are private.
INTRODUCE = """\
mount --make-rshared /
cat >/usr/local/share/ca-certificates/bed-acme.crt
update-ca-certificates >/dev/null 2>&1
systemctl try-restart caddy 2>/dev/null || true
command -v nft >/dev/null || apt-get install -qq -y nftables >/dev/null 2>&1
sed -e '/# bed-acme$/d' /etc/hosts >/run/hosts.new
echo '{elsewhere} {cloudflare} # bed-acme' >>/run/hosts.new
echo '{gateway} {name} # bed-acme' >>/run/hosts.new
cat /run/hosts.new >/etc/hosts
nft -f - <<'end'
table ip bed-acme
delete table ip bed-acme
table ip bed-acme {{
    chain out {{
        type nat hook output priority -100
        ip daddr {elsewhere} tcp dport 443 dnat to {gateway}:{port}
    }}
}}
end
"""


class Front:
    """TLS in front of an HTTP server; ``mode``: ``pass``, ``limited`` (429 to whoever wants to order), ``down``."""

    def __init__(self, target: str, context: ssl.SSLContext, trust: ssl.SSLContext) -> None:
        self.target = urlsplit(target)
        self.context, self.trust = context, trust
        self.mode = "pass"
        self.refused = 0
        self.port = 0

    def forward(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        """Pass one request on and its answer back."""
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        if self.mode == "down" or (self.mode == "limited" and handler.path.startswith(("/order", "/sign-me-up"))):
            self.refused += 1
        if self.mode == "down":
            handler.close_connection = True
            return
        status, headers, answer = self._ask(handler, body)
        if self.mode == "limited" and handler.path.startswith("/order"):
            status, answer = 429, json.dumps(LIMITED).encode()
            headers["Content-Type"] = "application/problem+json"
        handler.send_response(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(answer)))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(answer)

    def _ask(self, handler: http.server.BaseHTTPRequestHandler, body: bytes) -> tuple[int, dict[str, str], bytes]:
        where = (str(self.target.hostname), self.target.port)
        connection: http.client.HTTPConnection = http.client.HTTPConnection(*where, timeout=60)
        if self.target.scheme == "https":
            connection = http.client.HTTPSConnection(*where, timeout=60, context=self.trust)
        # The name stays that of the front: an ACME server builds its links from it.
        connection.request(handler.command, handler.path, body or None, dict(handler.headers))
        reply = connection.getresponse()
        found = (reply.status, dict(reply.getheaders()), reply.read())
        connection.close()
        return found

    @contextmanager
    def running(self) -> Iterator[int]:
        """Serve while the block runs; gives the port."""
        server = http.server.ThreadingHTTPServer((GATEWAY, 0), _handler_for(self))
        server.daemon_threads = True
        server.socket = self.context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = int(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield self.port
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


def _handler_for(front: Front) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 60

        def _any(self) -> None:
            front.forward(self)

        def log_message(self, *_args: Any) -> None:
            """Says nothing."""

    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"):
        setattr(Handler, f"do_{method}", Handler._any)
    return Handler


@dataclass
class World:
    """All of it: ``authority`` and ``edge`` are what stands in front of Pebble and of ``cloud``."""

    zone: str
    ca: str
    cloud: Cloudflare
    dns: DnsServer
    authority: Front
    edge: Front
    api: str = ""
    management: str = ""
    hosts: list[str] = field(default_factory=list)

    @property
    def directory(self) -> str:
        """URL of the ACME directory."""
        return f"https://{NAME}:{self.authority.port}/dir"

    @property
    def resolver(self) -> str:
        """host:port of the DNS server."""
        return f"{GATEWAY}:{self.dns.port}"

    def root(self) -> str:
        """The root certificate of what Pebble issues, PEM."""
        with urllib.request.urlopen(f"{self.management}/roots/0", timeout=30, context=self.edge.trust) as answer:
            return str(answer.read().decode())

    def introduce(self, host: str) -> None:
        """Let a host trust this CA, and find Cloudflare's API and the ACME server here."""
        script = INTRODUCE.format(
            elsewhere=ELSEWHERE, cloudflare=CLOUDFLARE, gateway=GATEWAY, name=NAME, port=self.edge.port
        )
        hosts.execute(host, script, stdin=self.ca.encode())


def records(cloud: Cloudflare, zone: str) -> list[Record]:
    """What the double of Cloudflare holds of a zone, as the DNS server shows it."""
    ids = [key for key, each in cloud.part(Zones).by_id.items() if each["name"] == zone]
    with cloud.lock:
        found = [each for key in ids for each in records_of(cloud, key).values()]
    return [Record(each["name"], each["type"], each["content"], cloud.clock() - _moment(each)) for each in found]


def _moment(record: dict[str, Any]) -> int:
    return timegm(time.strptime(record["created_on"], "%Y-%m-%dT%H:%M:%SZ"))


def _configuration(folder: Path) -> dict[str, Any]:
    return {
        "pebble": {
            "listenAddress": f"{GATEWAY}:0",
            "managementListenAddress": f"{GATEWAY}:0",
            "certificate": str(folder / "tls.crt"),
            "privateKey": str(folder / "tls.key"),
            "httpPort": 80,
            "tlsPort": 443,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": False,
            "domainBlocklist": [],
            "retryAfter": {"authz": 1, "order": 1},
            "keyAlgorithm": "ecdsa",
            "profiles": {
                "default": {"description": "as in life", "validityPeriod": 7_776_000},
                "short": {"description": "to be renewed while one looks on", "validityPeriod": 60},
            },
        }
    }


def _free_port() -> int:
    with socket.create_server((GATEWAY, 0)) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def _pebble(folder: Path, dns: str, trust: ssl.SSLContext) -> Iterator[tuple[str, str]]:
    """(URL of the ACME server, URL of its management)."""
    configuration = _configuration(folder)
    acme, management = _free_port(), _free_port()
    configuration["pebble"]["listenAddress"] = f"{GATEWAY}:{acme}"
    configuration["pebble"]["managementListenAddress"] = f"{GATEWAY}:{management}"
    (folder / "pebble.json").write_text(json.dumps(configuration))
    command = [str(artifact("pebble").path), "-config", str(folder / "pebble.json"), "-dnsserver", dns]
    environment = {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_AUTHZREUSE": "0"}
    with (folder / "pebble.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
        try:
            wait_for(f"an answer of Pebble ({folder})", lambda: _answers(f"https://{GATEWAY}:{acme}/dir", trust), 60)
            yield f"https://{GATEWAY}:{acme}", f"https://{GATEWAY}:{management}"
        finally:
            process.terminate()
            process.wait(30)


def _answers(url: str, trust: ssl.SSLContext) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=3, context=trust) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@contextmanager
def world(zone: str, token: str, groups: tuple[str, ...] = ("Zone Read", "DNS Write")) -> Iterator[World]:
    """Start everything, with one zone and one token that holds these permission groups."""
    cloud = cloudflare()
    add_zone(cloud, zone)
    cloud.add_token(token, *groups)
    dns = DnsServer([zone], lambda name: records(cloud, name))
    issued = pki.issue("bed acme", [NAME, CLOUDFLARE], [GATEWAY])
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sapflux-acme-")))
        (folder / "tls.crt").write_text(issued.certificate)
        (folder / "tls.key").write_text(issued.key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
        trust = ssl.create_default_context(cadata=issued.ca)
        stack.enter_context(dns.running(GATEWAY))
        api = stack.enter_context(cloud.running())
        acme, management = stack.enter_context(_pebble(folder, f"{GATEWAY}:{dns.port}", trust))
        authority, edge = Front(acme, context, trust), Front(api, context, trust)
        stack.enter_context(authority.running())
        stack.enter_context(edge.running())
        yield World(zone, issued.ca, cloud, dns, authority, edge, f"{api}/client/v4", management)
