# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What C(file_set) asks of systemd: one question for all units, and the verbs that bring a unit where it shall be."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ._file_set_run import Outcome, Run
from ._file_set_spec import FileSetError, UnitSpec

UNIT_DIRS = ("/etc/systemd/system/", "/usr/lib/systemd/system/", "/lib/systemd/system/", "/run/systemd/system/")
UNIT_SUFFIXES = (".service", ".socket", ".timer", ".path", ".mount", ".automount", ".swap", ".target", ".slice")
RUNNING = frozenset({"active", "reloading", "refreshing"})
ENABLED = frozenset({"enabled", "static", "alias", "indirect", "generated", "transient"})
"""States in which C(systemctl enable) has nothing to do (static and the like cannot be enabled at all)."""
CAN_BE_DISABLED = frozenset({"enabled", "enabled-runtime"})
SYSTEMCTL_TIMEOUT = 600.0
JOURNAL_LINES = 15
_PROPERTIES = "Id,LoadState,ActiveState,UnitFileState,NeedDaemonReload,InvocationID"


@dataclass(frozen=True)
class UnitState:
    """systemd's view of one unit, in systemd's own words."""

    load: str = "not-found"
    active: str = "inactive"
    enabled: str = ""
    need_reload: bool = False
    invocation: str = ""

    @property
    def running(self) -> bool:
        """Whether the unit is up."""
        return self.active in RUNNING

    @property
    def exists(self) -> bool:
        """Whether systemd finds the unit."""
        return self.load != "not-found"


class UnitError(FileSetError):
    """A unit did not do as asked."""

    def __init__(self, unit: str, message: str) -> None:
        super().__init__(message, [unit])


class Systemd:
    """Calls systemctl and journalctl through C(run)."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def show(self, names: Sequence[str]) -> dict[str, UnitState]:
        """Return the state of every named unit, from one call; {} for no names.

        Raises C(FileSetError) where systemd does not answer.
        """
        if not names:
            return {}
        outcome = self._run(["systemctl", "show", "-p", _PROPERTIES, "--", *names], None, SYSTEMCTL_TIMEOUT)
        blocks = [block for block in outcome.out.strip().split("\n\n") if block]
        if outcome.rc != 0 or len(blocks) != len(names):
            raise FileSetError(
                f"systemd does not answer on this host: {outcome.tail(3) or 'systemctl show printed nothing'}"
            )
        # The answers come in the order of the question; Id is no key, for an alias answers under another name.
        return {name: _state(blocks[index]) for index, name in enumerate(names)}

    def act(self, verb: str, unit: str) -> None:
        """Run one systemctl verb on one unit; raises C(UnitError) when it fails."""
        outcome = self._run(["systemctl", "--no-ask-password", verb, "--", unit], None, SYSTEMCTL_TIMEOUT)
        if outcome.rc != 0:
            raise UnitError(unit, f"systemctl {verb} {unit} failed (exit {outcome.rc}): {_first(outcome)}")

    def forget_failure(self, unit: str) -> None:
        """Clear a failed state, so that a start limit does not stop us from starting the old version again."""
        self._run(["systemctl", "--no-ask-password", "reset-failed", "--", unit], None, SYSTEMCTL_TIMEOUT)

    def daemon_reload(self) -> None:
        """Have systemd read its unit files again."""
        outcome = self._run(["systemctl", "--no-ask-password", "daemon-reload"], None, SYSTEMCTL_TIMEOUT)
        if outcome.rc != 0:
            raise FileSetError(f"systemctl daemon-reload failed (exit {outcome.rc}): {_first(outcome)}")

    def log(self, unit: str) -> str:
        """Return the last journal lines of a unit; a text that says so when there are none."""
        outcome = self._run(
            ["journalctl", "--no-pager", "--quiet", "--output=short-iso", "-n", str(JOURNAL_LINES), "-u", unit],
            None,
            30.0,
        )
        return outcome.tail(JOURNAL_LINES) or "(no lines)"


def _first(outcome: Outcome) -> str:
    return " ".join(outcome.tail(3).split()).rstrip(".") or "no output"


def _state(block: str) -> UnitState:
    values = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
    return UnitState(
        load=values.get("LoadState", "not-found"),
        active=values.get("ActiveState", "inactive"),
        enabled=values.get("UnitFileState", ""),
        need_reload=values.get("NeedDaemonReload") == "yes",
        invocation=values.get("InvocationID", ""),
    )


def is_unit_file(path: str) -> bool:
    """Say whether systemd must read its unit files again when C(path) changes."""
    return path.startswith(UNIT_DIRS)


def unit_of(path: str) -> str | None:
    """Return the unit a file in a unit directory defines: its name for C(/etc/systemd/system/x.service), None for
    anything else."""
    directory, name = os.path.split(path)
    if directory + "/" in UNIT_DIRS and name.endswith(UNIT_SUFFIXES) and "@." not in name:
        return name
    return None


def triggered(unit: UnitSpec, changed: Iterable[str]) -> bool:
    """Say whether C(on_change) of a unit applies for these changed paths."""
    if unit.on_change == "none":
        return False
    return any(not unit.watch or any(fnmatch.fnmatchcase(path, pattern) for pattern in unit.watch) for path in changed)


def plan_unit(unit: UnitSpec, now: UnitState, on_change: bool) -> list[str]:
    """Return the systemctl verbs that bring C(unit) where it shall be, in order; [] when it is there.

    C(on_change) says that a watched file changed. Raises C(UnitError) for a unit that cannot get there.
    """
    verbs: list[str] = []
    wants_up = unit.enabled is True or unit.state == "started"
    if wants_up and (now.load == "masked" or now.enabled in ("masked", "masked-runtime")):
        raise UnitError(
            unit.name,
            f"{unit.name} is masked, so it can never start: run systemctl unmask {unit.name} or drop it from units",
        )
    if (wants_up or (on_change and unit.on_change == "restart")) and not now.exists:
        raise UnitError(
            unit.name, f"{unit.name} does not exist on this host: install its package or list its unit file in files"
        )
    if unit.enabled is True and now.enabled not in ENABLED:
        verbs.append("enable")
    elif unit.enabled is False and now.enabled in CAN_BE_DISABLED:
        verbs.append("disable")
    if unit.state == "stopped":
        return verbs if now.active in ("inactive", "failed") else [*verbs, "stop"]
    if unit.state == "started" and not now.running:
        # A start reads the new files; there is nothing left to reload.
        return [*verbs, "start"]
    if on_change and unit.on_change == "restart":
        verbs.append("restart")
    elif on_change and now.exists and unit.on_change == "reload_or_restart":
        verbs.append("reload-or-restart")
    elif on_change and unit.on_change == "reload" and now.running:
        verbs.append("reload")
    return verbs
