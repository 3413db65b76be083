"""How the reports of ssh-audit and lynis are read."""

from __future__ import annotations

import pytest

from tests.audit_host import answered, parse_lynis, parse_ssh_audit
from tests.bed.shell import BedError

REPORT = """report_version_major=1
hardening_index=76
suggestion[]=SSH-7408|Consider hardening SSH configuration|Port (set 22 to )|-|
suggestion[]=SSH-7408|Consider hardening SSH configuration|MaxSessions (set 10 to 2)|-|
suggestion[]=FINT-4350|Install a file integrity tool|-|-|
suggestion[]=KRNL-6000|One or more sysctl values differ|-|Change sysctl value or disable test|
details[]=KRNL-6000|sysctl|desc:sysctl key x has a different value;field:net.ipv4.conf.all.rp_filter;prefval:1;value:2;|
warning[]=FIRE-4512|iptables module(s) loaded, but no rules active|-|-|
"""


def test_lynis() -> None:
    """Tests with many things to say are told apart by what they are about."""
    found = parse_lynis(REPORT)
    assert found.index == 76
    assert set(found.suggestions) == {
        "SSH-7408:Port",
        "SSH-7408:MaxSessions",
        "FINT-4350",
        "KRNL-6000:net.ipv4.conf.all.rp_filter",
    }
    assert found.warnings == {"FIRE-4512": "iptables module(s) loaded, but no rules active"}


def test_no_report_is_an_error() -> None:
    """An index of nothing would pass for a bad one."""
    with pytest.raises(BedError, match="no report"):
        parse_lynis("")


def test_ssh_audit() -> None:
    """A complaint says which algorithm it is about."""
    report = {
        "kex": [{"algorithm": "curve25519-sha256", "notes": {"warn": ["not post-quantum"], "info": ["since 7.4"]}}],
        "key": [{"algorithm": "ecdsa-sha2-nistp256", "notes": {"fail": ["suspected"]}}],
        "enc": [{"algorithm": "aes256-ctr", "notes": {"info": ["since 3.7"]}}],
        "mac": [],
        "cves": [],
    }
    found = parse_ssh_audit(report)
    assert found.looked_at == 3
    assert found.fails == ["key ecdsa-sha2-nistp256: suspected"]
    assert found.warnings == ["kex curve25519-sha256: not post-quantum"]


def test_answers_are_the_first_column_of_the_tables() -> None:
    """Several in one row count each; code elsewhere does not."""
    text = "Use `lynis`.\n\n| id | answer |\n|---|---|\n| `A-1`, `A-2:Port` | no `B-3` |\n"
    assert answered(text) == {"A-1", "A-2:Port"}
