# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Our lines in a file of known hosts: which key a server has, and whether we have met it (private to this collection).

Pure. A line of ours ends with ``sapflux.hosting/<server>``, and with ``first-contact`` besides while the key is the one
that the first boot was given. Lines of others are kept as they are.
"""

from __future__ import annotations

from typing import List, Sequence

OWNER = "sapflux.hosting/"
PENDING = "first-contact"


def ours(line: str, server: str) -> bool:
    """Whether a line is one of ours about this server."""
    return f"{OWNER}{server}" in line.split()[3:4]


def pending(text: str, server: str) -> bool:
    """Whether the first contact with a server has not come to its end."""
    return any(ours(line, server) and PENDING in line.split()[4:] for line in text.splitlines())


def pinned(text: str, server: str, names: Sequence[str], keys: Sequence[str], first: bool = False) -> str:
    """``text`` with exactly ``keys`` (``type base64``) for a server that is known by ``names``; no key removes it."""
    kept = [line for line in text.splitlines() if not ours(line, server)]
    hosts = ",".join(dict.fromkeys(name for name in names if name))
    mark = f"{OWNER}{server}" + (f" {PENDING}" if first else "")
    kept += [f"{hosts} {key} {mark}" for key in dict.fromkeys(" ".join(each.split()[:2]) for each in keys)]
    return "".join(f"{line}\n" for line in kept)


def keys_of(text: str, server: str) -> List[str]:
    """The keys that are pinned for a server."""
    return [" ".join(line.split()[1:3]) for line in text.splitlines() if ours(line, server)]
