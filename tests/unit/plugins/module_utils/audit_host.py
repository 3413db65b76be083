"""A host on which every check passes, as the facts say it; tests take a copy and break one thing."""

from __future__ import annotations

import copy
from typing import Any

Path = tuple[Any, ...]


def match(left: dict[str, Any], right: Any, op: str = "==") -> dict[str, Any]:
    """An expression as `nft --json` prints it."""
    return {"match": {"op": op, "left": left, "right": right}}


def payload(protocol: str, field: str) -> dict[str, Any]:
    """A field of a packet."""
    return {"payload": {"protocol": protocol, "field": field}}


def meta(key: str) -> dict[str, Any]:
    """Something that is known of a packet."""
    return {"meta": {"key": key}}


def state(key: str) -> dict[str, Any]:
    """Something that is known of a connection."""
    return {"ct": {"key": key}}


def rule(chain: str, *expressions: dict[str, Any]) -> dict[str, Any]:
    """A rule of our table."""
    return {"rule": {"family": "inet", "table": "sapflux", "chain": chain, "expr": list(expressions)}}


COUNTER: dict[str, Any] = {"counter": {"packets": 0, "bytes": 0}}
ACCEPT: dict[str, Any] = {"accept": None}
DROP: dict[str, Any] = {"drop": None}
HTTPS = rule("input", match(meta("nfproto"), "ipv4"), match(payload("tcp", "dport"), 443), COUNTER, ACCEPT)
SSH_TAILNET = rule("input", match(meta("iifname"), "tailscale0"), match(payload("tcp", "dport"), 22), COUNTER, ACCEPT)
SSH_PUBLIC = rule("input", match(payload("tcp", "dport"), 22), ACCEPT)
PUBLISHED = rule("forward", match(meta("iifname"), "eth0"), match(state("status"), "dnat", "in"), DROP)
NEIGHBOURS = rule("forward", match(meta("iifname"), "eth0"), match(state("state"), ["new"], "in"), DROP)
METADATA = rule("forward", match(payload("ip", "daddr"), "169.254.169.254"), COUNTER, DROP)
ICMP6 = rule("input", match(payload("icmpv6", "type"), {"set": ["echo-request"]}), ACCEPT)
INPUT = {"chain": {"family": "inet", "table": "sapflux", "name": "input", "hook": "input", "prio": 0, "policy": "drop"}}
FORWARD = {"chain": {"family": "inet", "table": "sapflux", "name": "forward", "hook": "forward", "policy": "accept"}}
NFT: list[dict[str, Any]] = [
    {"metainfo": {"version": "1.1.3"}},
    {"table": {"family": "ip", "name": "nat", "handle": 1}},
    {"table": {"family": "inet", "name": "sapflux", "handle": 2}},
    {"set": {"family": "inet", "table": "sapflux", "name": "ops4", "type": "ipv4_addr", "elem": ["192.0.2.7"]}},
    {"set": {"family": "inet", "table": "sapflux", "name": "back4", "type": "ipv4_addr", "flags": ["timeout"]}},
    INPUT,
    rule("input", match(state("state"), ["established", "related"], "in"), ACCEPT),
    rule("input", match(meta("iifname"), "lo"), ACCEPT),
    ICMP6,
    rule("input", match(payload("udp", "sport"), 67), match(payload("udp", "dport"), 68), ACCEPT),
    SSH_TAILNET,
    HTTPS,
    rule("input", match(payload("udp", "dport"), 41641), ACCEPT),
    rule(
        "input", match(payload("ip", "saddr"), "@ops4"), match(payload("tcp", "dport"), {"range": [9000, 9001]}), ACCEPT
    ),
    rule("input", match(payload("ip", "saddr"), "@back4"), match(payload("tcp", "dport"), 22), ACCEPT),
    FORWARD,
    rule("forward", match(state("state"), {"set": ["established", "related"]}, "in"), ACCEPT),
    rule("forward", match(meta("iifname"), "docker*"), ACCEPT),
    METADATA,
    PUBLISHED,
    NEIGHBOURS,
]


