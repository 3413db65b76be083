"""Lockdown on a real host with a real tailnet: whatever breaks, the owner has a way in.

The controller and the machine beside the host are outside; the operator's machine is on the tailnet. Faults are made,
and the host is looked at, past SSH.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from testinfra.host import Host

from tests.bed import hosts
from tests.lockdown_host import ARMED, KEPT, LOADED, ROLLBACK, RULES, STATE, LockdownHost
from tests.scenario import ROOT, blocked, connects, converge, environment, unchanged, wait_until

HOST = LockdownHost("lockdown-1")
STRANGER = "192.0.2.10"
#: Seconds within which there must be a way in; the promise is 180 s with the timers' usual times.
PROMISE = 60


def lock(**variables: Any) -> subprocess.CompletedProcess[str]:
    """Run the lockdown alone, without the role's main path."""
    return converge("lockdown", "--skip-tags", "rules", **variables)


@pytest.fixture
def opened() -> Iterator[None]:
    """A host before its lockdown."""
    found = HOST.status()
    if found["state"] or found["armed_seconds"] or found["loaded"] != found["file"] or not HOST.outside():
        HOST.unlock()
    yield
    HOST.inside("systemctl start tailscaled")
    HOST.tailnet_is_back()


@pytest.fixture
def stranger(peer: Host) -> Host:
    """The machine beside the host, with a second address that is in no network of the operator's."""
    # For every test: a reboot forgets the route.
    HOST.inside(f"ip route replace {STRANGER} via {hosts.address('lockdown-peer')}")
    peer.check_output(f"ip address replace {STRANGER}/32 dev eth0")
    return peer


# The end of it


def test_ssh_is_open_on_the_tailnet_and_nowhere_else(host: Host, peer: Host) -> None:
    """Seen from the controller, from a machine beside the host, and from the tailnet."""
    assert HOST.is_locked()
    assert not HOST.outside()
    assert blocked(peer, hosts.address(HOST.name), 22)
    assert HOST.tailnet_works()
    found = json.loads(host.check_output(f"cat {STATE}"))
    assert found["locked"]
    assert found["operator"] == [f"{hosts.PREFIX}.0.0/16"]
    assert host.file(STATE).mode == 0o640
    assert host.file(RULES).mode == 0o640


def test_the_rules_on_the_disk_are_those_of_the_role(host: Host) -> None:
    """A run of the whole, main path included, finds nothing to do, and one of the lockdown alone asks once."""
    before = host.check_output(f"stat --format %Y.%i {RULES} {STATE}")
    assert unchanged(converge("lockdown"))
    assert unchanged(lock())
    assert host.check_output(f"stat --format %Y.%i {RULES} {STATE}") == before


def test_the_watch_is_quiet(host: Host) -> None:
    """A look every few seconds leaves no line in the journal."""
    assert host.check_output("journalctl --unit sapflux-lockdown.service --quiet --no-pager --since=-20s") == ""
    assert host.service("sapflux-lockdown.timer").is_enabled


# After the switch


def way_back(peer: Host) -> None:
    """With the tailnet gone, SSH opens for the operator's networks and for no stranger."""
    wait_until(HOST.outside, "the way in from the operator's network", PROMISE)
    assert blocked(peer, hosts.address(HOST.name), 22, source=STRANGER)
    assert connects(peer, hosts.address(HOST.name), 22)


def closes_again() -> None:
    """With the tailnet back, SSH closes."""
    HOST.tailnet_is_back()
    assert not HOST.outside()
    assert HOST.is_locked()


def test_a_tailnet_that_goes_down_leaves_a_way_in(stranger: Host) -> None:
    """And a run that comes in by it finds nothing to mend: it is no drift."""
    HOST.inside("systemctl stop tailscaled")
    way_back(stranger)
    done = converge("lockdown")
    assert unchanged(done), done.stdout
    assert "tailscale0 is missing" in HOST.inside("journalctl --unit sapflux-lockdown.service --quiet --no-pager")
    # A reload of the rules by somebody else does not shut out who is in by it.
    HOST.inside("systemctl reload sapflux-firewall.service")
    assert HOST.outside()
    HOST.inside("systemctl start tailscaled")
    closes_again()


