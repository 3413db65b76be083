"""The ground settings as the system has them: asked, not read from files."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from testinfra.host import Host

from tests.audit_host import lynis, ssh_audit
from tests.scenario import ROOT, converge, environment, unchanged

SSH = ["ssh", "-F", str(ROOT / ".bed" / "ssh_config"), "-o", "ControlPath=none", "-o", "BatchMode=yes"]
KEYS = "/home/ops/.ssh/authorized_keys"
STRANGER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHWeBgkzRU7c3Jd0nJb4rv4KO1a5Jrj8GsyJ0LQ4kT2a stranger"
LYNIS_FLOOR = 76
SECOND = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJr0xGT6Vb1Xbm3pVtKQ8pNqTuHuZ6bqk5vC0gQ2n1rA second"


def ssh(host: str, *options: str, command: str = "true") -> subprocess.CompletedProcess[str]:
    """Log in from here."""
    return subprocess.run([*SSH, *options, host, command], capture_output=True, text=True, check=False)


def public_key() -> str:
    """The key that the scenario's administrator has."""
    return (ROOT / ".bed" / "id_ed25519.pub").read_text().strip()


def sshd(host: Host) -> dict[str, list[str]]:
    """The effective settings of the SSH server for the administrator."""
    found: dict[str, list[str]] = {}
    for line in host.check_output("sshd -T -C user=ops,host=localhost,addr=192.0.2.1").splitlines():
        keyword, _space, value = line.partition(" ")
        found.setdefault(keyword, []).append(value)
    return found


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("permitrootlogin", "no"),
        ("passwordauthentication", "no"),
        ("kbdinteractiveauthentication", "no"),
        ("authenticationmethods", "publickey"),
        ("allowgroups", "sapflux-ssh"),
        ("maxauthtries", "4"),
        ("logingracetime", "30"),
        ("x11forwarding", "no"),
        ("allowtcpforwarding", "local"),
        ("loglevel", "VERBOSE"),
        ("persourcepenaltyexemptlist", "100.64.0.0/10"),
        ("persourcemaxstartups", "10"),
        ("persourcenetblocksize", "32:64"),
        ("maxstartups", "10:30:60"),
        ("clientaliveinterval", "120"),
        ("debianbanner", "no"),
        ("banner", "none"),
        ("permittty", "yes"),
        ("port", "22"),
    ],
)
def test_ssh_settings_are_in_force(host: Host, keyword: str, value: str) -> None:
    """What sshd -T says, all files and Match blocks included."""
    assert sshd(host)[keyword] == [value]


def test_only_the_best_algorithms_that_the_server_has(host: Host) -> None:
    """In the server's lists, in a real handshake, and against a client from before 2021."""
    settings = sshd(host)
    for keyword, query in (("kexalgorithms", "kex"), ("ciphers", "cipher"), ("macs", "mac")):
        assert set(settings[keyword][0].split(",")) <= set(host.check_output(f"ssh -Q {query}").split())
    assert settings["kexalgorithms"][0].split(",")[0] == "mlkem768x25519-sha256"
    agreed = re.search(r"kex: algorithm: (\S+)", ssh("base-1", "-v").stderr)
    assert agreed is not None
    assert agreed[1].startswith(("mlkem768", "sntrup761"))
    old = ssh("base-1", "-v", "-o", "KexAlgorithms=curve25519-sha256")
    assert (old.returncode, "no matching key exchange" in old.stderr) == (255, True)


@pytest.mark.usefixtures("host")  # in the order of this file
def test_ssh_audit_has_nothing_to_say() -> None:
    """No failure and no warning, on every algorithm that the server offers."""
    found = ssh_audit("base-1")
    assert found.looked_at >= 10
    assert (found.fails, found.warnings) == ([], [])


@pytest.mark.usefixtures("host")  # in the order of this file
def test_lynis_finds_what_it_found_before_and_every_suggestion_is_answered() -> None:
    """The index does not fall; a suggestion that docs/hardening.md does not answer is named here."""
    found = lynis("base-1")
    assert found.unanswered() == {}
    assert found.index >= LYNIS_FLOOR


