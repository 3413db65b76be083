# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal of C(file_set): how a set of files changes as one, however the run ends.

State of one set, below C(<state_dir>/<name>/) (0700 root):

    journal-<phase>.json   there only while a change is under way; the phase says how to go on after a cut
    backup-<tx>/     the old files of that change (0600), laid out like the host
    previous/        the old files of the last change that came through, for people
    manifest.json    what is ours: files, and the directories we made

Phases: C(installing), put the old set back. C(pending), everything is in place, only the activation is missing.
C(restoring), the units may have met the new files: go on putting back. C(done), only tidy up. Each step is safe to
repeat.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ._file_set_disk import Disk, Seen
from ._file_set_plan import Plan, Step
from ._file_set_spec import FileEntry, FileSetError

INSTALLING, PENDING, RESTORING, DONE = "installing", "pending", "restoring", "done"
PHASES = (INSTALLING, RESTORING, PENDING, DONE)
"""Where two journals are found (a pending change was just taken over by a new one), the earlier in this list counts."""


@dataclass
class Entry:
    """One changed path: what was there before, and the temporary name beside it."""

    path: str
    kind: str
    old: Seen
    temp: str


@dataclass
class OldUnit:
    """One unit as it was before the change, and how it is told of one."""

    name: str
    on_change: str
    running: bool
    enabled: bool


@dataclass
class Journal:
    """One change of the set. C(trigger): changed paths that still have to reach the units; C(retired): units stopped
    before the install."""

    tx: str
    phase: str
    entries: list[Entry] = field(default_factory=list)
    trigger: list[str] = field(default_factory=list)
    units: list[OldUnit] = field(default_factory=list)
    retired: list[str] = field(default_factory=list)
    commands: list[list[str]] = field(default_factory=list)
    daemon_reload: bool = False
    carried: bool = False

    @property
    def activated(self) -> bool:
        """Whether the units may have met the new files, of this change or of the one it took over (C(carried))."""
        return self.carried or self.phase in (PENDING, RESTORING)

    def dumps(self) -> bytes:
        """Return the journal as JSON, without its phase."""
        return json.dumps({key: value for key, value in asdict(self).items() if key != "phase"}).encode("ascii")

    @classmethod
    def loads(cls, phase: str, data: bytes) -> Journal:
        """Read the journal back; raises ValueError, KeyError or TypeError for something else."""
        raw: dict[str, Any] = {**json.loads(data), "phase": phase}
        raw["entries"] = [Entry(e["path"], e["kind"], Seen(**e["old"]), e["temp"]) for e in raw["entries"]]
        raw["units"] = [OldUnit(**unit) for unit in raw["units"]]
        return cls(**raw)


