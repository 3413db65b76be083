# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private: checks of the kernel, memory, disks, journal, clock and updates. Pure functions."""

from __future__ import annotations

from typing import Any, Callable, List

from ansible_collections.sapflux.hosting.plugins.module_utils._audit import (
    Check,
    Facts,
    NotApplicableError,
    Verdict,
    bare_metal,
    equals,
    few,
    none_of,
    part,
    row,
)

#: Protocols and file systems that a server has no use for, and whose modules have been the way in before.
UNWANTED_MODULES = ("dccp", "sctp", "rds", "tipc", "cramfs", "freevxfs", "jffs2", "hfs", "hfsplus")
PROTECTED = ("ssh.service", "postgresql@", "tailscaled.service")
PROTECTION = -500
DAY = 86400
MIB = 1024 * 1024


def _sysctl(name: str, *wanted: str, kernel: bool = False) -> Callable[[Facts], Verdict]:
    def judge(facts: Facts) -> Verdict:
        if kernel:
            bare_metal(facts)
        value = facts["sysctl"].get(name)
        if value is None:
            raise NotApplicableError("this kernel has no such setting")
        return equals(value, *wanted)

    return judge


def _modules(facts: Facts) -> Verdict:
    blocked = part(facts, "modules", "no kernel modules are managed here")["blocked"]
    return none_of(name for name in UNWANTED_MODULES if name not in blocked)


def _loaded(facts: Facts) -> Verdict:
    bare_metal(facts)
    loaded = part(facts, "modules", "no kernel modules are managed here")["loaded"]
    return none_of(name for name in UNWANTED_MODULES if name in loaded)


def _apparmor(facts: Facts) -> Verdict:
    bare_metal(facts)
    return equals(facts["apparmor"], "Y")


def _core(facts: Facts) -> Verdict:
    """Nothing may be kept of a crashed program: by systemd's limit for its units, or by whoever takes the dump."""
    limit, storage = facts["core"]["limit"], facts["core"]["storage"]
    return Verdict(limit == "0" or storage == "none", f"limit {limit}, storage {storage or 'of the system'}")


def _tmp_options(facts: Facts) -> Verdict:
    options = facts["mounts"].get("/tmp", {}).get("options", [])
    if not options:
        raise NotApplicableError("/tmp is no mount of its own")
    return none_of(f"without {name}" for name in ("nosuid", "nodev") if name not in options)


def _tmp_size(facts: Facts) -> Verdict:
    mount = facts["mounts"].get("/tmp", {})
    if mount.get("type") != "tmpfs":
        raise NotApplicableError("/tmp does not lie in memory")
    size, memory = mount["size"], facts["memory"]["total"]
    return Verdict(size * 4 <= memory, f"{size // MIB} MiB of {memory // MIB} MiB of memory")


def _shm(facts: Facts) -> Verdict:
    options = facts["mounts"].get("/dev/shm", {}).get("options", [])
    return none_of(f"without {name}" for name in ("nosuid", "nodev") if name not in options)


def _swap(facts: Facts) -> Verdict:
    bare_metal(facts)
    total = facts["memory"]["swap"]
    return Verdict(total > 0, f"{total // MIB} MiB")


def _swappiness(facts: Facts) -> Verdict:
    bare_metal(facts)
    value, zram = int(facts["sysctl"]["vm.swappiness"]), facts["memory"]["zram"]
    # With swap in compressed memory it pays to swap early; with swap on a disk it does not.
    return Verdict(value >= 60 if zram else value <= 20, f"{value} {'with' if zram else 'without'} zram")


def _oom(facts: Facts) -> Verdict:
    # A container may not lower the score of its processes, so there only what was configured can be judged; and sshd,
    # which lowers its own, configures nothing.
    key, names = ("OOMScoreAdjust", PROTECTED[1:]) if facts["container"] else ("Score", PROTECTED)
    running = {
        unit: int(state[key])
        for unit, state in sorted(facts["units"].items())
        if unit.startswith(names) and state.get("ActiveState") == "active" and state.get("MainPID", "0") != "0"
    }
    if not running:
        raise NotApplicableError("none of them runs, or only the kernel of a container could tell")
    bad = [unit for unit, score in running.items() if score > PROTECTION]
    return Verdict(not bad, few(f"{unit} {running[unit]}" for unit in bad or running))


