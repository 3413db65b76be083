# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private: what programs print, turned into the facts of the audit. Pure functions."""

from __future__ import annotations

import re
from typing import Any, Dict, List, Mapping, Optional, Tuple

#: Options of a log driver that bound it; others may hold tokens of a log service.
LOG_OPTIONS = ("max-size", "max-file", "compress")
CONFIG_KEYS = ("userland-proxy", "ip", "default-network-opts", "insecure-registries")
PROGRAM = re.compile(r'users:\(\("([^"]+)"')
PENDING = re.compile(r"^Inst (\S+) (?:\[[^]]*\] )?\((\S+) ([^[]*)")
EXPOSURE = re.compile(r"Overall exposure level for (\S+): (\d+(?:\.\d+)?)")
RESTART = re.compile(r"^\s*\$nrconf\{restart\}\s*=\s*['\"](\w)['\"]", re.MULTILINE)


def sshd(text: str) -> Dict[str, List[str]]:
    """`sshd -T`: lower-case name to its values, in order."""
    found: Dict[str, List[str]] = {}
    for line in text.splitlines():
        name, _space, value = line.partition(" ")
        if name:
            found.setdefault(name.lower(), []).append(value.strip())
    return found


def host_key(line: str) -> Tuple[str, int]:
    """A line of `ssh-keygen -l`: kind and bits."""
    words = line.split()
    return words[-1].strip("()"), int(words[0])


def shadow_state(field: str) -> str:
    """The second field of a line in /etc/shadow: locked (no password opens it), empty or set."""
    if field == "":
        return "empty"
    return "locked" if field[0] in "!*" or field == "x" else "set"


def sudo_lines(text: str) -> List[str]:
    """The lines of a sudoers file that say something, continued ones joined."""
    lines = [line.strip() for line in text.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line and (not line.startswith("#") or re.match(r"#include", line))]


def settings(text: str) -> Dict[str, str]:
    """Lines of NAME=VALUE."""
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def systemd_config(text: str) -> Dict[str, str]:
    """`systemd-analyze cat-config`: the last value of each key; an empty one takes the default back."""
    found: Dict[str, str] = {}
    for line in text.splitlines():
        if "=" in line and not line.lstrip().startswith(("#", ";")):
            name, value = line.split("=", 1)
            found[name.strip()] = value.strip()
    return {name: value for name, value in found.items() if value}


def unit_blocks(text: str) -> Dict[str, Dict[str, str]]:
    """`systemctl show` of several units: unit to its properties."""
    blocks = [settings(block) for block in text.split("\n\n")]
    return {block["Id"]: block for block in blocks if "Id" in block}


def overall(text: str) -> Dict[str, float]:
    """`systemd-analyze security` of some units: unit to its overall exposure, 0 to 10."""
    return {name: float(score) for name, score in EXPOSURE.findall(text)}


def mounts(text: str) -> Dict[str, Dict[str, Any]]:
    """/proc/self/mounts: mount point to type and options; the last one on a point is the one that is seen."""
    rows = [line.split() for line in text.splitlines()]
    return {row[1]: {"type": row[2], "options": row[3].split(",")} for row in rows if len(row) > 3}


def listeners(text: str) -> List[Dict[str, Any]]:
    """`ss -H -ltnup`: protocol, address, port and program of each. One inside a container has no program here."""
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) < 5:
            continue
        address, _colon, port = words[4].rpartition(":")
        program = PROGRAM.search(line)
        found.append(
            {
                "protocol": words[0],
                "address": address.replace("[", "").replace("]", ""),
                "port": int(port),
                "program": program[1] if program else "",
            }
        )
    return found


def apt_config(text: str) -> Dict[str, List[str]]:
    """`apt-config dump`: key to its values; the keys of lists end with ::."""
    found: Dict[str, List[str]] = {}
    for line in text.splitlines():
        key, _space, value = line.partition(" ")
        found.setdefault(key, []).append(value.rstrip(";").strip('"'))
    return found


