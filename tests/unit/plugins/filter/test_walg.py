"""The archive's key: nothing is written with one that only one place knows."""

from __future__ import annotations

import hashlib

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.sapflux.hosting.plugins.filter.walg import walg_fingerprint

from roles.walg.files.pgsafe_parts.key import fingerprint

KEY = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
RIGHT = hashlib.sha256(KEY.encode()).hexdigest()[:16]


def test_a_confirmed_key() -> None:
    assert walg_fingerprint(KEY, RIGHT) == RIGHT
    assert walg_fingerprint(f" {KEY.upper()}\n", f"{RIGHT.upper()} ") == RIGHT


def test_host_and_controller_compute_the_same() -> None:
    assert fingerprint(KEY) == walg_fingerprint(KEY, RIGHT)


def test_an_archive_in_the_clear_is_asked_for_by_name() -> None:
    assert walg_fingerprint("", "", "none") == ""


@pytest.mark.parametrize(
    ("key", "confirmed", "encryption", "message"),
    [
        ("", "", "libsodium", "walg_encryption_key is empty: make a key with `openssl rand -hex 32`"),
        (None, None, "libsodium", "walg_encryption_key is empty"),
        ("correct horse battery staple", RIGHT, "libsodium", "is no key"),
        (KEY[:-1], RIGHT, "libsodium", "is no key"),
        (KEY, "", "libsodium", "walg_encryption_fingerprint is empty: whoever loses the key"),
        (KEY, RIGHT[:-1] + "x", "libsodium", "is not that of walg_encryption_key"),
        (KEY, RIGHT, "none", "remove the key, or the none"),
    ],
)
def test_refused(key: str | None, confirmed: str | None, encryption: str, message: str) -> None:
    """With one sentence and the way out, which tells neither the key nor the fingerprint that would be right."""
    with pytest.raises(AnsibleFilterError) as caught:
        walg_fingerprint(key, confirmed, encryption)
    assert message in str(caught.value)
    assert KEY not in str(caught.value)
    assert RIGHT not in str(caught.value)