def test_a_tailscaled_that_crashes_for_good_leaves_a_way_in(stranger: Host) -> None:
    """It cannot even be started again."""
    HOST.inside("chmod -x /usr/sbin/tailscaled; systemctl kill --signal=KILL tailscaled")
    way_back(stranger)
    HOST.inside("chmod +x /usr/sbin/tailscaled; systemctl reset-failed tailscaled; systemctl restart tailscaled")
    closes_again()


def test_a_tailnet_that_hangs_leaves_a_way_in(stranger: Host) -> None:
    """The daemon lives and answers nobody."""
    HOST.inside("systemctl kill --signal=STOP tailscaled")
    way_back(stranger)
    HOST.inside("systemctl kill --signal=CONT tailscaled")
    closes_again()


def test_a_reboot_leaves_it_locked_and_reachable(stranger: Host) -> None:
    """Order of the boot: rules, tailnet, SSH on it; and nothing opened on the way."""
    HOST.reboot()
    wait_until(HOST.tailnet_works, "the way in over the tailnet", 120)
    assert HOST.is_locked()
    assert not HOST.outside()
    assert blocked(stranger, hosts.address(HOST.name), 22)
    assert unchanged(converge("lockdown"))


def test_a_tailnet_that_is_down_after_the_boot_leaves_a_way_in() -> None:
    """What was seen before the boot is not remembered, and the grace ends."""
    HOST.inside("systemctl disable --quiet tailscaled")
    HOST.reboot()
    assert HOST.status()["tailnet"]["up"] is False
    wait_until(HOST.outside, "the way in from the operator's network", PROMISE)
    HOST.inside("systemctl enable --quiet --now tailscaled")
    closes_again()


# The owner's word


def test_the_console_opens_it_for_a_time(stranger: Host) -> None:
    """For one network, and it closes by itself."""
    said = HOST.inside(f"lockdown open --minutes 0.15 --cidr {STRANGER}/32")
    assert "then it closes by itself" in said
    assert connects(stranger, hosts.address(HOST.name), 22, source=STRANGER)
    assert not HOST.outside()
    HOST.inside("systemctl reload sapflux-firewall.service")
    assert connects(stranger, hosts.address(HOST.name), 22, source=STRANGER)
    assert HOST.status()["grant"]["cidrs"] == [f"{STRANGER}/32"]
    # The kernel does it, whatever becomes of the watch.
    HOST.inside("systemctl stop sapflux-lockdown.timer")
    wait_until(lambda: blocked(stranger, hosts.address(HOST.name), 22, source=STRANGER), "the end of the opening")
    HOST.inside("systemctl start sapflux-lockdown.timer")
    assert HOST.is_locked()


def test_the_console_says_what_is_wrong() -> None:
    """One sentence, and nothing is opened."""
    for arguments, says in (
        ("--cidr 203.0.113.7/24", "write a network such as"),
        ("--minutes 0", "write more than 0"),
    ):
        assert says in HOST.inside(f"lockdown open {arguments} 2>&1 || true")
    assert not HOST.outside()
    assert HOST.inside("lockdown close") == "nothing was open"


def test_the_playbook_opens_it_and_closes_it(tmp_path: Path) -> None:
    """playbooks/break_glass.yml, over the tailnet."""
    groups = tmp_path / "groups.yml"
    groups.write_text(f"all: {{children: {{edge: {{hosts: {{{HOST.name}: {{ansible_host: {HOST.tailnet}}}}}}}}}}}\n")
    argv = ["ansible-playbook", "-i", str(ROOT / "molecule" / "inventory"), "-i", str(groups)]
    argv += ["--limit", HOST.name, str(ROOT / "playbooks" / "break_glass.yml"), "-e", "sapflux_checked=true", "-e"]

    def run(variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*argv, variables], env=environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )

    done = run(json.dumps({"break_glass_cidrs": [f"{hosts.PREFIX}.0.1/32"], "break_glass_minutes": 5}))
    assert done.returncode == 0, done.stdout
    assert HOST.outside()
    done = run("break_glass_minutes=0")
    assert done.returncode == 0, done.stdout
    assert not HOST.outside()


