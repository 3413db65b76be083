# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What C(sapflux.hosting.binary) does on the host; private to this collection.

Layout of one program below C(directory), all of it owned by the user who runs the task::

    <name>/<version>-<12 hex>/<name>         the program, 0755
    <name>/<version>-<12 hex>/<name>.json    the record: written after the program, so that without it nothing counts
    <name>/.incoming-xxxx/                   an installation in progress; left only by one that was killed
    <link>                                   a symlink to the program in use

Every step is one rename, and the link is moved last: whenever it is cut, the link leads to a whole program.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from ansible_collections.sapflux.hosting.plugins.module_utils._binary_fetch import (
    FULL,
    BinaryError,
    digest,
    extract,
    sync,
)
from ansible_collections.sapflux.hosting.plugins.module_utils._binary_verify import VERIFY_OPTION, verify

INCOMING = ".incoming-"
MODE = 0o755
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+~_-]*")
SHA256 = re.compile(r"[0-9a-f]{64}")

ARGUMENT_SPEC: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "version": {"type": "str"},
    "sha256": {"type": "str"},
    "url": {"type": "str"},
    "src": {"type": "path"},
    "remote_src": {"type": "bool", "default": False},
    "member": {"type": "str"},
    "link": {"type": "str"},
    "directory": {"type": "str", "default": "/usr/local/lib/sapflux"},
    "keep": {"type": "int", "default": 1},
    "rehash": {"type": "bool", "default": False},
    "verify": VERIFY_OPTION,
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}
CONSTRAINTS: dict[str, Any] = {
    "mutually_exclusive": [("url", "src")],
    "required_if": [("state", "present", ("version", "sha256")), ("state", "present", ("url", "src"), True)],
}

