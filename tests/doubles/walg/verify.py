"""wal-show and wal-verify: which segments are in the bucket and which are not."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from .base import Session
from .catalogue import detailed, listed
from .names import WAL, parse_segment, segment_name
from .s3 import Store
from .settings import Settings, WalgError, log


def archived(store: Store) -> tuple[dict[int, set[int]], list[str]]:
    """({timeline: segment numbers}, names of everything else) of the WAL folder."""
    found: dict[int, set[int]] = {}
    others: list[str] = []
    items, _ = store.list(WAL, deep=False)
    for item in items:
        name = item.key.removeprefix(WAL)
        parsed = parse_segment(name.removesuffix(".zst"))
        if parsed is None:
            others.append(name)
        else:
            found.setdefault(parsed[0], set()).add(parsed[1])
    return found, others


def wal_show(store: Store) -> None:
    segments, _ = archived(store)
    backups = [detailed(store, backup) for backup in reversed(listed(store))]
    if not backups:
        log("INFO", "No backups found in storage.")
    rows = []
    for timeline in sorted(segments):
        numbers = segments[timeline]
        first, last = min(numbers), max(numbers)
        missing = [segment_name(timeline, n) for n in range(first, last + 1) if n not in numbers]
        rows.append(
            {
                "id": timeline,
                "parent_id": 0,
                "switch_point_lsn": 0,
                "start_segment": segment_name(timeline, first),
                "end_segment": segment_name(timeline, last),
                "segments_count": len(numbers),
                "missing_segments": missing,
                "backups": [b for b in backups if (parse_segment(b["wal_file_name"]) or (0, 0))[0] == timeline],
                "segment_range_size": last - first + 1,
                "status": "LOST_SEGMENTS" if missing else "OK",
            }
        )
    print(json.dumps(rows, separators=(",", ":")), end="")


@dataclass
class Scanned:
    number: int
    status: str


def scan(current: int, stop: int, found: set[int], delayed: int, uploading: int) -> list[Scanned]:
    """From the newest segment backwards: first those that may be late, then those under way, then the lost ones."""
    result: list[Scanned] = []
    number, late, under_way, seen = current - 1, delayed, uploading, False
    while number >= stop:
        there = number in found
        if not seen and not there and late > 0:
            status, late = "MISSING_DELAYED", late - 1
        else:
            seen = True
            status = "FOUND" if there else ("MISSING_UPLOADING" if under_way > 0 else "MISSING_LOST")
            under_way -= 1
        result.append(Scanned(number, status))
        number -= 1
    return result[::-1]


def _sequences(timeline: int, scanned: list[Scanned]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for segment in scanned:
        name = segment_name(timeline, segment.number)
        if rows and rows[-1]["status"] == segment.status:
            rows[-1]["end_segment"] = name
            rows[-1]["segments_count"] += 1
        else:
            rows.append(
                {
                    "timeline_id": timeline,
                    "start_segment": name,
                    "end_segment": name,
                    "segments_count": 1,
                    "status": segment.status,
                }
            )
    return rows


def _status(rows: list[dict[str, Any]], no_backups: bool) -> str:
    status, seen = "OK", False
    for row in rows:
        if row["status"] == "FOUND":
            seen = True
        elif row["status"] == "MISSING_LOST" and not (no_backups and not seen):
            return "FAILURE"
        else:
            status = "WARNING"
    return status


def wal_verify(store: Store, settings: Settings, checks: list[str], backup_name: str) -> None:
    session = Session(settings)
    try:
        current = session.row("SELECT pg_walfile_name(pg_current_wal_lsn()) AS wal")["wal"]
    finally:
        session.close()
    log("INFO", f"Current WAL segment: {current}")
    timeline, number = parse_segment(current) or (0, 0)
    segments, others = archived(store)
    result: dict[str, Any] = {}
    for check in checks:
        log("INFO", f"Building check runner: {check}")
        if check == "integrity":
            stop, none = _stop(store, timeline, backup_name)
            delayed = settings.number("WALG_INTEGRITY_MAX_DELAYED_WALS", 0)
            uploading = settings.number("WALG_UPLOAD_CONCURRENCY", 16)
            scanned = scan(number, stop, segments.get(timeline, set()), delayed, uploading)
            rows = _sequences(timeline, scanned)
            result[check] = {"status": _status(rows, none), "details": rows}
        else:
            for name in others:
                log("WARNING", f"Could not parse the timeline Id from {name}. Skipping...")
            highest = max(segments, default=0)
            result[check] = {
                "status": "OK" if highest == timeline else ("WARNING" if highest == 0 else "FAILURE"),
                "details": {"current_timeline_id": timeline, "highest_storage_timeline_id": highest},
            }
        log("INFO", f"Running the check: {check}")
    print(json.dumps(result, separators=(",", ":")), end="")


def _stop(store: Store, timeline: int, backup_name: str) -> tuple[int, bool]:
    """(the first segment that must be there, whether there is no backup to tell it)."""
    backups = listed(store)
    if backup_name:
        backups = [backup for backup in backups if backup.name == backup_name]
        if not backups:
            raise WalgError(
                "Failed to build check runner integrity:%!(EXTRA *errors.withStack=Failed to find specified backup "
                f'start segment: Backup with specified name "{backup_name}" was not found)'
            )
    parsed = [parse_segment(backup.wal) or (0, 0) for backup in backups]
    numbers = [number for of, number in parsed if of <= timeline]
    if not numbers:
        log(
            "WARNING",
            "Failed to detect earliest backup WAL segment no: 'No backups found',"
            "will scan until the 0000000X0000000000000001 segment.",
        )
        return 1, True
    log("INFO", f"Detected earliest available backup: {backups[0].name}")
    return min(numbers), False
