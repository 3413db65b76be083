"""The log in the bucket: which segments are there, on which timelines, and how far they reach without a gap."""

# paths are plain strings in all of pgsafe
from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from .common import Config, PgsafeError
from .target import parse_lsn
from .walg import walg

#: Bytes of a segment; PostgreSQL's default, and the role makes clusters with it.
SIZE = 16 * 1024 * 1024
_PER_LOG = 0x100000000 // SIZE

_LINE = re.compile(
    r"^obj\s+(\d+)\s+(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)(\.\d+)? \+0000 UTC\s+"
    r"(?:wal_005/)?(\S+?)(?:\.(?:zst|lz4|lzma|br|gz))?\s*$"
)
_SEGMENT = re.compile(r"^([0-9A-F]{8})([0-9A-F]{8})([0-9A-F]{8})$")
_HISTORY = re.compile(r"^([0-9A-F]{8})\.history$")


def split(name: str) -> tuple[int, int]:
    """000000010000000200000003 -> (timeline, number of the segment)."""
    found = _SEGMENT.match(name)
    if found is None:
        raise PgsafeError(f"{name!r} is no name of a segment")
    return int(found[1], 16), int(found[2], 16) * _PER_LOG + int(found[3], 16)


def join(timeline: int, number: int) -> str:
    return f"{timeline:08X}{number // _PER_LOG:08X}{number % _PER_LOG:08X}"


@dataclass(frozen=True)
class Chain:
    """Segments that follow each other without a gap; ``lost`` is the first missing one when others come after it."""

    names: list[str]
    lost: str | None


@dataclass
class Log:
    """By segment ``sizes`` (bytes) and ``stored`` (seconds); by timeline ``histories``, the [(parent, LSN)] before."""

    sizes: dict[str, int] = field(default_factory=dict)
    stored: dict[str, float] = field(default_factory=dict)
    histories: dict[int, list[tuple[int, int]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._newest: dict[int, int] = {}
        for name in self.sizes:
            timeline, number = split(name)
            self._newest[timeline] = max(number, self._newest.get(timeline, -1))

    def path(self) -> list[tuple[int, int]]:
        """The way to the newest timeline: [(timeline, its first segment)], the oldest first."""
        newest = max([*self._newest, *self.histories], default=1)
        steps, first = [], 0
        for parent, switch in self.histories.get(newest, []):
            steps.append((parent, first))
            first = switch // SIZE
        return [*steps, (newest, first)]

    def chain(self, begin: str) -> Chain | None:
        """What can be replayed from that segment on; None when it is not on the way to the newest timeline."""
        path = self.path()
        timeline, number = split(begin)
        if timeline not in [step for step, _end in path]:
            return None
        names: list[str] = []
        last = max((self._newest.get(step, -1) for step, _end in path), default=-1)
        while number <= last:
            # a timeline begins in the middle of a segment, of which it holds the whole
            on = [step for step, first in path if first <= number and step >= timeline][-1:] or [timeline]
            name = join(on[0], number)
            if name not in self.sizes:
                return Chain(names, name)
            names.append(name)
            number += 1
        return Chain(names, None)


def parse(listing: str) -> tuple[dict[str, int], dict[str, float], list[str]]:
    """``st ls wal_005/`` -> sizes and times of segments, and the names of history files."""
    sizes: dict[str, int] = {}
    stored: dict[str, float] = {}
    histories: list[str] = []
    for line in listing.splitlines():
        found = _LINE.match(line)
        if found is None:
            continue
        size, second, fraction, name = found.groups()
        if _HISTORY.match(name):
            histories.append(name)
        elif _SEGMENT.match(name):
            moment = datetime.fromisoformat(second).replace(tzinfo=UTC).timestamp()
            sizes[name], stored[name] = int(size), moment + float(fraction or 0)
    return sizes, stored, histories


def parse_history(text: str) -> list[tuple[int, int]]:
    """Lines of ``PARENT<tab>LSN<tab>reason`` -> [(parent, LSN of the switch)]."""
    rows: Sequence[list[str]] = [line.split() for line in text.splitlines() if line.strip() and line[0] != "#"]
    return [(int(row[0]), parse_lsn(row[1])) for row in rows]


def read(config: Config) -> Log:
    """Asks the bucket: one listing, and one small file for each timeline after the first."""
    sizes, stored, names = parse(walg(config, "st", "ls", "wal_005/"))
    return Log(sizes, stored, {int(name[:8], 16): _history(config, name) for name in names})


def _history(config: Config, name: str) -> list[tuple[int, int]]:
    # fetched as PostgreSQL does it: then compression and encryption are WAL-G's affair
    path = os.path.join(config.state, f"history.{os.getpid()}")
    try:
        walg(config, "wal-fetch", name, path)
        with open(path, encoding="utf-8") as file:
            return parse_history(file.read())
    finally:
        if os.path.exists(path):
            os.unlink(path)
