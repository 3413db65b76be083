# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How C(file_set) runs programs, and how their output is cut short and freed of secrets before a person sees it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
HIDDEN_LINE = "(line hidden: it shows secret content)"
HIDDEN_WORD = "********"
_SHORTEST_LINE = 4
_SHORTEST_WORD = 6
_SETTING = re.compile(r"(export\s+)?[A-Za-z_][A-Za-z0-9_.-]*\s*[=:]\s*")
_WORDS = (re.compile(r"[\s\"'=,;]+"), re.compile(r"[^A-Za-z0-9_+.~-]+"))


@dataclass(frozen=True)
class Outcome:
    """How a program ended: exit code (127 not found, 124 out of time) and its output as text."""

    rc: int
    out: str = ""
    err: str = ""

    def tail(self, lines: int) -> str:
        """Return the last C(lines) lines of stdout and stderr (stderr last)."""
        both = self.out.rstrip().splitlines() + self.err.rstrip().splitlines()
        return "\n".join(both[-lines:])


Run = Callable[[Sequence[str], "str | None", float], Outcome]


def find_program(name: str) -> bool:
    """Say whether C(name) (a path or a name on the PATH) can be run."""
    return shutil.which(name, path=PATH) is not None


def environment(user: str | None) -> dict[str, str]:
    """Return the environment of a program: nothing of the caller's, so that a run behaves the same from anywhere."""
    env = {
        "PATH": PATH,
        "LC_ALL": "C.UTF-8",
        "SYSTEMD_PAGER": "",
        "SYSTEMD_COLORS": "0",
        "HOME": "/root",
        "USER": "root",
        "LOGNAME": "root",
    }
    if user is not None:
        import pwd

        env.update(HOME=pwd.getpwnam(user).pw_dir, USER=user, LOGNAME=user)
    return env


def run(argv: Sequence[str], user: str | None, timeout: float) -> Outcome:
    """Run C(argv) without a shell, as C(user) when given, for at most C(timeout) seconds.

    Output goes through unnamed files, not pipes: a daemon started by the program may keep its output open for good.
    """
    identity: dict[str, object] = {}
    if user is not None:
        import pwd

        try:
            entry = pwd.getpwnam(user)
        except KeyError:
            return Outcome(126, "", f"the user {user!r} does not exist on this host")
        identity = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": os.getgrouplist(user, entry.pw_gid)}
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        try:
            process = subprocess.Popen(  # type: ignore[call-overload]
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd="/",
                env=environment(user),
                start_new_session=True,
                **identity,
            )
        except FileNotFoundError:
            return Outcome(127, "", f"{argv[0]} is not installed")
        except PermissionError:
            return Outcome(126, "", f"{argv[0]} cannot be executed" + (f" by {user}" if user else ""))
        except OSError as error:
            return Outcome(126, "", f"{argv[0]} cannot be executed: {error.strerror}")
        note = ""
        try:
            rc = process.wait(timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            rc, note = 124, f"\nstopped: it did not end within {timeout:.0f} s"
        out.seek(0)
        err.seek(0)
        return Outcome(rc, out.read().decode("utf-8", "replace"), err.read().decode("utf-8", "replace") + note)


class Mask:
    """Takes secret file contents out of a text. Lines of a secret hide the whole line, its words are starred out."""

    def __init__(self, secrets: Iterable[bytes], spare: Iterable[str] = ()) -> None:
        lines: set[str] = set()
        words: set[str] = set()
        for data in secrets:
            for line in data.decode("utf-8", "replace").splitlines():
                text = line.strip()
                if len(text) < _SHORTEST_LINE or text.startswith("#"):
                    continue
                lines.add(text)
                # The name of a setting is no secret, and a message without it helps nobody.
                setting = _SETTING.match(text)
                text = text[setting.end() :] if setting else text
                for split in _WORDS:
                    words.update(word for word in split.split(text) if len(word) >= _SHORTEST_WORD)
        self._lines = sorted(lines, key=len, reverse=True)
        # File names of the set are printed by nearly every tool and are no secret.
        self._words = sorted(words - set(spare), key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """Return C(text) without secrets."""
        kept = []
        for line in text.splitlines():
            if any(secret in line for secret in self._lines):
                kept.append(HIDDEN_LINE)
                continue
            for word in self._words:
                line = line.replace(word, HIDDEN_WORD)
            kept.append(line)
        return "\n".join(kept)


def show(argv: Sequence[str]) -> str:
    """Return a command for a person, quoted where a shell would need it."""
    import shlex

    return " ".join(shlex.quote(word) for word in argv)
