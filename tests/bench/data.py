"""`python -m tests.bench data`: what the archive costs and what it gives back, as tables and as JSON.

``rpo``: a writer every 100 ms, the power goes at a random moment, another machine restores; how old the oldest lost row
is. ``rto``: a data set and a day of WAL, restored on another machine, beside pgBackRest on the same machines, data and
object store. ``drill``: one of such a data set beside a pgbench. ``startup``: the commands of every segment. ``noop``:
both roles where nothing is to be done. Sizes and counts are options, so that the whole of it can run small.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bed import hosts
from tests.bed.shell import BedError, wait_for

from . import data_drill, pgbackrest
from .machines import DATA, HOME, LIB, PROFILED, Machine, note, stored

#: R2: the operations that write, a month, before they cost anything.
FREE_WRITES = 1_000_000
DAYS = 30
#: Segments that may wait on the disk of a machine.
_BATCH = 200
_WRITER = "INSERT INTO beat DEFAULT VALUES RETURNING id \\watch 0.1\n"


@dataclass
class Writer:
    """Rows written every 100 ms; ``acknowledged`` maps a row's number to the moment its commit was known here."""

    machine: Machine
    acknowledged: dict[int, float] = field(default_factory=dict)

    def start(self) -> None:
        argv = [
            "docker",
            "exec",
            "-i",
            "-e",
            "PGAPPNAME=writer",
            "-u",
            "postgres",
            hosts.container(self.machine.name),
            "psql",
            "-XAtq",
            "-d",
            "app",
        ]
        self._process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self._process.stdin is not None
        self._process.stdin.write(_WRITER)
        self._process.stdin.close()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.strip().isdigit():
                self.acknowledged[int(line)] = time.monotonic()

    def stop(self) -> None:
        """Ends the session in the machine, which would outlive `docker exec`: no row comes after this."""
        gone = "SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'writer'"
        self.machine.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'writer'")
        wait_for("the end of the writer", lambda: self.machine.sql(gone) == "t", seconds=60)
        self.end()

    def end(self) -> None:
        """For a machine whose power is gone."""
        self._process.kill()
        self._process.wait()
        self._thread.join(timeout=10)


def rpo(timeout: int, kills: int, target: Machine, turn: threading.Lock, run: str) -> dict[str, Any]:
    """One archive_timeout: the machine is killed ``kills`` times; what a restore elsewhere lacks."""
    source = Machine(f"data-{timeout}", f"{run}/t{timeout}", {"postgres_archive_timeout": timeout})
    source.prepare()
    source.sql("CREATE TABLE IF NOT EXISTS beat (id bigserial PRIMARY KEY, at timestamptz DEFAULT clock_timestamp())")
    lost_seconds, lost_rows, cpu = [], [], 0.0
    for number in range(kills):
        writer = Writer(source)
        writer.start()
        # at least one segment is archived since the start, then a random moment between two
        before, began = source.cpu_seconds(), time.monotonic()
        time.sleep(timeout + 10 + random.uniform(0, timeout))
        cpu += (source.cpu_seconds() - before) / (time.monotonic() - began)
        killed = source.kill()
        writer.end()
        with turn:
            target.restore(source.prefix)
            newest = int(target.sql("SELECT coalesce(max(id), 0) FROM beat"))
        lost = [at for row, at in writer.acknowledged.items() if row > newest and at <= killed]
        lost_rows.append(len(lost))
        lost_seconds.append(killed - min(lost) if lost else 0.0)
        what = f"{lost_rows[-1]} rows lost, the oldest {lost_seconds[-1]:.1f} s old"
        note(f"archive_timeout {timeout} s, kill {number + 1}: {what}")
        source.revive()
    hosts.down(source.name)
    return {
        "archive_timeout": timeout,
        "kills": kills,
        "rpo_max": max(lost_seconds),
        "rpo_median": statistics.median(lost_seconds),
        "lost_rows_max": max(lost_rows),
        "writes_a_month": round(DAYS * 86400 / timeout),
        "cpu_percent": 100 * cpu / kills,
    }


