"""A host on a tailnet: joined once, kept, upgraded over the tailnet, refused in words, and taken off again."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import testinfra
from testinfra.host import Host

from tests.bed import hosts, packages, tailnet
from tests.scenario import ROOT, converge, unchanged, wait_until

NAME = "tailscale-1"
SOURCE = "/etc/apt/sources.list.d/sapflux-tailscale.sources"

# Looks at every process until it is told to stop; what it looks for comes in through a pipe and leaves it never.
WATCH = """
import os, pathlib, sys
marker = sys.stdin.buffer.readline().strip()
assert len(marker) > 20
found, looks, me = set(), 0, str(os.getpid())
pathlib.Path("/run/watching").touch()
while not os.path.exists("/run/stop-watching"):
    looks += 1
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for name in ("cmdline", "environ"):
            try:
                with open(f"/proc/{pid}/{name}", "rb") as stream:
                    said = stream.read()
            except OSError:
                continue
            if b"tailscale\\0up" in said:
                found.add("up was seen")
            if marker in said and pid != me:
                found.add(f"{name} of " + said.split(b"\\0")[0].decode())
os.unlink("/run/stop-watching")
print(looks, *sorted(found), sep="\\n")
"""


def control(*words: str) -> None:
    """Headscale's own command line."""
    subprocess.run(
        ["docker", "exec", hosts.container("headscale"), "headscale", *words], check=True, capture_output=True
    )


def status(host: Host) -> dict[str, Any]:
    """What tailscaled says about itself."""
    said: dict[str, Any] = json.loads(host.check_output("tailscale status --json --peers=false"))
    return said


def prefs(host: Host) -> dict[str, Any]:
    """The preferences that tailscaled holds."""
    said: dict[str, Any] = json.loads(host.check_output("tailscale debug prefs"))
    return said


def identity(host: Host) -> tuple[str, list[str]]:
    """What changes when a node is logged in again: its key, and its addresses."""
    said = status(host)
    assert said["BackendState"] == "Running"
    return said["Self"]["PublicKey"], said["TailscaleIPs"]


def words(done: subprocess.CompletedProcess[str]) -> str:
    """What ansible said, with its line breaks taken away."""
    return " ".join(done.stdout.split())


def over_tailnet() -> Host:
    """The host by its tailnet address, through the operator."""
    name = tailnet.alias(NAME)
    # The connection that an earlier test has left may be one to an address that is gone.
    subprocess.run(["ssh", "-F", hosts.ssh_config(), "-O", "exit", name], check=False, capture_output=True)
    return testinfra.get_host(f"ssh://{name}", ssh_config=str(hosts.ssh_config()), sudo=True)


def reachable() -> bool:
    """Whether a command runs on the host over the tailnet."""
    return bool(over_tailnet().run("true").rc == 0)


@contextmanager
def watched(secret: str) -> Iterator[list[str]]:
    """Look at all processes of the host meanwhile; the list is what was seen, filled in at the end."""
    seen: list[str] = []
    argv = ["docker", "exec", "-i", hosts.container(NAME), "python3", "-c", WATCH]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as watcher:
        assert watcher.stdin
        watcher.stdin.write(secret + "\n")
        watcher.stdin.close()
        try:
            wait_until(lambda: hosts.execute(NAME, "ls /run").find("watching") >= 0, "the watch")
            yield seen
        finally:
            hosts.execute(NAME, "touch /run/stop-watching")
            assert watcher.stdout
            seen += watcher.stdout.read().splitlines()
    hosts.execute(NAME, "rm -f /run/watching")


def places(secret: str) -> list[str]:
    """Where a secret is found on the host: files, and the journal."""
    where = "/etc /home /opt /root /run /srv /tmp /usr/local /var"
    files = hosts.execute(NAME, f"grep -rlF -D skip -f - {where} 2>/dev/null || true", stdin=secret.encode())
    in_journal = hosts.execute(
        NAME, "journalctl --no-pager -o cat | grep -cF -f /dev/stdin || true", stdin=secret.encode()
    )
    return [*files.splitlines(), *(["the journal"] if in_journal != "0" else [])]


