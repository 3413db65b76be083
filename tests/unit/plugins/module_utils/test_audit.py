"""Every check of the audit, from both sides: it passes on a good host, and finds each fault that it is there for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.sapflux.hosting.plugins.module_utils._audit import Check, audit, judge, summary
from ansible_collections.sapflux.hosting.plugins.module_utils._audit_checks import CHECKS
from ansible_collections.sapflux.hosting.plugins.module_utils._audit_network import openings

from .audit_host import (
    ACCEPT,
    CONTAINER,
    DROP,
    FORWARD,
    HTTPS,
    ICMP6,
    INPUT,
    METADATA,
    NEIGHBOURS,
    NFT,
    PUBLISHED,
    SSH_PUBLIC,
    SSH_TAILNET,
    host,
    match,
    meta,
    payload,
    rule,
    unit,
)

BY_ID = {check.id: check for check in CHECKS}
Change = tuple[tuple[Any, ...], Any]


def swapped(old: dict[str, Any], new: dict[str, Any]) -> Change:
    """The kernel's rules with one in place of another."""
    return ("nft",), [new if item == old else item for item in NFT]


#: Another way to say the same: everything from outside falls to the policy.
DROPPING: Change = (
    ("nft",),
    [
        {"chain": {**FORWARD["chain"], "policy": "drop"}} if item == FORWARD else item
        for item in NFT
        if item not in (PUBLISHED, NEIGHBOURS)
    ],
)
METADATA_NETWORK = rule("forward", match(payload("ip", "daddr"), {"prefix": {"addr": "169.254.0.0", "len": 16}}), DROP)


def sshd(key: str, value: str) -> Change:
    """A setting of the SSH server."""
    return ("sshd", "user", key), [value]


def without(*objects: dict[str, Any]) -> Change:
    """The kernel's rules without some."""
    return ("nft",), [item for item in NFT if item not in objects]


def also(item: dict[str, Any]) -> Change:
    """The kernel's rules with one more."""
    return ("nft",), [*NFT, item]


def container(**changes: Any) -> Change:
    """A container that is not as it should be."""
    return ("docker", "containers"), [{**CONTAINER, **changes}]


def hba(**changes: Any) -> Change:
    """One more access rule of PostgreSQL."""
    line = {"line": 9, "type": "host", "user": "all", "address": "10.0.0.0", "method": "scram-sha-256", "error": None}
    return ("postgres", "hba"), [{**line, **changes}]


def user(index: int, key: str, value: Any) -> Change:
    """Something about a user: 0 is root, 1 daemon, 3 the administrator."""
    return ("users", index, key), value


def person(**changes: Any) -> Change:
    """One user more."""
    entry = {
        "name": "eve",
        "uid": 1001,
        "gid": 1001,
        "shell": "/bin/bash",
        "home": "/home/eve",
        "home_mode": "0700",
        "password": "locked",
    }
    return ("users",), [*host()["users"], {**entry, **changes}]


def listener(address: str, port: int, program: str, protocol: str = "tcp") -> Change:
    """One open port."""
    return ("listeners",), [{"protocol": protocol, "address": address, "port": port, "program": program}]


def apt(key: str, value: Any) -> Change:
    """A key of apt's configuration."""
    return ("apt", "config", key), value


def service(name: str, value: dict[str, str]) -> Change:
    """A unit."""
    return ("units", name), value


