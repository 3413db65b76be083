"""``status``: what could be restored now, told by the server's archiver and by the bucket's catalogue."""

# paths are plain strings in all of pgsafe
from __future__ import annotations

import json
import os
from typing import Any

from . import identity
from .backup import own_backups
from .common import Config, PgsafeError, now, read_json
from .walg import Backup, query

#: A waiting segment is normal for the moment it takes to send it.
_READY_LIMIT, _READY_SECONDS = 3, 120
#: Daily backups plus time to make one; hourly looks at the archive, weekly drills.
_BACKUP_SECONDS, _VERIFY_SECONDS, _DRILL_SECONDS = 26 * 3600, 2 * 3600, 8 * 86400
#: Of the file system that holds the data, what must be free: the smaller of a share and a number of bytes.
_FREE_PERCENT, _FREE_BYTES = 15, 5_000_000_000

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
  'max_wal_bytes', (SELECT setting::bigint * 1048576 FROM pg_settings WHERE name = 'max_wal_size'),
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
        "max_wal_bytes": int(row["max_wal_bytes"]),
        "newest_restorable": _iso(closed),
        "pending_bytes": pending,
        # nothing pending means that the last archived moment is as good as now
        "archive_lag_seconds": 0 if pending == 0 else (None if closed is None else max(0, round(at - float(closed)))),
    }


def local(config: Config) -> dict[str, Any]:
    """What this host knows by itself: the archiver, the WAL that waits, the room on its disk."""
    row = json.loads(query(config, _SQL))
    info = os.statvfs(config.data)
    return {
        **archiving(row),
        "fenced": os.path.lexists(config.fence),
        "free_percent": round(100 * info.f_bavail / info.f_blocks) if info.f_blocks else 100,
        "free_bytes": info.f_bavail * info.f_frsize,
    }


def local_problems(config: Config, report: dict[str, Any]) -> list[str]:
    """What is wrong with ``local``, one sentence each. The WAL that waits is told and never dropped."""
    found: list[str] = []
    if report["fenced"]:
        found.append("the cluster is fenced: nothing is archived until `pgsafe unfence`")
    if not report["archiving"]:
        found.append("WAL is not archived: nothing after the newest backup can be restored")
    if report["failing"]:
        wal, when = report["last_failed_wal"], report["last_failed_time"]
        found.append(f"archiving {wal} fails, last at {when}: see PostgreSQL's log")
    if report["ready"] > _READY_LIMIT or report["oldest_ready_seconds"] > _READY_SECONDS:
        found.append(
            f"{report['ready']} segments wait to be archived, the oldest for {report['oldest_ready_seconds']} s"
        )
    if report["wal_bytes"] > report["max_wal_bytes"] + config.wal_growth_mb * 1024 * 1024:
        found.append(
            f"pg_wal holds {report['wal_bytes'] / 1e6:.0f} MB, {report['max_wal_bytes'] / 1e6:.0f} MB are usual: "
            "archive what waits, or make room before the disk is full"
        )
    if report["free_percent"] < _FREE_PERCENT and report["free_bytes"] < _FREE_BYTES:
        found.append(f"only {report['free_percent']} % of the disk under {config.data} are free: make room")
    return found


def _age(moment: object, at: float) -> float:
    """Seconds since then; for ever, for what is no moment."""
    from datetime import datetime

    try:
        return at - datetime.fromisoformat(str(moment)).timestamp()
    except ValueError:
        return at


def bucket_problems(backups: list[Backup], at: float) -> list[str]:
    """What is wrong with the catalogue."""
    if not backups:
        return ["there is no base backup: nothing can be restored; make one with `pgsafe backup`"]
    age = max(0.0, min(_age(backup.finish_time, at) for backup in backups))
    if age > _BACKUP_SECONDS:
        return [f"the newest base backup is {round(age / 3600)} hours old: see sapflux-backup.service"]
    return []


