# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""SCRAM-SHA-256 verifiers as PostgreSQL stores them: a password in clear never reaches the server or its logs."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
import stringprep
import unicodedata

_VERIFIER = re.compile(r"^SCRAM-SHA-256\$(\d{1,9}):([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+):([A-Za-z0-9+/=]+)$")

#: What PostgreSQL itself uses (scram_iterations).
ITERATIONS = 4096


def saslprep(password: str) -> bytes:
    """The bytes PostgreSQL hashes: the normalised password, or the raw one where normalisation forbids a character."""
    raw = password.encode()
    if password.isascii():
        return raw
    mapped = "".join(
        " " if stringprep.in_table_c12(char) else char for char in password if not stringprep.in_table_b1(char)
    )
    text = unicodedata.ucd_3_2_0.normalize("NFKC", mapped)
    prohibited = (
        stringprep.in_table_a1, stringprep.in_table_c12, stringprep.in_table_c21_c22, stringprep.in_table_c3,
        stringprep.in_table_c4, stringprep.in_table_c5, stringprep.in_table_c6, stringprep.in_table_c7,
        stringprep.in_table_c8, stringprep.in_table_c9,
    )  # fmt: skip
    if not text or any(check(char) for char in text for check in prohibited):
        return raw
    right_to_left = [bool(stringprep.in_table_d1(char)) for char in text]
    if any(right_to_left):
        mixed = any(stringprep.in_table_d2(char) for char in text)
        if mixed or not (right_to_left[0] and right_to_left[-1]):
            return raw
    return text.encode()


def _keys(password: str, salt: bytes, iterations: int) -> tuple[bytes, bytes]:
    """(StoredKey, ServerKey) of RFC 5802."""
    salted = hashlib.pbkdf2_hmac("sha256", saslprep(password), salt, iterations)
    client = hmac.digest(salted, b"Client Key", "sha256")
    return hashlib.sha256(client).digest(), hmac.digest(salted, b"Server Key", "sha256")


def new_verifier(password: str, salt: bytes | None = None) -> str:
    """A verifier with a fresh salt, in the form ALTER ROLE ... PASSWORD takes it."""
    seed = os.urandom(16) if salt is None else salt
    stored, server = (base64.b64encode(key).decode() for key in _keys(password, seed, ITERATIONS))
    return f"SCRAM-SHA-256${ITERATIONS}:{base64.b64encode(seed).decode()}${stored}:{server}"


def verifies(password: str, verifier: str | None) -> bool:
    """Whether a stored verifier is that of the password; an md5 hash or none is not."""
    match = _VERIFIER.match(verifier or "")
    if not match:
        return False
    try:
        salt, stored = base64.b64decode(match[2]), base64.b64decode(match[3])
    except binascii.Error:
        return False
    return hmac.compare_digest(_keys(password, salt, int(match[1]))[0], stored)