# --- a node that has joined


def test_the_host_is_on_the_tailnet_as_wished(host: Host) -> None:
    """As the host sees it, as the control server sees it, and as somebody on the tailnet sees it."""
    said, node = status(host), tailnet.node(NAME)
    assert said["Self"]["Tags"] == ["tag:server"] == list(node.tags)
    assert "KeyExpiry" not in said["Self"]
    assert tuple(said["TailscaleIPs"]) == node.addresses
    assert host.interface("tailscale0").addresses == [node.ipv4]
    assert (prefs(host)["CorpDNS"], prefs(host)["RunSSH"], prefs(host)["NetfilterMode"]) == (False, False, 2)
    assert "100.100.100.100" not in host.file("/etc/resolv.conf").content_string
    assert over_tailnet().check_output("cat /etc/hostname") == NAME
    assert host.service("tailscaled").is_enabled
    assert host.check_output("systemctl show --property=OOMScoreAdjust --value tailscaled") == "-900"


def test_the_package_comes_from_its_own_repository_and_nothing_else_does(host: Host) -> None:
    policy = host.check_output("apt-cache policy tailscale")
    assert f"Installed: {packages.current()}" in policy
    assert "Signed-By: /etc/apt/keyrings/sapflux-tailscale.gpg" in host.file(SOURCE).content_string
    origin = re.search(r"(-?\d+) http://pkgs", host.check_output("apt-cache policy"))
    assert origin is not None
    assert origin[1] == "-1"
    assert host.run("apt-key list").rc != 0 or "sapflux test bed" not in host.run("apt-key list").stdout


def test_no_key_is_needed_any_more_and_none_is_used(host: Host) -> None:
    before = identity(host)
    for key in ("", "hskey-auth-wrong-0123456789abcdef"):
        assert unchanged(converge("tailscale", tailscale_auth_key=key))
    assert identity(host) == before


def test_a_run_over_the_tailnet_changes_nothing(host: Host) -> None:
    before = identity(host)
    assert unchanged(converge("tailscale", ansible_host=tailnet.alias(NAME)))
    assert identity(host) == before


def test_a_new_hostname_is_set_and_the_node_stays_the_same(host: Host) -> None:
    before = identity(host)
    planned = converge("tailscale", "--check", tailscale_hostname="renamed", tailscale_auth_key="")
    assert (prefs(host)["Hostname"], tailnet.node(NAME).hostname) == ("", NAME)
    assert "changed=1 " in planned.stdout
    assert "changed=1 " in converge("tailscale", tailscale_hostname="renamed", tailscale_auth_key="").stdout
    assert prefs(host)["Hostname"] == "renamed"
    wait_until(lambda: tailnet.find("renamed") is not None, "the new name at the control server")
    assert identity(host) == before
    assert "changed=1 " in converge("tailscale").stdout
    wait_until(lambda: tailnet.find(NAME) is not None, "the host's own name at the control server")
    assert identity(host) == before
    assert unchanged(converge("tailscale"))


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"tailscale_tags": ["tag:runner"]}, "has the tags tag:server instead of tag:runner; it was left running"),
        ({"tailscale_login_server": "https://other.test"}, "not to https://other.test; it was left running"),
        ({"tailscale_version": "9.9.9"}, f"has no tailscale 9.9.9 (it has {packages.current()}); name one of those"),
    ],
)
def test_a_wish_that_cannot_be_met_leaves_the_node_running(host: Host, wish: dict[str, Any], message: str) -> None:
    """Nothing else of that run is done either."""

    def picture() -> object:
        pinned = host.check_output("cat /etc/apt/preferences.d/sapflux-tailscale")
        return identity(host), prefs(host)["Hostname"], pinned

    before = picture()
    done = converge("tailscale", tailscale_hostname="other", tailscale_auth_key=tailnet.key(("tag:runner",)), **wish)
    assert done.returncode != 0
    assert message in words(done)
    assert picture() == before
    assert reachable()