def test_match_blocks_hold_for_whom_they_name(host: Host) -> None:
    """The scenario's variables restrict a user; the administrator's settings above are those of everybody else."""
    said = host.check_output("sshd -T -C user=tunnel,host=localhost,addr=192.0.2.1").splitlines()
    assert {"permittty no", "forcecommand /usr/sbin/nologin", "permitrootlogin no"} <= set(said)


def test_penalties_hit_strangers_and_never_the_tailnet(host: Host) -> None:
    """Thirty connections without a login: a stranger's address is turned away, a tailnet's is still greeted."""
    host.check_output("ip address add 100.64.0.9/32 dev lo")
    knock = (
        "import socket,sys\n"
        "for _ in range(30):\n"
        "    with socket.create_connection((sys.argv[1], 22), 5, (sys.argv[1], 0)) as s:\n"
        "        said = s.recv(99)\n"
        "print(said.decode())\n"
    )
    greeted = {at: host.run(f"python3 -c '{knock}' {at}").stdout for at in ("100.64.0.9", "127.0.0.9")}
    host.check_output("ip address del 100.64.0.9/32 dev lo")
    assert greeted["100.64.0.9"].startswith("SSH-2.0-OpenSSH")
    assert not greeted["127.0.0.9"].startswith("SSH-")


@pytest.mark.usefixtures("host")  # in the order of this file
def test_root_and_passwords_are_refused_and_the_administrator_gets_in() -> None:
    """Real logins over the network."""
    assert ssh("base-1", command="sudo -n id -u").stdout.strip() == "0"
    assert ssh("base-1", "-l", "root").returncode == 255
    refused = ssh("base-1", "-o", "PreferredAuthentications=password,keyboard-interactive")
    assert refused.returncode == 255
    assert "Permission denied (publickey)" in refused.stderr


def test_only_security_updates_install_themselves(host: Host) -> None:
    """As apt and unattended-upgrade understand the files of all packages together."""
    dump = host.check_output("apt-config dump").splitlines()
    assert 'APT::Periodic::Unattended-Upgrade "1";' in dump
    assert 'APT::Periodic::Update-Package-Lists "1";' in dump
    assert 'Unattended-Upgrade::Automatic-Reboot "true";' in dump
    assert 'Unattended-Upgrade::Automatic-Reboot-Time "03:45";' in dump
    listed = [line for line in dump if line.startswith("Unattended-Upgrade::Package-Blacklist::")]
    blacklist = ["^docker", "^containerd", "^runc", "^postgresql", "^tailscale"]
    assert [re.findall('"(.*)"', line)[0] for line in listed] == blacklist
    assert 'DPkg::Lock::Timeout "300";' in dump
    said = host.run("unattended-upgrade --dry-run --debug")
    origins = re.findall(r"Allowed origins are: (.*)", said.stdout + said.stderr)[0]
    assert origins.split(", ") == [
        "origin=Debian,codename=trixie,label=Debian-Security",
        "origin=Debian,codename=trixie-security,label=Debian-Security",
        "site=packages.example.org",
    ]
    assert f"Initial blacklist: {' '.join(blacklist)}" in said.stdout + said.stderr
    for timer in ("apt-daily.timer", "apt-daily-upgrade.timer"):
        assert host.service(timer).is_enabled
        assert host.service(timer).is_running


def test_needrestart_only_lists_and_never_asks(host: Host) -> None:
    """Its drop-in sets the mode it reads; with a terminal and nobody at it, it comes to its end."""
    script = 'our %nrconf; do "/etc/needrestart/conf.d/60-sapflux.conf"; die $@ if $@; print $nrconf{restart};'
    assert host.check_output(f"perl -e '{script}'") == "l"
    asked = host.run("timeout 60 script --quiet --return --command needrestart /dev/null </dev/null")
    assert asked.rc == 0
    assert "[Yn" not in asked.stdout
    environment_of = "systemctl show --property=Environment --value apt-daily-upgrade.service"
    assert host.check_output(environment_of).split() == ["DEBIAN_FRONTEND=noninteractive", "NEEDRESTART_MODE=l"]