RULES = ("sudoers", "rules", "/etc/sudoers.d/90-sapflux")
SYSCTL_FAULTS = {
    "net-forward": ("net.ipv4.ip_forward", "0"),
    "net-rp-filter": ("net.ipv4.conf.all.rp_filter", "0"),
    "net-redirects": ("net.ipv4.conf.all.accept_redirects", "1"),
    "net-redirects6": ("net.ipv6.conf.all.accept_redirects", "1"),
    "net-send-redirects": ("net.ipv4.conf.all.send_redirects", "1"),
    "net-source-route": ("net.ipv4.conf.all.accept_source_route", "1"),
    "net-source-route6": ("net.ipv6.conf.all.accept_source_route", "1"),
    "net-broadcast": ("net.ipv4.icmp_echo_ignore_broadcasts", "0"),
    "net-syncookies": ("net.ipv4.tcp_syncookies", "0"),
    "kernel-dmesg": ("kernel.dmesg_restrict", "0"),
    "kernel-pointers": ("kernel.kptr_restrict", "0"),
    "kernel-ptrace": ("kernel.yama.ptrace_scope", "0"),
    "kernel-bpf": ("kernel.unprivileged_bpf_disabled", "0"),
    "kernel-aslr": ("kernel.randomize_va_space", "1"),
    "kernel-hardlinks": ("fs.protected_hardlinks", "0"),
    "kernel-symlinks": ("fs.protected_symlinks", "0"),
    "kernel-fifos": ("fs.protected_fifos", "0"),
    "kernel-suid-dump": ("fs.suid_dumpable", "2"),
}
SSHD_FAULTS = [
    ("ssh-password", "passwordauthentication", "yes"),
    ("ssh-keyboard", "kbdinteractiveauthentication", "yes"),
    ("ssh-empty-passwords", "permitemptypasswords", "yes"),
    ("ssh-public-key", "pubkeyauthentication", "no"),
    ("ssh-methods", "authenticationmethods", "any"),
    ("ssh-host-based", "hostbasedauthentication", "yes"),
    ("ssh-rhosts", "ignorerhosts", "no"),
    ("ssh-strict-modes", "strictmodes", "no"),
    ("ssh-tries", "maxauthtries", "6"),
    ("ssh-grace", "logingracetime", "0"),
    ("ssh-grace", "logingracetime", "120"),
    ("ssh-x11", "x11forwarding", "yes"),
    ("ssh-agent", "allowagentforwarding", "yes"),
    ("ssh-tcp-forwarding", "allowtcpforwarding", "yes"),
    ("ssh-gateway", "gatewayports", "clientspecified"),
    ("ssh-tunnel", "permittunnel", "point-to-point"),
    ("ssh-environment", "permituserenvironment", "yes"),
    ("ssh-log-level", "loglevel", "INFO"),
    ("ssh-exchange-first", "kexalgorithms", "curve25519-sha256,mlkem768x25519-sha256"),
    ("ssh-exchange-weak", "kexalgorithms", "mlkem768x25519-sha256,diffie-hellman-group14-sha1"),
    ("ssh-ciphers", "ciphers", "aes256-gcm@openssh.com,aes128-cbc"),
    ("ssh-macs", "macs", "hmac-sha1"),
    ("ssh-key-types", "pubkeyacceptedalgorithms", "ssh-ed25519,ssh-rsa"),
    ("ssh-penalties", "persourcepenaltyexemptlist", "none"),
]
FAULTS: list[tuple[str, Change]] = [
    *[(name, sshd(key, value)) for name, key, value in SSHD_FAULTS],
    *[(name, (("sysctl", key), value)) for name, (key, value) in SYSCTL_FAULTS.items()],
    ("ssh-root-login", (("sshd", "root", "permitrootlogin"), ["prohibit-password"])),
    ("ssh-allowed-users", (("sshd", "user", "allowusers"), [])),
    ("ssh-owner", service("ssh.socket", unit())),
    ("ssh-owner", service("ssh.service", unit("inactive"))),
    ("ssh-host-keys", (("sshd", "host_keys", 1, "bits"), 2048)),
    ("ssh-host-keys", (("sshd", "host_keys", 0, "type"), "ECDSA")),
    ("ssh-host-key-modes", (("sshd", "host_keys", 0, "mode"), "0640")),
    ("ssh-host-key-modes", (("sshd", "host_keys", 0, "owner"), "ops")),
    ("account-root-password", user(0, "password", "set")),
    ("account-passwords", user(3, "password", "set")),
    ("account-empty", user(3, "password", "empty")),
    ("account-uid0", person(uid=0)),
    ("account-twice", person(uid=1000)),
    ("account-twice", person(name="ops")),
    ("account-shells", user(1, "shell", "/bin/sh")),
    ("account-people", person()),
    ("account-homes", user(3, "home_mode", "0777")),
    ("account-crypt", (("login_defs", "ENCRYPT_METHOD"), "MD5")),
    ("account-docker", (("groups", "docker", "members"), ["ops"])),
    ("account-docker", user(3, "gid", 990)),
    ("account-groups", (("groups", "adm", "members"), ["eve"])),
    ("sudo-users", (RULES, ["eve ALL=(ALL) NOPASSWD: ALL"])),
    ("sudo-users", (("groups", "sudo", "members"), ["eve"])),
    ("sudo-modes", (("sudoers", "files", "/etc/sudoers.d/90-sapflux", "mode"), "0644")),
    ("sudo-syntax", (("sudoers", "syntax"), "syntax error")),
    ("key-owners", (("authorized_keys", 1, "keys"), [{"type": "ED25519", "bits": 256}])),
    ("key-modes", (("authorized_keys", 0, "mode"), "0666")),
    ("key-modes", (("authorized_keys", 0, "owner"), "eve")),
    ("key-kinds", (("authorized_keys", 0, "keys"), [{"type": "RSA", "bits": 2048}])),
    ("file-system", (("modes", "/etc/shadow", "mode"), "0644")),
    ("file-secrets", (("secrets", 0, "mode"), "0644")),
    ("file-setuid", (("odd_files", "setuid"), ["/usr/local/bin/shell"])),
    ("file-writable", (("odd_files", "writable"), ["/etc/profile"])),
    ("file-sticky", (("odd_files", "sticky"), ["/srv/drop"])),
    ("file-orphans", (("odd_files", "orphans"), ["/opt/left"])),
    ("file-crontabs", (("crontabs",), ["eve"])),
    ("firewall-loaded", without(*[item for item in NFT if "sapflux" in str(item)])),
    ("firewall-loaded", without(*[item for item in NFT if "rule" in item])),
    (
        "firewall-default",
        (("nft",), [{"chain": {**INPUT["chain"], "policy": "accept"}} if item == INPUT else item for item in NFT]),
    ),
    ("firewall-default", without(INPUT)),
    ("firewall-conditions", also(rule("input", ACCEPT))),
    ("firewall-published", without(PUBLISHED)),
    ("firewall-published", also(rule("forward", match(meta("iifname"), "eth0"), ACCEPT))),
    ("firewall-neighbours", without(NEIGHBOURS)),
    ("firewall-neighbours", also(rule("forward", ACCEPT))),
    ("firewall-metadata", without(METADATA)),
    ("firewall-ipv6", without(ICMP6)),
    ("firewall-boot", service("sapflux-firewall.service", unit(UnitFileState="disabled"))),
    ("firewall-flush", service("nftables.service", unit())),
    ("firewall-rivals", service("ufw.service", unit())),
    ("firewall-public", also(rule("input", match(payload("tcp", "dport"), 8080), ACCEPT))),
    (
        "firewall-public",
        also(rule("input", match(payload("tcp", "dport"), {"set": [443, {"range": [1, 99]}]}), ACCEPT)),
    ),
    (
        "firewall-public",
        also(rule("input", match(meta("iifname"), "eth0"), match(payload("udp", "dport"), 53), ACCEPT)),
    ),
    ("firewall-ssh", also(SSH_PUBLIC)),
    ("firewall-ssh", also(rule("input", match(payload("tcp", "dport"), {"range": [1, 1023]}), ACCEPT))),
    ("firewall-dead", (("listeners",), [])),
    ("port-known", listener("0.0.0.0", 9000, "minio")),
    ("port-known", listener("*", 8000, "python3")),
    ("port-everywhere", listener("0.0.0.0", 5432, "postgres")),
    ("tailnet-running", (("tailscale", "state"), "NeedsLogin")),
    ("tailnet-tagged", (("tailscale", "tags"), [])),
    ("tailnet-expiry", (("tailscale", "expiry"), "2027-01-01T00:00:00Z")),
    ("tailnet-ssh", (("tailscale", "ssh"), True)),
    ("tailnet-health", (("tailscale", "health"), ["not connected to home DERP"])),
    ("tailnet-boot", service("tailscaled.service", unit(UnitFileState="disabled"))),
    ("lockdown-ssh", also(SSH_PUBLIC)),
    (
        "lockdown-ssh",
        also(rule("input", match(payload("ip", "saddr"), "@ops4"), match(payload("tcp", "dport"), 22), ACCEPT)),
    ),
    ("lockdown-ssh", without(SSH_TAILNET)),
    ("kernel-modules", (("modules", "blocked"), ["cramfs"])),
    ("kernel-loaded", (("modules", "loaded"), ["sctp"])),
    ("kernel-apparmor", (("apparmor",), "N")),
    ("kernel-core", (("core", "limit"), "infinity")),
    ("memory-swap", (("memory", "swap"), 0)),
    ("memory-swappiness", (("sysctl", "vm.swappiness"), "60")),
    ("memory-swappiness", (("memory", "zram"), True)),
    ("memory-oom", service("ssh.service", unit())),
    ("memory-oom", service("postgresql@17-main.service", unit())),
    ("memory-tmp", (("mounts", "/tmp", "size"), 1024 * 2**20)),
    ("disk-tmp", (("mounts", "/tmp", "options"), ["rw", "nosuid"])),
    ("disk-shm", (("mounts", "/dev/shm", "options"), ["rw"])),
    ("disk-space", (("disks", 0, "percent"), 85)),
    ("disk-inodes", (("disks", 0, "inodes"), 99)),
    ("journal-kept", (("journal",), {"Storage": "volatile", "directory": True})),
    ("journal-kept", (("journal",), {"directory": False})),
    ("journal-bounded", (("journal",), {"Storage": "persistent", "directory": True})),
    ("clock-unit", service("systemd-timesyncd.service", unit(UnitFileState="disabled"))),
    ("clock-unit", service("chrony.service", unit())),
    ("clock-right", (("clock", "NTPSynchronized"), "no")),
    ("update-lists", apt("APT::Periodic::Update-Package-Lists", ["0"])),
    ("update-install", apt("APT::Periodic::Unattended-Upgrade", ["1", "0"])),
    ("update-origins", apt("Unattended-Upgrade::Origins-Pattern::", ["origin=Debian,label=Debian"])),
    ("update-foreign", apt("Unattended-Upgrade::Origins-Pattern::", ["origin=Debian-Security", "site=evil.test"])),
    ("update-blacklist", apt("Unattended-Upgrade::Package-Blacklist::", ["^docker", "^containerd"])),
    ("update-reboot", apt("Unattended-Upgrade::Automatic-Reboot", ["false"])),
    ("update-timers", service("apt-daily-upgrade.timer", unit("inactive"))),
    ("update-young", (("apt", "lists_age"), 4 * 86400.0)),
    ("update-young", (("apt", "lists_age"), None)),
    ("update-security", (("apt", "pending_security"), ["openssl"])),
    ("update-waiting", (("apt", "pending"), ["tzdata"])),
    ("update-reboot-due", (("reboot_required",), True)),
    ("update-signed", (("apt", "unsigned"), ["/etc/apt/sources.list: deb [trusted=yes]"])),
    ("update-verified", apt("APT::Get::AllowUnauthenticated", ["true"])),
    ("update-verified", apt("Acquire::https::Verify-Peer", ["false"])),
    ("update-needrestart", (("needrestart",), "a")),
    ("package-whole", (("apt", "broken"), ["libc6"])),
    ("package-unwanted", (("apt", "unwanted"), ["telnetd"])),
    ("docker-version", (("docker", "info", "version"), "20.10.24")),
    ("docker-live-restore", (("docker", "info", "live_restore"), False)),
    (
        "docker-logs",
        (
            ("docker",),
            {**host()["docker"], "info": {**host()["docker"]["info"], "log_driver": "json-file"}, "config": {}},
        ),
    ),
    ("docker-proxy", (("docker", "config", "userland-proxy"), True)),
    ("docker-privileges", (("docker", "info", "security"), ["name=seccomp"])),
    ("docker-bind", (("docker", "config", "ip"), "0.0.0.0")),
    ("docker-bind-compose", (("docker", "config", "default-network-opts"), {})),
    ("docker-remote", listener("127.0.0.1", 2375, "dockerd")),
    ("docker-socket", (("docker", "socket", "mode"), "0666")),
    ("docker-registries", (("docker", "config", "insecure-registries"), ["registry.example.org"])),
    ("docker-prune", service("sapflux-docker-prune.timer", unit("inactive"))),
    ("docker-held", (("apt", "held"), [])),
    ("container-privileged", container(privileged=True)),
    ("container-host-net", container(network="host")),
    ("container-host-pid", container(pid="host")),
    ("container-host-pid", container(ipc="host")),
    ("container-powers", container(cap_add=["CAP_SYS_ADMIN"])),
    ("container-socket", container(mounts=["/run/docker.sock"])),
    ("container-paths", container(mounts=["/"])),
    ("container-paths", container(mounts=["/etc/"])),
    ("container-confined", container(unconfined=["seccomp=unconfined"])),
    ("container-published", container(ports=[{"ip": "0.0.0.0", "port": "80->80/tcp"}])),
    ("container-published", container(ports=[{"ip": "", "port": "80->80/tcp"}])),
    ("container-well", container(health="unhealthy")),
    ("container-well", container(state="restarting", restarts=3)),
    ("container-user", container(user="")),
    ("container-user", container(user="root:root")),
    ("container-capabilities", container(cap_drop=["MKNOD"])),
    ("container-read-only", container(read_only=False)),
    ("container-memory", container(memory=0)),
    ("container-logs", container(log_options={"max-size": "5m"})),
    ("container-logs", container(log_driver="json-file", log_options={})),
    ("postgres-listen", (("postgres", "settings", "listen_addresses"), "*")),
    ("postgres-methods", hba(method="trust")),
    ("postgres-methods", hba(method="md5")),
    ("postgres-world", hba(address="0.0.0.0")),
    ("postgres-world", hba(address="all")),
    ("postgres-rules", hba(error="invalid authentication method")),
    ("postgres-superusers", (("postgres", "superusers"), ["postgres", "eve"])),
    ("postgres-encryption", (("postgres", "settings", "password_encryption"), "md5")),
    ("postgres-stored", (("postgres", "weak_passwords"), ["app"])),
    ("postgres-data", (("postgres", "data", "mode"), "0755")),
    ("postgres-fsync", (("postgres", "settings", "fsync"), "off")),
    ("postgres-full-page", (("postgres", "settings", "full_page_writes"), "off")),
    ("unit-failed", (("failed_units",), ["sapflux-backup.service"])),
    ("unit-timers", service("sapflux-docker-prune.timer", unit("inactive", UnitFileState="disabled"))),
    ("unit-results", service("sapflux-docker-prune.service", unit("failed", Result="exit-code"))),
    ("unit-exposure", (("exposure", "sapflux-docker-prune.service"), 9.6)),
]