def test_a_network_of_the_document_is_let_in_when_it_is_locked(stranger: Host) -> None:
    """firewall_break_glass_cidrs: part of the locked rules."""
    done = converge("lockdown", firewall_break_glass_cidrs=[f"{STRANGER}/32"])
    assert done.returncode == 0, done.stdout
    assert connects(stranger, hosts.address(HOST.name), 22, source=STRANGER)
    assert not HOST.outside()
    assert converge("lockdown").returncode == 0
    assert blocked(stranger, hosts.address(HOST.name), 22, source=STRANGER)
    assert HOST.is_locked()


# Before the switch: nothing is changed


def refused(done: subprocess.CompletedProcess[str], says: str) -> None:
    """A run that failed with one sentence and left an open host with no timer."""
    said = " ".join(done.stdout.split())
    assert done.returncode != 0
    assert says in said
    assert "nothing was changed" in said
    found = HOST.status()
    assert HOST.outside()
    assert not found["state"]
    assert not found["armed_seconds"]
    assert found["loaded"] == found["file"]


def test_check_mode_proves_and_changes_nothing(opened: None) -> None:  # noqa: ARG001
    """The prediction includes the proof over the tailnet."""
    began = time.monotonic()
    done = converge("lockdown", "--check")
    assert done.returncode == 0, done.stdout
    assert "changed=1 " in done.stdout
    assert time.monotonic() - began < 60
    assert not HOST.status()["state"]
    assert not HOST.status()["armed_seconds"]
    assert HOST.outside()


@pytest.mark.usefixtures("opened")
def test_a_tailnet_that_is_down_before_is_refused() -> None:
    """Found on the host, over the public address."""
    HOST.inside("systemctl stop tailscaled")
    refused(lock(), "the tailnet is down (tailscale0 is missing")


@pytest.mark.usefixtures("opened")
def test_a_wrong_tailnet_address_is_refused() -> None:
    """An address that leads in, but not over the tailnet, would be cut by the switch."""
    refused(lock(sapflux_tailnet_host=HOST.name), "which is not on the tailnet")


@pytest.mark.usefixtures("opened")
def test_a_timer_that_does_not_arm_is_refused() -> None:
    """No dead man, no switch."""
    HOST.inside(f"systemctl mask --quiet --runtime {ROLLBACK}.timer")
    try:
        refused(lock(), "the dead-man timer")
    finally:
        HOST.inside(f"systemctl unmask --quiet --runtime {ROLLBACK}.timer")


@pytest.mark.usefixtures("opened")
def test_a_full_disk_is_refused() -> None:
    """Nothing can be kept, so nothing is begun."""
    HOST.inside(f"mount -t tmpfs -o size=4k none {KEPT}; head -c 4096 /dev/zero >{KEPT}/full")
    try:
        refused(lock(), "free some space")
    finally:
        HOST.inside(f"umount {KEPT}")


@pytest.mark.usefixtures("opened")
def test_rules_that_nft_refuses_are_never_loaded() -> None:
    """They are tried before the timer is armed."""
    said = HOST.arm(flaw="nonsense")
    assert "nft refuses the rules" in said
    assert not HOST.status()["armed_seconds"]
    assert HOST.outside()


def test_a_wrong_network_of_the_operator_is_refused(opened: None) -> None:  # noqa: ARG001
    """The way back would lead somewhere else: the controller sees that the public port is closed for it already."""
    HOST.inside(f"cp {KEPT}/open.nft /run/open.nft")
    done = converge("lockdown", firewall_lockdown_cidrs=["198.51.100.0/24"])
    said = " ".join(done.stdout.split())
    assert done.returncode != 0
    assert "does not answer from here even now" in said
    assert "add this machine's network to 198.51.100.0/24" in said
    found = HOST.status()
    assert not found["state"]
    assert not found["armed_seconds"]
    assert HOST.tailnet_works()
    HOST.inside(f"mv /run/open.nft {KEPT}/open.nft")


# During the switch


@pytest.mark.usefixtures("opened")
def test_a_tailnet_that_goes_down_during_the_switch_is_undone() -> None:
    """The second proof fails, the controller cannot roll back, the dead man does."""
    HOST.when(LOADED, "systemctl stop tailscaled")
    done = lock()
    said = " ".join(done.stdout.split())
    assert done.returncode != 0
    assert f"{HOST.name} is not locked" in said
    assert "SSH is open again at" in said
    assert HOST.outside()
    assert not HOST.status()["state"]


