"""WAL-G's answers: run a command, read its output, and turn its log into one sentence."""

# paths are plain strings in all of pgsafe
from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .common import Config, PgsafeError, environment

_ABSENT = re.compile(r"not found in storage|does not exist|NoSuchKey", re.IGNORECASE)
_LOG_LINE = re.compile(r"^(?:[A-Z]+: )?(?:\d{4}[/-]\d\d[/-]\d\d[ T][\d:.+Z]+ )?")


class WalgError(PgsafeError):
    """WAL-G failed; ``log`` is what it wrote to stderr."""

    def __init__(self, message: str, log: str) -> None:
        super().__init__(message)
        self.log = log

    def is_absent(self) -> bool:
        return bool(_ABSENT.search(self.log))


def _reason(log: str) -> str:
    """WAL-G's own words: its last line that is an error, else its last line, without the time stamp."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("ERROR", "FATAL"))]
    last = (errors or lines or ["it said nothing"])[-1]
    return _LOG_LINE.sub("", last)[:400]


def walg(config: Config, *arguments: str, limit: float | None = None) -> str:
    """Runs WAL-G and gives its stdout; raises WalgError with the reason from its log.

    With a ``limit`` (seconds) it is a long command that moves data; without one a question, which gives up soon.
    """
    env = environment(config, "160MiB", 1) if limit is None else environment(config, "256MiB", 2)
    if limit is None:
        limit, env["WALG_S3_MAX_RETRIES"] = 300, "5"
    command = " ".join(arguments[:2] if arguments[0] in ("st", "delete") else arguments[:1])
    try:
        done = subprocess.run(
            [config.walg, "--config", config.walg_config, *arguments],
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=limit,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise WalgError(f"wal-g {command} took more than {limit:.0f} s and was ended", "") from error
    except OSError as error:
        raise PgsafeError(f"{config.walg} cannot be started ({error.strerror}): apply the walg role again") from error
    if done.returncode != 0:
        raise WalgError(f"wal-g {command} failed (exit {done.returncode}): {_reason(done.stderr)}", done.stderr)
    return done.stdout


@dataclass(frozen=True)
class Backup:
    """One base backup of the archive's catalogue; times are ISO 8601 in UTC, sizes bytes."""

    name: str
    start_time: str
    finish_time: str
    system_identifier: str
    pg_version: int
    uncompressed_size: int
    compressed_size: int
    permanent: bool
    start_lsn: int = 0
    finish_lsn: int = 0

    def as_json(self) -> dict[str, Any]:
        return {
            "backup_name": self.name,
            "start_time": self.start_time,
            "finish_time": self.finish_time,
            "uncompressed_bytes": self.uncompressed_size,
            "compressed_bytes": self.compressed_size,
            "permanent": self.permanent,
        }


def parse_catalogue(text: str) -> list[Backup]:
    """``backup-list --detail --json`` -> backups, the oldest first (by the time they were finished)."""
    try:
        items: Sequence[dict[str, Any]] = json.loads(text or "[]") or []
        backups = [
            Backup(
                name=item["backup_name"],
                start_time=item["start_time"],
                finish_time=item["finish_time"],
                system_identifier=str(item["system_identifier"]),
                pg_version=int(item["pg_version"]),
                uncompressed_size=int(item["uncompressed_size"]),
                compressed_size=int(item["compressed_size"]),
                permanent=bool(item["is_permanent"]),
                start_lsn=int(item.get("start_lsn", 0)),
                finish_lsn=int(item.get("finish_lsn", 0)),
            )
            for item in items
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise PgsafeError(
            f"wal-g backup-list answered something else than a catalogue ({error!r}): check its version"
        ) from error
    return sorted(backups, key=lambda backup: backup.finish_time)


def catalogue(config: Config) -> list[Backup]:
    """The base backups in the bucket, as the bucket tells them, the oldest first."""
    return parse_catalogue(walg(config, "backup-list", "--detail", "--json"))


def is_empty(config: Config) -> bool:
    """Whether the archive holds no object at all."""
    listing = walg(config, "st", "ls").splitlines()
    return not any(line.startswith(("obj", "dir")) for line in listing)


def psql_environment(config: Config) -> dict[str, str]:
    """Environment of PostgreSQL's own programs: closed, so that no PGHOST of a caller leads elsewhere."""
    path = f"{config.bin}:/usr/local/bin:/usr/bin:/bin"
    return {"PATH": path, "HOME": config.state, "LC_ALL": "C.UTF-8", "PGCONNECT_TIMEOUT": "10"}


def query(
    config: Config,
    sql: str,
    *,
    socket: str | None = None,
    port: int | None = None,
    database: str = "postgres",
    limit: float = 300,
) -> str:
    """Runs SQL as postgres over a socket (the cluster's, if none is given); what it printed, unaligned."""
    where = f"{socket or config.socket} port {port or config.port}"
    argv = [os.path.join(config.bin, "psql"), "-XAtq", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=terse"]
    argv += ["-h", socket or config.socket, "-p", str(port or config.port), "-U", "postgres", "-d", database]
    try:
        done = subprocess.run(
            argv,
            input=sql,
            env=psql_environment(config),
            capture_output=True,
            encoding="utf-8",
            timeout=limit,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise PgsafeError(f"PostgreSQL at {where} did not answer within {limit:.0f} s") from error
    except OSError as error:
        raise PgsafeError(f"{argv[0]} cannot be started ({error.strerror}): apply the postgres role again") from error
    if done.returncode != 0:
        reason = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise PgsafeError(f"PostgreSQL at {where} says: {reason[0]}")
    return done.stdout.strip()