def result(name: str, facts: dict[str, Any]) -> dict[str, str]:
    """One check on a host."""
    return judge(BY_ID[name], facts)


def test_there_are_enough_checks_and_each_is_whole() -> None:
    """At least 60, ids once, every field filled in."""
    assert len(CHECKS) >= 60
    assert len(BY_ID) == len(CHECKS)
    for check in CHECKS:
        assert check.severity in ("fail", "note")
        assert all((check.id, check.title, check.expected, check.shows))
        assert len(check.id) <= 24


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.id)
def test_a_good_host_passes(check: Check) -> None:
    """Every check, and none by not applying."""
    found = judge(check, host())
    assert found["result"] == "pass", found["found"]


@pytest.mark.parametrize(("name", "change"), FAULTS, ids=[f"{name}-{index}" for index, (name, _) in enumerate(FAULTS)])
def test_each_fault_is_found_by_its_check(name: str, change: Change) -> None:
    """It fails, and says what it found."""
    found = result(name, host(change))
    assert found["result"] == "fail"
    assert found["found"]
    assert not found["found"].startswith("cannot be judged"), found["found"]


def test_every_check_has_a_fault() -> None:
    """A check that nobody has seen fail proves nothing."""
    assert sorted({name for name, _change in FAULTS}) == sorted(BY_ID)