def pending(text: str) -> List[Tuple[str, str]]:
    """`apt-get --simulate dist-upgrade`: package and origin of what would be installed."""
    matches = [PENDING.match(line) for line in text.splitlines()]
    return [(match[1], match[3].strip()) for match in matches if match]


def unsigned_sources(files: Mapping[str, str]) -> List[str]:
    """Package sources (path to text) that are believed without a signature, as `path: line`."""
    pattern = re.compile(r"\btrusted\s*[=:]\s*yes|\ballow-insecure\s*[=:]\s*yes", re.IGNORECASE)
    return [
        f"{path}: {line.strip()[:60]}"
        for path, text in files.items()
        for line in text.splitlines()
        if pattern.search(line) and not line.lstrip().startswith("#")
    ]


def needrestart_mode(text: str) -> str:
    """needrestart's files, one after the other: the last word on restarts, `i` without one."""
    found: List[str] = RESTART.findall(text)
    return found[-1] if found else "i"


def _log_options(options: Optional[Mapping[str, Any]]) -> Dict[str, str]:
    return {key: str(value) for key, value in (options or {}).items() if key in LOG_OPTIONS}


def engine(info: Mapping[str, Any], config: Mapping[str, Any]) -> Dict[str, Any]:
    """GET /info and daemon.json, without what may be a secret."""
    kept = {key: config[key] for key in CONFIG_KEYS if key in config}
    return {
        "info": {
            "version": info["ServerVersion"],
            "live_restore": info.get("LiveRestoreEnabled"),
            "log_driver": info.get("LoggingDriver"),
            "security": info.get("SecurityOptions") or [],
        },
        "config": {**kept, "log-opts": _log_options(config.get("log-opts"))},
    }


def containers(inspected: List[Mapping[str, Any]]) -> List[Dict[str, Any]]:
    """GET /containers/<id>/json of each: how it is fenced in. No environment, no command."""
    found = []
    for item in inspected:
        host, state = item["HostConfig"], item["State"]
        ports = (item.get("NetworkSettings") or {}).get("Ports") or {}
        confinement = host.get("SecurityOpt") or []
        found.append(
            {
                "name": item["Name"].lstrip("/"),
                "state": state["Status"],
                "health": (state.get("Health") or {}).get("Status", ""),
                "restarts": item.get("RestartCount", 0),
                "user": item["Config"].get("User") or "",
                "privileged": host.get("Privileged", False),
                "network": host.get("NetworkMode", ""),
                "pid": host.get("PidMode", ""),
                "ipc": host.get("IpcMode", ""),
                "cap_add": host.get("CapAdd") or [],
                "cap_drop": host.get("CapDrop") or [],
                "read_only": host.get("ReadonlyRootfs", False),
                "unconfined": [
                    option for option in confinement if re.search(r"unconfined|no-new-privileges[=:]false", option)
                ],
                "memory": host.get("Memory", 0),
                "mounts": sorted(mount["Source"] for mount in item.get("Mounts") or [] if mount.get("Type") == "bind"),
                "ports": [
                    {"ip": bound["HostIp"], "port": f"{bound['HostPort']}->{inner}"}
                    for inner, list_ in ports.items()
                    for bound in list_ or []
                ],
                "log_driver": host["LogConfig"]["Type"],
                "log_options": _log_options(host["LogConfig"].get("Config")),
            }
        )
    return found


def tailnet(status: Mapping[str, Any], prefs: Mapping[str, Any]) -> Dict[str, Any]:
    """`tailscale status --json` and `tailscale debug prefs`."""
    own = status.get("Self") or {}
    expiry = str(own.get("KeyExpiry") or "")
    return {
        "state": status.get("BackendState", ""),
        "tags": own.get("Tags") or [],
        # Year one is Go's way to say that there is no time.
        "expiry": "" if expiry.startswith("0001-") else expiry,
        "ssh": bool(prefs.get("RunSSH")),
        "health": status.get("Health") or [],
    }
