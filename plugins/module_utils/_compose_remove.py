# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking a Compose project off a host.

Standard library of Python 3.9 only. Private to this collection.
"""

from __future__ import annotations

import shutil
from contextlib import suppress

from ._compose_deploy import UP_TIMEOUT, Deployment, Outcome
from ._compose_host import DeployError, make_directories
from ._docker_api import DockerError


def leftovers(deployment: Deployment) -> list[str]:
    """What of the project is still on the host; the record of releases stays and does not count."""
    layout = deployment.layout
    found = [str(path) for path in (layout.unit, layout.run) if path.exists()]
    if layout.base.exists():
        kept = (layout.releases, layout.lock)
        found += sorted(str(path) for path in layout.base.iterdir() if path not in kept)
    # Where no engine answers there is no running container of ours; its files may still be there.
    with suppress(DockerError):
        running = deployment.seams.engine.containers(deployment.wish.project)
        found += [f"container {item['Names'][0].lstrip('/')}" for item in running]
    return found


def remove(deployment: Deployment) -> Outcome:
    """Take containers, network, unit, files and secrets away. Images, volumes and the record of releases stay."""
    layout, project = deployment.layout, deployment.wish.project
    found = leftovers(deployment)
    if not found:
        return Outcome(False, "", [], [])
    make_directories(layout)
    with deployment.locked():
        if layout.unit.exists():
            deployment.systemctl("disable", "--now", layout.unit_name)
            layout.unit.unlink()
            deployment.systemctl("daemon-reload")
        if layout.compose.exists() or any(item.startswith("container ") for item in found):
            command = ["docker", "compose", "--ansi", "never", "--project-name", project, "down", "--remove-orphans"]
            ran = deployment.seams.run(command, UP_TIMEOUT)
            if ran.rc != 0:
                last = ran.output.rstrip().splitlines()[-1:]
                raise DeployError(f"the containers of {project} cannot be removed: {' '.join(last)}")
        shutil.rmtree(layout.run)
        shutil.rmtree(layout.base / "secrets")
        for path in (layout.compose, layout.good, layout.state, layout.key):
            path.unlink(missing_ok=True)
    if not layout.releases.exists():
        shutil.rmtree(layout.base)
    return Outcome(True, "", [f"{item} removed" for item in found], [])
