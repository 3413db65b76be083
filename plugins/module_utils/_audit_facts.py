# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private: what the audit knows of a host, gathered in one pass.

Reads only, and asks the running system rather than the files it was set up with. Parts are None where the host has no
such thing, and {"error": reason} where it could not be asked. No part holds a secret: of passwords the state, of files
the modes, of containers no environment.
"""

from __future__ import annotations

import glob
import grp
import json
import os
import pwd
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Dict, List, Optional, Tuple

from ansible_collections.sapflux.hosting.plugins.module_utils._audit_files import odd_files, secrets, stat_of
from ansible_collections.sapflux.hosting.plugins.module_utils._audit_parse import (
    apt_config,
    containers,
    engine,
    host_key,
    listeners,
    mounts,
    needrestart_mode,
    overall,
    pending,
    settings,
    shadow_state,
    sshd,
    sudo_lines,
    systemd_config,
    tailnet,
    unit_blocks,
    unsigned_sources,
)
from ansible_collections.sapflux.hosting.plugins.module_utils._docker_api import DockerAPI, DockerError

SYSCTL = (
    "fs.protected_fifos fs.protected_hardlinks fs.protected_symlinks fs.suid_dumpable kernel.dmesg_restrict "
    "kernel.kptr_restrict kernel.randomize_va_space kernel.unprivileged_bpf_disabled kernel.yama.ptrace_scope "
    "net.ipv4.conf.all.accept_redirects net.ipv4.conf.all.accept_source_route net.ipv4.conf.all.rp_filter "
    "net.ipv4.conf.all.send_redirects net.ipv4.icmp_echo_ignore_broadcasts net.ipv4.ip_forward net.ipv4.tcp_syncookies "
    "net.ipv6.conf.all.accept_redirects net.ipv6.conf.all.accept_source_route vm.swappiness"
).split()
UNITS = (
    "apt-daily.timer apt-daily-upgrade.timer chrony.service containerd.service docker.service firewalld.service "
    "netfilter-persistent.service nftables.service ntpsec.service postgresql.service shorewall.service ssh.service "
    "ssh.socket systemd-timesyncd.service tailscaled.service ufw.service"
).split()
SHOWN = "Id,LoadState,ActiveState,SubState,UnitFileState,Result,OOMScoreAdjust,MainPID"
MODES = (
    "/etc/passwd /etc/group /etc/shadow /etc/gshadow /etc/sudoers /etc/ssh/sshd_config /etc/crontab "
    "/etc/docker/daemon.json"
).split()
UNWANTED = (
    "avahi-daemon cups-daemon inetutils-inetd nis rpcbind rsh-server samba snmpd talkd telnetd vsftpd xinetd".split()
)
ENVIRONMENT = {**os.environ, "LC_ALL": "C.UTF-8", "PGCONNECT_TIMEOUT": "10", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
DOCKER_SOCKET = "/run/docker.sock"

_DATABASE = """
SELECT json_build_object(
  'settings', (SELECT json_object_agg(name, setting) FROM pg_settings WHERE name IN
    ('listen_addresses', 'password_encryption', 'fsync', 'full_page_writes', 'data_directory')),
  'hba', coalesce((SELECT json_agg(json_build_object('line', line_number, 'type', type,
    'user', array_to_string(user_name, ','), 'address', address, 'method', auth_method, 'error', error))
    FROM pg_hba_file_rules), '[]'),
  'superusers', (SELECT json_agg(rolname) FROM pg_roles WHERE rolsuper AND rolcanlogin),
  'weak_passwords', coalesce((SELECT json_agg(rolname) FROM pg_authid
    WHERE rolpassword IS NOT NULL AND rolpassword NOT LIKE 'SCRAM-SHA-256$%'), '[]'));
"""


class AskError(Exception):
    """A program that is there did not answer."""


def run(argv: List[str], text: str = "", codes: Tuple[int, ...] = (0,)) -> str:
    """What a program prints. Raises FileNotFoundError where it is not installed, AskError when it fails."""
    try:
        done = subprocess.run(
            argv,
            input=text,
            capture_output=True,
            env=ENVIRONMENT,
            timeout=120,
            check=False,
            text=True,
            errors="replace",
        )
    except subprocess.TimeoutExpired as error:
        raise AskError(f"{argv[0]} did not answer within {error.timeout:g} s") from error
    if done.returncode not in codes:
        reason = (done.stderr.strip() or done.stdout.strip() or "no reason given").splitlines()[-1]
        raise AskError(f"`{' '.join(argv[:3])}` ended with {done.returncode}: {reason[:200]}")
    return done.stdout


def read(path: str) -> Optional[str]:
    """The content of a file, None where there is none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except (FileNotFoundError, NotADirectoryError):
        return None


