"""``mark``: a named point in the log, recorded in the bucket so that a restore finds the backup before it."""

# paths are plain strings in all of pgsafe
from __future__ import annotations

from typing import Any

from . import objects
from .backup import iso
from .common import Config, now
from .target import parse, parse_lsn
from .walg import query


def mark(config: Config, name: str) -> dict[str, Any]:
    """{name, lsn, at}; the point is restorable as soon as its segment is archived, which this asks for."""
    parse(f"name:{name}")
    lsn = query(config, f"SELECT pg_create_restore_point('{name}')")
    query(config, "SELECT pg_switch_wal()")
    point = {"name": name, "lsn": parse_lsn(lsn), "at": iso(now())}
    objects.put(config, f"points/{name}.json", point)
    return point
