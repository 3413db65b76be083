"""Fingerprints of key files: gpg's answer for a real key, and every way in which a file is none."""

from __future__ import annotations

import base64

import pytest
from ansible_collections.sapflux.hosting.plugins.module_utils._openpgp import (
    KeyFileError,
    dearmour,
    fingerprints,
    is_armoured,
)

# Made by gpg for these tests; the fingerprint is gpg's word.
KEY = b"""-----BEGIN PGP PUBLIC KEY BLOCK-----

mDMEawYushYJKwYBBAHaRw8BAQdAUF38Z4RktKPLUXyP72/D4A1C5YrOZDM5Tpv6
vGY0lh20KXNhcGZsdXguaG9zdGluZyB0ZXN0cyA8dGVzdHNAZXhhbXBsZS5vcmc+
iJAEExYIADgWIQSSl+J6VYlbNECoCyFw1wZa3sesjQUCawYusgIbAwULCQgHAgYV
CgkICwIEFgIDAQIeAQIXgAAKCRBw1wZa3sesjRYQAP9tC1PdnTuWQEs1+1odebzQ
udc9yt5/z++uVZ1gXSwHvgEA4Mwf9pFBJa9yz9wOTy7tt4bjzPmHhfIrefA1pbl2
LQI=
=a/0u
-----END PGP PUBLIC KEY BLOCK-----
"""
FINGERPRINT = "9297E27A55895B3440A80B2170D7065ADEC7AC8D"


def new_format(data: bytes) -> bytes:
    """The same first packet, with a header of the new format and a five-octet length."""
    body = data[2 : 2 + data[1]]
    return b"\xc6\xff" + len(body).to_bytes(4, "big") + body


@pytest.mark.parametrize(
    "data",
    [
        KEY,
        KEY.replace(b"\n", b"\r\n"),
        b"Some words before\n" + KEY,
        KEY.replace(b"BLOCK-----\n\n", b"BLOCK-----\nComment: x\n\n"),
        dearmour(KEY),
        new_format(dearmour(KEY)),
    ],
)
def test_the_fingerprint_is_that_of_gpg(data: bytes) -> None:
    """In text and binary, with the line ends of other systems, and with headers."""
    assert fingerprints(data) == [FINGERPRINT]


def test_two_keys_are_two_fingerprints() -> None:
    """A file may hold more than it should; whoever compares sees all of it."""
    assert fingerprints(dearmour(KEY) * 2) == [FINGERPRINT, FINGERPRINT]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "holds no public key"),
        (b"<html>404</html>", "not OpenPGP"),
        (dearmour(KEY)[:30], "cut off"),
        (b"\xc6", "cut off"),
        (b"\xc6\xe0", "unknown length"),
        (b"\x9b\x00", "unknown length"),
        (b"\xc6\x01\x06", "not of version 4"),
        (KEY.replace(b"mDME", b"m*ME"), "armour is damaged"),
        (b"\xcd\x01x", "holds no public key"),
    ],
)
def test_a_file_that_is_no_key_says_why(data: bytes, reason: str) -> None:
    """One sentence each."""
    with pytest.raises(KeyFileError, match=reason):
        fingerprints(data)


def test_the_kinds_are_told_apart() -> None:
    """By the armour."""
    assert is_armoured(KEY)
    assert not is_armoured(base64.b64decode("mDME"))
