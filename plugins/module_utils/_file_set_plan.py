# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What C(file_set) would change: the wish compared with the disk, and the same as a diff for a person. Nothing here
writes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from ._file_set_disk import Disk, Seen
from ._file_set_spec import DirectorySpec, FileEntry, SetSpec, refuse

TEXT_LIMIT = 100 * 1024
"""Longest text in bytes that a diff shows."""
_HIDDEN = "(secret content, not shown)\n"
_OLD_HIDDEN = "(secret content, not shown, as it was before)\n"


@dataclass(frozen=True)
class Step:
    """One path: what is there, what shall be there (None: nothing), and why it changes (empty: it does not)."""

    path: str
    kind: str  # file | directory
    seen: Seen
    want: FileEntry | DirectorySpec | None
    ids: tuple[int, int]
    reasons: tuple[str, ...]

    @property
    def changed(self) -> bool:
        """Whether anything is to do."""
        return bool(self.reasons)

    def result(self) -> dict[str, object]:
        """Return the entry of the module's result."""
        return {"path": self.path, "changed": self.changed, "reason": ", ".join(self.reasons) or "unchanged"}


@dataclass
class Plan:
    """All steps in order: directories (parents first), then files. C(unready) says what a check mode run could not
    see yet."""

    steps: list[Step] = field(default_factory=list)
    unready: list[str] = field(default_factory=list)

    def of(self, kind: str) -> list[Step]:
        """Return the steps of one kind."""
        return [step for step in self.steps if step.kind == kind]

    @property
    def changes(self) -> list[Step]:
        """Return the steps that change something."""
        return [step for step in self.steps if step.changed]


def numeric_id(name: str, group: bool) -> int | None:
    """Return the id of a user or group name (or of a decimal number); None when the host does not know it."""
    import grp
    import pwd

    try:
        return grp.getgrnam(name).gr_gid if group else pwd.getpwnam(name).pw_uid
    except KeyError:
        return int(name) if name.isdigit() else None


