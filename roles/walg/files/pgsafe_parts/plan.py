"""What a restore would do, and every reason not to begin it; nothing is changed here."""

# paths are plain strings in all of pgsafe
from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

from . import identity, lineage, objects, segments, window
from .common import Config, PgsafeError, RefusedError
from .key import must_fit as must_fit_key
from .target import Target, format_lsn, parse
from .walg import Backup, walg
from .window import Reach

#: Unpacked data, the WAL that is being replayed, and what the replay itself writes.
_FACTOR, _EXTRA = 1.3, 256 * 1024 * 1024
#: Bytes and segments a second as long as no drill has measured them here.
_FETCH, _REPLAY = 20e6, 8.0
_KEYS = ("WALG_LIBSODIUM_KEY_PATH", "WALG_PGP_KEY_PATH")


@dataclass(frozen=True)
class Plan:
    target: Target
    reach: Reach
    identifier: str
    names: list[str]
    wal_bytes: int
    seconds: float

    @property
    def backup(self) -> Backup:
        return self.reach.backup

    @property
    def last_begins(self) -> int:
        """First byte of the newest segment that the replay can meet."""
        return segments.split(self.reach.chain.names[-1])[1] * segments.SIZE

    def as_json(self) -> dict[str, Any]:
        return {
            "target": self.target.text,
            "backup": self.backup.as_json(),
            "segments": len(self.names),
            "bytes": self.backup.compressed_size + self.wal_bytes,
            "disk_bytes": room(self.backup),
            "estimated_seconds": round(self.seconds),
            "ends_at": format_lsn(self.reach.end_lsn),
        }


def room(backup: Backup) -> int:
    return int(backup.uncompressed_size * _FACTOR) + _EXTRA


def must_fit(directory: str, backup: Backup, free: int | None = None) -> None:
    """Refuses when the file system has too little room."""
    if free is None:
        info = os.statvfs(directory)
        free = info.f_bavail * info.f_frsize
    need = room(backup)
    if free < need:
        raise RefusedError(
            f"restoring {backup.name} needs {need / 1e6:.0f} MB in {directory}, {free / 1e6:.0f} MB are free: "
            "make room (earlier restores are there too) or restore on another host"
        )


def must_have_key(config: Config) -> None:
    """Refuses when WAL-G's settings name a key that is not there."""
    try:
        with open(config.walg_config, encoding="utf-8") as file:
            settings = json.load(file)
    except (OSError, ValueError) as error:
        raise PgsafeError(f"{config.walg_config} cannot be read ({error}): apply the walg role again") from error
    for key in _KEYS:
        path = settings.get(key)
        if path and not os.access(path, os.R_OK):
            raise RefusedError(
                f"the key {path} is not there, and without it nothing in the archive can be read: put it back from "
                "where the document's secrets are kept, by applying the walg role again"
            )


def must_be_readable(config: Config, name: str) -> None:
    """Fetches one segment: only that shows that store, credentials and key fit what was written."""
    path = os.path.join(config.state, f"probe.{os.getpid()}")
    try:
        walg(config, "wal-fetch", name, path)
    except PgsafeError as error:
        raise RefusedError(
            f"the archive {config.prefix} cannot be read, {error}: if the key has changed, bring the old one back"
        ) from error
    finally:
        if os.path.exists(path):
            os.unlink(path)


def needed(reach: Reach, log: segments.Log, target: Target) -> list[str]:
    """The segments up to the target: the first one stored after it still holds what was committed before."""
    names = reach.chain.names
    if target.kind == "time":
        later = [index for index, name in enumerate(names) if log.stored[name] > target.at]
        return names[: later[0] + 1] if later else names
    if target.lsn:
        return [name for name in names if segments.split(name)[1] * segments.SIZE < target.lsn]
    return names


def _rates(config: Config) -> tuple[float, float]:
    try:
        rates = (objects.read(os.path.join(config.reports, "drill.json")) or {}).get("rates") or {}
    except (OSError, ValueError):
        rates = {}
    return float(rates.get("bytes_per_second") or _FETCH), float(rates.get("segments_per_second") or _REPLAY)


def make(config: Config, wanted: str, backup: str = "", identifier: str = "") -> Plan:
    """``identifier``: of the cluster to bring back, when it is not the one this host keeps."""
    must_have_key(config)
    must_fit_key(config, identity.stored(config))
    target = window.recorded_point(config, parse(wanted))
    identifier = identifier or lineage.same_cluster(config)
    found, log = window.read(config, identifier)
    reach = window.choose(found, target, config.prefix, backup)
    must_be_readable(config, reach.chain.names[0])
    names = needed(reach, log, target)
    bytes_, segments_ = _rates(config)
    seconds = reach.backup.compressed_size / bytes_ + len(names) / segments_ + 5
    return Plan(target, reach, identifier, names, sum(log.sizes[name] for name in names), seconds)


def check(config: Config, directory: str, wanted: str, backup: str = "", identifier: str = "") -> dict[str, Any]:
    """``make`` and whether it fits into that directory; the plan as JSON, with the cluster's ``identifier``."""
    made = make(config, wanted, backup, identifier)
    must_fit(directory, made.backup)
    return {**made.as_json(), "identifier": made.identifier}


def as_text(plan: dict[str, Any]) -> str:
    backup = plan["backup"]
    return "\n".join(
        [
            f"target      {plan['target']}",
            f"backup      {backup['backup_name']}, finished {backup['finish_time'][:19]}Z",
            f"fetches     {plan['bytes'] / 1e6:.1f} MB: the backup and {plan['segments']} segments of the log",
            f"needs       {plan['disk_bytes'] / 1e6:.0f} MB of disk",
            f"takes       about {plan['estimated_seconds']} s",
        ]
    )
