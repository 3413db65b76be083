"""``restore`` beside: a copy of the cluster from the archive, next to the running one and never touching it."""

# paths are plain strings in all of pgsafe
from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import time
from dataclasses import dataclass
from typing import Any

from . import plan, window
from .backup import only_one
from .common import Config, PgsafeError, RefusedError, load, now
from .instance import Instance, State
from .plan import Plan
from .walg import walg

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
    """What to restore: ``backup`` "" = the right one, ``name`` "" = the time of day, ``probes`` as DATABASE:SQL."""

    backup: str = ""
    name: str = ""
    probes: tuple[str, ...] = ()
    timeout: float = 3600
    target: str = "latest"


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


def answers(instance: Instance, probes: list[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"database": name, "sql": sql, "answer": instance.query(sql, name)} for name, sql in probes]


def unpack(config: Config, name: str, data: str) -> None:
    """Unpacks a backup; what is there under its name is whole."""
    part = f"{data}.{os.getpid()}"
    os.mkdir(part, 0o700)
    walg(config, "backup-fetch", part, name, limit=config.backup_limit)
    os.rename(part, data)


def position(made: Plan, state: State) -> dict[str, Any]:
    """{recovered_to: time of the last commit or None, lsn, complete, rpo_seconds}

    ``complete`` says that everything that was committed until the target is there: a later commit was seen, or the
    archive is known to hold all of it. ``rpo_seconds`` is the time between the target and the last commit.
    """
    wanted = made.target
    last = window.seconds(state.last_commit) if state.last_commit else None
    complete = state.at_target or wanted.kind == "latest" or (wanted.kind == "time" and wanted.at <= made.reach.end)
    goal = wanted.at if wanted.kind == "time" else made.reach.end
    return {
        "recovered_to": state.last_commit,
        "lsn": state.lsn,
        "complete": complete,
        "rpo_seconds": None if last is None else round(max(0.0, goal - last), 1),
    }


def beside(config: Config, wish: Wish) -> dict[str, Any]:
    """Restores, replays to the target, looks, stops, and tells.

    {target, backup, segments, bytes, directory, recovered_to: time of the last commit, complete, rpo_seconds, seconds,
    parts: {fetch, replay, promote}, databases, probes: [{database, sql, answer}]}
    On failure nothing is left behind; the running cluster is never touched.
    """
    began = time.monotonic()
    probes = [split_probe(probe) for probe in wish.probes]
    path = target(config, wish.name or time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now())))
    if not os.path.isdir(config.restores):
        raise RefusedError(f"{config.restores} is not there: apply the walg role")
    made = plan.make(config, wish.target, wish.backup)
    plan.must_fit(config.restores, made.backup)
    with only_one(config, 0):
        os.mkdir(path, 0o700)
        own = os.path.join(path, "pgsafe.json")
        config.write(own)
        instance = Instance(load(own), path)
        try:
            clock = time.monotonic()
            unpack(config, made.backup.name, instance.data)
            parts = {"fetch": round(time.monotonic() - clock, 1)}
            instance.configure(made.target.settings())
            clock = time.monotonic()
            state = instance.replay(wish.timeout, made.last_begins)
            parts["replay"] = round(time.monotonic() - clock, 1)
            receipt: dict[str, Any] = {
                **made.as_json(),
                "directory": path,
                **position(made, state),
                "databases": contents(instance),
                "probes": answers(instance, probes),
            }
            clock = time.monotonic()
            instance.promote()
            receipt["parts"] = {**parts, "promote": round(time.monotonic() - clock, 1)}
            instance.stop()
        except BaseException:
            with contextlib.suppress(PgsafeError):
                instance.remove()
            raise
        receipt["seconds"] = round(time.monotonic() - began, 1)
        with open(os.path.join(path, "receipt.json"), "w", encoding="utf-8") as file:
            json.dump(receipt, file, indent=2)
    return receipt


def shown(receipt: dict[str, Any]) -> list[str]:
    """Lines about what is in a copy."""
    lines = []
    if not receipt.get("complete", True):
        lines.append("INCOMPLETE  the archive ended before the target: what was committed after this is not in it")
    for name, database in receipt["databases"].items():
        lines.append(f"database    {name}, {database['bytes'] / 1e6:.1f} MB, {len(database['tables'])} tables")
        lines += [
            f"            {table}: {'?' if rows is None else rows} rows" for table, rows in database["tables"].items()
        ]
    lines += [f"probe       {probe['database']}: {probe['sql']} -> {probe['answer']}" for probe in receipt["probes"]]
    return lines


def as_text(receipt: dict[str, Any]) -> str:
    name = os.path.basename(receipt["directory"])
    return "\n".join(
        [
            f"restored    {receipt['backup']['backup_name']} and the WAL after it, in {receipt['seconds']} s",
            f"where       {receipt['directory']}",
            f"up to       {receipt['recovered_to']}, the last commit (target: {receipt['target']})",
            *shown(receipt),
            f"look        sudo pgsafe look {name} DATABASE",
            f"remove      sudo rm -r {receipt['directory']}",
        ]
    )


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
            argv = [os.path.join(config.bin, "psql"), "-X", "-h", instance.socket, "-p", str(instance.port)]
            argv += ["-U", "postgres", "-d", database]
            return subprocess.run(argv, env={**os.environ, "HOME": config.state}, check=False).returncode
        finally:
            instance.stop()
