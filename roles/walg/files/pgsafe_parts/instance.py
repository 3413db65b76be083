"""A private PostgreSQL server on a restored copy: its own configuration, its own socket, no network, no archive.

It must not share one file with the running server. Started with the configuration in /etc it would take over, and at
its end remove, the running server's pid file; with the restored archive_command it would write into the very archive
it came from.
"""

# paths are plain strings in all of pgsafe
from __future__ import annotations

import contextlib
import os
import subprocess
import time

from .common import Config, PgsafeError
from .walg import psql_environment, query

#: pg_controldata's words -> settings that must not be smaller than those of the server the WAL comes from.
_FROM_CONTROL = {
    "max_connections setting": "max_connections",
    "max_worker_processes setting": "max_worker_processes",
    "max_wal_senders setting": "max_wal_senders",
    "max_prepared_xacts setting": "max_prepared_transactions",
    "max_locks_per_xact setting": "max_locks_per_transaction",
}

_PORT = 5499

_SETTINGS = {
    "listen_addresses": "",
    "archive_mode": "off",
    "hot_standby": "off",
    "recovery_target_timeline": "latest",
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


class Instance:
    """The server in ``home``: data/, socket/ and server.log."""

    def __init__(self, config: Config, home: str) -> None:
        self.config, self.home, self.port = config, home, _PORT
        self.data = os.path.join(home, "data")
        self.socket = os.path.join(home, "socket")
        self.log = os.path.join(home, "server.log")

    def _run(self, program: str, *arguments: str, limit: float = 300) -> subprocess.CompletedProcess[str]:
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
        done = self._run("pg_controldata", "-D", self.data)
        if done.returncode != 0:
            raise PgsafeError(f"pg_controldata cannot read {self.data}: {done.stdout.strip()}")
        found = {}
        for line in done.stdout.splitlines():
            label, _, value = line.partition(":")
            if label.strip() in _FROM_CONTROL:
                found[_FROM_CONTROL[label.strip()]] = value.strip()
        return found

    def configure(self) -> None:
        """Writes the private configuration and asks for a recovery to the end of the archive."""
        os.mkdir(self.socket, 0o700)
        program = os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(__file__))), "fetch")
        settings = {
            **_SETTINGS,
            **self._inherited(),
            "port": str(self.port),
            "unix_socket_directories": self.socket,
            "unix_socket_permissions": "0700",
            "restore_command": f"{program} --config {self.config.path} %f %p",
        }
        lines = [f"{name} = '{value}'" for name, value in settings.items()]
        self._write("postgresql.conf", "\n".join(lines) + "\n")
        self._write("pg_hba.conf", "local all postgres peer\n")
        self._write("pg_ident.conf", "")
        # what ALTER SYSTEM left in the backup wins over postgresql.conf; here it must not
        self._write("postgresql.auto.conf", "")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self.data, "standby.signal"))
        self._write("recovery.signal", "")

    def _write(self, name: str, text: str) -> None:
        path = os.path.join(self.data, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, 0o600)

    def start(self, limit: float) -> None:
        """Starts and waits until the replay is over; raises with the server's own reason."""
        deadline = time.monotonic() + limit
        arguments = ["-D", self.data, "-l", self.log, "-w", "-t", str(int(limit)), "start"]
        done = self._run("pg_ctl", *arguments, limit=limit + 60)
        # pg_ctl is content as soon as the replay has begun
        while done.returncode == 0 and time.monotonic() < deadline and self.is_running():
            with contextlib.suppress(PgsafeError):
                self.query("SELECT 1")
                return
            time.sleep(0.2)
        late = f"the replay took more than {limit:.0f} s: " if self.is_running() else ""
        self.stop(quietly=True)
        raise PgsafeError(f"the copy in {self.home} did not open: {late}{self._reason()}")

    def is_running(self) -> bool:
        """Whether the server has not ended; it removes the file itself, also when recovery fails."""
        return os.path.exists(os.path.join(self.data, "postmaster.pid"))

    def _reason(self) -> str:
        try:
            with open(self.log, encoding="utf-8", errors="replace") as file:
                lines = file.read().splitlines()
        except OSError:
            return "the server wrote no log"
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
            done = self._run("pg_ctl", "-D", self.data, "-m", mode, "-w", "-t", "120", "stop", limit=180)
            if done.returncode != 0 and not quietly:
                raise PgsafeError(f"the copy in {self.home} did not stop: {done.stdout.strip()}")
