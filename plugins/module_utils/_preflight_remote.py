# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host is and has, printed as one line of JSON (private to this collection).

Sent to the host as it is and run by its own Python, so it stands alone: standard library, no import
of ours. Reads only.
"""

from __future__ import annotations

import json
import os
import platform
import socket
import subprocess
import sys
import time
from typing import Any


def read(path: str) -> str:
    """The text of a file, empty where it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""


def os_release(text: str) -> dict[str, str]:
    """The variables of /etc/os-release."""
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    return {key.strip(): value.strip().strip("\"'") for key, value in pairs}


def distribution(release: dict[str, str], debian_version: str) -> dict[str, Any]:
    """Name, version, major version and code name, as Ansible's own facts call them."""
    name = release.get("ID", "").capitalize() or "unknown"
    version = release.get("VERSION_ID", "")
    minor = debian_version.strip().partition(".")
    if name == "Debian" and minor[0] == version and minor[2]:
        version = version + "." + minor[2]
    return {
        "distribution": name,
        "distribution_version": version or "unknown",
        "distribution_major_version": version.split(".")[0] or "unknown",
        "distribution_release": release.get("VERSION_CODENAME", "NA"),
    }


def memory_mb(meminfo: str) -> int:
    """Total memory in MiB from /proc/meminfo."""
    for line in meminfo.splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) // 1024
    return 0


def default_interface(route: str) -> str:
    """The interface of the IPv4 default route with the lowest metric, from /proc/net/route; empty without one."""
    found = []
    for line in route.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 7 and fields[1] == "00000000" and fields[7] == "00000000" and int(fields[3], 16) & 1:
            found.append((int(fields[6]), fields[0]))
    return min(found)[1] if found else ""


def default_ipv4(route: str) -> dict[str, str]:
    """Interface and source address of what leaves the host; empty without a default route."""
    interface = default_interface(route)
    if not interface:
        return {}
    # Connecting a datagram socket sends nothing; it only makes the kernel choose.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            address = probe.getsockname()[0]
        except OSError:
            return {}
    return {"interface": interface, "address": address}


def packages(listing: str) -> dict[str, list[dict[str, str]]]:
    """Installed packages as package_facts names them, from lines of name, version, architecture, state."""
    found: dict[str, list[dict[str, str]]] = {}
    for line in listing.splitlines():
        name, version, arch, state = [*line.split("\t"), "", "", ""][:4]
        if state == "installed":
            found.setdefault(name, []).append({"version": version, "arch": arch})
    return found


def dpkg() -> str:
    """The list of packages; empty where there is no dpkg."""
    command = ["dpkg-query", "--show", "--showformat=${Package}\t${Version}\t${Architecture}\t${db:Status-Status}\n"]
    try:
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False).stdout.decode()
    except OSError:
        return ""


def free_mb(path: str) -> tuple[int, str]:
    """(MiB free for a path, the nearest directory above it that exists)."""
    place = os.path.abspath(path)
    while not os.path.exists(place):
        place = os.path.dirname(place)
    status = os.statvfs(place)
    return status.f_bavail * status.f_frsize // 1048576, place


def lockdown(state: str, configuration: str) -> dict[str, Any]:
    """What the lockdown of the host remembers; `locked` is false where it is only prepared, {} where there is none."""
    try:
        found = json.loads(state)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"locked": False} if configuration else {}


def look(paths: list[str]) -> dict[str, Any]:
    """Everything preflight wants to know about this host."""
    nodename = os.uname().nodename
    facts = distribution(os_release(read("/etc/os-release")), read("/etc/debian_version"))
    facts.update(
        architecture=platform.machine(),
        machine=platform.machine(),
        hostname=nodename.split(".")[0],
        nodename=nodename,
        memtotal_mb=memory_mb(read("/proc/meminfo")),
        processor_vcpus=os.cpu_count() or 1,
        default_ipv4=default_ipv4(read("/proc/net/route")),
        packages=packages(dpkg()),
        sapflux={
            "free_mb": {path: free_mb(path)[0] for path in paths},
            "lockdown": lockdown(read("/var/lib/sapflux/lockdown.json"), read("/etc/sapflux/lockdown.json")),
        },
    )
    return {
        "facts": facts,
        "measured_at": {path: free_mb(path)[1] for path in paths},
        "root": os.geteuid() == 0,
        "time": time.time(),
        "python": sys.executable,
        "python_version": list(sys.version_info[:3]),
    }


if __name__ == "__main__":
    # One line between markers: a login banner or a warning of sudo may stand around it.
    print("SAPFLUX-PREFLIGHT " + json.dumps(look(sys.argv[1:]), separators=(",", ":")))