def _disks(key: str) -> Callable[[Facts], Verdict]:
    def judge(facts: Facts) -> Verdict:
        full = [f"{disk['path']} {disk[key]} %" for disk in facts["disks"] if disk[key] >= 85]
        return Verdict(not full, few(full or [f"{disk['path']} {disk[key]} %" for disk in facts["disks"]]))

    return judge


def _journal_persistent(facts: Facts) -> Verdict:
    storage, kept = facts["journal"].get("Storage", "auto"), facts["journal"]["directory"]
    return Verdict(storage == "persistent" or (storage == "auto" and kept), f"Storage={storage}")


def _journal_bounded(facts: Facts) -> Verdict:
    value = facts["journal"].get("SystemMaxUse", "")
    return Verdict(bool(value), value or "SystemMaxUse is not set")


def _clock_unit(facts: Facts) -> Verdict:
    names = ("systemd-timesyncd.service", "chrony.service", "ntpsec.service")
    enabled = [name for name in names if facts["units"].get(name, {}).get("UnitFileState") == "enabled"]
    return Verdict(len(enabled) == 1, few(enabled))


def _clock_synchronized(facts: Facts) -> Verdict:
    bare_metal(facts)
    return equals(facts["clock"].get("NTPSynchronized"), "yes")


def _apt(key: str, *wanted: str) -> Callable[[Facts], Verdict]:
    return lambda facts: equals((part(facts, "apt", "no apt")["config"].get(key) or [""])[-1], *wanted)


def _origins(facts: Facts) -> Verdict:
    config = part(facts, "apt", "no apt")["config"]
    names = config.get("Unattended-Upgrade::Origins-Pattern::", [])
    security = any("Debian-Security" in name for name in names)
    return Verdict(security, few(names))


def _foreign_origins(facts: Facts) -> Verdict:
    config = part(facts, "apt", "no apt")["config"]
    names = config.get("Unattended-Upgrade::Origins-Pattern::", [])
    return none_of(name for name in names if "Debian" not in name and "Tailscale" not in name and "pgdg" not in name)


def _blacklist(facts: Facts) -> Verdict:
    patterns = part(facts, "apt", "no apt")["config"].get("Unattended-Upgrade::Package-Blacklist::", [])
    wanted = [
        name
        for name, unit in (
            ("docker", "docker.service"),
            ("containerd", "containerd.service"),
            ("postgresql", "postgresql.service"),
        )
        if facts["units"].get(unit, {}).get("LoadState") == "loaded"
    ]
    if not wanted:
        raise NotApplicableError("neither Docker nor PostgreSQL is here")
    return none_of(
        f"not {name}" for name in wanted if not any(pattern.lstrip("^").startswith(name) for pattern in patterns)
    )


def _update_timers(facts: Facts) -> Verdict:
    names = ("apt-daily.timer", "apt-daily-upgrade.timer")
    return none_of(name for name in names if facts["units"].get(name, {}).get("ActiveState") != "active")


def _lists(facts: Facts) -> Verdict:
    age = part(facts, "apt", "no apt")["lists_age"]
    if age is None:
        return Verdict(False, "never read")
    return Verdict(age < 3 * DAY, f"{age / DAY:.1f} days old")


def _pending(facts: Facts) -> Verdict:
    return none_of(part(facts, "apt", "no apt")["pending_security"])


def _pending_all(facts: Facts) -> Verdict:
    return none_of(part(facts, "apt", "no apt")["pending"])


def _unsigned(facts: Facts) -> Verdict:
    return none_of(part(facts, "apt", "no apt")["unsigned"])


def _insecure_apt(facts: Facts) -> Verdict:
    config = part(facts, "apt", "no apt")["config"]
    keys = (
        "APT::Get::AllowUnauthenticated",
        "Acquire::AllowInsecureRepositories",
        "Acquire::AllowWeakRepositories",
        "Acquire::AllowDowngradeToInsecureRepositories",
        "Acquire::https::Verify-Peer",
    )
    bad = [f"{key} {config[key][-1]}" for key in keys[:4] if config.get(key, ["0"])[-1].lower() in ("1", "true", "yes")]
    if config.get(keys[4], ["true"])[-1].lower() in ("0", "false", "no"):
        bad.append(f"{keys[4]} {config[keys[4]][-1]}")
    return none_of(bad)


