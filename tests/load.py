"""A bounded load from one host of the bed on another: requests on open connections, slow answers, slow uploads.

`with Load("deploy-peer", address, "api.sapflux.test") as load: ...` and then `load.report` counts and measures. The
host needs Python alone: this file's PROGRAM is what runs there, until its stdin ends.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from tests.bed import hosts

PROGRAM = r"""
import hashlib, http.client, json, socket, ssl, sys, threading, time

given = json.loads(sys.argv[1])
stopped, rows, opened, lock = threading.Event(), [], [], threading.Lock()
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE


class Connection(http.client.HTTPSConnection):
    def connect(self):
        plain = socket.create_connection((given["address"], 443), 30)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = context.wrap_socket(plain, server_hostname=given["hostname"])
        opened.append(time.monotonic())


def once(connection, kind):
    if kind == "upload":
        # In pieces over some seconds, so that it is under way while everything changes.
        piece, pieces = b"x" * 16384, 40
        def body():
            for _ in range(pieces):
                yield piece
                time.sleep(given["upload_seconds"] / pieces)
        connection.request("POST", "/upload", body(), {"Content-Length": str(len(piece) * pieces)})
    else:
        connection.request("GET", given["slow" if kind == "slow" else "path"])
    answer = connection.getresponse()
    text = answer.read().decode("utf-8", "replace")
    if answer.status != 200:
        return "status %d" % answer.status
    if kind == "upload" and text.split()[1:] != [str(16384 * 40), hashlib.sha256(b"x" * 16384 * 40).hexdigest()]:
        return "an upload arrived as %r" % text[:80]
    return ""


def work(kind, pause):
    # One connection for all requests: it is opened again only after a failure, or when the server closes it.
    connection = Connection(given["hostname"], timeout=60)
    while not stopped.is_set():
        began = time.monotonic()
        try:
            error = once(connection, kind)
        except (OSError, http.client.HTTPException) as problem:
            error = type(problem).__name__
            connection.close()
            # A port that refuses is asked often enough to see for how long, and not thousands of times a second.
            stopped.wait(0.1)
        ended = time.monotonic()
        with lock:
            rows.append([kind, ended, ended - began, error])
        stopped.wait(max(0.0, pause - (ended - began)))


kinds = [("get", given["workers"] / given["rate"])] * given["workers"]
kinds += [("slow", 1.0)] * given["slow_workers"] + [("upload", 0.0)] * given["upload_workers"]
threads = [threading.Thread(target=work, args=kind) for kind in kinds]
for thread in threads:
    thread.start()
print(json.dumps({"began": time.monotonic()}), flush=True)
sys.stdin.read()
stopped.set()
for thread in threads:
    thread.join()
print(json.dumps({"rows": rows, "workers": len(threads), "opened": len(opened)}))
"""


@dataclass
class Report:
    """Requests of a load: [kind, moment it ended, seconds it took, what was wrong with it].

    ``workers`` is how many connections are kept open, ``opened`` how many had to be made for that.
    """

    rows: list[list[Any]] = field(default_factory=list)
    workers: int = 0
    opened: int = 0

    def of(self, kind: str) -> list[list[Any]]:
        """Those of one kind: get, slow or upload."""
        return [row for row in self.rows if row[0] == kind]

    @property
    def failed(self) -> list[list[Any]]:
        """Those that went wrong."""
        return [row for row in self.rows if row[3]]

    def errors(self) -> dict[str, int]:
        """What went wrong, counted."""
        told = [row[3] for row in self.failed]
        return {error: told.count(error) for error in sorted(set(told))}

    def p99(self, since: float = 0.0, until: float = float("inf")) -> float:
        """Seconds that 99 of 100 GETs stayed below, of those that went well and ended in between."""
        took = [row[2] for row in self.of("get") if since <= row[1] < until and not row[3]]
        return statistics.quantiles(took, n=100)[98] if len(took) > 1 else 0.0


class Load:
    """Runs while the block does; `report` is there afterwards, `now()` is a moment in the load's own time."""

    def __init__(self, source: str, address: str, hostname: str, **options: Any) -> None:
        defaults: dict[str, Any] = {
            "path": "/health",
            "slow": "/slow",
            "workers": 4,
            "rate": 80,
            "slow_workers": 2,
            "upload_workers": 2,
            "upload_seconds": 4,
        }
        self.source = source
        self.options = {**defaults, "address": address, "hostname": hostname, **options}
        self.report = Report()

    def __enter__(self) -> Load:
        argv = [
            "docker",
            "exec",
            "-i",
            hosts.container(self.source),
            "python3",
            "-c",
            PROGRAM,
            json.dumps(self.options),
        ]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.began = float(json.loads(self.process.stdout.readline())["began"])
        self.offset = self.began - time.monotonic()
        return self

    def now(self) -> float:
        """The clock of the rows; hosts of the bed share this machine's."""
        return time.monotonic() + self.offset

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        output, _none = self.process.communicate("")
        self.report = Report(**json.loads(output.splitlines()[-1]))