class Ids:
    """Looks owners and groups up once each and remembers the unknown ones."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, bool], int | None] = {}

    def pair(self, owner: str, group: str) -> tuple[int, int]:
        """Return (uid, gid), with -1 for an unknown name."""
        found = []
        for name, is_group in ((owner, False), (group, True)):
            if (name, is_group) not in self._known:
                self._known[name, is_group] = numeric_id(name, is_group)
            number = self._known[name, is_group]
            found.append(-1 if number is None else number)
        return found[0], found[1]

    @property
    def unknown(self) -> list[str]:
        """Return one clause for each unknown name."""
        return [
            f"the {'group' if group else 'user'} {name!r} does not exist on this host"
            for (name, group), number in self._known.items()
            if number is None
        ]


def _attribute_reasons(seen: Seen, want: FileEntry | DirectorySpec, ids: tuple[int, int]) -> list[str]:
    pairs = (("mode", seen.mode, want.mode), ("owner", seen.uid, ids[0]), ("group", seen.gid, ids[1]))
    return [name for name, now, then in pairs if now != then]


def _file_step(disk: Disk, want: FileEntry, ids: tuple[int, int], faults: list[str]) -> Step:
    seen = disk.see(want.path)
    if seen.kind in ("directory", "other"):
        faults.append(
            f"{want.path} is a {'directory' if seen.kind == 'directory' else 'special file'} on this host, not a file"
        )
        return Step(want.path, "file", seen, want, ids, ())
    if want.content is None:
        return Step(want.path, "file", seen, None, ids, () if seen.kind == "absent" else ("removed",))
    reasons: list[str]
    if seen.kind == "absent":
        reasons = ["created"]
    elif seen.kind == "symlink":
        reasons = ["type"]
    else:
        reasons = []
        # Sizes first: most changes are seen without reading anything.
        if seen.size != len(want.content) or disk.read(want.path) != want.content:
            reasons.append("content")
        reasons += _attribute_reasons(seen, want, ids)
    return Step(want.path, "file", seen, want, ids, tuple(reasons))


def _directory_step(disk: Disk, want: DirectorySpec, ids: tuple[int, int], faults: list[str]) -> Step:
    seen = disk.see(want.path)
    if seen.kind not in ("absent", "directory"):
        faults.append(
            f"{want.path} is a {seen.kind if seen.kind != 'other' else 'special file'} on this host, not a directory"
        )
        return Step(want.path, "directory", seen, want, ids, ())
    if want.absent:
        # A directory with other people's files stays: it is removed only when the set leaves it empty.
        return Step(want.path, "directory", seen, None, ids, ())
    reasons = ["created"] if seen.kind == "absent" else _attribute_reasons(seen, want, ids)
    return Step(want.path, "directory", seen, want, ids, tuple(reasons))


def _with_parents(disk: Disk, directories: Sequence[DirectorySpec]) -> list[DirectorySpec]:
    """Return the directories, parents first, with the missing parents nobody listed (0755 root)."""
    # Who is not root (file_set can work in one's own directories) could not make them root's.
    mine = ("root", "root") if os.geteuid() == 0 else (str(os.geteuid()), str(os.getegid()))
    listed = {entry.path: entry for entry in directories}
    complete = dict(listed)
    for entry in directories:
        parent = os.path.dirname(entry.path)
        while not entry.absent and parent != "/" and parent not in complete and not disk.is_dir(parent):
            complete[parent] = DirectorySpec(parent, *mine)
            parent = os.path.dirname(parent)
    return sorted(complete.values(), key=lambda entry: entry.path.count("/"))


def _removable(disk: Disk, step: Step, gone: set[str], arriving: set[str]) -> Step:
    """Decide about a directory with state absent: it goes when nothing but what this set removes is in it."""
    inside = {f"{step.path}/{name}" for name in disk.names(step.path)}
    if (
        step.want is not None
        or step.seen.kind == "absent"
        or inside - gone
        or any(path.startswith(step.path + "/") for path in arriving)
    ):
        return step
    return Step(step.path, step.kind, step.seen, None, step.ids, ("removed",))


def compare(disk: Disk, spec: SetSpec, check: bool) -> Plan:
    """Compare the wish with the disk.

    Raises C(FileSetError), naming every fault at once: unknown owners, missing parents, wrong kinds of things in the
    way. In check mode what an earlier task would have made may be missing; it is listed in C(unready) instead.
    """
    plan = Plan()
    ids = Ids()
    faults: list[str] = []
    directories = _with_parents(disk, spec.directories)
    for directory in directories:
        pair = ids.pair(directory.owner, directory.group) if not directory.absent else (0, 0)
        plan.steps.append(_directory_step(disk, directory, pair, faults))
    made = {directory.path for directory in directories if not directory.absent}
    orphans: list[str] = []
    for entry in spec.files:
        pair = ids.pair(entry.owner, entry.group) if entry.content is not None else (0, 0)
        plan.steps.append(_file_step(disk, entry, pair, faults))
        parent = os.path.dirname(entry.path)
        if entry.content is not None and parent not in made and not disk.is_dir(parent):
            orphans.append(
                f"the directory {parent} of {entry.path} does not exist: "
                "list it in directories or install its package first"
            )
    missing = ids.unknown + orphans
    refuse(spec.name, faults + ([] if check else missing))
    plan.unready = missing
    gone = {step.path for step in plan.of("file") if step.want is None}
    arriving = {step.path for step in plan.steps if step.want is not None}
    for step in sorted(plan.of("directory"), key=lambda item: -item.path.count("/")):
        decided = _removable(disk, step, gone, arriving)
        if decided is not step:
            plan.steps[plan.steps.index(step)] = decided
            gone.add(step.path)
    return plan


def _label(path: str, who: str, mode: int) -> str:
    return f"{path} ({who} {mode:04o})"


def _shown(data: bytes) -> str:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = "\0"
    digest = hashlib.sha256(data).hexdigest()
    if "\0" in text:
        return f"(binary, sha256 {digest})\n"
    return text if len(data) <= TEXT_LIMIT else f"(text of {len(data)} bytes, sha256 {digest})\n"


def _names(seen: Seen) -> str:
    import grp
    import pwd

    try:
        owner = pwd.getpwuid(seen.uid).pw_name
    except KeyError:
        owner = str(seen.uid)
    try:
        group = grp.getgrgid(seen.gid).gr_name
    except KeyError:
        group = str(seen.gid)
    return f"{owner}:{group}"


def _before(disk: Disk, step: Step, secret: bool) -> tuple[str, str]:
    if step.seen.kind == "absent":
        return "", f"{step.path} (absent)"
    if step.seen.kind == "symlink":
        return f"(symlink to {step.seen.target})\n", f"{step.path} (symlink)"
    label = _label(step.path, _names(step.seen), step.seen.mode)
    if step.kind == "directory":
        return "", label
    return (_OLD_HIDDEN if secret else _shown(disk.read(step.path))), label


def _after(step: Step, secret: bool) -> tuple[str, str]:
    if step.want is None:
        return "", f"{step.path} (absent)"
    label = _label(step.path, f"{step.want.owner}:{step.want.group}", step.want.mode)
    if isinstance(step.want, DirectorySpec):
        return "", label
    return (_HIDDEN if secret else _shown(step.want.content or b"")), label


def diff(disk: Disk, plan: Plan, secret_paths: frozenset[str]) -> list[dict[str, str]]:
    """Return one {before, after, before_header, after_header} for each change. C(secret_paths): content of these is
    never shown."""
    shown = []
    for step in plan.changes:
        secret = step.path in secret_paths or (isinstance(step.want, FileEntry) and step.want.secret)
        if step.want is None and not step.seen.mode & 0o004:
            # We remove a file of which we know nothing but that not everybody may read it.
            secret = True
        before, before_header = _before(disk, step, secret)
        after, after_header = _after(step, secret)
        if "content" not in step.reasons and step.seen.kind not in ("absent", "symlink") and step.want is not None:
            # A diff of equal texts prints nothing: show what does change, the owner and the mode.
            before, after = f"{before_header}\n", f"{after_header}\n"
        elif step.kind == "directory":
            before, after = (
                (f"{before_header}\n" if before_header else ""),
                (f"{after_header}\n" if after_header else ""),
            )
        shown.append({"before": before, "after": after, "before_header": before_header, "after_header": after_header})
    return shown