def test_modules_that_nobody_needs_cannot_be_loaded(host: Host) -> None:
    """As modprobe understands all its files together; what containers, UEFI and the firewall need is not among them."""
    lines = host.check_output("modprobe --showconfig").splitlines()
    blocked = {
        line.split()[1].replace("-", "_") for line in lines if line.startswith("install ") and "/bin/false" in line
    }
    assert {"dccp", "sctp", "rds", "tipc", "algif_aead", "esp4", "esp6", "usb_storage", "firewire_core"} <= blocked
    needed = {"overlay", "squashfs", "vfat", "tun", "wireguard", "br_netfilter", "veth", "zram", "loop"}
    assert not needed & blocked
    assert not [name for name in blocked if name.startswith(("nf_", "nft_", "ip_", "xt_"))]


def test_crashed_programs_leave_no_memory_on_disk(host: Host) -> None:
    """The limit of a login, of a service, and what systemd-coredump would do if it were there."""
    assert ssh("base-1", command="ulimit -Hc").stdout.strip() == "0"
    assert ssh("base-1", command="sudo sh -c 'ulimit -Hc'").stdout.strip() == "0"
    assert host.check_output("systemd-run --quiet --wait --pipe sh -c 'ulimit -Hc'") == "0"
    shown = host.check_output("systemd-analyze cat-config systemd/coredump.conf").splitlines()
    assert {"Storage=none", "ProcessSizeMax=0"} <= set(shown)


def test_a_forgotten_shell_closes(host: Host) -> None:
    """After an hour; never in tmux or screen, and never what a program runs without a login shell."""
    assert host.check_output("bash -lc 'echo $TMOUT'") == "3600"
    assert host.check_output("TMUX=/tmp/x bash -lc 'echo no$TMOUT'") == "no"
    assert ssh("base-1", command="echo no$TMOUT").stdout.strip() == "no"


def test_what_root_runs_is_roots_to_read(host: Host) -> None:
    """Modes, as they are; a directory that a package brings later gets its own at the next boot."""
    host.check_output("mkdir -p -m 0755 /etc/cron.d && systemd-tmpfiles --create /etc/tmpfiles.d/sapflux-base.conf")
    assert host.file("/etc/cron.d").mode == 0o700
    assert host.file("/etc/ssh/sshd_config").mode == 0o600
    assert host.check_output("passwd --status root").split()[1] == "L"


def test_the_way_in_is_the_last_to_go(host: Host) -> None:
    """sshd protects its listener itself: a score of the unit would make every session immortal, too."""
    assert host.check_output("systemctl show --property=OOMScoreAdjust --value ssh.service") == "0"


def test_the_journal_is_limited(host: Host) -> None:
    """As journald says at its start."""
    said = host.check_output("journalctl --unit systemd-journald --no-pager --output cat")
    assert re.findall(r"System Journal \(.*max ([^,]+),", said)[-1] == "300M"


def test_tmp_is_limited(host: Host) -> None:
    """As it is mounted."""
    assert host.check_output("findmnt --noheadings --output SIZE /tmp").strip() == "128M"
    assert {"nosuid", "nodev"} <= set(host.check_output("findmnt --noheadings --output OPTIONS /tmp").split(","))


def test_the_time_zone_is_set_and_time_is_kept(host: Host) -> None:
    """The zone of a program that asks; the service that keeps the time is enabled (it does not run in containers)."""
    zone = "import datetime; print(datetime.datetime(2026, 7, 1).astimezone().utcoffset())"
    assert host.check_output(f"python3 -c '{zone}'") == "2:00:00"
    assert host.service("systemd-timesyncd").is_enabled
    assert ssh("base-1", "-o", "SendEnv=-LANG", command="echo $LANG").stdout.strip() == "C.UTF-8"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("net.ipv4.ip_forward", 1),
        ("net.ipv4.conf.all.rp_filter", 2),
        ("net.ipv4.ip_nonlocal_bind", 1),
        ("net.ipv4.conf.all.accept_redirects", 0),
        ("net.ipv4.conf.all.send_redirects", 0),
        ("net.ipv4.conf.all.accept_source_route", 0),
        ("net.ipv4.conf.default.accept_source_route", 0),
        ("net.ipv4.conf.default.log_martians", 1),
        ("net.ipv6.conf.default.accept_source_route", 0),
        ("net.ipv4.tcp_keepalive_time", 301),
    ],
)
def test_network_settings_are_in_force(host: Host, key: str, value: int) -> None:
    """As the kernel has them; the last one comes from the scenario's variables."""
    assert host.sysctl(key) == value


