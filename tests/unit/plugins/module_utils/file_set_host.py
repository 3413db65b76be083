"""A host for file_set tests: a root directory, a systemd in a file beside it, and programs that are Python functions.

Everything is on disk, so that a run killed half-way leaves a host the next run (in another process) can look at.
"""

from __future__ import annotations

import grp
import json
import os
import pwd
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.sapflux.hosting.plugins.module_utils._file_set import FileSet
from ansible_collections.sapflux.hosting.plugins.module_utils._file_set_run import Outcome
from ansible_collections.sapflux.hosting.plugins.module_utils._file_set_spec import (
    DirectorySpec,
    FileEntry,
    SetSpec,
)

ME = pwd.getpwuid(os.geteuid()).pw_name
MY_GROUP = grp.getgrgid(os.getegid()).gr_name
STATE = "/var/lib/sapflux/file_set"

Shot = tuple[str, int, int, int, bytes]
"""(kind, mode, uid, gid, content or link target) of one path."""


class Host:
    """One pretended host below C(base): C(base)/root is its file tree, C(base)/units.json its systemd."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.root = base / "root"
        self.units_file = base / "units.json"
        self.calls_file = base / "calls.jsonl"
        self.missing: set[str] = set()
        self.programs: dict[str, Callable[[Sequence[str]], Outcome]] = {}
        self.tick: Callable[[str], None] = lambda _step: None

    @classmethod
    def fresh(cls, base: Path) -> Host:
        """Make an empty host with /etc and /etc/systemd/system."""
        host = cls(base)
        (host.root / "etc/systemd/system").mkdir(parents=True)
        host.units_file.write_text("{}")
        return host

    def copy(self, base: Path) -> Host:
        """Return a twin of this host, owners and modes included."""
        _copy_tree(self.base, base)
        twin = type(self)(base)
        twin.programs, twin.missing = self.programs, self.missing
        return twin

    # --- files

    def write(self, path: str, text: str | bytes, mode: int = 0o644) -> None:
        """Put a file there, parents included."""
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text if isinstance(text, bytes) else text.encode())
        target.chmod(mode)

    def read(self, path: str) -> str:
        """Return a file's text."""
        return (self.root / path.lstrip("/")).read_text()

    def exists(self, path: str) -> bool:
        """Whether something is there."""
        return os.path.lexists(self.root / path.lstrip("/"))

    def shots(self, *, state: bool = False) -> dict[str, Shot]:
        """Return the whole tree; without file_set's own state unless C(state)."""
        found: dict[str, Shot] = {}
        for folder, directories, files in os.walk(self.root):
            for name in directories + files:
                full = Path(folder, name)
                path = "/" + str(full.relative_to(self.root))
                if not state and path.startswith("/var"):
                    continue
                info = full.lstat()
                if full.is_symlink():
                    found[path] = ("symlink", 0, 0, 0, os.fsencode(full.readlink()))
                elif full.is_dir():
                    found[path] = ("directory", info.st_mode & 0o7777, info.st_uid, info.st_gid, b"")
                else:
                    found[path] = ("file", info.st_mode & 0o7777, info.st_uid, info.st_gid, full.read_bytes())
        return found

    def traces(self) -> dict[str, tuple[int, int]]:
        """Return (inode, mtime in ns) of every path: any write at all shows."""
        traces = {}
        for folder, directories, files in os.walk(self.base):
            for name in [*directories, *files]:
                info = Path(folder, name).lstat()
                traces[f"{folder}/{name}"] = (info.st_ino, info.st_mtime_ns)
        return traces

    def litter(self) -> list[str]:
        """Return what a run may not leave behind: temporary files, journals, staging trees, backups."""
        bad = ("journal-", ".sapflux-", ".staging", "backup-", ".new")
        return [path for path in self.shots(state=True) if any(word in path.rpartition("/")[2] for word in bad)]

    # --- systemd and programs

    def units(self) -> dict[str, dict[str, Any]]:
        """Return systemd's memory."""
        loaded: dict[str, dict[str, Any]] = json.loads(self.units_file.read_text())
        return loaded

    def set_unit(self, name: str, **values: Any) -> None:
        """Change systemd's memory of a unit: config (path of what it loads), file (its unit file), active, enabled."""
        units = self.units()
        units.setdefault(name, {"config": "", "active": "inactive", "enabled": "disabled", "loaded": None, "starts": 0})
        units[name].update(values)
        temp = self.units_file.with_suffix(".new")
        temp.write_text(json.dumps(units))
        temp.replace(self.units_file)

    def calls(self) -> list[list[str]]:
        """Return every program run so far."""
        if not self.calls_file.exists():
            return []
        return [json.loads(line) for line in self.calls_file.read_text().splitlines()]

    def forget_calls(self) -> None:
        """Start the list of calls anew."""
        self.calls_file.unlink(missing_ok=True)

    def run(self, argv: Sequence[str], user: str | None, timeout: float) -> Outcome:
        """Stand in for the real runner. A call that changes something is a step a test can cut at, before and after."""
        assert timeout > 0
        assert user in (None, "daemon")
        with self.calls_file.open("a") as handle:
            handle.write(json.dumps(list(argv)) + "\n")
        if argv[0] == "systemctl":
            verb = next(word for word in argv[1:] if not word.startswith("-"))
            if verb == "show":
                names = list(argv[argv.index("--") + 1 :])
                return Outcome(0, "\n\n".join(self._show(name) for name in names) + "\n")
            self.tick(f"before {' '.join(argv)}")
            outcome = self._systemctl(verb, argv[-1])
            self.tick(f"after {' '.join(argv)}")
            return outcome
        if argv[0] == "journalctl":
            return Outcome(0, f"line of {argv[-1]}\n")
        self.tick(f"before {argv[0]}")
        if argv[0] in self.missing or argv[0] not in self.programs:
            return Outcome(127, "", f"{argv[0]} is not installed")
        outcome = self.programs[argv[0]](argv)
        self.tick(f"after {argv[0]}")
        return outcome

    def _exists(self, name: str) -> bool:
        known = self.units().get(name)
        if known and not known.get("file"):
            return True
        return self.exists(known["file"] if known else f"/etc/systemd/system/{name}")

    def _show(self, name: str) -> str:
        unit = self.units().get(name, {})
        load = "loaded" if self._exists(name) else "not-found"
        return (
            f"Id={name}\nLoadState={unit.get('load', load)}\nActiveState={unit.get('active', 'inactive')}\n"
            f"UnitFileState={unit.get('enabled', 'disabled') if load == 'loaded' else ''}\n"
            f"NeedDaemonReload={'yes' if unit.get('stale') else 'no'}\nInvocationID={unit.get('starts', 0)}"
        )

    def _systemctl(self, verb: str, name: str) -> Outcome:
        if verb == "daemon-reload":
            for known, unit in self.units().items():
                if unit.get("stale"):
                    self.set_unit(known, stale=False)
            return Outcome(0)
        if not self._exists(name):
            return Outcome(5, "", f"Unit {name} not found.")
        self.set_unit(name)
        unit = self.units()[name]
        if verb in ("enable", "disable"):
            self.set_unit(name, enabled=f"{verb}d")
        elif verb == "stop":
            self.set_unit(name, active="inactive", loaded=None)
        elif verb == "reset-failed":
            self.set_unit(name, active="inactive", limited=False)
        else:
            return self._load(name, verb, unit)
        return Outcome(0)

    def _load(self, name: str, verb: str, unit: dict[str, Any]) -> Outcome:
        text = self.read(unit["config"]) if unit["config"] and self.exists(unit["config"]) else ""
        restarts = verb in ("start", "restart") or unit["active"] != "active"
        if unit.get("limited"):
            return Outcome(1, "", f"Start request repeated too quickly for {name}.")
        if "BROKEN" in text:
            if restarts:
                self.set_unit(name, active="failed", loaded=None, limited=True)
            return Outcome(1, "", f"Job for {name} failed.")
        starts = unit["starts"] + 1 if restarts else unit["starts"]
        self.set_unit(name, active="active", loaded=text, starts=starts)
        return Outcome(0)

    # --- file_set

    def file_set(self, wish: SetSpec, **more: Any) -> FileSet:
        """Return a FileSet that sees this host and nothing else."""
        return FileSet(
            wish,
            root=str(self.root),
            runner=self.run,
            which=lambda name: name not in self.missing and (name == "systemctl" or name in self.programs),
            sleep=lambda _seconds: None,
            tick=lambda step: self.tick(step),
            **more,
        )

    def apply(self, wish: SetSpec, **how: bool) -> dict[str, Any]:
        """Run one set on this host."""
        return self.file_set(wish).apply(**how)


