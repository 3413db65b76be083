# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How C(file_set) takes a whole set away: its units, its files, its directories where they are empty, and its own
state."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from ._file_set_disk import ABSENT, Disk
from ._file_set_journal import Journal, Store
from ._file_set_plan import Plan, Step, diff
from ._file_set_spec import SetSpec, UnitSpec, refuse
from ._file_set_units import CAN_BE_DISABLED, Systemd, UnitState, is_unit_file, unit_of


class Remover:
    """Removes one set. Every step is safe to repeat, so a cut is healed by the next run."""

    def __init__(self, disk: Disk, store: Store, systemd: Systemd, spec: SetSpec, result: dict[str, Any]) -> None:
        self._disk = disk
        self._store = store
        self._systemd = systemd
        self._spec = spec
        self._result = result

    def go(
        self,
        pending: Journal | None,
        check: bool,
        with_diff: bool,
        ask: Callable[[Sequence[str]], dict[str, UnitState]],
    ) -> None:
        """Plan the removal, report it, and do it unless C(check). C(ask) tells unit states. Raises C(FileSetError)
        and OSError."""
        manifest = self._store.manifest()
        plan = self._plan(manifest, pending)
        states, verbs = self._unit_verbs(plan, ask)
        self._result["files"] = [step.result() for step in plan.of("file")]
        self._result["directories"] = [step.result() for step in plan.of("directory")]
        self._result["units"] = [
            {"name": name, "changed": bool(verbs.get(name)), "actions": verbs.get(name, [])}
            for name in {**dict.fromkeys(states), **verbs}
        ]
        self._result["activated"] = any(verbs.values())
        self._result["changed"] = bool(plan.changes or any(verbs.values()) or self._result["recovered"])
        if with_diff:
            secrets = {path for path, about in manifest["files"].items() if about.get("secret")}
            self._result["diff"] = diff(
                self._disk, plan, frozenset(secrets | {f.path for f in self._spec.files if f.secret})
            )
        if not check:
            self._remove(plan, verbs)

    def _plan(self, manifest: dict[str, Any], pending: Journal | None) -> Plan:
        paths = {entry.path for entry in self._spec.files} | set(manifest["files"])
        made = set(manifest["directories"])
        for entry in pending.entries if pending else []:
            if entry.kind == "file":
                paths.add(entry.path)
            elif entry.old.kind == "absent":
                made.add(entry.path)
        faults = []
        steps = []
        for path in sorted(paths):
            seen = self._disk.see(path)
            if seen.kind in ("directory", "other"):
                faults.append(f"{path} is not a file on this host, so it is left alone: remove it by hand")
            steps.append(Step(path, "file", seen, None, (0, 0), ("removed",) if seen != ABSENT else ()))
        refuse(self._spec.name, faults)
        gone = {step.path for step in steps}
        directories = []
        for path in sorted(made, key=lambda item: -item.count("/")):
            seen = self._disk.see(path)
            empty = seen.kind == "directory" and not {f"{path}/{name}" for name in self._disk.names(path)} - gone
            if empty:
                gone.add(path)
            directories.append(Step(path, "directory", seen, None, (0, 0), ("removed",) if empty else ()))
        return Plan(directories + steps)

    def _unit_verbs(
        self, plan: Plan, ask: Callable[[Sequence[str]], dict[str, UnitState]]
    ) -> tuple[dict[str, UnitState], dict[str, list[str]]]:
        """Return the units' states and what is to do with each.

        Units the set runs (state or enabled given, or their unit file is the set's) are stopped and disabled. A unit
        the set only tells of changes belongs to somebody else (sshd, say): it is told once more.
        """
        leaving = [name for name in (unit_of(step.path) for step in plan.of("file") if step.changed) if name]
        units = list(self._spec.units) + [
            UnitSpec(name) for name in leaving if name not in {u.name for u in self._spec.units}
        ]
        states = ask([unit.name for unit in units])
        verbs: dict[str, list[str]] = {}
        for unit in units:
            now = states[unit.name]
            if unit.enabled or unit.state == "started" or unit.state == "stopped" or unit.name in leaving:
                down = ["stop"] if now.active not in ("inactive", "failed") else []
                verbs[unit.name] = down + (["disable"] if now.enabled in CAN_BE_DISABLED else [])
            elif unit.on_change != "none" and now.running and any(step.changed for step in plan.of("file")):
                verbs[unit.name] = ["restart" if unit.on_change == "restart" else "reload-or-restart"]
        return states, verbs

    def _remove(self, plan: Plan, verbs: dict[str, list[str]]) -> None:
        for name, actions in verbs.items():
            for verb in actions:
                if verb in ("stop", "disable"):
                    self._systemd.act(verb, name)
        for step in plan.of("file"):
            self._disk.unlink(step.path)
        for step in plan.of("directory"):
            self._disk.rmdir(step.path)
        for parent in sorted({os.path.dirname(step.path) for step in plan.changes}):
            if self._disk.is_dir(parent):
                self._disk.sync_dir(parent)
        if any(is_unit_file(step.path) for step in plan.changes):
            self._systemd.daemon_reload()
        for name, actions in verbs.items():
            for verb in actions:
                if verb not in ("stop", "disable"):
                    self._systemd.act(verb, name)
        # The journal first: without its backups it would mislead the next run.
        self._store.drop_journal()
        self._disk.remove_tree(self._store.home)
        self._disk.unlink(self._store.lock)
