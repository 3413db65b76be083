# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a deployment reaches outside of its own process: the engine, programs, the application, the clock.

Standard library of Python 3.9 only. Private to this collection.
"""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ._compose_doppler import Run, run_cli

ANSWER_TIMEOUT = 5.0
#: Longer than Caddy waits for an upstream before it says 502.
EDGE_TIMEOUT = 10.0
LOG_LINES = 30
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Ran:
    """Exit code and output of a program."""

    rc: int
    output: str


@dataclass(frozen=True)
class Answer:
    """An HTTP answer; status 0 = none, then `text` says why."""

    status: int
    text: str

    @property
    def good(self) -> bool:
        return 200 <= self.status < 300

    def __str__(self) -> str:
        first = " ".join(self.text.split())[:300]
        return f"{self.status} {first}".strip() if self.status else first


class Engine(Protocol):
    """What is asked of the Docker engine."""

    def containers(self, project: str) -> list[dict[str, Any]]: ...

    def inspect(self, container: str) -> dict[str, Any]: ...

    def has_image(self, reference: str) -> bool: ...

    def image_labels(self, reference: str) -> dict[str, str]: ...

    def image_command(self, reference: str) -> list[str]: ...

    def logs(self, container: str, lines: int = LOG_LINES) -> str: ...


def run_program(argv: Sequence[str], timeout: float, given: str = "") -> Ran:
    """Run a program with a small, known environment and `given` on its stdin.

    One that hangs is stopped after `timeout` seconds (code 124).
    """
    environment = {"PATH": PATH, "HOME": "/root", "LC_ALL": "C.UTF-8"}
    try:
        done = subprocess.run(
            list(argv),
            input=given.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError:
        return Ran(127, f"{argv[0]} is not installed")
    except subprocess.TimeoutExpired as error:
        return Ran(
            124, f"{(error.stdout or b'').decode(errors='replace')}\n{argv[0]} did not end within {timeout:.0f} s"
        )
    return Ran(done.returncode, done.stdout.decode(errors="replace"))


def _answer(connection: http.client.HTTPConnection, method: str, path: str, headers: Mapping[str, str]) -> Answer:
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return Answer(answer.status, answer.read(4096).decode("utf-8", "replace"))
    except (OSError, http.client.HTTPException) as error:
        return Answer(0, str(error) or type(error).__name__)
    finally:
        connection.close()


def ask(port: int, method: str, path: str, timeout: float = ANSWER_TIMEOUT) -> Answer:
    """One HTTP request to a loopback port; never raises for a silent or rude server."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    return _answer(connection, method, path, {"Content-Length": "0"} if method == "POST" else {})


class _EdgeConnection(http.client.HTTPSConnection):
    """Connects to a given address while TLS and the Host header carry the public name."""

    def __init__(self, hostname: str, address: str, port: int) -> None:
        # Whether the certificate is good is asked by those who look from outside; here Caddy is asked for a route.
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        super().__init__(hostname, port, context=context, timeout=EDGE_TIMEOUT)
        self._to, self._tls = address, context

    def connect(self) -> None:
        """Connect to the address in place of the name."""
        plain = socket.create_connection((self._to, self.port), timeout=self.timeout)
        self.sock = self._tls.wrap_socket(plain, server_hostname=self.host)


def edge(address: str, port: int, hostname: str, path: str) -> Answer:
    """GET https://hostname/path of the web server at `address`; never raises for a silent or rude server."""
    return _answer(_EdgeConnection(hostname, address, port), "GET", path, {"User-Agent": "sapflux-deploy"})


def established(table: str, port: int) -> int:
    """Number of connections to a loopback port that are up, from the text of /proc/net/tcp."""
    wanted = f"0100007F:{port:04X}"
    rows = [line.split() for line in table.splitlines()[1:]]
    return sum(1 for row in rows if len(row) > 3 and row[2] == wanted and row[3] == "01")


def connections(port: int) -> int:
    """How many connections this host has open to one of its loopback ports: requests, and a proxy's idle ones."""
    with open("/proc/net/tcp", encoding="ascii") as stream:
        return established(stream.read(), port)


def listening(port: int) -> bool:
    """Whether something accepts connections on a loopback port."""
    try:
        socket.create_connection(("127.0.0.1", port), ANSWER_TIMEOUT).close()
    except OSError:
        return False
    return True


def available_mb() -> int:
    """Memory that can be had without swapping, in MB."""
    with open("/proc/meminfo", encoding="ascii") as stream:
        fields = dict(line.split(":", 1) for line in stream)
    return int(fields["MemAvailable"].split()[0]) // 1024


def free_mb(path: str) -> int:
    """Free space in MB of the file system that holds the path, or will."""
    while not os.path.exists(path):
        path = os.path.dirname(path)
    space = os.statvfs(path)
    return space.f_bavail * space.f_frsize // 2**20


@dataclass
class Seams:
    """What reaches outside of the process; tests put their own in."""

    engine: Engine
    run: Callable[..., Ran] = run_program
    cli: Run = run_cli
    ask: Callable[..., Answer] = ask
    edge: Callable[[str, int, str, str], Answer] = edge
    connections: Callable[[int], int] = connections
    listening: Callable[[int], bool] = listening
    available_mb: Callable[[], int] = available_mb
    free_mb: Callable[[str], int] = free_mb
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.time
