"""What an SSH server shall offer, of what it can; who is kept out; who holds its port."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Sequence

import pytest
from ansible_collections.sapflux.hosting.plugins.module_utils import _sshd

DEBIAN_13 = {
    "kex": [
        "diffie-hellman-group14-sha1",
        "diffie-hellman-group-exchange-sha256",
        "ecdh-sha2-nistp256",
        "curve25519-sha256",
        "curve25519-sha256@libssh.org",
        "sntrup761x25519-sha512",
        "sntrup761x25519-sha512@openssh.com",
        "mlkem768x25519-sha256",
    ],
    "ciphers": ["3des-cbc", "aes128-ctr", "aes256-ctr", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com"],
    "macs": ["hmac-sha1", "hmac-sha2-256", "hmac-sha2-256-etm@openssh.com", "umac-128-etm@openssh.com"],
    "host_keys": ["ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa", "rsa-sha2-256", "rsa-sha2-512"],
}
KINDS = {"KexAlgorithms": "kex", "Ciphers": "ciphers", "MACs": "macs", "HostKeyAlgorithms": "host_keys"}


def test_post_quantum_exchanges_come_first_and_are_the_only_ones() -> None:
    """The order is ours, not the server's."""
    chosen = _sshd.algorithms(DEBIAN_13)
    assert chosen == {
        "KexAlgorithms": "mlkem768x25519-sha256,sntrup761x25519-sha512,sntrup761x25519-sha512@openssh.com",
        "Ciphers": "chacha20-poly1305@openssh.com,aes256-gcm@openssh.com,aes256-ctr,aes128-ctr",
        "MACs": "hmac-sha2-256-etm@openssh.com,umac-128-etm@openssh.com",
        "HostKeyAlgorithms": "ssh-ed25519,rsa-sha2-512,rsa-sha2-256",
    }


def test_old_clients_are_let_in_after_the_others_when_told_so() -> None:
    """classical adds, and never comes first."""
    kex = _sshd.algorithms(DEBIAN_13, classical=True)["KexAlgorithms"].split(",")
    assert kex == [*_sshd.POST_QUANTUM, *_sshd.CLASSICAL]


def test_a_server_without_post_quantum_exchanges_gets_the_next_best() -> None:
    """OpenSSH 8.4 and older: better than nobody getting in."""
    offers = {**DEBIAN_13, "kex": ["ecdh-sha2-nistp256", "curve25519-sha256"]}
    assert _sshd.algorithms(offers)["KexAlgorithms"] == "curve25519-sha256"


@pytest.mark.parametrize("keyword", KINDS)
def test_a_list_is_never_empty(keyword: str) -> None:
    """A server that offers nothing good is refused by the keyword's name."""
    with pytest.raises(_sshd.SshdError, match=f"offers no {keyword}"):
        _sshd.algorithms({**DEBIAN_13, KINDS[keyword]: ["ssh-dss", "arcfour"]})


def test_never_an_algorithm_that_the_server_lacks() -> None:
    """For every subset of the key exchanges, and classical or not."""
    for size in range(1, len(DEBIAN_13["kex"]) + 1):
        for kex in itertools.combinations(DEBIAN_13["kex"], size):
            for classical in (False, True):
                try:
                    chosen = _sshd.algorithms({**DEBIAN_13, "kex": kex}, classical)["KexAlgorithms"].split(",")
                except _sshd.SshdError:
                    continue
                assert set(chosen) <= set(kex)
                assert not any("nistp" in name or "group" in name for name in chosen)


def test_a_client_that_would_be_locked_out_is_told_before() -> None:
    """Ansible's own ssh must have something in common with the server."""
    old = ["curve25519-sha256", "ecdh-sha2-nistp256"]
    with pytest.raises(_sshd.SshdError, match="base_ssh_classical_kex: true"):
        _sshd.algorithms(DEBIAN_13, client=old)
    assert _sshd.algorithms(DEBIAN_13, classical=True, client=old)
    assert _sshd.algorithms(DEBIAN_13, client=[*old, "sntrup761x25519-sha512@openssh.com"])


def test_without_openssh_nothing_is_said() -> None:
    """Check mode on a host that does not have it yet."""
    assert _sshd.algorithms({}) == {}