@pytest.mark.usefixtures("opened")
def test_a_disk_that_fills_during_the_switch_is_undone() -> None:
    """What cannot be kept is not confirmed, and the controller does not wait for the timer."""
    fill = (
        f"cp {RULES} /run/r; mount -t tmpfs -o size=8k none /etc/nftables.d; cp /run/r {RULES}; yes >/etc/nftables.d/x"
    )
    HOST.when(ARMED, fill)
    try:
        done = lock()
        said = " ".join(done.stdout.split())
        assert done.returncode != 0
        assert "free some space" in said
        assert "SSH is open again at" in said
        assert not HOST.status()["armed_seconds"]
        assert not HOST.status()["state"]
    finally:
        HOST.inside("umount /etc/nftables.d")


@pytest.mark.usefixtures("opened")
@pytest.mark.parametrize("moment", [ARMED, LOADED], ids=["armed", "applied"])
def test_a_controller_that_is_killed_leaves_a_way_in(moment: str, tmp_path: Path) -> None:
    """The host opens by itself, and the next run is not held up by what is left."""
    env = {**environment(), "MOLECULE_SCENARIO_NAME": "lockdown"}
    env.pop("ANSIBLE_CALLBACKS_ENABLED", None)
    playbook = str(ROOT / "molecule" / "lockdown" / "converge.yml")
    argv = ["ansible-playbook", "-i", str(ROOT / "molecule" / "inventory"), "--limit", "lockdown", playbook]
    said = tmp_path / "said"
    with said.open("wb") as output:
        run = subprocess.Popen(
            [*argv, "--skip-tags", "rules"],
            env=env,
            cwd=ROOT,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    # A connection that was shared with a controller killed before may have to be given up first.
    seen = HOST.inside(f"for i in $(seq 3600); do if {moment}; then echo seen; exit; fi; sleep 0.05; done")
    with contextlib.suppress(ProcessLookupError):
        os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    assert seen, said.read_text()
    # The tailnet goes as well, so that nothing but the host itself can open it.
    HOST.inside("systemctl stop tailscaled")
    wait_until(HOST.outside, "the way in from outside", PROMISE)


@pytest.mark.usefixtures("opened")
def test_a_reboot_in_the_middle_boots_open() -> None:
    """The locked rules are in the kernel only."""
    token = json.loads(HOST.arm())["token"]
    HOST.inside(f"lockdown apply --token {token}")
    assert not HOST.outside()
    HOST.reboot()
    wait_until(HOST.outside, "the way in from outside")
    assert not HOST.status()["state"]
    assert "the rules are open" in HOST.inside(f"lockdown commit --token {token} 2>&1 || true")


@pytest.mark.usefixtures("opened")
def test_after_all_of_that_it_locks() -> None:
    """Nothing that went wrong before is in the way."""
    done = converge("lockdown")
    assert done.returncode == 0, done.stdout
    assert HOST.is_locked()
    assert not HOST.outside()
    assert HOST.tailnet_works()


def test_absent_opens_it_and_leaves_nothing_behind() -> None:
    """The last test: the document no longer wants it."""
    done = converge("lockdown", firewall_ssh_cidrs=[], firewall_lockdown_state="absent")
    assert "keeps its lockdown" in " ".join(done.stdout.split())
    assert HOST.is_locked()
    done = converge("lockdown", firewall_ssh_cidrs=[f"{hosts.PREFIX}.0.0/16"], firewall_lockdown_state="absent")
    assert done.returncode == 0, done.stdout
    assert HOST.outside()
    for path in (STATE, KEPT, "/usr/local/sbin/lockdown", "/usr/local/lib/sapflux/lockdown", "/etc/sapflux"):
        assert HOST.inside(f"test ! -e {path} && echo gone") == "gone", path
    assert HOST.inside("systemctl is-active sapflux-lockdown.timer || true") == "inactive"
    done = converge("lockdown", firewall_ssh_cidrs=[f"{hosts.PREFIX}.0.0/16"], firewall_lockdown_state="absent")
    assert unchanged(done), done.stdout
    assert converge("lockdown").returncode == 0
    assert HOST.is_locked()
