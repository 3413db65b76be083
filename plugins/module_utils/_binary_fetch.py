# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How C(sapflux.hosting.binary) gets a file onto the host and looks into it; private to this collection."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import time
from typing import BinaryIO

CHUNK = 1 << 20
PAUSES = (2.0, 4.0)  # seconds before the second and the third try of a download
TIMEOUT = 60.0  # seconds without a byte before a try counts as failed
FULL = (errno.ENOSPC, errno.EDQUOT)


class BinaryError(Exception):
    """The program cannot be installed or removed; the message names it and the way out."""


class _BrokenError(Exception):
    """One try of a download failed in a way that may pass."""


def digest(path: str) -> str:
    """Return the sha256 of a file as lower-case hex."""
    hasher = hashlib.sha256()
    with open(path, "rb") as handle:
        for chunk in iter(lambda: handle.read(CHUNK), b""):
            hasher.update(chunk)
    return hasher.hexdigest()


def sync(path: str) -> None:
    """Make sure that a file has reached the disk before it is renamed into place."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def shown(url: str) -> str:
    """Return a URL as it may appear in messages: a user, a password or a signature in the query is left out."""
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def download(name: str, url: str, handle: BinaryIO) -> None:
    """Write what C(url) serves to C(handle), in up to three tries; BinaryError says what the server answered."""
    reason = ""
    for pause in (0.0, *PAUSES):
        time.sleep(pause)
        handle.seek(0)
        handle.truncate()
        try:
            _download_once(name, url, handle)
        except _BrokenError as broken:
            reason = str(broken)
        else:
            return
    raise BinaryError(
        f"{name}: {shown(url)} could not be downloaded in {len(PAUSES) + 1} tries ({reason}); "
        "see whether this host can reach it, or set src to a copy on the controller."
    )


def _download_once(name: str, url: str, handle: BinaryIO) -> None:
    # Imported late: a run that finds everything in place must not pay for an HTTP client.
    import http.client
    import urllib.error
    import urllib.request

    request = urllib.request.Request(url, headers={"User-Agent": "sapflux.hosting"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:  # noqa: S310
            announced = response.headers.get("Content-Length")
            shutil.copyfileobj(response, handle, CHUNK)
    except urllib.error.HTTPError as error:
        # Asking again does not help with "not found", but may with "too many" and a server's own failures.
        if error.code < 500 and error.code not in (408, 429):
            raise BinaryError(f"{name}: {shown(url)} answers {error.code} {error.reason}; correct url.") from error
        raise _BrokenError(f"it answers {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, OSError) and error.errno in FULL:
            raise
        raise _BrokenError(str(error) or type(error).__name__) from error
    # A connection that is cut looks like the end of the file: only the length tells.
    if announced is not None and handle.tell() != int(announced):
        raise _BrokenError(f"it stopped after {handle.tell()} of {announced} bytes")


def extract(name: str, archive: str, member: str, target: str) -> None:
    """Write one member of a .tar.gz to C(target); BinaryError lists what the archive holds when it is not there."""
    import tarfile
    import zlib

    try:
        with tarfile.open(archive, mode="r:gz") as tar:
            members = {os.path.normpath(item.name): item for item in tar.getmembers() if item.isreg()}
            found = members.get(os.path.normpath(member))
            source = tar.extractfile(found) if found else None
            if source is None:
                holds = ", ".join(sorted(members)[:10]) or "no files"
                raise BinaryError(f"{name}: the archive has no file {member}; it holds {holds}. Correct member.")
            with source, open(target, "wb") as handle:
                shutil.copyfileobj(source, handle, CHUNK)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise BinaryError(
            f"{name}: the file is not a .tar.gz archive ({error}); drop member if it is the program."
        ) from error