@pytest.mark.parametrize(
    ("effective", "reason"),
    [
        ("permitrootlogin no", None),
        ("allowusers ops", None),
        ("allowusers bob\nallowusers ops@10.0.0.0/8", None),
        ("allowusers o*", None),
        ("allowusers bob\nallowusers ann", "AllowUsers names bob ann and not ops"),
        ("denyusers op?", "DenyUsers names ops"),
        ("denyusers bob", None),
        ("denygroups sudo staff", "DenyGroups names sudo, of which ops is a member"),
        ("denygroups staff", None),
        ("allowgroups staff", None),
        ("", None),
    ],
)
def test_lockout(effective: str, reason: str | None) -> None:
    """Each of sshd's four lists can keep a user out; AllowGroups of another file only adds to ours."""
    assert _sshd.lockout(effective, "ops", {"ops", "sudo", "sapflux-ssh"}) == reason


SSHD = 'LISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:(("sshd",pid=86,fd=6))\n'
SSHD_6 = 'LISTEN 0 128 [::]:22 [::]:* users:(("sshd",pid=86,fd=7))\n'
SOCKET = 'LISTEN 0 4096 [::]:22 [::]:* users:(("sshd",pid=90,fd=3),("systemd",pid=1,fd=44))\n'
OTHER = 'LISTEN 0 4096 127.0.0.2:22 0.0.0.0:* users:(("docker-proxy",pid=5,fd=4))\n'


@pytest.mark.parametrize(
    ("output", "problems"),
    [
        (SSHD + SSHD_6, []),
        (SOCKET, ["port 22 is held by sshd (process 90) and systemd (process 1) instead of one sshd"]),
        (SSHD + OTHER, ["port 22 is held by docker-proxy (process 5) and sshd (process 86) instead of one sshd"]),
        ("", ["port 22 is held by nobody instead of one sshd"]),
        (
            "LISTEN 0 128 0.0.0.0:22 0.0.0.0:*\n",
            ["port 22 is held by an unknown program (process 0) instead of one sshd"],
        ),
    ],
)
def test_one_sshd_holds_the_port(output: str, problems: list[str]) -> None:
    """As ss shows it."""
    assert _sshd.owner_problems(_sshd.parse_listeners(output), 22) == problems


def test_questions_to_the_host() -> None:
    """What is asked, what comes back, and what a host without OpenSSH or with broken files says."""
    answers = {"ssh": "one\ntwo\n", "/usr/sbin/sshd": "port 22\n", "ss": SSHD}
    failing: set[str] = set()
    said = "/etc/ssh/sshd_config: line 3: Bad configuration option: Foo"

    def run(argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
        bad = argv[0] in failing
        return subprocess.CompletedProcess(argv, int(bad), "" if bad else answers[argv[0]], f"{said}\n" if bad else "")

    assert _sshd.ask_offers(run) == {kind: ["one", "two"] for kind in _sshd.OFFERS}
    asked = _sshd.ask(run, "ops", 22)
    assert (asked["effective"], asked["error"]) == ("port 22\n", "")
    assert asked["listeners"] == [{"address": "0.0.0.0:22", "process": "sshd", "pid": 86}]
    failing.update(("ssh", "/usr/sbin/sshd"))
    assert _sshd.ask_offers(run) == {}
    asked = _sshd.ask(run, "ops", 22)
    assert (asked["effective"], asked["error"]) == ("", said)


def test_a_port_that_is_given_up_for_a_reload_is_looked_at_again() -> None:
    """Nobody, then the server beside a login in the making, then the server alone; who stays away is not waited for."""
    line = 'LISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:(("sshd",pid={},fd=3))\n'
    one, two = line.format(86), line.format(99)
    looks = ["", one + two, one]
    pauses: list[float] = []

    def run(argv: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(argv, 0, looks.pop(0) if argv[0] == "ss" and looks else "", "")

    asked = _sshd.ask(run, "ops", 22, pauses.append)
    assert asked["listeners"] == [{"address": "0.0.0.0:22", "process": "sshd", "pid": 86}]
    assert len(pauses) == 2
    assert _sshd.ask(run, "ops", 22, pauses.append)["listeners"] == []
    assert sum(pauses) == pytest.approx(_sshd.SETTLE, abs=3 * _sshd.LOOK)
