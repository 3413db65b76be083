# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The administrator's account, keys and sudo rule, time zone and locale: what a host needs that is not a plain file.

Private to the collection. Every step plans first and returns what it would do, so that check mode is the same code.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import grp
import os
import pwd
import re
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, List, Optional, Tuple

from ansible_collections.sapflux.hosting.plugins.module_utils._ssh_keys import KEY_TYPES

Run = Callable[[List[str]], "subprocess.CompletedProcess[str]"]

BEGIN = "# BEGIN sapflux.hosting"
END = "# END sapflux.hosting"
SUDOERS = "90-sapflux"
NO_SHELLS = ("/usr/sbin/nologin", "/sbin/nologin", "/bin/false", "/usr/bin/false")
_USER = re.compile(r"^[a-z_][a-z0-9_-]{0,31}$")
_ZONE = re.compile(r"^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$")
_LOCALE = re.compile(r"^[A-Za-z0-9_.@-]+$")


class SetupError(Exception):
    """One sentence that names what is wrong and the way out."""


@dataclass(frozen=True)
class Account:
    """What the host knows about a user."""

    name: str
    uid: int
    gid: int
    home: Path
    shell: str


@dataclass
class Change:
    """One change: a clause for people, the action, and the texts before and after (for a diff)."""

    summary: str
    act: Callable[[], None]
    path: str = ""
    before: str = ""
    after: str = ""


def run(argv: List[str]) -> "subprocess.CompletedProcess[str]":
    """Run a command; a missing program gives exit code 127 instead of an exception."""
    try:
        return subprocess.run(argv, capture_output=True, text=True, check=False, errors="replace")
    except FileNotFoundError as error:
        return subprocess.CompletedProcess(argv, 127, "", str(error))


def check_user(name: str) -> None:
    """Refuse names that cannot be the administrator. Raises SetupError."""
    if name == "root":
        raise SetupError("the administrator cannot be root, for root may not log in; choose another name, such as ops")
    if not _USER.match(name):
        raise SetupError(f"{name!r} is no user name; use up to 32 lower case letters, digits, - and _")


def key_blob(line: str) -> Optional[Tuple[str, str]]:
    """Return type and base64 body of an authorized_keys line (options in front allowed), None where it is no key."""
    words = line.split()
    for index, word in enumerate(words[:-1]):
        if word in KEY_TYPES:
            body = words[index + 1]
            try:
                raw = base64.b64decode(body, validate=True)
            except (binascii.Error, ValueError):
                return None
            length = int.from_bytes(raw[:4], "big")
            return (word, body) if raw[4 : 4 + length].decode("ascii", "replace") == word else None
    return None


def check_keys(keys: List[str]) -> None:
    """Refuse an empty list and lines that are no keys. Raises SetupError."""
    if not keys:
        raise SetupError("there is no authorized key, so nobody could log in; give at least one public key")
    for index, line in enumerate(keys):
        if "\n" in line.strip() or key_blob(line) is None:
            shown = " ".join(line.split())[:40]
            raise SetupError(
                f"authorized key {index + 1} ({shown!r}) is no public key; give the one line of a .pub file"
            )


def merge_keys(text: str, keys: List[str], exclusive: bool) -> str:
    """Return the content of authorized_keys with our block holding exactly `keys`.

    Other lines stay, unless they hold the same key (it moves into the block, so that dropping it later revokes it) or
    `exclusive` is set.
    """
    ours = {key_blob(key) for key in keys}
    others: List[str] = []
    inside = False
    for line in text.splitlines():
        if line.strip() in (BEGIN, END):
            inside = line.strip() == BEGIN
        elif not inside and (line.lstrip().startswith("#") or key_blob(line) not in ours):
            others.append(line)
    kept = [] if exclusive else others
    block = [BEGIN, *dict.fromkeys(key.strip() for key in keys), END]
    return "\n".join([*kept, *block]) + "\n"


