"""``restore-beside``: a copy of the cluster from the archive, next to the running one and never touching it."""

# paths are plain strings in all of pgsafe
from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from . import identity
from .backup import only_one, own_backups
from .common import Config, PgsafeError, RefusedError, now
from .instance import Instance
from .walg import Backup, walg

#: Unpacked data, the WAL that is being replayed, and what the replay itself writes.
_FACTOR, _EXTRA = 1.3, 256 * 1024 * 1024
_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,39}$")

_DATABASES = "SELECT coalesce(json_agg(datname ORDER BY datname), '[]') FROM pg_database WHERE NOT datistemplate"
#: The 50 largest tables: a name to show, and one quoted for SQL.
_CONTENTS = """
SELECT json_build_object('bytes', pg_database_size(current_database()), 'tables', coalesce((SELECT json_agg(t) FROM (
  SELECT format('%s.%s', schemaname, relname) AS name, format('%I.%I', schemaname, relname) AS sql
  FROM pg_stat_user_tables ORDER BY pg_table_size(relid) DESC LIMIT 50) t), '[]'));
"""
_COUNT = "SET statement_timeout = '20s'; SELECT count(*) FROM "


@dataclass(frozen=True)
class Wish:
    """What to restore: ``backup`` "" = the newest, ``name`` "" = the time of day, ``probes`` as DATABASE:SQL."""

    backup: str = ""
    name: str = ""
    probes: tuple[str, ...] = ()
    timeout: float = 3600


def choose(backups: Sequence[Backup], name: str, prefix: str) -> Backup:
    """The backup with that name, or the newest."""
    if not backups:
        raise RefusedError(f"the archive {prefix} holds no backup of this cluster: there is nothing to restore")
    if not name:
        return backups[-1]
    for backup in backups:
        if backup.name == name:
            return backup
    raise RefusedError(f"the archive {prefix} holds no backup {name!r}; it holds {', '.join(b.name for b in backups)}")


def split_probe(probe: str) -> tuple[str, str]:
    database, colon, sql = probe.partition(":")
    if not colon or not sql.strip() or not re.match(r"^[A-Za-z_][A-Za-z0-9_-]*$", database):
        raise RefusedError(f"{probe!r} is no probe: write DATABASE:SQL, for example 'app:TABLE observations'")
    return database, sql


def target(config: Config, name: str) -> str:
    """The directory of a restore; refuses one that is there."""
    if not _NAME.match(name):
        raise RefusedError(
            f"{name!r} is no name for a restore: use letters, digits, '.', '_' and '-', at most 40 of them"
        )
    path = os.path.join(config.restores, name)
    if os.path.lexists(path):
        raise RefusedError(
            f"{path} is there from an earlier restore: choose another name, or remove it with `rm -r {path}`"
        )
    return path


def must_fit(config: Config, backup: Backup, free: int | None = None) -> None:
    """Refuses when the file system of the restores has too little room."""
    if free is None:
        info = os.statvfs(config.restores)
        free = info.f_bavail * info.f_frsize
    need = int(backup.uncompressed_size * _FACTOR) + _EXTRA
    if free < need:
        raise RefusedError(
            f"restoring {backup.name} needs {need / 1e6:.0f} MB in {config.restores}, {free / 1e6:.0f} MB are free: "
            "make room (earlier restores are there too) or restore on another host"
        )


def contents(instance: Instance) -> dict[str, Any]:
    """{database: {bytes, tables: {schema.table: rows, or null when counting took too long}}}"""
    names = json.loads(instance.query(_DATABASES))
    found: dict[str, Any] = {}
    for name in names:
        row = json.loads(instance.query(_CONTENTS, name))
        tables: dict[str, int | None] = {}
        for table in row["tables"]:
            try:
                count = instance.query(_COUNT + table["sql"], name)
                tables[table["name"]] = int(count.splitlines()[-1])
            except PgsafeError:
                tables[table["name"]] = None
        found[name] = {"bytes": row["bytes"], "tables": dict(sorted(tables.items()))}
    return found


def _unpack(config: Config, backup: Backup, data: str) -> None:
    os.mkdir(data, 0o700)
    walg(config, "backup-fetch", data, backup.name, limit=config.backup_limit)


def beside(config: Config, wish: Wish) -> dict[str, Any]:
    """Restores, replays to the end of the archive, looks, stops, and tells.

    {backup, directory, recovered_to: time of the last commit, seconds, databases, probes: [{database, sql, answer}]}
    On failure nothing is left behind; the running cluster is never touched.
    """
    began = time.monotonic()
    probes = [split_probe(probe) for probe in wish.probes]
    name = wish.name or time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now()))
    path = target(config, name)
    if not os.path.isdir(config.restores):
        raise RefusedError(f"{config.restores} is not there: apply the walg role")
    identity.verify(config)
    backup = choose(own_backups(config), wish.backup, config.prefix)
    must_fit(config, backup)
    with only_one(config, 0):
        os.mkdir(path, 0o700)
        instance = Instance(config, path)
        try:
            _unpack(config, backup, instance.data)
            instance.configure()
            instance.start(wish.timeout)
            receipt: dict[str, Any] = {
                "backup": backup.as_json(),
                "directory": path,
                "recovered_to": instance.query("SELECT coalesce(pg_last_xact_replay_timestamp(), now())::text") or None,
                "databases": contents(instance),
                "probes": [
                    {"database": database, "sql": sql, "answer": instance.query(sql, database)}
                    for database, sql in probes
                ],
            }
            instance.stop()
        except BaseException:
            instance.stop(quietly=True)
            shutil.rmtree(path, ignore_errors=True)
            raise
        receipt["seconds"] = round(time.monotonic() - began, 1)
        with open(os.path.join(path, "receipt.json"), "w", encoding="utf-8") as file:
            json.dump(receipt, file, indent=2)
    return receipt


def as_text(receipt: dict[str, Any]) -> str:
    lines = [
        f"restored    {receipt['backup']['backup_name']} and all WAL after it, in {receipt['seconds']} s",
        f"where       {receipt['directory']}",
        f"up to       {receipt['recovered_to']}",
    ]
    for name, database in receipt["databases"].items():
        lines.append(f"database    {name}, {database['bytes'] / 1e6:.1f} MB, {len(database['tables'])} tables")
        lines += [
            f"            {table}: {'?' if rows is None else rows} rows" for table, rows in database["tables"].items()
        ]
    lines += [f"probe       {probe['database']}: {probe['sql']} -> {probe['answer']}" for probe in receipt["probes"]]
    name = os.path.basename(receipt["directory"])
    lines.append(f"look        sudo pgsafe look {name} DATABASE")
    lines.append(f"remove      sudo rm -r {receipt['directory']}")
    return "\n".join(lines)


def look(config: Config, name: str, database: str) -> int:
    """psql on an earlier restore; the copy runs for as long as psql does."""
    path = os.path.join(config.restores, name)
    if not _NAME.match(name) or not os.path.isfile(os.path.join(path, "receipt.json")):
        there = sorted(os.listdir(config.restores)) if os.path.isdir(config.restores) else []
        raise RefusedError(
            f"there is no finished restore {name!r} in {config.restores}; there are: {', '.join(there) or 'none'}"
        )
    instance = Instance(config, path)
    with only_one(config, 0):
        instance.start(300)
        try:
            argv = [
                os.path.join(config.bin, "psql"),
                "-X",
                "-h",
                instance.socket,
                "-p",
                str(instance.port),
                "-U",
                "postgres",
                "-d",
                database,
            ]
            return subprocess.run(argv, env={**os.environ, "HOME": config.state}, check=False).returncode
        finally:
            instance.stop()