#: Part of the host that is not there, and checks that then have nothing to say.
ABSENT = {
    "docker": [
        "docker-version",
        "docker-prune",
        "docker-held",
        "docker-remote",
        "container-privileged",
        "container-logs",
    ],
    "postgres": ["postgres-listen", "postgres-methods", "postgres-data"],
    "tailscale": ["tailnet-running", "tailnet-expiry", "tailnet-boot"],
    "sshd": ["ssh-password", "ssh-root-login", "ssh-owner", "ssh-host-keys"],
    "lockdown": ["lockdown-ssh"],
    "needrestart": ["update-needrestart"],
    "sudoers": ["sudo-users", "sudo-syntax", "sudo-modes"],
    "secrets": ["file-secrets"],
    "modules": ["kernel-modules"],
    "nft": ["firewall-loaded", "firewall-public", "firewall-flush"],
}


@pytest.mark.parametrize(("part", "names"), ABSENT.items())
def test_what_is_not_there_is_not_judged(part: str, names: list[str]) -> None:
    """It says why, and is no pass."""
    results = {item["id"]: item for item in audit(CHECKS, host(((part,), None)))}
    for name in names:
        assert results[name]["result"] == "n/a", results[name]
        assert results[name]["found"]
    assert [item["id"] for item in results.values() if item["found"].startswith("cannot be judged")] == []