def _dpkg(facts: Facts) -> Verdict:
    return none_of(part(facts, "apt", "no apt")["broken"])


def _needrestart(facts: Facts) -> Verdict:
    mode = facts["needrestart"]
    if mode is None:
        raise NotApplicableError("needrestart is not installed")
    return equals(mode, "l")


def _reboot(facts: Facts) -> Verdict:
    return Verdict(not facts["reboot_required"], "yes" if facts["reboot_required"] else "no")


def _unwanted_packages(facts: Facts) -> Verdict:
    return none_of(part(facts, "apt", "no apt")["unwanted"])


def _setting(name: str, title: str, key: str, *wanted: str, kernel: bool = False, severity: str = "fail") -> Check:
    return Check(name, title, severity, f"sysctl {key}", " or ".join(wanted), _sysctl(key, *wanted, kernel=kernel))


_NET: List[Any] = [
    ("net-forward", "Docker's packets are forwarded", "net.ipv4.ip_forward", "1"),
    (
        "net-rp-filter",
        "Senders are checked, loosely because of bridges and tailnet",
        "net.ipv4.conf.all.rp_filter",
        "2",
        "1",
    ),
    ("net-redirects", "Nobody redirects this host", "net.ipv4.conf.all.accept_redirects", "0"),
    ("net-redirects6", "Nobody redirects this host by IPv6", "net.ipv6.conf.all.accept_redirects", "0"),
    ("net-send-redirects", "This host redirects nobody", "net.ipv4.conf.all.send_redirects", "0"),
    ("net-source-route", "Nobody chooses the way of packets", "net.ipv4.conf.all.accept_source_route", "0"),
    ("net-source-route6", "Nobody chooses the way of IPv6 packets", "net.ipv6.conf.all.accept_source_route", "0"),
    ("net-broadcast", "Broadcast pings are not answered", "net.ipv4.icmp_echo_ignore_broadcasts", "1"),
    ("net-syncookies", "A flood of connections is withstood", "net.ipv4.tcp_syncookies", "1"),
]
_KERNEL: List[Any] = [
    ("kernel-dmesg", "Only root reads the kernel's log", "kernel.dmesg_restrict", "1"),
    ("kernel-pointers", "Nobody sees addresses of the kernel", "kernel.kptr_restrict", "2", "1"),
    ("kernel-ptrace", "Programs look into their children only", "kernel.yama.ptrace_scope", "1", "2", "3"),
    ("kernel-bpf", "Only root loads BPF programs", "kernel.unprivileged_bpf_disabled", "1", "2"),
    ("kernel-aslr", "Addresses are random", "kernel.randomize_va_space", "2"),
    ("kernel-hardlinks", "Hard links only to one's own files", "fs.protected_hardlinks", "1"),
    ("kernel-symlinks", "Links in /tmp mislead nobody", "fs.protected_symlinks", "1"),
    ("kernel-fifos", "Pipes in /tmp mislead nobody", "fs.protected_fifos", "1", "2"),
    ("kernel-suid-dump", "Programs with setuid leave no core dump", "fs.suid_dumpable", "0"),
]