def ssh(user: str) -> Dict[str, Any]:
    """Settings for an ordinary user and for root, and the host keys that the server presents."""
    where = "host=localhost,addr=192.0.2.1"
    ordinary = sshd(run(["/usr/sbin/sshd", "-T", "-C", f"user={user},{where}"]))
    keys = []
    for path in ordinary.get("hostkey", []):
        if os.path.exists(path):
            kind, bits = host_key(run(["ssh-keygen", "-l", "-f", f"{path}.pub"]))
            keys.append({"path": path, "type": kind, "bits": bits, **(stat_of(path) or {})})
    root = sshd(run(["/usr/sbin/sshd", "-T", "-C", f"user=root,{where}"]))
    return {"user": ordinary, "root": root, "host_keys": keys}


def users() -> List[Dict[str, Any]]:
    """Everybody in /etc/passwd, with the state of the password: locked, empty or set."""
    shadow = dict(line.split(":")[:2] for line in (read("/etc/shadow") or "").splitlines() if ":" in line)
    found = []
    for entry in pwd.getpwall():
        home = stat_of(entry.pw_dir) if os.path.isdir(entry.pw_dir) else None
        found.append(
            {
                "name": entry.pw_name,
                "uid": entry.pw_uid,
                "gid": entry.pw_gid,
                "shell": entry.pw_shell,
                "home": entry.pw_dir,
                "home_mode": home["mode"] if home else "",
                "password": shadow_state(shadow.get(entry.pw_name, entry.pw_passwd)),
            }
        )
    return found


def authorized_keys() -> List[Dict[str, Any]]:
    """The files that let users in, with kind and size of each key."""
    found = []
    for entry in pwd.getpwall():
        for name in ("authorized_keys", "authorized_keys2"):
            path = os.path.join(entry.pw_dir, ".ssh", name)
            if not os.path.isfile(path):
                continue
            # ssh-keygen ends with 1 when there is no key in it.
            lines = run(["ssh-keygen", "-l", "-f", path], codes=(0, 1, 255)).splitlines()
            pairs = [host_key(line) for line in lines if line[:1].isdigit()]
            keys = [{"type": kind, "bits": bits} for kind, bits in pairs]
            found.append({"user": entry.pw_name, "path": path, "keys": keys, **(stat_of(path) or {})})
    return found


def sudoers() -> Dict[str, Any]:
    """Rules and modes of the files that sudo reads, and whether it understands them."""
    if not os.path.exists("/etc/sudoers"):
        raise FileNotFoundError("/etc/sudoers")
    # sudo passes over names with a dot or with a tilde at the end.
    more = [path for path in sorted(glob.glob("/etc/sudoers.d/*")) if "." not in os.path.basename(path)]
    paths = ["/etc/sudoers", *(path for path in more if not path.endswith("~"))]
    try:
        run(["visudo", "--check"])
        syntax = "ok"
    except AskError as error:
        syntax = str(error)
    return {
        "rules": {path: sudo_lines(read(path) or "") for path in paths},
        "files": {path: stat_of(path) for path in paths},
        "syntax": syntax,
    }


def modules() -> Dict[str, Any]:
    """Kernel modules that cannot be loaded (by `install <name> /bin/false`), and those that are."""
    lines = [line.split() for line in run(["modprobe", "--showconfig"]).splitlines()]
    blocked = sorted(
        {words[1] for words in lines if words[:1] == ["install"] and words[2].endswith(("/false", "/true"))}
    )
    loaded = [line.split()[0] for line in (read("/proc/modules") or "").splitlines()]
    return {"blocked": blocked, "loaded": loaded}


def docker() -> Dict[str, Any]:
    """The engine, its configuration and its containers."""
    if not os.path.exists("/usr/bin/dockerd") and not os.path.exists("/usr/sbin/dockerd"):
        raise FileNotFoundError("dockerd")
    api = DockerAPI(DOCKER_SOCKET)
    try:
        found = engine(api.ask("/info"), json.loads(read("/etc/docker/daemon.json") or "{}"))
        listed = api.ask("/containers/json?all=1")
        found["containers"] = containers([api.inspect(item["Id"]) for item in listed])
    except DockerError as error:
        raise AskError(str(error)) from error
    found["socket"] = stat_of(DOCKER_SOCKET)
    return found


def postgres() -> Optional[Dict[str, Any]]:
    """Settings, access rules and roles; None where no server runs."""
    sockets = [path for path in sorted(glob.glob("/var/run/postgresql/.s.PGSQL.*")) if not path.endswith(".lock")]
    if not sockets:
        return None
    port = sockets[0].rsplit(".", 1)[1]
    argv = [
        "runuser",
        "-u",
        "postgres",
        "--",
        "psql",
        "-XAtq",
        "-h",
        "/var/run/postgresql",
        "-p",
        port,
        "-d",
        "postgres",
    ]
    found: Dict[str, Any] = json.loads(run(argv, _DATABASE))
    found["data"] = stat_of(found["settings"]["data_directory"])
    return found


