# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is done with a project without its document: going back, giving up, looking, locking, the maintenance page.

Standard library of Python 3.9 only. Private to this collection.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ._compose_deploy import Deployment, Outcome, Request
from ._compose_host import DeployError, FileWish, Layout, make_directories, write_file
from ._compose_lock import Lock, guarded, read_lock, refuse_locked, write_lock
from ._compose_project import Project, masked_services, tail
from ._compose_seams import Seams
from ._compose_state import (
    current_set,
    kept_releases,
    read_deployed,
    read_journal,
    read_receipts,
    read_settings,
    read_state,
)
from ._compose_wish import Deployed, Wish
from ._docker_api import DockerError

RECEIPTS_SHOWN = 10


def _deployed(layout: Layout) -> Deployed:
    now = read_deployed(layout)
    if now is None:
        raise DeployError(f"{layout.project} has never been deployed here; run the playbook deploy first")
    return now


def _deployment(layout: Layout, seams: Seams, wish: Wish) -> Deployment:
    return Deployment(wish, layout, seams, read_settings(layout))


def choose(layout: Layout, wanted: str) -> Deployed:
    """The kept release that `wanted` names: previous, a release, or the digest of an image, or how one begins."""
    now, history = _deployed(layout), read_state(layout).history
    kept = kept_releases(layout, history)
    others = [one for name, one in kept.items() if name != now.release]
    if wanted in ("", "previous"):
        found = others[-1:]
    else:
        digest = wanted.rpartition("@")[2].rpartition(":")[2]
        found = [
            one
            for one in others
            if one.release == wanted
            or any(service.digest.rpartition(":")[2].startswith(digest) for service in one.wish.services)
        ]
    if not found:
        told = "; ".join(f"{one.release} ({digests(one)})" for one in reversed(others)) or "none"
        what = "before this one" if wanted in ("", "previous") else f"that {wanted} names"
        raise DeployError(f"no release {what} is kept on this host; kept are: {told}. Nothing was changed")
    return found[-1]


def digests(deployed: Deployed) -> str:
    """The images of a release, short enough for a line."""
    return ", ".join(f"{service.name} {service.digest[:19]}" for service in deployed.wish.services)


def rollback(layout: Layout, seams: Seams, wanted: str, request: Request) -> Outcome:
    """Deploy a kept release again, with its environment and its secrets, as one transaction."""
    deployment = _deployment(layout, seams, choose(layout, wanted).wish)
    try:
        return deployment.deploy(replace(request, kind="rollback"))
    except (DeployError, DockerError) as error:
        raise DeployError(deployment.mask(str(error))) from error


def abort(layout: Layout, seams: Seams, transaction: str, why: str) -> Outcome:
    """Give up a deployment that waits for a hook: back to what served before."""
    with guarded(layout, seams):
        journal = read_journal(layout)
        if journal is None or journal.transaction != transaction:
            return Outcome(False, current_set(layout).partition(".")[0], message="no such deployment is under way")
        now = read_deployed(layout)
        deployment = _deployment(layout, seams, now.wish if now else Wish(layout.project, "{}", "", ()))
        journal.warnings.append(why)
        said = deployment.recover(journal)
        return Outcome(True, now.release if now else "", message=said)


def lock(layout: Layout, seams: Seams, owner: str, reason: str) -> Outcome:
    """Forbid deployments until somebody unlocks."""
    make_directories(layout)
    with guarded(layout, seams):
        held = read_lock(layout)
        if held and held.kind == "manual":
            return Outcome(False, "", message=f"locked already by {held.told()}")
        refuse_locked(layout, seams, "")
        write_lock(layout, Lock("manual", owner, "", seams.now(), reason=reason))
        return Outcome(True, "", message=f"locked by {owner}; the playbook lock with -e lock_state=off opens it")


def unlock(layout: Layout) -> Outcome:
    """Allow deployments again; whose lock it was is told."""
    held = read_lock(layout)
    if held is None or held.kind != "manual":
        return Outcome(False, "", message="not locked by a person")
    layout.lock.unlink()
    return Outcome(True, "", message=f"the lock of {held.told()} is off")


def maintenance(layout: Layout, seams: Seams, on: bool) -> Outcome:
    """Have Caddy answer 503 for the project's services, or the services again. Containers stay as they are."""
    now = _deployed(layout)
    make_directories(layout)
    with guarded(layout, seams):
        changed = layout.maintenance.exists() != on
        if changed and on:
            write_file(layout.maintenance, FileWish(b"", 0o644))
        elif changed:
            layout.maintenance.unlink()
        return Outcome(changed, now.release, message=f"maintenance is {'on' if on else 'off'}")


def status(layout: Layout, seams: Seams) -> dict[str, Any]:
    """What serves, since when, what can be gone back to, who locks, what is under way, the newest receipts."""
    now, state, journal, held = read_deployed(layout), read_state(layout), read_journal(layout), read_lock(layout)
    project = Project(layout, seams, read_settings(layout), masked_services(now.wish if now else None))
    running = project.containers() if now else {}
    return {
        "project": layout.project,
        "release": now.release if now else "",
        "maintenance": layout.maintenance.exists(),
        "lock": held.told() if held else "",
        "under_way": f"{journal.release} at {journal.step}" if journal else "",
        "services": [
            {
                "name": service.name,
                "slot": slot,
                "address": service.address(colour),
                "image": service.image,
                "state": running[slot][0]["State"] if running.get(slot) else "missing",
            }
            for slot, (service, colour) in (now.slots.items() if now else ())
        ],
        "kept": [
            {"release": name, "images": digests(one)}
            for name, one in reversed(list(kept_releases(layout, state.history).items()))
        ],
        "receipts": read_receipts(layout, RECEIPTS_SHOWN),
    }


def logs(layout: Layout, seams: Seams, service: str, lines: int) -> dict[str, str]:
    """The newest lines of each service's container (or of one), without secrets."""
    now = _deployed(layout)
    project = Project(layout, seams, read_settings(layout), masked_services(now.wish))
    found: Mapping[str, list[dict[str, Any]]] = project.containers()
    shown = {}
    for slot, (wish, _colour) in now.slots.items():
        if service in ("", wish.name):
            mine = found.get(slot, [])
            shown[slot] = (
                tail(project.mask(seams.engine.logs(mine[0]["Id"], lines)), lines) if mine else "(no container)"
            )
    if not shown:
        names = ", ".join(sorted(now.active))
        raise DeployError(f"there is no service {service}; there are {names}")
    return shown
