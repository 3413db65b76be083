# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clerk's keys in an environment: whether they are keys, of the right instance, of one pair, of the right domain.

A publishable key is ``pk_live_`` or ``pk_test_`` and, in base64, the host of the instance with a ``$`` behind it.

Standard library of Python 3.9 only. Private to this collection.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass

PUBLISHABLE = re.compile(r"(?:^|_)CLERK_PUBLISHABLE_KEY$")
SECRET = re.compile(r"(?:^|_)CLERK_SECRET_KEY$")
_KEY = re.compile(r"(pk|sk)_(live|test)_([A-Za-z0-9_+/=-]+)")
_HOST = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?")
#: Instances for development are all of this domain.
DEVELOPMENT = ".accounts.dev"
INSTANCES = {"live": "production", "test": "development"}


@dataclass(frozen=True)
class ClerkProblem:
    """What is wrong with the variable ``name``, and the way out; never a key.

    ``kind`` is shape, instance or host.
    """

    kind: str
    name: str
    reason: str
    hint: str

    def __str__(self) -> str:
        return f"{self.name} {self.reason}; {self.hint}"


def host_of(key: str) -> str:
    """The host in a publishable key; "" where it is none."""
    found = _KEY.fullmatch(key)
    if found is None or found[1] != "pk":
        return ""
    body = found[3].rstrip("=")
    try:
        text = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_" if set("-_") & set(body) else None)
        host = text.decode("ascii")
    except (binascii.Error, ValueError):
        return ""
    return host[:-1] if host.endswith("$") and _HOST.fullmatch(host[:-1]) else ""


def clerk_problems(values: Mapping[str, str], environment: str, domain: str) -> list[ClerkProblem]:
    """What is wrong with the keys among ``values``, by name, for the document's ``environment`` and ``domain``."""
    wanted = "live" if environment == "production" else "test"
    problems = []
    kinds = {name: found[2] for name, value in values.items() if _wanted(name) and (found := _KEY.fullmatch(value))}
    for name, value in sorted(values.items()):
        prefix = _wanted(name)
        if not prefix or not value:
            continue
        found = _KEY.fullmatch(value)
        if found is None or found[1] != prefix or (prefix == "pk" and not host_of(value)):
            what = "publishable" if prefix == "pk" else "secret"
            hint = f"copy it again from Clerk's dashboard, whole; it begins with {prefix}_{wanted}_"
            problems.append(ClerkProblem("shape", name, f"is no {what} key of Clerk", hint))
            continue
        if found[2] != wanted:
            others = [other for other, kind in sorted(kinds.items()) if kind == wanted]
            pair = f" and {', '.join(others)} of the other instance" if others else ""
            reason = f"is a Clerk key of the {INSTANCES[found[2]]} instance, and the environment is {environment}{pair}"
            hint = f"store the key that begins with {prefix}_{wanted}_"
            problems.append(ClerkProblem("instance", name, reason, hint))
        elif prefix == "pk":
            problems += _of_host(name, host_of(value), found[2], domain)
    return problems


def _wanted(name: str) -> str:
    """How a key in this variable begins; "" where none belongs."""
    return "pk" if PUBLISHABLE.search(name) else "sk" if SECRET.search(name) else ""


def _of_host(name: str, host: str, kind: str, domain: str) -> list[ClerkProblem]:
    if kind == "test":
        if host.endswith(DEVELOPMENT):
            return []
        hint = f"copy it again: the host of a development instance ends with {DEVELOPMENT}"
        return [ClerkProblem("host", name, f"is a development key of {host}", hint)]
    if host == f"clerk.{domain}":
        return []
    hint = f"store the key of the instance whose domain is {domain}"
    return [ClerkProblem("host", name, f"belongs to {host} and not to clerk.{domain}", hint)]
