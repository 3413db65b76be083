# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A package from its vendor's own apt repository: key, source, pin, version.

Private to the collection. Standard library of Python 3.9.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import re
import stat
import tempfile
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple
from urllib.parse import urlsplit

from ansible_collections.sapflux.hosting.plugins.module_utils._programs import Ran, Runner, run

PREFIX = "sapflux-"
MAX_KEY = 1 << 20
#: dpkg asks nothing, keeps settings that were changed, and waits for another apt to end.
APT = ["apt-get", "--yes", "--quiet", "--option=DPkg::Lock::Timeout=300", "--no-install-recommends"]
APT += ["--option=Acquire::Retries=3"]
APT += ["--option=Dpkg::Options::=--force-confdef", "--option=Dpkg::Options::=--force-confold"]
DAY = 86400
_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+\Z")
_VERSION = re.compile(r"[0-9][A-Za-z0-9.+~:-]*\Z")


class VendorError(Exception):
    """One sentence that names what is wrong and the way out."""


@dataclass(frozen=True)
class Wish:
    """A package and where it comes from, checked."""

    name: str
    uri: str
    suite: str
    components: Tuple[str, ...]
    key_url: str
    key_sha256: str
    version: str = ""
    timeout: float = 600

    @property
    def host(self) -> str:
        """The server's name, as apt's pins know it."""
        return urlsplit(self.uri).hostname or ""


def parse_wish(params: Mapping[str, Any]) -> Wish:
    """Check a module's arguments. Raises VendorError, before anything was asked."""
    wish = Wish(
        name=params["name"],
        uri=(params.get("uri") or "").rstrip("/"),
        suite=params.get("suite") or "",
        components=tuple(params.get("components") or ()),
        key_url=params.get("key_url") or "",
        key_sha256=(params.get("key_sha256") or "").lower(),
        version=params.get("version") or "",
        timeout=params.get("timeout") or 600,
    )
    if not _NAME.match(wish.name):
        raise VendorError(f"{wish.name!r} is no package name")
    if wish.version and not _VERSION.match(wish.version):
        raise VendorError(f"{wish.version!r} is no version of {wish.name}; write one such as 1.102.3, or leave it out")
    if params.get("state") == "absent":
        return wish
    for what, url in (("uri", wish.uri), ("key_url", wish.key_url)):
        parts = urlsplit(url)
        if parts.scheme not in ("https", "http") or not parts.hostname or len(url.split()) != 1:
            raise VendorError(f"the {what} {url!r} of {wish.name} is no URL; write https://<host>/<path>")
    if not re.fullmatch(r"[0-9a-f]{64}", wish.key_sha256):
        raise VendorError(
            f"key_sha256 of {wish.name} must be 64 hexadecimal digits; `sha256sum` of the key file shows them"
        )
    if not all(re.fullmatch(r"[A-Za-z0-9./_-]+", word) for word in (wish.suite, *wish.components)):
        raise VendorError(f"suite and components of {wish.name} are single words, such as trixie and main")
    return wish


def source_text(wish: Wish, keyring: str) -> str:
    """The deb822 source."""
    return (
        "# Made by sapflux.hosting\nTypes: deb\n"
        f"URIs: {wish.uri}\nSuites: {wish.suite}\nComponents: {' '.join(wish.components)}\nSigned-By: {keyring}\n"
    )


def pin_text(wish: Wish) -> str:
    """The pin: this repository has one package for us, and (with a version) that version only, whoever upgrades."""
    chosen = f"Pin: version {wish.version}\nPin-Priority: 1001" if wish.version else "Pin-Priority: 500"
    if not wish.version:
        chosen = f'Pin: origin "{wish.host}"\n{chosen}'
    return (
        "# Made by sapflux.hosting\n"
        f'Package: *\nPin: origin "{wish.host}"\nPin-Priority: -1\n\nPackage: {wish.name}\n{chosen}\n'
    )


def fetch(url: str, pauses: Sequence[float] = (0, 1, 3)) -> bytes:
    """Download a small file, in up to as many tries as there are pauses before them. Raises VendorError."""
    failure: Exception = ValueError("it was never tried")
    for pause in pauses:
        time.sleep(pause)
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - http and https only, see parse_wish
                body: bytes = answer.read(MAX_KEY + 1)
        except (OSError, http.client.HTTPException, ValueError) as error:
            failure = error
            continue
        if len(body) > MAX_KEY:
            raise VendorError(f"what {url} serves is too large to be a key")
        return body
    raise VendorError(f"the key {url} cannot be had: {failure}; see whether this host reaches it") from failure


@dataclass
class Outcome:
    """What was done, or would be. `diff` holds path, text before and text after."""

    actions: List[str] = field(default_factory=list)
    version: str = ""
    diff: List[Tuple[str, str, str]] = field(default_factory=list)