def fill(machine: Machine, megabytes: int) -> None:
    """A table of about that size, of text that compresses as real rows do: to a third."""
    rows = megabytes * 1024 * 1024 // 1100
    machine.sql(
        "CREATE TABLE observation (id bigint PRIMARY KEY, at timestamptz, body text); INSERT INTO observation "  # noqa: S608
        "SELECT n, now() - n * interval '1 second', string_agg(md5(n::text || k) || ' the same words again ', '') "
        f"FROM generate_series(1, {rows}) n, generate_series(1, 18) k GROUP BY n"
    )
    machine.sql("CHECKPOINT")


def segments(machine: Machine, count: int) -> float:
    """That many segments of a quiet day, each with a few rows; seconds until all are archived."""
    machine.sql("CREATE TABLE IF NOT EXISTS mark (n bigserial, at timestamptz DEFAULT clock_timestamp())")
    began = time.monotonic()
    argv = ["docker", "exec", "-i", "-u", "postgres", hosts.container(machine.name), "psql", "-XAtq", "-d", "app"]
    for done in range(0, count, _BATCH):
        script = "INSERT INTO mark DEFAULT VALUES; SELECT pg_switch_wal();\n" * min(_BATCH, count - done)
        subprocess.run(argv, input=script, stdout=subprocess.DEVNULL, text=True, check=True)
        # what waits is 16 MB each, and made faster than it is archived
        machine.archived_all(7200)
    return time.monotonic() - began


def rto(options: argparse.Namespace, target: Machine, run: str) -> dict[str, Any]:
    """Backup, a day of segments and a restore elsewhere, by WAL-G and by pgBackRest."""
    source = Machine("data-source", f"{run}/rto", {"postgres_archive_timeout": 60})
    source.prepare()
    fill(source, options.megabytes)
    found: dict[str, Any] = {"megabytes": options.megabytes, "segments": options.segments}
    backup = source.measured(f"{LIB}/pgsafe", "backup")
    note(f"WAL-G backup: {backup}")
    archiving = segments(source, options.segments)
    found["walg"] = {"backup": backup, "archiving": archiving, "restore": target.restore(source.prefix)}
    found["walg"]["rows"] = target.sql("SELECT count(*) FROM observation")
    found["walg"]["marks"] = target.sql("SELECT count(*) FROM mark")
    newest = json.loads(source.postgres("wal-g", "--config", "/etc/wal-g/wal-g.json", "backup-list", "--json"))[-1]
    found["walg"]["stored_mb"] = stored(f"{source.prefix}/basebackups_005/{newest['backup_name']}")[1] / 1e6
    note(f"WAL-G: {found['walg']}")
    if options.pgbackrest:
        repository = f"{run}/pgbackrest"
        for machine in (source, target):
            pgbackrest.install(machine, repository)
        pgbackrest.take_over(source)
        backup = source.measured("pgbackrest", "--stanza=main", "--type=full", "backup")
        note(f"pgBackRest backup: {backup}")
        archiving = segments(source, options.segments)
        found["pgbackrest"] = {"backup": backup, "archiving": archiving, "restore": pgbackrest.restore(target)}
        found["pgbackrest"]["marks"] = target.sql("SELECT count(*) FROM mark")
        found["pgbackrest"]["stored_mb"] = stored(f"{repository}/backup/main")[1] / 1e6
        note(f"pgBackRest: {found['pgbackrest']}")
    hosts.down(source.name)
    found["load"] = os.getloadavg()[2]
    return found


#: Runs commands in turn, so that what else the machine does is shared by all of them; {name: ms of each run} as JSON.
_IN_TURN = """
import json, os, subprocess, sys, time
commands, got, runs = json.loads(sys.argv[1]), sys.argv[2], int(sys.argv[3])
took = {name: [] for name in commands}
for _ in range(runs):
    for name, command in commands.items():
        if os.path.exists(got):
            os.unlink(got)
        began = time.monotonic()
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        took[name].append(1000 * (time.monotonic() - began))
print(json.dumps(took))
"""


