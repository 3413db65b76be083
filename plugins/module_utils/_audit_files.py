# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private: files that are more open than they should be, found on the host."""

from __future__ import annotations

import grp
import os
import pwd
import re
import stat
from typing import Callable, Dict, Iterator, List, Optional

#: Directories that hold secrets, or in which people leave them.
SECRET_PLACES = (
    "/etc/sapflux /etc/caddy /etc/docker /etc/postgresql /etc/ssl/private /etc/tailscale /run/sapflux /var/lib/sapflux "
    "/root /home /srv /opt"
).split()
SECRET_NAMES = re.compile(
    r"secret|token|passw|credential|\.env$|^\.env|^\.pgpass$|^\.netrc$|^hash\.key$|^good\.json$|^id_(rsa|ed25519|ecdsa)$",
    re.IGNORECASE,
)
KEY_NAMES = re.compile(r"\.(pem|key)$")
PUBLIC_NAMES = re.compile(r"\.(pub|py|pyc|md|service|timer)$")
#: What other programs manage, and what is not on a disk.
PRUNED = "/proc /sys /run /dev /tmp/systemd-private* /var/lib/docker /var/lib/containerd".split()
PACKAGED = ("/usr/bin/", "/usr/sbin/", "/usr/lib/", "/usr/libexec/")


def stat_of(path: str) -> Optional[Dict[str, str]]:
    """Mode (octal digits), owner and group of a file; None where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    try:
        owner = pwd.getpwuid(found.st_uid).pw_name
    except KeyError:
        owner = str(found.st_uid)
    try:
        group = grp.getgrgid(found.st_gid).gr_name
    except KeyError:
        group = str(found.st_gid)
    return {"mode": f"{stat.S_IMODE(found.st_mode):04o}", "owner": owner, "group": group}


def _files(places: List[str]) -> Iterator[str]:
    for place in places:
        for directory, _names, names in os.walk(place):
            for name in names:
                path = os.path.join(directory, name)
                if os.path.isfile(path) and not os.path.islink(path):
                    yield path


def is_secret(path: str) -> bool:
    """Tell whether a file is meant to be closed, by its name or because a private key is in it."""
    name = os.path.basename(path)
    if PUBLIC_NAMES.search(name):
        return False
    if SECRET_NAMES.search(name):
        return True
    if KEY_NAMES.search(name):
        with open(path, "rb") as stream:
            return b"PRIVATE KEY" in stream.read(4096)
    return False


def secrets(places: Optional[List[str]] = None) -> Optional[List[Dict[str, str]]]:
    """Path and mode of every file that is meant to be closed; None without any."""
    found = [{"path": path, **(stat_of(path) or {})} for path in _files(places or SECRET_PLACES) if is_secret(path)]
    return sorted(found, key=lambda item: item["path"]) or None


def odd_files(run: Callable[..., str], root: str = "/") -> Dict[str, List[str]]:
    """Files that everybody can write, directories that are not sticky, orphans, and programs with setuid.

    `run` runs a program (see `_audit_facts.run`). One pass over the disk.
    """
    pruned: List[str] = []
    for path in PRUNED:
        pruned += ["-o", "-path", path]
    argv = ["find", root, "-xdev", "(", *pruned[1:], ")", "-prune", "-o", "("]
    for index, (name, test) in enumerate(
        (
            ("setuid", ["-type", "f", "-perm", "/6000"]),
            ("writable", ["-type", "f", "-perm", "-0002"]),
            ("sticky", ["-type", "d", "-perm", "-0002", "!", "-perm", "-1000"]),
            ("orphans", ["(", "-nouser", "-o", "-nogroup", ")"]),
        )
    ):
        argv += [*([","] if index else []), "(", *test, "-printf", f"{name}\t%p\\n", ")"]
    found: Dict[str, List[str]] = {"setuid": [], "writable": [], "sticky": [], "orphans": []}
    # find ends with 1 when a file went away while it looked.
    for line in run([*argv, ")"], codes=(0, 1)).splitlines():
        name, _tab, path = line.partition("\t")
        found[name].append(path)
    packaged = [path for path in found["setuid"] if path.startswith(PACKAGED)]
    owned = _owned(run, packaged) if packaged else set()
    found["setuid"] = sorted(path for path in found["setuid"] if path not in owned)
    return {name: sorted(paths) for name, paths in found.items()}


def _owned(run: Callable[..., str], paths: List[str]) -> "set[str]":
    """Those of the paths that belong to a package; older packages name /bin where the file is in /usr/bin."""
    names = [*paths, *(path[len("/usr") :] for path in paths)]
    listed = run(["dpkg-query", "--search", *names], codes=(0, 1)).splitlines()
    owned = {line.partition(": ")[2] for line in listed}
    return {path for path in paths if path in owned or path[len("/usr") :] in owned}
