"""A drill beside a server that is in use: how long it takes, and what those who use the server notice of it."""

from __future__ import annotations

import json
import os
import subprocess
import time
from typing import Any

from tests.bed import hosts

from .machines import HOME, Machine, note

_BIN = "/usr/lib/postgresql/17/bin"
_RESULT = "/var/lib/sapflux/walg/drill.json"
#: pgbench's tables take that many MB for each unit of its scale.
_MB_A_SCALE = 15
#: Transactions a second: far more than the application has, far less than the server can do.
_RATE = 100
_QUIET_SECONDS = 60


def percentile(values: list[float], share: float) -> float:
    """The value that this share of all values does not exceed."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def latencies(log: str) -> list[tuple[float, float]]:
    """pgbench's log of transactions -> [(moment of the end, s since the epoch; latency from when it was due, ms)]."""
    rows = [line.split() for line in log.splitlines()]
    return [(int(row[4]) + int(row[5]) / 1e6, int(row[2]) / 1e3) for row in rows if len(row) >= 6]


def drill(megabytes: int, rounds: int, run: str) -> dict[str, Any]:
    """Turns of a quiet minute and a drill, as the timer starts it, with pgbench all the while.

    {megabytes, rate, drills: [{seconds, rto_seconds, parts, load}], quiet_ms, beside_ms: p95 of each turn}
    """
    machine = Machine("data-drill", f"{run}/drill")
    machine.prepare()
    machine.sh(f"install -d -o postgres {HOME}")
    machine.postgres(f"{_BIN}/pgbench", "-iq", "-s", str(max(1, megabytes // _MB_A_SCALE)), "app")
    machine.postgres("/usr/local/lib/sapflux/walg/pgsafe", "backup")
    machine.archived_all()
    argv = [
        f"{_BIN}/pgbench",
        "-n",
        "-c",
        "4",
        "-R",
        str(_RATE),
        "-T",
        "36000",
        "-l",
        f"--log-prefix={HOME}/load",
        "app",
    ]
    inside = ["docker", "exec", "-u", "postgres", "-w", HOME, hosts.container(machine.name)]
    load = subprocess.Popen([*inside, *argv], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        spans, drills = _turns(machine, rounds)
    finally:
        machine.sh("pkill -x pgbench; true")
        load.wait(timeout=60)
    seen = latencies(machine.sh(f"cat {HOME}/load.*"))
    hosts.down(machine.name)

    def p95(begin: float, end: float) -> float:
        return percentile([took for at, took in seen if begin <= at < end], 0.95)

    return {
        "megabytes": megabytes,
        "rate": _RATE,
        "drills": drills,
        "quiet_ms": [p95(*quiet) for quiet, _ in spans],
        "beside_ms": [p95(*beside) for _, beside in spans],
    }


def _turns(machine: Machine, rounds: int) -> tuple[list[tuple[tuple[float, float], tuple[float, float]]], list[Any]]:
    """[(span of the quiet minute, span of the drill), seconds since the epoch], and what each drill measured."""
    spans, drills = [], []
    time.sleep(10)
    for _ in range(rounds):
        begin = time.time()
        time.sleep(_QUIET_SECONDS)
        middle = time.time()
        machine.sh("systemctl start sapflux-drill.service")
        end = time.time()
        spans.append(((begin, middle), (middle, end)))
        found = json.loads(machine.sh(f"cat {_RESULT}"))
        drills.append({name: found[name] for name in ("seconds", "rto_seconds", "parts", "outcome", "segments")})
        note(f"drill: {drills[-1]}, load {os.getloadavg()[0]:.1f}")
    return spans, drills


def table(found: dict[str, Any]) -> list[str]:
    """The result as Markdown."""
    lines = [
        "",
        f"{found['megabytes']} MB, pgbench with {found['rate']} transactions a second",
        "",
        "| drill, s | fetch | replay | promote | checks | p95 of the minute before, ms | p95 beside it, ms |",
        "|---|---|---|---|---|---|---|",
    ]
    for one, quiet, beside in zip(found["drills"], found["quiet_ms"], found["beside_ms"], strict=True):
        parts = " | ".join(f"{one['parts'][name]:.1f}" for name in ("fetch", "replay", "promote", "checks"))
        lines.append(f"| {one['seconds']:.0f} | {parts} | {quiet:.1f} | {beside:.1f} |")
    return lines
