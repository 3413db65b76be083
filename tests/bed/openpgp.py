"""The little of OpenPGP (RFC 4880) that signs an apt repository: one Ed25519 key, cleartext signatures.

GnuPG would want to be installed on the developer's machine and leaves an agent behind. What is written here is read by
apt's own verifier on the hosts, which is the test of it.
"""

from __future__ import annotations

import base64
import hashlib
import struct
import time
from dataclasses import dataclass

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

PUBLIC_KEY, USER_ID, SIGNATURE = 6, 13, 2  # packet tags
TEXT, CERTIFICATION = 0x01, 0x13  # signature types
EDDSA, SHA512 = 22, 10  # algorithms
ED25519_OID = bytes.fromhex("2b06010401da470f01")
MAY_SIGN = b"\x03"  # keys and data


def packet(tag: int, body: bytes) -> bytes:
    """A packet in the new format; bodies of this module are shorter than 8384 bytes."""
    size = len(body)
    length = bytes([size]) if size < 192 else bytes([((size - 192) >> 8) + 192, (size - 192) & 0xFF])
    return bytes([0xC0 | tag]) + length + body


def mpi(number: bytes) -> bytes:
    """A multiprecision integer: its length in bits, then its bytes without leading zeros."""
    value = int.from_bytes(number)
    return struct.pack(">H", value.bit_length()) + value.to_bytes((value.bit_length() + 7) // 8)


def _subpacket(kind: int, body: bytes) -> bytes:
    return bytes([len(body) + 1, kind]) + body


def crc24(data: bytes) -> int:
    """The checksum of ASCII armor."""
    crc = 0xB704CE
    for byte in data:
        crc ^= byte << 16
        for _ in range(8):
            crc <<= 1
            if crc & 0x1000000:
                crc ^= 0x1864CFB
    return crc


def armor(kind: str, data: bytes) -> str:
    """ASCII armor around packets."""
    text = base64.b64encode(data).decode()
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    check = base64.b64encode(crc24(data).to_bytes(3)).decode()
    return "\n".join([f"-----BEGIN PGP {kind}-----", "", *lines, f"={check}", f"-----END PGP {kind}-----", ""])


@dataclass(frozen=True)
class Key:
    """A signing key: 32 secret bytes, the moment it was made (seconds since 1970) and whose it is."""

    secret: bytes
    created: int
    user: str

    @classmethod
    def generate(cls, user: str) -> Key:
        """Make a new key."""
        secret = Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption()
        )
        return cls(secret, int(time.time()), user)

    @property
    def _private(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.secret)

    @property
    def _body(self) -> bytes:
        point = self._private.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        return struct.pack(">BIBB", 4, self.created, EDDSA, len(ED25519_OID)) + ED25519_OID + mpi(b"\x40" + point)

    def _hashed(self) -> bytes:
        """The public key as signatures cover it."""
        return b"\x99" + struct.pack(">H", len(self._body)) + self._body

    @property
    def fingerprint(self) -> bytes:
        """The 20 bytes that name the key."""
        return hashlib.sha1(self._hashed(), usedforsecurity=False).digest()

    def _signature(self, kind: int, covered: bytes, extra: bytes = b"", at: float | None = None) -> bytes:
        hashed = (
            _subpacket(2, struct.pack(">I", int(time.time() if at is None else at)))
            + _subpacket(33, b"\x04" + self.fingerprint)
            + extra
        )
        head = struct.pack(">BBBBH", 4, kind, EDDSA, SHA512, len(hashed)) + hashed
        digest = hashlib.sha512(covered + head + b"\x04\xff" + struct.pack(">I", len(head))).digest()
        made = self._private.sign(digest)
        issuer = _subpacket(16, self.fingerprint[-8:])
        body = head + struct.pack(">H", len(issuer)) + issuer + digest[:2] + mpi(made[:32]) + mpi(made[32:])
        return packet(SIGNATURE, body)

    def public(self) -> bytes:
        """The public key, not armored: the content of a `.gpg` file that apt's Signed-By names."""
        user = self.user.encode()
        covered = self._hashed() + b"\xb4" + struct.pack(">I", len(user)) + user
        # Dated with the key, so that the file is the same bytes (and has the same digest) whenever it is written.
        certified = self._signature(CERTIFICATION, covered, _subpacket(27, MAY_SIGN), at=self.created)
        return packet(PUBLIC_KEY, self._body) + packet(USER_ID, user) + certified

    def clearsign(self, text: str) -> str:
        """The text with its signature, as in an InRelease file."""
        lines = [line.rstrip(" \t\r") for line in text.rstrip("\n").split("\n")]
        signature = armor("SIGNATURE", self._signature(TEXT, "\r\n".join(lines).encode()))
        escaped = "\n".join(f"- {line}" if line.startswith("-") else line for line in lines)
        return f"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n{escaped}\n{signature}"
