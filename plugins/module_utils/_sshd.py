# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an SSH server offers, does and holds: asked on the host, judged by pure functions.

Private to the collection; the module host_setup and sshd_info use it on the host, the filters of the base role on the
controller.
"""

from __future__ import annotations

import fnmatch
import re
import time
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Set

Run = Callable[[List[str]], Any]
"""Runs a command; the result has returncode, stdout and stderr."""

OFFERS = {"kex": "kex", "ciphers": "cipher", "macs": "mac", "host_keys": "HostKeyAlgorithms"}
"""Our name of each list of algorithms, and the one `ssh -Q` knows it by."""

POST_QUANTUM = ("mlkem768x25519-sha256", "sntrup761x25519-sha512", "sntrup761x25519-sha512@openssh.com")
CLASSICAL = ("curve25519-sha256", "curve25519-sha256@libssh.org")
"""Key exchanges without a group whose numbers somebody has to trust, so no file of moduli is ever read."""
WANTED = {
    "Ciphers": (
        "ciphers",
        (
            "chacha20-poly1305@openssh.com",
            "aes256-gcm@openssh.com",
            "aes128-gcm@openssh.com",
            "aes256-ctr",
            "aes128-ctr",
        ),
    ),
    # Encrypt-then-MAC only, with tags of 128 bits and more.
    "MACs": (
        "macs",
        ("hmac-sha2-512-etm@openssh.com", "hmac-sha2-256-etm@openssh.com", "umac-128-etm@openssh.com"),
    ),
    "HostKeyAlgorithms": ("host_keys", ("ssh-ed25519", "rsa-sha2-512", "rsa-sha2-256")),
}


SETTLE = 5.0
"""Seconds within which a reloaded server holds its port again."""
LOOK = 0.1
"""Seconds between two looks at who holds it."""


class SshdError(Exception):
    """One sentence that names what is wrong and the way out."""


def algorithms(
    offers: Mapping[str, Sequence[str]], classical: bool = False, client: Sequence[str] = ()
) -> Dict[str, str]:
    """Return the keywords of sshd_config that name algorithms, best first, with only what the server offers.

    `offers` is what `ask_offers` returned; without any (a host without OpenSSH, in check mode) there are no keywords.
    `classical` adds the key exchanges of clients from before 2021, and so does a server that knows no other. `client`
    is what the client on the controller can do (empty: not known). Raises SshdError instead of returning an empty
    list, or one that this client has nothing of.
    """
    if not offers:
        return {}
    kex = [name for name in POST_QUANTUM if name in offers.get("kex", ())]
    if classical or not kex:
        kex += [name for name in CLASSICAL if name in offers.get("kex", ())]
    chosen = {"KexAlgorithms": kex}
    for keyword, (kind, wanted) in WANTED.items():
        chosen[keyword] = [name for name in wanted if name in offers.get(kind, ())]
    for keyword, names in chosen.items():
        if not names:
            raise SshdError(
                f"the SSH server of this host offers no {keyword} that are good enough; upgrade openssh-server"
            )
    if client and not set(client) & set(kex):
        raise SshdError(
            "the SSH client of this machine knows none of the server's key exchanges "
            f"({', '.join(kex)}), so it would be locked out; upgrade it, or set base_ssh_classical_kex: true"
        )
    return {keyword: ",".join(names) for keyword, names in chosen.items()}


def parse_settings(effective: str) -> Dict[str, List[str]]:
    """Return what `sshd -T` printed as lower case keyword: the value of each of its lines."""
    found: Dict[str, List[str]] = {}
    for line in effective.splitlines():
        keyword, _space, value = line.strip().partition(" ")
        if keyword:
            found.setdefault(keyword.lower(), []).append(value)
    return found


def lockout(effective: str, user: str, groups: Set[str]) -> Optional[str]:
    """Say which setting of another file would keep `user` (a member of `groups`) out beside our AllowGroups.

    None when none would. sshd asks DenyUsers, AllowUsers, DenyGroups and AllowGroups one after the other, and each of
    them has to let the user pass.
    """
    settings = parse_settings(effective)

    def words(keyword: str) -> List[str]:
        return [word for value in settings.get(keyword, []) for word in value.split()]

    def named(pattern: str) -> bool:
        return fnmatch.fnmatchcase(user, pattern.partition("@")[0])

    allowed = words("allowusers")
    if any(named(pattern) for pattern in words("denyusers")):
        return f"DenyUsers names {user}"
    if allowed and not any(named(pattern) for pattern in allowed):
        return f"AllowUsers names {' '.join(allowed)} and not {user}"
    denied = [group for group in sorted(groups) if any(fnmatch.fnmatchcase(group, p) for p in words("denygroups"))]
    return f"DenyGroups names {denied[0]}, of which {user} is a member" if denied else None


def parse_listeners(output: str) -> List[Dict[str, Any]]:
    """Return who listens, from `ss -Hltnp`: a {address, process, pid} for each holder of each socket."""
    found: List[Dict[str, Any]] = []
    for line in output.splitlines():
        words = line.split()
        if len(words) < 5:
            continue
        holders = re.findall(r'\("([^"]*)",pid=(\d+)', line) or [("an unknown program", "0")]
        found += [{"address": words[3], "process": name, "pid": int(pid)} for name, pid in holders]
    return found


def owner_problems(listeners: Sequence[Mapping[str, Any]], port: int) -> List[str]:
    """Return a clause unless exactly one process, an sshd of its own, holds the port."""
    holders = sorted({(str(one["process"]), int(one["pid"])) for one in listeners})
    if [name for name, _pid in holders] == ["sshd"]:
        return []
    names = " and ".join(f"{name} (process {pid})" for name, pid in holders)
    return [f"port {port} is held by {names or 'nobody'} instead of one sshd"]


def ask_offers(run: Run) -> Dict[str, List[str]]:
    """Ask OpenSSH what it is built with; {} where it is not installed. Client and server are of one version."""
    offers: Dict[str, List[str]] = {}
    for kind, query in OFFERS.items():
        done = run(["ssh", "-Q", query])
        if done.returncode != 0:
            return {}
        offers[kind] = done.stdout.split()
    return offers


def ask(run: Run, user: str, port: int, pause: Callable[[float], None] = time.sleep) -> Dict[str, Any]:
    """Return `effective` (what `sshd -T` says for a stranger's address), `error`, and the `listeners` on the port.

    A server that was just told to reload gives its port up for a moment, and a login in the making holds it, too: no
    sshd, or more than one, is looked at again for up to SETTLE seconds. `pause` is a seam for tests.
    """
    done = run(["/usr/sbin/sshd", "-T", "-C", f"user={user},host=localhost,addr=192.0.2.1"])
    said = "" if done.returncode == 0 else (done.stderr.strip() or "no reason given").splitlines()[-1]
    for _look in range(int(SETTLE / LOOK)):
        listeners = parse_listeners(run(["ss", "-Hltnp", f"sport = :{port}"]).stdout)
        others = {one["process"] for one in listeners} - {"sshd"}
        if others or not owner_problems(listeners, port):
            break
        pause(LOOK)
    return {"effective": done.stdout if done.returncode == 0 else "", "error": said, "listeners": listeners}
