# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How C(file_set) brings installed files to life: commands, units, probes; and how it brings the old set back to
life."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from ._file_set_journal import PENDING, RESTORING, Journal, OldUnit, Store
from ._file_set_run import Run, show
from ._file_set_spec import FileSetError, SetSpec, UnitSpec
from ._file_set_units import RUNNING, Systemd, UnitError, UnitState, plan_unit, triggered

COMMAND_TIMEOUT = 600.0
OUTPUT_LINES = 20
SETTLE = 1.0
"""Seconds a fresh service must stay up when no probe asks it anything."""


@dataclass
class Activation:
    """What activation did: verbs per unit, and whether anything was run at all."""

    verbs: dict[str, list[str]] = field(default_factory=dict)
    ran: bool = False


class Activator:
    """Runs commands, units and probes of one set. C(sleep) is a seam for tests."""

    def __init__(
        self, systemd: Systemd, run: Run, mask: Callable[[str], str], sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.systemd = systemd
        self._run = run
        self._mask = mask
        self._sleep = sleep

    def command(self, what: str, argv: Sequence[str], user: str | None = None) -> None:
        """Run one command to its end; raises C(FileSetError) with its last lines when it fails."""
        outcome = self._run(argv, user, COMMAND_TIMEOUT)
        if outcome.rc != 0:
            said = self._mask(outcome.tail(OUTPUT_LINES)) or "(no output)"
            raise FileSetError(f"the {what} `{show(argv)}` failed (exit {outcome.rc}). It says:\n{said}")

    def plan(self, spec: SetSpec, states: dict[str, UnitState], changed: Collection[str]) -> dict[str, list[str]]:
        """Return the verbs for each unit in order. Raises C(UnitError)."""
        verbs: dict[str, list[str]] = {}
        for unit in spec.units:
            verbs.update(self.plan_one(unit, states[unit.name], changed))
        return verbs

    @staticmethod
    def plan_one(unit: UnitSpec, now: UnitState, changed: Collection[str]) -> dict[str, list[str]]:
        """Return {unit name: verbs} for one unit."""
        return {unit.name: plan_unit(unit, now, triggered(unit, changed))}

    def go(
        self, spec: SetSpec, changed: Collection[str], commands: bool, states: dict[str, UnitState], done: Activation
    ) -> None:
        """Commands (when files changed), then units in order, then proof of life. Fills C(done) as it goes; raises
        C(FileSetError)."""
        if commands:
            for argv in spec.commands:
                done.ran = True
                self.command("command", argv)
        plan = self.plan(spec, states, changed)
        started = []
        for unit in spec.units:
            for verb in plan[unit.name]:
                done.ran = True
                done.verbs.setdefault(unit.name, []).append(verb)
                self.systemd.act(verb, unit.name)
                if verb in ("start", "restart"):
                    started.append(unit)
        self._probe(spec)
        if done.ran and spec.units:
            self._still_up(spec, plan, started)

    def _probe(self, spec: SetSpec) -> None:
        deadline = time.monotonic() + spec.probe_timeout
        for argv in spec.probe:
            while True:
                outcome = self._run(argv, None, max(5.0, deadline - time.monotonic()))
                if outcome.rc == 0:
                    break
                if time.monotonic() >= deadline:
                    said = self._mask(outcome.tail(OUTPUT_LINES)) or "(no output)"
                    raise FileSetError(
                        f"the probe `{show(argv)}` did not succeed within {spec.probe_timeout} s "
                        f"(exit {outcome.rc}). It says:\n{said}",
                        [unit.name for unit in spec.units if unit.state == "started" or unit.on_change != "none"],
                    )
                self._sleep(1.0)

    def _still_up(self, spec: SetSpec, plan: dict[str, list[str]], started: Sequence[UnitSpec]) -> None:
        """Refuse a service that came up only to die: systemd calls a simple service active from its first instant."""
        kept_up = [unit.name for unit in spec.units if unit.state == "started"]
        watched = kept_up + [name for name, verbs in plan.items() if "restart" in verbs and name not in kept_up]
        if not watched:
            return
        first = self._settled(watched, spec.probe_timeout)
        if started and not spec.probe:
            self._sleep(SETTLE)
            second = self._settled(watched, spec.probe_timeout)
            for unit in started:
                if second[unit.name].invocation != first[unit.name].invocation:
                    raise UnitError(unit.name, f"{unit.name} keeps dying after its start")
            first = second
        for name in kept_up:
            if not first[name].running:
                raise UnitError(
                    name,
                    f"{name} ended right after its start "
                    "(a unit that does one job and ends wants on_change: restart, not state: started)",
                )

    def _settled(self, names: Sequence[str], timeout: float) -> dict[str, UnitState]:
        deadline = time.monotonic() + timeout
        while True:
            states = self.systemd.show(names)
            late = [name for name in names if states[name].active == "activating"]
            for name in names:
                if states[name].active == "failed":
                    raise UnitError(name, f"{name} failed after its start")
            if not late:
                return states
            if time.monotonic() >= deadline:
                raise UnitError(late[0], f"{late[0]} was not up within {timeout:.0f} s")
            self._sleep(0.5)

    # --- backwards

    def put_back(self, store: Store, journal: Journal) -> list[str]:
        """Put the old set back and close the journal: units the change started stop, files return, old units run again.

        Returns one clause for everything the old set itself did not do. Raises OSError where the files could not be
        put back; the journal then stays, and the next run goes on from there.
        """
        notes: list[str] = []
        if journal.phase == PENDING:
            store.advance(journal, RESTORING)
        active_part = [unit for unit in journal.units if journal.activated or unit.name in journal.retired]
        names = [unit.name for unit in active_part]
        states = self._ask(names, notes)
        for unit in active_part:
            now = states.get(unit.name)
            if now is None:
                continue
            if not unit.running and (now.running or now.active == "activating"):
                self._try(notes, self.systemd.act, "stop", unit.name)
            if not unit.enabled and now.enabled in ("enabled", "enabled-runtime"):
                self._try(notes, self.systemd.act, "disable", unit.name)
        store.put_files_back(journal)
        if journal.daemon_reload:
            self._try(notes, self.systemd.daemon_reload)
        if journal.activated:
            self._commands_back(journal, notes)
        states = self._ask(names, notes)
        for unit in active_part:
            if unit.name in states:
                self._unit_back(journal, unit, states[unit.name], notes)
        store.forget(journal)
        return notes

    def _commands_back(self, journal: Journal, notes: list[str]) -> None:
        gone = [entry.path for entry in journal.entries if entry.old.kind == "absent"]
        for argv in journal.commands:
            # A command about a file that is gone again would only complain about that.
            if any(path in word for path in gone for word in argv):
                continue
            outcome = self._run(argv, None, COMMAND_TIMEOUT)
            if outcome.rc != 0:
                notes.append(f"`{show(argv)}` failed with the old files too (exit {outcome.rc})")

    def _unit_back(self, journal: Journal, unit: OldUnit, now: UnitState, notes: list[str]) -> None:
        if unit.enabled and now.enabled == "disabled":
            self._try(notes, self.systemd.act, "enable", unit.name)
        if not unit.running:
            if now.active == "failed":
                self.systemd.forget_failure(unit.name)
            return
        if now.active not in RUNNING:
            self.systemd.forget_failure(unit.name)
            self._try(notes, self.systemd.act, "start", unit.name)
        elif journal.activated and unit.on_change != "none":
            verb = "restart" if unit.on_change == "restart" else "reload-or-restart"
            self._try(notes, self.systemd.act, verb, unit.name)

    def _ask(self, names: Sequence[str], notes: list[str]) -> dict[str, UnitState]:
        try:
            return self.systemd.show(names)
        except FileSetError as error:
            notes.append(str(error))
            return {}

    @staticmethod
    def _try(notes: list[str], action: Callable[..., None], *args: str) -> None:
        try:
            action(*args)
        except FileSetError as error:
            notes.append(str(error))
