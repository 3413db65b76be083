"""The filters of the base role: effective settings of the SSH server against the wanted ones."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.sapflux.hosting.plugins.filter.base import sshd_algorithms, sshd_differences, sshd_problems

EFFECTIVE = """port 22
permitrootlogin no
maxauthtries 4
allowgroups sapflux-ssh
allowgroups deploy
hostkey /a
hostkey /b
persourcepenaltyexemptlist 100.64.0.0/10
subsystem sftp /usr/lib/openssh/sftp-server
"""


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"PermitRootLogin": "no", "MaxAuthTries": 4, "Port": 22}, []),
        ({"AllowGroups": ["sapflux-ssh", "deploy"]}, []),
        ({"AllowGroups": "sapflux-ssh"}, ["AllowGroups is deploy sapflux-ssh instead of sapflux-ssh"]),
        ({"HostKey": ["/b", "/a"]}, []),
        ({"HostKey": ["/a"]}, ["HostKey is /a /b instead of /a"]),
        ({"Port": 2222}, ["Port is 22 instead of 2222"]),
        ({"PermitRootLogin": "prohibit-password"}, ["PermitRootLogin is no instead of prohibit-password"]),
        ({"LogLevel": "VERBOSE"}, ["LogLevel is not set instead of VERBOSE"]),
        (
            {"MaxAuthTries": 3, "LogLevel": "INFO"},
            ["MaxAuthTries is 4 instead of 3", "LogLevel is not set instead of INFO"],
        ),
    ],
)
def test_sshd_differences(wanted: dict[str, Any], expected: list[str]) -> None:
    """Every setting that is not in force is named, with what is."""
    assert sshd_differences(EFFECTIVE, wanted) == expected


def test_no_output_differs_in_everything() -> None:
    """A server that says nothing fails the comparison."""
    assert len(sshd_differences("", {"PermitRootLogin": "no", "AllowGroups": "ops"})) == 2


SSH = {
    "effective": EFFECTIVE,
    "error": "",
    "listeners": [
        {"address": "0.0.0.0:22", "process": "sshd", "pid": 86},
        {"address": "[::]:22", "process": "sshd", "pid": 86},
    ],
}


def test_a_server_that_does_as_told_has_no_problems() -> None:
    """Settings and port."""
    assert sshd_problems(SSH, {"PermitRootLogin": "no"}, 22) == []


def test_problems_of_settings_and_port_are_named_together() -> None:
    """Nobody has to run it twice to learn of the second one."""
    assert sshd_problems({**SSH, "listeners": []}, {"PermitRootLogin": "yes"}, 22) == [
        "PermitRootLogin is no instead of yes",
        "port 22 is held by nobody instead of one sshd",
    ]


def test_files_that_sshd_refuses_are_the_problem() -> None:
    """Then there are no settings to compare."""
    said = "line 3: Bad configuration option: Foo"
    assert sshd_problems({**SSH, "error": said, "effective": ""}, {"Port": 22}, 22) == [
        f"sshd -T refuses its files: {said}"
    ]


def test_sshd_algorithms_speaks_as_a_filter() -> None:
    """The refusal is one of Ansible's, in the same words."""
    assert sshd_algorithms({}) == {}
    with pytest.raises(AnsibleFilterError, match="offers no KexAlgorithms"):
        sshd_algorithms({"kex": ["diffie-hellman-group1-sha1"]})
