"""What every command needs: configuration, errors, and a way to run WAL-G. On the hot path: it imports little."""

# pathlib costs more start-up time than all the rest of the hot path
from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence

DEFAULT_CONFIG = "/etc/wal-g/pgsafe.json"

FAILED, REFUSED, BUSY = 1, 3, 75


class PgsafeError(Exception):
    """A command failed; the text is one sentence naming the thing and the way out, ``code`` the exit code."""

    def __init__(self, message: str, code: int = FAILED) -> None:
        super().__init__(message)
        self.code = code


class RefusedError(PgsafeError):
    """Nothing was changed, because it would have been wrong to."""

    def __init__(self, message: str) -> None:
        super().__init__(message, REFUSED)


class Config:
    """/etc/wal-g/pgsafe.json; every path is absolute, times are seconds."""

    def __init__(self, values: Mapping[str, object], path: str = DEFAULT_CONFIG) -> None:
        self.path = path

        def text(key: str, default: str | None = None) -> str:
            value = values.get(key, default)
            if not isinstance(value, str) or not value:
                raise PgsafeError(f"{path}: {key} is missing: apply the walg role again")
            return value

        def number(key: str, default: int) -> int:
            value = values.get(key, default)
            if isinstance(value, bool) or not isinstance(value, int):
                raise PgsafeError(f"{path}: {key} is no number: apply the walg role again")
            return value

        self.cluster = text("cluster")
        self.version = number("version", 17)
        self.data = text("data")
        self.bin = text("bin")
        self.socket = text("socket", "/var/run/postgresql")
        self.port = number("port", 5432)
        self.walg = text("walg", "/usr/local/bin/wal-g")
        self.walg_config = text("walg_config", "/etc/wal-g/wal-g.json")
        self.prefix = text("prefix")
        self.endpoint = text("endpoint")
        self.state = text("state")
        self.restores = text("restores")
        self.keep_full = number("keep_full", 7)
        self.keep_days = number("keep_days", 14)
        self.archive_limit = number("archive_limit", 120)
        self.fetch_budget = number("fetch_budget", 300)
        self.backup_limit = number("backup_limit", 21600)


def load(path: str) -> Config:
    try:
        with open(path, encoding="utf-8") as file:
            values = json.load(file)
    except OSError as error:
        raise PgsafeError(
            f"{path} cannot be read ({error.strerror}): run this as root or postgres, on a host with the walg role"
        ) from error
    except ValueError as error:
        raise PgsafeError(f"{path} is no JSON ({error}): apply the walg role again") from error
    if not isinstance(values, dict):
        raise PgsafeError(f"{path} is no JSON object: apply the walg role again")
    return Config(values, path)


def take_config(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """Splits a leading ``--config PATH`` off."""
    if len(arguments) >= 2 and arguments[0] == "--config":
        return arguments[1], list(arguments[2:])
    return DEFAULT_CONFIG, list(arguments)


def say(text: str) -> None:
    print(f"pgsafe: {text}", file=sys.stderr, flush=True)


def environment(config: Config, memory: str, processors: int, *, quiet: bool = False) -> dict[str, str]:
    """A closed environment for WAL-G: settings come from its file alone, memory is bounded, any S3 store will do."""
    return {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": config.state,
        "LC_ALL": "C.UTF-8",
        # its ordinary log is two lines a segment in PostgreSQL's own
        "WALG_LOG_LEVEL": "ERROR" if quiet else "NORMAL",
        "GOMEMLIMIT": memory,
        "GOMAXPROCS": str(processors),
        "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
        "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
    }


class _AlarmError(Exception):
    """The alarm rang."""


def run_limited(argv: Sequence[str], env: Mapping[str, str], limit: float) -> int:
    """Runs a program on our own stdin, stdout and stderr; its exit code, or -1 when it was ended after ``limit`` s.

    Without the subprocess module, whose import costs more than all the rest of ``archive``.
    """

    def ring(_number: int, _frame: object) -> None:
        raise _AlarmError

    try:
        child = os.posix_spawn(argv[0], list(argv), dict(env))
    except OSError as error:
        raise PgsafeError(f"{argv[0]} cannot be started ({error.strerror}): apply the walg role again") from error
    previous = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, max(limit, 0.001))
    try:
        _, status = os.waitpid(child, 0)
    except _AlarmError:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return -1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def system_identifier(data: str) -> str:
    """The identity of a cluster: the first eight bytes of its control file, as PostgreSQL prints them."""
    path = os.path.join(data, "global", "pg_control")
    try:
        with open(path, "rb") as file:
            head = file.read(8)
    except OSError as error:
        raise PgsafeError(
            f"{path} cannot be read ({error.strerror}): is this the data directory of a cluster?"
        ) from error
    if len(head) != 8:
        raise PgsafeError(f"{path} is cut off: this cluster is damaged")
    return str(int.from_bytes(head, sys.byteorder))


def now() -> float:
    """Seconds since the epoch; a name of its own so that tests can turn the clock."""
    return time.time()