def tailscale() -> Dict[str, Any]:
    """State and preferences of the node."""
    return tailnet(json.loads(run(["tailscale", "status", "--json"])), json.loads(run(["tailscale", "debug", "prefs"])))


def apt() -> Dict[str, Any]:
    """Configuration, sources, and what waits to be installed."""
    rows = run(["dpkg-query", "--show", "--showformat=${db:Status-Abbrev}\t${Package}\n"]).splitlines()
    states = [(line.split("\t")[0], line.split("\t")[1]) for line in rows]
    waiting = pending(run(["apt-get", "--simulate", "--quiet=2", "-o", "Debug::NoLocking=true", "dist-upgrade"]))
    read_at = [
        os.stat(path).st_mtime
        for path in ("/var/lib/apt/periodic/update-success-stamp", "/var/lib/apt/lists", "/var/lib/apt/lists/partial")
        if os.path.exists(path)
    ]
    sources = glob.glob("/etc/apt/sources.list") + glob.glob("/etc/apt/sources.list.d/*")
    return {
        "config": apt_config(run(["apt-config", "dump"])),
        "lists_age": time.time() - max(read_at) if glob.glob("/var/lib/apt/lists/*Packages*") else None,
        "pending": [name for name, origin in waiting if "Security" not in origin],
        "pending_security": [name for name, origin in waiting if "Security" in origin],
        "unsigned": unsigned_sources({path: read(path) or "" for path in sorted(sources)}),
        "broken": [name for state, name in states if state[1:2] not in "icn" or state[2:].strip()],
        "held": [name for state, name in states if state.startswith("h")],
        "unwanted": [name for state, name in states if name in UNWANTED and state[1:2] == "i"],
    }


def units() -> Dict[str, Dict[str, str]]:
    """State of the units that the checks are about, and of all of ours."""
    found = unit_blocks(
        run(["systemctl", "show", f"--property={SHOWN}", *UNITS, *_our_units(), "sapflux-*", "postgresql@*"])
    )
    for block in found.values():
        # A program may have set its own (sshd does), and a container may not lower it.
        block["Score"] = (read(f"/proc/{block.get('MainPID') or 0}/oom_score_adj") or "").strip()
    return found


def _our_units() -> List[str]:
    listed = run(["systemctl", "list-unit-files", "--no-legend", "--plain", "--no-pager", "sapflux-*"], codes=(0, 1))
    return [line.split()[0] for line in listed.splitlines() if line.strip() and "@." not in line.split()[0]]


def exposure() -> Optional[Dict[str, float]]:
    """systemd's reckoning from 0 to 10 for each service of ours, running or not."""
    ours = [name for name in _our_units() if name.endswith(".service")]
    return overall(run(["systemd-analyze", "security", "--no-pager", *ours])) if ours else None


def failed_units() -> List[str]:
    """Units that failed and were not reset."""
    lines = run(["systemctl", "list-units", "--failed", "--no-legend", "--plain", "--no-pager"]).splitlines()
    return [line.split()[0] for line in lines if line.strip()]


def container() -> str:
    """The kind of container this is, '' for a machine of its own."""
    kind = run(["systemd-detect-virt", "--container"], codes=(0, 1)).strip()
    return "" if kind == "none" else kind


def journal() -> Dict[str, Any]:
    """What journald was told, all its files together."""
    found: Dict[str, Any] = systemd_config(run(["systemd-analyze", "cat-config", "systemd/journald.conf"]))
    found["directory"] = os.path.isdir("/var/log/journal")
    return found


def core() -> Dict[str, str]:
    """How much of a crashed program is kept, and by whom."""
    limit = run(["systemctl", "show", "--property=DefaultLimitCORE"]).strip().partition("=")[2]
    stored = ""
    if os.path.exists("/usr/lib/systemd/systemd-coredump"):
        stored = systemd_config(run(["systemd-analyze", "cat-config", "systemd/coredump.conf"])).get("Storage", "")
    elif (read("/proc/sys/kernel/core_pattern") or "").startswith(("|/bin/false", "|/usr/bin/false", "|/bin/true")):
        stored = "none"
    return {"limit": limit, "storage": stored}


def memory() -> Dict[str, Any]:
    """Memory and swap in bytes, and whether any of the swap is in compressed memory."""
    lines = dict(line.split(":", 1) for line in (read("/proc/meminfo") or "").splitlines())
    swaps = (read("/proc/swaps") or "").splitlines()[1:]
    return {
        "total": int(lines["MemTotal"].split()[0]) * 1024,
        "swap": int(lines["SwapTotal"].split()[0]) * 1024,
        "zram": any("zram" in line for line in swaps),
    }


