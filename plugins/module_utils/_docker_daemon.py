# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Desired state of the Docker engine: its daemon.json, whether it runs, and what it runs with.

Private to the collection. The engine reads daemon.json only when it starts, and a few keys again on SIGHUP. So three
things are compared: what is wanted, what the file says, and what the running engine was last given (`Record`). The
record is written after the engine has taken a configuration; a run that was cut off before leaves the old record, and
the next run sees that the engine still owes a reload or a restart.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

from ansible_collections.sapflux.hosting.plugins.module_utils._docker_api import SocketConnection

Config = Dict[str, Any]
Run = Callable[[List[str]], "subprocess.CompletedProcess[str]"]

# Keys that the engine takes over on SIGHUP (`dockerd` reference, "Configuration reload behavior", engine 26).
RELOADABLE = frozenset(
    {
        "allow-nondistributable-artifacts",
        "authorization-plugins",
        "debug",
        "default-runtime",
        "features",
        "insecure-registries",
        "labels",
        "live-restore",
        "max-concurrent-downloads",
        "max-concurrent-uploads",
        "max-download-attempts",
        "registry-mirrors",
        "runtimes",
        "shutdown-timeout",
    }
)
# Of these the ones whose default comes back on SIGHUP when the key is gone from the file. The others keep the value
# they had (the engine passes over what is not set), so that taking them out needs a restart.
FORGOTTEN_ON_RELOAD = frozenset(
    {
        "authorization-plugins",
        "features",
        "max-concurrent-downloads",
        "max-concurrent-uploads",
        "max-download-attempts",
    }
)


class DockerError(Exception):
    """One sentence that names what is wrong with the engine and the way out."""


def changed_keys(old: Config, new: Config) -> List[str]:
    """Return the sorted keys whose values differ, absent ones included."""
    missing = object()
    return sorted(key for key in set(old) | set(new) if old.get(key, missing) != new.get(key, missing))


def action_for(keys: List[str], wanted: Config) -> str:
    """Return `none`, `reload` or `restart` for a list of changed keys, those included that `wanted` has no more."""
    if not keys:
        return "none"
    enough = all(key in (RELOADABLE if key in wanted else FORGOTTEN_ON_RELOAD) for key in keys)
    return "reload" if enough else "restart"


def remap_refusal(applied: Optional[Config], wanted: Config, info: Optional[Config]) -> Optional[str]:
    """Return why user namespaces cannot be switched on or off now, None when nothing stands against it.

    The engine keeps what it has below another directory for each mapping, so a change hides all images, containers and
    volumes, and files of volumes would belong to other users.
    """
    before = (applied or {}).get("userns-remap")
    if info is not None:
        mapped = any("name=userns" in option for option in info.get("SecurityOptions") or [])
        before = before if bool(before) == mapped else ("default" if mapped else None)
    if before == wanted.get("userns-remap"):
        return None
    if info is None:
        return "the engine does not run, so nobody can say what it holds; start it first" if applied else None
    held = [f"{info.get(key) or 0} {key.lower()}" for key in ("Containers", "Images") if info.get(key)]
    return f"the engine holds {' and '.join(held)}, which the change would hide" if held else None


def disagreements(info: Config, wanted: Config) -> List[str]:
    """Return the wanted keys that the running engine visibly does not run with.

    `info` is the engine's answer to GET /info. Only keys that it reports one to one are compared.
    """
    reported = {
        "log-driver": info.get("LoggingDriver"),
        "live-restore": info.get("LiveRestoreEnabled"),
        "debug": info.get("Debug"),
        "data-root": info.get("DockerRootDir"),
    }
    keys = [key for key, value in reported.items() if key in wanted and value is not None and value != wanted[key]]
    registries = (info.get("RegistryConfig") or {}).get("IndexConfigs") or {}
    for name in wanted.get("insecure-registries", []):
        known = registries.get(name)
        # Networks (10.0.0.0/8) are reported elsewhere in the answer, in a form of their own.
        if "/" not in name and (known is None or known.get("Secure", True)):
            keys.append("insecure-registries")
            break
    return sorted(keys)


def engine_get(path: str, url: str, timeout: float = 10.0) -> Optional[Config]:
    """GET `url` from the engine's socket at `path`; None where it does not answer with a JSON object."""
    connection = SocketConnection(path, timeout)
    try:
        connection.request("GET", url)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            return None
        parsed = json.loads(body)
        return parsed if isinstance(parsed, dict) else None
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()


def run(argv: List[str]) -> "subprocess.CompletedProcess[str]":
    """Run a command; a missing program gives exit code 127 instead of an exception."""
    try:
        return subprocess.run(argv, capture_output=True, text=True, check=False, errors="replace")
    except FileNotFoundError as error:
        return subprocess.CompletedProcess(argv, 127, "", str(error))


