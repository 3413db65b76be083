"""``window``: from which second to which the archive can bring the cluster back, and which backup leads to a target."""

# paths are plain strings in all of pgsafe
from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from . import segments
from .common import Config, PgsafeError, RefusedError
from .segments import Chain, Log
from .target import Target
from .walg import Backup, catalogue, query, walg

_CLOSED = "SELECT extract(epoch FROM modification) FROM pg_ls_archive_statusdir() WHERE name = "


def seconds(moment: str) -> float:
    """ISO 8601 -> seconds since the epoch."""
    return datetime.fromisoformat(moment).timestamp()


def second(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class Reach:
    """How far a backup leads: from ``begin`` to ``end`` (seconds since the epoch) through the chain's segments."""

    backup: Backup
    chain: Chain
    begin: float
    end: float

    @property
    def end_lsn(self) -> int:
        return (segments.split(self.chain.names[-1])[1] + 1) * segments.SIZE


def begin_of(backup: Backup) -> str:
    """base_000000010000000000000004 -> the segment its replay begins with."""
    return backup.name[5:29]


def reaches(backups: Sequence[Backup], log: Log) -> list[Reach]:
    """Backups that can be restored, the oldest first; one whose own WAL is not complete is none."""
    found = []
    for backup in backups:
        chain = log.chain(begin_of(backup))
        if chain is None or not chain.names:
            continue
        need = max(backup.finish_lsn - 1, 0) // segments.SIZE
        if segments.split(chain.names[-1])[1] < need:
            continue
        begin = seconds(backup.finish_time)
        found.append(Reach(backup, chain, begin, max(begin, log.stored[chain.names[-1]])))
    return found


@dataclass(frozen=True)
class Window:
    """``ranges`` are restorable [(from, to)], the oldest first; between them nothing can be restored."""

    reaches: list[Reach]
    ranges: list[tuple[float, float]]
    lost: list[str]

    @property
    def oldest(self) -> float:
        return self.ranges[0][0]

    @property
    def newest(self) -> float:
        return self.ranges[-1][1]


def measure(backups: Sequence[Backup], log: Log) -> Window:
    found = reaches(backups, log)
    ranges: list[tuple[float, float]] = []
    for reach in found:
        if ranges and reach.begin <= ranges[-1][1]:
            ranges[-1] = (ranges[-1][0], max(ranges[-1][1], reach.end))
        else:
            ranges.append((reach.begin, reach.end))
    return Window(found, ranges, sorted({reach.chain.lost for reach in found if reach.chain.lost}))


def _closed(config: Config, name: str) -> float | None:
    """When the server closed that segment; None when it cannot be asked, or has forgotten."""
    try:
        answer = query(config, f"{_CLOSED}'{name}.done'", limit=20)
        return float(answer) if answer else None
    except PgsafeError:
        return None


def read(config: Config, identifier: str) -> tuple[Window, Log]:
    """Asks the bucket, and the server, if it runs, for when it closed the newest segment."""
    log = segments.read(config)
    newest = max(log.stored, key=lambda name: segments.split(name)[1], default=None)
    # an object's time is when it had arrived; what was committed while it travelled is in the next segment
    closed = _closed(config, newest) if newest else None
    if newest and closed is not None:
        log.stored[newest] = min(closed, log.stored[newest])
    return measure([one for one in catalogue(config) if one.system_identifier == identifier], log), log


def choose(window: Window, target: Target, prefix: str, name: str = "") -> Reach:
    """The newest backup that leads to the target, or the named one; refuses with the way out when there is none."""
    if not window.ranges:
        raise RefusedError(
            f"the archive {prefix} holds no complete backup of this cluster: there is nothing to restore"
        )
    found = [reach for reach in window.reaches if not name or reach.backup.name == name]
    if not found:
        held = ", ".join(reach.backup.name for reach in window.reaches)
        raise RefusedError(f"the archive {prefix} holds no backup {name!r}; it holds {held}")
    if target.kind == "latest":
        lost, end = found[-1].chain.lost, second(found[-1].end)
        if lost:
            raise RefusedError(
                f"{lost} is not in the archive, though later segments are: the latest data cannot be reached; what "
                f"came before it can, with the target {end}"
            )
        return found[-1]
    if target.kind == "name" and not target.lsn:
        if not name:
            raise RefusedError(
                f"{target.text} was not recorded by `pgsafe mark`, so no backup can be chosen for it: name one that "
                f"was finished before it with --backup; there are {', '.join(one.backup.name for one in found)}"
            )
        return found[-1]
    if target.kind in ("lsn", "name"):
        fitting = [one for one in found if one.backup.finish_lsn <= target.lsn <= one.end_lsn]
        if not fitting:
            raise RefusedError(
                f"the archive {prefix} does not lead to {target.text}: it can be between the end of a backup and the "
                "end of its log; `pgsafe window` tells both"
            )
        return fitting[-1]
    fitting = [one for one in found if one.begin <= target.at <= one.end]
    if not fitting:
        raise RefusedError(_why_not(window, target, name))
    return fitting[-1]


def _why_not(window: Window, target: Target, name: str) -> str:
    oldest, newest = second(math.ceil(window.oldest)), second(window.newest)
    whole = f"the archive leads from {oldest} to {newest}"
    if target.at < window.oldest:
        return f"{target.text} is before the oldest restorable moment: {whole}; choose a moment in between"
    if target.at > window.newest:
        return (
            f"{target.text} is after the newest restorable moment: {whole}; ask for latest, or wait until the segment "
            "is archived"
        )
    for (_first, before), (after, _last) in zip(window.ranges, window.ranges[1:], strict=False):
        if before < target.at < after:
            return (
                f"{target.text} is in a gap: {', '.join(window.lost) or 'a segment'} is not in the archive, and "
                f"nothing between {second(before)} and {second(math.ceil(after))} can be restored; take one of the two"
            )
    return f"{target.text} cannot be reached from the backup {name}: leave --backup out and the right one is chosen"


def report(window: Window, log: Log, config: Config) -> dict[str, Any]:
    """{prefix, oldest, newest (whole seconds inside), gaps: [{after, before}], lost, backups, segments, bytes}"""
    gaps = [
        {"after": second(before), "before": second(math.ceil(after))}
        for (_first, before), (after, _last) in zip(window.ranges, window.ranges[1:], strict=False)
    ]
    return {
        "prefix": config.prefix,
        "oldest": second(math.ceil(window.oldest)) if window.ranges else None,
        # a first range may end within the second in which it began
        "newest": second(max(window.newest, math.ceil(window.oldest))) if window.ranges else None,
        "gaps": gaps,
        "lost": window.lost,
        "backups": [
            {**reach.backup.as_json(), "reaches": second(reach.end), "segments": len(reach.chain.names)}
            for reach in window.reaches
        ],
        "segments": len(log.sizes),
        "bytes": sum(log.sizes.values()),
    }


def as_text(found: dict[str, Any]) -> str:
    if found["oldest"] is None:
        return f"archive     {found['prefix']}\nNOTHING     no complete backup: nothing can be restored"
    lines = [f"archive     {found['prefix']}", f"restorable  every second from {found['oldest']} to {found['newest']}"]
    lines += [f"GAP         nothing between {gap['after']} and {gap['before']}" for gap in found["gaps"]]
    if found["lost"]:
        lines.append(f"lost        {', '.join(found['lost'])}")
    for backup in found["backups"]:
        size = backup["compressed_bytes"] / 1e6
        lines.append(f"backup      {backup['backup_name']}, {backup['finish_time'][:19]}Z, {size:.1f} MB")
    lines.append(f"log         {found['segments']} segments, {found['bytes'] / 1e6:.1f} MB")
    return "\n".join(lines)


def recorded_point(config: Config, target: Target) -> Target:
    """A named point that `pgsafe mark` recorded -> the target with its position, else as it is."""
    from .walg import WalgError

    if target.kind != "name":
        return target
    try:
        text = walg(config, "st", "cat", f"points/{target.text.partition(':')[2]}.json")
    except WalgError as error:
        if error.is_absent():
            return target
        raise
    found = json.loads(text)
    return Target("name", target.text, lsn=int(found["lsn"]))
