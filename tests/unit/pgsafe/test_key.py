"""The key of the archive: the right one, confirmed by a person who holds a second copy, or nothing is archived."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from roles.walg.files.pgsafe_parts import identity, key
from roles.walg.files.pgsafe_parts.common import REFUSED, Config, RefusedError, load

from .conftest import Walg

KEY = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
OTHER = KEY.replace("00", "11")


def test_the_fingerprint_can_be_computed_without_us(tmp_path: Path) -> None:
    """From a sheet of paper, with sha256sum."""
    (tmp_path / "copy").write_text(KEY)
    done = subprocess.run(["/usr/bin/sha256sum", tmp_path / "copy"], capture_output=True, text=True, check=True)
    assert key.fingerprint(KEY) == done.stdout[:16]


@pytest.mark.parametrize("text", [KEY, KEY.upper(), f"{KEY}\n", " ".join(KEY[n : n + 8] for n in range(0, 64, 8))])
def test_capitals_and_white_space_do_not_matter(text: str) -> None:
    assert key.fingerprint(text) == key.fingerprint(KEY)


@pytest.mark.parametrize("text", ["", "correct horse battery staple", KEY[:-1], KEY + "0", KEY[:-1] + "g"])
def test_what_is_no_key_has_no_fingerprint(text: str) -> None:
    assert key.fingerprint(text) == ""


@pytest.fixture
def encrypted(config: Config) -> Config:
    Path(config.key_file).write_text(f"{KEY}\n")
    config.key_fingerprint = key.fingerprint(KEY)
    return config


def refused(config: Config, message: str) -> None:
    with pytest.raises(RefusedError, match=message) as caught:
        identity.verify(config)
    assert caught.value.code == REFUSED
    assert not identity.is_known(config)


def test_an_archive_is_begun_with_the_fingerprint_of_its_key(encrypted: Config, walg: Walg) -> None:
    walg.has_no_identity(once=True)
    walg.answer("st", "ls", stdout="type size last modified name\n")
    walg.answer("st", "put")
    walg.holds_identity(key_fingerprint=key.fingerprint(KEY))
    assert identity.verify(encrypted)["key_fingerprint"] == key.fingerprint(KEY)
    assert identity.is_known(encrypted)
    encrypted.key_fingerprint = key.fingerprint(OTHER)
    assert not identity.is_known(encrypted)


def test_a_key_that_was_not_confirmed_is_refused(encrypted: Config, walg: Walg) -> None:
    walg.holds_identity(key_fingerprint=key.fingerprint(KEY))
    Path(encrypted.key_file).write_text(OTHER)
    refused(encrypted, r"is not the confirmed one .*whose second copy you have")


@pytest.mark.parametrize("text", ["", "no key", KEY[:-2]])
def test_a_broken_key_file_is_refused(encrypted: Config, walg: Walg, text: str) -> None:
    walg.holds_identity(key_fingerprint=key.fingerprint(KEY))
    Path(encrypted.key_file).write_text(text)
    refused(encrypted, "holds no key of 64 hex digits")


def test_a_missing_key_file_is_refused(encrypted: Config, walg: Walg) -> None:
    walg.holds_identity(key_fingerprint=key.fingerprint(KEY))
    Path(encrypted.key_file).unlink()
    refused(encrypted, "cannot be read")


def test_an_archive_of_another_key_is_refused(encrypted: Config, walg: Walg) -> None:
    """Half of it would be readable with the one key, half with the other."""
    walg.holds_identity(key_fingerprint=key.fingerprint(OTHER))
    refused(encrypted, rf"is encrypted with the key {key.fingerprint(OTHER)}, and this host is encrypted with")


def test_encryption_is_not_switched_on_inside_an_archive(encrypted: Config, walg: Walg) -> None:
    walg.holds_identity()
    refused(encrypted, "is not encrypted, and this host is encrypted .*raise the archive's generation")


def test_encryption_is_not_switched_off_inside_an_archive(config: Config, walg: Walg) -> None:
    walg.holds_identity(key_fingerprint=key.fingerprint(KEY))
    refused(config, "and this host is not encrypted")


def test_a_copy_is_recognised(encrypted: Config, config: Config) -> None:
    assert key.is_copy(encrypted, f"{KEY.upper()}\n")
    assert not key.is_copy(encrypted, OTHER)
    assert not key.is_copy(encrypted, "")
    plain = load(config.path)
    assert not key.is_copy(plain, "")
