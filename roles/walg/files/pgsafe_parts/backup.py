"""``backup``: a base backup, proven by the bucket's own catalogue, then retention."""

# paths are plain strings in all of pgsafe
from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from . import identity
from .common import BUSY, Config, PgsafeError, now, system_identifier
from .walg import Backup, WalgError, catalogue, query, walg


@contextmanager
def only_one(config: Config, wait: float) -> Iterator[None]:
    """The lock that backups, retention and restores share; waits ``wait`` seconds for another run."""
    path = os.path.join(config.state, "lock")
    with open(path, "w", encoding="utf-8") as file:
        deadline = time.monotonic() + wait
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise PgsafeError("another backup or restore is running: wait for it to end", BUSY) from None
                time.sleep(0.5)
        yield


def iso(seconds: float) -> str:
    """Seconds since the epoch -> ISO 8601 in UTC, in the catalogue's precision, so that the texts compare."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def own_backups(config: Config) -> list[Backup]:
    """The catalogue's backups of this very cluster, the oldest first."""
    own = system_identifier(config.data)
    return [backup for backup in catalogue(config) if backup.system_identifier == own]


def retention(config: Config, backups: list[Backup], at: float) -> list[str]:
    """Arguments of ``wal-g delete``, or none when there is nothing to delete.

    ``retain N --after T`` alone deletes everything older than T when there are fewer than N backups: after a month of
    failed timers that would be all but the newest. So it is asked only when more than N are there.
    """
    if len(backups) <= config.keep_full:
        return []
    after = (datetime.fromtimestamp(at, UTC) - timedelta(days=config.keep_days)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return ["delete", "retain", "FULL", str(config.keep_full), "--after", after, "--use-sentinel-time", "--confirm"]


def _receipt(backup: Backup, made: bool, count: int, deleted: int, seconds: float) -> dict[str, Any]:
    return {
        "made": made,
        "backup": backup.as_json(),
        "backups": count,
        "deleted": deleted,
        "seconds": round(seconds, 1),
    }


def make(config: Config, *, if_none: bool = False, wait: float = 0) -> dict[str, Any]:
    """Makes a backup (unless ``if_none`` and the bucket holds one) and gives the receipt.

    {made, backup: {backup_name, finish_time, ...}, backups: in the bucket now, deleted: by retention, seconds}
    """
    began, clock = now(), time.monotonic()
    identity.ensure(config)
    if if_none:
        present = own_backups(config)
        if present:
            return _receipt(present[-1], False, len(present), 0, 0.0)
    with only_one(config, wait):
        # another run may have made it while this one waited
        present = own_backups(config) if if_none else []
        if present:
            return _receipt(present[-1], False, len(present), 0, time.monotonic() - clock)
        if query(config, "SELECT pg_is_in_recovery()") == "t":
            raise PgsafeError(f"the cluster {config.cluster} is in recovery: backups are made on the primary")
        # not from memory: a prefix claimed twice at the same moment is noticed here
        identity.verify(config)
        walg(config, "backup-push", config.data, limit=config.backup_limit)
        # WAL-G's exit code says it was sent; only the bucket says it is there
        backups = own_backups(config)
        fresh = [backup for backup in backups if backup.finish_time >= iso(began)]
        if not fresh:
            newest = backups[-1].name if backups else "none"
            raise PgsafeError(
                f"wal-g reported success, but the archive {config.prefix} shows no backup finished since {iso(began)} "
                f"(newest: {newest}): check that the bucket keeps what is written"
            )
        deleted = _retain(config, backups)
        return _receipt(fresh[-1], True, len(backups) - deleted, deleted, time.monotonic() - clock)


def _retain(config: Config, backups: list[Backup]) -> int:
    """Deletes what retention allows; the number of backups that are gone."""
    arguments = retention(config, backups, now())
    if not arguments:
        return 0
    try:
        walg(config, *arguments, limit=3600)
    except WalgError as error:
        raise PgsafeError(
            f"the backup {backups[-1].name} is made and good, but old ones were not deleted: {error}"
        ) from error
    left = own_backups(config)
    if not left or left[-1].name != backups[-1].name:
        raise PgsafeError(
            f"after deleting old backups the new one, {backups[-1].name}, is not in the catalogue: make another now"
        )
    return len(backups) - len(left)
