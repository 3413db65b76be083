"""What is started, kept and removed of the sidecars that all checkouts of a machine share."""

from __future__ import annotations

import select
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bed import hosts, sidecars

Resumed = Callable[..., list[str]]


@pytest.fixture
def resumed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Resumed:
    """Resume a sidecar in the given state; what was done to it comes back."""

    def resume(*, exists: bool = True, running: bool = False, owner: Path = tmp_path, code: int = 0) -> list[str]:
        done: list[str] = []

        def run(*argv: str, **_: bool) -> subprocess.CompletedProcess[bytes]:
            done.append(argv[1])
            return subprocess.CompletedProcess(argv, code)

        monkeypatch.setattr(hosts, "exists", lambda _: exists)
        monkeypatch.setattr(hosts, "running", lambda _: running)
        monkeypatch.setattr(hosts, "owner", lambda _: owner)
        monkeypatch.setattr(hosts, "down", lambda _: done.append("down"))
        monkeypatch.setattr(sidecars, "run", run)
        sidecars._resume("headscale")
        return done

    return resume


def test_what_runs_or_is_not_there_is_left_alone(resumed: Resumed) -> None:
    assert resumed(running=True) == []
    assert resumed(exists=False) == []


def test_a_stopped_one_is_started_whoever_made_it(resumed: Resumed, tmp_path: Path) -> None:
    assert tmp_path != hosts.STATE
    assert resumed() == ["start"]


def test_one_that_cannot_start_or_whose_checkout_is_gone_is_removed(resumed: Resumed, tmp_path: Path) -> None:
    assert resumed(code=1) == ["start", "down"]
    assert resumed(owner=tmp_path / "gone") == ["down"]


# A process of its own, as every checkout is: a forked one would inherit the lock that it waits for.
OTHER = """\
import sys
from tests.bed import hosts
print("trying", flush=True)
with hosts.locked("thing", machine=sys.argv[1] == "True"):
    print("entered", flush=True)
"""


@pytest.mark.parametrize("machine", [False, True])
def test_a_lock_of_the_machine_keeps_other_checkouts_out(
    machine: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAPFLUX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SAPFLUX_BED_STATE", str(tmp_path / "two"))
    monkeypatch.setattr(hosts, "STATE", tmp_path / "one")
    command = [sys.executable, "-c", OTHER, str(machine)]
    with hosts.locked("thing", machine=machine):
        other = subprocess.Popen(command, cwd=hosts.ROOT, stdout=subprocess.PIPE, bufsize=0)
        assert other.stdout is not None
        assert other.stdout.readline() == b"trying\n"
        # One that is not kept out comes in at once; one that is has no way to say so, hence the short wait.
        ready, _, _ = select.select([other.stdout], [], [], 0.5 if machine else 60)
        assert bool(ready) is not machine
    assert other.communicate(timeout=60)[0] == b"entered\n"
