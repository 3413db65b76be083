"""The ground settings as the system has them: asked, not read from files."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from testinfra.host import Host

from tests.scenario import ROOT, converge, environment, unchanged

SSH = ["ssh", "-F", str(ROOT / ".bed" / "ssh_config"), "-o", "ControlPath=none", "-o", "BatchMode=yes"]
KEYS = "/home/ops/.ssh/authorized_keys"
STRANGER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHWeBgkzRU7c3Jd0nJb4rv4KO1a5Jrj8GsyJ0LQ4kT2a stranger"
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
        ("allowusers", "ops"),
        ("maxauthtries", "4"),
        ("logingracetime", "30"),
        ("x11forwarding", "no"),
        ("allowtcpforwarding", "local"),
        ("loglevel", "VERBOSE"),
        ("persourcepenaltyexemptlist", "100.64.0.0/10"),
        ("port", "22"),
    ],
)
def test_ssh_settings_are_in_force(host: Host, keyword: str, value: str) -> None:
    """What sshd -T says, all files and Match blocks included."""
    assert sshd(host)[keyword] == [value]


def test_post_quantum_exchanges_come_first(host: Host) -> None:
    """In the server's list, and in a real handshake with this machine's client."""
    assert sshd(host)["kexalgorithms"][0].split(",")[0] == "mlkem768x25519-sha256"
    agreed = re.search(r"kex: algorithm: (\S+)", ssh("base-1", "-v").stderr)
    assert agreed is not None
    assert agreed[1].startswith(("mlkem768", "sntrup761"))


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
    assert [re.findall('"(.*)"', line)[0] for line in listed] == ["^docker", "^containerd", "^runc", "^postgresql"]
    said = host.run("unattended-upgrade --dry-run --debug")
    origins = re.findall(r"Allowed origins are: (.*)", said.stdout + said.stderr)[0]
    assert origins.split(", ") == [
        "origin=Debian,codename=trixie,label=Debian-Security",
        "origin=Debian,codename=trixie-security,label=Debian-Security",
    ]
    for timer in ("apt-daily.timer", "apt-daily-upgrade.timer"):
        assert host.service(timer).is_enabled
        assert host.service(timer).is_running


def test_needrestart_only_lists(host: Host) -> None:
    """Its drop-in sets the mode it reads."""
    script = 'our %nrconf; do "/etc/needrestart/conf.d/60-sapflux.conf"; die $@ if $@; print $nrconf{restart};'
    assert host.check_output(f"perl -e '{script}'") == "l"


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


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("net.ipv4.ip_forward", 1),
        ("net.ipv4.conf.all.rp_filter", 2),
        ("net.ipv4.ip_nonlocal_bind", 1),
        ("net.ipv4.conf.all.accept_redirects", 0),
        ("net.ipv4.conf.all.send_redirects", 0),
        ("net.ipv4.conf.all.accept_source_route", 0),
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
    assert "vm.swappiness" in keys
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


def test_first_contact_goes_from_root_to_the_administrator_and_locks_nobody_out(fresh: Path) -> None:
    """With a key that is not ours root stays open, in words; with the right key the administrator takes over."""
    done = converge("base", inventory=fresh, base_admin_authorized_keys=[SECOND])
    assert done.returncode != 0
    assert "ops cannot log in to base-fresh from here, so root's login was left open" in " ".join(done.stdout.split())
    assert ssh("base-fresh", "-l", "root").returncode == 0
    done = converge("base", inventory=fresh, base_admin_authorized_keys=[public_key()])
    assert done.returncode == 0, done.stdout
    assert ssh("base-fresh", "-l", "ops", command="sudo -n id -u").stdout.strip() == "0"
    assert ssh("base-fresh", "-l", "root").returncode == 255


def test_absent_takes_the_settings_back_and_leaves_the_administrator(host: Host) -> None:
    """The last test: Debian's settings return, the administrator still gets in, present converges again."""
    assert converge("base", base_state="absent").returncode == 0
    assert sshd(host)["permitrootlogin"] == ["without-password"]
    assert "Debian-Security" in host.check_output("apt-config dump")
    assert host.check_output("findmnt --noheadings --output SIZE /tmp").strip() != "128M"
    assert ssh("base-1", command="sudo -n id -u").stdout.strip() == "0"
    assert unchanged(converge("base", base_state="absent"))
    assert converge("base").returncode == 0
    assert sshd(host)["permitrootlogin"] == ["no"]
