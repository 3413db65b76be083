# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages of the Docker engine: from which repository, in which version, held or not.

Private to the collection. A plan is made first (`Plan`), from what dpkg and apt say, then carried out. The engine of
one repository is replaced by that of another only while no container runs, because no container lives through it.
"""

from __future__ import annotations

import fnmatch
import os
import subprocess
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Set
from urllib.parse import urlsplit

from ansible_collections.sapflux.hosting.plugins.module_utils._docker_daemon import DockerError, run, write_atomic
from ansible_collections.sapflux.hosting.plugins.module_utils._openpgp import KeyFileError, fingerprints, is_armoured

Run = Callable[[List[str]], "subprocess.CompletedProcess[str]"]

NAME = "sapflux-docker"
APT = ["apt-get", "--quiet=2", "--yes", "-o", "DPkg::Lock::Timeout=300", "-o", "Dpkg::Options::=--force-confold"]
KEY_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Spec:
    """What is wanted. `url` is empty for the distribution's own packages.

    `names` are all packages, `versioned` those that `version` (a pattern) is about, `held` those that only change when
    this says so, `conflicts` those that have to go. `upgrade` brings them to the newest version of the source.
    """

    names: List[str]
    versioned: List[str]
    held: List[str]
    conflicts: List[str]
    version: str = ""
    hold: bool = True
    upgrade: bool = False
    url: str = ""
    fingerprint: str = ""

    @staticmethod
    def parse(params: Dict[str, Any]) -> Spec:
        """From the module's option. Raises DockerError for a repository without a whole fingerprint."""
        fingerprint = "".join(str(params["fingerprint"] or "").split()).upper()
        if params["url"] and (len(fingerprint) != 40 or set(fingerprint) - set("0123456789ABCDEF")):
            raise DockerError("the fingerprint of the repository's key is not 40 hexadecimal digits; write all of it")
        values = {**params, "fingerprint": fingerprint, "url": str(params["url"] or "").rstrip("/")}
        return Spec(**{key: value for key, value in values.items() if value is not None})


@dataclass
class Plan:
    """What is to be done; empty when all is as wanted."""

    files: Dict[str, Optional[str]] = field(default_factory=dict)
    install: List[str] = field(default_factory=list)
    remove: List[str] = field(default_factory=list)
    hold: List[str] = field(default_factory=list)
    unhold: List[str] = field(default_factory=list)
    key: bool = False

    def __bool__(self) -> bool:
        return bool(self.files or self.install or self.remove or self.hold or self.unhold or self.key)

    def lines(self) -> List[str]:
        """For the diff, one thing a line."""
        verbs = (("install", self.install), ("remove", self.remove), ("hold", self.hold), ("unhold", self.unhold))
        found = [f"{verb} {name}" for verb, names in verbs for name in names]
        found += [f"{'remove' if text is None else 'write'} {path}" for path, text in sorted(self.files.items())]
        return [*found, *(["fetch the repository's key"] if self.key else [])]


def fetch(url: str) -> bytes:
    """The content behind a URL, at most a megabyte. Raises DockerError."""
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310 - the URL is the operator's
            return bytes(answer.read(KEY_BYTES))
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise DockerError(f"the key {url} cannot be fetched: {error}") from error


