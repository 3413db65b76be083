"""backup-push and backup-fetch: base backups of a running server, as tar files compressed with zstd."""

from __future__ import annotations

import contextlib
import io
import json
import os
import socket
import stat
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import zstandard

from .catalogue import listed, put_json
from .names import BASE, SENTINEL, lsn
from .s3 import Store
from .settings import Settings, WalgError, log

#: Directories whose content belongs to the running server; the directory itself is in the backup.
_EMPTY = {
    "log", "pg_dynshmem", "pg_log", "pg_notify", "pg_replslot", "pg_serial", "pg_snapshots", "pg_stat_tmp",
    "pg_subtrans", "pg_wal",
}  # fmt: skip
_NOT = {"postmaster.pid", "postmaster.opts", "standby.signal", "pg_internal.init", "postgresql.auto.conf.tmp"}
_CONTROL = "global/pg_control"


class Session:
    """One psql process: the backup ends when the session that began it does."""

    def __init__(self, settings: Settings) -> None:
        names = ("PGHOST", "PGPORT", "PGUSER", "PGDATABASE")
        environment = {**os.environ, **{name: settings.get(name) for name in names if settings.get(name)}}
        self._process = subprocess.Popen(
            ["psql", "-XAtq", "-v", "ON_ERROR_STOP=1"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def row(self, sql: str) -> dict[str, Any]:
        """One row of a query, as an object."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(f"SELECT row_to_json(answer) FROM ({sql}) AS answer;\n")  # noqa: S608 - ours
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise WalgError("failed to query PostgreSQL: connection failed or refused the statement")
        found = json.loads(line)
        assert isinstance(found, dict)
        return found

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)


@dataclass
class Parts:
    """Writes tar files to the bucket, a new one whenever ``limit`` bytes are in the last; counts bytes."""

    store: Store
    folder: str
    limit: int
    compressed: int = 0
    uncompressed: int = 0
    number: int = 0
    files: dict[str, dict[str, Any]] = field(default_factory=dict)

    @contextlib.contextmanager
    def tar(self, name: str) -> Iterator[tarfile.TarFile]:
        with tempfile.TemporaryFile() as body:
            with (
                zstandard.ZstdCompressor(level=1).stream_writer(body, closefd=False) as writer,
                tarfile.open(fileobj=writer, mode="w|", format=tarfile.GNU_FORMAT) as archive,
            ):
                yield archive
            self.compressed += self.store.put_sealed(f"{self.folder}tar_partitions/{name}.tar.zst", body)

    def add(self, archive: tarfile.TarFile, root: Path, name: str) -> int:
        """Adds one file or directory; a file that goes away or grows meanwhile is repaired by the WAL."""
        path = root / name
        try:
            info = archive.gettarinfo(str(path), arcname=name)
            if not info.isreg():
                archive.addfile(info)
                return 0
            with path.open("rb") as file:
                archive.addfile(info, _Padded(file, info.size))
        except FileNotFoundError:
            return 0
        self.uncompressed += info.size
        modified = datetime.fromtimestamp(info.mtime, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.files[f"/{name}"] = {"IsIncremented": False, "IsSkipped": False, "MTime": modified, "UpdatesCount": 0}
        return info.size

    def add_all(self, root: Path, names: list[str]) -> None:
        queue = list(names)
        while queue:
            self.number += 1
            size = 0
            with self.tar(f"part_{self.number:03d}") as archive:
                while queue and size < self.limit:
                    size += self.add(archive, root, queue.pop(0))
            log("INFO", f"Finished writing part {self.number}.")


class _Padded:
    """A file that gives exactly ``size`` bytes, with zeros for those that were cut off under our feet."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file, self._left = file, size

    def read(self, size: int = -1) -> bytes:
        want = self._left if size < 0 else min(size, self._left)
        data = self._file.read(want).ljust(want, b"\0")
        self._left -= want
        return data


def names_below(root: Path) -> list[str]:
    """Everything a base backup holds, directories before their content; pg_control is left for the end."""
    found: list[str] = []
    for folder, folders, files in os.walk(root):
        here = Path(folder).relative_to(root)
        folders.sort()
        found += [str(here / name) for name in folders]
        if here.parts[:1] and here.parts[0] in _EMPTY:
            folders.clear()
            found = [name for name in found if Path(name).parts[0] != here.parts[0] or len(Path(name).parts) == 1]
            continue
        folders[:] = [name for name in folders if not name.startswith("pgsql_tmp")]
        found += [
            str(here / name)
            for name in sorted(files)
            if name not in _NOT and not name.startswith("pgsql_tmp") and str(here / name) != _CONTROL
        ]
    return found


def _stamp(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def push(store: Store, settings: Settings, data: str, *, permanent: bool, user_data: str) -> None:
    root = Path(data)
    if any((root / "pg_tblspc").iterdir()):
        raise WalgError("tablespaces are not supported by this stand-in")
    label = json.loads(user_data) if user_data else None
    session = Session(settings)
    try:
        began = datetime.now(UTC)
        start = session.row(
            "SELECT lsn::text, pg_walfile_name(lsn) AS wal, current_setting('server_version_num')::int AS version,"
            " (SELECT system_identifier FROM pg_control_system()) AS system"
            " FROM pg_backup_start('wal-g stand-in', true) AS lsn"
        )
        name = f"base_{start['wal']}"
        parts = Parts(store, f"{BASE}{name}/", settings.number("WALG_TAR_SIZE_THRESHOLD", 1 << 30))
        log("INFO", "Starting part 1 ...")
        parts.add_all(root, names_below(root))
        with parts.tar("pg_control") as archive:
            parts.add(archive, root, _CONTROL)
        stop = session.row("SELECT labelfile, spcmapfile, lsn::text FROM pg_backup_stop(true)")
        with parts.tar("backup_label") as archive:
            for member, text in (("backup_label", stop["labelfile"]), ("tablespace_map", stop["spcmapfile"])):
                info = tarfile.TarInfo(member)
                content = text.encode()
                info.size, info.mode = len(content), 0o600
                archive.addfile(info, io.BytesIO(content))
                parts.uncompressed += info.size
                log("INFO", member)
        ended = datetime.now(UTC)
    finally:
        session.close()
    catalog = sum(item["Size"] for item in _sizes(root, list(parts.files)))
    _publish(store, name, parts, start, stop, (began, ended), data, permanent, label, catalog)
    log("INFO", f"Wrote backup with name {name} to storage default")


def _sizes(root: Path, names: list[str]) -> Iterator[dict[str, int]]:
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            yield {"Size": (root / name.lstrip("/")).stat().st_size}


def _publish(
    store: Store,
    name: str,
    parts: Parts,
    start: dict[str, Any],
    stop: dict[str, Any],
    times: tuple[datetime, datetime],
    data: str,
    permanent: bool,
    label: Any,
    catalog: int,
) -> None:
    """Metadata first, the sentinel last: with it the backup exists."""
    common = {
        "start_time": _stamp(times[0]),
        "finish_time": _stamp(times[1]),
        "date_fmt": "%Y-%m-%dT%H:%M:%S.%fZ",
        "hostname": socket.gethostname(),
        "data_dir": data,
        "pg_version": start["version"],
        "start_lsn": lsn(start["lsn"]),
        "finish_lsn": lsn(stop["lsn"]),
        "is_permanent": permanent,
        "system_identifier": start["system"],
        "uncompressed_size": parts.uncompressed,
        "compressed_size": parts.compressed,
    }
    document = {
        "LSN": common["start_lsn"],
        "PgVersion": common["pg_version"],
        "FinishLSN": common["finish_lsn"],
        "SystemIdentifier": common["system_identifier"],
        "UncompressedSize": parts.uncompressed,
        "CompressedSize": parts.compressed,
        "DataCatalogSize": catalog,
        **({"UserData": label} if label is not None else {}),
        "ChkpNum": None,
        "Version": 2,
        "StartTime": common["start_time"],
        "FinishTime": common["finish_time"],
        "DateFmt": common["date_fmt"],
        "Hostname": common["hostname"],
        "DataDir": data,
        "IsPermanent": permanent,
    }
    put_json(store, f"{BASE}{name}/metadata.json", {**common, **({"user_data": label} if label is not None else {})})
    put_json(store, f"{BASE}{name}/files_metadata.json", {"Files": parts.files})
    put_json(store, f"{BASE}{name}{SENTINEL}", document)


def fetch(store: Store, directory: str, name: str) -> None:
    """Unpacks a backup into an empty directory; pg_control comes last but one, so that half a restore cannot start."""
    log("INFO", "Selecting the latest backup..." if name == "LATEST" else f"Selecting the backup with name {name}...")
    log("INFO", "Backup to fetch will be searched in storages: [default]")
    names = [backup.name for backup in listed(store)]
    if name == "LATEST":
        if not names:
            raise WalgError("Failed to select backup: No backups found")
        name = names[-1]
    elif name not in names:
        raise WalgError(f"Failed to select backup: Backup '{name}' does not exist.")
    root = Path(directory)
    if root.is_dir() and any(root.iterdir()):
        for path in sorted(root.rglob("*")):
            if path.is_file():
                log("INFO", f"found file '{path}' in directory: '{directory}'")
        raise WalgError(f"Failed to fetch backup: Directory {directory} for delta base must be empty")
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    root.chmod(stat.S_IRWXU)
    items, _ = store.list(f"{BASE}{name}/tar_partitions/")
    ordered = sorted((item.key for item in items), key=lambda key: ("part_" not in key, "backup_label" in key, key))
    for key in ordered:
        with (
            store.open_sealed(key) as stream,
            zstandard.ZstdDecompressor().stream_reader(stream) as reader,
            tarfile.open(fileobj=reader, mode="r|") as archive,
        ):
            archive.extractall(root, filter="tar")
        log("INFO", f"Finished extraction of {key.rsplit('/', 1)[-1]}")
    log("INFO", "\nBackup extraction complete.")
