# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter of the walg role: the archive's key, confirmed, before anything is written with it.

DOCUMENTATION lives in the ``.yml`` file beside this one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError

_KEY = re.compile(r"^[0-9a-f]{64}$")
_HOW = 'read -rs key; printf %s "$key" | sha256sum | cut -c1-16'


def walg_fingerprint(key: Any, confirmed: Any = "", encryption: str = "libsodium") -> str:
    """The fingerprint of the archive's key once somebody has confirmed it, "" for an archive in the clear.

    The message about a missing or wrong fingerprint does not tell it: it must come from the second copy.
    """
    text, given = "".join(str(key or "").split()).lower(), "".join(str(confirmed or "").split()).lower()
    if encryption == "none":
        if text:
            raise AnsibleFilterError(
                "walg_encryption is none and walg_encryption_key holds a key: remove the key, or the none"
            )
        return ""
    if not text:
        raise AnsibleFilterError(
            "walg_encryption_key is empty: make a key with `openssl rand -hex 32`, keep it where the other secrets "
            "are and a second copy of it elsewhere (a password manager, a sheet of paper)"
        )
    if not _KEY.match(text):
        raise AnsibleFilterError("walg_encryption_key is no key: it is 64 hex digits, made with `openssl rand -hex 32`")
    if not given:
        raise AnsibleFilterError(
            "walg_encryption_fingerprint is empty: whoever loses the key loses every backup, so nothing is archived "
            f"before a second copy of it is confirmed; compute the fingerprint from that copy with: {_HOW}"
        )
    if given != hashlib.sha256(text.encode()).hexdigest()[:16]:
        raise AnsibleFilterError(
            f"walg_encryption_fingerprint is {given[:16]}, which is not that of walg_encryption_key: the second copy "
            f"is of another key; copy the key again and compute the fingerprint from the copy with: {_HOW}"
        )
    return given


class FilterModule:
    """Filters of this file, by name."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"walg_fingerprint": walg_fingerprint}