def write_atomic(path: Path, text: str, mode: int = 0o644) -> None:
    """Replace a file so that a reader, or a power cut, sees the old or the new content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
        os.rename(name, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def render(config: Config) -> str:
    """Return a configuration as the text of daemon.json."""
    return json.dumps(config, indent=2, sort_keys=True) + "\n"


def parse(text: str) -> Optional[Config]:
    """Return the configuration in a text; None where it is no JSON object."""
    try:
        parsed = json.loads(text)
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) else None


class Engine:
    """The engine of this host. `run`, `get` and `sleep` are seams for tests."""

    def __init__(
        self,
        path: Path,
        record: Path,
        timeout: float,
        unit: str = "docker.service",
        sock: str = "/run/docker.sock",
        run: Run = run,
        get: Callable[[str, str], Optional[Config]] = engine_get,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.path = path
        self.record = record
        self.timeout = timeout
        self.unit = unit
        self.sock = sock
        self._run = run
        self._get = get
        self._sleep = sleep

    def text(self) -> Optional[str]:
        """Return the content of daemon.json, None where there is none."""
        try:
            return self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    def applied(self) -> Optional[Config]:
        """Return the configuration that the running engine was last given, None where nothing is known."""
        try:
            return parse(self.record.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None

    def unit_state(self) -> Tuple[bool, bool, bool]:
        """Return whether the unit is installed, active and enabled."""
        shown = self._run(["systemctl", "show", "--property=LoadState,ActiveState,UnitFileState", self.unit]).stdout
        state = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
        return (
            state.get("LoadState") == "loaded",
            state.get("ActiveState") in ("active", "reloading"),
            state.get("UnitFileState") == "enabled",
        )

    def info(self) -> Optional[Config]:
        """Ask the engine about itself once."""
        return self._get(self.sock, "/info")

    def running(self) -> List[str]:
        """Return the names of the running containers.

        With live-restore they run on without an engine; then the ids in the command lines of their shims are returned.
        """
        done = self._run(["docker", "ps", "--format", "{{.Names}}"])
        if done.returncode == 0:
            return done.stdout.split()
        shims = self._run(["pgrep", "--list-full", "--full", "containerd-shim-.* -namespace moby "]).stdout
        return [line.split(" -id ", 1)[1].split()[0][:12] for line in shims.splitlines() if " -id " in line]

    def validate(self, text: str) -> None:
        """Let dockerd judge a configuration. Raises DockerError with its own words."""
        with tempfile.TemporaryDirectory(prefix="docker-daemon-") as directory:
            staged = Path(directory) / "daemon.json"
            staged.write_text(text, encoding="utf-8")
            done = self._run(["dockerd", "--validate", "--config-file", str(staged)])
        if done.returncode != 0:
            lines = (done.stderr.strip() or done.stdout.strip() or "no reason given").splitlines()
            reason = lines[-1].replace(str(staged), str(self.path))
            raise DockerError(f"dockerd refuses this configuration, {self.path} was left as it is: {reason}")

    def activate(self, action: str, wanted: Config, early_reload: bool = False) -> Config:
        """Reload, restart or start the engine and wait until it answers; return its /info.

        `early_reload` sends SIGHUP before a restart: it switches live-restore on, so that containers live on. A signal
        is only sent, not answered, so after one the engine is asked until it shows what it was given. Raises
        DockerError with the last lines of the journal.
        """
        if action == "restart" and early_reload:
            self._run(["systemctl", "reload", self.unit])
            self._settle({"live-restore": wanted["live-restore"]})
        # systemd counts starts: after five in ten seconds it would refuse ours, too.
        if action in ("restart", "start"):
            self._run(["systemctl", "reset-failed", self.unit])
        done = self._run(["systemctl", action, self.unit])
        if done.returncode != 0:
            raise DockerError(f"the engine does not {action}: {self._journal() or done.stderr.strip()}")
        return self._settle(wanted) if action == "reload" else self.wait()

    def _settle(self, wanted: Config) -> Config:
        """Wait until the engine shows what it was given, 10 s at most; return its /info, whatever it shows then."""
        deadline = time.monotonic() + min(10.0, self.timeout)
        while True:
            info = self.wait()
            if not disagreements(info, wanted) or time.monotonic() > deadline:
                return info
            self._sleep(0.05)

    def stop(self) -> None:
        """Stop and disable the engine and the socket that would start it again. Raises DockerError."""
        done = self._run(["systemctl", "disable", "--now", "docker.socket", self.unit])
        if done.returncode != 0:
            raise DockerError(f"the engine cannot be stopped: {done.stderr.strip() or self._journal()}")

    def wait(self) -> Config:
        """Wait until the engine answers; raise DockerError when it does not within the timeout."""
        deadline = time.monotonic() + self.timeout
        while True:
            info = self.info()
            if info is not None:
                return info
            if time.monotonic() > deadline:
                raise DockerError(f"the engine did not answer within {self.timeout:g} s: {self._journal()}")
            self._sleep(0.25)

    def _journal(self) -> str:
        shown = self._run(["journalctl", "--unit", self.unit, "--lines", "8", "--no-pager", "--output", "cat"]).stdout
        return " | ".join(line.strip() for line in shown.splitlines() if line.strip())

    def install(self, text: str) -> None:
        """Write daemon.json."""
        write_atomic(self.path, text)

    def put_back(self, old: Optional[str]) -> None:
        """Restore the old daemon.json (None: there was none) and start the engine with it."""
        if old is None:
            with contextlib.suppress(FileNotFoundError):
                self.path.unlink()
        else:
            write_atomic(self.path, old)
        self.activate("restart", parse(old or "") or {})

    def remember(self, config: Config) -> None:
        """Record that the running engine has taken this configuration."""
        self.record.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomic(self.record, render(config), 0o600)

    def forget(self) -> None:
        """Remove the record."""
        with contextlib.suppress(FileNotFoundError):
            self.record.unlink()
        with contextlib.suppress(OSError):
            self.record.parent.rmdir()


def group_members(text: str, group: str) -> Optional[List[str]]:
    """Return the sorted members of a group in the text of /etc/group, None where there is no such group."""
    for line in text.splitlines():
        fields = line.split(":")
        if len(fields) == 4 and fields[0] == group:
            return sorted(member for member in fields[3].split(",") if member)
    return None
