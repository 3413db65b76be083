# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one run of Ansible read from Doppler, shared by its processes (private to this collection).

Every task of every host is a process of its own that lives for that task, so a cache in memory alone would ask once per
task and host. The downloads of a run are therefore in the folder that Ansible makes for the run (mode 0700, removed at
its end), in files of mode 0600 that are encrypted with the token: a file that a killed run leaves behind tells nothing
to somebody who could not read the secrets anyway. A lock lets one process ask while the others wait for its answer.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Download:
    """Values by name, and the etag to ask with whether they still are what they were."""

    values: dict[str, str]
    etag: str


Fetch = Callable[["Download | None"], Download]
"""Answers a download; what it gets is the last one, where it is to be asked for again."""


class Cache:
    """The downloads of one run in ``folder``. ``name`` says what was asked, and ``secret`` (the token) opens it."""

    def __init__(self, folder: str, name: tuple[str, ...], secret: str) -> None:
        self._key = base64.urlsafe_b64encode(hashlib.sha256(f"sapflux.hosting {secret}".encode()).digest())
        mark = hashlib.sha256(json.dumps([*name, secret]).encode()).hexdigest()
        self._path = os.path.join(folder, f"doppler-{mark}")

    def get(self, fetch: Fetch, fresh: bool = False) -> Download:
        """The download of this run; ``fetch`` makes it where there is none, or where it has to be ``fresh``."""
        handle = os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            known = self._read()
            if known is None or fresh:
                # Where it is refused, what was read before must not be taken for what holds.
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self._path)
                known = fetch(known)
                self._write(known)
            return known
        finally:
            os.close(handle)

    def _read(self) -> Download | None:
        # Imported where it is used: ansible-core brings it, but those who only look at a plugin may not have it.
        from cryptography.fernet import Fernet, InvalidToken

        try:
            with open(self._path, "rb") as file:
                found = json.loads(Fernet(self._key).decrypt(file.read()))
        except (FileNotFoundError, InvalidToken):
            return None
        return Download(found["values"], found["etag"])

    def _write(self, download: Download) -> None:
        from cryptography.fernet import Fernet

        text = json.dumps({"values": download.values, "etag": download.etag})
        new = f"{self._path}.new"
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(Fernet(self._key).encrypt(text.encode()))
        os.replace(new, self._path)
