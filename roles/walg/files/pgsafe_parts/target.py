"""What to restore to: a moment, a position in the log, a named point, or the end of the archive."""

# paths are plain strings in all of pgsafe
from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from .common import RefusedError, now

_LSN = re.compile(r"^(?:lsn:)?([0-9A-F]{1,8})/([0-9A-F]{1,8})$", re.IGNORECASE)
_POINT = re.compile(r"^name:([A-Za-z0-9][A-Za-z0-9._-]{0,62})$")
_EXAMPLES = "2026-11-20T14:00:00Z, lsn:0/3000060, name:before-migration or latest"


@dataclass(frozen=True)
class Target:
    """``kind`` is time, lsn, name or latest; ``at`` are seconds since the epoch, ``lsn`` a byte of the log."""

    kind: str
    text: str
    at: float = 0.0
    lsn: int = 0

    def settings(self) -> dict[str, str]:
        """PostgreSQL's settings for it; none for latest."""
        if self.kind == "time":
            stamp = datetime.fromtimestamp(self.at, UTC).strftime("%Y-%m-%d %H:%M:%S.%f+00")
            return {"recovery_target_time": stamp}
        if self.kind == "lsn":
            # everything before that byte: what pg_current_wal_lsn() told is what comes back
            return {"recovery_target_lsn": format_lsn(self.lsn), "recovery_target_inclusive": "off"}
        if self.kind == "name":
            return {"recovery_target_name": self.text.partition(":")[2]}
        return {}


def format_lsn(lsn: int) -> str:
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def parse_lsn(text: str) -> int:
    found = _LSN.match(text)
    if found is None:
        raise RefusedError(f"{text!r} is no position in the log: write it like 0/3000060")
    return int(found[1], 16) << 32 | int(found[2], 16)


def parse(text: str) -> Target:
    """Reads a target; refuses a time without a zone and one in the future."""
    wanted = text.strip()
    if wanted == "latest":
        return Target("latest", wanted)
    if _POINT.match(wanted):
        return Target("name", wanted)
    if _LSN.match(wanted):
        return Target("lsn", wanted, lsn=parse_lsn(wanted))
    try:
        moment = datetime.fromisoformat(wanted)
    except ValueError:
        raise RefusedError(f"{text!r} is no target for a restore: write one like {_EXAMPLES}") from None
    if moment.tzinfo is None:
        raise RefusedError(
            f"{text!r} has no time zone, and an hour is a lot of data: write {wanted}Z for UTC, or its offset like "
            f"{wanted}+01:00"
        )
    if moment.timestamp() > now():
        current = datetime.fromtimestamp(now(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        raise RefusedError(f"{text!r} is in the future: it is {current}; ask for an earlier moment or for latest")
    return Target("time", wanted, at=moment.timestamp())
