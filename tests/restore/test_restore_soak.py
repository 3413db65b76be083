"""Restores at full size, every night: 20 random moments, a kill at every step, and a gigabyte against the clock."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import testinfra
from testinfra.host import Host

from tests.bed.hosts import ssh_config
from tests.recovery import (
    REPORTS,
    RESTORES,
    archive_all,
    confirmation,
    is_exact,
    killed_at,
    marker_rows,
    pgsafe,
    seconds,
    sql,
    stamp,
)
from tests.scenario import ROOT, environment, wait_until

pytestmark = pytest.mark.soak

LAST = "'app:SELECT max(id) FROM marker'"
STEPS = [
    "stop_app", "stop_server", "drain", "fence", "fetch", "replay", "decide", "promote", "swap", "move_on", "unfence",
    "start_server", "backup", "start_app",
]  # fmt: skip
#: Promised for a gigabyte, in seconds.
DRILL, RESTORE = 600, 300


def molecule(*steps: str) -> None:
    for step in steps:
        done = subprocess.run(
            [str(Path(sys.executable).parent / "molecule"), step, "-s", "restore"],
            env={**environment(), "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    """The scenario's host, with rows that arrive five times a second."""
    molecule("destroy", "create", "prepare", "converge")
    found = testinfra.get_host("ssh://restore-1", ssh_config=str(ssh_config()), sudo=True)
    sql(found, "CREATE TABLE tree AS SELECT generate_series(1, 100) AS id")
    yield found
    molecule("destroy")


def now(host: Host) -> float:
    return float(host.check_output("date +%s.%N"))


def test_twenty_random_moments(host: Host) -> None:
    """The last commit that is kept <= the target < the next one, 20 of 20."""
    begin = now(host)
    wait_until(lambda: now(host) > begin + 60, "a minute of rows", 120)
    archive_all(host)
    exact = 0
    for number in range(20):
        found = pgsafe(host, "window")
        target = random.uniform(max(begin, seconds(found["oldest"])), seconds(found["newest"]))
        options = f"--name r{number} --to {stamp(target)}"
        receipt = pgsafe(host, f"restore {options} --probe {LAST}")
        host.check_output(f"rm -r {RESTORES}/r{number}")
        exact += is_exact(marker_rows(host), int(receipt["probes"][0]["answer"]), target)
    print(f"PITR accuracy: {exact} of 20")
    assert exact == 20


@pytest.mark.parametrize("way", ["resume", "undo"])
@pytest.mark.parametrize("step", STEPS)
def test_killed_at_every_step(host: Host, step: str, way: str) -> None:
    """Finished, it is exact and all of it is archived; taken back, every row is there again."""
    pgsafe(host, "backup --wait 600")
    archive_all(host)
    rows = marker_rows(host)
    target = rows[-5].after + 0.01
    if seconds(pgsafe(host, "window")["oldest"]) > target:
        target = seconds(pgsafe(host, "window")["oldest"]) + 0.5
    killed_at(host, step, f"--in-place --promote --to {stamp(target)} --confirm {confirmation(host)}", 0.05)
    result = pgsafe(host, f"restore --{way}")
    wait_until(lambda: host.run("systemctl is-active molecule-app.service").rc == 0, "the application's start", 120)
    if way == "resume":
        assert result["state"] == "done"
        kept = int(sql(host, f"SELECT max(id) FROM marker WHERE at <= '{stamp(target)}'"))  # noqa: S608 - a moment
        assert is_exact(rows, kept, target)
        host.check_output(f"rm -r {result['aside']}")
    else:
        assert result["state"] == "undone"
        assert int(sql(host, "SELECT max(id) FROM marker")) >= rows[-1].number
        if result["kept"]:
            host.check_output(f"rm -r {result['kept']}")
    archive_all(host)
    assert [problem for problem in pgsafe(host, "status")["problems"] if "drill" not in problem] == []


def test_a_gigabyte_in_time(host: Host) -> None:
    """pgbench's gigabyte: the drill of the timer, and the cluster itself, with what each part of it took."""
    binaries = "/usr/lib/postgresql/17/bin"
    host.check_output(f"cd / && runuser -u postgres -- {binaries}/pgbench -iq -s 70 app")
    pgsafe(host, "backup --wait 600")
    archive_all(host)
    host.check_output("systemctl start sapflux-drill.service")
    drill = json.loads(host.file(f"{REPORTS}/drill.json").content_string)
    peak = host.check_output("journalctl -u sapflux-drill.service --no-pager -n 20 -o cat")
    print(f"drill of 1 GB: {drill['seconds']} s {drill['parts']}, RTO {drill['rto_seconds']} s\n{peak}")
    assert drill["outcome"] == "passed", drill["reason"]
    assert drill["seconds"] <= DRILL
    receipt = pgsafe(host, f"restore --in-place --promote --confirm {confirmation(host)}")
    print(
        f"restore of 1 GB in place: RTO {receipt['rto_seconds']} s, RPO {receipt['rpo_seconds']} s {receipt['seconds']}"
    )
    assert receipt["rto_seconds"] <= RESTORE
    assert sql(host, "SELECT count(*) FROM pgbench_accounts") == "7000000"
