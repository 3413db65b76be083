"""`python -m tests.bench deploy`: ten deploys and three rollbacks under load, and the same with plain Compose.

Uses the hosts of the scenario `deploy` (`molecule converge -s deploy` makes them). The load comes from the second one.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from tests.bed import hosts
from tests.bed.shell import BedError
from tests.load import Load, Report
from tests.scenario import Applied, apply

HOST, PEER = "deploy-1", "deploy-peer"
BASE = "/var/lib/sapflux/app/shop"
PLAIN = "/root/plain"
VERSIONS = ("v1", "v2")
#: Seconds from the command to the new release serving, when its image is on the host.
SERVING_LIMIT = 20


def note(message: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {message}", file=sys.stderr, flush=True)


def role(**variables: Any) -> Applied:
    """Apply the role app once, as a deploy does."""
    done = apply({"molecule_app_only": True, "app_watch_seconds": 2, **variables})
    if done.rc != 0:
        raise BedError(f"a deploy failed: {done.output[-1500:]}")
    return done


def receipt() -> dict[str, Any]:
    """The newest line of the record."""
    return dict(json.loads(hosts.execute(HOST, f"tail -n 1 {BASE}/releases.jsonl")))


def serving_since() -> float:
    """The moment at which Caddy was told of the slot that serves; hosts of the bed share this machine's clock."""
    return float(hosts.execute(HOST, "stat --format=%.9Y /etc/sapflux/upstreams/shop-api"))


def ours(number: int, rollback: bool) -> dict[str, Any]:
    """One change with the collection: two versions in turn with another secret each, or one step back."""
    began = time.time()
    if rollback:
        role(molecule_tasks_from="release", app_action="rollback")
    else:
        role(molecule_image=VERSIONS[number % 2], molecule_token=f"token-{number}")
    return {**receipt(), "command_to_serving": serving_since() - began}


def plain(number: int, rollback: bool) -> dict[str, Any]:
    """The same change with `docker compose up -d`."""
    images = json.loads((hosts.ROOT / ".bed" / "molecule-deploy.json").read_text())["images"]
    image = images[VERSIONS[(number + rollback) % 2]]
    compose = {
        "services": {
            "api": {
                "image": image,
                "init": True,
                "ports": ["127.0.0.1:18070:8080"],
                "environment": {"NUMBER": str(number), "SECRETS_FILE": "/dev/null"},
            }
        }
    }
    began = time.monotonic()
    write = f"mkdir -p {PLAIN} && cat >{PLAIN}/compose.yaml"
    hosts.execute(HOST, write, stdin=json.dumps(compose).encode())
    hosts.execute(HOST, f"docker compose --project-directory {PLAIN} up --detach --quiet-pull 2>&1")
    return {"seconds": round(time.monotonic() - began, 1)}


def measure(
    hostname: str, change: Callable[[int, bool], dict[str, Any]], args: argparse.Namespace
) -> tuple[Report, float, float, list[dict[str, Any]], list[float]]:
    """(report, p99 before, p99 during, receipts, wall seconds of each change) under one load."""
    receipts, walls = [], []
    with Load(PEER, hosts.address(HOST), hostname, rate=args.rate) as load:
        time.sleep(args.before)
        switched = load.now()
        for number in range(args.deploys + args.rollbacks):
            rollback = number >= args.deploys
            began = time.monotonic()
            receipts.append(change(number, rollback))
            walls.append(time.monotonic() - began)
            note(f"{hostname}: change {number + 1} took {walls[-1]:.1f} s")
        ended = load.now()
    return load.report, load.report.p99(until=switched), load.report.p99(switched, ended), receipts, walls


def spread(values: Sequence[float]) -> str:
    """Least, median and most."""
    ordered = sorted(values)
    return f"{ordered[0]:.1f} / {ordered[len(ordered) // 2]:.1f} / {ordered[-1]:.1f} s (min / median / max)"


def show(title: str, report: Report, before: float, during: float, walls: Sequence[float]) -> None:
    """A block of figures."""
    uploads, slow = report.of("upload"), report.of("slow")
    print(f"\n{title}")
    print(f"  requests                {len(report.rows)}, failed {len(report.failed)} {report.errors() or ''}".rstrip())
    if report.failed:
        start, moments = min(row[1] for row in report.rows), sorted(row[1] for row in report.failed)
        print(f"  they failed             {moments[0] - start:.1f} to {moments[-1] - start:.1f} s after the load began")
    print(f"  uploads of some seconds {len(uploads)}, failed {sum(1 for row in uploads if row[3])}")
    print(f"  answers of 3 seconds    {len(slow)}, failed {sum(1 for row in slow if row[3])}")
    print(f"  open connections        {report.workers}, opened again {report.opened - report.workers}")
    print(
        f"  p99 of GET              {before * 1000:.0f} ms before, {during * 1000:.0f} during: {during / before:.2f} x"
    )
    print(f"  a change, whole         {spread(walls)}")


def noop() -> dict[str, float]:
    """Wall seconds of runs that find nothing to do: of the app alone, and of caddy and app."""
    found = {}
    for name, variables in (("app", {"molecule_app_only": True}), ("caddy + app", {"molecule_app_only": False})):
        walls = []
        for _number in range(3):
            began = time.monotonic()
            done = apply(variables)
            walls.append(time.monotonic() - began)
            if done.rc != 0 or done.changed or "nothing was done" not in " ".join(done.output.split()):
                raise BedError(f"a run that has nothing to do did something: {done.output[-1500:]}")
        found[name] = min(walls)
    return found


def main(argv: Sequence[str]) -> int:
    """Measure both and print them; 1 when a request of ours failed, too few were made, or a limit is missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench deploy")
    parser.add_argument("--deploys", type=int, default=10)
    parser.add_argument("--rollbacks", type=int, default=3)
    parser.add_argument("--rate", type=int, default=80, help="GETs a second")
    parser.add_argument("--before", type=float, default=20, help="seconds of load before the first change")
    parser.add_argument("--requests", type=int, default=10_000, help="requests that must be made")
    args = parser.parse_args(argv)
    if not hosts.running(HOST):
        raise BedError(f"{HOST} is not up", hint="./justw, then: molecule converge -s deploy")
    os.environ["MOLECULE_SCENARIO_NAME"] = "deploy"
    print(f"load of this machine at the begin: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    for version in VERSIONS:
        # Both images are on the host before anything is measured.
        role(molecule_image=version)
    role()
    for name, seconds in noop().items():
        print(f"nothing to do, {name:12s} {seconds:.1f} s (the best of 3)")
    plain(0, False)
    report, before, during, receipts, walls = measure("api.sapflux.test", ours, args)
    show(f"{args.deploys} deploys and {args.rollbacks} rollbacks", report, before, during, walls)
    serving = [float(one["command_to_serving"]) for one in receipts]
    print(f"  command to serving      {spread(serving)}")
    print(f"  on the host             {spread([float(one['serving_seconds']) for one in receipts])}, of which (median)")
    for step in receipts[0]["steps"]:
        took = sorted(s["seconds"] for one in receipts for s in one["steps"] if s["step"] == step["step"])
        print(f"    {step['step']:22s}{took[len(took) // 2]:6.2f} s")
    other, other_before, other_during, _none, other_walls = measure("plain.sapflux.test", plain, args)
    show("the same with `docker compose up -d`", other, other_before, other_during, other_walls)
    print(f"\nload of this machine at the end: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    enough = len(report.rows) >= args.requests and max(serving) <= SERVING_LIMIT
    return 0 if enough and not report.failed and during <= 2 * before else 1
