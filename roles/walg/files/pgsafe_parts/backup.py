"""``backup``: a base backup, proven by the bucket's own catalogue, then retention."""

# paths are plain strings in all of pgsafe
from __future__ import annotations

import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from . import fence, identity
from .common import Config, PgsafeError, now, read_json, system_identifier, write_json
from .common import only_one as only_one
from .walg import Backup, WalgError, catalogue, query, walg


def iso(seconds: float) -> str:
    """Seconds since the epoch -> ISO 8601 in UTC, in the catalogue's precision, so that the texts compare."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def own_backups(config: Config) -> list[Backup]:
    """The catalogue's backups of this very cluster, the oldest first."""
    own = system_identifier(config.data)
    return [backup for backup in catalogue(config) if backup.system_identifier == own]


def _in_order(backups: Sequence[Backup]) -> bool:
    """Whether time and WAL agree on which backup is older; after a clock was turned back nothing is deleted."""
    places = [backup.name[-16:] for backup in backups]
    return places == sorted(places)


def drilled(config: Config) -> str:
    """Name of the backup that the newest passing drill restored, or ""; a later failure does not unprove it."""
    memory = os.path.join(config.state, "proven.json")
    found, known = read_json(os.path.join(config.reports, "drill.json")) or {}, read_json(memory) or {}
    if found.get("passed") is True and found.get("backup") and found.get("backup") != known.get("backup"):
        known = {"backup": found["backup"], "at": found.get("at")}
        write_json(memory, known)
    return str(known.get("backup") or "")


def oldest_to_keep(config: Config, backups: Sequence[Backup], at: float, proven: str = "") -> str:
    """Name of the oldest backup that stays, or "" when all of them do.

    It is the oldest of three: the newest ``keep_full``; the last one finished before the window begins, from which the
    window's first moments are restored; the one a drill has proven. WAL-G's own ``retain`` knows neither of the last
    two, and with fewer backups than are to be kept it deletes by time alone.
    """
    if len(backups) <= config.keep_full or not _in_order(backups):
        return ""
    begin = iso((datetime.fromtimestamp(at, UTC) - timedelta(days=config.keep_days)).timestamp())
    places = [len(backups) - config.keep_full]
    places.append(max((n for n, backup in enumerate(backups) if backup.finish_time <= begin), default=0))
    places += [n for n, backup in enumerate(backups) if backup.name == proven]
    first = min(places)
    return backups[first].name if first > 0 else ""


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
    clock = time.monotonic()
    fence.must_be_open(config)
    identity.ensure(config)
    if if_none:
        present = own_backups(config)
        if present:
            return _receipt(present[-1], False, len(present), 0, 0.0)
    with only_one(config, wait):
        before = own_backups(config)
        # another run may have made it while this one waited
        if if_none and before:
            return _receipt(before[-1], False, len(before), 0, time.monotonic() - clock)
        if query(config, "SELECT pg_is_in_recovery()") == "t":
            raise PgsafeError(f"the cluster {config.cluster} is in recovery: backups are made on the primary")
        # not from memory: a prefix claimed twice at the same moment is noticed here
        identity.verify(config)
        walg(config, "backup-push", config.data, limit=config.backup_limit)
        # WAL-G's exit code says it was sent; only the bucket says it is there. By name: clocks jump
        backups, known = own_backups(config), {backup.name for backup in before}
        fresh = [backup for backup in backups if backup.name not in known]
        if not fresh:
            newest = backups[-1].name if backups else "none"
            raise PgsafeError(
                f"wal-g reported success, but the archive {config.prefix} shows no backup that was not there before "
                f"(newest: {newest}): check that the bucket keeps what is written"
            )
        deleted = _retain(config, backups, fresh[-1])
        return _receipt(fresh[-1], True, len(backups) - deleted, deleted, time.monotonic() - clock)


def _retain(config: Config, backups: list[Backup], fresh: Backup) -> int:
    """Deletes what retention allows; the number of backups that are gone."""
    keep_from = oldest_to_keep(config, backups, now(), drilled(config))
    if not keep_from:
        return 0
    try:
        walg(config, "delete", "before", "FIND_FULL", keep_from, "--use-sentinel-time", "--confirm", limit=3600)
    except WalgError as error:
        raise PgsafeError(
            f"the backup {fresh.name} is made and good, but old ones were not deleted: {error}"
        ) from error
    left = own_backups(config)
    if fresh.name not in {backup.name for backup in left}:
        raise PgsafeError(
            f"after deleting old backups the new one, {fresh.name}, is not in the catalogue: make another now"
        )
    return len(backups) - len(left)