def disks() -> List[Dict[str, Any]]:
    """Fill of the file systems that matter, in percent as df counts."""
    seen: Dict[int, Dict[str, Any]] = {}
    for path in ("/", "/boot", "/var", "/var/lib/docker", "/var/lib/postgresql", "/tmp"):
        if not os.path.isdir(path):
            continue
        space = os.statvfs(path)
        used = space.f_blocks - space.f_bfree
        files = space.f_files - space.f_ffree
        seen.setdefault(
            os.stat(path).st_dev,
            {
                "path": path,
                "percent": -(-100 * used // max(used + space.f_bavail, 1)),
                "inodes": 100 * files // max(space.f_files, 1),
            },
        )
    return list(seen.values())


def sized_mounts() -> Dict[str, Any]:
    """Mounts with their options; size in bytes of those in memory."""
    found = mounts(read("/proc/self/mounts") or "")
    for path, mount in found.items():
        if mount["type"] == "tmpfs":
            space = os.statvfs(path)
            mount["size"] = space.f_blocks * space.f_frsize
    return found


def needrestart() -> Optional[str]:
    """What needrestart does after updates: l(ist), a(utomatically) or i(nteractive)."""
    base = read("/etc/needrestart/needrestart.conf")
    if base is None:
        return None
    return needrestart_mode(
        "\n".join([base, *((read(path) or "") for path in sorted(glob.glob("/etc/needrestart/conf.d/*.conf")))])
    )


def lockdown() -> Optional[Dict[str, Any]]:
    """The state of the lockdown, None where there never was one."""
    text = read("/var/lib/sapflux/lockdown.json")
    return None if text is None else dict(json.loads(text))


def nft() -> List[Dict[str, Any]]:
    """The kernel's rules."""
    return list(json.loads(run(["nft", "--json", "list", "ruleset"]))["nftables"])


def sysctl() -> Dict[str, Optional[str]]:
    """The kernel's settings."""
    found = {name: read("/proc/sys/" + name.replace(".", "/")) for name in SYSCTL}
    return {name: None if value is None else value.strip() for name, value in found.items()}


def clock() -> Dict[str, str]:
    """What timedated says."""
    return settings(run(["timedatectl", "show"]))


def gather(wanted: Dict[str, Any]) -> Dict[str, Any]:
    """All facts. `wanted` is what was said of the host: admins, firewall, public_tcp."""
    user = (wanted["admins"] or ["nobody"])[0]
    parts: Dict[str, Callable[[], Any]] = {
        "sshd": lambda: ssh(user),
        "users": users,
        "groups": lambda: {entry.gr_name: {"gid": entry.gr_gid, "members": entry.gr_mem} for entry in grp.getgrall()},
        "sudoers": sudoers,
        "authorized_keys": authorized_keys,
        "modes": lambda: {path: stat_of(path) for path in MODES if os.path.exists(path)},
        "secrets": secrets,
        "odd_files": lambda: odd_files(run),
        "login_defs": lambda: dict(
            line.split()[:2] for line in (read("/etc/login.defs") or "").splitlines() if len(line.split()) > 1
        ),
        "crontabs": lambda: sorted(os.path.basename(path) for path in glob.glob("/var/spool/cron/crontabs/*")),
        "nft": nft,
        "listeners": lambda: listeners(run(["ss", "-H", "-ltnup"])),
        "tailscale": tailscale,
        "lockdown": lockdown,
        "sysctl": sysctl,
        "modules": modules,
        "apparmor": lambda: (read("/sys/module/apparmor/parameters/enabled") or "").strip(),
        "core": core,
        "mounts": sized_mounts,
        "memory": memory,
        "disks": disks,
        "journal": journal,
        "clock": clock,
        "apt": apt,
        "needrestart": needrestart,
        "reboot_required": lambda: os.path.exists("/run/reboot-required"),
        "docker": docker,
        "postgres": postgres,
        "units": units,
        "failed_units": failed_units,
        "exposure": exposure,
        "container": container,
    }
    # They wait for other programs, not for this one, so they are asked at the same time.
    with ThreadPoolExecutor(max_workers=8) as pool:
        waiting = {name: pool.submit(_answer, ask) for name, ask in parts.items()}
        return {"wanted": wanted, **{name: future.result() for name, future in waiting.items()}}


def _answer(ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except FileNotFoundError:
        return None
    except (AskError, OSError, ValueError, KeyError, IndexError, TypeError) as error:
        return {"error": f"{error}" if isinstance(error, AskError) else f"{type(error).__name__} {error}"}
