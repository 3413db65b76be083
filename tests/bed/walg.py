"""The WAL-G the tests run: ``python -m tests.bed.walg`` prints {path, sha256, version, real} as JSON.

``WALG_BINARY`` in the environment names one. Else the pinned release is downloaded, once; where it cannot be had, the
stand-in of ``tests/doubles/walg`` is built in its place. Which one it is stands on stderr and in ``real``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from tests.doubles.walg.build import build

VERSION = "3.0.9"
#: The release for Debian 13: the bare program.
URL = f"https://github.com/wal-g/wal-g/releases/download/v{VERSION}/wal-g-pg-24.04-amd64"
SHA256 = "8015836f246a978f27b31a2462eac7765312558ae5b11ac033322b555abf9e22"
#: Seconds for a connection or a silent moment; the whole program may take longer.
_TIMEOUT = 10
#: A failed download is not tried again for this many seconds.
_PATIENCE = 86400


class WalgBinaryError(Exception):
    """WALG_BINARY does not name a WAL-G; the text says what to do."""


@dataclasses.dataclass(frozen=True)
class Program:
    """A WAL-G: ``sha256`` is lower-case hex of the file at ``path``, ``version`` has no leading v."""

    path: Path
    sha256: str
    version: str
    real: bool


def _cache() -> Path:
    return Path(os.environ.get("SAPFLUX_CACHE") or Path.home() / ".cache" / "sapflux.hosting") / "walg"


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _named(path: Path) -> Program:
    """The program WALG_BINARY names, asked for its version."""
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise WalgBinaryError(f"WALG_BINARY={path} does not run ({error}): correct it or unset it") from error
    match = re.match(r"wal-g version v(\S+)\t(\S+)", done.stdout)
    if match is None:
        raise WalgBinaryError(f"WALG_BINARY={path} is no WAL-G ({done.stdout[:80]!r}): correct it or unset it")
    return Program(path.resolve(), _digest(path), match[1], match[2] != "stand-in")


def _downloaded(cache: Path) -> Program | None:
    """The pinned release from the cache or the network; None where it cannot be had."""
    path, refused = cache / f"wal-g-{VERSION}-{SHA256[:12]}", cache / f"unreachable-{VERSION}"
    if path.exists() and _digest(path) == SHA256:
        return Program(path, SHA256, VERSION, True)
    if refused.exists() and time.time() - refused.stat().st_mtime < _PATIENCE:
        return None
    cache.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        with urllib.request.urlopen(URL, timeout=_TIMEOUT) as answer, partial.open("wb") as file:
            while block := answer.read(1 << 20):
                file.write(block)
        found = _digest(partial)
        if found != SHA256:
            print(f"{URL} has the sha256 {found}, not {SHA256}: not used", file=sys.stderr)
            refused.touch()
            return None
        partial.chmod(0o755)
        partial.replace(path)
    except (urllib.error.URLError, OSError, TimeoutError) as error:
        print(f"WAL-G cannot be downloaded here: {error}", file=sys.stderr)
        refused.touch()
        return None
    finally:
        partial.unlink(missing_ok=True)
    return Program(path, SHA256, VERSION, True)


def program() -> Program:
    """The WAL-G for this machine; says on stderr which one it is. Raises WalgBinaryError for a wrong WALG_BINARY."""
    named, cache = os.environ.get("WALG_BINARY"), _cache()
    found = _named(Path(named)) if named else _downloaded(cache)
    if found is None:
        temporary = cache / f"stand-in.{os.getpid()}"
        digest = build(temporary)
        path = cache / f"wal-g-stand-in-{digest[:12]}"
        temporary.replace(path)
        found = Program(path, digest, VERSION, False)
    kind = "WAL-G itself" if found.real else "the stand-in for WAL-G"
    print(f"tests run with {kind} {found.version}: {found.path}", file=sys.stderr)
    return found


if __name__ == "__main__":
    try:
        chosen = program()
        print(json.dumps({**dataclasses.asdict(chosen), "path": str(chosen.path)}))
    except WalgBinaryError as problem:
        sys.exit(str(problem))