def test_what_is_the_kernels_is_prepared_and_left_alone_in_a_container(host: Host) -> None:
    """Swap and settings of the whole kernel: enabled, valid, and under a condition that a container does not meet."""
    assert host.check_output("systemd-detect-virt --container") == "docker"
    for unit in ("sapflux-swap.service", "sapflux-kernel.service"):
        shown = host.check_output(f"systemctl show --property=UnitFileState,ConditionResult,ActiveState {unit}")
        assert set(shown.splitlines()) == {"UnitFileState=enabled", "ConditionResult=no", "ActiveState=inactive"}
        assert host.run(f"systemd-analyze verify --man=no {unit}").rc == 0
    keys = re.findall(r"^([a-z].*) =", host.file("/etc/sapflux/sysctl-kernel.conf").content_string, re.MULTILINE)
    assert {"vm.swappiness", "kernel.panic", "fs.suid_dumpable", "fs.protected_symlinks"} <= set(keys)
    assert [key for key in keys if not host.file("/proc/sys/" + key.replace(".", "/")).exists] == []
    assert not host.file("/var/lib/sapflux/swapfile").exists


def test_the_swap_file_is_a_swap_area(host: Host) -> None:
    """The unit's program with a small size makes a real swap area, closed to others, and takes it away again.

    Whether swapping to it is allowed is the kernel's to say: on the disk of a container it is not.
    """
    program = "python3 /usr/local/lib/sapflux/base/swap_file.py --path /root/swap"
    tried = host.run(f"{program} --size-mib 8")
    assert tried.rc == 0 or "swapon" in tried.stderr
    mark = "import os; f=open('/root/swap','rb'); f.seek(os.sysconf('SC_PAGE_SIZE') - 10); print(f.read(10).decode())"
    assert host.check_output(f'python3 -c "{mark}"') == "SWAPSPACE2"
    assert (host.file("/root/swap").mode, host.file("/root/swap").size) == (0o600, 8 * 1024 * 1024)
    host.check_output(f"{program} --size-mib 0")
    assert not host.file("/root/swap").exists


def test_keys_of_others_stay_and_dropped_keys_go(host: Host) -> None:
    """A stranger's line survives; a key of ours that leaves the list is revoked; exclusive removes the stranger's."""
    host.check_output(f"echo '{STRANGER}' >>{KEYS}")
    assert converge("base", base_admin_authorized_keys=[public_key(), SECOND]).returncode == 0
    assert {STRANGER, SECOND, public_key()} <= set(host.file(KEYS).content_string.splitlines())
    assert converge("base").returncode == 0
    lines = set(host.file(KEYS).content_string.splitlines())
    assert STRANGER in lines
    assert SECOND not in lines
    assert converge("base", base_admin_keys_exclusive=True).returncode == 0
    assert STRANGER not in host.file(KEYS).content_string
    assert (host.file(KEYS).mode, host.file(KEYS).user) == (0o600, "ops")
    assert unchanged(converge("base"))


