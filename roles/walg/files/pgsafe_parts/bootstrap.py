"""``bootstrap``: what a host with a fresh, empty cluster does about an archive that is not empty.

``restore`` brings the archived cluster back in the place of the empty one. ``new`` begins an archive beside it, which
must be said twice. Neither writes over anything, and on a host that keeps the archive's cluster both do nothing.
"""

# paths are plain strings in all of pgsafe
from __future__ import annotations

import contextlib
import json
from typing import Any

from . import identity, inplace, lineage
from .common import Config, PgsafeError, RefusedError, now, system_identifier
from .host import Host
from .journal import Journal
from .walg import catalogue, is_empty, query

_NAMES = "SELECT coalesce(json_agg(datname), '[]') FROM pg_database WHERE datallowconn"
#: Tables of people; those that an extension brought do not count, nor does the heartbeat of `pgsafe check`.
_TABLES = """
SELECT c.oid::regclass FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_toast'
  AND (n.nspname, c.relname) <> ('ops', 'heartbeat')
  AND NOT EXISTS (
    SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
"""


def own_tables(config: Config) -> list[str]:
    """Tables with rows in any database of the running cluster."""
    found = []
    for name in json.loads(query(config, _NAMES)):
        tables = query(config, _TABLES, database=name).splitlines()
        filled = [
            table
            for table in tables
            if query(config, f"SELECT EXISTS (SELECT FROM {table})", database=name) == "t"  # noqa: S608 - regclass
        ]
        found += [f"{name}:{table}" for table in filled]
    return found


def state(config: Config) -> dict[str, Any]:
    """{own, prefix: the archive's newest, archive: whose it is or None, backups}"""
    view = lineage.newest(config)
    found = identity.stored(view)
    own = None
    with contextlib.suppress(PgsafeError):
        own = system_identifier(config.data)
    return {
        "own": own,
        "prefix": view.prefix,
        "archive": str(found["system_identifier"]) if found else None,
        "empty": found is None and is_empty(view),
        "backups": len(catalogue(view)),
    }


def restore(config: Config, host: Host, *, target: str = "latest", units: list[str] | None = None) -> dict[str, Any]:
    """{state: done, ...receipt}, or {state: unchanged} where the archive's cluster is here already."""
    journal = Journal(config.journal)
    if not journal:
        found = host.owner(config, state, config)
        if found["archive"] is None or not found["backups"]:
            raise RefusedError(
                f"the archive {found['prefix']} holds no backup, so there is nothing to bring back: leave "
                "walg_bootstrap out to begin a new archive there, or correct its prefix"
            )
        if found["own"] == found["archive"]:
            return {"state": "unchanged", "prefix": found["prefix"]}
        held = host.owner(config, own_tables, config) if found["own"] else []
        if held:
            raise RefusedError(
                f"the cluster here holds data ({', '.join(held[:3])}{', ...' if len(held) > 3 else ''}): bring the "
                "archive back on an empty host, or look at it beside, with `pgsafe restore`"
            )
        view = lineage.at(config, found["prefix"])
        inplace.open_journal(
            view,
            journal,
            host,
            target=target,
            identifier=found["archive"],
            units=units or [],
            promote=True,
            paused=now(),
        )
    elif journal.facts.get("promote") is not True:
        raise RefusedError("a restore waits for a decision: end it with `pgsafe restore --resume` or `--undo`")
    view = lineage.at(config, str(journal.facts["prefix"]))
    return inplace.go_on(inplace.InPlace(view, journal, host))


def new(config: Config, confirm: str) -> dict[str, Any]:
    """{state: done or unchanged, prefix}: an archive of its own for this cluster, beside the one that is there."""
    found = state(config)
    if found["own"] is None:
        raise RefusedError(f"there is no cluster in {config.data}: apply the postgres role first")
    if found["archive"] == found["own"] or found["empty"]:
        return {"state": "unchanged", "prefix": found["prefix"]}
    if confirm != found["prefix"]:
        raise RefusedError(
            f"the archive {found['prefix']} holds {found['backups']} backups of another cluster, which this would "
            "leave behind: bring it back with walg_bootstrap: restore, or confirm with walg_bootstrap_confirm: "
            f"{found['prefix']}"
        )
    view = lineage.at(config, found["prefix"])
    prefix = lineage.free_prefix(view)
    lineage.move_on(view, prefix, found["own"], "a new cluster")
    return {"state": "done", "prefix": prefix}


def as_text(result: dict[str, Any]) -> str:
    if result["state"] == "unchanged":
        return f"{result['prefix']} is this cluster's: nothing to do"
    if "target" not in result:
        return f"this cluster is archived in {result['prefix']}"
    return (
        f"the cluster is back: up to {result['recovered_to']}, from {result['from_backup']}, in "
        f"{result['rto_seconds']} s; archived in {result['prefix']}"
    )