class Package:
    """The package on this host. `root`, `run`, `fetch` and `sleep` are seams for tests."""

    def __init__(
        self,
        wish: Wish,
        check: bool = False,
        root: Path = Path("/"),
        run: Runner = run,
        fetch: Callable[[str], bytes] = fetch,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.wish, self.check, self.root = wish, check, root
        self._run, self._fetch, self._sleep = run, fetch, sleep
        self.unit = f"{PREFIX}install-{re.sub('[^a-z0-9]', '-', wish.name)}.service"
        self.log = f"/run/{PREFIX}install-{wish.name}.log"
        self.keyring = f"/etc/apt/keyrings/{PREFIX}{wish.name}.gpg"
        self.source = f"/etc/apt/sources.list.d/{PREFIX}{wish.name}.sources"
        self.pin = f"/etc/apt/preferences.d/{PREFIX}{wish.name}"
        self.outcome = Outcome()

    def at(self, path: str) -> Path:
        """Where an absolute path of the host lies."""
        return self.root / path.lstrip("/")

    # --- present

    def present(self) -> Outcome:
        """Bring the package to the wish, or plan it in check mode. Raises VendorError."""
        wish, outcome = self.wish, self.outcome
        if not self.check:
            # A run that was cut off may have left apt at work.
            self._wait()
        self._refuse_doubles()
        installed = self._installed()
        fresh_key = self._plan_key()
        fresh_source = self._plan(self.source, source_text(wish, self.keyring), f"use the repository {wish.uri}")
        install = not installed or (wish.version not in ("", installed))
        if install:
            what = f"{wish.name} {wish.version}".strip()
            outcome.actions.append(
                f"replace {wish.name} {installed} by {wish.version}" if installed else f"install {what}"
            )
        if not self.check:
            if fresh_key is not None:
                self._write(self.keyring, fresh_key)
            if fresh_source:
                self._write(self.source, source_text(wish, self.keyring).encode())
            if fresh_key is not None or fresh_source or install:
                self._update(everything=not installed)
            if install and wish.version:
                self._refuse_unknown()
        # The pin last: a version that is not there must not keep the one that is from being mended.
        if self._plan(self.pin, pin_text(wish), "keep other packages of it away" + self._pinned()) and not self.check:
            self._write(self.pin, pin_text(wish).encode())
        if install and not self.check:
            self._install()
        outcome.version = installed if self.check else self._installed()
        if install and not self.check and wish.version not in ("", outcome.version):
            raise VendorError(f"{wish.name} {outcome.version} is installed instead of {wish.version}: {self._said()}")
        return outcome

    def _pinned(self) -> str:
        return f", and keep {self.wish.name} at {self.wish.version}" if self.wish.version else ""

    def _refuse_doubles(self) -> None:
        """apt refuses a repository that two sources name with different keys."""
        mine = self.at(self.source)
        for path in sorted(mine.parent.glob("*")):
            if path == mine or path.suffix not in (".list", ".sources") or not path.is_file():
                continue
            words = path.read_text(encoding="utf-8", errors="replace").split()
            if self.wish.uri in (word.rstrip("/") for word in words):
                raise VendorError(f"/etc/apt/sources.list.d/{path.name} names {self.wish.uri} as well; remove it first")

    def _plan_key(self) -> Optional[bytes]:
        """The key to install, None when the right one is there; in check mode nothing is downloaded."""
        path, wish = self.at(self.keyring), self.wish
        if path.is_file() and not path.is_symlink() and _sha256(path.read_bytes()) == wish.key_sha256 and _plain(path):
            return None
        self.outcome.actions.append(f"trust the key {wish.key_sha256[:16]} for it alone")
        if self.check:
            return None
        key = self._fetch(wish.key_url)
        if _sha256(key) != wish.key_sha256:
            raise VendorError(
                f"the key that {wish.key_url} serves has the sha256 {_sha256(key)} instead of {wish.key_sha256}, so it "
                "was not installed; find out from its vendor which is right, and change key_sha256 if it was replaced"
            )
        return key

    def _plan(self, path: str, text: str, action: str) -> bool:
        """Note that a file differs."""
        place = self.at(path)
        before = place.read_text(encoding="utf-8", errors="replace") if place.is_file() else ""
        if before == text and not place.is_symlink() and _plain(place):
            return False
        self.outcome.actions.append(action)
        self.outcome.diff.append((path, before, text))
        return True

    def _write(self, path: str, content: bytes) -> None:
        """Replace a file in one step; apt's own user has to read it."""
        place = self.at(path)
        place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".sapflux-", dir=place.parent)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fchmod(stream.fileno(), 0o644)
                os.fsync(stream.fileno())
            os.rename(name, place)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
            raise

    def _installed(self) -> str:
        """The installed version, "" for none (also when dpkg stopped half-way)."""
        done = self._run(
            ["dpkg-query", "--show", "--showformat=${db:Status-Status} ${Version}", self.wish.name], "", 30
        )
        state, _space, version = done.out.partition(" ")
        return version.strip() if done.code == 0 and state == "installed" else ""

    def _update(self, everything: bool) -> None:
        """Read the repository's list, and (before a first install, once a day) everybody else's."""
        if not everything or self._recent():
            # Only the one source is asked, and lists of others are kept.
            only = ["--option=Dir::Etc::SourceParts=/dev/null", f"--option=Dir::Etc::SourceList={self.source}"]
            only.append("--option=APT::Get::List-Cleanup=false")
        else:
            only = []
        done = self._run([*APT, "update", "--error-on=any", *only], "", self.wish.timeout)
        if done.code != 0:
            raise VendorError(
                f"apt cannot read {self.wish.uri}: {_reason(done.out + done.err)}; see whether this host reaches it"
            )

    def _recent(self) -> bool:
        try:
            lists = self.at("/var/lib/apt/lists")
            newest = max(path.stat().st_mtime for path in lists.glob("*_Packages*"))
        except ValueError:
            return False
        return time.time() - max(newest, lists.stat().st_mtime) < DAY

    def _refuse_unknown(self) -> None:
        """Refuse a version that no repository has, while nothing was replaced."""
        done = self._run(["apt-cache", "madison", self.wish.name], "", 60)
        offered = [line.split("|")[1].strip() for line in done.out.splitlines() if line.count("|") >= 2]
        if self.wish.version not in offered:
            shown = ", ".join(dict.fromkeys(offered)) or "none"
            raise VendorError(
                f"{self.wish.uri} has no {self.wish.name} {self.wish.version} (it has {shown}); name one of those"
            )

    def _install(self) -> None:
        """Let systemd run apt, so that it ends although this run may lose its connection (to what it restarts)."""
        self._run(["systemctl", "reset-failed", self.unit], "", 30)
        what = f"{self.wish.name}={self.wish.version}" if self.wish.version else self.wish.name
        apt = [*APT, "--allow-downgrades", "--allow-change-held-packages", "install", what]
        self._write(self.log, b"")
        unit = [
            "systemd-run",
            "--quiet",
            "--wait",
            f"--unit={self.unit}",
            f"--property=StandardOutput=append:{self.log}",
        ]
        unit += ["--property=StandardError=inherit", "--setenv=DEBIAN_FRONTEND=noninteractive"]
        unit += ["--setenv=NEEDRESTART_MODE=l", "--setenv=LC_ALL=C.UTF-8"]
        done = self._run([*unit, "--", *apt], "", self.wish.timeout)
        if done.code != 0:
            reason = self._said() or done.err.strip() or f"exit code {done.code}"
            raise VendorError(
                f"{what} cannot be installed: {reason}; `apt-get install {what}` on the host shows all of it"
            )

    def _said(self) -> str:
        with contextlib.suppress(OSError):
            return _reason(self.at(self.log).read_text(encoding="utf-8", errors="replace"))
        return ""

    def _wait(self) -> None:
        """Wait until no apt of an earlier run is at work."""
        deadline = time.monotonic() + self.wish.timeout
        while self._state() in ("active", "activating", "deactivating", "reloading"):
            if time.monotonic() > deadline:
                raise VendorError(
                    f"an earlier run still installs {self.wish.name}; `systemctl status {self.unit}` shows it"
                )
            self._sleep(0.5)

    def _state(self) -> str:
        return self._run(["systemctl", "show", "--property=ActiveState", "--value", self.unit], "", 30).out.strip()

    # --- absent

    def absent(self) -> Outcome:
        """Purge the package, its settings included, and forget its repository. Raises VendorError."""
        if not self.check:
            self._wait()
        known = self._run(["dpkg-query", "--show", "--showformat=${db:Status-Status}", self.wish.name], "", 30)
        if known.code == 0 and known.out.strip() not in ("", "not-installed"):
            self.outcome.actions.append(f"purge {self.wish.name}")
            if not self.check:
                done: Ran = self._run(
                    [*APT, "--allow-change-held-packages", "purge", self.wish.name], "", self.wish.timeout
                )
                if done.code != 0:
                    raise VendorError(f"{self.wish.name} cannot be removed: {_reason(done.out + done.err)}")
        for path in (self.source, self.pin, self.keyring, self.log):
            place = self.at(path)
            if not place.exists() and not place.is_symlink():
                continue
            if path != self.log:
                self.outcome.actions.append(f"remove {path}")
            if not self.check:
                place.unlink()
        return self.outcome


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _plain(path: Path) -> bool:
    """Whether a file belongs to this user and can be written by nobody else, and read by all."""
    found = path.stat()
    return found.st_uid == os.getuid() and stat.S_IMODE(found.st_mode) == 0o644


def _reason(text: str) -> str:
    """What apt says is wrong: its errors, else its last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line[2:].strip() for line in lines if line.startswith("E:")]
    return "; ".join(dict.fromkeys(errors)) or (lines[-1] if lines else "")


def as_diff(outcome: Outcome) -> List[Dict[str, str]]:
    """The files as Ansible shows differences."""
    return [
        {"before": before, "after": after, "before_header": path, "after_header": path}
        for path, before, after in outcome.diff
    ]
