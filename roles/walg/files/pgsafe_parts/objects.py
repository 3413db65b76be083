"""Small JSON documents: in the bucket beside the archive, and on the host, where they are replaced as one."""

# paths are plain strings in all of pgsafe
from __future__ import annotations

import json
import os
import re
from typing import Any

from .common import Config
from .walg import WalgError, walg


def put(config: Config, key: str, document: dict[str, Any]) -> None:
    path = os.path.join(config.state, f"object.{os.getpid()}")
    try:
        with open(path, "w", encoding="utf-8") as file:
            json.dump(document, file)
            file.write("\n")
        walg(config, "st", "put", "--no-compress", "--no-encrypt", path, key)
    finally:
        if os.path.exists(path):
            os.unlink(path)


def get(config: Config, key: str) -> dict[str, Any] | None:
    """The document, or None when there is none."""
    try:
        return dict(json.loads(walg(config, "st", "cat", key)))
    except WalgError as error:
        if error.is_absent():
            return None
        raise


def names(config: Config, folder: str) -> list[str]:
    """Everything below a folder, with its full key."""
    listing = walg(config, "st", "ls", "-r", *([folder] if folder else []))
    found = [re.search(r"UTC\s+(\S+)\s*$", line) for line in listing.splitlines() if line.startswith("obj")]
    return [f"{folder}{match[1].removeprefix(folder)}" for match in found if match]


def write(path: str, document: dict[str, Any], mode: int = 0o640) -> None:
    """Replaces a file on the host; after a power cut it is the old or the new one."""
    temporary = f"{path}.{os.getpid()}.new"
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(document, file, indent=1)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.chmod(temporary, mode)
    os.replace(temporary, path)
    folder = os.open(os.path.dirname(path), os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read(path: str) -> dict[str, Any] | None:
    try:
        with open(path, encoding="utf-8") as file:
            return dict(json.load(file))
    except FileNotFoundError:
        return None
