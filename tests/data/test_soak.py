"""Ten minutes without a store, and ten power cuts, with rows written all the while: no acknowledged one is lost."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

import pytest

from tests.bed import hosts, sidecars
from tests.bench.data import Writer
from tests.bench.machines import Machine
from tests.scenario import wait_until

OUTAGE_SECONDS, KILLS = 600, 10
WAL_MB = "SELECT sum(size) / 1048576 FROM pg_ls_waldir()"


@pytest.fixture
def machines() -> Iterator[tuple[Machine, Machine]]:
    """A host that archives, and one that restores."""
    run = f"soak/{time.strftime('%Y%m%dT%H%M%S')}"
    pair = Machine("data-soak", f"{run}/source", {"postgres_archive_timeout": 10}), Machine("data-copy", f"{run}/copy")
    for machine in pair:
        machine.prepare()
    pair[0].sql("CREATE TABLE beat (id bigserial PRIMARY KEY, at timestamptz DEFAULT clock_timestamp())")
    yield pair
    hosts.down(*(machine.name for machine in pair))


def every_row_is_restored(source: Machine, copy: Machine, writer: Writer) -> None:
    """Everything that was acknowledged, here and in a restore on another machine."""
    rows = "SELECT count(*), count(DISTINCT id), max(id) FROM beat"
    source.archived_all()
    assert int(source.sql("SELECT count(*) FROM beat")) >= len(writer.acknowledged) > 0
    copy.restore(source.prefix)
    assert copy.sql(rows) == source.sql(rows)


@pytest.mark.soak
def test_ten_minutes_without_a_store(machines: tuple[Machine, Machine]) -> None:
    """WAL waits and is told within five minutes; no more of it than was written; all of it arrives."""
    source, copy = machines
    writer = Writer(source)
    writer.start()
    before = float(source.sql(WAL_MB))
    source.sh(f"ip route add unreachable {sidecars.MINIO.address}/32")
    began, told = time.monotonic(), 0.0
    try:
        while time.monotonic() - began < OUTAGE_SECONDS:
            # a row and a segment every ten seconds, by archive_timeout
            if not told and "segments wait" in source.sh("pgsafe check || true"):
                told = time.monotonic() - began
            time.sleep(5)
        waiting = int(source.sql("SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'"))
        grown = float(source.sql(WAL_MB)) - before
    finally:
        source.sh(f"ip route del unreachable {sidecars.MINIO.address}/32")
    assert 0 < told < 300
    assert waiting >= OUTAGE_SECONDS / 10 * 0.8
    assert grown <= (waiting + 4) * 16
    wait_until(lambda: "all well" in source.sh("pgsafe check || true"), "the end of the alarm", 600)
    writer.stop()
    every_row_is_restored(source, copy, writer)


@pytest.mark.soak
def test_ten_power_cuts(machines: tuple[Machine, Machine]) -> None:
    """At random moments; the archive goes on each time, without a gap."""
    source, copy = machines
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    generator = random.Random(seed)
    writer = Writer(source)
    for _ in range(KILLS):
        writer.start()
        time.sleep(generator.uniform(5, 30))
        source.kill()
        writer.end()
        source.revive()
    every_row_is_restored(source, copy, writer)
