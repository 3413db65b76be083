# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bringing a project to its wish: look, and if something differs mend it, or go through the steps of a transaction.

A cut at any point leaves a journal; the next run undoes or finishes what it tells of before it does anything else.

Standard library of Python 3.9 only. Private to this collection.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field
from typing import Any

from ._compose_host import (
    DeployError,
    FileWish,
    Layout,
    diff_entry,
    file_matches,
    make_directories,
    make_key,
    point_at,
    read_key,
    write_file,
)
from ._compose_lock import PAUSE_EXPIRES, Lock, guarded, moment, refuse_locked, write_lock
from ._compose_project import Project, masked_services
from ._compose_seams import Seams
from ._compose_state import (
    Journal,
    Settings,
    append_receipt,
    current_set,
    keep_release,
    read_deployed,
    read_deployed_at,
    read_journal,
    read_state,
    remove_sets,
    write_journal,
    write_settings,
    write_state,
)
from ._compose_transaction import HOOKS, STEPS, Transaction, clean, undo
from ._compose_wish import (
    Deployed,
    Move,
    Wish,
    after,
    hashes,
    hold_for_memory,
    irreversible_between,
    moves,
    release_id,
)
from ._docker_api import DockerError


@dataclass(frozen=True)
class Request:
    """Who asks for what: `until` names the hook to stop at, `transaction` the deployment to go on with, if any."""

    owner: str = "unknown"
    kind: str = "deploy"
    transaction: str = ""
    until: str = ""
    across_irreversible: bool = False


@dataclass
class Plan:
    """What differs: reasons for people, entries for Ansible's diff, what has to move, and what serves at the end."""

    target: Deployed
    now: Deployed | None
    moves: list[Move] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    diff: list[dict[str, str]] = field(default_factory=list)


@dataclass
class Outcome:
    """What was done. `receipt` is the line that was kept, {} when nothing was; `paused` names the hook that is due."""

    changed: bool
    release: str
    reasons: list[str] = field(default_factory=list)
    diff: list[dict[str, str]] = field(default_factory=list)
    receipt: dict[str, Any] = field(default_factory=dict)
    transaction: str = ""
    paused: str = ""
    message: str = ""


