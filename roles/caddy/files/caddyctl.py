#!/usr/bin/python3
"""Reload Caddy, and prove that it serves what it was told to serve.

`caddyctl reload [--only-before FILE ...]` reloads the running server. It does nothing when none runs, or when one of
the files is newer than the server: what they change takes a restart.
`caddyctl probe --socket PATH (--ca FILE | --leaf FILE ...) [HOSTNAME ...]` succeeds when the admin socket answers and
every host name gets a certificate and an HTTP answer of Caddy's own. The certificate is for that name and signed by the
authority in FILE, or it is the first one in one of the leaf files (`{host}` stands for the name). It asks Caddy, not
the services behind it: they may be deployed later.
Exit code 0 = yes, 1 = no, with one line that says why.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import socket
import ssl
import subprocess
import sys
import time
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


def leaf(path: str) -> bytes:
    """The first certificate in a file as DER; nothing where there is none."""
    try:
        with open(path, encoding="ascii") as handle:
            text = handle.read()
    except OSError:
        return b""
    end = "-----END CERTIFICATE-----"
    return ssl.PEM_cert_to_DER_cert(text[: text.index(end) + len(end)].strip()) if end in text else b""


def probe_host(hostname: str, authority: str, leaves: Sequence[str], port: int) -> None:
    """A TLS session for the host name under the right certificate, and Caddy's own answer in it; raises ProbeError."""
    try:
        context = ssl.create_default_context(cafile=authority or None)
        if leaves:
            # Known byte for byte, which is more than a chain would say.
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with (
            socket.create_connection(("127.0.0.1", port), TIMEOUT) as plain,
            context.wrap_socket(plain, server_hostname=hostname) as secure,
        ):
            if leaves and secure.getpeercert(binary_form=True) not in {
                leaf(path.format(host=hostname)) for path in leaves
            }:
                raise ProbeError(f"https://{hostname}:{port} shows another certificate than those it may")
            secure.sendall(f"GET / HTTP/1.1\r\nHost: {NOBODY}\r\nConnection: close\r\n\r\n".encode())
            answer = http.client.HTTPResponse(secure)
            answer.begin()
    except (OSError, http.client.HTTPException) as error:
        raise ProbeError(f"https://{hostname}:{port} does not answer: {error}") from error
    if answer.status != 421:
        raise ProbeError(f"https://{hostname}:{port} answers {answer.status} to a foreign host name instead of 421")


def probe(path: str, authority: str, leaves: Sequence[str], hostnames: Sequence[str], port: int = 443) -> None:
    """Prove the admin socket and every host name; raises ProbeError for the first that is not as it should be."""
    missing = sorted(set(hostnames) - served_hosts(path))
    if missing:
        raise ProbeError(f"the running server does not know {', '.join(missing)}")
    for hostname in hostnames:
        probe_host(hostname, authority, leaves, port)


def started() -> float:
    """When the running server was started, in seconds since 1970; 0 when none runs."""
    shown = subprocess.run(
        ["systemctl", "show", "-P", "ExecMainStartTimestampMonotonic", UNIT],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    monotonic = int(shown) / 1e6 if shown.isdigit() else 0.0
    return time.time() - time.monotonic() + monotonic if monotonic else 0.0


def reload(only_before: Sequence[str]) -> None:
    """Reload the unit when it runs; raises ProbeError with what the server logged when that fails.

    Does nothing where one of the files `only_before` is newer than the server: it needs the restart that follows.
    """
    since = started()
    if any(os.path.exists(path) and os.stat(path).st_mtime > since for path in only_before):
        return
    done = subprocess.run(["systemctl", "try-reload-or-restart", UNIT], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        journal = ["journalctl", "--quiet", "--no-pager", "--output=cat", "--lines=15", f"--unit={UNIT}"]
        logged = subprocess.run(journal, capture_output=True, text=True, check=False).stdout
        raise ProbeError(f"{UNIT} cannot be reloaded: {done.stderr.strip()}\n{logged}")


def main(arguments: Sequence[str]) -> int:
    """Run one of the two commands."""
    parser = argparse.ArgumentParser(prog="caddyctl")
    commands = parser.add_subparsers(dest="command", required=True)
    told = commands.add_parser("reload")
    told.add_argument("--only-before", action="append", default=[])
    asked = commands.add_parser("probe")
    asked.add_argument("--socket", required=True)
    asked.add_argument("--ca", default="")
    asked.add_argument("--leaf", action="append", default=[])
    asked.add_argument("hostnames", nargs="*")
    given = parser.parse_args(arguments)
    try:
        if given.command == "reload":
            reload(given.only_before)
        else:
            probe(given.socket, given.ca, given.leaf, given.hostnames)
    except ProbeError as error:
        print(f"caddyctl: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
