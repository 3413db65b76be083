#!/usr/bin/python3
# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look over a host: `host_check.py /etc/sapflux/host-check.json`. One line a problem, exit code 1 when there is one.

Looks at file systems (bytes and inodes), memory, swap, units that failed, the clock, a reboot that is due, and
certificates that are about to end. Also leaves what it saw in the file `report` names, for `status`. Changes nothing.
"""

from __future__ import annotations

import calendar
import glob
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List

DAY = 86400
OVERDUE = 1 / 6
"""Share of its lifetime below which a certificate should have been renewed long ago."""


@dataclass(frozen=True)
class Limits:
    """When something is a problem: percent in use, days, and patterns of certificates in PEM."""

    paths: List[str]
    disk_percent: int
    memory_percent: int
    swap_percent: int
    reboot_days: int
    certificate_days: int
    certificates: List[str]
    report: str

    @staticmethod
    def load(path: str) -> Limits:
        """Read the configuration."""
        with open(path, encoding="utf-8") as stream:
            return Limits(**json.load(stream))


def run(*argv: str) -> str:
    """What a program printed, "" where it is not there or failed."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, errors="replace")
    except FileNotFoundError:
        return ""
    return done.stdout if done.returncode == 0 else ""


def file_systems(paths: List[str]) -> Dict[str, Dict[str, float]]:
    """{path: {percent, inodes_percent, free_bytes}} of the paths that are there; bind mounts of one disk count once."""
    found: Dict[str, Dict[str, float]] = {}
    devices = set()
    for path in paths:
        try:
            device, state = os.stat(path).st_dev, os.statvfs(path)
        except OSError:
            continue
        if device in devices:
            continue
        devices.add(device)
        usage = shutil.disk_usage(path)
        inodes = 100 * (1 - state.f_favail / state.f_files) if state.f_files else 0.0
        # What is kept for root counts as used: services cannot have it.
        used = 100 * (1 - usage.free / max(1, usage.used + usage.free))
        found[path] = {"percent": round(used, 1), "inodes_percent": round(inodes, 1), "free_bytes": usage.free}
    return found


def memory(text: str) -> Dict[str, float]:
    """{percent, swap_percent} in use, from /proc/meminfo."""
    numbers = {}
    for line in text.splitlines():
        name, _colon, rest = line.partition(":")
        if rest.split():
            numbers[name] = int(rest.split()[0])
    total, swap = numbers.get("MemTotal", 0), numbers.get("SwapTotal", 0)
    used = 100 * (1 - numbers.get("MemAvailable", 0) / total) if total else 0.0
    swapped = 100 * (1 - numbers.get("SwapFree", 0) / swap) if swap else 0.0
    return {"percent": round(used, 1), "swap_percent": round(swapped, 1)}


def failed_units() -> List[str]:
    """Units that failed; our own pings are left out, or one missed ping would ring twice."""
    lines = run("systemctl", "list-units", "--failed", "--plain", "--no-legend", "--no-pager").splitlines()
    names = [line.split()[0] for line in lines if line.split()]
    return [name for name in names if not name.startswith(("sapflux-ping", "sapflux-host-check"))]


def reboot_due(root: str = "/") -> float:
    """Days for which a reboot has been due, 0 where none is."""
    try:
        return max(0.0, time.time() - os.stat(os.path.join(root, "run/reboot-required")).st_mtime) / DAY
    except FileNotFoundError:
        return 0.0


def certificate(path: str) -> Dict[str, float]:
    """{days, lifetime} of a certificate: days until it ends, and from its beginning to its end; {} where it is none."""
    text = run("openssl", "x509", "-noout", "-dates", "-dateopt", "iso_8601", "-in", path)
    moments = dict(line.partition("=")[::2] for line in text.splitlines())
    try:
        begin, end = (
            calendar.timegm(time.strptime(moments[key], "%Y-%m-%d %H:%M:%SZ")) for key in ("notBefore", "notAfter")
        )
    except (KeyError, ValueError):
        return {}
    return {"days": round((end - time.time()) / DAY, 2), "lifetime": round((end - begin) / DAY, 2)}


def clock_is_kept() -> bool:
    """Whether the clock is kept. That of a container is the machine's below; who does not say counts as kept."""
    return bool(run("systemd-detect-virt", "--container")) or "NTPSynchronized=no" not in run("timedatectl", "show")


def look(limits: Limits, meminfo: str) -> Dict[str, Any]:
    """Everything that is seen."""
    certificates = {path: certificate(path) for pattern in limits.certificates for path in glob.glob(pattern)}
    return {
        "file_systems": file_systems(limits.paths),
        "memory": memory(meminfo),
        "failed_units": failed_units(),
        "clock_is_kept": clock_is_kept(),
        "reboot_due_days": round(reboot_due(), 1),
        "certificates": {path: seen for path, seen in certificates.items() if seen},
    }


def judge(seen: Dict[str, Any], limits: Limits) -> List[str]:
    """The problems, a sentence each."""
    problems = []
    for path, state in seen["file_systems"].items():
        for kind, name in (("percent", "full"), ("inodes_percent", "out of inodes")):
            if state[kind] >= limits.disk_percent:
                problems.append(f"{path} is {state[kind]} % {name} (limit {limits.disk_percent} %)")
    if seen["memory"]["percent"] >= limits.memory_percent:
        problems.append(f"{seen['memory']['percent']} % of the memory is in use (limit {limits.memory_percent} %)")
    if seen["memory"]["swap_percent"] >= limits.swap_percent:
        problems.append(f"{seen['memory']['swap_percent']} % of the swap is in use (limit {limits.swap_percent} %)")
    problems += [f"{name} failed: see journalctl -u {name}" for name in seen["failed_units"]]
    if not seen["clock_is_kept"]:
        problems.append("the clock is not synchronised: see timedatectl")
    if seen["reboot_due_days"] >= limits.reboot_days > 0:
        problems.append(f"a reboot has been due for {seen['reboot_due_days']} days")
    for path, state in seen["certificates"].items():
        # Caddy's own live for hours and are renewed at a third of that: what counts is that the renewal did not come.
        if state["days"] < min(limits.certificate_days, state["lifetime"] * OVERDUE):
            problems.append(f"{path} ends in {state['days']} days")
    return problems


def write(path: str, report: Dict[str, Any]) -> None:
    """Leave the report, whole or not at all."""
    handle, staged = tempfile.mkstemp(dir=os.path.dirname(path))
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        json.dump(report, stream, indent=2)
    os.chmod(staged, 0o644)
    os.replace(staged, path)


def main(argv: List[str]) -> int:
    """Entry point."""
    limits = Limits.load(argv[0])
    seen = look(limits, Path("/proc/meminfo").read_text(encoding="utf-8"))
    problems = judge(seen, limits)
    write(limits.report, {"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "problems": problems, **seen})
    # Warnings, in the journal's own way: less than that the unit keeps out of it.
    mark = "<4>" if "JOURNAL_STREAM" in os.environ else ""
    print("\n".join(f"{mark}{problem}" for problem in problems) or "all well")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