@pytest.mark.parametrize("part", [part for part in ABSENT if part not in ("lockdown", "secrets", "needrestart")])
def test_what_cannot_be_read_fails(part: str) -> None:
    """Nothing is known then, so nothing passes."""
    results = audit(CHECKS, host(((part,), {"error": "it hangs"})))
    assert any(item["result"] == "fail" and "cannot be read: it hangs" in item["found"] for item in results)


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("sudo-users", (("wanted", "admins"), []), "nobody said"),
        ("lockdown-ssh", (("lockdown",), {"locked": False}), "not locked down now"),
        ("account-docker", (("groups",), {}), "no group docker"),
        ("kernel-dmesg", (("container",), "docker"), "a container (docker)"),
        ("memory-swap", (("container",), "lxc"), "a container (lxc)"),
        ("ssh-penalties", (("sshd", "user"), {}), "no penalties"),
        ("container-user", (("docker", "containers"), []), "no containers"),
        ("container-user", container(state="exited"), "no container runs"),
        ("net-syncookies", (("sysctl", "net.ipv4.tcp_syncookies"), None), "no such setting"),
        ("disk-tmp", (("mounts",), {}), "no mount of its own"),
        ("memory-tmp", (("mounts", "/tmp", "type"), "ext4"), "not lie in memory"),
        ("unit-timers", (("units",), {}), "no timer of ours"),
        ("unit-exposure", (("exposure",), {"sapflux-swap.service": 9.6}), "no service of ours"),
        ("memory-oom", (("units",), {}), "none of them runs"),
        ("update-blacklist", (("units",), {}), "neither Docker nor PostgreSQL"),
        ("ssh-x11", (("wanted", "skip"), {"ssh-x11": "a plotting host"}), "by decision: a plotting host"),
    ],
)
def test_a_check_that_does_not_apply_says_why(name: str, change: Change, reason: str) -> None:
    """And is no pass."""
    found = result(name, host(change))
    assert found["result"] == "n/a"
    assert reason in found["found"]