CHECKS = [
    *[_setting(*row[:3], *row[3:]) for row in _NET],
    *[_setting(*row[:3], *row[3:], kernel=True) for row in _KERNEL],
    row(
        "kernel-modules",
        "Old protocols and file systems cannot be loaded",
        "blocked",
        "modprobe --showconfig",
        _modules,
    ),
    row("kernel-loaded", "No old protocol or file system is loaded", "none", "lsmod", _loaded),
    row("kernel-apparmor", "AppArmor is on", "Y", "cat /sys/module/apparmor/parameters/enabled", _apparmor),
    row(
        "kernel-core",
        "Crashed programs leave no memory behind",
        "limit 0 or storage none",
        "systemctl show --property DefaultLimitCORE",
        _core,
    ),
    row("memory-swap", "There is swap", "more than 0", "swapon --show", _swap),
    row(
        "memory-swappiness",
        "Swap is used as fits its kind",
        "<= 20, with zram >= 60",
        "sysctl vm.swappiness",
        _swappiness,
    ),
    row(
        "memory-oom",
        "The kernel spares sshd, PostgreSQL and tailscaled",
        "-500 or less",
        "cat /proc/$(systemctl show --value -p MainPID ssh)/oom_score_adj",
        _oom,
    ),
    row("memory-tmp", "/tmp takes a quarter of the memory at most", "<= 25 %", "findmnt /tmp", _tmp_size),
    row("disk-tmp", "/tmp has no devices and no setuid", "nosuid, nodev", "findmnt /tmp", _tmp_options),
    row("disk-shm", "/dev/shm has no devices and no setuid", "nosuid, nodev", "findmnt /dev/shm", _shm),
    row("disk-space", "Every disk has room", "below 85 %", "df", _disks("percent")),
    row("disk-inodes", "Every disk has room for more files", "below 85 %", "df --inodes", _disks("inodes")),
    row(
        "journal-kept",
        "The journal survives a reboot",
        "persistent",
        "systemd-analyze cat-config systemd/journald.conf",
        _journal_persistent,
    ),
    row(
        "journal-bounded",
        "The journal cannot fill the disk",
        "SystemMaxUse is set",
        "systemd-analyze cat-config systemd/journald.conf",
        _journal_bounded,
    ),
    row(
        "clock-unit",
        "One program sets the clock",
        "one of timesyncd, chrony, ntpsec",
        "systemctl is-enabled systemd-timesyncd",
        _clock_unit,
    ),
    row("clock-right", "The clock is right", "yes", "timedatectl show --property NTPSynchronized", _clock_synchronized),
    row(
        "update-lists",
        "Package lists are read every day",
        "1",
        "apt-config dump APT::Periodic",
        _apt("APT::Periodic::Update-Package-Lists", "1"),
    ),
    row(
        "update-install",
        "Security updates install themselves",
        "1",
        "apt-config dump APT::Periodic",
        _apt("APT::Periodic::Unattended-Upgrade", "1"),
    ),
    row(
        "update-origins",
        "Updates come from Debian's security archive",
        "Debian-Security",
        "apt-config dump Unattended-Upgrade",
        _origins,
    ),
    row(
        "update-foreign",
        "Updates come from nobody unknown",
        "none",
        "apt-config dump Unattended-Upgrade",
        _foreign_origins,
    ),
    row(
        "update-blacklist",
        "What a deploy restarts does not update itself",
        "docker, containerd, postgresql",
        "apt-config dump Unattended-Upgrade",
        _blacklist,
    ),
    row(
        "update-reboot",
        "The host reboots when an update asks for it",
        "true",
        "apt-config dump Unattended-Upgrade",
        _apt("Unattended-Upgrade::Automatic-Reboot", "true"),
        "note",
    ),
    row(
        "update-timers",
        "The timers of the updates run",
        "none stopped",
        "systemctl list-timers apt-daily*",
        _update_timers,
    ),
    row("update-young", "The package lists are young", "below 3 days", "ls -l /var/lib/apt/lists", _lists),
    row("update-security", "No security update waits", "none", "apt list --upgradable", _pending),
    row("update-waiting", "No other update waits", "none", "apt list --upgradable", _pending_all, "note"),
    row("update-reboot-due", "No reboot is due", "no", "ls /run/reboot-required", _reboot, "note"),
    row("update-signed", "Every package source is signed", "none unsigned", "grep -r trusted /etc/apt", _unsigned),
    row("update-verified", "apt insists on signatures", "none switched off", "apt-config dump", _insecure_apt),
    row("update-needrestart", "Updates restart nothing by themselves", "l", "/etc/needrestart/conf.d", _needrestart),
    row("package-whole", "Every package is whole", "none", "dpkg --audit", _dpkg),
    row(
        "package-unwanted",
        "No package that listens without need",
        "none",
        "dpkg -l telnetd rpcbind ...",
        _unwanted_packages,
    ),
]
