"""``status``: what could be restored now, told by the server's archiver and by the bucket's catalogue."""

from __future__ import annotations

import json
from typing import Any

from . import identity
from .backup import own_backups
from .common import Config, PgsafeError
from .walg import query

#: A waiting segment is normal for the moment it takes to send it.
_READY_LIMIT, _READY_SECONDS = 3, 120
#: Daily backups plus time to make one.
_BACKUP_SECONDS = 26 * 3600

#: The newest restorable moment is when the last archived segment was closed. Its status file says so: the time stays
#: when the archiver renames .ready to .done. What came later is in pending_bytes.
_SQL = """
SELECT json_build_object(
  'now', extract(epoch FROM now()),
  'mode', current_setting('archive_mode'),
  'last_archived_wal', a.last_archived_wal,
  'last_archived', extract(epoch FROM a.last_archived_time),
  'last_failed_wal', a.last_failed_wal,
  'last_failed', extract(epoch FROM a.last_failed_time),
  'failed_count', a.failed_count,
  'closed', (SELECT extract(epoch FROM modification) FROM pg_ls_archive_statusdir()
     WHERE name = a.last_archived_wal || '.done'),
  'ready', (SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'),
  'oldest_ready', (SELECT extract(epoch FROM min(modification)) FROM pg_ls_archive_statusdir()
     WHERE name LIKE '%.ready'),
  'wal_bytes', (SELECT sum(size) FROM pg_ls_waldir()),
  'current_wal', pg_walfile_name(pg_current_wal_insert_lsn()),
  'offset', (pg_walfile_name_offset(pg_current_wal_insert_lsn())).file_offset,
  'segment_bytes', (SELECT setting::bigint FROM pg_settings WHERE name = 'wal_segment_size'))
FROM pg_stat_archiver a;
"""

#: A segment that holds nothing yet begins with its long page header.
_EMPTY_SEGMENT = 40


def _segment_number(name: str, size: int) -> int:
    """000000010000000200000003 -> its place in the sequence of segments of ``size`` bytes."""
    return int(name[8:16], 16) * (0x100000000 // size) + int(name[16:24], 16)


def pending_bytes(last_archived: str, current: str, offset: int, size: int) -> int:
    """Bytes of WAL written and not archived; a segment just begun counts as nothing."""
    behind = _segment_number(current, size) - _segment_number(last_archived, size) - 1
    return max(0, behind * size + (offset if offset > _EMPTY_SEGMENT or behind > 0 else 0))


def _iso(seconds: float | None) -> str | None:
    from .backup import iso

    return None if seconds is None else iso(float(seconds))


def _is_segment(name: str | None) -> bool:
    return name is not None and len(name) == 24


def archiving(row: dict[str, Any]) -> dict[str, Any]:
    """The answer of the SQL above -> the archiver's part of the report (times ISO 8601, ages in seconds)."""
    at = float(row["now"])
    failed, archived = row["last_failed"], row["last_archived"]
    closed = row["closed"] if row["closed"] is not None else archived
    pending = None
    if _is_segment(row["last_archived_wal"]):
        pending = pending_bytes(row["last_archived_wal"], row["current_wal"], row["offset"], row["segment_bytes"])
    return {
        "archiving": row["mode"] != "off",
        "failing": failed is not None and (archived is None or failed > archived),
        "last_archived_wal": row["last_archived_wal"],
        "last_archived_time": _iso(archived),
        "last_failed_wal": row["last_failed_wal"],
        "last_failed_time": _iso(failed),
        "failed_count": row["failed_count"],
        "ready": row["ready"],
        "oldest_ready_seconds": 0 if row["oldest_ready"] is None else round(at - float(row["oldest_ready"])),
        "wal_bytes": int(row["wal_bytes"] or 0),
        "newest_restorable": _iso(closed),
        "pending_bytes": pending,
        # nothing pending means that the last archived moment is as good as now
        "archive_lag_seconds": 0 if pending == 0 else (None if closed is None else max(0, round(at - float(closed)))),
    }


def problems(report: dict[str, Any], at: float) -> list[str]:
    """What is wrong, one sentence each."""
    from datetime import datetime

    found: list[str] = []
    if not report["archiving"]:
        found.append("WAL is not archived: nothing after the newest backup can be restored")
    if report["failing"]:
        wal, when = report["last_failed_wal"], report["last_failed_time"]
        found.append(f"archiving {wal} fails, last at {when}: see PostgreSQL's log")
    if report["ready"] > _READY_LIMIT or report["oldest_ready_seconds"] > _READY_SECONDS:
        found.append(
            f"{report['ready']} segments wait to be archived, the oldest for {report['oldest_ready_seconds']} s"
        )
    if report["newest_backup"] is None:
        found.append("there is no base backup: nothing can be restored; make one with `pgsafe backup`")
    else:
        finished = datetime.fromisoformat(report["newest_backup"]["finish_time"]).timestamp()
        if at - finished > _BACKUP_SECONDS:
            found.append(
                f"the newest base backup is {round((at - finished) / 3600)} hours old: see sapflux-backup.service"
            )
    return found


def gather(config: Config) -> dict[str, Any]:
    """What could be restored: one flat object, see the role's README for its keys."""
    row = json.loads(query(config, _SQL))
    backups = own_backups(config)
    report: dict[str, Any] = {
        "cluster": config.cluster,
        "prefix": config.prefix,
        "endpoint": config.endpoint,
        "identity_proven": identity.is_known(config),
        **archiving(row),
        "backups": len(backups),
        "newest_backup": backups[-1].as_json() if backups else None,
        "oldest_backup": backups[0].as_json() if backups else None,
        "oldest_restorable": backups[0].finish_time if backups else None,
    }
    # segments without a base backup restore nothing; a base backup alone restores its own end
    report["newest_restorable"] = max(report["newest_restorable"] or "", backups[-1].finish_time) if backups else None
    report["problems"] = problems(report, float(row["now"]))
    return report


def as_text(report: dict[str, Any]) -> str:
    """The report for people."""
    lines = [f"cluster     {report['cluster']}", f"archive     {report['prefix']} at {report['endpoint']}"]
    newest = report["newest_backup"]
    if newest is not None:
        lines.append(f"restorable  from {report['oldest_restorable']} to {report['newest_restorable']}")
        size = newest["compressed_bytes"] / 1e6
        lines.append(f"backups     {report['backups']}, newest {newest['backup_name']}, {size:.1f} MB")
    lag = "unknown" if report["archive_lag_seconds"] is None else f"{report['archive_lag_seconds']} s"
    lines.append(f"archiver    last {report['last_archived_wal']}, {report['ready']} waiting, {lag} behind")
    lines += [f"PROBLEM     {problem}" for problem in report["problems"]] or ["all well"]
    return "\n".join(lines)


def must_be_well(report: dict[str, Any]) -> None:
    if report["problems"]:
        raise PgsafeError("; ".join(report["problems"]))