def _copy_tree(old: Path, new: Path) -> None:
    """Copy a tree with owners and modes (``cp -a`` without the cost of a process: tests do it a thousand times)."""
    new.mkdir()
    for item in os.scandir(old):
        place = new / item.name
        if item.is_symlink():
            place.symlink_to(Path(item.path).readlink())
        elif item.is_dir():
            _copy_tree(Path(item.path), place)
        else:
            place.write_bytes(Path(item.path).read_bytes())
            place.chmod(item.stat().st_mode & 0o7777)
            os.chown(place, item.stat().st_uid, item.stat().st_gid)
    info = old.stat()
    os.chown(new, info.st_uid, info.st_gid)
    new.chmod(info.st_mode & 0o7777)


def files(*entries: tuple[str, str | bytes | None], **more: Any) -> tuple[FileEntry, ...]:
    """Return file entries of the current user from (path, content or None for absent)."""
    return tuple(
        FileEntry(path, ME, MY_GROUP, content=text.encode() if isinstance(text, str) else text, **more)
        for path, text in entries
    )


def directory(path: str, mode: int = 0o755, *, absent: bool = False) -> DirectorySpec:
    """Return a directory of the current user."""
    return DirectorySpec(path, ME, MY_GROUP, mode, absent)


def wish(*entries: tuple[str, str | bytes | None], **more: Any) -> SetSpec:
    """Return a set named demo."""
    return SetSpec(name="demo", state_dir=STATE, files=more.pop("files", files(*entries)), **more)


def killed_at(step: int, host: Host, action: Callable[[], object]) -> bool:
    """Run C(action) in a child that kills itself (SIGKILL, no clean-up of any kind) at its C(step)th step.

    Returns False when the action ended before it came so far. A crash of another kind fails the test.
    """
    child = os.fork()
    if child == 0:
        count = 0

        def tick(_name: str) -> None:
            nonlocal count
            count += 1
            if count == step:
                os.kill(os.getpid(), signal.SIGKILL)

        host.tick = tick
        code = 0
        try:
            action()
        except Exception as error:
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
            code = 3
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0, f"the run failed by itself (exit {os.WEXITSTATUS(status)})"
    return False
