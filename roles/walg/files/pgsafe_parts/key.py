"""The key that encrypts the archive: whether it is the right one, and whether there is a second copy of it.

Everything in the bucket is encrypted on this host. Whoever loses the key has lost every backup, so the key's
fingerprint is part of the document that configures the host: it is computed by a person from the copy that is kept
elsewhere, and nothing is archived before it fits. The fingerprint is the first 16 hex digits of the SHA-256 of the
key's 64 hex digits, so that `sha256sum` computes it from a sheet of paper:

    read -rs key; printf %s "$key" | sha256sum | cut -c1-16
"""

# paths are plain strings in all of pgsafe
from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from .common import Config, RefusedError

_KEY = re.compile(r"^[0-9a-f]{64}$")


def fingerprint(key: str) -> str:
    """The fingerprint of a key of 64 hex digits; capitals and white space do not matter. "" when it is no key."""
    text = "".join(key.split()).lower()
    return hashlib.sha256(text.encode()).hexdigest()[:16] if _KEY.match(text) else ""


def of_host(config: Config) -> str:
    """The fingerprint of the key on this host."""
    try:
        with open(config.key_file, encoding="ascii", errors="replace") as file:
            found = fingerprint(file.read())
    except OSError as error:
        raise RefusedError(
            f"{config.key_file} cannot be read ({error.strerror}): apply the walg role again with the archive's key"
        ) from error
    if not found:
        raise RefusedError(f"{config.key_file} holds no key of 64 hex digits: apply the walg role again")
    return found


def must_fit(config: Config, identity: Mapping[str, object] | None) -> None:
    """Refuses when the host's key is not the confirmed one, or not the one the archive was begun with."""
    if config.key_fingerprint and of_host(config) != config.key_fingerprint:
        raise RefusedError(
            f"the key in {config.key_file} is not the confirmed one ({config.key_fingerprint}): apply the walg role "
            "again with the key whose second copy you have"
        )
    if identity is None:
        return
    # an archive begun before fingerprints were noted holds plain objects
    begun = str(identity.get("key_fingerprint") or "")
    if begun == config.key_fingerprint:
        return
    raise RefusedError(
        f"the archive {config.prefix} {_words(begun)}, and this host {_words(config.key_fingerprint)}: "
        "put the former key back, or raise the archive's generation to begin a new one"
    )


def _words(found: str) -> str:
    return f"is encrypted with the key {found}" if found else "is not encrypted"


def is_copy(config: Config, key: str) -> bool:
    """Whether ``key``, typed in or read from a second place, opens this archive."""
    return bool(config.key_fingerprint) and fingerprint(key) == config.key_fingerprint
