"""What preflight reads on a host, and what it makes of the answers."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
from typing import Any

import pytest
from ansible_collections.sapflux.hosting.plugins.module_utils import _preflight as preflight
from ansible_collections.sapflux.hosting.plugins.module_utils import _preflight_remote as remote
from ansible_collections.sapflux.hosting.plugins.module_utils._preflight import HostError

DISTRIBUTIONS = {"Debian": ["13"]}
NOW = 1_800_000_000.0


def answer(**changes: Any) -> dict[str, Any]:
    """A good answer of a host, changed on its first level or in its facts."""
    facts = {
        "distribution": "Debian",
        "distribution_version": "13.2",
        "distribution_major_version": "13",
        "sapflux": {"free_mb": {"/": 9000, "/tmp": 200}},
    }
    base: dict[str, Any] = {"facts": facts, "root": True, "time": NOW, "python_version": [3, 13, 5]}
    for key, value in changes.items():
        (facts if key in facts else base)[key] = value
    return base


def judge(found: dict[str, Any]) -> list[str]:
    return preflight.judge("web-1", found, DISTRIBUTIONS, {"/": 2048, "/tmp": 32}, NOW)


def test_a_good_host_has_no_problem() -> None:
    assert judge(answer()) == []
    assert judge(answer(time=NOW + 299)) == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"distribution": "Ubuntu", "distribution_version": "24.04", "distribution_major_version": "24"},
            "runs Ubuntu 24.04, and this needs Debian 13",
        ),
        (
            {"distribution_version": "12.9", "distribution_major_version": "12"},
            "runs Debian 12.9, and this needs Debian 13",
        ),
        ({"root": False}, "does not let the login become root"),
        ({"time": NOW - 301}, "its clock is 301 s behind"),
        ({"time": NOW + 86400}, "its clock is 86400 s ahead"),
        ({"python_version": [3, 8, 1]}, "has Python 3.8.1; it needs 3.9"),
        (
            {"sapflux": {"free_mb": {"/": 100, "/tmp": 8}}},
            "too little space: / has 100 MB free and needs 2048 MB, /tmp has 8 MB free and needs 32 MB",
        ),
    ],
)
def test_an_unfit_host_is_one_line(changes: dict[str, Any], says: str) -> None:
    problems = judge(answer(**changes))
    assert len(problems) == 1
    assert says in problems[0]
    assert problems[0].startswith("host web-1")
    assert "\n" not in problems[0]


def test_independent_problems_are_reported_together() -> None:
    found = answer(root=False, time=NOW + 1000, sapflux={"free_mb": {"/": 0, "/tmp": 0}})
    assert len(judge(found)) == 3


SSH_ERRORS = [
    (
        'Data could not be sent to remote host "x". Make sure this host can be reached over ssh: '
        "ssh: connect to host 192.0.2.1 port 22: Connection refused\r\n",
        "Connection refused",
        "Check its address",
    ),
    (
        "Failed to connect to the host via ssh: ssh: connect to host x port 22: Connection timed out",
        "Connection timed out",
        "Check its address",
    ),
    (
        "Failed to connect to the host via ssh: ssh: Could not resolve hostname x: Name or service not known",
        "Could not resolve hostname x",
        "Check ansible_host",
    ),
    (
        "Failed to connect to the host via ssh: Warning: Permanently added 'x' to the list.\n"
        "Host key verification failed.",
        "Host key verification failed",
        "Compare its key",
    ),
    (
        "Failed to connect to the host via ssh: @@@@@@\n@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\n@@@\n"
        "Host key verification failed.",
        "its host key has changed",
        "ssh-keygen -R 192.0.2.1",
    ),
    (
        "Failed to connect to the host via ssh: kex_exchange_identification: Connection closed by remote host",
        "Connection closed",
        "wait a minute",
    ),
    ("", "no reason given", "Check its address"),
]


@pytest.mark.parametrize(("text", "reason", "check"), SSH_ERRORS)
def test_an_unreachable_host_is_one_line_with_the_reason_of_ssh(text: str, reason: str, check: str) -> None:
    line = preflight.unreachable("web-1", "192.0.2.1:22", text, "ssh ops@192.0.2.1")
    assert line.startswith("host web-1 (192.0.2.1:22) does not answer SSH: ")
    assert reason in line
    assert check in line
    assert line.endswith("`ssh ops@192.0.2.1`")
    assert "\n" not in line
    assert "via ssh" not in line
    assert not preflight.denied(text)


@pytest.mark.parametrize(
    "text", ["ops@x: Permission denied (publickey).", "Received disconnect: Too many authentication failures"]
)
def test_a_refused_login_is_told_from_a_host_that_does_not_answer(text: str) -> None:
    assert preflight.denied(text)
    line = preflight.refused("web-1", "192.0.2.1:22", ["ops", "root"], preflight.ssh_reason(text))
    assert "lets ops or root in with none of your keys" in line
    assert "ssh ops@192.0.2.1" in line


def test_an_ipv6_address_is_told_from_its_port() -> None:
    line = preflight.refused("web-1", "[2001:db8::1]:22", ["ops"], "Permission denied (publickey)")
    assert line.endswith("then `ssh ops@2001:db8::1`")


def test_the_answer_is_found_between_banners() -> None:
    output = f"Welcome!\r\n{preflight.MARK}{json.dumps({'root': True})}\nbye"
    assert preflight.parse("web-1", "ops", output, "") == {"root": True}


@pytest.mark.parametrize(
    ("output", "error", "says"),
    [
        (f"{preflight.NO_PYTHON}debian 13\n", "", "(debian 13) has no Python; run `apt-get install python3`"),
        (f"{preflight.NO_PYTHON}\n", "", "(an unknown system) has no Python"),
        (
            f"{preflight.NO_SUDO}\n",
            "",
            "ops may not become root without a password; run `echo 'ops ALL=(ALL) NOPASSWD: ALL'",
        ),
        ("", "sh: 1: Syntax error\n", "the look at it as ops failed: sh: 1: Syntax error"),
        ("This account is currently not available.", "", "This account is currently not available."),
        ("", "", "no answer"),
    ],
)
def test_no_answer_says_why_and_the_way_out(output: str, error: str, says: str) -> None:
    with pytest.raises(HostError) as caught:
        preflight.parse("web-1", "ops", output, error)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_script_runs_alone_and_answers_about_this_machine(tmp_path: pathlib.Path) -> None:
    missing = str(tmp_path / "a" / "b")
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-", "/", missing],
        input=preflight.SCRIPT.read_bytes(),
        capture_output=True,
        check=True,
    )
    found = preflight.parse("here", "me", done.stdout.decode(), "")
    facts = found["facts"]
    assert set(facts["sapflux"]["free_mb"]) == {"/", missing}
    assert found["measured_at"][missing] == str(tmp_path)
    assert facts["memtotal_mb"] > 0
    assert facts["processor_vcpus"] > 0
    assert facts["hostname"]
    assert "." not in facts["hostname"]
    assert found["python_version"][:2] == list(sys.version_info[:2])
    assert {"distribution", "distribution_release", "architecture", "machine", "packages"} <= facts.keys()


def test_the_command_goes_on_without_sudo_as_root_and_names_a_missing_python(tmp_path: pathlib.Path) -> None:
    shell = ["/bin/sh", "-c", preflight.command(["/", "/a dir"])]
    bare = subprocess.run(
        shell, env={"PATH": str(tmp_path)}, capture_output=True, check=True, input=b""
    ).stdout.decode()
    assert bare.startswith(preflight.NO_PYTHON)
    for name, script in {
        "python3": 'echo "python $*"',
        "id": "echo ${FAKE_UID}",
        "sudo": '[ "$FAKE_SUDO" = yes ] || exit 1; shift; "$@"',
    }.items():
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
    (tmp_path / "true").symlink_to("/bin/true")

    def run(uid: str, sudo: str) -> str:
        env = {"PATH": str(tmp_path), "FAKE_UID": uid, "FAKE_SUDO": sudo}
        return subprocess.run(shell, env=env, capture_output=True, check=True, input=b"").stdout.decode().strip()

    assert run("0", "no") == "python -I -S - / /a dir"
    assert run("1000", "yes") == "python -I -S - / /a dir"
    assert run("1000", "no") == preflight.NO_SUDO


@pytest.mark.parametrize(
    ("release", "debian", "expected"),
    [
        ('ID=debian\nVERSION_ID="13"\nVERSION_CODENAME=trixie\n', "13.2\n", ("Debian", "13.2", "13", "trixie")),
        ('ID=debian\nVERSION_ID="13"\nVERSION_CODENAME=trixie\n', "trixie/sid\n", ("Debian", "13", "13", "trixie")),
        (
            'NAME="Ubuntu"\nID=ubuntu\nVERSION_ID="24.04"\nVERSION_CODENAME=noble\n',
            "trixie/sid\n",
            ("Ubuntu", "24.04", "24", "noble"),
        ),
        ("ID=arch\n", "", ("Arch", "unknown", "unknown", "NA")),
        ("", "", ("unknown", "unknown", "unknown", "NA")),
    ],
)
def test_distribution(release: str, debian: str, expected: tuple[str, ...]) -> None:
    assert tuple(remote.distribution(remote.os_release(release), debian).values()) == expected


def test_default_interface_is_the_route_with_the_lowest_metric() -> None:
    head = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n"
    eth0 = "eth0\t00000000\t0100A8C0\t0003\t0\t0\t100\t00000000\n"
    wlan0 = "wlan0\t00000000\t0100A8C0\t0003\t0\t0\t600\t00000000\n"
    other = "docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\n"
    assert remote.default_interface(head + other + wlan0 + eth0) == "eth0"
    assert remote.default_interface(head + other) == ""
    assert remote.default_ipv4(head) == {}


def test_packages_leaves_out_what_is_not_installed() -> None:
    listing = "a\t1.0\tamd64\tinstalled\nb\t2\tall\tconfig-files\na\t1.0\ti386\tinstalled\nbroken\n"
    assert remote.packages(listing) == {"a": [{"version": "1.0", "arch": "amd64"}, {"version": "1.0", "arch": "i386"}]}


def test_memory() -> None:
    assert remote.memory_mb("MemFree: 1 kB\nMemTotal:        2097152 kB\n") == 2048
    assert remote.memory_mb("") == 0


@pytest.mark.parametrize(
    ("state", "configuration", "expected"),
    [
        ('{"locked": true, "since": "2026-11-25T01:02:03Z"}', "{}", {"locked": True, "since": "2026-11-25T01:02:03Z"}),
        ("", '{"rules": "/etc/nftables.d/sapflux.nft"}', {"locked": False}),
        ('{"locked": tr', "{}", {"locked": False}),
        ("[]", "", {}),
        ("", "", {}),
    ],
)
def test_the_lockdown_of_a_host_is_a_fact(state: str, configuration: str, expected: dict[str, Any]) -> None:
    assert remote.lockdown(state, configuration) == expected
