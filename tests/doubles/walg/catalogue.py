"""The backups in the bucket: their sentinels, listed and marked."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from .names import BASE, SENTINEL, backup_in
from .s3 import Store
from .settings import WalgError, log


@dataclass(frozen=True)
class Listed:
    """A backup as the listing shows it: its name and when its sentinel was written."""

    name: str
    modified: datetime

    @property
    def wal(self) -> str:
        return self.name.rsplit("_", 1)[-1]


def listed(store: Store) -> list[Listed]:
    """All complete backups, the oldest first."""
    items, _ = store.list(BASE, deep=False)
    found = [Listed(backup_in(item.key), item.modified) for item in items if item.key.endswith(SENTINEL)]
    return sorted(found, key=lambda backup: backup.modified)


def metadata(store: Store, name: str) -> dict[str, Any]:
    found = json.loads(store.read(f"{BASE}{name}/metadata.json"))
    assert isinstance(found, dict)
    return found


def put_json(store: Store, key: str, document: dict[str, Any]) -> None:
    store.put(key, io.BytesIO(json.dumps(document, separators=(",", ":")).encode()))


def milliseconds(at: datetime) -> str:
    """As Go prints a time: no trailing zeros, none at all for a full second."""
    fraction = f"{at.microsecond // 1000:03d}".rstrip("0")
    return at.strftime("%Y-%m-%dT%H:%M:%S") + (f".{fraction}" if fraction else "") + "Z"


def plain(backup: Listed) -> dict[str, Any]:
    return {
        "backup_name": backup.name,
        "time": milliseconds(backup.modified),
        "wal_file_name": backup.wal,
        "storage_name": "default",
    }


def detailed(store: Store, backup: Listed) -> dict[str, Any]:
    return {**plain(backup), **metadata(store, backup.name)}


def table(rows: list[dict[str, Any]]) -> str:
    """Columns as wide as their widest word, as WAL-G's plain listings have them."""
    names = list(rows[0])
    lines = [names, *([str(row[name]) for name in names] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(names))]
    return "\n".join(
        " ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def backup_list(store: Store, *, detail: bool, as_json: bool) -> None:
    log("INFO", "List backups from storages: [default]")
    try:
        backups = listed(store)
    except WalgError as error:
        raise WalgError(f"Get backups from folder: {error}") from error
    rows = [detailed(store, backup) if detail else plain(backup) for backup in backups]
    if as_json:
        print(json.dumps(rows, separators=(",", ":")))
        return
    if not rows:
        log("INFO", "No backups found")
        return
    print(table([_columns(row, detail) for row in rows]))


def _columns(row: dict[str, Any], detail: bool) -> dict[str, Any]:
    """A row of the plain listings: full seconds, LSNs in PostgreSQL's form, and fewer columns than in JSON."""
    shown = {
        "backup_name": row["backup_name"],
        "modified": _seconds(row["time"]),
        "wal_file_name": row["wal_file_name"],
        "storage_name": row["storage_name"],
    }
    if detail:
        shown |= {name: _seconds(row[name]) for name in ("start_time", "finish_time")}
        shown |= {name: row[name] for name in ("hostname", "data_dir", "pg_version")}
        shown |= {name: f"{row[name] >> 32:X}/{row[name] & 0xFFFFFFFF:X}" for name in ("start_lsn", "finish_lsn")}
        shown["is_permanent"] = str(row["is_permanent"]).lower()
    return shown


def _seconds(time: str) -> str:
    return time.split(".")[0].rstrip("Z") + "Z"


def backup_mark(store: Store, name: str, permanent: bool) -> None:
    log("INFO", f"Retrieving previous related backups to be marked: toPermanent={str(permanent).lower()}")
    if name not in [backup.name for backup in listed(store)]:
        raise WalgError(f"Backup '{name}' does not exist.")
    log("INFO", f"Retrieved backups to be marked, marking: [{name}]")
    # the sentinel stays as it is: its time is the backup's
    put_json(store, f"{BASE}{name}/metadata.json", {**metadata(store, name), "is_permanent": permanent})
