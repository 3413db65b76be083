# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an SSH server needs beside its settings: who may log in, keys that are long enough, one owner of its port.

Private to the collection. Every step plans first, like those of _host_setup, and is made before sshd learns of it, so
that no order of events keeps the administrator out.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
from pathlib import Path
from typing import Any, Dict, List, Optional, Set

from ansible_collections.sapflux.hosting.plugins.module_utils import _sshd
from ansible_collections.sapflux.hosting.plugins.module_utils._host_setup import Change, Host, SetupError

SERVICE, SOCKET = "ssh.service", "ssh.socket"
# Enabling ssh.service makes its alias sshd.service, and systemd then forgets a service that was running: the next start
# finds the port taken, fails, and takes /run/sshd away from the one that still answers. So it is stopped for a second.
TAKE_OVER = f"""
systemctl stop {SOCKET} {SERVICE}
pkill --ns 1 --nslist pid --full '^sshd: .* \\[listener\\]'
systemctl --quiet disable {SOCKET}
systemctl --quiet enable {SERVICE}
systemctl start {SERVICE} && exit 0
systemctl reset-failed {SERVICE} {SOCKET}
systemctl --quiet enable {SOCKET}
systemctl start {SOCKET}
exit 1
"""
HOST_KEYS = {"ed25519": 256, "rsa": 3072}
"""The kinds of host key that are offered, with the fewest bits that are good enough (and that new ones have)."""


class SshServer:
    """The SSH server of a host."""

    def __init__(self, host: Host) -> None:
        self._host = host

    # --- seams for tests

    def members(self, group: str) -> Optional[Set[str]]:
        """Return the members of a group, None where there is no such group."""
        try:
            return set(grp.getgrnam(group).gr_mem)
        except KeyError:
            return None

    def groups_of(self, user: str) -> Set[str]:
        """Return the names of a user's groups."""
        try:
            primary = pwd.getpwnam(user).pw_gid
        except KeyError:
            return set()
        names = set()
        for number in os.getgrouplist(user, primary):
            with contextlib.suppress(KeyError):
                names.add(grp.getgrgid(number).gr_name)
        return names

    # --- before anything changes

    def check(self, admin: str, users: List[str], group: str, port: int) -> None:
        """Refuse users that are not there, and a server whose other files keep the administrator out.

        Raises SetupError.
        """
        for name in users:
            if name != admin and self._host.account(name) is None:
                raise SetupError(
                    f"{name} shall log in over SSH and is not a user of this host; make the account first, "
                    "or take the name from the list"
                )
        effective = self.ask(admin, port)["effective"]
        reason = _sshd.lockout(effective, admin, self.groups_of(admin) | {group})
        if reason:
            raise SetupError(
                f"{admin} could not log in any more: {reason}, in a file of /etc/ssh/sshd_config.d or in sshd_config; "
                "remove that line, then run this again"
            )

    # --- steps

    def plan_group(self, group: str, users: List[str]) -> List[Change]:
        """Plan the group whose members may log in: made where it is missing, and exactly these members."""
        wanted = sorted(set(users))
        members = self.members(group)
        if members == set(wanted):
            return []

        def act() -> None:
            if members is None:
                self._host.must(["groupadd", "--system", group], f"making the group {group}")
            self._host.must(["gpasswd", "--members", ",".join(wanted), group], f"filling the group {group}")

        before = "".join(f"{name}\n" for name in sorted(members or ()))
        after = "".join(f"{name}\n" for name in wanted)
        return [Change(f"let {', '.join(wanted)} log in over SSH", act, f"members of {group}", before, after)]

    def plan_host_keys(self) -> List[Change]:
        """Plan the host keys: a missing, unreadable or too short one is made anew, any other one is kept.

        Clients know a server by its keys, so a good one never changes.
        """
        changes = []
        for kind, least in HOST_KEYS.items():
            path = f"/etc/ssh/ssh_host_{kind}_key"
            bits = self._bits(path)
            if bits is None or bits < least:
                was = "made" if bits is None else f"replaced, for it had {bits} bits,"
                changes.append(Change(f"{was} the host key {path}", _MakeKey(self._host, kind, least, path)))
        return changes

    def _bits(self, path: str) -> Optional[int]:
        if not self._host.at(path).is_file():
            return None
        done = self._host.run(["ssh-keygen", "-l", "-f", str(self._host.at(path))])
        first = (done.stdout.split() or [""])[0]
        return int(first) if done.returncode == 0 and first.isdigit() else None

    def plan_one_owner(self) -> List[Change]:
        """Plan that ssh.service, tracked and enabled, holds the port. With ssh.socket beside it, two units would."""
        done = self._host.run(["systemctl", "show", "--property=ActiveState,UnitFileState", SERVICE, SOCKET])
        blocks = done.stdout.strip().split("\n\n")
        if done.returncode != 0 or len(blocks) != 2:
            return []
        service, socket = (dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in blocks)
        if (
            service.get("ActiveState") in ("active", "reloading")
            and service.get("UnitFileState") == "enabled"
            and socket.get("ActiveState") not in ("active", "activating")
            and socket.get("UnitFileState") != "enabled"
        ):
            return []
        return [Change(f"gave the SSH port to {SERVICE} alone", self._take_over)]

    def _take_over(self) -> None:
        self._host.must(["/usr/sbin/sshd", "-t"], "checking the settings of sshd")
        # A unit of its own, so that it comes to its end whatever becomes of this connection. Sessions live on: they are
        # processes of their own, which neither unit ends.
        unit = ["systemd-run", "--quiet", "--wait", "--collect", "--pipe", "--unit=sapflux-ssh-owner"]
        self._host.must([*unit, "/bin/sh", "-c", TAKE_OVER], f"giving the SSH port to {SERVICE}")

    # --- what it does

    def ask(self, user: str, port: int) -> Dict[str, Any]:
        """Return what `_sshd.ask` returns."""
        return _sshd.ask(self._host.run, user, port)

    def report(self, user: str, port: int) -> Dict[str, Any]:
        """Return what the server does and offers: the result of `ask`, and `offers`."""
        return {**self.ask(user, port), "offers": _sshd.ask_offers(self._host.run)}


class _MakeKey:
    """Makes a host key beside the old one, puts it in its place, and has a running server read it."""

    def __init__(self, host: Host, kind: str, bits: int, path: str) -> None:
        self._host = host
        self._kind = kind
        self._bits = bits
        self._path = path

    def __call__(self) -> None:
        path = self._host.at(self._path)
        staged = path.with_name(f".{path.name}.sapflux")
        public, staged_public = Path(f"{path}.pub"), Path(f"{staged}.pub")
        for left in (staged, staged_public):
            with contextlib.suppress(FileNotFoundError):
                left.unlink()
        argv = ["ssh-keygen", "-q", "-t", self._kind, "-b", str(self._bits), "-N", "", "-f", str(staged)]
        self._host.must(argv, f"making the host key {self._path}")
        staged.rename(path)
        staged_public.rename(public)
        self._host.must(["systemctl", "try-reload-or-restart", SERVICE], f"telling {SERVICE} of its new key")
