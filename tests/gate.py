"""What CI runs: `python -m tests.gate test` on every change, `soak` every night, `lint` and `molecule` for one concern.

Steps that do not depend on each other run side by side. Each writes its log to tests/output; a failing step shows
the end of it and the command that repeats it. The last line counts: `N passed, N failed`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from pathlib import Path

from tests.bed import engine
from tests.bed.shell import BedError, say, tell

ROOT = Path(__file__).resolve().parents[1]
OUTPUT = ROOT / "tests" / "output"
PYTHON = sys.executable
# The longest first, so that nothing waits for it alone.
LONG = ("lockdown", "deploy", "restore", "caddy", "walg")
SCENARIOS = sorted(
    (path.parent.name for path in (ROOT / "molecule").glob("*/molecule.yml")), key=lambda name: (name not in LONG, name)
)
WHOLE_WAY = "tests/clouds/test_whole_way.py"
TAIL = 60
REASON = 40
"""Lines of a log, and of one failed test's reason, that are shown."""


@dataclass
class Step:
    """One command of the gate; `needs` names the steps that must have passed before it starts."""

    name: str
    argv: list[str]
    needs: tuple[str, ...] = ()
    again: str = ""
    seconds: float = 0.0
    state: str = "waiting"
    log: Path = field(init=False)

    def __post_init__(self) -> None:
        self.log = OUTPUT / f"{self.name}.log"

    def results(self) -> tuple[int, int]:
        """(passed, failed) tests of this step: what its JUnit file says, else the step itself."""
        report = OUTPUT / f"{self.name}.xml"
        own = (1, 0) if self.state == "passed" else (0, 1)
        if not report.exists():
            return own
        suites = list(ElementTree.parse(report).getroot().iter("testsuite"))
        count = {
            key: sum(int(suite.get(key, 0)) for suite in suites) for key in ("tests", "failures", "errors", "skipped")
        }
        failed = count["failures"] + count["errors"]
        passed = count["tests"] - failed - count["skipped"]
        return (passed, failed) if self.state == "passed" else (passed, max(failed, 1))

    def failures(self) -> list[str]:
        """Name and reason of each failed test, from the JUnit file: the end of the log may be of something later."""
        report = OUTPUT / f"{self.name}.xml"
        if not report.exists():
            return []
        said = []
        for case in ElementTree.parse(report).getroot().iter("testcase"):
            for bad in [*case.iter("failure"), *case.iter("error")]:
                reason = (bad.get("message") or bad.text or "").splitlines()
                said += [f"{case.get('classname')}::{case.get('name')}", *(f"    {line}" for line in reason[-REASON:])]
        return said


def _module(name: str, *arguments: str) -> list[str]:
    return [PYTHON, "-m", name, *arguments]


def _pytest(name: str, *arguments: str) -> list[str]:
    return _module("pytest", f"--junit-xml={OUTPUT / name}.xml", *arguments)


def lint_steps() -> list[Step]:
    """Every linter, each a step of its own."""
    scripts = [ROOT / "justw", ROOT / ".ci" / "run", *sorted((ROOT / "tests").rglob("*.sh"))]
    scripts += [path for path in sorted((ROOT / "tests" / "bed" / "image").iterdir()) if path.suffix != ".sh"]
    shell = [str(path.relative_to(ROOT)) for path in scripts if path.read_bytes().startswith(b"#!/bin/sh")]
    return [
        Step("ruff", _module("ruff", "check", "."), again="ruff check ."),
        Step("format", _module("ruff", "format", "--check", "."), again="ruff format ."),
        Step("mypy", _module("mypy"), again="mypy"),
        Step("yamllint", _module("yamllint", "--strict", "."), again="yamllint --strict ."),
        Step("shellcheck", ["shellcheck", *shell], again="./justw lint"),
        Step("ansible-lint", ["ansible-lint", "--offline", "--strict"], again="ansible-lint --offline --strict"),
    ]


def scenario_steps(names: list[str], needs: tuple[str, ...] = ()) -> list[Step]:
    """A step for each Molecule scenario."""
    return [
        Step(f"molecule-{name}", ["molecule", "test", "--scenario-name", name], needs, again=f"./justw molecule {name}")
        for name in names
    ]


def test_steps() -> list[Step]:
    """What a change must pass."""
    whole = ("api-image", "walg", "tailnet")
    return [
        Step("image", _module("tests.bed", "image"), again="python -m tests.bed image"),
        Step("artifacts", _module("tests.bed.artifacts"), again="./justw artifacts"),
        *lint_steps(),
        Step("unit", _pytest("unit", "-n", "2", "--cov", "tests/unit"), again="./justw unit"),
        Step("sanity", _module("tests.sanity"), again="./justw sanity"),
        Step("contract", _pytest("contract", "tests/contract"), again="pytest tests/contract"),
        Step(
            "clouds",
            _pytest("clouds", "tests/clouds", f"--ignore={WHOLE_WAY}"),
            ("image",),
            again=f"pytest tests/clouds --ignore={WHOLE_WAY}",
        ),
        Step("pulumi", _module("tests.pulumi"), again="python -m tests.pulumi"),
        Step("walg", _module("tests.bed.walg"), again="python -m tests.bed.walg"),
        Step("sidecars", _module("tests.bed", "sidecars"), ("image", "artifacts")),
        Step("tailnet", _module("tests.bed", "tailnet"), ("sidecars",)),
        Step("api-tests", _module("tests.bed.images", "--test"), ("image",), again="python -m tests.bed.images --test"),
        Step("api-image", _module("tests.bed.images"), ("sidecars", "api-tests"), again="./justw images"),
        Step("web", _pytest("web", "tests/web"), ("api-image",), again="pytest tests/web"),
        Step("site", _pytest("site", "tests/site"), whole, again="./justw site"),
        Step("whole-way", _pytest("whole-way", WHOLE_WAY), whole, again=f"pytest {WHOLE_WAY}"),
        *scenario_steps(SCENARIOS, ("sidecars", "walg", "tailnet")),
        # One of the programs here, all of them in the soak: the second build starts from nothing.
        Step(
            "reproducible",
            _module("tests.bed.artifacts", "--verify", "registry"),
            ("artifacts",),
            again="./justw artifacts --verify registry",
        ),
    ]


