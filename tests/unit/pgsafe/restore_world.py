"""A machine for restores in place: directories that are clusters, a bucket that is a dict, and a kill at any moment."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from roles.walg.files.pgsafe_parts import identity, inplace, lineage, moves, objects, plan, restore
from roles.walg.files.pgsafe_parts.common import Config, PgsafeError, load
from roles.walg.files.pgsafe_parts.instance import State
from roles.walg.files.pgsafe_parts.journal import Journal

from .conftest import IDENTIFIER

ENDED = "s3://bucket/pg/x/17/g1"
FRESH = "s3://bucket/pg/x/17/g2"
SHOWN = {"recovered_to": "2026-11-23T11:00:00.000000Z", "lsn": 500, "complete": True, "rpo_seconds": 1.0, "segments": 3}


class KilledError(BaseException):
    """kill -9, as far as a test can have it."""


class World:
    """``ticks`` counts every change of the machine, before and after; the one numbered ``kill_at`` is the last."""

    def __init__(self, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
        self.config_path, self.data = config.path, Path(config.data)
        self.ticks, self.kill_at = 0, -1
        self.bucket: dict[tuple[str, str], dict[str, Any]] = {}
        self.server, self.app, self.faults = True, True, set[str]()
        self.stored: list[str] = []
        (self.data / "whose").write_text("old")
        self.bucket[ENDED, "IDENTITY.json"] = {"system_identifier": str(IDENTIFIER)}
        for name in ("rename", "replace", "unlink", "mkdir"):
            monkeypatch.setattr(os, name, self._watched(getattr(os, name)))
        monkeypatch.setattr(os, "sync", lambda: None)
        monkeypatch.setattr(os, "fsync", lambda _file: None)
        monkeypatch.setattr(moves, "Instance", lambda _config, home: FakeInstance(self, home))
        monkeypatch.setattr(restore, "unpack", self._unpack)
        monkeypatch.setattr(restore, "contents", lambda _instance: {})
        monkeypatch.setattr(restore, "answers", lambda _instance, _probes: [])
        monkeypatch.setattr(restore, "position", lambda _plan, _state: dict(SHOWN))
        monkeypatch.setattr(plan, "make", lambda *_arguments: FakePlan())
        monkeypatch.setattr(moves, "make", self._backup)
        monkeypatch.setattr(plan, "check", self._check)
        monkeypatch.setattr(objects, "put", self._put)
        monkeypatch.setattr(objects, "get", lambda config, key: self.bucket.get((config.prefix, key)))
        monkeypatch.setattr(identity, "stored", lambda config: self.bucket.get((config.prefix, "IDENTITY.json")))
        monkeypatch.setattr(identity, "claim", self._claim)
        monkeypatch.setattr(
            lineage, "is_empty", lambda config: not [one for one in self.bucket if one[0] == config.prefix]
        )
        monkeypatch.setattr(lineage, "walg", self._remove)

    def tick(self) -> None:
        self.ticks += 1
        if self.ticks == self.kill_at:
            raise KilledError

    def fail(self, name: str) -> None:
        if name in self.faults:
            raise PgsafeError(f"{name} fails")

    def _watched(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*arguments: Any, **options: Any) -> Any:
            self.tick()
            done = real(*arguments, **options)
            self.tick()
            return done

        return watched

    def _unpack(self, _config: Config, backup: str, data: str) -> None:
        self.fail("fetch")
        Path(data).mkdir()
        Path(data, "whose").write_text("half")
        self.tick()
        Path(data, "whose").write_text(backup)

    def _check(self, config: Config, _parent: str, _target: str, backup: str, _identifier: str) -> dict[str, Any]:
        return {"backup": {"backup_name": backup or "base_1"}, "identifier": str(IDENTIFIER), "prefix": config.prefix}

    def _put(self, config: Config, key: str, document: dict[str, Any]) -> None:
        self.tick()
        self.bucket[config.prefix, key] = document
        self.tick()

    def _claim(self, config: Config, own: str, **more: str) -> None:
        self._put(config, "IDENTITY.json", {"system_identifier": own, **more})

    def _remove(self, config: Config, *arguments: str) -> str:
        self.tick()
        del self.bucket[config.prefix, arguments[-1]]
        return ""

    def _backup(self, config: Config, wait: float) -> dict[str, Any]:
        assert wait
        self.fail("backup")
        assert self.server
        self.tick()
        self.stored.append(config.prefix)
        return {"backup": {"backup_name": "base_2"}}

    def config(self) -> Config:
        return load(self.config_path)

    def journal(self) -> Journal:
        return Journal(self.config().journal)

    def machine(self) -> inplace.InPlace:
        journal = self.journal()
        config = lineage.at(self.config(), journal.facts["prefix"])
        return inplace.InPlace(config, journal, FakeHost(self))  # type: ignore[arg-type]

    def machine_host(self) -> Any:
        return FakeHost(self)

    def begin(self, **facts: Any) -> dict[str, Any]:
        """Begins a restore that needs no decision, as the command line does."""
        config, journal = self.config(), self.journal()
        options = {"target": "latest", "promote": True, "units": ["app.service"], **facts}
        inplace.open_journal(config, journal, FakeHost(self), **options)  # type: ignore[arg-type]
        return inplace.go_on(self.machine())

    def names(self) -> list[str]:
        """What lies beside the data, without the time in its name."""
        return sorted(path.name.split("-")[0] for path in self.data.parent.glob(f"{self.data.name}*"))

    def whose(self, path: Path | None = None) -> str:
        return ((path or self.data) / "whose").read_text()

    def prefix(self) -> str:
        return self.config().prefix


class FakePlan:
    """A plan whose target is the end of the archive."""

    last_begins = 100

    class target:  # noqa: N801 - stands for an attribute
        @staticmethod
        def settings() -> dict[str, str]:
            return {}

    @staticmethod
    def as_json() -> dict[str, Any]:
        return {"target": "latest", "segments": 3}


class FakeInstance:
    """A copy: ``whose`` says what has happened to it."""

    def __init__(self, world: World, home: str) -> None:
        self.world, self.data = world, Path(home, "data")

    def configure(self, _target: dict[str, str]) -> None:
        assert "opened" not in self.world.whose(self.data), "a copy that is open must not be replayed again"

    def replay(self, _limit: float, _begin: int) -> State:
        self.world.fail("replay")
        return State(True, False, True, 500, "2026-11-23T11:00:00.000000Z")

    def promote(self) -> None:
        self.world.fail("promote")
        self.world.tick()
        (self.data / "whose").write_text(f"{self.world.whose(self.data)} opened")
        self.world.tick()

    def release(self) -> None:
        self.world.tick()
        (self.data / "whose").write_text(f"{self.world.whose(self.data)} released")

    def stop(self, *, quietly: bool = False) -> None:
        """Nothing runs here."""

    def remove(self) -> None:
        shutil.rmtree(self.data.parent, ignore_errors=True)


class FakeHost:
    """Units that are flags."""

    def __init__(self, world: World) -> None:
        self.world = world

    def owner(self, _config: Config, function: Callable[..., Any], *arguments: Any) -> Any:
        self.world.tick()
        answer = function(*arguments)
        self.world.tick()
        # as through a pipe
        return json.loads(json.dumps(answer))

    def active(self, units: list[str]) -> list[str]:
        return units if self.world.app else []

    def stop_units(self, units: list[str]) -> None:
        self.world.tick()
        self.world.app = self.world.app and not units
        self.world.tick()

    def start_units(self, units: list[str]) -> None:
        self.world.tick()
        self.world.app = self.world.app or bool(units)
        self.world.tick()

    def command(self, _line: str) -> None:
        self.world.tick()

    def stop_server(self) -> None:
        self.world.tick()
        self.world.server = False
        self.world.tick()

    def start_server(self, config: Config) -> None:
        self.world.fail("start")
        self.world.tick()
        assert not Path(config.fence).exists(), "a fenced server does not start"
        assert Path(config.data).is_dir(), "there is nothing to start"
        self.world.server = True
        self.world.tick()