def test_old_clients_further_users_and_compressed_swap_when_asked_for(host: Host) -> None:
    """A user gets in by being listed and not by having a key; unknown users are refused; the zram generator understands
    our file, and makes no unit of it in a container."""
    host.check_output("id carol || useradd --create-home carol; install -d -o carol -g carol -m 0700 ~carol/.ssh")
    host.check_output("install -o carol -g carol -m 0600 ~ops/.ssh/authorized_keys ~carol/.ssh/authorized_keys")
    assert ssh("base-1", "-l", "carol").returncode == 255
    done = converge("base", base_ssh_allow_users=["carol", "nobody-here"])
    assert "nobody-here shall log in over SSH and is not a user of this host" in " ".join(done.stdout.split())
    done = converge("base", base_ssh_allow_users=["carol"], base_ssh_classical_kex=True, base_zram_mb=64, base_tmp_mb=0)
    assert done.returncode == 0, done.stdout
    assert ssh("base-1", "-l", "carol").returncode == 0
    assert ssh("base-1", "-o", "KexAlgorithms=curve25519-sha256").returncode == 0
    assert sshd(host)["kexalgorithms"][0].startswith("mlkem768x25519-sha256,")
    assert "vm.swappiness = 100" in host.file("/etc/sapflux/sysctl-kernel.conf").content_string
    assert host.check_output("systemd-analyze cat-config systemd/zram-generator.conf").endswith("swap-priority = 100")
    generated = "d=$(mktemp -d) && ZRAM_GENERATOR_ROOT=/ /usr/lib/systemd/system-generators/zram-generator $d $d $d && "
    assert "dev-zram0.swap" in host.run(generated + "ls $d").stdout
    assert not host.file("/etc/systemd/system/tmp.mount.d/60-sapflux.conf").exists
    assert converge("base").returncode == 0
    assert ssh("base-1", "-l", "carol").returncode == 255
    assert not host.file("/etc/systemd/zram-generator.conf.d/60-sapflux.conf").exists


def test_one_unit_owns_the_port_and_host_keys_are_long_enough(host: Host) -> None:
    """ssh.socket gives the port to ssh.service; a short RSA key is replaced and the others stay; nobody is cut off."""
    host.check_output(
        "systemd-run --quiet --wait --collect sh -c "
        "'systemctl stop ssh.service; systemctl disable ssh.service; systemctl enable --now ssh.socket'"
    )
    host.check_output("rm /etc/ssh/ssh_host_rsa_key*; ssh-keygen -q -t rsa -b 2048 -N '' -f /etc/ssh/ssh_host_rsa_key")
    known = host.file("/etc/ssh/ssh_host_ed25519_key.pub").content_string
    assert ssh("base-1").returncode == 0
    assert "systemd" in host.check_output("ss -Hltnp 'sport = :22'")
    done = converge("base")
    assert done.returncode == 0, done.stdout
    assert "systemd" not in host.check_output("ss -Hltnp 'sport = :22'")
    assert host.check_output("systemctl is-active ssh.service") == "active"
    assert host.check_output("systemctl is-enabled ssh.service ssh.socket || true").split() == ["enabled", "disabled"]
    assert host.check_output("ssh-keygen -l -f /etc/ssh/ssh_host_rsa_key").startswith("3072 ")
    assert host.file("/etc/ssh/ssh_host_ed25519_key.pub").content_string == known
    rsa = host.check_output("ssh-keyscan -q -t rsa 127.0.0.1").split()[2]
    assert rsa == host.file("/etc/ssh/ssh_host_rsa_key.pub").content_string.split()[1]
    assert ssh("base-1").returncode == 0
    assert unchanged(converge("base"))


def test_a_file_that_would_keep_the_administrator_out_is_refused(host: Host) -> None:
    """Before anything changes: sshd wants a login to pass AllowUsers as well as AllowGroups."""
    host.check_output("echo 'AllowUsers carol' >/etc/ssh/sshd_config.d/20-other.conf")
    done = converge("base", base_journal_mb=301)
    host.check_output("rm /etc/ssh/sshd_config.d/20-other.conf")
    assert "ops could not log in any more: AllowUsers names carol and not ops" in " ".join(done.stdout.split())
    assert "changed=0 " in done.stdout
    assert unchanged(converge("base"))


def test_a_file_that_overrules_ours_is_named(host: Host) -> None:
    """sshd takes the first value it sees: a drop-in that sorts before ours is found out."""
    host.check_output("echo 'PermitRootLogin yes' >/etc/ssh/sshd_config.d/00-other.conf")
    done = converge("base")
    host.check_output("rm /etc/ssh/sshd_config.d/00-other.conf")
    assert done.returncode != 0
    assert "PermitRootLogin is yes instead of no" in done.stdout
    assert unchanged(converge("base"))