def soak_steps() -> list[Step]:
    """What is too slow for every change."""
    return [
        Step("image", _module("tests.bed", "image")),
        Step("artifacts", _module("tests.bed.artifacts", "--verify"), again="./justw artifacts --verify"),
        Step("walg", _module("tests.bed.walg")),
        Step("sidecars", _module("tests.bed", "sidecars"), ("image", "artifacts")),
        Step("tailnet", _module("tests.bed", "tailnet"), ("sidecars",)),
        Step("api-image", _module("tests.bed.images"), ("sidecars",)),
        Step(
            "soak",
            _pytest("soak", "-rP", "-m", "soak", "tests"),
            ("api-image", "walg", "tailnet"),
            again="pytest -m soak tests",
        ),
    ]


class Gate:
    """Runs steps, as many at once as the machine has cores, and reports."""

    def __init__(self, steps: list[Step], workers: int) -> None:
        self.steps = {step.name: step for step in steps}
        self.workers = workers
        self.changed = threading.Condition()
        self.began = time.monotonic()

    def _elapsed(self) -> str:
        seconds = int(time.monotonic() - self.began)
        return f"{seconds // 60:3d}:{seconds % 60:02d}"

    def _run(self, step: Step) -> None:
        say(f"[{self._elapsed()}] {step.name} ...")
        began = time.monotonic()
        with step.log.open("wb") as log:
            code = subprocess.run(
                step.argv, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False
            ).returncode
        with self.changed:
            step.seconds = time.monotonic() - began
            step.state = "passed" if code == 0 else "failed"
            say(f"[{self._elapsed()}] {step.name} {step.state} ({step.seconds:.0f} s)")
            if code != 0:
                lines = step.log.read_text(errors="replace").splitlines()
                say("\n".join(f"    {line}" for line in [*lines[-TAIL:], *step.failures()]))
                say(f"    the whole log: {step.log.relative_to(ROOT)}; again: {step.again or ' '.join(step.argv)}")
            self.changed.notify_all()

    def _next(self) -> Step | None:
        for step in self.steps.values():
            if step.state != "waiting":
                continue
            states = [self.steps[name].state for name in step.needs]
            if any(state in {"failed", "blocked"} for state in states):
                step.state = "blocked"
                say(f"[{self._elapsed()}] {step.name} not run: it needs {', '.join(step.needs)}")
            elif all(state == "passed" for state in states):
                return step
        return None

    def run(self) -> None:
        """Run everything; a failed step only holds back the steps that need it."""
        threads: list[threading.Thread] = []
        with self.changed:
            while any(step.state in {"waiting", "running"} for step in self.steps.values()):
                busy = sum(step.state == "running" for step in self.steps.values())
                step = self._next() if busy < self.workers else None
                if step is None:
                    if any(one.state == "running" for one in self.steps.values()):
                        self.changed.wait()
                    continue
                step.state = "running"
                threads.append(threading.Thread(target=self._run, args=(step,)))
                threads[-1].start()
        for thread in threads:
            thread.join()

    def report(self) -> int:
        """Print a table of the steps and the closing count; 0 when all passed."""
        say(f"\n{'step':20s} {'result':8s} {'seconds':>8s} {'passed':>7s} {'failed':>7s}")
        passed = failed = 0
        for step in self.steps.values():
            good, bad = step.results()
            passed, failed = passed + good, failed + bad
            say(f"{step.name:20s} {step.state:8s} {step.seconds:8.0f} {good:7d} {bad:7d}")
        walg = OUTPUT / "walg.log"
        if walg.exists():
            say(f"WAL-G in these tests: {walg.read_text().strip().splitlines()[-1]}")
        say(f"total {self._elapsed().strip()}")
        print(f"{passed} passed, {failed} failed", flush=True)
        return 1 if failed else 0


def main() -> int:
    """Run one tier."""
    parser = argparse.ArgumentParser(prog="python -m tests.gate")
    parser.add_argument("tier", choices=["test", "soak", "lint", "molecule"])
    parser.add_argument("only", nargs="*", help="scenarios (molecule) or steps (test, soak)")
    parser.add_argument(
        "--workers", type=int, default=int(os.environ.get("SAPFLUX_WORKERS", 0)) or (os.cpu_count() or 2) + 1
    )
    args = parser.parse_args()
    shutil.rmtree(OUTPUT, ignore_errors=True)
    OUTPUT.mkdir(parents=True)
    match args.tier:
        case "lint":
            steps = lint_steps()
        case "molecule":
            steps = scenario_steps(args.only or SCENARIOS)
        case "test":
            steps = test_steps()
        case _:
            steps = soak_steps()
    if args.only and args.tier in {"test", "soak"}:
        steps = [step for step in steps if step.name in args.only]
        for step in steps:
            step.needs = tuple(name for name in step.needs if name in args.only)
    try:
        if args.tier != "lint":
            engine.ensure()
    except BedError as error:
        print("0 passed, 1 failed", flush=True)
        return tell(error)
    gate = Gate(steps, args.workers)
    gate.run()
    return gate.report()


if __name__ == "__main__":
    sys.exit(main())
