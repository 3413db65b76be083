"""What a host remembers about itself: the look over it, releases, updates."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.sapflux.hosting.plugins.module_utils import _host_watch
from ansible_collections.sapflux.hosting.plugins.module_utils._compose_lock import Lock, write_lock

from .compose_world import Cut, World, service, wish

NOW = 1_800_000_000.0
APT = """Inst libssl3t64 [3.5.1-1] (3.5.1-1+deb13u1 Debian-Security:13/stable-security [amd64])
Inst tzdata [2025b-4] (2025c-1 Debian:13.2/stable [all])
Conf libssl3t64 (3.5.1-1+deb13u1 Debian-Security:13/stable-security [amd64])
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A host that has run for a day, with the timer installed for as long."""
    for name, text, age in (
        (_host_watch.TIMER, "", 86400),
        (_host_watch.REPORT, json.dumps({"at": "then", "problems": ["x"]}), 120),
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
        os.utime(path, (NOW - age, NOW - age))
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/uptime").write_text("86400.12 1.0\n")
    return tmp_path


def test_the_look_is_told_with_its_age(root: Path) -> None:
    assert _host_watch.look(str(root), NOW) == {"at": "then", "problems": ["x"], "waited_seconds": 120}


def test_a_look_that_never_came_counts_from_when_it_could(root: Path) -> None:
    (root / _host_watch.REPORT).unlink()
    assert _host_watch.look(str(root), NOW) == {"waited_seconds": 86400}
    (root / "proc/uptime").write_text("30.0 1.0\n")
    assert _host_watch.look(str(root), NOW) == {"waited_seconds": 30}
    (root / _host_watch.TIMER).unlink()
    assert _host_watch.look(str(root), NOW) == {}


def test_a_report_that_is_torn_says_so(root: Path) -> None:
    (root / _host_watch.REPORT).write_text("{")
    assert "host.json cannot be read" in _host_watch.look(str(root), NOW)["error"]


def test_releases_are_told_and_what_cannot_be_asked_says_why(tmp_path: Path) -> None:
    world = World(tmp_path)
    assert _host_watch.releases("shop", world.layout, world.seams) == {}
    assert _host_watch.releases("", world.layout, world.seams) == {}
    world.deploy(wish(service()))
    found = _host_watch.releases("shop", world.layout, world.seams)
    assert (len(found["release"]), found["cut_off"], found["receipts"][0]["verdict"]) == (12, False, "ok")

    class Away:
        def __getattr__(self, _name: str) -> Any:
            raise OSError("no engine")

    assert "cannot be read: no engine" in _host_watch.releases("shop", world.layout, Away())["error"]


def test_a_deployment_that_was_cut_off_is_known_from_one_that_works_or_waits(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.deploy(wish(service()))
    world.cut_at = world.contacts + 15
    with pytest.raises(Cut):
        world.deploy(wish(service(version=2)))
    world.cut_at = None
    assert _host_watch.releases("shop", world.layout, world.seams)["cut_off"] is True
    with world.layout.guard.open() as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        assert _host_watch.releases("shop", world.layout, world.seams)["cut_off"] is False
    write_lock(world.layout, Lock("deploy", "ada", "t", NOW, expires=NOW + 60, paused="after_switch"))
    assert _host_watch.releases("shop", world.layout, world.seams, NOW)["cut_off"] is False
    assert _host_watch.releases("shop", world.layout, world.seams, NOW + 61)["cut_off"] is True


def test_updates_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/reboot-required").write_text("")
    monkeypatch.setattr(subprocess, "run", lambda argv, **_: subprocess.CompletedProcess(argv, 0, APT, ""))
    assert _host_watch.updates(str(tmp_path)) == {"pending": 2, "security": 1, "reboot_days": 0.0}
    monkeypatch.setattr(subprocess, "run", lambda argv, **_: subprocess.CompletedProcess(argv, 100, "", "broken"))
    assert _host_watch.updates(str(tmp_path / "run")) == {"reboot_days": None}

    def away(*_args: Any, **_options: Any) -> Any:
        raise FileNotFoundError

    monkeypatch.setattr(subprocess, "run", away)
    assert _host_watch.updates(str(tmp_path / "run")) == {"reboot_days": None}
