#!/usr/bin/python3
"""Reload Caddy, and prove that it serves what it was told to serve.

`caddyctl reload` reloads the running server and does nothing when none runs.
`caddyctl probe --socket PATH --ca FILE [HOSTNAME ...]` succeeds when the admin socket answers and every host name gets
a certificate for that name, signed by the authority in FILE, and an HTTP answer of Caddy's own. It asks Caddy, not the
services behind it: they may be deployed later.
Exit code 0 = yes, 1 = no, with one line that says why.
"""

from __future__ import annotations

import argparse
import http.client
import json
import socket
import ssl
import subprocess
import sys
from collections.abc import Sequence

UNIT = "caddy.service"
TIMEOUT = 5.0
#: No site has this name, so with strict_sni_host Caddy itself answers 421 to it, whatever the services do.
NOBODY = "probe.invalid"


class ProbeError(Exception):
    """What is not as it should be."""


class AdminConnection(http.client.HTTPConnection):
    """HTTP over the admin socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT)
        self._path = path

    def connect(self) -> None:
        """Open the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def served_hosts(path: str) -> set[str]:
    """Host names the running server has routes for, asked over its admin socket; raises ProbeError."""
    connection = AdminConnection(path)
    try:
        connection.request("GET", "/config/apps/http/servers")
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise ProbeError(f"the admin socket {path} does not answer: {error}") from error
    finally:
        connection.close()
    if answer.status != 200:
        raise ProbeError(f"the admin socket {path} answers {answer.status}")
    servers = json.loads(body) or {}
    routes = [route for server in servers.values() for route in server.get("routes", [])]
    return {host for route in routes for match in route.get("match", []) for host in match.get("host", [])}


def probe_host(hostname: str, authority: str, port: int) -> None:
    """A verified TLS session for the host name and Caddy's own answer in it; raises ProbeError."""
    try:
        context = ssl.create_default_context(cafile=authority)
        with (
            socket.create_connection(("127.0.0.1", port), TIMEOUT) as plain,
            context.wrap_socket(plain, server_hostname=hostname) as secure,
        ):
            secure.sendall(f"GET / HTTP/1.1\r\nHost: {NOBODY}\r\nConnection: close\r\n\r\n".encode())
            answer = http.client.HTTPResponse(secure)
            answer.begin()
    except (OSError, http.client.HTTPException) as error:
        raise ProbeError(f"https://{hostname}:{port} does not answer: {error}") from error
    if answer.status != 421:
        raise ProbeError(f"https://{hostname}:{port} answers {answer.status} to a foreign host name instead of 421")


def probe(path: str, authority: str, hostnames: Sequence[str], port: int = 443) -> None:
    """Prove the admin socket and every host name; raises ProbeError for the first that is not as it should be."""
    missing = sorted(set(hostnames) - served_hosts(path))
    if missing:
        raise ProbeError(f"the running server does not know {', '.join(missing)}")
    for hostname in hostnames:
        probe_host(hostname, authority, port)


def reload() -> None:
    """Reload the unit when it runs; raises ProbeError with what the server logged when that fails."""
    done = subprocess.run(["systemctl", "try-reload-or-restart", UNIT], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        journal = ["journalctl", "--quiet", "--no-pager", "--output=cat", "--lines=15", f"--unit={UNIT}"]
        logged = subprocess.run(journal, capture_output=True, text=True, check=False).stdout
        raise ProbeError(f"{UNIT} cannot be reloaded: {done.stderr.strip()}\n{logged}")


def main(arguments: Sequence[str]) -> int:
    """Run one of the two commands."""
    parser = argparse.ArgumentParser(prog="caddyctl")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("reload")
    asked = commands.add_parser("probe")
    asked.add_argument("--socket", required=True)
    asked.add_argument("--ca", required=True)
    asked.add_argument("hostnames", nargs="*")
    given = parser.parse_args(arguments)
    try:
        if given.command == "reload":
            reload()
        else:
            probe(given.socket, given.ca, given.hostnames)
    except ProbeError as error:
        print(f"caddyctl: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
