"""``dump``: the second leg. A logical dump of every database, and of the roles, which any PostgreSQL can read.

It shares nothing with the base backups but the bucket: a fault in pages, in WAL or in their format is not in it.
"""

# paths are plain strings in all of pgsafe
from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from typing import Any

from . import lineage, objects
from .backup import iso, only_one
from .common import Config, PgsafeError, RefusedError, now
from .walg import psql_environment, query, walg

_DATABASES = (
    "SELECT coalesce(json_agg(json_build_object('name', datname, 'bytes', pg_database_size(datname)) ORDER BY datname),"
    " '[]') FROM pg_database WHERE datallowconn AND NOT datistemplate"
)
_STAMP = re.compile(r"^\d{8}T\d{6}Z$")


def _view(config: Config) -> Config:
    """The same bucket, another prefix."""
    prefix = config.values.get("dump_prefix")
    if not isinstance(prefix, str) or not prefix:
        raise PgsafeError(f"{config.path}: dump_prefix is missing: apply the walg role again")
    return lineage.at(config, prefix)


def _run(config: Config, program: str, *arguments: str, path: str) -> None:
    argv = [os.path.join(config.bin, program), "-h", config.socket, "-p", str(config.port), "-U", "postgres", "-w"]
    with open(path, "wb") as out:
        done = subprocess.run(
            [*argv, *arguments],
            env=psql_environment(config),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.PIPE,
            timeout=config.backup_limit,
            check=False,
        )
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
        raise PgsafeError(f"{program} failed (exit {done.returncode}): {said[0]}")


def stamps(keys: list[str]) -> list[str]:
    """The dumps that are whole, the oldest first: the manifest is written last."""
    whole = {key.split("/")[0] for key in keys if key.endswith("/manifest.json")}
    return sorted(stamp for stamp in whole if _STAMP.match(stamp))


def to_prune(keys: list[str], keep: int) -> list[str]:
    """Keys of everything older than the newest ``keep`` whole dumps."""
    whole = stamps(keys)
    if len(whole) <= keep:
        return []
    oldest = whole[-keep:][0]
    return sorted(key for key in keys if _STAMP.match(key.split("/")[0]) and key.split("/")[0] < oldest)


def make(config: Config, *, wait: float = 0) -> dict[str, Any]:
    """{stamp, prefix, files: {name: bytes}, bytes, kept, pruned, seconds}"""
    clock = time.monotonic()
    view, keep = _view(config), int(str(config.values.get("dump_keep", 4)))
    databases = json.loads(query(config, _DATABASES))
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now()))
    home = os.path.join(config.restores, f"dump-{stamp}")
    info = os.statvfs(config.restores)
    # one at a time on the disk; a compressed dump is smaller than its database
    need = max((int(one["bytes"]) for one in databases), default=0)
    if info.f_bavail * info.f_frsize < need:
        raise RefusedError(f"the dump needs up to {need / 1e6:.0f} MB in {config.restores} for a moment: make room")
    with only_one(config, wait):
        os.mkdir(home, 0o700)
        try:
            sizes: dict[str, int] = {}

            def send(name: str, program: str, *arguments: str) -> None:
                path = os.path.join(home, name)
                _run(config, program, *arguments, path=path)
                sizes[name] = os.path.getsize(path)
                walg(view, "st", "put", "--no-compress", path, f"{stamp}/{name}", limit=config.backup_limit)
                os.unlink(path)

            send("globals.sql", "pg_dumpall", "--globals-only")
            for one in databases:
                send(f"{one['name']}.dump", "pg_dump", "-Fc", "--compress=zstd:3", "-d", one["name"])
            manifest = {"at": iso(now()), "cluster": config.cluster, "files": sizes}
            objects.put(view, f"{stamp}/manifest.json", manifest)
            keys = objects.names(view, "")
            if stamp not in stamps(keys):
                raise PgsafeError(f"wal-g reported success, but {view.prefix} does not list the dump {stamp}")
            old = to_prune(keys, keep)
            for key in old:
                walg(view, "st", "rm", key)
        finally:
            shutil.rmtree(home, ignore_errors=True)
    result = {
        "stamp": stamp,
        "at": iso(now()),
        "prefix": view.prefix,
        "files": sizes,
        "bytes": sum(sizes.values()),
        "kept": len(stamps(keys)) - len({key.split("/")[0] for key in old if key.endswith("/manifest.json")}),
        "pruned": len({key.split("/")[0] for key in old}),
        "seconds": round(time.monotonic() - clock, 1),
    }
    objects.write(os.path.join(config.reports, "dump.json"), result)
    return result


def fetch(config: Config, stamp: str, directory: str) -> dict[str, Any]:
    """Brings a dump (``stamp`` "" = the newest) into an empty directory, for pg_restore and psql."""
    view = _view(config)
    held = stamps(objects.names(view, ""))
    chosen = stamp or (held[-1] if held else "")
    if chosen not in held:
        raise RefusedError(f"{view.prefix} holds no dump {stamp!r}; it holds {', '.join(held) or 'none'}")
    if os.path.isdir(directory) and os.listdir(directory):
        raise RefusedError(f"{directory} is not empty: name another directory")
    os.makedirs(directory, 0o700, exist_ok=True)
    manifest = objects.get(view, f"{chosen}/manifest.json") or {}
    for name, size in manifest["files"].items():
        path = os.path.join(directory, name)
        walg(view, "st", "get", "--no-decompress", f"{chosen}/{name}", path, limit=config.backup_limit)
        if os.path.getsize(path) != size:
            raise PgsafeError(
                f"{view.prefix}/{chosen}/{name} has {os.path.getsize(path)} bytes, not {size}: take another"
            )
    return {"stamp": chosen, "directory": directory, "files": manifest["files"]}


def as_text(result: dict[str, Any]) -> str:
    names = ", ".join(result["files"])
    size = result["bytes"] / 1e6
    return f"dump {result['stamp']} made: {names}; {size:.1f} MB in {result['prefix']}, {result['kept']} kept"


def fetched(result: dict[str, Any]) -> str:
    return "\n".join(
        [
            f"dump {result['stamp']} is in {result['directory']}; into an empty server:",
            f"  psql -f {result['directory']}/globals.sql postgres",
            *[
                f"  pg_restore --create -d postgres {result['directory']}/{name}"
                for name in result["files"]
                if name.endswith(".dump")
            ],
        ]
    )
