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
        self.path, self.values = path, dict(values)

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
        #: What the commands found, for other programs and for people: drill.json, verify.json, check.json.
        self.reports = text("reports", "/var/lib/sapflux/walg")
        #: How far a restore in place is; root alone may write it, for it names commands that root runs.
        self.journal = text("journal", "/var/lib/sapflux/restore/journal.json")
        #: While this file is there nothing is archived.
        self.fence = os.path.join(self.state, "FENCED")
        # pg_wal may be that much larger than max_wal_size before somebody is told
        self.wal_growth_mb = number("wal_growth_mb", 1024)
        self.key_file = text("key_file", "/etc/wal-g/libsodium.key")
        fingerprint = values.get("key_fingerprint", "")
        #: Of the key that the archive is encrypted with; "" = the archive is not encrypted.
        self.key_fingerprint = fingerprint if isinstance(fingerprint, str) else ""
        self.configured_prefix = self.prefix
        if values.get("pinned") is not True:
            self.prefix = successor(self.state, self.prefix)

    def write(self, path: str, **changed: object) -> None:
        """Writes these settings, with some of them changed, for another program; the prefix stays the one of now."""
        with open(path, "w", encoding="utf-8") as file:
            json.dump({**self.values, "prefix": self.prefix, "pinned": True, **changed}, file)


def successor(state: str, prefix: str) -> str:
    """The prefix in use: a restore moves on to a new one, while the settings may still name the old."""
    try:
        with open(os.path.join(state, "lineage.json"), encoding="utf-8") as file:
            lineage = json.load(file)
    except FileNotFoundError:
        return prefix
    except (OSError, ValueError) as error:
        raise PgsafeError(
            f"{state}/lineage.json cannot be read ({error}): it says where the archive goes on"
        ) from error
    return str(lineage["prefix"]) if prefix in lineage["ended"] else prefix


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
        "WALG_S3_PREFIX": config.prefix,
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
        _pid, status = os.waitpid(child, 0)
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


def write_json(path: str, document: Mapping[str, object]) -> None:
    """Writes a document as a whole or not at all."""
    temporary = f"{path}.{os.getpid()}.new"
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(document, file)
            file.write("\n")
        os.replace(temporary, path)
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)


def read_json(path: str) -> dict[str, object] | None:
    """A document that somebody left, or None where there is none that can be read."""
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


class only_one:  # noqa: N801 - read as a verb: with only_one(config, 60)
    """The lock that backups, retention, restores and drills share; waits ``wait`` seconds for another run."""

    def __init__(self, config: Config, wait: float) -> None:
        self._path, self._wait, self._file = os.path.join(config.state, "lock"), wait, -1

    def __enter__(self) -> None:
        import fcntl

        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + self._wait
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    os.close(self._file)
                    raise PgsafeError("another backup, restore or drill is running: wait for it to end", BUSY) from None
                time.sleep(0.5)

    def __exit__(self, *_reason: object) -> None:
        os.close(self._file)


def now() -> float:
    """Seconds since the epoch; a name of its own so that tests can turn the clock."""
    return time.time()