class Packages:
    """The packages of this host. `command`, `get` and `root` are seams for tests."""

    def __init__(
        self, spec: Spec, command: Run = run, get: Callable[[str], bytes] = fetch, root: Path = Path("/")
    ) -> None:
        self.spec = spec
        self._run = command
        self._fetch = get
        self._root = root
        self.installed: Dict[str, str] = {}

    def _at(self, path: str) -> Path:
        return self._root / path.lstrip("/")

    @property
    def _source(self) -> str:
        return f"/etc/apt/sources.list.d/{NAME}.sources"

    @property
    def _pins(self) -> str:
        return f"/etc/apt/preferences.d/60-{NAME}"

    def _keyring(self) -> Optional[str]:
        """The key that is here, if it is the right one."""
        for suffix in ("asc", "gpg"):
            path = f"/etc/apt/keyrings/{NAME}.{suffix}"
            try:
                if fingerprints(self._at(path).read_bytes()) == [self.spec.fingerprint]:
                    return path
            except (OSError, KeyFileError):
                continue
        return None

    def _query(self) -> None:
        names = sorted({*self.spec.names, *self.spec.conflicts})
        shown = self._run(
            ["dpkg-query", "--show", "--showformat=${Package}\t${db:Status-Abbrev}\t${Version}\n", *names]
        )
        rows = [line.split("\t") for line in shown.stdout.splitlines()]
        self.installed = {row[0]: row[2] for row in rows if len(row) == 3 and row[1][1:2] == "i"}

    def _codename(self) -> str:
        for line in self._at("/etc/os-release").read_text(encoding="utf-8").splitlines():
            if line.startswith("VERSION_CODENAME="):
                return line.split("=", 1)[1].strip('"')
        raise DockerError("/etc/os-release names no VERSION_CODENAME, so the repository's suite is not known")

    def _files(self, keyring: str) -> Dict[str, Optional[str]]:
        """The wanted content of apt's files; None where there shall be none."""
        managed = "# Managed by the role sapflux.hosting.docker: changes here are lost.\n"
        source = None
        pins: List[str] = []
        if self.spec.url:
            source = (
                f"{managed}Types: deb\nURIs: {self.spec.url}\nSuites: {self._codename()}\nComponents: stable\n"
                f"Signed-By: {keyring}\n"
            )
            # The repository gives what is listed and nothing else, so that it cannot replace a package of the system.
            site = urlsplit(self.spec.url).hostname or ""
            pins.append(f'Package: *\nPin: origin "{site}"\nPin-Priority: -1\n')
            pins.append(f'Package: {" ".join(self.spec.names)}\nPin: origin "{site}"\nPin-Priority: 600\n')
        if self.spec.version:
            versioned = " ".join(self.spec.versioned)
            pins.append(f"Package: {versioned}\nPin: version {self.spec.version}\nPin-Priority: 1001\n")
        return {self._source: source, self._pins: managed + "\n".join(pins) if pins else None}

    def plan(self) -> Plan:
        """Compare; reads only."""
        self._query()
        keyring = self._keyring()
        wanted = self._files(keyring or f"/etc/apt/keyrings/{NAME}.asc")
        plan = Plan(key=bool(self.spec.url) and keyring is None)
        for path, text in wanted.items():
            here = self._at(path).read_text(encoding="utf-8") if self._at(path).exists() else None
            if here != text:
                plan.files[path] = text
        old = self._old() if self.spec.upgrade else set()
        plan.install = [
            name for name in self.spec.names if name not in self.installed or name in old or self._wrong_version(name)
        ]
        plan.remove = [name for name in self.spec.conflicts if name in self.installed]
        held = set(self._run(["apt-mark", "showhold", *self.spec.names]).stdout.split())
        if self.spec.hold:
            plan.hold = [name for name in self.spec.held if name not in held]
        else:
            plan.unhold = [name for name in self.spec.held if name in held]
        return plan

    def _old(self) -> Set[str]:
        """The installed packages of which apt knows a newer version."""
        found: Set[str] = set()
        name = ""
        for line in self._run(["env", "LC_ALL=C.UTF-8", "apt-cache", "policy", *self.spec.names]).stdout.splitlines():
            if line and not line.startswith(" "):
                name = line.rstrip(":")
            elif line.startswith("  Candidate:"):
                candidate = line.split(":", 1)[1].strip()
                if candidate not in (self.installed.get(name, candidate), "(none)"):
                    found.add(name)
        return found

    def refresh(self) -> None:
        """Read the package lists anew. Raises DockerError."""
        self._must([*APT, "update"], "apt cannot read the package lists")

    def _wrong_version(self, name: str) -> bool:
        if not self.spec.version or name not in self.spec.versioned:
            return False
        return not fnmatch.fnmatchcase(self.installed[name], self.spec.version)

    def refuse(self, plan: Plan, running: Sequence[str]) -> None:
        """Raise DockerError when carrying out the plan would stop containers; `running` are their names."""
        if plan.remove and running:
            raise DockerError(
                f"{len(running)} container(s) run ({', '.join(sorted(running)[:5])}), and none lives through the "
                f"replacement of {', '.join(plan.remove)} by {', '.join(plan.install) or 'another engine'}; stop them "
                "with `docker stop $(docker ps --quiet)` and run this again (they start with the new engine), or set "
                "docker_source back"
            )

    def prepare(self, plan: Plan) -> None:
        """Do all that can fail while the old engine still runs: key, source, lists, download. Raises DockerError."""
        if plan.key:
            self._install_key()
            # The key may be of the other kind, and then the source names another file.
            keyring = self._keyring()
            plan.files.update({self._source: self._files(str(keyring))[self._source]})
        for path, text in plan.files.items():
            if text is None:
                self._at(path).unlink()
            else:
                write_atomic(self._at(path), text)
        if plan.install or plan.remove:
            self.refresh()
            self._must([*self._install(plan), "--download-only"], "the packages cannot be fetched")

    @staticmethod
    def _install(plan: Plan) -> List[str]:
        argv = [*APT, "--no-install-recommends", "--allow-downgrades", "--allow-change-held-packages", "install"]
        return [*argv, *plan.install, *(f"{name}-" for name in plan.remove)]

    def apply(self, plan: Plan) -> None:
        """Carry a prepared plan out. Raises DockerError in apt's words."""
        held = [name for name in [*plan.install, *plan.remove] if name in self.installed]
        if held:
            self._must(["apt-mark", "unhold", *held], "cannot be released")
        if plan.install or plan.remove:
            self._must(self._install(plan), "the packages cannot be installed")
            self._query()
            wrong = [name for name in self.spec.names if name not in self.installed or self._wrong_version(name)]
            if wrong:
                raise DockerError(
                    f"apt did not install {', '.join(wrong)} as wanted; see `apt-cache policy {wrong[0]}`"
                )
        if self.spec.hold and (plan.hold or held):
            self._must(["apt-mark", "hold", *self.spec.held], "the packages cannot be held")
        if plan.unhold:
            self._must(["apt-mark", "unhold", *plan.unhold], "the packages cannot be released")

    def _install_key(self) -> None:
        url = f"{self.spec.url}/gpg"
        data = self._fetch(url)
        try:
            found = fingerprints(data)
        except KeyFileError as error:
            raise DockerError(f"{url} is no key of a repository: {error}; look at docker_repository_url") from error
        if found != [self.spec.fingerprint]:
            raise DockerError(
                f"the key at {url} has the fingerprint {', '.join(found)}, not {self.spec.fingerprint}; find out why "
                "from the repository's own pages before you change docker_repository_fingerprint"
            )
        directory = self._at("/etc/apt/keyrings")
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        path = directory / f"{NAME}.{'asc' if is_armoured(data) else 'gpg'}"
        staged = path.with_suffix(".new")
        staged.write_bytes(data)
        staged.chmod(0o644)
        os.rename(staged, path)

    def _must(self, argv: List[str], what: str) -> None:
        done = self._run(["env", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8", "NEEDRESTART_MODE=l", *argv])
        if done.returncode != 0:
            lines = (done.stderr.strip() or done.stdout.strip() or "no reason given").splitlines()
            raise DockerError(f"{what}: {lines[-1]}")
