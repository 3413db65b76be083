# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files with hashed names that pages of an earlier release still ask for.

A browser that loaded a page before a switch asks for that page's scripts after it. So the directory is copied out of
each image into one on the host, and containers see that one in place of their own.

Standard library of Python 3.9 only. Private to this collection.
"""

from __future__ import annotations

import filecmp
import json
import os
import shutil
from collections.abc import Collection
from pathlib import Path

from ._compose_host import DeployError, FileWish, write_file
from ._compose_project import UP_TIMEOUT, Project, tail
from ._compose_wish import ServiceWish


def _manifest(project: Project, service: ServiceWish, number: int, digest: str) -> Path:
    return project.layout.assets / service.name / f"{number}.{digest.rpartition(':')[2]}.json"


def bridge(project: Project, service: ServiceWish) -> None:
    """Add the files of the service's image to those of earlier releases; once for each digest."""
    for number, path in enumerate(service.assets):
        manifest = _manifest(project, service, number, service.digest)
        shared = project.layout.assets / service.name / str(number)
        if manifest.exists() and shared.exists():
            continue
        staged = project.layout.assets / service.name / f".{number}.staged"
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir(parents=True)
        _copy_out(project, service, path, staged)
        names = _merge(service, staged, shared)
        # Above it only root looks in; below it the container's user has to.
        for directory in (shared, *(entry for entry in shared.rglob("*") if entry.is_dir())):
            directory.chmod(0o755)
        write_file(manifest, FileWish(json.dumps(names).encode(), 0o600))
        shutil.rmtree(staged)


def _copy_out(project: Project, service: ServiceWish, path: str, staged: Path) -> None:
    made = project.seams.run(["docker", "create", service.image, "assets"], UP_TIMEOUT)
    container = made.output.strip().splitlines()[-1] if made.rc == 0 and made.output.strip() else ""
    if not container:
        raise DeployError(f"the assets of {service.name} cannot be read from its image: {tail(made.output, 1)}")
    try:
        copied = project.seams.run(["docker", "cp", f"{container}:{path}/.", str(staged)], UP_TIMEOUT)
    finally:
        project.seams.run(["docker", "rm", container], UP_TIMEOUT)
    if copied.rc != 0:
        raise DeployError(
            f"the image of {service.name} has no assets at {path}: {tail(copied.output, 1)}; correct assets"
        )


def _merge(service: ServiceWish, staged: Path, shared: Path) -> list[str]:
    """Move what is new; names of all files. A name whose content changed is no hashed name, and is refused."""
    names = []
    shared.mkdir(parents=True, exist_ok=True)
    for folder, _directories, files in os.walk(staged):
        for name in files:
            source = Path(folder, name)
            if source.is_symlink() or not source.is_file():
                continue
            relative = source.relative_to(staged)
            target = shared / relative
            names.append(str(relative))
            if target.exists():
                if not filecmp.cmp(source, target, shallow=False):
                    raise DeployError(
                        f"{relative} of {service.name} is not the file of that name in an earlier release; only files "
                        "whose names change with their content belong in assets"
                    )
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            source.chmod(0o644)
            os.replace(source, target)
    return sorted(names)


def prune(project: Project, services: Collection[ServiceWish]) -> None:
    """Remove files that no kept release has; `services` are those of all kept releases."""
    kept: set[Path] = set()
    wanted = {
        _manifest(project, service, number, service.digest)
        for service in services
        for number in range(len(service.assets))
    }
    for manifest in project.layout.assets.glob("*/*.json"):
        if manifest not in wanted:
            manifest.unlink()
            continue
        shared = manifest.parent / manifest.name.split(".")[0]
        kept |= {shared / name for name in json.loads(manifest.read_text())}
    for shared in project.layout.assets.glob("*/[0-9]*"):
        if shared.is_dir():
            for path in shared.rglob("*"):
                if path.is_file() and path not in kept:
                    path.unlink()
