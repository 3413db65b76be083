"""Whether a restored copy is good: its structure, its extensions, and what the document expects to find in it."""

# paths are plain strings in all of pgsafe
from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from .common import PgsafeError, RefusedError
from .instance import Instance
from .restore import split_probe

_NAME = r"[A-Za-z_][A-Za-z0-9_-]*"
_FLOOR = re.compile(rf"^({_NAME}):((?:{_NAME}\.)?{_NAME}):(\d+)$")
_DATABASES = (
    "SELECT coalesce(json_agg(datname ORDER BY datname), '[]') FROM pg_database"
    " WHERE datallowconn AND NOT datistemplate"
)
_POSTGIS = "SELECT count(*) FROM pg_extension WHERE extname = 'postgis'"
_HEARTBEAT = "SELECT to_regclass('ops.heartbeat') IS NOT NULL"

Check = dict[str, Any]


def split_floor(text: str) -> tuple[str, str, int]:
    """DATABASE:TABLE:ROWS"""
    found = _FLOOR.match(text)
    if found is None:
        raise RefusedError(f"{text!r} is no floor: write DATABASE:TABLE:ROWS, for example app:observations:1000")
    return found[1], found[2], int(found[3])


def _try(name: str, ask: Callable[[], str]) -> Check:
    """{name, ok, detail}; a question that fails is an answer too."""
    try:
        return {"name": name, "ok": True, "detail": ask()}
    except PgsafeError as error:
        return {"name": name, "ok": False, "detail": str(error)}


def databases(instance: Instance) -> list[str]:
    return [str(name) for name in json.loads(instance.query(_DATABASES))]


def structure(instance: Instance) -> Check:
    """Every table and index of every database, read in full by pg_amcheck."""

    def ask() -> str:
        where = ["-h", instance.socket, "-p", str(instance.port), "-U", "postgres"]
        done = instance.run("pg_amcheck", *where, "--all", "--heapallindexed", "--install-missing", limit=7200)
        if done.returncode != 0:
            said = done.stdout.strip().splitlines()[:3] or ["it said nothing"]
            raise PgsafeError(f"pg_amcheck found faults: {' / '.join(said)[:500]}")
        return "no faults"

    return _try("pg_amcheck", ask)


def postgis(instance: Instance, database: str) -> list[Check]:
    if instance.query(_POSTGIS, database) == "0":
        return []
    return [_try(f"postgis {database}", lambda: instance.query("SELECT left(postgis_full_version(), 80)", database))]


def floor(instance: Instance, text: str) -> Check:
    database, table, rows = split_floor(text)

    def ask() -> str:
        quoted = ".".join(f'"{part}"' for part in table.split("."))
        found = int(instance.query(f"SELECT count(*) FROM {quoted}", database))  # noqa: S608 - a name, and quoted
        if found < rows:
            raise PgsafeError(f"{table} of {database} has {found} rows, not the {rows} that it must have")
        return f"{found} rows"

    return _try(f"rows {database}:{table}", ask)


def probe(instance: Instance, text: str) -> Check:
    database, sql = split_probe(text)

    def ask() -> str:
        answer = instance.query(sql, database)
        if answer in ("", "f"):
            raise PgsafeError(f"{sql!r} answers {'nothing' if not answer else 'false'} in {database}")
        return answer[:200]

    return _try(f"probe {text[:80]}", ask)


def heartbeat_age(instance: Instance, at: float) -> float | None:
    """Seconds from the newest heartbeat in the copy to that moment; None where there is no heartbeat."""
    for database in databases(instance):
        if instance.query(_HEARTBEAT, database) == "t":
            newest = instance.query("SELECT extract(epoch FROM max(at)) FROM ops.heartbeat", database)
            return round(at - float(newest), 1) if newest else None
    return None


def all_of(instance: Instance, floors: Sequence[str], probes: Sequence[str]) -> list[Check]:
    found = [structure(instance)]
    for database in databases(instance):
        found += postgis(instance, database)
    found += [floor(instance, text) for text in floors]
    found += [probe(instance, text) for text in probes]
    return found


def checksums(instance: Instance) -> Check:
    """Every page against its checksum; asked of a server that has stopped."""

    def ask() -> str:
        done = instance.run("pg_checksums", "--check", "-D", instance.data, limit=7200)
        if done.returncode != 0:
            said = [line for line in done.stdout.splitlines() if "error" in line or "Bad checksums" in line][:3]
            raise PgsafeError(f"pg_checksums found faults: {' / '.join(said or done.stdout.splitlines()[-2:])[:500]}")
        return "no faults"

    return _try("pg_checksums", ask)
