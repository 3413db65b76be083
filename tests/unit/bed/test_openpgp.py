"""The signatures of the bed's apt repository, taken apart again."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.bed import openpgp

KEY = openpgp.Key(bytes(range(32)), 1_700_000_000, "Test <test@example.org>")
TEXT = "Origin: here  \n- a dash\n\tindented\n"
COVERED = b"Origin: here\r\n- a dash\r\n\tindented"


def packets(data: bytes) -> list[tuple[int, bytes]]:
    found, place = [], 0
    while place < len(data):
        tag, size, start = data[place] & 0x3F, data[place + 1], place + 2
        if size >= 192:
            size, start = ((size - 192) << 8) + data[place + 2] + 192, place + 3
        found.append((tag, data[start : start + size]))
        place = start + size
    return found


def verify(body: bytes, covered: bytes) -> None:
    """Verify a version 4 signature packet over `covered`; InvalidSignature if it does not fit."""
    hashed = body[: 6 + int.from_bytes(body[4:6])]
    rest = body[len(hashed) :]
    rest = rest[2 + int.from_bytes(rest[:2]) :]
    digest = hashlib.sha512(covered + hashed + b"\x04\xff" + len(hashed).to_bytes(4)).digest()
    assert rest[:2] == digest[:2]
    numbers, place = [], 2
    for _ in range(2):
        size = (int.from_bytes(rest[place : place + 2]) + 7) // 8
        numbers.append(rest[place + 2 : place + 2 + size].rjust(32, b"\0"))
        place += 2 + size
    assert place == len(rest)
    Ed25519PrivateKey.from_private_bytes(KEY.secret).public_key().verify(b"".join(numbers), digest)


def signature(signed: str) -> bytes:
    armored = re.search(r"-----BEGIN PGP SIGNATURE-----\n\n(.*)\n=(\S{4})\n-----END", signed, re.DOTALL)
    assert armored is not None
    data = base64.b64decode(armored[1])
    assert openpgp.crc24(data) == int.from_bytes(base64.b64decode(armored[2]))
    ((tag, body),) = packets(data)
    assert tag == openpgp.SIGNATURE
    return body


def test_a_signed_text_verifies_without_its_trailing_blanks() -> None:
    signed = KEY.clearsign(TEXT)
    assert "\nOrigin: here\n- - a dash\n\tindented\n-----BEGIN PGP SIGNATURE-----\n" in signed
    verify(signature(signed), COVERED)


def test_another_text_does_not_verify() -> None:
    body = signature(KEY.clearsign(TEXT))
    with pytest.raises((InvalidSignature, AssertionError)):
        verify(body, COVERED + b".")


def test_the_public_key_is_certified_by_itself_and_has_no_secret() -> None:
    (key_tag, body), (user_tag, user), (certificate_tag, certificate) = packets(KEY.public())
    assert (key_tag, user_tag, certificate_tag) == (openpgp.PUBLIC_KEY, openpgp.USER_ID, openpgp.SIGNATURE)
    assert user == KEY.user.encode()
    verify(certificate, b"\x99" + len(body).to_bytes(2) + body + b"\xb4" + len(user).to_bytes(4) + user)
    assert KEY.secret not in KEY.public()
    assert KEY.fingerprint in certificate


def test_crc24_has_its_known_value() -> None:
    assert openpgp.crc24(b"123456789") == 0x21CF02


@pytest.mark.parametrize(
    ("number", "encoded"), [(b"\x01", "000101"), (b"\x00\xff", "0008ff"), (b"\x40\x00", "000f4000")]
)
def test_integers_are_stored_with_their_length_in_bits(number: bytes, encoded: str) -> None:
    assert openpgp.mpi(number).hex() == encoded


@pytest.mark.parametrize(("size", "head"), [(3, "c203"), (191, "c2bf"), (192, "c2c000"), (500, "c2c134")])
def test_packet_lengths(size: int, head: str) -> None:
    assert openpgp.packet(openpgp.SIGNATURE, bytes(size)) == bytes.fromhex(head) + bytes(size)


def test_generated_keys_differ() -> None:
    assert openpgp.Key.generate("a").secret != openpgp.Key.generate("a").secret
