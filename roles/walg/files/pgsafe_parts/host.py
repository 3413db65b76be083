"""What a restore in place asks of the machine as root: the application's units, the server's, other accounts."""

# paths are plain strings in all of pgsafe
from __future__ import annotations

import shlex
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Any

from .common import Config, PgsafeError
from .privileges import as_owner
from .walg import query

_PATH = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}


class Host:
    """The real machine; tests have another."""

    def __init__(self, config: Config) -> None:
        self.unit = f"postgresql@{config.cluster}.service"

    def _run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            argv, env=_PATH, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", timeout=900, check=False
        )

    def _must(self, *argv: str) -> None:
        done = self._run(*argv)
        if done.returncode != 0:
            said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:] or ["it said nothing"]
            raise PgsafeError(f"{shlex.join(argv)} failed (exit {done.returncode}): {said[0]}")

    def owner(self, config: Config, function: Callable[..., Any], *arguments: Any) -> Any:
        return as_owner(config, function, *arguments)

    def active(self, units: Sequence[str]) -> list[str]:
        return [unit for unit in units if self._run("systemctl", "is-active", "--quiet", unit).returncode == 0]

    def _is_there(self, unit: str) -> bool:
        return self._run("systemctl", "show", "--property=LoadState", "--value", unit).stdout.strip() != "not-found"

    def stop_units(self, units: Sequence[str]) -> None:
        """Stops units; on an empty host the application is not there yet."""
        there = [unit for unit in units if self._is_there(unit)]
        if there:
            self._must("systemctl", "stop", *there)

    def start_units(self, units: Sequence[str]) -> None:
        if units:
            self._must("systemctl", "start", *units)

    def command(self, line: str) -> None:
        self._must(*shlex.split(line))

    def stop_server(self) -> None:
        self._must("systemctl", "stop", self.unit)

    def start_server(self, config: Config, limit: float = 600) -> None:
        """Starts the cluster and waits until it takes writes."""
        self._run("systemctl", "reset-failed", self.unit)
        self._must("systemctl", "start", self.unit)
        deadline = time.monotonic() + limit
        while True:
            try:
                if self.owner(config, query, config, "SELECT pg_is_in_recovery()") == "f":
                    return
            except PgsafeError as error:
                if time.monotonic() > deadline:
                    raise PgsafeError(
                        f"{self.unit} does not answer after {limit:.0f} s: {error}; see its log"
                    ) from error
            time.sleep(0.2)
