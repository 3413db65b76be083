"""``restore --in-place``: the cluster itself goes back to a moment, and can be brought back from there as well.

Nothing of the running cluster is touched before a copy has been fetched, replayed and looked at; then directories are
renamed. Nothing of it is ever deleted: the data before the restore stay beside the new ones. Every step is in a
journal, and may be interrupted, repeated and taken back.
"""

# paths are plain strings in all of pgsafe
from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from . import fence, lineage, moves, plan
from .backup import iso
from .common import BUSY, Config, PgsafeError, RefusedError, now, say
from .host import Host
from .journal import Journal, PausedError, Step, back, forward, nothing
from .target import parse
from .window import seconds


@contextmanager
def exclusive(config: Config) -> Iterator[None]:
    """One run at a time works on the journal; it is free again when that one has died."""
    os.makedirs(os.path.dirname(config.journal), 0o700, exist_ok=True)
    with open(f"{config.journal}.lock", "w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PgsafeError("another run works on the restore in place: wait for it to end", BUSY) from None
        yield


class InPlace:
    """The steps, in their order; everything they need to know is in the journal."""

    def __init__(self, config: Config, journal: Journal, host: Host, limit: float = 21600) -> None:
        self.config, self.journal, self.host, self.limit = config, journal, host, limit

    def fact(self, name: str) -> Any:
        return self.journal.content["facts"].get(name)

    @property
    def home(self) -> str:
        return str(self.fact("home"))

    @property
    def old(self) -> Config:
        """Settings with the archive the data come from, whatever lineage.json says by now."""
        return lineage.at(self.config, str(self.fact("prefix")))

    @property
    def tip(self) -> Config:
        """Settings with the archive that was in use, which is the same unless an ended one was asked for."""
        return lineage.at(self.config, str(self.fact("tip")))

    @property
    def reason(self) -> str:
        return f"restore {self.journal.content['id']} is under way, see `pgsafe restore --state`"

    def owner(self, function: Any, *arguments: Any) -> Any:
        return self.host.owner(self.config, function, *arguments)

    def steps(self) -> list[Step]:
        return [
            Step("stop_app", self.stop_app, self.start_app),
            Step("stop_server", self.host.stop_server, self.start_old_server),
            Step("drain", self.drain, nothing),
            Step("fence", lambda: self.owner(fence.put_up, self.config, self.reason), self.unfence),
            Step("fetch", lambda: self.owner(moves.fetch, self.old, self.home, self.fact("backup")), self.discard),
            Step("replay", self.replay, nothing),
            Step("decide", self.decide, nothing),
            Step("promote", self.promote, nothing),
            Step("swap", lambda: self.owner(moves.swap, self.config, self.home, self.fact("aside")), self.swap_back),
            Step("move_on", self.move_on, self.take_back),
            Step("unfence", self.unfence, self.fence_again),
            Step("start_server", self.start_server, self.host.stop_server),
            Step("backup", self.backup, nothing),
            Step("start_app", self.start_app, self.stop_app),
        ]

    def stop_app(self) -> None:
        if self.fact("active_units") is None:
            self.journal.note(active_units=self.host.active(self.fact("units")))
        self.host.stop_units(self.fact("units"))
        if self.fact("stop_command"):
            self.host.command(self.fact("stop_command"))

    def start_app(self) -> None:
        self.host.start_units(self.fact("active_units") or [])
        if self.fact("start_command"):
            self.host.command(self.fact("start_command"))

    def start_old_server(self) -> None:
        if os.path.isdir(self.config.data):
            self.host.start_server(self.config)

    def drain(self) -> None:
        left = self.owner(moves.drain, self.tip, self.fact("identifier"))
        self.journal.note(unarchived=left)
        if left and self.fact("target") == "latest":
            raise PgsafeError(
                f"{left} segments of the log could not be archived, and the latest data are in them: see above, then "
                "go on with `pgsafe restore --resume` or back with `pgsafe restore --undo`"
            )

    def unfence(self) -> None:
        self.owner(fence.take_down, self.config)

    def fence_again(self) -> None:
        self.owner(fence.put_up, self.config, self.reason)

    def discard(self) -> None:
        self.owner(moves.discard, self.config, self.home)

    def replay(self) -> None:
        fact = self.fact
        shown = self.owner(
            moves.replay,
            self.old,
            self.home,
            fact("target"),
            fact("backup"),
            fact("identifier"),
            fact("probes"),
            self.limit,
        )
        self.journal.note(shown=shown, paused=now())

    def decide(self) -> None:
        if not self.fact("promote"):
            raise PausedError
        self.journal.note(waited=round(now() - self.fact("paused"), 1))

    def promote(self) -> None:
        self.owner(moves.promote, self.old, self.home, self.journal.facts, self.limit)

    def swap_back(self) -> None:
        self.owner(moves.swap_back, self.config, self.home, self.fact("aside"), self.fact("undone"))

    def move_on(self) -> None:
        if self.fact("new_prefix") is None:
            self.journal.note(new_prefix=self.owner(lineage.free_prefix, self.tip))
        why = f"restore {self.journal.content['id']} to {self.fact('target')}"
        self.owner(_move_on, self.tip, self.fact("new_prefix"), self.fact("identifier"), why)

    def take_back(self) -> None:
        if self.fact("new_prefix") is not None:
            self.owner(lineage.take_back, self.config, self.fact("tip"), self.fact("new_prefix"))

    def start_server(self) -> None:
        self.host.start_server(self.config)
        self.journal.note(opened=now())

    def backup(self) -> None:
        fresh = lineage.at(self.config, self.fact("new_prefix"))
        self.journal.note(new_backup=self.owner(moves.backup, fresh))

    def receipt(self) -> dict[str, Any]:
        """{id, target, recovered_to, complete, rpo_seconds, rto_seconds: until the server was open, without the time
        that was waited for a decision, seconds: {step: seconds}, aside, prefix, backup: of the new prefix, at}"""
        content, facts = self.journal.content, self.journal.facts
        shown = facts["shown"]
        return {
            "id": content["id"],
            "at": iso(now()),
            "target": facts["target"],
            "recovered_to": shown["recovered_to"],
            "complete": shown["complete"],
            "rpo_seconds": shown["rpo_seconds"],
            "rto_seconds": round(facts["opened"] - facts["began"] - facts.get("waited", 0.0), 1),
            "total_seconds": round(now() - facts["began"], 1),
            "seconds": content["seconds"],
            "from_backup": facts["backup"],
            "segments": shown["segments"],
            "unarchived": facts.get("unarchived", 0),
            "aside": facts["aside"],
            "prefix": facts["new_prefix"],
            "backup": facts["new_backup"],
        }


def _move_on(config: Config, prefix: str, identifier: str, why: str) -> None:
    lineage.move_on(config, prefix, identifier, why)


def go_on(machine: InPlace) -> dict[str, Any]:
    """Does what is left; {state: paused, ...what is in the copy} or the receipt with {state: done}."""
    journal = machine.journal
    try:
        forward(journal, machine.steps())
    except PausedError:
        return {"state": "paused", "id": journal.content["id"], **journal.facts["shown"]}
    receipt = machine.receipt()
    reports = os.path.join(machine.config.reports, "restores.jsonl")
    machine.owner(_append, reports, receipt)
    home = machine.home
    journal.close()
    machine.owner(moves.discard, machine.config, home)
    return {"state": "done", **receipt}


def take_back(machine: InPlace) -> dict[str, Any]:
    """Takes everything back; {state: undone, id, kept: data that were in use meanwhile, or None}."""
    journal = machine.journal
    back(journal, machine.steps())
    identifier, undone = journal.content["id"], str(machine.fact("undone"))
    journal.close()
    return {"state": "undone", "id": identifier, "kept": undone if os.path.isdir(undone) else None}


def move_target(journal: Journal, wanted: str) -> None:
    """A later target for a copy that waits at an earlier one."""
    content = journal.content
    if "promote" in content["begun"]:
        raise RefusedError("the copy is open already and cannot be moved: take it back with `pgsafe restore --undo`")
    target = parse(wanted)
    shown: dict[str, Any] = journal.facts.get("shown") or {}
    before = shown and (
        (target.kind == "time" and shown["recovered_to"] and target.at < seconds(shown["recovered_to"]))
        or (target.kind == "lsn" and target.lsn < shown["lsn"])
    )
    if before:
        raise RefusedError(
            f"the copy is at {shown['recovered_to']} already and moves forward only: take it back with "
            "`pgsafe restore --undo` and begin again"
        )
    content["done"] = [name for name in content["done"] if name not in ("replay", "decide")]
    journal.note(target=wanted)


def _append(path: str, line: dict[str, Any]) -> None:
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def must_be_movable(config: Config) -> None:
    """Refuses data that cannot be renamed."""
    if os.path.ismount(config.data) or os.path.islink(config.data):
        raise RefusedError(
            f"{config.data} is a mount point or a link and cannot be renamed: keep the cluster in a directory below, "
            "or restore beside and copy by hand"
        )


def open_journal(
    config: Config,
    journal: Journal,
    host: Host,
    *,
    target: str,
    backup_name: str = "",
    identifier: str = "",
    tip: str = "",
    **facts: Any,
) -> dict[str, Any]:
    """Every check, and then the journal; after this the restore is under way."""
    if journal:
        raise RefusedError(
            f"a restore is under way since {journal.content['id']}: go on with `pgsafe restore --resume`, or back with "
            "`pgsafe restore --undo`"
        )
    must_be_movable(config)
    parent = os.path.dirname(config.data)
    made: dict[str, Any] = host.owner(config, plan.check, config, parent, target, backup_name, identifier)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now()))
    base = os.path.join(parent, os.path.basename(config.data))
    journal.open(
        stamp,
        {
            "began": now(),
            "target": target,
            "backup": made["backup"]["backup_name"],
            "identifier": made["identifier"],
            "prefix": config.prefix,
            "tip": tip or config.prefix,
            "home": f"{base}.restoring-{stamp}",
            "aside": f"{base}.before-{stamp}",
            "undone": f"{base}.undone-{stamp}",
            "units": [],
            "stop_command": "",
            "start_command": "",
            "probes": [],
            "promote": False,
            **facts,
        },
    )
    say(f"restore {stamp} to {target} begins; the data before it will be in {base}.before-{stamp}")
    return made
