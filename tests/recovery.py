"""What the tests of restores share: marker rows, the moments between which they were committed, and kills."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from testinfra.host import Host

from tests.scenario import wait_until

LIB = "/usr/local/lib/sapflux/walg"
DATA = "/var/lib/postgresql/17/main"
RESTORES = "/var/lib/postgresql/restore"
REPORTS = "/var/lib/sapflux/walg"
JOURNAL = "/var/lib/sapflux/restore/journal.json"
SCRATCH = "/var/tmp/molecule-restore"
NOTES = "/var/tmp/marker-rows"

#: Runs pgsafe and kills it, with everything it started, as soon as a step is begun; a power cut for the run.
KILLER = f"""
import glob, json, os, signal, subprocess, sys, time
step, delay, command = sys.argv[1], float(sys.argv[2]), sys.argv[3:]
run = subprocess.Popen(command, start_new_session=True)
while run.poll() is None:
    try:
        begun = json.load(open("{JOURNAL}"))["begun"]
    except (OSError, ValueError):
        begun = []
    if step in begun:
        time.sleep(delay)
        os.killpg(run.pid, signal.SIGKILL)
        for path in glob.glob("{DATA}.restoring-*/data/postmaster.pid"):
            try:
                os.kill(int(open(path).readline()), signal.SIGKILL)
            except (OSError, ValueError):
                pass
        run.wait()
        sys.exit(137)
    time.sleep(0.005)
sys.exit(run.returncode)
"""


@dataclass(frozen=True)
class Row:
    """A marker row, committed somewhere between two moments (seconds since the epoch)."""

    number: int
    before: float
    after: float


def notes(text: str) -> list[Row]:
    rows = [line.split() for line in text.splitlines()]
    return [Row(int(row[0]), float(row[1]), float(row[2])) for row in rows if len(row) == 3]


def is_exact(rows: list[Row], kept: int, target: float) -> bool:
    """Whether a copy that ends with row ``kept`` is the cluster as it was at ``target``."""
    last = [row for row in rows if row.number == kept]
    following = [row for row in rows if row.number == kept + 1]
    return len(last) == 1 and last[0].before <= target and len(following) == 1 and following[0].after >= target


def stamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def sql(host: Host, text: str, database: str = "app") -> str:
    done = host.run(
        f"cd / && runuser -u postgres -- psql -XAtq -v ON_ERROR_STOP=1 -d {database} -c {shlex.quote(text)}"
    )
    assert done.rc == 0, done.stderr
    return str(done.stdout).strip()


def pgsafe(host: Host, command: str, config: str = "") -> dict[str, Any]:
    """A command that must succeed; its JSON."""
    done = host.run(f"{LIB}/pgsafe {f'--config {config} ' if config else ''}{command} --json")
    assert done.rc == 0, done.stderr
    return dict(json.loads(done.stdout))


def marker_rows(host: Host) -> list[Row]:
    return notes(host.check_output(f"cat {NOTES}"))


def archive_all(host: Host) -> None:
    """Closes the current segment and waits until it is in the archive: what was committed before can be restored."""
    # archive_timeout may have closed it a moment ago, and an empty one is not closed: write something first
    script = "SELECT pg_create_restore_point('archive_all'); SELECT pg_walfile_name(pg_switch_wal())"
    name = sql(host, script).split()[-1]
    wait_until(
        lambda: sql(host, f"SELECT last_archived_wal >= '{name}' FROM pg_stat_archiver") == "t",  # noqa: S608
        f"archiving {name}",
        180,
    )


def configured(host: Host, name: str, **changed: object) -> str:
    """pgsafe's settings with some of them changed, in a file of their own."""
    values = {**json.loads(host.check_output("cat /etc/wal-g/pgsafe.json")), **changed}
    host.check_output(f"install -d -o postgres -m 0700 {SCRATCH}")
    path = f"{SCRATCH}/{name}.json"
    host.check_output(f"printf %s {shlex.quote(json.dumps(values))} > {path} && chown postgres {path}")
    return path


def fingerprint(host: Host) -> str:
    """What must not change of the running server: its process, its pid file, its start, its state."""
    return "\n".join(
        [
            sql(host, "SELECT pg_postmaster_start_time(), pg_is_in_recovery()"),
            host.check_output("cat /run/postgresql/17-main.pid"),
            host.check_output("pg_lsclusters --no-header"),
        ]
    )


def confirmation(host: Host) -> str:
    return f"{host.check_output('hostname')}/17-main"


def killed_at(host: Host, step: str, command: str, delay: float = 0.0) -> None:
    """Runs a restore and kills it while it is at that step."""
    host.check_output(f"install -d -o postgres -m 0700 {SCRATCH}")
    host.check_output(f"printf %s {shlex.quote(KILLER)} > {SCRATCH}/killer.py")
    done = host.run(f"python3 {SCRATCH}/killer.py {step} {delay} {LIB}/pgsafe restore {command}; echo code $?")
    assert "code 137" in done.stdout, (done.stdout, done.stderr)