def test_settings_that_sshd_refuses_are_not_installed(host: Host) -> None:
    """A wrong port stops at the staged file, a wrong network before that; the server goes on as it was."""
    before = sshd(host)
    done = converge("base", base_ssh_port=70000)
    assert done.returncode != 0
    assert "/etc/ssh/sshd_config.d/00-sapflux.conf" in done.stdout
    assert "Badly formatted port number" in done.stdout
    done = converge("base", base_ssh_penalty_exempt=["100.64.0.1/10"])
    assert done.returncode != 0
    assert "base_ssh_penalty_exempt holds '100.64.0.1/10'" in done.stdout
    assert sshd(host) == before
    assert ssh("base-1").returncode == 0


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Path]:
    """A server at its first contact, with root's login only; yields an inventory that holds it."""
    bed = [sys.executable, "-m", "tests.bed"]
    subprocess.run([*bed, "up", "base-fresh", "--root-only"], cwd=ROOT, env=environment(), check=True)
    inventory = tmp_path / "hosts.yml"
    arguments = f"-F {ROOT / '.bed' / 'ssh_config'}"
    inventory.write_text(f"base: {{hosts: {{base-fresh: {{ansible_ssh_common_args: '{arguments}'}}}}}}\npeers: {{}}\n")
    yield inventory
    subprocess.run([*bed, "down", "base-fresh"], cwd=ROOT, env=environment(), check=True)


@pytest.mark.usefixtures("host")  # in the order of this file
def test_first_contact_goes_from_root_to_the_administrator_and_locks_nobody_out(fresh: Path) -> None:
    """With a key that is not ours root stays open, in words; with the right key the administrator takes over."""
    assert ssh("base-fresh", "-l", "root", command="echo root:secret | chpasswd").returncode == 0
    done = converge("base", "--check", inventory=fresh, base_admin_authorized_keys=[SECOND])
    assert done.returncode == 0, done.stdout
    done = converge("base", inventory=fresh, base_admin_authorized_keys=[SECOND])
    assert done.returncode != 0
    assert "ops cannot log in to base-fresh from here, so root's login was left open" in " ".join(done.stdout.split())
    assert ssh("base-fresh", "-l", "root", command="passwd --status root").stdout.split()[1] == "P"
    done = converge("base", inventory=fresh, base_admin_authorized_keys=[public_key()])
    assert done.returncode == 0, done.stdout
    assert ssh("base-fresh", "-l", "ops", command="sudo -n id -u").stdout.strip() == "0"
    assert ssh("base-fresh", "-l", "root").returncode == 255
    assert ssh("base-fresh", "-l", "ops", command="sudo passwd --status root").stdout.split()[1] == "L"


def test_absent_takes_the_settings_back_and_leaves_the_administrator(host: Host) -> None:
    """The last test: Debian's settings return, the administrator still gets in, present converges again."""
    manifest = json.loads(host.file("/var/lib/sapflux/file_set/base/manifest.json").content_string)
    files = sorted(manifest["files"])
    assert len(files) >= 17
    host.check_output("mkdir -p -m 0700 /etc/cron.d")
    assert converge("base", base_state="absent").returncode == 0
    assert [path for path in files if host.file(path).exists] == []
    settings = sshd(host)
    assert settings["permitrootlogin"] == ["without-password"]
    assert "allowgroups" not in settings
    assert not host.group("sapflux-ssh").exists
    assert host.file("/etc/ssh/sshd_config").mode == 0o644
    assert host.file("/etc/cron.d").mode == 0o755
    assert "Debian-Security" in host.check_output("apt-config dump")
    assert host.check_output("findmnt --noheadings --output SIZE /tmp").strip() != "128M"
    assert ssh("base-1", command="sudo -n id -u").stdout.strip() == "0"
    assert unchanged(converge("base", base_state="absent"))
    assert converge("base").returncode == 0
    assert sshd(host)["permitrootlogin"] == ["no"]
