# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a zone's records need to become what is wanted, and the fewest batch calls that do it (private)."""

from __future__ import annotations

import fnmatch
import itertools
from dataclasses import dataclass, field
from typing import Any, Collection, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.sapflux.hosting.plugins.module_utils._cloudflare import CloudflareError
from ansible_collections.sapflux.hosting.plugins.module_utils._dns_records import Record, full_name, parse, shown
from ansible_collections.sapflux.hosting.plugins.module_utils._plan import Change, holds

ALONE = frozenset({"A", "AAAA", "CNAME"})
"""Types where a record of somebody else beside ours would answer for us: the address of the old server, say."""
ELSEWHERE = ("email_routing", "r2_bucket", "origin_worker_id", "read_only")
"""Marks in ``meta`` of records that another product of Cloudflare keeps."""
OPERATIONS = ("deletes", "patches", "posts")
BATCH = {"free": 200}
BATCH_PAID = 3500
"""Operations in one batch, by plan."""

Body = Dict[str, Any]


@dataclass(frozen=True)
class Held:
    """A record that the zone has."""

    id: str
    record: Record
    raw: Mapping[str, Any]


@dataclass(frozen=True)
class Scope:
    """What of a zone is ours: all of it (``owner`` is empty), or what carries the owner's mark in its comment.

    Names that match ``keep`` are left alone. ``takeover`` makes records of others ours where they stand in the way.
    """

    zone: str
    owner: str = ""
    keep: Sequence[str] = ()
    takeover: bool = False

    def owns(self, held: Held) -> bool:
        """Whether a record is ours."""
        comment = held.record.comment or ""
        return not self.owner or comment == self.owner or comment.startswith(f"{self.owner}: ")

    def mark(self, comment: Optional[str]) -> Optional[str]:
        """The comment that a record of ours carries."""
        if not self.owner:
            return comment
        return f"{self.owner}: {comment}" if comment else self.owner


@dataclass
class Plan:
    """Changes as they are told, operations as the API takes them, and the records as they will be."""

    changes: List[Change] = field(default_factory=list)
    operations: List[Tuple[str, str, Body]] = field(default_factory=list)
    records: List[Body] = field(default_factory=list)
    kept: int = 0

    def batches(self, most: int) -> Iterator[Body]:
        """Bodies of at most ``most`` operations; those of one name stay together as long as they fit.

        A batch is one transaction that deletes, changes and makes in this order, so that a name goes from a CNAME to
        an address without a moment of neither.
        """
        by_name = itertools.groupby(sorted(self.operations, key=lambda each: each[1]), key=lambda each: each[1])
        batch: List[Tuple[str, str, Body]] = []
        for _name, group in by_name:
            for part in _chunks(list(group), most):
                if len(batch) + len(part) > most:
                    yield _body(batch)
                    batch = []
                batch += part
        if batch:
            yield _body(batch)


def wishes(records: Sequence[Mapping[str, Any]], scope: Scope) -> List[Record]:
    """What is wanted, in the API's form. Raises :class:`CloudflareError` with everything that is wrong."""
    problems: List[str] = []
    parsed: Dict[Tuple[str, str, str], Record] = {}
    cnames: Dict[str, Record] = {}
    for given in records:
        try:
            record = parse({**given, "comment": scope.mark(given.get("comment"))}, scope.zone)
        except CloudflareError as error:
            problems.append(str(error))
            continue
        if (*record.group, record.identity) in parsed:
            problems.append(f"{record} is wanted twice")
        parsed[(*record.group, record.identity)] = record
        if record.type == "CNAME":
            cnames[record.name] = record
    for record in parsed.values():
        cname = cnames.get(record.name)
        if cname is not None and record is not cname and record.type in ALONE:
            problems.append(f"{cname} stands alone at its name, but {record} is wanted there, too")
    if problems:
        raise CloudflareError("; ".join(problems))
    return list(parsed.values())