def test_a_key_that_will_expire_is_refused_before_it_does(host: Host) -> None:
    number = str(tailnet.node(NAME).id)
    control("nodes", "expire", "--identifier", number, "--expiry", "2099-01-01T00:00:00Z")
    wait_until(lambda: "KeyExpiry" in status(host)["Self"], "the expiry on the host")
    before = identity(host)
    done = converge("tailscale")
    assert done.returncode != 0
    assert f"the key of {NAME} expires on 2099-01-01T00:00:00Z" in words(done)
    assert identity(host) == before
    control("nodes", "expire", "--identifier", number, "--disable")
    wait_until(lambda: "KeyExpiry" not in status(host)["Self"], "the end of the expiry on the host")
    assert unchanged(converge("tailscale"))


@pytest.mark.parametrize(
    "change", [{"tailscale_ssh": True}, {"tailscale_shields_up": True}, {"tailscale_state": "absent"}]
)
def test_what_would_cut_off_the_connection_in_use_is_refused(host: Host, change: dict[str, Any]) -> None:
    before = identity(host)
    done = converge("tailscale", ansible_host=tailnet.alias(NAME), **change)
    assert done.returncode != 0
    assert "came in over the tailnet" in words(done)
    assert identity(host) == before
    assert reachable()


# --- faults


def test_the_daemon_comes_back_however_it_ends(host: Host) -> None:
    """Restarted, killed, and killed more often than systemd usually forgives."""
    before = identity(host)
    host.check_output("systemctl restart tailscaled")
    for _ in range(6):
        pid = host.check_output("systemctl show --property=MainPID --value tailscaled")
        host.check_output(f"kill -9 {pid}")
        fresh = f"test $(systemctl show -p MainPID --value tailscaled) -ne {pid} && systemctl is-active -q tailscaled"
        wait_until(lambda fresh=fresh: host.run(fresh).rc == 0, "another daemon")  # type: ignore[misc]
    wait_until(lambda: status(host)["BackendState"] == "Running", "the node")
    assert identity(host) == before
    wait_until(reachable, "the host on the tailnet", 30)
    assert unchanged(converge("tailscale", tailscale_auth_key=""))


def test_without_the_control_server_a_run_changes_nothing(host: Host) -> None:
    """A node that is cut off from it is not logged in again."""
    before = identity(host)
    server = tailnet.CONTROL.address
    hosts.execute(NAME, f"ip route add blackhole {server}/32")
    try:
        assert unchanged(converge("tailscale", tailscale_auth_key=tailnet.key()))
    finally:
        hosts.execute(NAME, f"ip route del blackhole {server}/32")
    assert identity(host) == before


def test_a_node_that_is_down_is_started_without_a_key(host: Host) -> None:
    before = identity(host)
    host.check_output("tailscale down")
    assert "changed=1 " in converge("tailscale", tailscale_auth_key="").stdout
    assert identity(host) == before


def test_units_wait_for_the_address_and_not_for_ever(host: Host) -> None:
    """A unit that is named starts after the address is there, although the daemon starts late."""
    unit = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/usr/sbin/ip -4 -o address show dev tailscale0\n"
    hosts.execute(NAME, "cat >/etc/systemd/system/waits.service", stdin=unit.encode())
    assert converge("tailscale", tailscale_wait_units=["waits.service"]).returncode == 0
    assert host.service("tailscale-online.target").is_enabled
    try:
        host.check_output("systemctl stop tailscaled tailscale-wait-online tailscale-online.target waits")
        host.check_output("systemctl start tailscale-online.target waits.service")
        invocation = host.check_output("systemctl show --property=InvocationID --value waits")
        said = host.check_output(f"journalctl _SYSTEMD_INVOCATION_ID={invocation} --no-pager --output cat")
        assert status(host)["TailscaleIPs"][0] in said
    finally:
        host.check_output("systemctl stop waits; rm /etc/systemd/system/waits.service; systemctl daemon-reload")
    shown = host.check_output("systemctl show --property=TimeoutStartUSec --value tailscale-wait-online")
    assert shown == "1min 30s"
    assert "changed=1 " in converge("tailscale").stdout
    assert not host.service("tailscale-online.target").is_enabled


