# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking a Compose project off a host.

Standard library of Python 3.9 only. Private to this collection.
"""

from __future__ import annotations

import shutil
from contextlib import suppress

from ._compose_deploy import Deployment, Outcome
from ._compose_host import DeployError, make_directories
from ._compose_lock import guarded, refuse_locked
from ._compose_project import UP_TIMEOUT
from ._compose_state import read_deployed
from ._docker_api import DockerError


def leftovers(deployment: Deployment) -> list[str]:
    """What of the project is still on the host; the record of deployments stays and does not count."""
    layout = deployment.layout
    found = [str(path) for path in (layout.unit, layout.run) if path.exists()]
    if layout.base.exists():
        kept = (layout.receipts, layout.guard)
        found += sorted(str(path) for path in layout.base.iterdir() if path not in kept)
    # Where no engine answers there is no running container of ours; its files may still be there.
    with suppress(DockerError):
        running = deployment.seams.engine.containers(layout.project)
        found += [f"container {item['Names'][0].lstrip('/')}" for item in running]
    return found


def remove(deployment: Deployment) -> Outcome:
    """Take containers, network, unit, files and secrets away. Images, volumes and the record of deployments stay."""
    layout, project = deployment.layout, deployment.layout.project
    found = leftovers(deployment)
    if not found:
        return Outcome(False, "", message=f"{project} is not here; nothing was done")
    make_directories(layout)
    with guarded(layout, deployment.seams):
        refuse_locked(layout, deployment.seams, "")
        now = read_deployed(layout)
        if layout.unit.exists():
            deployment.project.systemctl("disable", "--now", layout.unit_name)
            layout.unit.unlink()
            deployment.project.systemctl("daemon-reload")
        if (layout.current / "compose.json").exists() or any(item.startswith("container ") for item in found):
            command = ["docker", "compose", "--ansi", "never", "--project-name", project, "down", "--remove-orphans"]
            ran = deployment.seams.run(command, UP_TIMEOUT)
            if ran.rc != 0:
                last = ran.output.rstrip().splitlines()[-1:]
                raise DeployError(f"the containers of {project} cannot be removed: {' '.join(last)}")
        for service in now.wish.services if now else ():
            layout.upstream(service.name).unlink(missing_ok=True)
        layout.maintenance.unlink(missing_ok=True)
        shutil.rmtree(layout.run)
        for path in layout.base.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path not in (layout.receipts, layout.guard):
                path.unlink()
    if not layout.receipts.exists():
        shutil.rmtree(layout.base)
    return Outcome(True, "", [f"{item} removed" for item in found], message=f"{project} was removed")
