"""file_set cut off: killed or out of disk at any single step, it leaves the old set or the new one."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.sapflux.hosting.plugins.module_utils._file_set_run import Outcome
from ansible_collections.sapflux.hosting.plugins.module_utils._file_set_spec import FileSetError, SetSpec, UnitSpec

from tests.unit.plugins.module_utils.file_set_host import STATE, Host, Shot, directory, files, killed_at, wish

UNIT = "/etc/systemd/system/main.service"
OLD_UNIT = "/etc/systemd/system/old.service"
PLENTY = 1000
"""More steps than any run of these tests has."""


def wanted(text: str = "new\n", probe: str = "good") -> SetSpec:
    """Return a set that does one of everything: create, change, chmod, replace, remove, directories, units."""
    return wish(
        ("/etc/app/a.conf", text),
        ("/etc/app/link", "a file now\n"),
        ("/etc/app/sub/new", "brand new\n"),
        (UNIT, f"[Unit]\nDescription={text}"),
        (OLD_UNIT, None),
        ("/etc/leaving/last", None),
        files=(
            *files(("/etc/app/a.conf", text), ("/etc/app/link", "a file now\n"), ("/etc/app/sub/new", "brand new\n")),
            *files((UNIT, f"[Unit]\nDescription={text}"), (OLD_UNIT, None), ("/etc/leaving/last", None)),
            *files(("/etc/app/mode", "same\n"), mode=0o600),
        ),
        directories=(
            directory("/etc/app", 0o750),
            directory("/etc/app/sub"),
            directory("/etc/leaving", absent=True),
        ),
        validate=(("good", "{staged}"),),
        check_installed=(("good",),),
        commands=(("good", "command"),),
        units=(
            UnitSpec("main.service", enabled=True, state="started", on_change="restart"),
            UnitSpec("old.service", enabled=False, state="stopped"),
        ),
        probe=((probe,),),
        probe_timeout=0,
    )


@pytest.fixture
def start(tmp_path: Path) -> Host:
    """A host with the old set: its files, a running service that loaded them, and one that is about to go."""
    host = Host.fresh(tmp_path / "start")
    host.programs["good"] = lambda _argv: Outcome(0)
    host.programs["bad"] = lambda _argv: Outcome(1, "", "no\n")
    host.write("/etc/app/a.conf", "old\n", 0o640)
    host.write("/etc/app/mode", "same\n")
    (host.root / "etc/app/link").symlink_to("a.conf")
    host.write(UNIT, "[Unit]\nDescription=old\n")
    host.write(OLD_UNIT, "[Unit]\n")
    host.write("/etc/leaving/last", "x\n")
    host.set_unit("main.service", config="/etc/app/a.conf", active="active", enabled="enabled", loaded="old\n")
    host.set_unit("old.service", active="active", enabled="enabled", file=OLD_UNIT)
    return host


def finished(start: Host, asked: SetSpec, base: Path) -> dict[str, Shot]:
    """Return the tree after an undisturbed run."""
    host = start.copy(base)
    host.apply(asked)
    return host.shots()


def every_cut(start: Host, tmp_path: Path, action: Callable[[Host], object]) -> list[tuple[int, Host]]:
    """Return one host for each step of C(action), killed at that step."""
    hosts: list[tuple[int, Host]] = []
    for step in range(1, PLENTY):
        host = start.copy(tmp_path / f"cut{step}")
        if not killed_at(step, host, lambda host=host: action(host)):  # type: ignore[misc]
            return hosts
        host.tick = lambda _name: None
        hosts.append((step, host))
    raise AssertionError("the run has more steps than a run can have")


def attempt(host: Host, asked: SetSpec) -> str:
    """Run a set that fails; return why."""
    with pytest.raises(FileSetError) as caught:
        host.apply(asked)
    return str(caught.value)


def test_killed_at_every_step_it_is_old_or_new_and_the_next_run_is_new(start: Host, tmp_path: Path) -> None:
    old, new = start.shots(), finished(start, wanted(), tmp_path / "done")
    seen = set()
    cuts = every_cut(start, tmp_path, lambda host: host.apply(wanted()))
    assert len(cuts) > 60
    for step, host in cuts:
        # What a run does before anything else.
        pending = host.file_set(wanted()).recover()
        tree = host.shots()
        assert tree in (old, new), f"a mix after a cut at step {step}"
        seen.add(tree == new)
        units = host.units()
        if tree == old:
            assert pending is None
            assert units["old.service"]["active"] == "active"
            assert units["old.service"]["enabled"] == "enabled"
            assert units["main.service"]["active"] == "active"
            assert units["main.service"]["loaded"] == "old\n"
        result = host.apply(wanted())
        assert host.shots() == new, step
        assert host.units()["main.service"]["loaded"] == "new\n", f"never told of the new files after a cut at {step}"
        assert host.units()["old.service"]["active"] == "inactive", step
        assert host.litter() == [], step
        assert result["changed"] or pending is None, "a change that was not brought to life counts as one"
        assert not host.apply(wanted())["changed"], step
    assert seen == {True, False}


def test_killed_at_every_step_of_putting_back_it_ends_old(start: Host, tmp_path: Path) -> None:
    failing = wanted(probe="bad")
    old, new = start.shots(), finished(start, wanted(), tmp_path / "done")
    cuts = every_cut(start, tmp_path, lambda host: attempt(host, failing))
    assert len(cuts) > 90
    for step, host in cuts:
        pending = host.file_set(failing).recover()
        assert host.shots() in (old, new), f"a mix after a cut at step {step}"
        assert (pending is not None) or host.shots() == old, step
        assert "put back" in attempt(host, failing)
        assert host.shots() == old, step
        assert host.litter() == [], step
        units = host.units()
        assert (units["main.service"]["loaded"], units["main.service"]["active"]) == ("old\n", "active"), step
        assert (units["old.service"]["active"], units["old.service"]["enabled"]) == ("active", "enabled"), step


def test_a_later_set_that_fails_returns_to_the_last_one_that_worked(start: Host, tmp_path: Path) -> None:
    """A is proven, B is installed but was never brought to life, C fails: A comes back, not B."""
    old = start.shots()
    met = 0
    for step, host in every_cut(start, tmp_path, lambda host: host.apply(wanted("B\n"))):
        if not host.exists(f"{STATE}/demo/journal-pending.json"):
            continue
        met += 1
        assert "put back" in attempt(host, wanted("C\n", probe="bad"))
        assert host.shots() == old, step
        assert host.units()["main.service"]["loaded"] == "old\n", step
        twin = host.copy(tmp_path / f"twin{step}")
        assert twin.apply(wanted("C\n"))["changed"]
    assert met > 3


def test_killed_twice_it_is_one_of_the_sets_and_the_next_run_is_new(start: Host, tmp_path: Path) -> None:
    """B is installed but was never brought to life; the run that brings C is killed too, at every step."""
    trees = [start.shots(), *(finished(start, wanted(text), tmp_path / text.strip()) for text in ("B\n", "C\n"))]
    first = every_cut(start, tmp_path, lambda host: host.apply(wanted("B\n")))
    pending = next(host for _step, host in first if host.exists(f"{STATE}/demo/journal-pending.json"))
    (tmp_path / "twice").mkdir()
    both = 0
    for step, host in every_cut(pending, tmp_path / "twice", lambda host: host.apply(wanted("C\n"))):
        journals = [path for path in host.shots(state=True) if "/demo/journal-" in path and path.endswith(".json")]
        both += len(journals) == 2
        host.file_set(wanted("C\n")).recover()
        assert host.shots() in trees, f"a mix after a cut at step {step}"
        twin = host.copy(tmp_path / f"twin{step}")
        assert host.apply(wanted("C\n"))["changed"] or host.shots() == trees[2]
        assert host.shots() == trees[2], step
        assert host.units()["main.service"]["loaded"] == "C\n", step
        assert host.litter() == [], step
        assert "put back" in attempt(twin, wanted("D\n", probe="bad"))
        assert twin.shots() in (trees[0], trees[2]), "what comes back is a set that was proven"
        assert twin.units()["main.service"]["loaded"] == twin.read("/etc/app/a.conf"), step
    assert both > 0, "the moment with two journals was met"


def test_killed_at_every_step_of_a_removal_the_next_run_ends_it(start: Host, tmp_path: Path) -> None:
    start.apply(wanted())
    gone = replace(wanted(), absent=True)
    gone = replace(gone, files=tuple(replace(entry, content=None) for entry in gone.files))
    host = start.copy(tmp_path / "done")
    host.apply(gone)
    end = host.shots(state=True)
    for step, cut in every_cut(start, tmp_path, lambda host: host.apply(gone)):
        back = cut.copy(tmp_path / f"back{step}")
        cut.apply(gone)
        assert cut.shots(state=True) == end, step
        assert not cut.apply(gone)["changed"], step
        back.apply(wanted())
        assert back.units()["main.service"]["loaded"] == "new\n", step


def test_a_pending_activation_is_predicted_in_check_mode_and_healed_by_the_run(start: Host, tmp_path: Path) -> None:
    for _step, host in every_cut(start, tmp_path, lambda host: host.apply(wanted())):
        if host.units()["main.service"]["loaded"] == "old\n" and host.exists(f"{STATE}/demo/journal-pending.json"):
            before = host.shots(state=True)
            assert host.apply(wanted(), check=True)["changed"]
            assert host.shots(state=True) == before


@pytest.mark.parametrize("lasting", [False, True])
def test_a_full_disk_at_every_step_leaves_old_or_new(start: Host, tmp_path: Path, lasting: bool) -> None:
    old, new = start.shots(), finished(start, wanted(), tmp_path / "done")
    failures = 0
    for step in range(1, PLENTY):
        host = start.copy(tmp_path / f"full{step}")
        count = 0

        def fill(name: str, step: int = step, host: Host = host) -> None:
            nonlocal count
            count += 1
            # Only what needs room fails: removing and renaming work on a full disk.
            needs_room = name.startswith(("create ", "mkdir "))
            if needs_room and (count == step or (lasting and count > step)):
                raise OSError(errno.ENOSPC, "No space left on device", str(host.root / name.split(" /")[1]))

        host.tick = fill
        message = ""
        try:
            host.apply(wanted())
        except FileSetError as error:
            message = str(error)
        host.tick = lambda _name: None
        if not message and count < step:
            break
        if not message:
            continue
        failures += 1
        assert "the disk is full at /" in message
        assert "MiB" in message
        assert str(host.root) not in message
        if "NOT be put back" in message:
            assert lasting, "one full moment is no reason to give up"
            assert f"{STATE}/demo/backup-" in message
            host.file_set(wanted()).recover()
        assert host.shots() in (old, new), step
        host.apply(wanted())
        assert host.shots() == new
        assert host.litter() == []
    assert failures > 15


def test_a_disk_that_is_really_full_leaves_the_old_set(tmp_path: Path) -> None:
    """On a file system of 256 KiB where this process may mount one; else under a limit on file sizes."""
    base = tmp_path / "small"
    base.mkdir()
    mounted = (
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", base], capture_output=True).returncode == 0
    )
    try:
        host = Host.fresh(base / "host")
        host.write("/etc/a", "old\n")
        before = host.shots()
        asked = wish(("/etc/a", "new\n"), ("/etc/big", os.urandom(400_000)))
        if mounted:
            with pytest.raises(
                FileSetError, match=r"the disk is full at /etc/\.big\S* .* MiB and .* inodes free\): free some space"
            ):
                host.apply(asked)
        else:
            child = os.fork()
            if child == 0:
                import resource

                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
                try:
                    host.apply(asked)
                except FileSetError:
                    os._exit(4)
                os._exit(0)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 4
        assert host.shots() == before
        assert host.litter() == []
        assert host.apply(wish(("/etc/a", "new\n")))["changed"], "and there is room to go on"
    finally:
        if mounted:
            subprocess.run(["umount", base], check=True)


def test_killed_at_random_moments_while_two_sets_take_turns(start: Host) -> None:
    dice = random.Random(20260101)
    trees = {}
    for text in ("one\n", "two\n"):
        start.apply(wanted(text))
        trees[text] = start.shots()
    for turn in range(25):
        text = ("one\n", "two\n")[turn % 2]
        child = os.fork()
        if child == 0:
            os.setsid()
            start.apply(wanted(text))
            os._exit(0)
        time.sleep(dice.uniform(0.0, 0.03))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        start.file_set(wanted(text)).recover()
        assert start.shots() in trees.values(), f"a mix in turn {turn}"
    start.apply(wanted("one\n"))
    assert start.shots() == trees["one\n"]
    assert start.units()["main.service"]["loaded"] == "one\n"


def test_a_damaged_journal_is_explained_and_nothing_is_touched(start: Host, tmp_path: Path) -> None:
    cuts = every_cut(start, tmp_path, lambda host: host.apply(wanted()))
    host = next(host for _step, host in cuts if host.exists(f"{STATE}/demo/journal-installing.json"))
    host.write(f"{STATE}/demo/journal-installing.json", "{")
    before = host.shots(state=True)
    assert "compare the files with" in attempt(host, wanted())
    assert host.shots(state=True) == before