# --- upgrades


def test_the_version_stays_whoever_upgrades_and_a_run_over_the_tailnet_upgrades_it(host: Host) -> None:
    """A newer one in the repository is taken by nobody but by a wish, and that wish may come over the tailnet."""
    old, new = packages.current(), packages.newer()
    packages.publish(NAME, old, new)
    try:
        host.check_output("apt-get update -qq")
        upgrade = "apt-get --simulate --option=APT::Get::Only-Source=false dist-upgrade"
        assert "tailscale" not in host.check_output(upgrade)
        # Without the pin it would be taken: the test can fail.
        assert f"Inst tailscale [{old}] ({new}" in host.check_output(
            f"{upgrade} -o Dir::Etc::PreferencesParts=/dev/null"
        )
        before = identity(host)
        assert unchanged(converge("tailscale"))
        done = converge("tailscale", ansible_host=tailnet.alias(NAME), tailscale_version=new, tailscale_auth_key="")
        assert done.returncode == 0, done.stdout
        assert "unreachable=0 " in done.stdout
        assert host.package("tailscale").version == new
        assert identity(host) == before
        assert "changed=1 " in converge("tailscale", tailscale_version=old).stdout
        assert host.package("tailscale").version == old
        assert identity(host) == before
    finally:
        packages.publish(NAME, old)


def test_unattended_upgrades_leave_it_alone(host: Host) -> None:
    """Although they are told to take everything of that repository."""
    packages.publish(NAME, packages.current(), packages.newer())
    try:
        host.check_output("apt-get update -qq")
        if not host.package("unattended-upgrades").is_installed:
            host.check_output("DEBIAN_FRONTEND=noninteractive apt-get install -y -qq unattended-upgrades")
        origins = 'Unattended-Upgrade::Origins-Pattern { "site=pkgs.sapflux.test"; };\n'
        hosts.execute(NAME, "cat >/etc/apt/apt.conf.d/99molecule", stdin=origins.encode())
        said = host.run("unattended-upgrade --dry-run --debug")
        assert "site=pkgs.sapflux.test" in said.stdout + said.stderr
        assert "No packages found that can be upgraded unattended" in said.stdout + said.stderr
        said = host.run(
            "mv /etc/apt/preferences.d/sapflux-tailscale /root/pin; unattended-upgrade --dry-run --debug; "
            "mv /root/pin /etc/apt/preferences.d/sapflux-tailscale"
        )
        assert re.search(r"Packages that will be upgraded: .*tailscale", said.stdout + said.stderr)
    finally:
        packages.publish(NAME, packages.current())
        host.check_output("rm -f /etc/apt/apt.conf.d/99molecule; apt-get update -qq")
    assert unchanged(converge("tailscale"))


# --- off and on again


def test_a_node_that_was_removed_at_the_control_server_says_so_and_joins_again_with_a_key(host: Host) -> None:
    before = identity(host)
    tailnet.delete(NAME)
    # It hears of that when it next registers.
    host.check_output("systemctl restart tailscaled")
    wait_until(lambda: status(host)["BackendState"] == "NeedsLogin", "the end of the login")
    done = converge("tailscale", tailscale_auth_key="")
    assert done.returncode != 0
    assert "its key has expired or it was removed at the control server" in words(done)
    assert f"make a key with tags at {tailnet.LOGIN_SERVER}" in words(done)
    assert "changed=1 " in converge("tailscale", tailscale_auth_key=tailnet.key()).stdout
    assert identity(host)[1] != before[1]
    wait_until(reachable, "the host on the tailnet", 30)