class Deployment:
    """One project on one host, and the wish for it."""

    def __init__(self, wish: Wish, layout: Layout, seams: Seams, settings: Settings) -> None:
        self.wish = wish
        self.layout = layout
        self.seams = seams
        self.settings = settings
        now = read_deployed(layout)
        self.project = Project(layout, seams, settings, masked_services(wish, now.wish if now else None))
        self.mask = self.project.mask

    # Looking.

    def plan(self, forgive_missing_engine: bool = False) -> Plan:
        """Compare the host with the wish. In check mode a host without Docker is one where all is still to do."""
        key = read_key(self.layout)
        known = hashes(self.wish, key) or {service.name: "" for service in self.wish.services}
        now = read_deployed(self.layout)
        todo = moves(self.wish, known, now)
        target = after(self.wish, release_id(known) if key else "", known, now, todo)
        plan = Plan(target, now, todo)
        journal = read_journal(self.layout)
        if journal:
            plan.reasons.append(f"the deployment of {journal.release} was cut off at its step {journal.step}")
        for move in todo:
            service = self.wish.service(move.service)
            plan.reasons.append(
                f"{move.service}: a new release in the slot {service.slot(move.target)}, image {service.image}"
                if service
                else f"{move.service}: not wanted any more"
            )
        self._compare_files(plan)
        try:
            # What is new has no containers yet, but an engine that does not answer is noticed here, not halfway.
            problems = self.project.container_problems(target)
            plan.reasons += [] if todo else problems
        except DockerError:
            if not forgive_missing_engine:
                raise
            plan.reasons.append("Docker does not answer yet")
        if not self.project.unit_is_up():
            plan.reasons.append(f"{self.layout.unit_name} is not enabled and started")
        return plan

    def _compare_files(self, plan: Plan) -> None:
        files = self.project.set_files(plan.target, self.layout.current)
        files.update(self.project.live_files(plan.target))
        files[self.layout.unit] = FileWish(self.wish.unit.encode(), 0o644)
        for path, wish in files.items():
            if not file_matches(path, wish):
                plan.reasons.append(f"{path} differs" if path.exists() else f"{path} is missing")
                plan.diff.append(diff_entry(path, wish))
        if plan.now and not plan.moves and plan.now.wish != self.wish:
            plan.reasons.append("what is known of the services differs")

    # Doing.

    def deploy(self, request: Request) -> Outcome:
        """Make the wish true; when it cannot be, go back to what served before and raise DeployError."""
        make_directories(self.layout)
        with guarded(self.layout, self.seams):
            journal = read_journal(self.layout)
            if request.transaction:
                if journal is None or journal.transaction != request.transaction:
                    raise DeployError(
                        f"the deployment {request.transaction} of {self.layout.project} is not under way any more; "
                        "another one took over. Run again"
                    )
                return self._resume(journal, request)
            make_key(self.layout)
            plan = self.plan()
            if not plan.reasons:
                # The files and containers are right; whether the application answers is still worth one request each.
                self.project.wait_healthy(plan.target)
                write_settings(self.layout, self.settings)
                said = f"release {plan.target.release} serves already; nothing was done"
                return Outcome(False, plan.target.release, message=said)
            took_over = refuse_locked(self.layout, self.seams, "")
            if journal:
                self.recover(journal)
                plan = self.plan()
            write_settings(self.layout, self.settings)
            if not plan.moves:
                return self._mend(plan, request)
            return self._begin(plan, request, [took_over] if took_over else [])

    def _begin(self, plan: Plan, request: Request, warnings: list[str]) -> Outcome:
        self._preflight(plan, request)
        wanted = hold_for_memory(plan.moves, self.wish, self.seams.available_mb(), self.settings.memory_reserve_mb)
        warnings += [
            f"{move.service}: two colours do not fit into the memory, so requests wait while it is replaced"
            for before, move in zip(plan.moves, wanted)  # noqa: B905 - Python 3.9
            if move.hold and not before.hold
        ]
        source = current_set(self.layout)
        journal = Journal(
            transaction=secrets.token_hex(6),
            owner=request.owner,
            kind=request.kind,
            release=plan.target.release,
            set=f"{plan.target.release}.{secrets.token_hex(3)}",
            source=source,
            step=STEPS[0],
            moves=wanted,
            began=self.seams.now(),
            warnings=warnings,
        )
        self.layout.progress.unlink(missing_ok=True)
        self._lock(journal)
        write_journal(self.layout, journal)
        return self._go(journal, plan, request)

    def _resume(self, journal: Journal, request: Request) -> Outcome:
        known = hashes(self.wish, make_key(self.layout))
        now = read_deployed(self.layout)
        if release_id(known) != journal.release:
            raise DeployError(
                f"the deployment {journal.transaction} is of another release than is asked for now; run again"
            )
        target = after(self.wish, journal.release, known, now, journal.moves)
        journal.paused = ""
        self._lock(journal)
        return self._go(journal, Plan(target, now, journal.moves), request)

    def _lock(self, journal: Journal) -> None:
        expires = self.seams.now() + PAUSE_EXPIRES if journal.paused else 0.0
        write_lock(
            self.layout,
            Lock("deploy", journal.owner, journal.transaction, journal.began, expires, journal.paused),
        )

    def _preflight(self, plan: Plan, request: Request) -> None:
        """Refuse before anything is changed."""
        state = read_state(self.layout)
        for move in plan.moves:
            service = self.wish.service(move.service)
            if service is None:
                continue
            empty = [line.partition("=")[0] for line in service.secrets_env.splitlines() if line.endswith(("=''", "="))]
            if empty:
                raise DeployError(
                    f"the secret {empty[0]} of {service.name} is empty; nothing was changed. Store its value"
                )
            done, barred = state.migrated.get(service.name, []), state.irreversible.get(service.name, [])
            barrier = irreversible_between(done, barred, service.digest)
            if barrier and not request.across_irreversible:
                raise DeployError(
                    f"{service.name} was migrated to {barrier[:19]}, which cannot be undone, so {service.digest[:19]} "
                    "would meet a database it does not know; nothing was changed. Deploy a release that knows it, or "
                    "restore the database to the restore point of that deployment and run again with "
                    "-e app_across_irreversible=true"
                )
            if service.ca_file and not (self.layout.root / service.ca_file.lstrip("/")).exists():
                raise DeployError(
                    f"{service.ca_file}, which {service.name} trusts, is not there; nothing was changed. Converge "
                    "first: Caddy makes it"
                )
            self._port_is_free(service.slot(move.target), service.port(move.target), bool(move.source and move.hold))
        for probe in self.settings.probes:
            if probe["status"] != 404 and plan.now is None:
                # Nothing is behind it yet, and Caddy would wait for it.
                continue
            answer = self.project.through_caddy(probe)
            where = f"https://{probe['hostname']}{probe['path']}"
            if answer.status == 0:
                raise DeployError(
                    f"Caddy does not answer for {where}: {answer}; nothing was changed. Bring it up first"
                )
            if probe["status"] == 404 and answer.status != 404:
                raise DeployError(
                    f"{where} answers {answer.status} and must not be reachable; nothing was changed. Converge first"
                )

    def _port_is_free(self, slot: str, port: int, shared: bool) -> None:
        if not shared and self.seams.listening(port) and slot not in self.project.containers():
            raise DeployError(
                f"port {port} of {slot} is taken by another program (`ss -ltnp 'sport = :{port}'` shows it); nothing "
                "was changed. Stop it, or give the service another port"
            )

    def _go(self, journal: Journal, plan: Plan, request: Request) -> Outcome:
        transaction = Transaction(self.project, journal, self.wish, plan.now, plan.target)
        began = self.seams.clock()
        try:
            for step in STEPS[STEPS.index(journal.step) :]:
                if request.until and HOOKS[request.until] == step:
                    journal.paused, journal.step = request.until, step
                    write_journal(self.layout, journal)
                    self._lock(journal)
                    return Outcome(
                        True, journal.release, plan.reasons, plan.diff, {}, journal.transaction, request.until
                    )
                self._step(journal, transaction, step)
        except (DeployError, DockerError) as error:
            self._failed(journal, transaction, str(error), began)
        receipt = self._receipt(journal, plan.target, "ok", "", began)
        self._end()
        return Outcome(True, journal.release, plan.reasons, plan.diff, receipt, journal.transaction, "", told(receipt))

    def _step(self, journal: Journal, transaction: Transaction, step: str) -> None:
        journal.step, before = step, self.seams.clock()
        write_journal(self.layout, journal)
        self._tell(step, "begins")
        getattr(transaction, step)()
        journal.steps.append({"step": step, "seconds": round(self.seams.clock() - before, 2)})
        self._tell(step, "is done")

    def _tell(self, step: str, what: str) -> None:
        """A line for who watches."""
        with self.layout.progress.open("a") as stream:
            stream.write(json.dumps({"at": moment(self.seams.now()), "step": step, "text": what}) + "\n")

    def _failed(self, journal: Journal, transaction: Transaction, message: str, began: float) -> None:
        """Go back, keep a receipt, and raise with what went wrong and what runs now."""
        committed = current_set(self.layout) == journal.set
        verdict = "unfinished" if committed else "refused" if journal.step == "pull" else "failed"
        receipt = self._receipt(journal, transaction.target, verdict, message.splitlines()[0], began)
        if committed:
            raise DeployError(
                f"{message}\nRelease {receipt['release']} serves; only the end of its deployment failed, and the next "
                "run finishes it."
            )
        ports = [service.port(move.target) for service, move in transaction.movers() if not move.hold]
        raise DeployError(f"{message}\n{self.put_back(journal, ports)}")

    def put_back(self, journal: Journal, ports: list[int] | None = None) -> str:
        """Undo what a journal tells of; a sentence on what runs now. The journal stays if that fails."""
        now = read_deployed(self.layout)
        switched = STEPS.index(journal.step) > STEPS.index("switch")
        try:
            said = undo(self.project, journal, now, (ports or []) if switched else ())
        except (DeployError, DockerError) as error:
            return (
                f"Putting back release {now.release if now else ''} failed too, look at `docker ps --all`; the next "
                f"run tries again: {str(error).splitlines()[0]}"
            )
        self._end()
        return said

    def recover(self, journal: Journal) -> str:
        """Undo a deployment that was cut off before its commit, finish one that was cut off after it."""
        began = self.seams.clock()
        now = read_deployed(self.layout)
        if current_set(self.layout) != journal.set or now is None:
            said = self.put_back(journal)
            self._receipt(journal, None, "interrupted", f"cut off at {journal.step}", began)
            return said
        state = read_state(self.layout)
        state.serve(now.release)
        write_state(self.layout, state)
        self.project.write(self.project.live_files(now))
        self.project.install_unit(now.wish.unit)
        before = read_deployed_at(self.layout.sets / journal.source) if journal.source else None
        transaction = Transaction(self.project, journal, now.wish, before, now)
        transaction.drain()
        transaction.retire()
        self._receipt(journal, now, "ok", f"cut off at {journal.step}, finished by the next run", began)
        self._end()
        return f"Release {now.release} serves."

    def _end(self) -> None:
        remove_sets(self.layout, [current_set(self.layout)])
        self.layout.lock.unlink(missing_ok=True)
        self.layout.journal.unlink(missing_ok=True)

    def _mend(self, plan: Plan, request: Request) -> Outcome:
        """The right release, but a file, a container or the unit is not as it was left."""
        began = self.seams.clock()
        state = read_state(self.layout)
        target = plan.target
        name = f"{target.release}.{secrets.token_hex(3)}"
        directory = self.layout.sets / name
        journal = Journal(
            secrets.token_hex(6), request.owner, "mend", target.release, name, "", STEPS[0], [], self.seams.now()
        )
        try:
            self.project.write(self.project.set_files(target, directory))
            content = json.dumps(target.dump(), sort_keys=True).encode()
            write_file(directory / "deployed.json", FileWish(content, 0o600, secret=True))
            self.project.write(self.project.live_files(target))
            point_at(self.layout.current, f"sets/{name}")
            self.project.up(self.layout.current / "compose.json", orphans=True)
            self.project.wait_healthy(target)
            self.project.install_unit(self.wish.unit)
        except (DeployError, DockerError) as error:
            self._receipt(journal, target, "failed", str(error).splitlines()[0], began)
            raise
        clean(self.project, target)
        keep_release(self.layout, target)
        state.serve(target.release)
        write_state(self.layout, state)
        receipt = self._receipt(journal, target, "ok", "; ".join(plan.reasons), began)
        self._end()
        said = f"release {target.release} was mended: {'; '.join(plan.reasons)}"
        return Outcome(True, target.release, plan.reasons, plan.diff, receipt, "", "", said)

    def _receipt(
        self, journal: Journal, target: Deployed | None, verdict: str, reason: str, began: float
    ) -> dict[str, Any]:
        """Keep a line about what was tried, and how it ended."""
        switched = [step["seconds"] for step in journal.steps if STEPS.index(step["step"]) <= STEPS.index("switch")]
        record: dict[str, Any] = {
            "when": moment(self.seams.now()),
            "owner": journal.owner,
            "kind": journal.kind,
            "project": self.layout.project,
            "release": journal.release,
            "verdict": verdict,
            "reason": self.mask(reason),
            "migrated": journal.migrated,
            "restore_point": journal.restore_point,
            "held": [move.service for move in journal.moves if move.hold],
            "steps": journal.steps,
            "warnings": [self.mask(warning) for warning in journal.warnings],
            "serving_seconds": round(sum(switched), 1),
            "seconds": round(self.seams.clock() - began, 1),
            "services": services_told(target) if target else {},
        }
        append_receipt(self.layout, record)
        return record


def services_told(deployed: Deployed) -> dict[str, dict[str, str]]:
    """What a receipt says of each service."""
    return {
        service.name: {
            "image": service.image,
            "digest": service.digest,
            "config_hash": deployed.hashes[service.name],
            "slot": service.slot(colour),
        }
        for service, colour in deployed.slots.values()
    }


def told(receipt: dict[str, Any]) -> str:
    """A receipt as one sentence."""
    steps = ", ".join(f"{step['step']} {step['seconds']:g}" for step in receipt["steps"])
    migrated = f", migrated {', '.join(receipt['migrated'])}" if receipt["migrated"] else ""
    return (
        f"release {receipt['release']} serves: switched after {receipt['serving_seconds']:g} s, done after "
        f"{receipt['seconds']:g} s{migrated} (seconds: {steps})"
    )
