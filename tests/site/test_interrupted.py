"""The controller is killed in the middle of a first converge: the next run ends converged, wherever it was."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
import uuid
from pathlib import Path

import pytest

from tests.bed import hosts
from tests.bed.stage import Stage
from tests.site.conftest import play

# A first run has about this many tasks that are not skipped; a number past its end would kill nothing, and fails.
TASKS = 32


def kill_all(marker: str) -> None:
    """SIGKILL every process that carries the marker in its environment.

    Ansible's workers and SSH's shared connections are in sessions of their own, out of reach of a process group.
    """
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if marker.encode() in (entry / "environ").read_bytes():
                os.kill(int(entry.name), signal.SIGKILL)


def kill_at(stage: Stage, task: int, delay: float) -> str:
    """Start site.yml and SIGKILL it with all it started `delay` seconds into its task number `task`."""
    marker = f"SAPFLUX_TEST_RUN={uuid.uuid4()}"
    name, value = marker.split("=")
    process = subprocess.Popen(
        stage.playbook("site.yml"),
        cwd=hosts.ROOT,
        env=stage.environment() | {name: value},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    assert process.stdout is not None
    seen, last = 0, ""
    for raw in process.stdout:
        if raw.startswith(b"TASK ["):
            seen, last = seen + 1, raw.decode().strip()
            if seen == task:
                time.sleep(delay)
                kill_all(marker)
                break
    process.wait()
    assert process.returncode == -signal.SIGKILL, f"the run ended by itself after {seen} tasks: {last}"
    return last


def kill_and_converge(stage: Stage, generator: random.Random) -> None:
    task, delay = generator.randint(4, TASKS), generator.random() * 3
    stage.remove()
    stage.prepare()
    where = kill_at(stage, task, delay)
    print(f"killed {delay:.2f} s into task {task}: {where}")
    again = play(stage, "site.yml")
    assert again.code == 0, f"killed in {where}:\n" + "\n".join(again.output.splitlines()[-40:])
    third = play(stage, "site.yml")
    assert third.code == 0
    assert third.changed == 0, f"killed in {where}: {third.changes()}"


def test_killed_once(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    stage = Stage("site-killed", tmp_path)
    kill_and_converge(stage, random.Random(seed))
    stage.remove()


@pytest.mark.soak
def test_killed_at_ten_random_tasks(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    generator = random.Random(seed)
    stage = Stage("soak-killed", tmp_path)
    for _ in range(10):
        kill_and_converge(stage, generator)
    stage.remove()
