"""wal-push and wal-fetch."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
from pathlib import Path

import zstandard

from .names import WAL
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
            archived = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(store.read(key))).read()
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
    store.put(key, io.BytesIO(zstandard.ZstdCompressor().compress(content)))
    log("INFO", f"FILE PATH: {name}.zst")


def fetch(store: Store, name: str, destination: str) -> None:
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
        stream = stack.enter_context(store.open(key))
        shutil.copyfileobj(stack.enter_context(zstandard.ZstdDecompressor().stream_reader(stream)), file)
