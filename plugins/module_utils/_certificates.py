# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is needed of certificates and requests in PEM, without a library that a host may not have (private).

Cloudflare writes when a certificate ends in more than one form, so that it is read from the certificate itself.
"""

from __future__ import annotations

import base64
import binascii
import calendar
import re
import time
from typing import Iterator, Tuple

from ansible_collections.sapflux.hosting.plugins.module_utils._cloudflare import CloudflareError

_BLOCK = re.compile(r"-----BEGIN ([A-Z ]+)-----\s(.*?)-----END \1-----", re.DOTALL)
_SEQUENCE, _UTC_TIME, _VERSION = 0x30, 0x17, 0xA0


def der(pem: str, kind: str) -> bytes:
    """The content of the first block of ``kind`` (``CERTIFICATE``). Raises :class:`CloudflareError`."""
    for found in _BLOCK.finditer(pem or ""):
        if found[1] in (kind, f"NEW {kind}"):
            try:
                return base64.b64decode("".join(found[2].split()), validate=True)
            except binascii.Error as error:
                raise CloudflareError(f"what should be a {kind.lower()} in PEM is damaged: {error}") from error
    raise CloudflareError(f"what should be a {kind.lower()} in PEM has no block BEGIN {kind}")


def not_after(pem: str) -> int:
    """When a certificate ends, in seconds since 1970."""
    validity = _certificate_fields(der(pem, "CERTIFICATE"))[3]
    kind, text = list(_items(validity))[1]
    # Years of two digits mean 1950 to 2049 (RFC 5280).
    digits = text.decode("ascii", "replace").rstrip("Z")
    if kind == _UTC_TIME:
        digits = ("19" if digits[:2] >= "50" else "20") + digits
    return calendar.timegm(time.strptime(digits, "%Y%m%d%H%M%S"))


def public_key(pem: str) -> bytes:
    """The public key of a certificate, as it is inside."""
    return _certificate_fields(der(pem, "CERTIFICATE"))[5]


def requested_key(pem: str) -> bytes:
    """The public key of a certificate signing request, as it is inside."""
    info = _inside(der(pem, "CERTIFICATE REQUEST"), "certificate request")
    fields = [value for _kind, value in _items(info)]
    if len(fields) < 3:
        raise CloudflareError("what should be a certificate request is of another form")
    return fields[2]


def stamp(moment: int) -> str:
    """A moment as text."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))


def _certificate_fields(content: bytes) -> Tuple[bytes, ...]:
    """Serial, signature, issuer, validity, subject, key."""
    items = list(_items(_inside(content, "certificate")))
    fields = tuple(value for kind, value in items if kind != _VERSION)
    if len(fields) < 6:
        raise CloudflareError("what should be a certificate is of another form")
    return fields


def _inside(content: bytes, what: str) -> bytes:
    """The part of a signed thing that is signed."""
    outer = list(_items(content))
    inner = list(_items(outer[0][1])) if outer and outer[0][0] == _SEQUENCE else []
    if not inner or inner[0][0] != _SEQUENCE:
        raise CloudflareError(f"what should be a {what} is of another form")
    return inner[0][1]


def _items(content: bytes) -> Iterator[Tuple[int, bytes]]:
    """(tag, value) of what is in a sequence of DER."""
    place = 0
    while place + 2 <= len(content):
        tag, length = content[place], content[place + 1]
        place += 2
        if length & 0x80:
            size = length & 0x7F
            length = int.from_bytes(content[place : place + size], "big")
            place += size
        if place + length > len(content):
            raise CloudflareError("what should be a certificate is cut off")
        yield tag, content[place : place + length]
        place += length