def startup(machine: Machine, runs: int) -> dict[str, list[float]]:
    """Milliseconds of WAL-G alone and of the commands PostgreSQL calls, for a segment that is archived."""
    machine.archived_all()
    name = machine.sql("SELECT last_archived_wal FROM pg_stat_archiver")
    path, got = f"{DATA}/pg_wal/{name}", f"{HOME}/got"
    walg = ["env", "GOMAXPROCS=1", "wal-g", "--config", "/etc/wal-g/wal-g.json"]
    # as `fetch` calls it: WAL-G itself starts to bring ahead what follows, which is paid in both
    ahead = ["env", "WALG_DOWNLOAD_CONCURRENCY=16", *walg]
    commands = {
        "wal-g wal-push": [*walg, "wal-push", path],
        "archive": [f"{LIB}/archive", path],
        "wal-g wal-fetch": [*ahead, "wal-fetch", name, got],
        "fetch": [f"{LIB}/fetch", name, got],
    }
    machine.sh(f"install -d -o postgres {HOME}")
    return dict(json.loads(machine.postgres("python3", "-c", _IN_TURN, json.dumps(commands), got, str(runs))))


def noop(machine: Machine, runs: int) -> dict[str, Any]:
    """Both roles on a host that needs nothing: {walls: seconds of each run, tasks: {name: seconds}}."""
    since = machine.sql("SELECT pg_postmaster_start_time()")
    walls: list[float] = []
    tasks: dict[str, list[float]] = {}
    for _ in range(runs + 1):
        began = time.monotonic()
        said = machine.apply(ANSIBLE_CALLBACKS_ENABLED="ansible.posix.profile_tasks")
        walls.append(time.monotonic() - began)
        if "changed=0 " not in said:
            raise BedError(f"{machine.name} was not converged: {said[-1500:]}")
        for line in said.splitlines():
            if match := PROFILED.match(line.strip()):
                tasks.setdefault(match["task"], []).append(float(match["seconds"]))
    if machine.sql("SELECT pg_postmaster_start_time()") != since:
        raise BedError("a run with nothing to do restarted PostgreSQL")
    # the first one opens the connection and fills caches
    del walls[0]
    return {"walls": walls, "tasks": {task: statistics.median(values) for task, values in tasks.items()}}