class Store:
    """The state directory of one set and the file operations that go with it."""

    def __init__(self, disk: Disk, state_dir: str, name: str) -> None:
        self.disk = disk
        self.state_dir = state_dir
        self.home = f"{state_dir}/{name}"
        self.lock = f"{state_dir}/.lock-{name}"
        self.staging = f"{state_dir}/.staging.{name}"
        self.previous = f"{self.home}/previous"
        self._manifest = f"{self.home}/manifest.json"

    def backup(self, tx: str) -> str:
        """Return the directory with the old files of change C(tx)."""
        return f"{self.home}/backup-{tx}"

    def journal(self) -> Journal | None:
        """Return the journal of a change under way, or None. Raises C(FileSetError) for one that cannot be read."""
        for phase in PHASES:
            path = self._path(phase)
            if self.disk.see(path).kind == "absent":
                continue
            try:
                return Journal.loads(phase, self.disk.read(path))
            except (ValueError, KeyError, TypeError):
                raise FileSetError(
                    f"The journal {path} is damaged: compare the files with {self.home}/backup-* by hand, "
                    "delete the journal and run again."
                ) from None
        return None

    def _path(self, phase: str) -> str:
        return f"{self.home}/journal-{phase}.json"

    def advance(self, journal: Journal, phase: str) -> None:
        """Enter C(phase), in one durable step that needs no room on the disk: the phase is in the journal's name."""
        if journal.phase != phase:
            self.disk.rename(self._path(journal.phase), self._path(phase))
            journal.phase = phase
            self.disk.sync_dir(self.home)

    def manifest(self) -> dict[str, Any]:
        """Return {"files": {path: {"secret": bool}}, "directories": [path]}."""
        empty: dict[str, Any] = {"files": {}, "directories": []}
        if self.disk.see(self._manifest).kind == "absent":
            return empty
        try:
            found = json.loads(self.disk.read(self._manifest))
        except ValueError:
            return empty
        return found if isinstance(found, dict) and found.keys() == empty.keys() else empty

    def remember(self, manifest: dict[str, Any]) -> None:
        """Write the manifest unless it says so already."""
        if manifest != self.manifest():
            self.disk.put(self._manifest, json.dumps(manifest, sort_keys=True).encode("ascii"))

    def tidy(self, journal: Journal | None) -> None:
        """Remove what cut-off runs left and no journal speaks of."""
        self.disk.remove_tree(self.staging)
        keep = f"backup-{journal.tx}" if journal else ""
        for name in self.disk.names(self.home):
            if (name.startswith("backup-") and name != keep) or name.endswith(".new"):
                self.disk.remove_tree(f"{self.home}/{name}")

    # --- forwards

    def begin(self, journal: Journal, plan: Plan, pending: Journal | None) -> None:
        """Back the old files up and write the journal. From here on a cut is healed by putting back.

        With a C(pending) change (installed, never activated) its older backups are taken over: what we would put
        back is the last set that was known to work.
        """
        backup = self.backup(journal.tx)
        self.disk.make_private_dirs(backup, above=0o700)
        carried = {entry.path for entry in pending.entries} if pending else set()
        if pending:
            journal.entries = [Entry(e.path, e.kind, e.old, _temp(e.path, journal.tx)) for e in pending.entries]
            for entry in pending.entries:
                if entry.kind == "file" and entry.old.kind == "file":
                    self._make_home_of(backup, entry.path)
                    self.disk.link(self.backup(pending.tx) + entry.path, backup + entry.path)
        for step in plan.changes:
            if step.path in carried:
                continue
            journal.entries.append(Entry(step.path, step.kind, step.seen, _temp(step.path, journal.tx)))
            if step.kind == "file" and step.seen.kind == "file":
                self._make_home_of(backup, step.path)
                self.disk.create(backup + step.path, self.disk.read(step.path), (os.geteuid(), os.getegid()), 0o600)
        self.disk.put(self._path(journal.phase), journal.dumps())
        self.disk.unlink(self._path(PENDING))
        if pending:
            self.disk.remove_tree(self.backup(pending.tx))

    def _make_home_of(self, backup: str, path: str) -> None:
        self.disk.make_private_dirs(os.path.dirname(backup + path), above=0o700)

    def install(self, journal: Journal, plan: Plan) -> None:
        """Bring the planned steps to disk: directories, then every file beside its place, then rename after rename,
        then removals."""
        temps = {entry.path: entry.temp for entry in journal.entries}
        touched: set[str] = set()
        for step in plan.of("directory"):
            if step.changed and step.want is not None:
                make = self.disk.mkdir if step.seen.kind == "absent" else self.disk.attributes
                make(step.path, step.ids, step.want.mode)
                touched.add(os.path.dirname(step.path))
        changed_files = [step for step in plan.of("file") if step.changed]
        for step in changed_files:
            if isinstance(step.want, FileEntry) and step.want.content is not None:
                self.disk.create(temps[step.path], step.want.content, step.ids, step.want.mode)
        for step in changed_files:
            if step.want is None:
                self.disk.unlink(step.path)
            else:
                self.disk.rename(temps[step.path], step.path)
            touched.add(os.path.dirname(step.path))
        for step in sorted(_removed_directories(plan), key=lambda item: -item.path.count("/")):
            self.disk.rmdir(step.path)
            touched.add(os.path.dirname(step.path))
        for directory in sorted(touched):
            if self.disk.is_dir(directory):
                self.disk.sync_dir(directory)

    def finish(self, journal: Journal) -> None:
        """The change came through: keep its old files as C(previous) and close the journal. Safe to repeat after a
        cut."""
        self.advance(journal, DONE)
        backup = self.backup(journal.tx)
        if self.disk.see(backup).kind != "absent":
            self.disk.remove_tree(self.previous)
            self.disk.rename(backup, self.previous)
        self._close()

    def drop_journal(self) -> None:
        """Remove the journal, whatever it says."""
        # Last the one that counts: a cut in between must not bring an older phase back to life.
        for phase in reversed(PHASES):
            self.disk.unlink(self._path(phase))

    def _close(self) -> None:
        self.drop_journal()
        self.disk.sync_dir(self.home)

    # --- backwards

    def put_files_back(self, journal: Journal) -> None:
        """Bring every path of the journal back to what it was. Raises OSError; safe to repeat."""
        touched: set[str] = set()
        for entry in journal.entries:
            # All of them first: on a full disk it is they who hold the room the old files need.
            self.disk.unlink(entry.temp)
        for entry in journal.entries:
            if entry.kind == "directory" and entry.old.kind == "directory":
                self._directory_back(entry)
        for entry in journal.entries:
            if entry.kind == "file":
                self._file_back(journal, entry)
                touched.add(os.path.dirname(entry.path))
        for entry in reversed(journal.entries):
            if entry.kind == "directory" and entry.old.kind == "absent":
                self.disk.rmdir(entry.path)
                touched.add(os.path.dirname(entry.path))
        for directory in sorted(touched):
            if self.disk.is_dir(directory):
                self.disk.sync_dir(directory)

    def _directory_back(self, entry: Entry) -> None:
        now = self.disk.see(entry.path)
        if now.kind == "absent":
            self.disk.mkdir(entry.path, (entry.old.uid, entry.old.gid), entry.old.mode)
        elif (now.uid, now.gid, now.mode) != (entry.old.uid, entry.old.gid, entry.old.mode):
            self.disk.attributes(entry.path, (entry.old.uid, entry.old.gid), entry.old.mode)

    def _file_back(self, journal: Journal, entry: Entry) -> None:
        old = entry.old
        if old.kind == "absent":
            self.disk.unlink(entry.path)
            return
        now = self.disk.see(entry.path)
        if old.kind == "symlink":
            if now.kind != "symlink" or now.target != old.target:
                self.disk.symlink(old.target, entry.temp)
                self.disk.rename(entry.temp, entry.path)
            return
        data = self.disk.read(self.backup(journal.tx) + entry.path)
        if now != old or self.disk.read(entry.path) != data:
            self.disk.create(entry.temp, data, (old.uid, old.gid), old.mode)
            self.disk.rename(entry.temp, entry.path)

    def forget(self, journal: Journal) -> None:
        """Close a journal whose old set is back in place."""
        self._close()
        self.disk.remove_tree(self.backup(journal.tx))


def _temp(path: str, tx: str) -> str:
    # A name with a leading dot and an unusual ending: sudoers.d, cron.d, conf.d/*.conf and systemd all pass over it.
    directory, name = os.path.split(path)
    return f"{directory}/.{name[:200]}.sapflux-{tx}"


def _removed_directories(plan: Plan) -> Sequence[Step]:
    return [step for step in plan.of("directory") if step.changed and step.want is None]
