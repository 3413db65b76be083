"""delete retain, before, garbage: a dry run unless confirmed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from .catalogue import listed, metadata
from .names import BASE, WAL, backup_in, number_in, parse_segment
from .s3 import Item, Store
from .settings import WalgError, log


@dataclass(frozen=True)
class Full:
    """A full backup: its name, the segment it starts in, when (by storage or by sentinel), whether it is permanent."""

    name: str
    number: int
    time: datetime
    permanent: bool


class Deletion:
    """Decides and deletes. ``by_sentinel``: order backups by their start, not by their names."""

    def __init__(self, store: Store, *, by_sentinel: bool, confirm: bool) -> None:
        self._store, self._confirm, self._by_sentinel = store, confirm, by_sentinel
        found = []
        for backup in listed(store):
            document = metadata(store, backup.name)
            time = datetime.fromisoformat(document["start_time"]) if by_sentinel else backup.modified
            number = (parse_segment(backup.wal) or (0, 0))[1]
            found.append(Full(backup.name, number, time, document["is_permanent"]))
        # the oldest first
        self.fulls = sorted(found, key=(lambda f: f.time) if by_sentinel else (lambda f: f.number))
        log("INFO", "retrieving permanent objects")

    def retain(self, count: int, after: str) -> None:
        if count <= 0:
            raise WalgError("cannot retain less than one backup. Check out delete everything")
        kept = self.fulls[-count] if len(self.fulls) >= count else None
        target = kept
        if after:
            since = _time(after)
            if since is not None and since > datetime.now(UTC):
                raise WalgError("cannot delete retain future date")
            young = [full for full in self.fulls if (since is not None and full.time >= since) or full.name == after]
            oldest = young[0] if young else None
            # with fewer backups than are to be kept, the time alone decides
            target = min((f for f in (kept, oldest) if f is not None), key=lambda f: f.time, default=None)
        if target is None:
            log("INFO", "No backup found for deletion")
            return
        self._before(target, lambda _item: True)

    def before(self, what: str) -> None:
        since = _time(what)
        for full in self.fulls:
            if full.name == what or (since is not None and full.time >= since):
                self._before(full, lambda _item: True)
                return
        raise WalgError("not found")

    def garbage(self, kind: str) -> None:
        prefix = {"ARCHIVES": WAL, "BACKUPS": BASE}.get(kind, "")
        texts = {
            "ARCHIVES": "Archive-only mode selected. Will remove only outdated WAL files.",
            "BACKUPS": "Backups-only mode selected. Will remove only leftover backup files.",
        }
        log(
            "INFO",
            texts.get(kind, "Running in default mode. Will remove outdated WAL files and leftover backup files."),
        )
        fulls = [full for full in self.fulls if not full.permanent]
        if not fulls:
            log("INFO", "Couldn't find any non-permanent backups in storage.")
            log("INFO", "Not doing anything.")
            return
        self._before(fulls[0], lambda item: item.key.startswith(prefix))

    def _older(self, item: Item, target: Full) -> bool:
        name = backup_in(item.key)
        known = {full.name: full for full in self.fulls}
        if name and self._by_sentinel:
            return name in known and known[name].time < target.time
        number = number_in(item.key)
        return number is not None and number < target.number

    def _permanent(self, item: Item) -> bool:
        name, number = backup_in(item.key), number_in(item.key)
        if name:
            return any(full.name == name and full.permanent for full in self.fulls)
        return any(full.permanent and full.number == number for full in self.fulls)

    def _before(self, target: Full, wanted: Callable[[Item], bool]) -> None:
        log("INFO", "Start delete")
        log("INFO", "Evaluating objects for deletion...")
        items, _ = self._store.list()
        gone = [item for item in items if wanted(item) and self._older(item, target) and not self._permanent(item)]
        if not gone:
            log("INFO", "No objects matched the deletion criteria.")
            return
        for item in gone:
            log("INFO", f"Object marked for deletion: {item.key} storage=default")
        if not self._confirm:
            log("INFO", f"Dry run: objects would be deleted count={len(gone)}, Run with --confirm to execute")
            return
        for item in gone:
            self._store.delete(item.key)
        log("INFO", f"Objects deleted successfully: count={len(gone)}")


def _time(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo is not None else None
