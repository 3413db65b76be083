"""What the molecule scenarios' tests share: running the role again, a container image made of the host, connections."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testinfra.host import Host

from tests.bed import hosts

ROOT = Path(__file__).resolve().parents[1]
IMAGE = "scenario/python:1"
TABLES: list[str] = []
RECAP = re.compile(r"ok=\d+\s+changed=(\d+)\s+unreachable")


def environment() -> dict[str, str]:
    """The environment in which ansible finds the collection of this checkout."""
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "MOLECULE_PROJECT_DIRECTORY": str(ROOT),
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".ansible" / "collections"),
        "ANSIBLE_PIPELINING": "true",
        "ANSIBLE_INJECT_FACT_VARS": "false",
        "ANSIBLE_FORCE_COLOR": "false",
        "ANSIBLE_NOCOLOR": "true",
    }


def converge(
    scenario: str, *args: str, inventory: Path = ROOT / "molecule" / "inventory", **variables: Any
) -> subprocess.CompletedProcess[str]:
    """Apply the scenario's role (or its own converge.yml) again; `variables` win over the inventory's.

    stdout holds all that ansible says.
    """
    own = ROOT / "molecule" / scenario / "converge.yml"
    playbook = own if own.exists() else ROOT / "molecule" / "shared" / "converge.yml"
    argv = ["ansible-playbook", "-i", str(inventory), "--limit", f"{scenario},localhost", str(playbook), *args]
    env = {**environment(), "MOLECULE_SCENARIO_NAME": scenario}
    # The scenario's own callback fails a check run that predicts a change; here such a run may be what is asked for.
    env.pop("ANSIBLE_CALLBACKS_ENABLED", None)
    with tempfile.NamedTemporaryFile("w", suffix=".json") as extra:
        # A file, because what is in argv can be read by everybody on this machine.
        json.dump(variables, extra)
        extra.flush()
        return subprocess.run(
            [*argv, "--extra-vars", f"@{extra.name}"],
            env=env,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )


@dataclass(frozen=True)
class Applied:
    """How a run ended: exit code of ansible-playbook, number of changed tasks, everything it printed."""

    rc: int
    changed: int
    output: str


def apply(variables: Mapping[str, Any] | None = None, *options: str) -> Applied:
    """Apply the role of the scenario that is being verified; `options` are for ansible-playbook."""
    done = converge(os.environ["MOLECULE_SCENARIO_NAME"], *options, **(variables or {}))
    recap = RECAP.search(done.stdout)
    return Applied(done.returncode, int(recap[1]) if recap else 0, done.stdout)


def unchanged(done: subprocess.CompletedProcess[str]) -> bool:
    """Tell whether a run went through without a change."""
    return done.returncode == 0 and "changed=0 " in done.stdout


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Wait for a condition; fail with `what` when it does not come."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds:g} s"
        time.sleep(0.3)


def python_image(host: Host) -> str:
    """Import the host's own Python as a container image and return its name; no registry is asked."""
    if host.run(f"docker image inspect {IMAGE}").rc != 0:
        host.check_output(
            "set -e; python=$(readlink -f /usr/bin/python3); "
            "tar --create --dereference --directory=/ usr/bin/python3 usr/lib/${python##*/} "
            "$(ldd $python | grep -o '/[^ ]*' | cut -c2-) | docker import - " + IMAGE
        )
    return IMAGE


CONNECT = (
    "import socket,sys; s=socket.socket(10 if chr(58) in sys.argv[1] else 2); s.settimeout(float(sys.argv[3])); "
    "len(sys.argv) > 4 and s.bind((sys.argv[4], 0)); "
    "sys.exit(0 if s.connect_ex((sys.argv[1], int(sys.argv[2]))) == 0 else 7)"
)


def connects(host: Host, address: str, port: int, source: str = "", container: str = "", seconds: float = 15) -> bool:
    """Tell whether a TCP connection from the host (or from one of its containers) to a port comes up in time."""
    inside = f"docker exec {container} " if container else ""
    done = host.run(f"{inside}python3 -c '{CONNECT}' {address} {port} {seconds:g} {source}")
    assert done.rc in (0, 7), f"the attempt itself failed: {done.stderr}"
    return bool(done.rc == 0)


def blocked(host: Host, address: str, port: int, source: str = "", container: str = "") -> bool:
    """Tell whether a connection does not come up within 2 s: on one network segment an open port answers at once."""
    return not connects(host, address, port, source, container, seconds=2)


def sweep(host: Host, jobs: Mapping[str, Mapping[str, Any]], netns: str = "") -> dict[str, dict[str, Any]]:
    """Knock on ports from a host, or from one of its network namespaces, all jobs side by side.

    Jobs and answers are those of tests/bed/sweep.py: {name: {address, protocol, ports, ...}} gives
    {name: {open: [port], closed: count, silent: count, seconds}}. 65535 ports take about 5 s.
    """
    program = (ROOT / "tests" / "bed" / "sweep.py").read_text(encoding="utf-8")
    inside = f"ip netns exec {netns} " if netns else ""
    answer = host.check_output(f"{inside}python3 -c {shlex.quote(program)} {shlex.quote(json.dumps(jobs))}")
    found: dict[str, dict[str, Any]] = json.loads(answer)
    return found


def table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Have a table printed at the end of the test run, whether its tests pass or not."""
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    shown = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    TABLES.append("\n".join([title, *shown]))


def reboot(name: str) -> None:
    """Restart a host of the bed and wait until it answers over SSH: what is only in memory is gone."""
    subprocess.run(["docker", "restart", hosts.container(name)], check=True, stdout=subprocess.DEVNULL)
    hosts.up(name)