class Host:
    """A host whose files lie under `root`. `run` and `root` are seams for tests."""

    def __init__(self, root: Path = Path("/"), run: Run = run) -> None:
        self.root = root
        self.run = run

    def at(self, path: str) -> Path:
        """Return where an absolute path of the host lies."""
        return self.root / path.lstrip("/")

    def account(self, name: str) -> Optional[Account]:
        """Look a user up, None where there is none."""
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            return None
        return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, Path(entry.pw_dir), entry.pw_shell)

    def must(self, argv: List[str], what: str) -> None:
        """Run a command that has to succeed. Raises SetupError with its last line."""
        done = self.run(argv)
        if done.returncode != 0:
            lines = (done.stderr.strip() or done.stdout.strip() or "no reason given").splitlines()
            raise SetupError(f"{what} failed: {lines[-1]}")

    # --- the account

    def plan_account(self, name: str, shell: str) -> List[Change]:
        """Plan the account: made where it is missing, given a shell where it has none."""
        account = self.account(name)
        if account is None:
            # "*" lets nobody in by password and, unlike a locked account, keeps key logins going without PAM.
            argv = ["useradd", "--create-home", "--shell", shell, "--password", "*", *_primary_group(name), name]
            return [Change(f"made the user {name}", lambda: self.must(argv, f"making the user {name}"))]
        if account.shell in NO_SHELLS:
            argv = ["usermod", "--shell", shell, name]
            summary = f"gave {name} the shell {shell}"
            return [Change(summary, lambda: self.must(argv, f"giving {name} a shell"))]
        return []

    # --- its keys

    def plan_keys(self, name: str, keys: List[str], exclusive: bool) -> List[Change]:
        """Plan ~/.ssh/authorized_keys: our block, and owner and modes that sshd accepts."""
        account = self.account(name)
        if account is None:
            wanted = merge_keys("", keys, exclusive)
            future = f"~{name}/.ssh/authorized_keys"
            return [Change(f"installed {len(keys)} keys of {name}", lambda: None, future, "", wanted)]
        home = self.at(str(account.home))
        changes: List[Change] = []
        if _mode(home) & 0o022:
            # sshd ignores the keys of a home that others can write to.
            mode = _mode(home) & ~0o022
            changes.append(Change(f"took write access to {account.home} from others", lambda: home.chmod(mode)))
        path = home / ".ssh" / "authorized_keys"
        for part in (path.parent, path):
            if part.is_symlink():
                raise SetupError(f"{part} is a symbolic link; replace it by the real thing, then run this again")
        if path.parent.exists() and not path.parent.is_dir():
            raise SetupError(f"{path.parent} is no directory; remove it, then run this again")
        before = path.read_text(encoding="utf-8", errors="surrogateescape") if path.exists() else ""
        after = merge_keys(before, keys, exclusive)
        good = (account.uid, account.gid)
        drifted = _differs(path, good, 0o600) or _differs(path.parent, good, 0o700)
        if before != after or drifted:
            summary = f"installed {len(keys)} keys of {name}" if before != after else f"mended the modes of {path}"
            act = _Keys(path, after, account)
            changes.append(Change(summary, act, str(path), before, after))
        return changes

    # --- sudo

    def plan_sudo(self, name: str) -> List[Change]:
        """Plan the rule that lets the administrator become root; visudo judges it before it is installed."""
        path = self.at(f"/etc/sudoers.d/{SUDOERS}")
        wanted = f"# Made by sapflux.hosting\n{name} ALL=(ALL:ALL) NOPASSWD: ALL\n"
        before = path.read_text(encoding="utf-8") if path.is_file() else ""
        if before == wanted and not path.is_symlink() and not _differs(path, (os.getuid(), os.getgid()), 0o440):
            return []
        summary = f"let {name} use sudo without a password"
        return [Change(summary, lambda: self._install_sudo(path, wanted), str(path), before, wanted)]

    def _install_sudo(self, path: Path, text: str) -> None:
        if not path.parent.is_dir():
            raise SetupError("sudo is not installed on this host; install Debian's package sudo first")
        # sudo ignores files whose names hold a dot, so the staged file never counts.
        staged = write_beside(path, text, 0o440)
        try:
            self.must(["visudo", "--check", "--quiet", f"--file={staged}"], "checking the sudo rule")
            staged.rename(path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                staged.unlink()

    # --- root

    def plan_root_lock(self) -> List[Change]:
        """Plan that root has no password. There must be another way to become root, which is the caller's to know."""
        lines = self.at("/etc/shadow").read_text(encoding="utf-8").splitlines()
        secrets = [line.split(":")[1] for line in lines if line.startswith("root:")]
        # "!" and "*" start what no password can match; an empty field would be a password that everybody knows.
        if all(secret.startswith(("!", "*")) for secret in secrets):
            return []
        argv = ["usermod", "--lock", "root"]
        return [Change("locked root's password", lambda: self.must(argv, "locking root's password"))]

    # --- time zone and locale

    def plan_timezone(self, zone: str) -> List[Change]:
        """Plan /etc/localtime (and /etc/timezone where the host has one)."""
        if not _ZONE.match(zone):
            raise SetupError(f"{zone!r} is no time zone; write one such as UTC or Europe/Zurich")
        source = f"/usr/share/zoneinfo/{zone}"
        if not self.at(source).is_file():
            raise SetupError(f"this host has no time zone {zone!r}; `timedatectl list-timezones` shows those it has")
        changes: List[Change] = []
        link = self.at("/etc/localtime")
        before = os.readlink(link) if link.is_symlink() else ""
        if _zone(before) != zone:
            act = _Link(link, source)
            changes.append(Change(f"set the time zone to {zone}", act, "/etc/localtime", f"{before}\n", f"{source}\n"))
        name = self.at("/etc/timezone")
        if name.is_file() and name.read_text(encoding="utf-8").strip() != zone:
            text = f"{zone}\n"
            changes.append(Change(f"wrote {zone} to /etc/timezone", lambda: _replace(name, text, 0o644)))
        return changes

    def plan_locale(self, locale: str) -> List[Change]:
        """Plan LANG in /etc/locale.conf, where both systemd and PAM look it up; other lines of it stay."""
        if not _LOCALE.match(locale):
            raise SetupError(f"{locale!r} is no locale; write one such as C.UTF-8 or de_CH.UTF-8")
        path = self.at("/etc/locale.conf")
        before = path.read_text(encoding="utf-8") if path.is_file() else ""
        kept = [line for line in before.splitlines() if not line.startswith("LANG=")]
        after = "\n".join([f"LANG={locale}", *kept]) + "\n"
        if sorted(before.splitlines()) == sorted(after.splitlines()):
            return []
        if not self._has_locale(locale):
            raise SetupError(
                f"this host has no locale {locale!r}; install Debian's package locales-all, or take C.UTF-8, "
                "which every host has"
            )
        return [Change(f"set the locale to {locale}", lambda: _replace(path, after, 0o644), str(path), before, after)]

    def _has_locale(self, locale: str) -> bool:
        def plain(name: str) -> str:
            return name.lower().replace("-", "")

        return plain(locale) in {"c", "posix", *(plain(line) for line in self.run(["locale", "-a"]).stdout.split())}


@dataclass
class _Keys:
    """Writes authorized_keys and the directory above it, owned by the user."""

    path: Path
    text: str
    account: Account

    def __call__(self) -> None:
        directory = self.path.parent
        directory.mkdir(mode=0o700, exist_ok=True)
        os.chown(directory, self.account.uid, self.account.gid)
        directory.chmod(0o700)
        staged = write_beside(self.path, self.text, 0o600)
        os.chown(staged, self.account.uid, self.account.gid)
        staged.rename(self.path)


@dataclass
class _Link:
    """Replaces a symbolic link in one step."""

    path: Path
    target: str

    def __call__(self) -> None:
        staged = self.path.with_name(f".{self.path.name}.sapflux")
        with contextlib.suppress(FileNotFoundError):
            staged.unlink()
        staged.symlink_to(self.target)
        staged.rename(self.path)


def _primary_group(name: str) -> List[str]:
    """Return the useradd options for the user's own group, which may be there already."""
    try:
        grp.getgrnam(name)
    except KeyError:
        return ["--user-group"]
    return ["--gid", name]


def _zone(target: str) -> str:
    """Return the zone a localtime link points at; "" for anything else."""
    _head, found, zone = target.partition("zoneinfo/")
    return zone if found else ""


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _differs(path: Path, owner: Tuple[int, int], mode: int) -> bool:
    """Tell whether a path is missing or has another owner or mode."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return True
    return (found.st_uid, found.st_gid) != owner or stat.S_IMODE(found.st_mode) != mode


def write_beside(path: Path, text: str, mode: int) -> Path:
    """Write a temporary file next to `path`, synced and with the right mode; return where it is."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape") as stream:
        stream.write(text)
        stream.flush()
        os.fchmod(stream.fileno(), mode)
        os.fsync(stream.fileno())
    return Path(name)


def _replace(path: Path, text: str, mode: int) -> None:
    write_beside(path, text, mode).rename(path)
