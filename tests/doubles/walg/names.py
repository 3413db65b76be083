"""Names of segments, backups and their objects."""

from __future__ import annotations

import re

WAL, BASE = "wal_005/", "basebackups_005/"
SENTINEL = "_backup_stop_sentinel.json"
SEGMENT_BYTES = 16 * 1024 * 1024
_PER_FILE = 0x100000000 // SEGMENT_BYTES
_SEGMENT = re.compile(r"^([0-9A-F]{8})([0-9A-F]{8})([0-9A-F]{8})$")
_BACKUP = re.compile(r"base_[0-9A-F]{24}(?:_D_[0-9A-F]{24})?")


def parse_segment(name: str) -> tuple[int, int] | None:
    """(timeline, number in the sequence) of a segment's name, or None."""
    match = _SEGMENT.match(name)
    return (int(match[1], 16), int(match[2], 16) * _PER_FILE + int(match[3], 16)) if match else None


def segment_name(timeline: int, number: int) -> str:
    return f"{timeline:08X}{number // _PER_FILE:08X}{number % _PER_FILE:08X}"


def number_in(key: str) -> int | None:
    """Number of the segment an object's name speaks of: a segment, its .backup file, or anything of a backup."""
    match = re.search(r"(?:^|/|_)([0-9A-F]{24})", key)
    parsed = parse_segment(match[1]) if match else None
    return parsed[1] if parsed else None


def backup_in(key: str) -> str:
    """Name of the backup an object belongs to, or an empty string."""
    match = _BACKUP.search(key) if key.startswith(BASE) else None
    return match[0] if match else ""


def lsn(text: str) -> int:
    """0/63128C0 -> bytes."""
    high, _, low = text.partition("/")
    return int(high, 16) << 32 | int(low, 16)
