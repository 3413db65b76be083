# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A project's files on the host: where they are, how they are written, and what of them may be shown.

Standard library of Python 3.9 only. Private to this collection.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ._compose_wish import ServiceWish

HIDDEN = "********"
SECRET_DIFF = "(secret content, not shown)\n"  # noqa: S105 - says that there is one
#: Shorter values are words like "true"; hiding them would make a log unreadable and protect nothing.
SHORTEST_SECRET = 4


class DeployError(Exception):
    """What went wrong and the way out; holds no secret."""


@dataclass(frozen=True)
class FileWish:
    """One file: content, permission bits, owner ids (who deploys, that is root, unless said otherwise)."""

    content: bytes
    mode: int
    uid: int = field(default_factory=os.geteuid)
    gid: int = field(default_factory=os.getegid)
    secret: bool = False


@dataclass(frozen=True)
class Layout:
    """Where a project's files are. `root` is / outside of tests.

    `sets/<name>` holds everything that a reboot needs of one release, and the link `current` names the one that counts,
    so that changing it is one rename.
    """

    project: str
    base_dir: str = "/var/lib/sapflux/app"
    run_dir: str = "/run/sapflux/app"
    upstream_dir: str = "/etc/sapflux/upstreams"
    maintenance_dir: str = "/etc/sapflux/maintenance"
    root: Path = Path("/")

    def _at(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    @property
    def base(self) -> Path:
        return self._at(self.base_dir) / self.project

    @property
    def told_base(self) -> str:
        """The directory as containers and units name it."""
        return f"{self.base_dir}/{self.project}"

    @property
    def run(self) -> Path:
        return self._at(self.run_dir) / self.project

    @property
    def upstream_home(self) -> Path:
        return self._at(self.upstream_dir)

    def upstream(self, service: str) -> Path:
        """The file that tells Caddy where a service listens."""
        return self.upstream_home / f"{self.project}-{service}"

    @property
    def maintenance(self) -> Path:
        """While it exists, Caddy answers 503 for the project's services."""
        return self._at(self.maintenance_dir) / self.project

    @property
    def sets(self) -> Path:
        return self.base / "sets"

    @property
    def current(self) -> Path:
        return self.base / "current"

    @property
    def kept(self) -> Path:
        return self.base / "releases"

    @property
    def assets(self) -> Path:
        return self.base / "assets"

    @property
    def transit(self) -> Path:
        """The Compose file while two releases are up."""
        return self.base / "compose.transit.json"

    @property
    def key(self) -> Path:
        return self.base / "hash.key"

    @property
    def state(self) -> Path:
        return self.base / "state.json"

    @property
    def settings(self) -> Path:
        return self.base / "settings.json"

    @property
    def journal(self) -> Path:
        return self.base / "journal.json"

    @property
    def receipts(self) -> Path:
        return self.base / "releases.jsonl"

    @property
    def progress(self) -> Path:
        return self.base / "progress.jsonl"

    @property
    def failure_log(self) -> Path:
        return self.base / "last-failure.log"

    @property
    def guard(self) -> Path:
        """Locked by the process that works."""
        return self.base / ".lock"

    @property
    def lock(self) -> Path:
        """Who deploys, or who forbids it."""
        return self.base / "lock.json"

    @property
    def unit_name(self) -> str:
        return f"sapflux-app@{self.project}.service"

    @property
    def unit(self) -> Path:
        return self._at("/etc/systemd/system") / self.unit_name


def read_bytes(path: Path) -> bytes | None:
    """The content of a file; None where there is none."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


def file_matches(path: Path, wish: FileWish) -> bool:
    """Whether the file is there with this content, mode and owner."""
    try:
        entry = path.lstat()
        return (
            stat.S_ISREG(entry.st_mode)
            and (stat.S_IMODE(entry.st_mode), entry.st_uid, entry.st_gid) == (wish.mode, wish.uid, wish.gid)
            and path.read_bytes() == wish.content
        )
    except (FileNotFoundError, NotADirectoryError):
        return False


def write_file(path: Path, wish: FileWish) -> None:
    """Write beside the destination and rename; the file is never open wider than wished, not even for a moment."""
    temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}"
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as stream:
            stream.write(wish.content)
            os.fchown(stream.fileno(), wish.uid, wish.gid)
            os.fchmod(stream.fileno(), wish.mode)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        # The write that failed is the news; a temporary file that cannot be removed either is not.
        with suppress(OSError):
            temporary.unlink()
        raise DeployError(
            f"cannot write {path}: {error.strerror}; look at the free space with `df {path.parent}`"
        ) from error


def point_at(link: Path, target: str) -> None:
    """Make `link` a symbolic link to `target`, in one step for everybody who looks."""
    temporary = link.parent / f".{link.name}.{secrets.token_hex(4)}"
    os.symlink(target, temporary)
    os.replace(temporary, link)
    directory = os.open(link.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def make_directories(layout: Layout) -> None:
    """Directories of the project: nobody but root looks in. Where the upstreams are, everybody may."""
    for directory in (layout.base, layout.sets, layout.kept, layout.run):
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o700)
    for directory in (layout.upstream_home.parent, layout.upstream_home, layout.maintenance.parent):
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o755)


def read_key(layout: Layout) -> bytes | None:
    """The key of this host's hashes; None before the first deployment."""
    try:
        return bytes.fromhex(layout.key.read_text().strip()) or None
    except (FileNotFoundError, ValueError):
        return None


def make_key(layout: Layout) -> bytes:
    """The key of this host's hashes, made when there is none."""
    key = read_key(layout)
    if key is None:
        key = secrets.token_bytes(32)
        write_file(layout.key, FileWish(f"{key.hex()}\n".encode(), 0o600))
    return key


def dotenv_values(text: str) -> list[str]:
    """Values of dotenv text as the filter writes it."""
    values = []
    for line in text.splitlines():
        value = line.partition("=")[2]
        if value.startswith('"'):
            value = re.sub(r"\\(.)", lambda found: {"n": "\n", "r": "\r"}.get(found[1], found[1]), value[1:-1])
        else:
            value = value[1:-1]
        values.append(value)
    return values


class Mask:
    """Takes secrets out of text: whole values, their lines, and the password inside a connection URL."""

    def __init__(self, services: Iterable[ServiceWish], more: Callable[[], Iterable[str]] = list) -> None:
        self._values = [value for service in services for value in dotenv_values(service.secrets_env)]
        self._more = more
        self._words: list[str] | None = None

    def _learn(self) -> list[str]:
        """What to hide. Sealed values are opened only when there is a text to hide them in."""
        words: set[str] = set()
        for value in (*self._values, *self._more()):
            words.update([value, *value.splitlines(), *re.findall(r"[a-z][a-z0-9+.-]*://[^/@\s:]*:([^/@\s]+)@", value)])
        return sorted((word for word in words if len(word) >= SHORTEST_SECRET), key=len, reverse=True)

    def __call__(self, text: str) -> str:
        if not text:
            return text
        if self._words is None:
            try:
                self._words = self._learn()
            except DeployError as error:
                return f"(hidden, because its secrets cannot be told: {error})"
        for word in self._words:
            text = text.replace(word, HIDDEN)
        return text


def diff_entry(path: Path, wish: FileWish) -> dict[str, str]:
    """One entry of Ansible's diff; secrets are named, not shown."""
    before = (read_bytes(path) or b"").decode(errors="replace")
    after = wish.content.decode(errors="replace")
    if wish.secret:
        before, after = (SECRET_DIFF if before else ""), SECRET_DIFF
        if path.exists():
            after = "(other " + SECRET_DIFF[1:]
    return {"before": before, "after": after, "before_header": str(path), "after_header": str(path)}
