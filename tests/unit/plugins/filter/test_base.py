"""The filter of the base role: effective settings of the SSH server against the wanted ones."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.sapflux.hosting.plugins.filter.base import sshd_differences

EFFECTIVE = """port 22
permitrootlogin no
maxauthtries 4
allowusers ops
allowusers deploy
persourcepenaltyexemptlist 100.64.0.0/10
subsystem sftp /usr/lib/openssh/sftp-server
"""


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"PermitRootLogin": "no", "MaxAuthTries": 4, "Port": 22}, []),
        ({"AllowUsers": ["ops"]}, []),
        ({"AllowUsers": ["ops", "ann"]}, ["AllowUsers is deploy ops instead of ann ops"]),
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
    assert len(sshd_differences("", {"PermitRootLogin": "no", "AllowUsers": ["ops"]})) == 2