def test_absent_leaves_nothing_of_it(host: Host) -> None:
    planned = converge("tailscale", "--check", tailscale_state="absent")
    assert planned.returncode == 0
    assert identity(host)
    done = converge("tailscale", tailscale_state="absent")
    assert done.returncode == 0, done.stdout
    assert not host.package("tailscale").is_installed
    for path in ("/etc/apt/*/*sapflux-tailscale*", "/etc/default/tailscaled", "/etc/systemd/system/tailscale*"):
        assert host.run(f"ls {path}").rc != 0, path
    for path in ("/var/lib/tailscale", "/run/tailscale", "/run/sapflux-install-tailscale.log"):
        assert not host.file(path).exists, path
    assert host.check_output("systemctl --failed --no-legend") == ""
    assert host.run("iptables-save | grep ts-").rc != 0
    wait_until(lambda: tailnet.find(NAME) is None or not tailnet.node(NAME).online, "the logout at the control server")
    assert unchanged(converge("tailscale", tailscale_state="absent"))


def test_a_fresh_host_in_check_mode_is_predicted_and_left_alone(host: Host) -> None:
    done = converge("tailscale", "--check", "--diff")
    assert done.returncode == 0, done.stdout
    assert "changed=3 " in done.stdout
    assert not host.package("tailscale").is_installed
    assert not host.file(SOURCE).exists


def test_a_repository_key_that_is_not_the_pinned_one_installs_nothing(host: Host) -> None:
    done = converge("tailscale", tailscale_repository_key_sha256="0" * 64)
    assert done.returncode != 0
    assert f"instead of {'0' * 64}, so it was not installed" in words(done)
    assert not host.file(SOURCE).exists
    assert not host.package("tailscale").is_installed


def test_wrong_and_expired_keys_are_told_and_a_good_one_joins_unseen(host: Host) -> None:
    """No key is in an argument, an environment, a file, the journal or what ansible prints, also when it failed."""
    tailnet.delete(NAME)
    wrong = "hskey-auth-0123456789ab-" + "w" * 64
    late = tailnet.key(expiry="1s")
    for key, reason in ((wrong, "invalid pre auth key"), (late, "authkey expired")):
        done = converge("tailscale", "-vvv", tailscale_auth_key=key)
        assert done.returncode != 0
        assert f"joining the tailnet of {tailnet.LOGIN_SERVER} failed: backend error: {reason}" in words(done), (
            done.stdout[-3000:]
        )
        assert key not in done.stdout
        assert places(key) == []
        assert tailnet.find(NAME) is None
    good = tailnet.key()
    with watched(good) as seen:
        done = converge("tailscale", "-vvv", tailscale_auth_key=good)
    assert done.returncode == 0, done.stdout
    assert good not in done.stdout
    assert places(good) == []
    # It did look, often enough to see the command that joins, and saw no key.
    assert int(seen[0]) > 10
    assert seen[1:] == ["up was seen"]
    assert places("a string that this test puts into /run") == []
    hosts.execute(NAME, "cat >/run/marked", stdin=good.encode())
    assert places(good) == ["/run/marked"]
    hosts.execute(NAME, "rm /run/marked")
    assert identity(host)
    wait_until(reachable, "the host on the tailnet", 30)


def test_a_node_without_tags_is_refused_and_left_running(host: Host) -> None:
    """The last test: its key would expire in half a year, and the way in with it."""
    assert converge("tailscale", tailscale_state="absent").returncode == 0
    tailnet.delete(NAME)
    done = converge("tailscale", tailscale_auth_key=tailnet.key(()))
    assert done.returncode != 0
    assert re.search(rf"{NAME} has no tags, so its key expires \(on 20[\d:TZ-]+\) and the way in with it", words(done))
    before = identity(host)
    assert converge("tailscale", tailscale_tags=[]).returncode != 0
    assert identity(host) == before
    assert unchanged(converge("tailscale", tailscale_tags=[], tailscale_permanent=False))
    assert converge("tailscale", tailscale_state="absent").returncode == 0
    tailnet.delete(NAME)
    packages.withdraw(NAME)
    assert (ROOT / ".bed" / "molecule-tailscale.json").stat().st_mode & 0o077 == 0
