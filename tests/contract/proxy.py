"""Prism as a proxy that validates every request before it reaches a double, and every answer before it comes back.

A request that breaks the published description of the API is answered with 422, an answer that breaks it with 500.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bed.shell import BedError, have, retry_download, say

HERE = Path(__file__).resolve().parent
PRISM = HERE / "node_modules" / ".bin" / "prism"
STAMP = HERE / "node_modules" / ".package-lock.json"
STARTED = re.compile(r"Prism is listening on (\S+)")
BROKEN = re.compile(r"✖|Violation|violation")
WAIT = 120


def install() -> None:
    """Bring the locked packages, where they are not there or older than the lock file."""
    lock = HERE / "package-lock.json"
    if not have("npm"):
        if os.geteuid() != 0:
            raise BedError("missing here: npm", hint="sudo apt-get install nodejs npm")
        say("installing nodejs, npm with apt-get")
        retry_download(["apt-get", "install", "-y", "-qq", "--no-install-recommends", "nodejs", "npm"])
    if not STAMP.exists() or STAMP.stat().st_mtime < lock.stat().st_mtime:
        retry_download(["npm", "--prefix", str(HERE), "ci", "--no-audit", "--no-fund", "--loglevel=error"])


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Proxy:
    """A running proxy: its URL, the port where the double has to be, and what it found."""

    def __init__(self, url: str, upstream: int, lines: list[str]) -> None:
        self.url = url
        self.upstream = upstream
        self.lines = lines

    @property
    def violations(self) -> list[str]:
        """What the proxy complained about."""
        return [line for line in self.lines if BROKEN.search(line)]

    @property
    def validated(self) -> int:
        """How many requests went through it."""
        return sum("Request received" in line for line in self.lines)

    def more_violations(self, before: int) -> list[str]:
        """The complaints after the first ``before``; waits for one, because they come over a pipe."""
        limit = time.monotonic() + WAIT
        while len(self.violations) <= before and time.monotonic() < limit:
            threading.Event().wait(0.05)
        return self.violations[before:]


@contextmanager
def running(name: str, prefix: str = "") -> Iterator[Proxy]:
    """The proxy for ``specs/<name>.json`` in front of a double that serves the API below ``prefix``."""
    install()
    port, upstream = free_port(), free_port()
    target = f"http://127.0.0.1:{upstream}{prefix}"
    argv = [str(PRISM), "proxy", str(HERE / "specs" / f"{name}.json"), target, "--errors", "-h", "127.0.0.1"]
    process = subprocess.Popen(
        [*argv, "-p", str(port)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8"
    )
    lines: list[str] = []
    ready = threading.Event()

    def follow() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line.rstrip())
            if STARTED.search(line):
                ready.set()
        ready.set()

    reader = threading.Thread(target=follow, daemon=True)
    reader.start()
    try:
        if not ready.wait(WAIT) or process.poll() is not None:
            raise RuntimeError("the validating proxy did not start: " + "\n".join(lines[-5:]))
        yield Proxy(f"http://127.0.0.1:{port}", upstream, lines)
    finally:
        process.terminate()
        process.wait()
        reader.join()
