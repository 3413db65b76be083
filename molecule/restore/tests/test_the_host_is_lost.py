"""The last tests of the scenario: the first host is cut off from power, and an empty one takes its place."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from testinfra.host import Host

from tests.bed.hosts import container
from tests.recovery import NOTES, archive_all, fingerprint, notes, pgsafe, sql
from tests.scenario import ROOT, environment

#: What the archive may be behind: archive_timeout of this scenario, the segment's way, and a loaded machine.
LIMIT = 45


def apply(**variables: object) -> subprocess.CompletedProcess[str]:
    """The roles postgres and walg on the second host."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as extra:
        json.dump(variables, extra)
        extra.flush()
        return subprocess.run(
            [
                "ansible-playbook",
                "-i",
                str(ROOT / "molecule" / "inventory"),
                str(ROOT / "molecule" / "restore" / "bare.yml"),
                "--extra-vars",
                f"@{extra.name}",
            ],
            env=environment(),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def lost(host: Host) -> dict[str, float]:
    """Power goes while a row is written every 0.2 s; what was acknowledged is on the dead host's disk."""
    archive_all(host)
    at = time.time()
    docker("kill", container("restore-1"))
    with tempfile.TemporaryDirectory() as folder:
        docker("cp", f"{container('restore-1')}:{NOTES}", folder)
        acknowledged = notes((Path(folder) / Path(NOTES).name).read_text())
    # on the same machine: one clock
    return {"at": at, "number": acknowledged[-1].number}


def test_an_empty_host_does_not_write_into_the_archive(lost: dict[str, float], peer: Host) -> None:
    """Without a word about it the archive of another cluster is refused, with both ways out."""
    assert lost
    done = apply()
    assert done.returncode != 0
    assert "belongs to another cluster" in done.stdout
    done = apply(walg_bootstrap="new")
    assert done.returncode != 0
    assert "bring it back with walg_bootstrap: restore, or confirm with walg_bootstrap_confirm: s3://" in done.stdout
    assert sql(peer, "SELECT count(*) FROM pg_class WHERE relname = 'marker'") == "0"


def test_an_empty_host_brings_the_cluster_back(lost: dict[str, float], peer: Host) -> None:
    """Every archived row is there; the newest lost one is as old as the archive was behind; archiving goes on."""
    began = time.monotonic()
    done = apply(walg_bootstrap="restore")
    print(f"bare metal: {time.monotonic() - began:.0f} s for both roles on a host with the packages")
    assert done.returncode == 0, done.stdout
    kept = int(sql(peer, "SELECT max(id) FROM marker"))
    assert sql(peer, "SELECT count(*) = max(id) FROM marker") == "t"
    last = float(sql(peer, "SELECT extract(epoch FROM max(at)) FROM marker"))
    print(f"RPO: {lost['at'] - last:.1f} s, {int(lost['number']) - kept} acknowledged rows")
    assert lost["at"] - last < LIMIT
    found = pgsafe(peer, "window")
    assert len(found["backups"]) == 1
    archive_all(peer)
    assert pgsafe(peer, "status")["problems"] == []
    assert sql(peer, "SELECT count(*) FROM tree WHERE note = 'would be lost'") == "1"


def test_said_again_it_does_nothing(peer: Host) -> None:
    before = fingerprint(peer)
    done = apply(walg_bootstrap="restore")
    assert done.returncode == 0, done.stdout
    assert "changed=0 " in done.stdout, done.stdout
    assert fingerprint(peer) == before
