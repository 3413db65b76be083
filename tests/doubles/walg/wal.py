"""wal-push, wal-fetch, and the prefetching that wal-fetch leaves behind."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import zstandard

from .names import SEGMENT_BYTES, WAL, parse_segment, segment_name
from .s3 import Store
from .settings import Settings, WalgError, log

ABSENT = 74


def push(store: Store, settings: Settings, path: str) -> None:
    log("INFO", "Files will be uploaded to storage: default")
    name = Path(path).name
    key = f"{WAL}{name}.zst"
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise WalgError(f"upload: could not open '{path}'\n: open {path}: {(error.strerror or '').lower()}") from error
    if settings.flag("WALG_PREVENT_WAL_OVERWRITE"):
        try:
            with store.open_sealed(key) as stream:
                archived = zstandard.ZstdDecompressor().stream_reader(stream).read()
        except KeyError:
            archived = None
        except WalgError as error:
            raise WalgError(
                f"Couldn't check whether there is an overwrite attempt due to inner error: {error}"
            ) from error
        if archived == content:
            log("INFO", f"WAL file '{path}' already archived with equal content, skipping")
            return
        if archived is not None:
            raise WalgError(f"WAL file '{path}' already archived, contents differ, unable to overwrite")
    store.put_sealed(key, io.BytesIO(zstandard.ZstdCompressor().compress(content)))
    log("INFO", f"FILE PATH: {name}.zst")


def _download(store: Store, name: str, destination: str) -> None:
    key = f"{WAL}{name}.zst"
    if not store.exists(key):
        raise WalgError(f"Archive '{name}' does not exist.", ABSENT)
    try:
        target = os.open(destination, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError as error:
        raise WalgError(f"open {destination}: file exists") from error
    # the half of a file stays behind when the store breaks off, as WAL-G leaves it
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(os.fdopen(target, "wb"))
        stream = stack.enter_context(store.open_sealed(key))
        shutil.copyfileobj(stack.enter_context(zstandard.ZstdDecompressor().stream_reader(stream)), file)


def _places(destination: str, name: str) -> tuple[Path, Path]:
    """Where a segment lies that was brought ahead, and where it lies on its way."""
    folder = Path(destination).parent / ".wal-g" / "prefetch"
    return folder / name, folder / "running" / name


def fetch(store: Store, settings: Settings, config: str, name: str, destination: str) -> None:
    """Fetches, and starts the bringing ahead of what follows; takes what an earlier one brought."""
    ready, _ = _places(destination, name)
    try:
        if ready.exists() and ready.stat().st_size == SEGMENT_BYTES:
            ready.rename(destination)
        else:
            _download(store, name, destination)
    finally:
        if settings.number("WALG_DOWNLOAD_CONCURRENCY", 10) > 1 and parse_segment(name) is not None:
            argv = [sys.argv[0], "wal-prefetch", name, destination, "--config", config]
            subprocess.Popen(argv, stdin=subprocess.DEVNULL, start_new_session=True)


def prefetch(store: Store, settings: Settings, name: str, destination: str) -> None:
    """Brings the segments after ``name`` to a place beside ``destination``; errors are nobody's business."""
    timeline, number = parse_segment(name) or (0, 0)
    for following in range(number + 1, number + 1 + settings.number("WALG_DOWNLOAD_CONCURRENCY", 10)):
        ready, running = _places(destination, segment_name(timeline, following))
        if ready.exists() or running.exists():
            continue
        running.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        try:
            _download(store, running.name, str(running))
            running.rename(ready)
        except (WalgError, OSError):
            running.unlink(missing_ok=True)
