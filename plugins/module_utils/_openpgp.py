# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fingerprint of an OpenPGP key file, without gpg.

Private to the collection. A repository's key is trusted by its fingerprint, so the file may come from anywhere. Only
what names a key is read: the public-key packets (RFC 9580, 4.2 and 5.5.4), version 4, armoured or binary.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Iterator, List, Tuple

ARMOUR = b"-----BEGIN PGP PUBLIC KEY BLOCK-----"
PUBLIC_KEY = 6


class KeyFileError(ValueError):
    """The file is no OpenPGP public key; says why."""


def dearmour(data: bytes) -> bytes:
    """The binary form of a key file; a binary one is returned as it is. Raises KeyFileError."""
    if ARMOUR not in data:
        return data
    lines = data.split(ARMOUR, 1)[1].split(b"-----END", 1)[0].replace(b"\r", b"").split(b"\n")
    # Headers end at the first empty line; a line that begins with = is the checksum.
    start = lines.index(b"", 1) if b"" in lines[1:] else 0
    body = b"".join(line.strip() for line in lines[start:] if not line.startswith(b"="))
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error as error:
        raise KeyFileError(f"the armour is damaged ({error})") from error


def _length(data: bytes, at: int) -> Tuple[int, int]:
    """(length of a packet's body, where the body begins) for the new format; `at` is after the tag."""
    first = data[at]
    if first < 192:
        return first, at + 1
    if first < 224:
        return ((first - 192) << 8) + data[at + 1] + 192, at + 2
    if first == 255:
        return int.from_bytes(data[at + 1 : at + 5], "big"), at + 5
    raise KeyFileError("a packet is of unknown length")


def packets(data: bytes) -> Iterator[Tuple[int, bytes]]:
    """(tag, body) of each packet. Raises KeyFileError."""
    at = 0
    while at < len(data):
        head = data[at]
        if not head & 0x80:
            raise KeyFileError("it is not OpenPGP data")
        try:
            if head & 0x40:
                tag = head & 0x3F
                length, start = _length(data, at + 1)
            else:
                tag = (head >> 2) & 0x0F
                size = (1, 2, 4, 0)[head & 0x03]
                if size == 0:
                    raise KeyFileError("a packet is of unknown length")
                length, start = int.from_bytes(data[at + 1 : at + 1 + size], "big"), at + 1 + size
        except IndexError as error:
            raise KeyFileError("it is cut off") from error
        at = start + length
        if at > len(data):
            raise KeyFileError("it is cut off")
        yield tag, data[start:at]


def fingerprints(data: bytes) -> List[str]:
    """Fingerprints (40 upper-case hex digits) of the primary keys in a key file. Raises KeyFileError."""
    found = []
    for tag, body in packets(dearmour(data)):
        if tag == PUBLIC_KEY:
            if body[:1] != b"\x04":
                raise KeyFileError("its key is not of version 4")
            digest = hashlib.sha1(b"\x99" + len(body).to_bytes(2, "big") + body)  # noqa: S324 - defined so
            found.append(digest.hexdigest().upper())
    if not found:
        raise KeyFileError("it holds no public key")
    return found


def is_armoured(data: bytes) -> bool:
    """Tell whether a key file is text; apt knows the two kinds by their suffixes, .asc and .gpg."""
    return ARMOUR in data
