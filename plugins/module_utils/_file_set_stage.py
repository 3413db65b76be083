# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The staging tree of C(file_set): the whole set laid out like the host, for validators to look at before anything
is installed."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence

from ._file_set_disk import Disk
from ._file_set_plan import Plan, Step
from ._file_set_run import Outcome, Run, show
from ._file_set_spec import DirectorySpec, FileEntry, FileSetError, SetSpec

VALIDATE_TIMEOUT = 300.0
OUTPUT_LINES = 20
_STAGED_PATH = re.compile(r"\{staged:(/[^}]*)\}")


def build(host: Disk, disk: Disk, plan: Plan, top: str, group: int | None) -> None:
    """Lay the set out below C(top) on C(disk) with the owners and modes it will have on C(host).

    C(top) itself is closed to all but root and C(group) (the group of the validators' user; None: root alone), so a
    validator can read exactly what its user could read after the install. Raises OSError; the caller removes the tree.
    """
    root = (os.geteuid(), os.getegid())
    disk.make_private_dirs(top)
    disk.attributes(top, (root[0], root[1] if group is None else group), 0o700 if group is None else 0o710)
    wanted = {step.path: step for step in plan.of("directory") if step.want is not None}
    made: set[str] = set()
    for path in wanted:
        _directory(host, disk, wanted, made, top, path)
    for step in plan.of("file"):
        if isinstance(step.want, FileEntry) and step.want.content is not None:
            _directory(host, disk, wanted, made, top, os.path.dirname(step.path))
            disk.create(top + step.path, step.want.content, step.ids, step.want.mode, sync=False)


def _directory(host: Disk, disk: Disk, wanted: dict[str, Step], made: set[str], top: str, path: str) -> None:
    if path in made or path == "/":
        return
    _directory(host, disk, wanted, made, top, os.path.dirname(path))
    made.add(path)
    step = wanted.get(path)
    if step is not None and isinstance(step.want, DirectorySpec):
        disk.mkdir(top + path, step.ids, step.want.mode)
        return
    # A directory of the host: the validator's user must meet the same walls here as there.
    info = os.stat(host.real(path)) if host.is_dir(path) else None
    owner = (info.st_uid, info.st_gid) if info else (os.geteuid(), os.getegid())
    disk.mkdir(top + path, owner, info.st_mode & 0o7777 if info else 0o755)


def expand(argv: Sequence[str], top: str) -> list[str]:
    """Replace C({staged}) and C({staged:/path}) by the staging tree and the path in it."""
    return [_STAGED_PATH.sub(lambda match: top + match.group(1), word).replace("{staged}", top) for word in argv]


def plain(text: str, top: str) -> str:
    """Name the real paths in the output of a validator."""
    return text.replace(top + "/", "/").replace(top, "/")


def wall(disk: Disk, path: str, uid: int, gids: Sequence[int]) -> str | None:
    """Return the first directory above C(path) that user C(uid) may not pass, or None."""
    if uid == 0:
        return None
    parent = os.path.dirname(path)
    above = [parent]
    while parent != "/":
        parent = os.path.dirname(parent)
        above.append(parent)
    for directory in reversed(above):
        info = os.stat(disk.real(directory) or "/")
        bit = 0o100 if info.st_uid == uid else 0o010 if info.st_gid in gids else 0o001
        if not info.st_mode & bit:
            return directory
    return None


class Validators:
    """Runs the validators of one set for C(host) against a staging tree on C(disk)."""

    def __init__(
        self, host: Disk, disk: Disk, run: Run, which: Callable[[str], bool], mask: Callable[[str], str]
    ) -> None:
        self._host = host
        self._disk = disk
        self._run = run
        self._which = which
        self._mask = mask

    def runnable(self, spec: SetSpec, unready: Sequence[str]) -> tuple[list[Sequence[str]], list[dict[str, str]]]:
        """Split the validators for check mode: those that can run now, and those that cannot yet with the reason."""
        can: list[Sequence[str]] = []
        cannot: list[dict[str, str]] = []
        for argv in spec.validate:
            reason = ""
            if unready:
                reason = unready[0]
            elif not self._which(argv[0]):
                reason = f"{argv[0]} is not installed"
            elif spec.validate_user is not None and _user(spec.validate_user) is None:
                reason = f"the user {spec.validate_user!r} does not exist on this host"
            if reason:
                cannot.append({"command": show(argv), "reason": reason})
            else:
                can.append(argv)
        return can, cannot

    def check(self, spec: SetSpec, plan: Plan, top: str, commands: Sequence[Sequence[str]]) -> None:
        """Build the tree at C(top), run C(commands), remove the tree. Raises C(FileSetError) for the first that says
        no."""
        if not commands:
            return
        user = _user(spec.validate_user) if spec.validate_user is not None else None
        if spec.validate_user is not None and user is None:
            raise FileSetError(
                f"file_set {spec.name}: the user {spec.validate_user!r} of validate_user does not exist on this host."
            )
        try:
            build(self._host, self._disk, plan, top, user[1] if user else None)
            if spec.validate_user is not None and user:
                blocked = wall(self._disk, top, user[0], os.getgrouplist(spec.validate_user, user[1]))
                if blocked:
                    raise FileSetError(
                        f"file_set {spec.name}: {spec.validate_user} cannot reach the staging tree "
                        f"because {blocked} is closed to it: give {blocked} the mode 0711."
                    )
            for argv in commands:
                self._one(spec, top, argv)
        finally:
            self._disk.remove_tree(top)

    def _one(self, spec: SetSpec, top: str, argv: Sequence[str]) -> None:
        real_top = self._disk.real(top)
        outcome: Outcome = self._run(expand(argv, real_top), spec.validate_user, VALIDATE_TIMEOUT)
        if outcome.rc == 0:
            return
        command = self._mask(plain(show(expand(argv, real_top)), real_top))
        said = self._mask(plain(outcome.tail(OUTPUT_LINES), real_top)) or "(no output)"
        raise FileSetError(
            f"file_set {spec.name}: the validator `{command}` refuses the new files (exit {outcome.rc}); "
            f"nothing was installed. It says:\n{said}"
        )


def _user(name: str) -> tuple[int, int] | None:
    import pwd

    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return entry.pw_uid, entry.pw_gid