def tables(found: dict[str, Any]) -> str:
    """The result as Markdown."""
    lines: list[str] = []
    if "rpo" in found:
        lines += [
            "| archive_timeout | RPO, median | RPO, worst | rows lost | segments a month | of the free writes | CPU |",
            "|---|---|---|---|---|---|---|",
        ]
        lines += [
            f"| {r['archive_timeout']} s | {r['rpo_median']:.1f} s | {r['rpo_max']:.1f} s | {r['lost_rows_max']} | "
            f"{r['writes_a_month']:,} | {100 * r['writes_a_month'] / FREE_WRITES:.0f} % | {r['cpu_percent']:.1f} % |"
            for r in sorted(found["rpo"], key=lambda r: r["archive_timeout"])
        ]
    if "rto" in found:
        rto_found = found["rto"]
        lines += [
            "",
            f"{rto_found['megabytes']} MB and {rto_found['segments']} segments, load {rto_found['load']:.1f}",
            "",
            "| | WAL-G | pgBackRest |",
            "|---|---|---|",
        ]
        rows: tuple[tuple[str, Callable[[dict[str, Any]], str]], ...] = (
            ("backup, s", lambda r: f"{r['backup']['seconds']:.1f}"),
            ("peak memory of its largest process, MB", lambda r: f"{r['backup']['rss_mb']}"),
            ("archiving the segments, s", lambda r: f"{r['archiving']:.0f}"),
            ("the backup in the bucket, MB", lambda r: f"{r['stored_mb']:.0f}"),
            ("restore: fetch, s", lambda r: f"{r['restore']['fetch']:.1f}"),
            ("restore: replay and opening, s", lambda r: f"{r['restore']['replay']:.1f}"),
            ("restore: processor of the replay, s", lambda r: f"{r['restore']['replay_cpu']:.1f}"),
            ("restore, all, s", lambda r: f"{r['restore']['total']:.1f}"),
        )
        tools = [rto_found["walg"], rto_found.get("pgbackrest")]
        lines += [
            f"| {name} | " + " | ".join(show(tool) if tool else "-" for tool in tools) + " |" for name, show in rows
        ]
    if "drill" in found:
        lines += data_drill.table(found["drill"])
    if "noop" in found:
        walls, tasks = found["noop"]["walls"], found["noop"]["tasks"]
        lines += ["", "| both roles, nothing to do | s |", "|---|---|"]
        lines += [f"| all, median of {len(walls)} | {statistics.median(walls):.2f} |", f"| best | {min(walls):.2f} |"]
        lines += [f"| {task} | {took:.2f} |" for task, took in sorted(tasks.items(), key=lambda item: -item[1])]
    if "startup" in found:
        lines += ["", "| a segment of one row | best, ms | median, ms |", "|---|---|---|"]
        lines += [
            f"| {name} | {min(took):.0f} | {statistics.median(took):.0f} |" for name, took in found["startup"].items()
        ]
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    """Measure, print the tables, leave the numbers in tests/output/bench-data-<parts>.json."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench data", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("--parts", default="noop,startup,rpo,rto,drill", help="noop, startup, rpo, rto, drill")
    parser.add_argument("--timeouts", default="10,15,20,30,60", help="archive_timeout in seconds")
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=1024)
    parser.add_argument("--segments", type=int, default=4320, help="of a day at the shipped archive_timeout")
    parser.add_argument("--drills", type=int, default=3)
    parser.add_argument("--runs", type=int, default=20, help="of a start-up")
    parser.add_argument("--converges", type=int, default=5, help="with nothing to do")
    parser.add_argument("--no-pgbackrest", dest="pgbackrest", action="store_false")
    options = parser.parse_args(arguments)
    parts, run = options.parts.split(","), f"bench/{time.strftime('%Y%m%dT%H%M%S')}"
    # each part has hosts of its own, so that parts can be measured side by side
    target, heir, turn = Machine("data-target", f"{run}/target"), Machine("data-heir", f"{run}/heir"), threading.Lock()
    made: list[str] = []
    found: dict[str, Any] = {}
    try:
        if "rpo" in parts:
            timeouts = [int(value) for value in options.timeouts.split(",")]
            made += [heir.name, *(f"data-{timeout}" for timeout in timeouts)]
            heir.prepare()
            with ThreadPoolExecutor(len(timeouts)) as pool:
                jobs = [pool.submit(rpo, timeout, options.kills, heir, turn, run) for timeout in timeouts]
                found["rpo"] = [job.result() for job in jobs]
        if "drill" in parts:
            made.append("data-drill")
            found["drill"] = data_drill.drill(options.megabytes, options.drills, run)
        if {"noop", "startup", "rto"} & set(parts):
            made += [target.name, "data-source"]
            target.prepare()
        if "noop" in parts:
            found["noop"] = noop(target, options.converges)
        if "startup" in parts:
            found["startup"] = startup(target, options.runs)
        if "rto" in parts:
            found["rto"] = rto(options, target, run)
    finally:
        hosts.down(*made)
    output = Path(hosts.ROOT, "tests", "output")
    output.mkdir(exist_ok=True)
    (output / f"bench-data-{'-'.join(parts)}.json").write_text(json.dumps(found, indent=1))
    print(tables(found))
    return 0