def result_problems(results: dict[str, Any], since: str | None, at: float) -> list[str]:
    """What is wrong with the looks and drills; ``since``: from when on there was something to look at."""
    found: list[str] = []
    limits = (
        ("verify", _VERIFY_SECONDS, "look at the archive", "sapflux-verify.service"),
        ("drill", _DRILL_SECONDS, "drill", "sapflux-drill.service"),
    )
    for name, limit, what, unit in limits:
        last = results.get(name)
        if last is not None and last.get("passed") is False:
            found.append(f"the last {what}, at {last.get('at')}, failed: see {unit}")
        begin = str(last["at"]) if last is not None and last.get("at") else since
        if begin is not None and _age(begin, at) > limit:
            hours = round(_age(begin, at) / 3600)
            found.append(f"the last {what} is {hours} hours old: see {unit}" if last else f"no {what} yet: see {unit}")
    return found


def gather(config: Config) -> dict[str, Any]:
    """What could be restored: one flat object, see the role's README for its keys.

    Neither a server nor a bucket that does not answer ends it: that is a problem among others.
    """
    at, problems = now(), []
    report: dict[str, Any] = {
        "cluster": config.cluster,
        "prefix": config.prefix,
        "endpoint": config.endpoint,
        "identity_proven": identity.is_known(config),
        "encrypted": bool(config.key_fingerprint),
        "key_fingerprint": config.key_fingerprint,
        **dict.fromkeys(_LOCAL),
    }
    try:
        report.update(local(config))
        problems += local_problems(config, report)
    except PgsafeError as error:
        problems.append(str(error))
    backups: list[Backup] = []
    try:
        backups = own_backups(config)
        problems += bucket_problems(backups, at)
    except PgsafeError as error:
        problems.append(f"the bucket does not tell what it holds: {error}")
    results = {name: read_json(os.path.join(config.reports, f"{name}.json")) for name in ("verify", "drill")}
    problems += result_problems(results, backups[0].finish_time if backups else None, at)
    report.update(
        backups=len(backups),
        newest_backup=backups[-1].as_json() if backups else None,
        oldest_backup=backups[0].as_json() if backups else None,
        oldest_restorable=backups[0].finish_time if backups else None,
        # segments without a base backup restore nothing; a base backup alone restores its own end
        newest_restorable=max(report["newest_restorable"] or "", backups[-1].finish_time) if backups else None,
        last_verify=results["verify"],
        last_drill=results["drill"],
        problems=problems,
    )
    return report


#: Keys of ``local``, all null when the server does not answer.
_LOCAL = (
    "archiving", "failing", "last_archived_wal", "last_archived_time", "last_failed_wal", "last_failed_time",
    "failed_count", "ready", "oldest_ready_seconds", "wal_bytes", "max_wal_bytes", "newest_restorable", "pending_bytes",
    "archive_lag_seconds", "fenced", "free_percent", "free_bytes",
)  # fmt: skip


def _result(name: str, result: dict[str, Any] | None) -> str:
    if result is None:
        return f"{name:11s} none yet"
    return f"{name:11s} {'passed' if result.get('passed') else 'FAILED'} at {result.get('at')}"


def as_text(report: dict[str, Any]) -> str:
    """The report for people."""
    key = f"encrypted with the key {report['key_fingerprint']}" if report["encrypted"] else "NOT ENCRYPTED"
    lines = [
        f"cluster     {report['cluster']}",
        f"archive     {report['prefix']} at {report['endpoint']}, {key}",
    ]
    newest = report["newest_backup"]
    if newest is not None:
        lines.append(f"restorable  from {report['oldest_restorable']} to {report['newest_restorable']}")
        size = newest["compressed_bytes"] / 1e6
        lines.append(f"backups     {report['backups']}, newest {newest['backup_name']}, {size:.1f} MB")
    if report["ready"] is not None:
        lag = "unknown" if report["archive_lag_seconds"] is None else f"{report['archive_lag_seconds']} s"
        lines.append(f"archiver    last {report['last_archived_wal']}, {report['ready']} waiting, {lag} behind")
        lines.append(f"pg_wal      {report['wal_bytes'] / 1e6:.0f} MB, {report['free_percent']} % of the disk free")
    lines += [_result("verify", report["last_verify"]), _result("drill", report["last_drill"])]
    lines += [f"PROBLEM     {problem}" for problem in report["problems"]] or ["all well"]
    return "\n".join(lines)


def must_be_well(report: dict[str, Any]) -> None:
    if report["problems"]:
        raise PgsafeError("; ".join(report["problems"]))