def make(have: Sequence[Mapping[str, Any]], want: Sequence[Record], scope: Scope) -> Plan:
    """The plan. Raises :class:`CloudflareError` where records of others stand in the way and may not be taken over."""
    plan = Plan()
    keep = [full_name(pattern, scope.zone) for pattern in scope.keep]
    wanted = {record.group for record in want}
    free: Dict[Tuple[str, str], List[Held]] = {}
    for raw in have:
        held = _held(raw, scope.zone)
        if held is None or _left_alone(held, keep, scope.zone, wanted):
            plan.kept += 1
        else:
            free.setdefault(held.record.group, []).append(held)
    pairs: List[Tuple[Record, Optional[Held]]] = []
    rest = []
    for record in want:
        same = next((held for held in free.get(record.group, []) if held.record.identity == record.identity), None)
        if same is None:
            rest.append(record)
        else:
            free[record.group].remove(same)
            pairs.append((record, same))
    if not scope.takeover:
        _refuse_strangers(want, free, scope)
    for record in rest:
        ours = [held for held in free.get(record.group, []) if scope.owns(held) or _in_the_way(held, [record])]
        if ours:
            free[record.group].remove(ours[0])
        pairs.append((record, ours[0] if ours else None))
    for held in itertools.chain.from_iterable(free.values()):
        if scope.owns(held) or _in_the_way(held, want):
            plan.operations.append(("deletes", held.record.name, {"id": held.id}))
            plan.changes.append(Change("delete", str(held.record), shown(held.record)))
        else:
            plan.kept += 1
    for record, partner in pairs:
        _change(plan, record, partner)
    plan.records.sort(key=lambda each: (each["name"], each["type"], each["content"]))
    return plan


def _held(raw: Mapping[str, Any], zone: str) -> Optional[Held]:
    """A record of the API; None where it is kept by another product, or of a form that nothing here knows."""
    if any((raw.get("meta") or {}).get(mark) for mark in ELSEWHERE):
        return None
    try:
        return Held(str(raw["id"]), parse(raw, zone), raw)
    except CloudflareError:
        return None


def _left_alone(held: Held, keep: Sequence[str], zone: str, wanted: Collection[Tuple[str, str]]) -> bool:
    """Whether a record is to be kept, or says who serves the zone itself and nobody spoke of that."""
    if any(fnmatch.fnmatchcase(held.record.name, pattern) for pattern in keep):
        return True
    return held.record.group == ("NS", zone) and held.record.group not in wanted


def _in_the_way(held: Held, want: Sequence[Record]) -> bool:
    """Whether a record cannot stand, or would answer, beside one that is wanted."""
    kind = held.record.type
    rivals = [record.type for record in want if record.name == held.record.name and record.type in ALONE]
    return kind in ALONE and any(rival == kind or "CNAME" in (rival, kind) for rival in rivals)


def _refuse_strangers(want: Sequence[Record], free: Mapping[Tuple[str, str], List[Held]], scope: Scope) -> None:
    strangers = [
        str(held.record)
        for held in itertools.chain.from_iterable(free.values())
        if not scope.owns(held) and _in_the_way(held, want)
    ]
    if strangers:
        raise CloudflareError(
            f"{', '.join(sorted(strangers))} {'is' if len(strangers) == 1 else 'are'} not of {scope.owner} and would "
            "answer beside what is wanted: remove it, or set takeover to true"
        )


def _change(plan: Plan, record: Record, held: Optional[Held]) -> None:
    body = {"name": record.name, "type": record.type, "ttl": record.ttl, **record.body}
    optional: Body = {"comment": record.comment, "settings": record.settings}
    optional["tags"] = None if record.tags is None else list(record.tags)
    if record.type in ALONE:
        optional["proxied"] = record.proxied
    optional = {key: value for key, value in optional.items() if value is not None}
    if held is None:
        plan.operations.append(("posts", record.name, {**body, **optional}))
        plan.changes.append(Change("create", str(record), None, shown(record)))
        plan.records.append(shown(record))
        return
    have = {**held.raw, "tags": sorted(held.raw.get("tags") or []), "comment": held.record.comment or ""}
    fields = {key: value for key, value in optional.items() if not holds(have.get(key), value)}
    before: Body = {key: have.get(key) for key in fields}
    if held.record.identity != record.identity or held.record.body.get("priority") != record.body.get("priority"):
        fields |= record.body
        before |= held.record.body
    if held.record.ttl != record.ttl:
        fields["ttl"], before["ttl"] = record.ttl, held.record.ttl
    after = {**shown(held.record), **{key: value for key, value in shown(record).items() if value is not None}}
    plan.records.append(after)
    if fields:
        # The API wants name, type and ttl with every change.
        patch = {"id": held.id, "name": record.name, "type": record.type, "ttl": record.ttl, **fields}
        plan.operations.append(("patches", record.name, patch))
        plan.changes.append(Change("update", str(held.record), before, fields))


def _chunks(items: List[Any], size: int) -> Iterator[List[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _body(batch: Sequence[Tuple[str, str, Body]]) -> Body:
    body = {kind: [each for operation, _name, each in batch if operation == kind] for kind in OPERATIONS}
    return {kind: items for kind, items in body.items() if items}