Fetch = Callable[[BinaryIO], None]


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What the caller asks for; C(sha256) is of the file as it is downloaded, the archive when C(member) is given."""

    name: str
    version: str
    sha256: str
    member: str | None
    link: str
    directory: str
    keep: int
    rehash: bool
    verify: dict[str, Any] | None = None

    @property
    def home(self) -> str:
        """The folder of all versions of this program."""
        return os.path.join(self.directory, self.name)

    @property
    def folder(self) -> str:
        """The name of the folder of the version that is wanted."""
        return f"{self.version}-{self.sha256[:12]}"

    @property
    def path(self) -> str:
        """The program that is wanted."""
        return os.path.join(self.home, self.folder, self.name)


@dataclasses.dataclass
class Plan:
    """The difference between the host and what is wanted; all false and empty means that nothing is to be done.

    C(install): the program itself is missing or damaged. C(repair): its mode, owner or time differ. C(relink): the link
    leads elsewhere. C(prune): folders of the program to remove. C(unlink): links of ours that are no longer wanted.
    """

    install: bool = False
    repair: bool = False
    relink: bool = False
    prune: list[str] = dataclasses.field(default_factory=list)
    unlink: list[str] = dataclasses.field(default_factory=list)
    current: dict[str, Any] | None = None
    previous: dict[str, Any] | None = None

    @property
    def changed(self) -> bool:
        """Whether anything has to be done."""
        return bool(self.install or self.repair or self.relink or self.prune or self.unlink)


def wanted_from(params: dict[str, Any]) -> Wanted:
    """Check the values of the options that an argument spec cannot; BinaryError lists all that is wrong with them."""
    name, version, sha256 = params["name"], params["version"] or "", (params["sha256"] or "").lower()
    link = params["link"] or f"/usr/local/bin/{name}"
    present = params["state"] == "present"
    wrong = [] if NAME.fullmatch(name) else [f"name {name!r} must be letters, digits, dots, dashes and underscores"]
    if present and not VERSION.fullmatch(version):
        wrong.append(f"version {version!r} must be letters, digits and .+~_-")
    if present and not SHA256.fullmatch(sha256):
        wrong.append(f"sha256 {sha256!r} must be 64 hexadecimal digits, as `sha256sum` prints them")
    if params["url"] and not params["url"].startswith(("https://", "http://")):
        wrong.append("url must begin with https:// or http://")
    if params["keep"] < 0:
        wrong.append(f"keep {params['keep']} must be 0 or more")
    wrong += [
        f"{key} {path!r} must be an absolute path without '..'"
        for key, path in (("link", link), ("directory", params["directory"]))
        if not os.path.isabs(path) or os.path.normpath(path) != path
    ]
    if wrong:
        raise BinaryError(f"{name}: {'; '.join(wrong)}.")
    place = (params["directory"], params["keep"], bool(params["rehash"]), params.get("verify"))
    return Wanted(name, version, sha256, params["member"], link, *place)


def make_folders(path: str) -> list[str]:
    """Make a folder and those above it, 0755 whatever the umask; return those that were made, outermost first."""
    missing = []
    while not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    for folder in reversed(missing):
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder)
        os.chmod(folder, MODE)
    return missing[::-1]


def owner() -> tuple[int, int]:
    """Who owns what is installed: root when the task runs as root, else the user it runs as."""
    return os.geteuid(), os.getegid()


def read_record(home: str, folder: str, name: str) -> dict[str, Any] | None:
    """Return the record of one version with its C(path), or None when that version is not whole."""
    place = os.path.join(home, folder, name)
    try:
        with open(f"{place}.json", encoding="utf-8") as handle:
            record = json.load(handle)
        known = {
            key: record[key] for key in ("version", "sha256", "member", "link", "file", "size", "mtime_ns", "activated")
        }
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return {**known, "verified": record.get("verified"), "folder": folder, "path": place}


class Store:
    """One program on this host: C(plan) only reads, C(apply) makes it so, C(absent) removes it."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted

    def plan(self) -> Plan:
        """Compare the host with what is wanted; the usual case costs a few lstat calls, a hash only with C(rehash)."""
        wanted = self.wanted
        folders = self._folders()
        records = [record for folder in folders if (record := read_record(wanted.home, folder, wanted.name))]
        plan = Plan(relink=self._link_target() != wanted.path)
        plan.current = next((record for record in records if record["path"] == self._link_target()), None)
        mine = next((record for record in records if record["folder"] == wanted.folder), None)
        plan.install, plan.repair = self._damage(mine, full=wanted.rehash or plan.relink)
        # The version in use comes first among those to keep, whatever the clock said when it was activated.
        others = sorted(
            (record for record in records if record["folder"] != wanted.folder),
            key=lambda record: (record is plan.current, record["activated"]),
            reverse=True,
        )
        plan.previous = others[0] if others and wanted.keep else None
        kept = {wanted.folder, *(record["folder"] for record in others[: wanted.keep])}
        plan.prune = [folder for folder in folders if folder not in kept]
        links = {record["link"] for record in records} - {wanted.link}
        plan.unlink = sorted(link for link in links if self._is_ours(link))
        return plan

    def refuse_foreign_link(self) -> None:
        """BinaryError when the place of the link is taken by something that is not ours: we never remove it."""
        link = self.wanted.link
        if os.path.lexists(link) and not self._is_ours(link):
            kind = f"a symlink to {os.readlink(link)}" if os.path.islink(link) else "not a symlink"
            raise BinaryError(
                f"{self.wanted.name}: {link} is {kind}, so it was not made by this module; "
                "move it away or choose another link."
            )

    def apply(self, fetch: Fetch | None) -> Plan:
        """Do what the plan asks for and return it; C(fetch) writes the file to install, None if none is needed."""
        wanted = self.wanted
        self.refuse_foreign_link()
        if not os.path.isdir(os.path.dirname(wanted.link)):
            raise BinaryError(
                f"{wanted.name}: {os.path.dirname(wanted.link)} is not a directory; "
                "make it first or choose another link."
            )
        made = make_folders(wanted.home)
        try:
            with self._lock():
                plan = self.plan()  # another run may have been at it while we waited
                self._apply_locked(plan, fetch)
        except BaseException:
            for folder in reversed(made):  # a refusal leaves not even an empty folder
                with contextlib.suppress(OSError):
                    os.rmdir(folder)
            raise
        return plan

    def _apply_locked(self, plan: Plan, fetch: Fetch | None) -> None:
        if plan.install:
            if fetch is None:
                raise BinaryError(f"{self.wanted.name}: {self.wanted.path} changed while the task ran; run it again.")
            self._install(fetch)
        elif plan.repair or plan.relink:
            self._repair()
        if plan.relink:
            self._relink()
        for link in plan.unlink:
            os.unlink(link)
        for folder in plan.prune:
            shutil.rmtree(os.path.join(self.wanted.home, folder))

    def made(self) -> list[str]:
        """Return all paths C(absent) would remove: the program's folder and every link that leads into it."""
        records = [read_record(self.wanted.home, folder, self.wanted.name) for folder in self._folders()]
        links = {record["link"] for record in records if record} | {self.wanted.link, self._draft()}
        home = [self.wanted.home] if os.path.isdir(self.wanted.home) else []
        return sorted(link for link in links if self._is_ours(link)) + home

    def absent(self) -> None:
        """Remove the links, then the program; the shared directory goes when this was the last program in it."""
        with self._lock() if os.path.isdir(self.wanted.home) else contextlib.nullcontext():
            for path in self.made():
                if os.path.islink(path):
                    os.unlink(path)
                else:
                    shutil.rmtree(path)
        with contextlib.suppress(OSError):  # it holds other programs
            os.rmdir(self.wanted.directory)

    def _folders(self) -> list[str]:
        try:
            with os.scandir(self.wanted.home) as entries:
                return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
        except FileNotFoundError:
            return []

    def _link_target(self) -> str | None:
        try:
            return os.readlink(self.wanted.link)
        except OSError:
            return None

    def _is_ours(self, link: str) -> bool:
        return os.path.islink(link) and os.readlink(link).startswith(self.wanted.home + os.sep)

    def _damage(self, record: dict[str, Any] | None, full: bool) -> tuple[bool, bool]:
        """Return (must be installed anew, only its attributes are wrong) of the version that is wanted."""
        wanted = self.wanted
        if record is None or (record["sha256"], record["member"]) != (wanted.sha256, wanted.member):
            return True, False
        try:
            found = os.lstat(wanted.path)
        except OSError:
            return True, False
        if not stat.S_ISREG(found.st_mode) or found.st_size != record["size"]:
            return True, False
        touched = found.st_mtime_ns != record["mtime_ns"]
        if (touched or full) and digest(wanted.path) != record["file"]:
            return True, False
        attributes = (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid)
        return False, touched or attributes != (MODE, *owner()) or record["verified"] != wanted.verify

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        """One run at a time; the lock is on the folder itself, so nothing is left behind and the kernel frees it."""
        while True:
            handle = os.open(self.wanted.home, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
                # Whoever held it may have removed the folder: then this lock guards nothing.
                make_folders(self.wanted.home)
                if os.path.samestat(os.fstat(handle), os.stat(self.wanted.home)):
                    yield
                    return
            finally:
                os.close(handle)

    def _install(self, fetch: Fetch) -> None:
        """Fetch into the same filesystem, verify, and only then move the program and its record into place."""
        wanted = self.wanted
        incoming = tempfile.mkdtemp(prefix=INCOMING, dir=wanted.home)
        try:
            arrived = os.path.join(incoming, "arrived")
            with open(arrived, "wb") as handle:
                fetch(handle)
            got = digest(arrived)
            if got != wanted.sha256:
                raise BinaryError(
                    f"{wanted.name}: the file has sha256 {got}, wanted is {wanted.sha256}; nothing was changed. "
                    "Correct sha256 if the new file is the right one, else do not trust its source."
                )
            program = os.path.join(incoming, wanted.name)
            if wanted.member:
                extract(wanted.name, arrived, wanted.member, program)
            else:
                os.rename(arrived, program)
            os.chmod(program, MODE)
            os.chown(program, *owner())
            sync(program)
            verify(wanted.name, program, wanted.verify)
            place = os.path.dirname(wanted.path)
            make_folders(place)
            os.replace(program, wanted.path)
            self._record(digest(wanted.path) if wanted.member else got)
        except OSError as error:
            if error.errno in FULL:
                free = shutil.disk_usage(wanted.directory).free // 2**20
                raise BinaryError(
                    f"{wanted.name}: no space left below {wanted.directory} ({free} MiB free); "
                    "free some and run it again. The version in use was not touched."
                ) from error
            raise
        finally:
            shutil.rmtree(incoming)

    def _repair(self) -> None:
        """Give an existing version its attributes back and note that it is in use from now on."""
        os.chmod(self.wanted.path, MODE)
        verify(self.wanted.name, self.wanted.path, self.wanted.verify)
        os.chown(self.wanted.path, *owner())
        record = read_record(self.wanted.home, self.wanted.folder, self.wanted.name)
        self._record(record["file"] if record else digest(self.wanted.path))

    def _record(self, file_digest: str) -> None:
        wanted = self.wanted
        found = os.stat(wanted.path)
        record = {
            "version": wanted.version,
            "sha256": wanted.sha256,
            "member": wanted.member,
            "link": wanted.link,
            "file": file_digest,
            "verified": wanted.verify,
            "size": found.st_size,
            "mtime_ns": found.st_mtime_ns,
            "activated": time.time_ns(),
        }
        scratch = tempfile.mkdtemp(prefix=INCOMING, dir=wanted.home)
        try:
            draft = os.path.join(scratch, "record")
            with open(draft, "w", encoding="utf-8") as handle:
                json.dump(record, handle, indent=1, sort_keys=True)
            os.chmod(draft, 0o644)
            sync(draft)
            os.replace(draft, f"{wanted.path}.json")
        finally:
            shutil.rmtree(scratch)

    def _relink(self) -> None:
        """Move the link in one step: there is no moment without a program behind it."""
        draft = self._draft()
        if os.path.islink(draft):
            os.unlink(draft)
        os.symlink(self.wanted.path, draft)
        os.replace(draft, self.wanted.link)

    def _draft(self) -> str:
        """The link before it is moved; always the same name, so that one left by a killed run is found."""
        return os.path.join(os.path.dirname(self.wanted.link), f".{os.path.basename(self.wanted.link)}.sapflux")