def test_in_a_container_the_configured_score_is_judged() -> None:
    """Its kernel does not let it lower one; sshd, which lowers its own, is passed over."""
    inside = (("container",), "docker")
    assert result("memory-oom", host(inside, service("ssh.service", unit())))["result"] == "pass"
    found = result("memory-oom", host(inside, service("postgresql@17-main.service", unit(Score="-900"))))
    assert (found["result"], found["found"]) == ("fail", "postgresql@17-main.service 0")


def test_a_host_without_our_firewall_is_judged_only_when_it_should_have_one() -> None:
    """By default its absence fails; where it is not wanted it does not apply."""
    gone = without(*[item for item in NFT if "sapflux" in str(item)])
    assert result("firewall-default", host(gone))["result"] == "fail"
    assert result("firewall-default", host(gone, (("wanted", "firewall"), False)))["result"] == "n/a"
    assert result("firewall-default", host((("wanted", "firewall"), False)))["result"] == "pass"


@pytest.mark.parametrize(
    ("name", "change"),
    [
        # What looks like a fault and is none.
        ("firewall-published", DROPPING),
        ("firewall-neighbours", DROPPING),
        ("firewall-metadata", swapped(METADATA, METADATA_NETWORK)),
        ("sudo-users", (RULES, ["Defaults:eve !lecture", "User_Alias X = eve", "ops ALL=(ALL) ALL"])),
        ("container-published", container(ports=[{"ip": "::1", "port": "80->80/tcp"}])),
        ("container-paths", container(mounts=["/etc/localtime", "/var/lib/sapflux"])),
        ("container-logs", container(log_driver="journald", log_options={})),
        ("container-user", container(user="app")),
        ("firewall-public", (("wanted", "public_tcp"), [8080])),
        ("port-known", listener("127.0.0.11", 4000, "")),
        ("port-known", listener("::1", 4000, "python3")),
        ("port-everywhere", listener("172.30.0.1", 5432, "postgres")),
        ("postgres-world", hba(address="0.0.0.0", method="reject")),
        ("memory-swappiness", (("sysctl", "vm.swappiness"), "0")),
        ("journal-kept", (("journal",), {"directory": True})),
        ("docker-logs", (("docker", "info", "log_driver"), "journald")),
        ("ssh-owner", service("ssh.socket", unit("inactive"))),
        ("kernel-core", (("core",), {"limit": "infinity", "storage": "none"})),
    ],
)
def test_what_only_looks_like_a_fault_passes(name: str, change: Change) -> None:
    """A check that cries wolf is switched off."""
    found = result(name, host(change))
    assert found["result"] == "pass", found["found"]


