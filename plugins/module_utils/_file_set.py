# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The core of C(file_set): one set of files, changed as one.

lock -> heal a cut-off run -> compare -> stage -> validate -> back up + journal -> install -> check -> mark pending
     -> commands, units, probe -> done                              (any failure after the journal: put the old set
     back)
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

from . import _file_set_disk as disks
from . import _file_set_journal as journals
from ._file_set_activate import Activation, Activator
from ._file_set_plan import Plan, compare, diff, numeric_id
from ._file_set_remove import Remover
from ._file_set_run import Mask, Run, find_program, run
from ._file_set_spec import FileSetError, SetSpec, UnitSpec
from ._file_set_stage import Validators
from ._file_set_units import Systemd, UnitError, UnitState, is_unit_file, triggered, unit_of

REPORT_TIMEOUT = 30.0
"""Seconds that one of the reports may take."""


class FileSet:
    """One set on one host. C(root), C(runner), C(which), C(sleep) and C(tick) are seams for tests; on a host the
    defaults hold."""

    def __init__(
        self,
        spec: SetSpec,
        *,
        root: str = "/",
        runner: Run = run,
        which: Callable[[str], bool] = find_program,
        sleep: Callable[[float], None] = time.sleep,
        tick: Callable[[str], None] | None = None,
        lock_wait: float = disks.LOCK_WAIT,
    ) -> None:
        self.spec = spec
        self.disk = disks.Disk(root, tick) if tick else disks.Disk(root)
        self.store = journals.Store(self.disk, spec.state_dir, spec.name)
        self._run = runner
        self._which = which
        self._lock_wait = lock_wait
        self.systemd = Systemd(runner)
        self.activator = Activator(self.systemd, runner, self._mask, sleep)
        self.warnings: list[str] = []
        self.result: dict[str, Any] = {
            "changed": False,
            "files": [],
            "directories": [],
            "units": [{"name": unit.name, "changed": False, "actions": []} for unit in spec.units],
            "activated": False,
            "recovered": False,
            "backup": None,
            "skipped_validation": [],
            "reports": [],
        }

    def apply(self, check: bool = False, with_diff: bool = False) -> dict[str, Any]:
        """Bring the host to the wish (or, with C(check), say what that would do) and return the module's result.

        Raises C(FileSetError) in one sentence, never with a secret; C(self.result) then holds what is true so far.
        """
        try:
            if not check and not self.disk.is_dir(self.store.state_dir):
                self._make_state_dir()
            with self.disk.locked(self.store.lock, self.spec.name, create=not check, wait=self._lock_wait):
                self._locked(check, with_diff)
                self.result["reports"] = [self._report(argv) for argv in self.spec.report]
        except UnitError as error:
            raise self._unit_failure(error, "") from error
        except OSError as error:
            raise FileSetError(f"file_set {self.spec.name}: {self.disk.explain(error)}.") from error
        return self.result

    def _report(self, argv: Sequence[str]) -> dict[str, Any]:
        """Read what the running system has; a program that fails is an answer too."""
        outcome = self._run(argv, None, REPORT_TIMEOUT)
        return {"rc": outcome.rc, "stdout": self._mask(outcome.out), "stderr": self._mask(outcome.err)}

    def _make_state_dir(self) -> None:
        self.disk.make_private_dirs(self.store.state_dir)
        self.disk.attributes(self.store.state_dir, (os.geteuid(), os.getegid()), 0o711)

    def _locked(self, check: bool, with_diff: bool) -> None:
        pending = self._journal_to_heal() if check else self.recover()
        if self.spec.absent:
            ask = self._guess_states if check else self.systemd.show
            Remover(self.disk, self.store, self.systemd, self.spec, self.result).go(pending, check, with_diff, ask)
            return
        manifest = self.store.manifest()
        self.spec = self.spec.without_leftovers(manifest["files"], manifest["directories"])
        plan = compare(self.disk, self.spec, check)
        self.result["files"] = [step.result() for step in plan.of("file")]
        self.result["directories"] = [step.result() for step in plan.of("directory")]
        self.result["changed"] = bool(plan.changes or pending or self.result["recovered"])
        if with_diff:
            self.result["diff"] = diff(self.disk, plan, self._secret_paths())
        names = [unit.name for unit in self.spec.units]
        states = self._guess_states(names) if check else self.systemd.show(names)
        if check:
            self._predict(plan, pending, states)
        elif plan.changes:
            self._change(plan, pending, states)
        elif pending:
            self._finish_pending(pending, states)
        else:
            self._keep_units(states)
            self._remember([])

    # --- healing

    def _journal_to_heal(self) -> journals.Journal | None:
        """Return the journal of a cut-off run that the next real run would heal (check mode only looks)."""
        journal = self.store.journal()
        return None if journal is None or journal.phase == journals.DONE else journal

    def recover(self) -> journals.Journal | None:
        """Heal what a cut-off run left. Returns the journal of a change that is installed but not activated, else
        None."""
        journal = self.store.journal()
        self.store.tidy(journal)
        if journal is None or journal.phase == journals.PENDING:
            return journal
        if journal.phase == journals.DONE:
            self.store.finish(journal)
            return None
        self.warnings += [
            f"file_set {self.spec.name}: while healing a run that was cut off: {note}"
            for note in self.activator.put_back(self.store, journal)
        ]
        self.result["recovered"] = True
        return None

    # --- the parts of a run

    def _guess_states(self, names: Sequence[str]) -> dict[str, UnitState]:
        """Ask systemd in check mode, where it may be missing (a host that is only being planned): then no unit
        exists yet."""
        return self.systemd.show(names) if names and self._which("systemctl") else {name: UnitState() for name in names}

    def _changed_paths(self, plan: Plan, pending: journals.Journal | None) -> list[str]:
        paths = [step.path for step in plan.of("file") if step.changed]
        return paths + [path for path in (pending.trigger if pending else []) if path not in paths]

    def _predict(self, plan: Plan, pending: journals.Journal | None, states: dict[str, UnitState]) -> None:
        """Check mode: run the validators that can run, and say which units would move."""
        if plan.changes:
            validators = Validators(self.disk, self.disk, self._run, self._which, self._mask)
            can, self.result["skipped_validation"] = validators.runnable(self.spec, plan.unready)
            if can:
                self._validate_aside(plan, can)
        paths = self._changed_paths(plan, pending)
        verbs: dict[str, list[str]] = {}
        for unit in self.spec.units:
            now = states[unit.name]
            if now.exists:
                verbs.update(self.activator.plan_one(unit, now, paths))
            elif unit.enabled or unit.state == "started" or triggered(unit, paths):
                # The package or the unit file that brings it is not there yet.
                verbs[unit.name] = [
                    *(["enable"] if unit.enabled else []),
                    *(["start"] if unit.state == "started" else []),
                ] or [unit.on_change]
        self._report_units(verbs)
        touched = bool(plan.changes or pending)
        self.result["activated"] = any(verbs.values()) or (touched and bool(self.spec.commands))
        self.result["changed"] = bool(self.result["changed"] or any(verbs.values()))

    def _validate_aside(self, plan: Plan, commands: Sequence[Sequence[str]]) -> None:
        # Outside the host's tree and its state: a check must leave no trace there. /run is memory, so a secret never
        # meets a disk.
        base = "/run" if os.access("/run", os.W_OK) else tempfile.gettempdir()
        aside = Validators(self.disk, disks.Disk(), self._run, self._which, self._mask)
        aside.check(self.spec, plan, f"{base}/file_set.{self.spec.name}.{os.urandom(4).hex()}", commands)

    def _change(self, plan: Plan, pending: journals.Journal | None, states: dict[str, UnitState]) -> None:
        spec = self.spec
        missing = [f"the validator {argv[0]}" for argv in spec.validate if not self._which(argv[0])]
        if spec.check_user is not None and numeric_id(spec.check_user, group=False) is None:
            missing.append(f"the user {spec.check_user!r} of check_user")
        if missing:
            self._nothing_changed()
            raise FileSetError(f"file_set {spec.name}: {missing[0]} is missing on this host; nothing was installed.")
        validators = Validators(self.disk, self.disk, self._run, self._which, self._mask)
        journal = self._new_journal(plan, pending, states)
        try:
            validators.check(spec, plan, self.store.staging, spec.validate)
            self.store.begin(journal, plan, pending)
        except FileSetError:
            self._nothing_changed()
            raise
        except OSError as error:
            self._nothing_changed()
            text = self.disk.explain(error)
            self.disk.remove_tree(self.store.backup(journal.tx))
            raise FileSetError(f"file_set {spec.name}: {text}; nothing was installed.") from error
        done = Activation()
        try:
            self._retire(plan, states)
            self.store.install(journal, plan)
            if journal.daemon_reload:
                self.systemd.daemon_reload()
            for argv in spec.check_installed:
                self.activator.command("check", argv, spec.check_user)
            self.store.advance(journal, journals.PENDING)
            self._activate(journal, done)
        except (FileSetError, OSError) as error:
            raise self._put_back(journal, error) from error
        self._came_through(journal, done)

    def _new_journal(
        self, plan: Plan, pending: journals.Journal | None, states: dict[str, UnitState]
    ) -> journals.Journal:
        changed = self._changed_paths(plan, pending)
        old_units = [
            journals.OldUnit(
                unit.name,
                # A unit this change does not concern need not hear of its being taken back either.
                unit.on_change if triggered(unit, changed) else "none",
                states[unit.name].running,
                states[unit.name].enabled in ("enabled", "enabled-runtime"),
            )
            for unit in self.spec.units
        ]
        stale = any(state.need_reload for state in states.values())
        journal = journals.Journal(
            tx=os.urandom(4).hex(),
            phase=journals.INSTALLING,
            trigger=changed,
            units=old_units,
            retired=[unit.name for unit in self._leaving(plan)],
            commands=[list(argv) for argv in self.spec.commands],
            daemon_reload=stale or any(is_unit_file(step.path) for step in plan.changes),
        )
        if pending:
            known = {unit.name for unit in pending.units}
            journal.units = pending.units + [unit for unit in old_units if unit.name not in known]
            journal.retired += pending.retired
            journal.daemon_reload = journal.daemon_reload or pending.daemon_reload
            journal.carried = True
        return journal

    def _leaving(self, plan: Plan) -> list[UnitSpec]:
        gone = {unit_of(step.path) for step in plan.of("file") if step.changed and step.want is None}
        return [
            unit for unit in self.spec.units if unit.name in gone and (unit.state == "stopped" or unit.enabled is False)
        ]

    def _retire(self, plan: Plan, states: dict[str, UnitState]) -> None:
        """Stop and disable units whose unit file is about to go: afterwards systemd would not know them any more."""
        for unit in self._leaving(plan):
            for verb in self.activator.plan_one(unit, states[unit.name], ())[unit.name]:
                self.systemd.act(verb, unit.name)
                self._report_units({unit.name: [verb]})

    def _activate(self, journal: journals.Journal, done: Activation) -> None:
        states = self.systemd.show([unit.name for unit in self.spec.units])
        self.activator.go(self.spec, journal.trigger, True, states, done)

    def _finish_pending(self, pending: journals.Journal, states: dict[str, UnitState]) -> None:
        """The files of an earlier run are in place, but that run ended before it told the units."""
        done = Activation()
        try:
            if pending.daemon_reload or any(state.need_reload for state in states.values()):
                self.systemd.daemon_reload()
            self._activate(pending, done)
        except (FileSetError, OSError) as error:
            raise self._put_back(pending, error) from error
        self._came_through(pending, done)

    def _came_through(self, journal: journals.Journal, done: Activation) -> None:
        self._remember(
            [entry.path for entry in journal.entries if entry.kind == "directory" and entry.old.kind == "absent"]
        )
        self.store.finish(journal)
        replaced = any(entry.kind == "file" and entry.old.kind == "file" for entry in journal.entries)
        self.result["backup"] = self.store.previous if replaced else None
        self.result["activated"] = done.ran
        self._report_units(done.verbs)

    def _keep_units(self, states: dict[str, UnitState]) -> None:
        """The files are right: see that the units are where they shall be."""
        done = Activation()
        reload_needed = any(state.need_reload for state in states.values())
        try:
            if reload_needed:
                self.systemd.daemon_reload()
                states = self.systemd.show(list(states))
            if any(self.activator.plan(self.spec, states, ()).values()):
                self.activator.go(self.spec, (), False, states, done)
        except UnitError as error:
            raise self._unit_failure(error, "; the files are as they shall be, so nothing was put back") from error
        except FileSetError as error:
            raise FileSetError(f"file_set {self.spec.name}: {error}") from error
        self.result["activated"] = done.ran
        self.result["changed"] = bool(self.result["changed"] or done.ran or reload_needed)
        self._report_units(done.verbs)

    # --- results and failures

    def _put_back(self, journal: journals.Journal, error: FileSetError | OSError) -> FileSetError:
        """Put the old set back and return the failure to raise: why, and that it was put back (or how far that
        came)."""
        log = self._log_of(error)
        cause = self.disk.explain(error) if isinstance(error, OSError) else str(error)
        headline, _newline, details = cause.partition("\n")
        try:
            notes = self.activator.put_back(self.store, journal)
        except OSError as second:
            where = self.store.backup(journal.tx)
            text = (
                f"file_set {self.spec.name}: {headline}; the old files could NOT be put back "
                f"({self.disk.explain(second)}): they are in {where}, and the next run tries again."
            )
        else:
            self._nothing_changed()
            also = f" (but {'; '.join(notes)})" if notes else ""
            text = f"file_set {self.spec.name}: {headline}; the old files were put back{also}."
        return FileSetError(self._mask(text + (f"\n{details}" if details else "")) + log)

    def _nothing_changed(self) -> None:
        self.result["changed"] = self.result["recovered"]
        for entry in self.result["files"] + self.result["directories"] + self.result["units"]:
            entry["changed"] = False

    def _log_of(self, error: BaseException) -> str:
        """Return the journal lines that belong to a failure: of the unit that failed, or of the set's units when a
        probe did."""
        units = error.units if isinstance(error, FileSetError) else ()
        return "".join(f"\nLast journal lines of {name}:\n{self._mask(self.systemd.log(name))}" for name in units)

    def _unit_failure(self, error: UnitError, ending: str) -> FileSetError:
        return FileSetError(self._mask(f"file_set {self.spec.name}: {error}{ending}.") + self._log_of(error))

    def _report_units(self, verbs: dict[str, list[str]]) -> None:
        for entry in self.result["units"]:
            entry["actions"] = entry["actions"] + verbs.get(entry["name"], [])
            entry["changed"] = bool(entry["actions"])

    def _remember(self, made: Sequence[str]) -> None:
        """Record what is ours, so that C(state=absent) can remove it even when the task no longer lists it.

        C(made): directories this change made; one that stood there before is never ours to remove.
        """
        manifest = self.store.manifest()
        for entry in self.spec.files:
            if entry.content is None:
                manifest["files"].pop(entry.path, None)
            else:
                manifest["files"][entry.path] = {"secret": entry.secret}
        gone = {
            entry.path for entry in self.spec.directories if entry.absent and self.disk.see(entry.path).kind == "absent"
        }
        manifest["directories"] = sorted((set(manifest["directories"]) | set(made)) - gone)
        if manifest["files"] or manifest["directories"]:
            self.disk.make_private_dirs(self.store.home)
        if self.disk.is_dir(self.store.home):
            self.store.remember(manifest)

    def _secret_paths(self) -> frozenset[str]:
        recorded = {path for path, about in self.store.manifest()["files"].items() if about.get("secret")}
        return frozenset(recorded | {entry.path for entry in self.spec.files if entry.secret})

    def _mask(self, text: str) -> str:
        """Take secrets of this set, new and old, out of a text."""
        paths = self._secret_paths()
        if not paths:
            return text
        contents = [entry.content for entry in self.spec.files if entry.secret and entry.content]
        places = [place for path in sorted(paths) for place in (path, self.store.previous + path)]
        contents += [self.disk.read(place) for place in places if self.disk.see(place).kind == "file"]
        spare = {part for entry in self.spec.files for part in (entry.path, *entry.path.split("/"))}
        return Mask(contents, spare)(text)
