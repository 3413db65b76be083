# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a deployment reaches outside of its own process: the engine, programs, the application, the clock.

Standard library of Python 3.9 only. Private to this collection.
"""

from __future__ import annotations

import http.client
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

ANSWER_TIMEOUT = 5.0
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

    def logs(self, container: str, lines: int = LOG_LINES) -> str: ...


def run_program(argv: Sequence[str], timeout: float) -> Ran:
    """Run a program with a small, known environment; one that hangs is stopped after `timeout` seconds (code 124)."""
    environment = {"PATH": PATH, "HOME": "/root", "LC_ALL": "C.UTF-8"}
    try:
        done = subprocess.run(
            list(argv),
            stdin=subprocess.DEVNULL,
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


def ask(port: int, method: str, path: str, timeout: float = ANSWER_TIMEOUT) -> Answer:
    """One HTTP request to a loopback port; never raises for a silent or rude server."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path, headers={"Content-Length": "0"} if method == "POST" else {})
        answer = connection.getresponse()
        return Answer(answer.status, answer.read(4096).decode("utf-8", "replace"))
    except (OSError, http.client.HTTPException) as error:
        return Answer(0, str(error) or type(error).__name__)
    finally:
        connection.close()


@dataclass
class Seams:
    """What reaches outside of the process; tests put their own in."""

    engine: Engine
    run: Callable[[Sequence[str], float], Ran] = run_program
    ask: Callable[..., Answer] = ask
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
