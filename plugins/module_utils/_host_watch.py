# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private: what a host remembers about itself: its own look over it, its releases, the updates that wait.

Reads only; a part that cannot be asked says why instead of failing the rest. Standard library of Python 3.9 only.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import subprocess
import time
from typing import Any, Dict

from ansible_collections.sapflux.hosting.plugins.module_utils import _compose_release
from ansible_collections.sapflux.hosting.plugins.module_utils._compose_host import DeployError, Layout
from ansible_collections.sapflux.hosting.plugins.module_utils._compose_lock import read_lock
from ansible_collections.sapflux.hosting.plugins.module_utils._compose_seams import Seams
from ansible_collections.sapflux.hosting.plugins.module_utils._docker_api import DockerAPI, DockerError

REPORT = "var/lib/sapflux/monitoring/host.json"
TIMER = "etc/systemd/system/sapflux-host-check.timer"
INSTALL = re.compile(r"^Inst \S+ ", re.MULTILINE)
SECURITY = re.compile(r"^Inst \S+ .*(?:-security|Debian-Security)", re.MULTILINE)


def look(root: str = "/", now: float = 0.0) -> Dict[str, Any]:
    """What the host check left, with ``waited_seconds`` since its last look; {} on a host without that timer.

    A look that could not be taken counts from when it first could: the timer's installation, or the host's start.
    """
    now = now or time.time()
    try:
        moments = [os.stat(os.path.join(root, TIMER)).st_mtime, now - _uptime(root)]
    except FileNotFoundError:
        return {}
    found: Dict[str, Any] = {}
    try:
        path = os.path.join(root, REPORT)
        moments.append(os.stat(path).st_mtime)
        with open(path, encoding="utf-8") as stream:
            found = dict(json.load(stream))
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        return {"error": "%s cannot be read: %s" % (REPORT, error)}
    return {**found, "waited_seconds": max(0, round(now - max(moments)))}


def _uptime(root: str) -> float:
    with open(os.path.join(root, "proc/uptime"), encoding="utf-8") as stream:
        return float(stream.read().split()[0])


def releases(project: str, layout: Any = None, seams: Any = None, now: float = 0.0) -> Dict[str, Any]:
    """What the deployments of ``project`` left (see ``compose_release``); {} where there was none.

    ``cut_off`` tells that one is under way on which nobody works any more.
    """
    layout = layout or Layout(project)
    if not project or not layout.base.is_dir():
        return {}
    try:
        found = _compose_release.status(layout, seams or Seams(DockerAPI()))
        return {**found, "cut_off": bool(found["under_way"]) and not _works(layout, now or time.time())}
    except (DeployError, DockerError, OSError, ValueError, KeyError) as error:
        return {"error": "the releases of %s cannot be read: %s" % (project, error)}


def _works(layout: Any, now: float) -> bool:
    """Whether a process works on the project, or it waits for a hook that may still come."""
    lock = read_lock(layout)
    if lock is not None and lock.paused and now < lock.expires:
        return True
    with open(layout.guard, "rb") as guard:
        try:
            fcntl.flock(guard, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def updates(root: str = "/") -> Dict[str, Any]:
    """{pending, security, reboot_days}: packages apt would upgrade, those of security, how long a reboot is due."""
    found: Dict[str, Any] = {"reboot_days": None}
    try:
        since = os.stat(os.path.join(root, "run/reboot-required")).st_mtime
        found["reboot_days"] = round(max(0.0, time.time() - since) / 86400, 1)
    except FileNotFoundError:
        pass
    argv = ["apt-get", "--just-print", "-qq", "-o", "Debug::NoLocking=true", "dist-upgrade"]
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, check=False, timeout=60, env={**os.environ, "LC_ALL": "C"}
        )
    except (OSError, subprocess.TimeoutExpired):
        return found
    if done.returncode == 0:
        found.update(count(done.stdout))
    return found


def count(said: str) -> Dict[str, int]:
    """{pending, security} from what apt would do."""
    return {"pending": len(INSTALL.findall(said)), "security": len(SECURITY.findall(said))}
