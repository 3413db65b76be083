"""A private PostgreSQL server on a restored copy: its own configuration, its own socket, no network, no archive.

It must not share one file with the running server. Started with the configuration in /etc it would take over, and at
its end remove, the running server's pid file; with the restored archive_command it would write into the very archive
it came from.
"""

# paths are plain strings in all of pgsafe
from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass

from .common import Config, PgsafeError
from .target import format_lsn, parse_lsn
from .walg import psql_environment, query

#: pg_controldata's words -> settings that must not be smaller than those of the server the WAL comes from.
_FROM_CONTROL = {
    "max_connections setting": "max_connections",
    "max_worker_processes setting": "max_worker_processes",
    "max_wal_senders setting": "max_wal_senders",
    "max_prepared_xacts setting": "max_prepared_transactions",
    "max_locks_per_xact setting": "max_locks_per_transaction",
}

#: A server that waits for more than its memory allows for would stop in the middle of the log.
_AT_LEAST = {"max_connections": 100, "max_worker_processes": 8, "max_wal_senders": 10}

_PORT = 5499

#: What the startup process waits for, when it is neither replaying nor fetching.
_STATE = """
SELECT json_build_object('recovery', pg_is_in_recovery(), 'pause', CASE WHEN pg_is_in_recovery()
  THEN pg_get_wal_replay_pause_state() END, 'lsn', pg_last_wal_replay_lsn(),
  'last_commit', to_char(pg_last_xact_replay_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
  'waits', (SELECT wait_event FROM pg_stat_activity WHERE backend_type = 'startup'));
"""