def test_openings_are_read_from_the_kernels_rules() -> None:
    """Ports, ranges and sets, with interface and source; replies and loopback are no openings."""
    found = {(item.protocol, item.first, item.last, item.interface, item.source) for item in openings(host())}
    assert found == {
        ("udp", 68, 68, "", ""),
        ("tcp", 22, 22, "tailscale0", ""),
        ("tcp", 443, 443, "", ""),
        ("udp", 41641, 41641, "", ""),
        ("tcp", 9000, 9001, "", "@ops4"),
    }
    two = rule("input", match(meta("iifname"), "br-x"), match(payload("tcp", "dport"), {"set": [80, 81]}), ACCEPT)
    assert {item.first for item in openings(host(also(two))) if item.interface == "br-x"} == {80, 81}
    assert openings(host(without(HTTPS))) != openings(host())


def test_an_answer_that_nobody_has_seen_yet_fails() -> None:
    """Better a failed check than none."""
    found = result("memory-oom", host(service("ssh.service", {"ActiveState": "active", "MainPID": "9"})))
    assert (found["result"], found["found"]) == ("fail", "cannot be judged: KeyError 'Score'")


def test_the_summary_counts_notes_apart() -> None:
    """They do not count for the exit code."""
    facts = host((("crontabs",), ["eve"]), sshd("passwordauthentication", "yes"), (("lockdown",), None))
    count = summary(audit(CHECKS, facts))
    assert (count["fail"], count["note"], count["n/a"]) == (1, 1, 1)
    assert count["pass"] + 3 == count["checks"] == len(CHECKS)


RECORDED = Path(__file__).with_name("firewall_list.json")


def test_the_roles_own_rules_pass_as_a_real_kernel_lists_them() -> None:
    """Recorded from nft: every check of the firewall passes, and SSH is open to two networks and the tailnet only."""
    facts = host((("nft",), json.loads(RECORDED.read_text(encoding="utf-8"))["nftables"]))
    results = {item["id"]: item for item in audit(CHECKS, facts)}
    firewall = [item for item in results.values() if item["area"] == "firewall"]
    assert [item for item in firewall if item["result"] != "pass"] == []
    assert {(item.interface, item.source) for item in openings(facts) if item.first == 22} == {
        ("tailscale0", ""),
        ("", "@ssh4"),
        ("", "@ssh6"),
    }
    assert results["lockdown-ssh"]["result"] == "fail"
