# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file operations of C(file_set), each one durable and each one announced to C(tick) before it happens.

C(tick) is the seam through which tests cut a run off (or fill the disk) at any step. C(root) is prefixed to every
path, so that a test can run against a tree of its own; on a host it is C(/).
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ._file_set_spec import FileSetError

LOCK_WAIT = 120.0
"""Seconds to wait for another run of the same set."""


@dataclass(frozen=True)
class Seen:
    """What is at a path: C(kind) is absent, file, directory, symlink or other; C(target) is a symlink's text;
    C(size) in bytes."""

    kind: str
    mode: int = 0
    uid: int = 0
    gid: int = 0
    size: int = 0
    target: str = ""


ABSENT = Seen("absent")


def _no_tick(step: str) -> None:
    del step


class Disk:
    """File operations below C(root). Paths given and named in errors are the host's own (without C(root))."""

    def __init__(self, root: str = "/", tick: Callable[[str], None] = _no_tick) -> None:
        self.root = root.rstrip("/")
        self.tick = tick

    def real(self, path: str) -> str:
        """Return where C(path) lies on this machine."""
        return self.root + path

    def see(self, path: str) -> Seen:
        """Return what is at C(path) without following a symlink there. A missing parent counts as absent."""
        try:
            info = os.lstat(self.real(path))
        except (FileNotFoundError, NotADirectoryError):
            return ABSENT
        mode = stat.S_IMODE(info.st_mode)
        if stat.S_ISREG(info.st_mode):
            return Seen("file", mode, info.st_uid, info.st_gid, info.st_size)
        if stat.S_ISDIR(info.st_mode):
            return Seen("directory", mode, info.st_uid, info.st_gid)
        if stat.S_ISLNK(info.st_mode):
            return Seen("symlink", mode, info.st_uid, info.st_gid, 0, os.readlink(self.real(path)))
        return Seen("other", mode, info.st_uid, info.st_gid)

    def is_dir(self, path: str) -> bool:
        """Say whether C(path) is a directory or a symlink to one."""
        return os.path.isdir(self.real(path))

    def read(self, path: str) -> bytes:
        """Return the bytes of a regular file; refuses to follow a symlink (OSError)."""
        fd = os.open(self.real(path), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as handle:
            return handle.read()

    def names(self, path: str) -> list[str]:
        """Return the sorted names inside a directory; [] when there is none."""
        try:
            return sorted(os.listdir(self.real(path)))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def create(self, path: str, data: bytes, owner: tuple[int, int], mode: int, sync: bool = True) -> None:
        """Write a new file that nobody else can open before owner and mode are right. Fails when C(path) exists."""
        self.tick(f"create {path}")
        fd = os.open(self.real(path), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(fd, "wb") as handle:
                handle.write(data)
                handle.flush()
                # chown first: it clears set-id bits, which chmod then sets as wished.
                os.fchown(handle.fileno(), *owner)
                os.fchmod(handle.fileno(), mode)
                if sync:
                    os.fsync(handle.fileno())
        except OSError as error:
            # A write knows only its descriptor; a person wants to know the file.
            error.filename = error.filename or self.real(path)
            raise

    def symlink(self, target: str, path: str) -> None:
        """Make a symlink at C(path)."""
        self.tick(f"symlink {path}")
        os.symlink(target, self.real(path))

    def rename(self, old: str, new: str) -> None:
        """Rename within one file system, replacing C(new)."""
        self.tick(f"rename {new}")
        os.rename(self.real(old), self.real(new))

    def link(self, old: str, new: str) -> None:
        """Give a file a second name."""
        self.tick(f"link {new}")
        os.link(self.real(old), self.real(new))

    def unlink(self, path: str) -> bool:
        """Remove a file or symlink; False when there was none."""
        if self.see(path).kind == "absent":
            return False
        self.tick(f"unlink {path}")
        os.unlink(self.real(path))
        return True

    def mkdir(self, path: str, owner: tuple[int, int], mode: int) -> None:
        """Make one directory with owner and mode."""
        self.tick(f"mkdir {path}")
        os.mkdir(self.real(path), 0o700)
        self.attributes(path, owner, mode)

    def attributes(self, path: str, owner: tuple[int, int], mode: int) -> None:
        """Set owner and mode of an existing directory."""
        self.tick(f"attributes {path}")
        os.chown(self.real(path), *owner)
        os.chmod(self.real(path), mode)

    def rmdir(self, path: str) -> bool:
        """Remove a directory when it is empty; False when it is not empty or not there."""
        if self.see(path).kind != "directory" or self.names(path):
            return False
        self.tick(f"rmdir {path}")
        try:
            os.rmdir(self.real(path))
        except OSError as error:
            # Somebody put a file there in between, or it is a mount point: it is not ours alone, so it stays.
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY):
                return False
            raise
        return True

    def remove_tree(self, path: str) -> None:
        """Remove a tree of our own state (never a tree of the host)."""
        kind = self.see(path).kind
        if kind == "directory":
            for name in self.names(path):
                self.remove_tree(f"{path}/{name}")
            self.rmdir(path)
        elif kind != "absent":
            self.unlink(path)

    def make_private_dirs(self, path: str, above: int = 0o711) -> None:
        """Make C(path) (0700 root) and what is missing above it (0711, so that a validator's user may pass)."""
        missing = []
        while not self.is_dir(path):
            missing.append(path)
            path = os.path.dirname(path)
        for index, directory in reversed(list(enumerate(missing))):
            self.mkdir(directory, (os.geteuid(), os.getegid()), 0o700 if index == 0 else above)

    def sync_dir(self, path: str) -> None:
        """Make renames inside a directory survive a power cut."""
        fd = os.open(self.real(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def put(self, path: str, data: bytes) -> None:
        """Replace one of our own state files (0600) in one step."""
        temp = f"{path}.new"
        self.unlink(temp)
        self.create(temp, data, (os.geteuid(), os.getegid()), 0o600)
        self.rename(temp, path)
        self.sync_dir(os.path.dirname(path))

    def free(self, path: str) -> str:
        """Return the free space of the file system that holds C(path) (or its nearest parent) for a person."""
        while path != "/" and not os.path.exists(self.real(path)):
            path = os.path.dirname(path)
        info = os.statvfs(self.real(path) or "/")
        return f"{info.f_bavail * info.f_frsize / 1048576:.1f} MiB and {info.f_favail} inodes free"

    def explain(self, error: OSError) -> str:
        """Return an OSError as one clause with the path, and with the free space where the disk is full."""
        name = error.filename2 or error.filename
        path = os.fsdecode(name) if isinstance(name, (str, bytes)) else ""
        if self.root and path.startswith(self.root):
            path = path[len(self.root) :]
        text = os.strerror(error.errno) if error.errno else str(error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            space = self.free(path or "/")
            return f"the disk is full at {path or 'an unknown path'} ({space}): free some space and run again"
        if error.errno in (errno.EPERM, errno.EACCES, errno.EINVAL) and os.geteuid() != 0:
            return f"no permission for {path}: run the task with become: true"
        if error.errno == errno.EROFS:
            return f"{path} is on a read-only file system"
        return f"{text}: {path}" if path else text

    @contextmanager
    def locked(self, path: str, name: str, create: bool, wait: float = LOCK_WAIT) -> Iterator[None]:
        """Hold the lock of set C(name). With C(create) false (check mode) a missing lock file means nobody runs: no
        lock is made."""
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_CREAT if create else 0)
        deadline = time.monotonic() + wait
        while True:
            try:
                fd = os.open(self.real(path), flags, 0o600)
            except FileNotFoundError:
                if create:
                    raise
                yield
                return
            try:
                self._wait_for_lock(fd, name, deadline, wait)
                # A run that removed the set also removed its lock file: a lock on the old file would protect nothing.
                if self._same_file(fd, path):
                    yield
                    return
            finally:
                os.close(fd)

    def _same_file(self, fd: int, path: str) -> bool:
        try:
            now = os.stat(self.real(path))
        except FileNotFoundError:
            return False
        mine = os.fstat(fd)
        return (mine.st_dev, mine.st_ino) == (now.st_dev, now.st_ino)

    @staticmethod
    def _wait_for_lock(fd: int, name: str, deadline: float, wait: float) -> None:
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise FileSetError(
                        f"file_set {name}: another run has held this set for {wait:.0f} s: let it end, then run again."
                    ) from None
                time.sleep(0.1)
            else:
                return