def unit(active: str = "active", **more: str) -> dict[str, str]:
    """A unit that is well."""
    shown = {
        "LoadState": "loaded",
        "ActiveState": active,
        "SubState": "",
        "UnitFileState": "enabled",
        "Result": "success",
    }
    return {**shown, "OOMScoreAdjust": "0", "MainPID": "9", "Score": "0", **more}


CONTAINER: dict[str, Any] = {
    "name": "app-1",
    "state": "running",
    "health": "healthy",
    "restarts": 0,
    "user": "10001:10001",
    "privileged": False,
    "network": "app_default",
    "pid": "",
    "ipc": "private",
    "cap_add": [],
    "cap_drop": ["ALL"],
    "read_only": True,
    "unconfined": [],
    "memory": 268435456,
    "mounts": ["/var/lib/sapflux/app/data"],
    "ports": [{"ip": "127.0.0.1", "port": "18080->8080/tcp"}],
    "log_driver": "local",
    "log_options": {"max-size": "10m", "max-file": "3"},
}

GOOD: dict[str, Any] = {
    "wanted": {"admins": ["ops"], "firewall": True, "public_tcp": [], "skip": {}},
    "container": "",
    "sshd": {
        "user": {
            "port": ["22"],
            "passwordauthentication": ["no"],
            "kbdinteractiveauthentication": ["no"],
            "permitemptypasswords": ["no"],
            "pubkeyauthentication": ["yes"],
            "authenticationmethods": ["publickey"],
            "hostbasedauthentication": ["no"],
            "ignorerhosts": ["yes"],
            "strictmodes": ["yes"],
            "allowusers": ["ops"],
            "maxauthtries": ["4"],
            "logingracetime": ["30"],
            "x11forwarding": ["no"],
            "allowagentforwarding": ["no"],
            "allowtcpforwarding": ["local"],
            "gatewayports": ["no"],
            "permittunnel": ["no"],
            "permituserenvironment": ["no"],
            "loglevel": ["VERBOSE"],
            "kexalgorithms": ["mlkem768x25519-sha256,curve25519-sha256"],
            "ciphers": ["chacha20-poly1305@openssh.com,aes256-gcm@openssh.com"],
            "macs": ["hmac-sha2-512-etm@openssh.com"],
            "pubkeyacceptedalgorithms": ["ssh-ed25519,rsa-sha2-512"],
            "persourcepenaltyexemptlist": ["100.64.0.0/10"],
        },
        "root": {"permitrootlogin": ["no"]},
        "host_keys": [
            {"path": "/etc/ssh/ssh_host_ed25519_key", "type": "ED25519", "bits": 256, "mode": "0600", "owner": "root"},
            {"path": "/etc/ssh/ssh_host_rsa_key", "type": "RSA", "bits": 3072, "mode": "0600", "owner": "root"},
        ],
    },
    "users": [
        {
            "name": name,
            "uid": uid,
            "gid": uid,
            "shell": shell,
            "home": f"/home/{name}",
            "home_mode": "0700",
            "password": "locked",
        }
        for name, uid, shell in (
            ("root", 0, "/bin/bash"),
            ("daemon", 1, "/usr/sbin/nologin"),
            ("postgres", 103, "/bin/bash"),
            ("ops", 1000, "/bin/bash"),
            ("nobody", 65534, "/usr/sbin/nologin"),
        )
    ],
    "groups": {
        "sudo": {"gid": 27, "members": []},
        "docker": {"gid": 990, "members": []},
        "adm": {"gid": 4, "members": ["ops"]},
        "dev": {"gid": 1005, "members": []},
    },
    "sudoers": {
        "rules": {
            "/etc/sudoers": [
                "Defaults env_reset",
                "root ALL=(ALL:ALL) ALL",
                "%sudo ALL=(ALL:ALL) ALL",
                "@includedir /etc/sudoers.d",
            ],
            "/etc/sudoers.d/90-sapflux": ["ops ALL=(ALL) NOPASSWD: ALL"],
        },
        "files": {
            "/etc/sudoers": {"mode": "0440", "owner": "root"},
            "/etc/sudoers.d/90-sapflux": {"mode": "0440", "owner": "root"},
        },
        "syntax": "ok",
    },
    "authorized_keys": [
        {
            "user": "ops",
            "path": "/home/ops/.ssh/authorized_keys",
            "keys": [{"type": "ED25519", "bits": 256}],
            "mode": "0600",
            "owner": "ops",
        },
        {"user": "root", "path": "/root/.ssh/authorized_keys", "keys": [], "mode": "0600", "owner": "root"},
    ],
    "modes": {"/etc/passwd": {"mode": "0644", "owner": "root"}, "/etc/shadow": {"mode": "0640", "owner": "root"}},
    "secrets": [{"path": "/run/sapflux/app/app/api.env", "mode": "0600", "owner": "root", "group": "root"}],
    "odd_files": {"setuid": [], "writable": [], "sticky": [], "orphans": []},
    "login_defs": {"ENCRYPT_METHOD": "YESCRYPT"},
    "crontabs": [],
    "nft": NFT,
    "listeners": [
        {"protocol": "tcp", "address": "0.0.0.0", "port": 22, "program": "sshd"},
        {"protocol": "tcp", "address": "*", "port": 443, "program": "caddy"},
        {"protocol": "udp", "address": "0.0.0.0", "port": 41641, "program": "tailscaled"},
        {"protocol": "tcp", "address": "127.0.0.1", "port": 5432, "program": "postgres"},
        {"protocol": "tcp", "address": "172.30.0.1", "port": 5432, "program": "postgres"},
        {"protocol": "udp", "address": "fe80::1%eth0", "port": 546, "program": "systemd-network"},
    ],
    "tailscale": {"state": "Running", "tags": ["tag:server"], "expiry": "", "ssh": False, "health": []},
    "lockdown": {"locked": True, "since": "2026-11-20T03:17:09Z"},
    "sysctl": {
        "fs.protected_fifos": "1",
        "fs.protected_hardlinks": "1",
        "fs.protected_symlinks": "1",
        "fs.suid_dumpable": "0",
        "kernel.dmesg_restrict": "1",
        "kernel.kptr_restrict": "2",
        "kernel.randomize_va_space": "2",
        "kernel.unprivileged_bpf_disabled": "2",
        "kernel.yama.ptrace_scope": "1",
        "net.ipv4.conf.all.accept_redirects": "0",
        "net.ipv4.conf.all.accept_source_route": "0",
        "net.ipv4.conf.all.rp_filter": "2",
        "net.ipv4.conf.all.send_redirects": "0",
        "net.ipv4.icmp_echo_ignore_broadcasts": "1",
        "net.ipv4.ip_forward": "1",
        "net.ipv4.tcp_syncookies": "1",
        "net.ipv6.conf.all.accept_redirects": "0",
        "net.ipv6.conf.all.accept_source_route": "0",
        "vm.swappiness": "10",
    },
    "modules": {
        "blocked": ["cramfs", "dccp", "freevxfs", "hfs", "hfsplus", "jffs2", "rds", "sctp", "tipc"],
        "loaded": ["overlay", "ext4"],
    },
    "apparmor": "Y",
    "core": {"limit": "0", "storage": ""},
    "mounts": {
        "/tmp": {"type": "tmpfs", "options": ["rw", "nosuid", "nodev"], "size": 256 * 2**20},
        "/dev/shm": {"type": "tmpfs", "options": ["rw", "nosuid", "nodev"], "size": 2**30},
    },
    "memory": {"total": 2048 * 2**20, "swap": 2048 * 2**20, "zram": False},
    "disks": [{"path": "/", "percent": 31, "inodes": 5}],
    "journal": {"Storage": "persistent", "SystemMaxUse": "500M", "directory": True},
    "clock": {"NTPSynchronized": "yes"},
    "apt": {
        "config": {
            "APT::Periodic::Update-Package-Lists": ["1"],
            "APT::Periodic::Unattended-Upgrade": ["1"],
            "Unattended-Upgrade::Origins-Pattern::": ["origin=Debian,codename=trixie-security,label=Debian-Security"],
            "Unattended-Upgrade::Package-Blacklist::": ["^docker", "^containerd", "^postgresql"],
            "Unattended-Upgrade::Automatic-Reboot": ["true"],
        },
        "lists_age": 3600.0,
        "pending": [],
        "pending_security": [],
        "unsigned": [],
        "broken": [],
        "held": ["docker.io", "docker-cli"],
        "unwanted": [],
    },
    "needrestart": "l",
    "reboot_required": False,
    "docker": {
        "info": {
            "version": "26.1.5+dfsg1",
            "live_restore": True,
            "log_driver": "local",
            "security": ["name=seccomp,profile=builtin", "name=no-new-privileges"],
        },
        "config": {
            "userland-proxy": False,
            "ip": "127.0.0.1",
            "default-network-opts": {"bridge": {"com.docker.network.bridge.host_binding_ipv4": "127.0.0.1"}},
            "insecure-registries": ["10.83.0.11:5000", "10.0.0.0/8", "localhost:5000"],
            "log-opts": {"max-size": "10m", "max-file": "3"},
        },
        "containers": [CONTAINER],
        "socket": {"mode": "0660", "owner": "root", "group": "docker"},
    },
    "postgres": {
        "settings": {
            "listen_addresses": "127.0.0.1,172.30.0.1",
            "password_encryption": "scram-sha-256",
            "fsync": "on",
            "full_page_writes": "on",
            "data_directory": "/var/lib/postgresql/17/main",
        },
        "hba": [
            {"line": 1, "type": "local", "user": "postgres", "address": None, "method": "peer", "error": None},
            {
                "line": 2,
                "type": "host",
                "user": "app",
                "address": "172.30.0.0",
                "method": "scram-sha-256",
                "error": None,
            },
            {"line": 3, "type": "host", "user": "all", "address": "0.0.0.0", "method": "reject", "error": None},
        ],
        "superusers": ["postgres"],
        "weak_passwords": [],
        "data": {"mode": "0700", "owner": "postgres", "group": "postgres"},
    },
    "units": {
        "ssh.service": unit(Score="-1000"),
        "ssh.socket": unit("inactive", UnitFileState="disabled"),
        "nftables.service": unit("inactive", UnitFileState="disabled"),
        "sapflux-firewall.service": unit(),
        "ufw.service": {"LoadState": "not-found", "ActiveState": "inactive", "UnitFileState": ""},
        "systemd-timesyncd.service": unit(),
        "apt-daily.timer": unit(),
        "apt-daily-upgrade.timer": unit(),
        "docker.service": unit(),
        "containerd.service": unit(),
        "postgresql.service": unit(),
        "postgresql@17-main.service": unit(OOMScoreAdjust="-900", Score="-900"),
        "tailscaled.service": unit(OOMScoreAdjust="-800", Score="-800"),
        "sapflux-docker-prune.timer": unit(),
        "sapflux-docker-prune.service": unit("inactive", UnitFileState="static"),
    },
    "failed_units": [],
    "exposure": {"sapflux-docker-prune.service": 1.1, "sapflux-firewall.service": 9.0},
}


def host(*changes: tuple[Path, Any]) -> dict[str, Any]:
    """A good host with some facts changed: (keys and indices on the way there, value)."""
    facts = copy.deepcopy(GOOD)
    for path, value in changes:
        place: Any = facts
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
    return facts
