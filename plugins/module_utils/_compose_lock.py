# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may deploy now.

Two locks: the guard is held by a process and ends with it, the lock file tells who and outlives a process, because a
deployment may wait for a hook on another machine, and because a person may forbid deployments.

Standard library of Python 3.9 only. Private to this collection.
"""

from __future__ import annotations

import datetime
import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from ._compose_host import DeployError, FileWish, Layout, write_file
from ._compose_seams import Seams

GUARD_WAIT = 120.0
#: Seconds that a deployment may wait for a hook before another one may take over.
PAUSE_EXPIRES = 1800.0


@dataclass(frozen=True)
class Lock:
    """`kind` is deploy or manual. `expires` (seconds since 1970) counts while a deployment is `paused` for a hook."""

    kind: str
    owner: str
    transaction: str
    since: float
    expires: float = 0.0
    paused: str = ""
    reason: str = ""

    def told(self) -> str:
        """Who, since when, and why."""
        why = f" ({self.reason})" if self.reason else ""
        return f"{self.owner} since {moment(self.since)}{why}"


def moment(seconds: float) -> str:
    """A time for people and receipts, in UTC."""
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).isoformat(timespec="seconds")


def read_lock(layout: Layout) -> Lock | None:
    """The lock; None where there is none. One that cannot be read is a manual one: it is not ours to judge."""
    try:
        return Lock(**json.loads(layout.lock.read_text()))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, TypeError):
        return Lock("manual", "somebody", "", 0.0, reason=f"{layout.lock} cannot be read")


def write_lock(layout: Layout, lock: Lock) -> None:
    """Take it; the caller holds the guard and has looked."""
    write_file(layout.lock, FileWish((json.dumps(asdict(lock), sort_keys=True) + "\n").encode(), 0o600))


def refuse_locked(layout: Layout, seams: Seams, transaction: str) -> str:
    """Raise DeployError when somebody else has the right of way; else a sentence on whose lock is taken over, or ''.

    The caller holds the guard, so nobody's process is working: a deployment that is not waiting for a hook was cut off.
    """
    lock = read_lock(layout)
    if lock is None or (lock.kind == "deploy" and lock.transaction == transaction):
        return ""
    if lock.kind != "deploy":
        raise DeployError(
            f"deployments of {layout.project} are locked by {lock.told()}; nothing was changed. Such a lock is never "
            "taken over: ask, then run the playbook `lock` with -e lock_state=off"
        )
    if lock.paused and seams.now() < lock.expires:
        raise DeployError(
            f"a deployment by {lock.told()} waits for its hook {lock.paused} until {moment(lock.expires)} at the "
            "latest; nothing was changed. Run again when it has ended"
        )
    return f"took over from a deployment by {lock.told()} that was cut off"


@contextmanager
def guarded(layout: Layout, seams: Seams) -> Iterator[None]:
    """Be the only process that works on the project; waits for another one for two minutes."""
    handle = os.open(layout.guard, os.O_RDWR | os.O_CREAT, 0o600)
    deadline = seams.clock() + GUARD_WAIT
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if seams.clock() > deadline:
                    lock = read_lock(layout)
                    who = f" by {lock.told()}" if lock else ""
                    raise DeployError(
                        f"another deployment of {layout.project}{who} is running; run again when it has ended"
                    ) from None
                seams.sleep(0.5)
        yield
    finally:
        os.close(handle)