_SETTINGS = {
    "listen_addresses": "",
    "archive_mode": "off",
    # a standby never opens by itself: at the target, and where the archive ends, it waits to be looked at
    "hot_standby": "on",
    "recovery_target_timeline": "latest",
    "recovery_target_action": "pause",
    # where the archive ends the server waits for what its last questions have left of this. Asking takes seconds where
    # the store is far or the host is busy, and an end at which it never waits is never seen
    "wal_retrieve_retry_interval": "1min",
    "shared_buffers": "48MB",
    "work_mem": "4MB",
    "maintenance_work_mem": "32MB",
    "shared_preload_libraries": "",
    "autovacuum": "off",
    "ssl": "off",
    "logging_collector": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


#: Lines of postgresql.auto.conf that must not survive a restore.
_RECOVERY = ("recovery_", "restore_command", "archive_", "primary_", "hot_standby", "promote_trigger_file")


class IncompleteError(PgsafeError):
    """The archive holds segments that the replay did not get to."""


@dataclass(frozen=True)
class State:
    """Where a copy stands; ``lsn`` is the first byte not replayed, ``last_commit`` ISO 8601 in UTC or None."""

    recovery: bool
    at_target: bool
    at_end: bool
    lsn: int
    last_commit: str | None


class Instance:
    """The server in ``home``: data/, socket/ and server.log."""

    def __init__(self, config: Config, home: str) -> None:
        self.config, self.home, self.port = config, home, _PORT
        self.data = os.path.join(home, "data")
        self.socket = os.path.join(home, "socket")
        self.log = os.path.join(home, "server.log")

    def run(self, program: str, *arguments: str, limit: float = 300) -> subprocess.CompletedProcess[str]:
        # the server inherits what pg_ctl gets: a pipe would stay open for as long as it runs
        with open(os.path.join(self.home, "command.log"), "w+", encoding="utf-8", errors="replace") as out:
            try:
                done = subprocess.run(
                    [os.path.join(self.config.bin, program), *arguments],
                    env=psql_environment(self.config),
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    timeout=limit,
                    check=False,
                )
            except subprocess.TimeoutExpired as error:
                raise PgsafeError(f"{program} took more than {limit:.0f} s on {self.data}") from error
            out.seek(0)
            return subprocess.CompletedProcess(done.args, done.returncode, out.read())

    def _inherited(self) -> dict[str, str]:
        done = self.run("pg_controldata", "-D", self.data)
        if done.returncode != 0:
            raise PgsafeError(f"pg_controldata cannot read {self.data}: {done.stdout.strip()}")
        found = {}
        for line in done.stdout.splitlines():
            label, _colon, value = line.partition(":")
            if label.strip() in _FROM_CONTROL:
                name = _FROM_CONTROL[label.strip()]
                found[name] = str(max(int(value), _AT_LEAST.get(name, 0)))
        return found

    def configure(self, target: Mapping[str, str] | None = None, **settings: str) -> None:
        """Writes the private configuration: replay to the target (none: to the end of the archive) and wait there.

        Asked again with a later target it goes on from where it is.
        """
        os.makedirs(self.socket, 0o700, exist_ok=True)
        program = os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(__file__))), "fetch")
        values = {
            **_SETTINGS,
            **self._inherited(),
            **(target or {}),
            "port": str(self.port),
            "unix_socket_directories": self.socket,
            "unix_socket_permissions": "0700",
            "restore_command": f"{program} --config {self.config.path} %f %p",
            **settings,
        }
        lines = [f"{name} = '{value}'" for name, value in values.items()]
        self._write("postgresql.conf", "\n".join(lines) + "\n")
        self._write("pg_hba.conf", "local all postgres peer\n")
        self._write("pg_ident.conf", "")
        # what ALTER SYSTEM left in the backup wins over postgresql.conf; here it must not
        own, kept = (os.path.join(self.data, name) for name in ("postgresql.auto.conf", "postgresql.auto.conf.kept"))
        if not os.path.exists(kept):
            os.rename(own, kept)
        self._write("postgresql.auto.conf", "")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self.data, "recovery.signal"))
        self._write("standby.signal", "")

    def release(self) -> None:
        """Takes the private configuration out again, for a server that has one elsewhere."""
        kept = os.path.join(self.data, "postgresql.auto.conf.kept")
        if os.path.exists(kept):
            with open(kept, encoding="utf-8") as file:
                lines = file.readlines()
            # where to recover to is nothing a running server should still know
            self._write("postgresql.auto.conf", "".join(line for line in lines if not line.startswith(_RECOVERY)))
            os.unlink(kept)
        for name in ("postgresql.conf", "pg_hba.conf", "pg_ident.conf", "standby.signal", "recovery.signal"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(self.data, name))

    def _write(self, name: str, text: str) -> None:
        path = os.path.join(self.data, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, 0o600)

    def start(self, limit: float) -> None:
        """Starts and waits until it answers, which is when its data are consistent; raises with its own reason."""
        deadline = time.monotonic() + limit
        arguments = ["-D", self.data, "-l", self.log, "-w", "-t", str(int(limit)), "start"]
        done = self.run("pg_ctl", *arguments, limit=limit + 60)
        # pg_ctl is content as soon as the replay has begun
        while done.returncode == 0 and time.monotonic() < deadline and self.is_running():
            with contextlib.suppress(PgsafeError):
                self.query("SELECT 1")
                return
            time.sleep(0.2)
        raise self._failure(limit)

    def replay(self, limit: float, begin_of_last: int) -> State:
        """Starts, and waits until the target is reached or nothing is left to replay; raises when the log is damaged.

        ``begin_of_last`` is the first byte of the last segment that the archive holds: a replay that ends before it
        has met something that is there and cannot be used.
        """
        deadline = time.monotonic() + limit
        self.start(limit)
        while time.monotonic() < deadline and self.is_running():
            with contextlib.suppress(PgsafeError):
                state = self.state()
                if state.at_target and "insufficient parameter settings" not in self._said():
                    return state
                if state.at_end:
                    if state.lsn > begin_of_last:
                        return state
                    self.stop(quietly=True)
                    raise IncompleteError(
                        f"the replay in {self.home} ended at {format_lsn(state.lsn)}, but the archive goes on behind "
                        f"{format_lsn(begin_of_last)}: a segment in between is missing or damaged; `pgsafe window` "
                        "tells what can be restored"
                    )
            time.sleep(0.1)
        raise self._failure(limit)

    def state(self) -> State:
        found = json.loads(self.query(_STATE))
        return State(
            recovery=found["recovery"],
            at_target=found["pause"] == "paused",
            at_end=found["waits"] == "RecoveryRetrieveRetryInterval",
            lsn=parse_lsn(found["lsn"]) if found["lsn"] else 0,
            last_commit=found["last_commit"],
        )

    def promote(self, limit: float = 300) -> None:
        """Ends the recovery where it stands: from here on the copy is a server of its own."""
        deadline = time.monotonic() + limit
        self.query(f"SELECT pg_promote(true, {int(limit)})")
        while self.query("SELECT pg_is_in_recovery()") != "f":
            if time.monotonic() > deadline:
                raise PgsafeError(f"the copy in {self.home} was not promoted within {limit:.0f} s: see {self.log}")
            time.sleep(0.1)
        self.query("CHECKPOINT")

    def _failure(self, limit: float) -> PgsafeError:
        late = f"the replay took more than {limit:.0f} s: " if self.is_running() else ""
        self.stop(quietly=True)
        return PgsafeError(f"the copy in {self.home} did not open: {late}{self._reason()}")

    def _said(self) -> str:
        with contextlib.suppress(OSError), open(self.log, encoding="utf-8", errors="replace") as file:
            return file.read()
        return ""

    def is_running(self) -> bool:
        """Whether there is a server, or one that is starting; a pid file that a killed one left behind is none."""
        try:
            with open(os.path.join(self.data, "postmaster.pid"), encoding="utf-8") as file:
                process = int(file.readline())
            with open(f"/proc/{process}/comm", encoding="utf-8") as file:
                return file.read().strip() == "postgres"
        except (OSError, ValueError):
            return False

    def _reason(self) -> str:
        lines = self._said().splitlines()
        serious = [line for line in lines if "FATAL" in line or "PANIC" in line or line.startswith("pgsafe:")]
        return " / ".join((serious or lines or ["the server wrote no log"])[-3:])[:600]

    def query(self, sql: str, database: str = "postgres") -> str:
        return query(self.config, sql, socket=self.socket, port=self.port, database=database)

    def stop(self, *, quietly: bool = False) -> None:
        """Stops the server if it runs. ``quietly``: for the way out of another failure."""
        if not self.is_running():
            return
        mode = "immediate" if quietly else "fast"
        with contextlib.ExitStack() as stack:
            if quietly:
                stack.enter_context(contextlib.suppress(PgsafeError, OSError))
            done = self.run("pg_ctl", "-D", self.data, "-m", mode, "-w", "-t", "120", "stop", limit=180)
            if done.returncode != 0 and not quietly:
                raise PgsafeError(f"the copy in {self.home} did not stop: {done.stdout.strip()}")

    def remove(self, limit: float = 60) -> None:
        """Stops the server and removes ``home``. Raises ``PgsafeError`` when something of it stays.

        The WAL-G processes that bring segments ahead outlive the server and still put files into what is being removed.
        """
        self.stop(quietly=True)
        deadline = time.monotonic() + limit
        while os.path.lexists(self.home):
            try:
                shutil.rmtree(self.home)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.ENOENT) or time.monotonic() > deadline:
                    raise PgsafeError(f"{self.home} cannot be removed ({error.strerror}): remove it by hand") from error
                time.sleep(0.05)
