"""Hosts and runs of the end-to-end tests."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.bed import engine, hosts, shell
from tests.bed.stage import Stage

RECAP = re.compile(r"^(\S+)\s+: ok=(\d+)\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", re.MULTILINE)


ARGUMENTS = "/root/arguments-seen"
# Every argument of every process that a host shows while it is converged, each once.
SAMPLER = f"""
import glob, os, time
os.umask(0o077)
seen = set()
with open("{ARGUMENTS}", "ab", buffering=0) as out:
    while True:
        for path in glob.glob("/proc/[0-9]*/cmdline"):
            try:
                with open(path, "rb") as stream:
                    words = stream.read().split(bytes(1))
            except OSError:
                continue
            for word in words:
                if word not in seen:
                    seen.add(word)
                    out.write(word + b"\\n")
        time.sleep(0.05)
"""


@dataclass(frozen=True)
class Run:
    """What one run of ansible-playbook did."""

    code: int
    output: str

    @property
    def changed(self) -> int:
        """How many tasks changed something, over all hosts."""
        return sum(int(match[3]) for match in RECAP.finditer(self.output))

    def changes(self) -> list[str]:
        """The tasks that changed something."""
        task, found = "", []
        for line in self.output.splitlines():
            if line.startswith("TASK ["):
                task = line
            elif line.startswith("changed:"):
                found.append(task)
        return found


def play(stage: Stage, name: str, *arguments: str, env: dict[str, str] | None = None) -> Run:
    """Run a playbook of the checkout to its end."""
    done = subprocess.run(
        stage.playbook(name, *arguments),
        cwd=hosts.ROOT,
        env=stage.environment() | (env or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    output = done.stdout.decode(errors="replace")
    print(output)
    return Run(done.returncode, output)


@pytest.fixture(scope="session")
def keep() -> bool:
    """Keep hosts after the tests, to look around: SAPFLUX_KEEP=1."""
    return os.environ.get("SAPFLUX_KEEP") == "1"


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory, keep: bool) -> Iterator[Stage]:
    """An empty host that nothing may change: the refusals are tested on it."""
    engine.ensure()
    stage = Stage("site-fresh", tmp_path_factory.mktemp("fresh"))
    stage.remove()
    stage.prepare()
    yield stage
    if not keep:
        stage.remove()


@pytest.fixture(scope="session")
def first(tmp_path_factory: pytest.TempPathFactory, keep: bool) -> Iterator[tuple[Stage, Run]]:
    """An environment converged once from nothing, with that first run."""
    engine.ensure()
    stage = Stage("site-1", tmp_path_factory.mktemp("site"))
    stage.remove()
    stage.prepare()
    shell.run("docker", "exec", "--detach", hosts.container(stage.host), "python3", "-c", SAMPLER)
    run = play(stage, "site.yml")
    yield stage, run
    if not keep:
        stage.remove()


@pytest.fixture(scope="session")
def site(first: tuple[Stage, Run]) -> Stage:
    """The converged environment."""
    stage, run = first
    assert run.code == 0, "\n".join(run.output.splitlines()[-40:])
    return stage


@pytest.fixture
def document(fresh: Stage) -> Iterator[Path]:
    """The fresh environment's document, put back after the test that edits it."""
    path = fresh.inventory / "group_vars" / "all" / "site.yml"
    before = path.read_text()
    yield path
    path.write_text(before)
