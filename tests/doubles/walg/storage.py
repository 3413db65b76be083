"""The `st` commands: objects of the prefix as they are."""

from __future__ import annotations

import io
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import zstandard

from .s3 import Item, Store
from .settings import WalgError, log


def _time(at: datetime) -> str:
    fraction = f"{at.microsecond // 1000:03d}".rstrip("0")
    return at.strftime("%Y-%m-%d %H:%M:%S") + (f".{fraction}" if fraction else "") + " +0000 UTC"


def _print(rows: list[tuple[str, str, str, str]]) -> None:
    lines = [("type", "size", "last modified", "name"), *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(4)]
    for number, line in enumerate(lines):
        text = " ".join(word.ljust(width) for word, width in zip(line, widths, strict=True))
        print(text.rstrip() if number == 0 else text + "  ")


def ls(store: Store, folder: str, recursive: bool) -> None:
    root = folder.strip("/") + "/" if folder.strip("/") else ""
    items, folders = store.list(root, deep=recursive)
    rows = [("dir", "0", "0001-01-01 00:00:00 +0000 UTC", name) for name in folders]
    # WAL-G walks the folders level by level
    items.sort(key=lambda item: (item.key.count("/"), item.key))
    rows += [("obj", str(item.size), _time(item.modified), item.key.removeprefix(root)) for item in items]
    _print(rows)


def _content(store: Store, key: str, decrypt: bool, decompress: bool) -> bytes:
    try:
        with store.open_sealed(key) if decrypt else store.open(key) as stream:
            data = stream.read()
    except KeyError as error:
        raise WalgError(f"download the file: object '{store.full(key)}' not found in storage") from error
    if decompress and key.endswith(".zst"):
        return zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)).read()
    return data


def cat(store: Store, key: str, decrypt: bool, decompress: bool) -> None:
    """As it is stored, unless asked otherwise."""
    sys.stdout.buffer.write(_content(store, key, decrypt, decompress))
    sys.stdout.buffer.flush()


def get(store: Store, key: str, destination: str, decrypt: bool, decompress: bool) -> None:
    """Decrypted and decompressed, unless asked otherwise."""
    data = _content(store, key, decrypt, decompress)
    target = Path(destination)
    (target / Path(key).name if target.is_dir() else target).write_bytes(data)


def put(store: Store, source: str, key: str, compress: bool, encrypt: bool, force: bool) -> None:
    # WAL-G looks for the compressed name whether it compresses or not, so without compression nothing is protected
    if store.exists(f"{key}.zst") and not force:
        raise WalgError(f"check file overwrite: object {key}.zst already exists. To overwrite it, add the -f flag")
    try:
        data = Path(source).read_bytes()
    except OSError as error:
        raise WalgError(f"open the local file: open {source}: {(error.strerror or '').lower()}") from error
    if compress:
        key, data = f"{key}.zst", zstandard.ZstdCompressor().compress(data)
    (store.put_sealed if encrypt else store.put)(key, io.BytesIO(data))


def rm(store: Store, key: str) -> None:
    items, _ = store.list(key.rstrip("/") + "/")
    gone: list[Item] = items
    single = None if key.endswith("/") else store.head(key)
    if single is not None:
        gone = [*items, single]
    if not gone:
        raise WalgError(f'object or folder "{key}" does not exist')
    for item in gone:
        store.delete(item.key)


def stat(store: Store, key: str) -> None:
    item = store.head(key)
    if item is None:
        raise WalgError(f'object "{key}" does not exist')
    _print([("obj", str(item.size), _time(item.modified.replace(microsecond=0)), key)])


def check(store: Store, what: str, _options: Any = None) -> None:
    if what == "write":
        key = "walg_storage_check"
        store.put(key, io.BytesIO(b"check"))
        store.delete(key)
    else:
        store.list("", deep=False)
    log("INFO", f"{what.capitalize()} check OK")
