"""`python -m tests.bench noop`, `memory` (of the demo's host), `data` and `deploy` (of hosts of their own): figures."""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from tests.bed import hosts, stage
from tests.bed.shell import BedError, say, tell, text

from . import data, deploy
from .machines import PROFILED

HOST = "demo"


def _row(name: str, values: Sequence[float], unit: str) -> str:
    return (
        f"{name:34s} {min(values):8.2f} {statistics.median(values):8.2f} {max(values):8.2f} {unit}   (n={len(values)})"
    )


def noop(runs: int) -> None:
    """Wall time of site.yml on a host that needs nothing, its tasks, and what the time is made of."""
    demo = stage.Stage(HOST, stage.LOCAL)
    environment = demo.environment() | {
        "ANSIBLE_CALLBACKS_ENABLED": "ansible.posix.profile_tasks",
        "ANSIBLE_DISPLAY_SKIPPED_HOSTS": "true",
    }
    walls: list[float] = []
    tasks: dict[str, list[float]] = {}
    count = skipped = 0
    for number in range(runs + 1):
        before = time.monotonic()
        done = subprocess.run(
            demo.playbook("site.yml"), cwd=hosts.ROOT, env=environment, capture_output=True, check=False
        )
        wall = time.monotonic() - before
        output = done.stdout.decode()
        if done.returncode != 0:
            raise BedError("site.yml failed:\n" + "\n".join(output.splitlines()[-15:]), hint="./justw demo")
        if "changed=0" not in output:
            raise BedError("the host was not converged: site.yml changed something", hint="run it again")
        say(f"run {number}: {wall:.2f} s{' (warm-up, not counted)' if number == 0 else ''}")
        if number == 0:
            continue
        walls.append(wall)
        count = len(re.findall(r"^(?:ok|changed): \[", output, re.MULTILINE))
        skipped = len(re.findall(r"^skipping: \[", output, re.MULTILINE))
        for line in output.splitlines():
            if match := PROFILED.match(line.strip()):
                tasks.setdefault(match["task"], []).append(float(match["seconds"]))
    print(f"load of this machine before the end: {os.getloadavg()[0]:.2f} on {os.cpu_count()} cores")
    print(f"{'site.yml, nothing to do':34s} {'min':>8s} {'median':>8s} {'max':>8s}")
    print(_row("wall", walls, "s"))
    print(f"tasks run {count}, skipped {skipped}")
    print("\nthe slowest tasks (median seconds)")
    for task, values in sorted(tasks.items(), key=lambda item: -statistics.median(item[1])):
        print(f"  {statistics.median(values):6.2f}  {task}")


def memory() -> None:
    """Proportional memory of the idle host, component by component, and what its cgroup is charged."""
    script = (
        "for p in /proc/[0-9]*; do [ -r $p/smaps_rollup ] || continue; "
        "c=$(tr '\\0' ' ' <$p/cmdline | cut -c1-60); [ -n \"$c\" ] || continue; "
        "echo \"$(awk '/^Pss:/{print $2}' $p/smaps_rollup) $(cat $p/comm) $(cut -d: -f3 $p/cgroup | tail -n1)\"; done"
    )
    groups: dict[str, int] = {}
    for line in hosts.execute(HOST, script).splitlines():
        pss, comm, group = line.split(" ", 2)
        groups[_component(comm, group)] = groups.get(_component(comm, group), 0) + int(pss or 0)
    print(f"{'component':28s} {'PSS MiB':>8s}")
    for name, kib in sorted(groups.items(), key=lambda item: -item[1]):
        print(f"{name:28s} {kib / 1024:8.1f}")
    print(f"{'sum':28s} {sum(groups.values()) / 1024:8.1f}")
    used = text("docker", "stats", "--no-stream", "--format", "{{.MemUsage}}", hosts.container(HOST))
    print(f"charged to the host by the kernel (page cache less inactive files included): {used}")


def _component(comm: str, group: str) -> str:
    if "docker-" in group or "/docker/" in group:
        return f"container: {comm}"
    for unit, name in (
        ("postgresql", "PostgreSQL"),
        ("caddy", "Caddy"),
        ("docker", "dockerd"),
        ("containerd", "containerd"),
        ("journald", "journald"),
        ("ssh", "sshd"),
    ):
        if unit in group:
            return name
    return f"system: {comm}"


def main() -> int:
    """Run one measurement; 1 = it could not be made, and why."""
    if sys.argv[1:2] == ["data"]:
        return _told(lambda: data.main(sys.argv[2:]))
    if sys.argv[1:2] == ["deploy"]:
        return _told(lambda: deploy.main(sys.argv[2:]))
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument(
        "what", choices=["noop", "memory", "data", "deploy"], help="data and deploy have options of their own"
    )
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    return _told(lambda: _of_the_demo(args.what, args.runs))


def _of_the_demo(what: str, runs: int) -> int:
    if not hosts.running(HOST):
        raise BedError("the demo is not up", hint="./justw demo")
    if what == "noop":
        noop(runs)
    else:
        memory()
    return 0


def _told(measure: Callable[[], int]) -> int:
    """Run a measurement; 1 = it could not be made, and why stands on stderr."""
    try:
        return measure()
    except BedError as error:
        return tell(error)


if __name__ == "__main__":
    sys.exit(main())
