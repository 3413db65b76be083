# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a project remembers on the host: what serves, kept releases, migrations, receipts, the journal of a deployment.

Standard library of Python 3.9 only. Private to this collection.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ._compose_host import DeployError, FileWish, Layout, write_file
from ._compose_wish import Deployed, Move

MIGRATED_KEPT = 50


def _read(path: Path) -> Any:
    """Parsed JSON; None where there is none, or none that can be read."""
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def _write(path: Path, data: Any) -> None:
    write_file(path, FileWish((json.dumps(data, sort_keys=True) + "\n").encode(), 0o600))


@dataclass
class State:
    """Which releases served, newest last; which digests were migrated, oldest first."""

    history: list[str] = field(default_factory=list)
    migrated: dict[str, list[str]] = field(default_factory=dict)
    irreversible: dict[str, list[str]] = field(default_factory=dict)

    def migrate(self, service: str, digest: str, irreversible: bool) -> None:
        """Remember a migration; one that is repeated is the newest again."""
        done = [one for one in self.migrated.get(service, []) if one != digest]
        self.migrated[service] = [*done, digest][-MIGRATED_KEPT:]
        if irreversible and digest not in self.irreversible.get(service, []):
            self.irreversible[service] = [*self.irreversible.get(service, []), digest][-MIGRATED_KEPT:]

    def forget_after(self, service: str, digest: str) -> None:
        """Forget the migrations that came after a digest: the database is one from before them."""
        done = self.migrated.get(service, [])
        later = done[done.index(digest) + 1 :] if digest in done else []
        self.migrated[service] = [one for one in done if one not in later]
        self.irreversible[service] = [one for one in self.irreversible.get(service, []) if one not in later]

    def serve(self, release: str) -> None:
        """Put a release at the end of the history."""
        self.history = [*(one for one in self.history if one != release), release]


def read_state(layout: Layout) -> State:
    """The remembered state; empty where none can be read, which only means asking the application again."""
    data = _read(layout.state)
    try:
        return State(**data) if data else State()
    except TypeError:
        return State()


def write_state(layout: Layout, state: State) -> None:
    """Remember; atomic."""
    _write(layout.state, asdict(state))


def read_deployed_at(directory: Path) -> Deployed | None:
    """The release that was prepared in a directory; None where there is none."""
    try:
        return Deployed.load(_read(directory / "deployed.json"))
    except (KeyError, TypeError):
        return None


def read_deployed(layout: Layout) -> Deployed | None:
    """What serves; None before the first deployment that passed."""
    return read_deployed_at(layout.current)


@dataclass(frozen=True)
class Settings:
    """What holds for all releases: how Caddy is reached and asked, what is kept, what is reserved.

    `probes` are {hostname, path, status}; status 404 = must not answer from outside. Sizes are MB, times seconds.
    """

    probes: tuple[Mapping[str, Any], ...] = ()
    edge_address: str = "127.0.0.1"
    edge_port: int = 443
    keep_releases: int = 5
    memory_reserve_mb: int = 64
    disk_reserve_mb: int = 1024
    watch_seconds: float = 2.0
    restore_point: bool = True


def read_settings(layout: Layout) -> Settings:
    """The settings of the last deployment; the defaults before the first."""
    data = _read(layout.settings)
    try:
        return Settings(**{**data, "probes": tuple(data["probes"])}) if data else Settings()
    except (KeyError, TypeError):
        return Settings()


def write_settings(layout: Layout, settings: Settings) -> None:
    """Keep the settings for who acts without them: a rollback, the maintenance page."""
    if read_settings(layout) != settings or not layout.settings.exists():
        _write(layout.settings, asdict(settings))


@dataclass
class Journal:
    """A deployment under way, so that whoever comes after a cut knows what to undo or to finish.

    `set` is the directory the new release is prepared in, `source` the one that served when it began. `paused` names
    the hook that is waited for.
    """

    transaction: str
    owner: str
    kind: str
    release: str
    set: str
    source: str
    step: str
    moves: list[Move]
    began: float
    paused: str = ""
    migrated: list[str] = field(default_factory=list)
    restore_point: str = ""
    steps: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def move(self, service: str) -> Move | None:
        """The move of a service."""
        return next((move for move in self.moves if move.service == service), None)


def read_journal(layout: Layout) -> Journal | None:
    """The deployment that was begun and not ended; None where there is none."""
    data = _read(layout.journal)
    try:
        return Journal(**{**data, "moves": [Move(**move) for move in data["moves"]]}) if data else None
    except (KeyError, TypeError):
        return None


def write_journal(layout: Layout, journal: Journal) -> None:
    """Remember; atomic."""
    _write(layout.journal, asdict(journal))


def append_receipt(layout: Layout, record: Mapping[str, Any]) -> None:
    """One line in the record of deployments."""
    handle = os.open(layout.receipts, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
    with os.fdopen(handle, "w") as stream:
        stream.write(json.dumps(record, sort_keys=True) + "\n")
        stream.flush()
        os.fsync(stream.fileno())


def read_receipts(layout: Layout, count: int) -> list[dict[str, Any]]:
    """The newest receipts, oldest first; a line that a crash cut off is left out."""
    with suppress(FileNotFoundError):
        lines = layout.receipts.read_text().splitlines()
        found = []
        for line in lines[-count:]:
            with suppress(ValueError):
                found.append(dict(json.loads(line)))
        return found
    return []


def keep_release(layout: Layout, deployed: Deployed) -> None:
    """Keep all that a rollback to it needs, secrets included."""
    _write(layout.kept / f"{deployed.release}.json", deployed.dump())


def kept_releases(layout: Layout, history: Sequence[str]) -> dict[str, Deployed]:
    """Releases that can be gone back to, in the order in which they served, newest last."""
    found = {}
    for release in history:
        with suppress(KeyError, TypeError):
            found[release] = Deployed.load(_read(layout.kept / f"{release}.json"))
    return found


def prune_releases(layout: Layout, state: State, keep: int) -> list[str]:
    """Forget the oldest releases; images that only they used. The one that serves and the one before it always stay."""
    kept = state.history[-max(keep, 2) :]
    images: set[str] = set()
    for path in sorted(layout.kept.glob("*.json")):
        if path.stem in kept:
            continue
        data = _read(path) or {}
        images |= {item["image"] for item in data.get("wish", {}).get("services", [])}
        path.unlink()
    wanted = {service.image for one in kept_releases(layout, kept).values() for service in one.wish.services}
    return sorted(images - wanted)


def remove_sets(layout: Layout, keep: Sequence[str]) -> None:
    """Remove every prepared directory but these."""
    for path in layout.sets.iterdir() if layout.sets.exists() else []:
        if path.name not in keep:
            shutil.rmtree(path)


def current_set(layout: Layout) -> str:
    """Name of the directory that counts; '' before the first deployment that passed."""
    try:
        return Path(os.readlink(layout.current)).name
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise DeployError(f"{layout.current} is not the link that a deployment makes; remove it ({error})") from error
