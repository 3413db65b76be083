# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Formats of single values of the document ``site`` (private to this collection).

Each checker takes one value of the right type and answers None, or why it is wrong and what to write instead.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
import struct
import zoneinfo
from collections.abc import Callable
from typing import Any, Optional
from urllib.parse import urlsplit

from ansible_collections.sapflux.hosting.plugins.module_utils._networks import CLOUDFLARE
from ansible_collections.sapflux.hosting.plugins.module_utils._site_schema import nearest
from ansible_collections.sapflux.hosting.plugins.module_utils._ssh_keys import KEY_TYPES

Verdict = Optional[tuple[str, str]]
"""None where the value is good, else (reason, suggestion)."""

LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"{LABEL}(?:\.{LABEL})+")
_PATH = re.compile(r"/[A-Za-z0-9._~!$&'()+,;=:@%/-]*")
# Nothing in it may mean something else in the configuration of the web server.
_ROUTE = re.compile(r"/(?:[A-Za-z0-9._~@:+,;=!&'()-]+/)*(?:[A-Za-z0-9._~@:+,;=!&'()-]+)?")
_IMAGE_NAME = re.compile(
    rf"(?:{LABEL}(?:\.{LABEL})*(?::[0-9]{{1,5}})?/)?[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*(?::[\w][\w.-]{{0,127}})?"
)
_SMALLEST_RSA_BITS = 2048
POSTGRES_VERSION = 17


def matches(pattern: str, what: str, example: str) -> Callable[[str], Verdict]:
    """A checker for values that are one regular expression."""
    compiled = re.compile(pattern)

    def check(value: str) -> Verdict:
        return None if compiled.fullmatch(value) else (f"is not {what}", f"write something like {example}")

    return check


def between(low: int, high: int, unit: str = "") -> Callable[[int], Verdict]:
    """A checker for whole numbers from ``low`` to ``high``."""
    suffix = f" {unit}" if unit else ""

    def check(value: int) -> Verdict:
        if low <= value <= high:
            return None
        return "is out of range", f"write a number from {low} to {high}{suffix}"

    return check


def domain(value: str) -> Verdict:
    """A DNS name of at least two labels, lower case, without a final dot."""
    if len(value) <= 253 and _DOMAIN.fullmatch(value):
        return None
    tidy = re.sub(r"^[a-z]+://|[/.]+$", "", value.strip().lower())
    return "is not a domain name", f"write {tidy}" if _DOMAIN.fullmatch(tidy) else "write something like example.org"


def cidr(value: str) -> Verdict:
    """A network in its canonical form: ``192.0.2.0/24``, ``2001:db8::/32``."""
    try:
        network = ipaddress.ip_network(value.strip(), strict=False)
    except ValueError:
        return "is not a network", "write something like 192.0.2.0/24 or 2001:db8::/32"
    return None if str(network) == value else ("is not in canonical form", f"write {network}")


def edge_cidr(value: str) -> Verdict:
    """A network, or the word that stands for those of Cloudflare's edge."""
    verdict = cidr(value)
    if value == CLOUDFLARE or verdict is None:
        return None
    reason, hint = verdict
    return reason, f"write {CLOUDFLARE}" if nearest(value.lower(), [CLOUDFLARE]) else f"{hint}, or {CLOUDFLARE}"


def address(value: str) -> Verdict:
    """An IP address."""
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return "is not an address", "write one such as 100.64.0.7"
    return None


def calendar(value: str) -> Verdict:
    """A systemd calendar expression, or nothing. Its last word is a time; the rest is for systemd to judge."""
    if not value or re.fullmatch(r"(?:[A-Za-z0-9,.*/~-]+ )*[0-9*,./]{1,8}:[0-9*,./]{1,8}(?::[0-9*,./]{1,8})?", value):
        return None
    return "is not a time for a timer", "write a systemd calendar expression such as Sun *-*-* 04:41:00"


def tag(value: str) -> Verdict:
    """A tag of a tailnet: ``tag:server``."""
    if re.fullmatch(r"tag:[a-z][a-z0-9-]*", value):
        return None
    bare = re.sub(r"[^a-z0-9-]+", "-", value.lower().removeprefix("tag:")).strip("-")
    return "is not a tag", f"write tag:{bare or 'server'}"


def time_of_day(value: str) -> Verdict:
    """``HH:MM``, 24 hours."""
    found = re.fullmatch(r"([0-9]{1,2})[:.]([0-9]{2})", value.strip())
    if found and int(found[1]) < 24 and int(found[2]) < 60:
        tidy = f"{int(found[1]):02d}:{found[2]}"
        return None if tidy == value else ("is not a time of day", f'write "{tidy}"')
    return "is not a time of day", 'write HH:MM in quotes, such as "03:17"'


def timezone(value: str) -> Verdict:
    """A name of the tz database of this machine."""
    try:
        zoneinfo.ZoneInfo(value)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        names = zoneinfo.available_timezones()
        by_lower = {name.lower(): name for name in names}
        close = nearest(value.replace(" ", "_"), list(by_lower))
        hint = f"did you mean {by_lower[close]}?" if close else "`timedatectl list-timezones` shows them all"
        return ("is not a known time zone", hint)
    return None


def sha256(value: str) -> Verdict:
    """64 hexadecimal digits, lower case."""
    if re.fullmatch(r"[0-9a-f]{64}", value):
        return None
    if re.fullmatch(r"[0-9a-fA-F]{64}", value):
        return "is not in lower case", f"write {value.lower()}"
    return "is not a SHA-256 digest", "write the 64 hexadecimal digits that `sha256sum <file>` prints"


def image(value: str) -> Verdict:
    """``[registry/]name[:tag]@sha256:<64 hexadecimal digits>``."""
    name, at, digest = value.partition("@")
    if not _IMAGE_NAME.fullmatch(name):
        return "is not the name of an image", "write registry/name@sha256:<digest>"
    if not at:
        bare = re.sub(r":[\w.-]+$", "", name)
        return (
            "is not pinned by digest, and a tag can change under you",
            f"write {bare}@sha256:<digest> (`docker buildx imagetools inspect {name}` shows it)",
        )
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        return "has a digest that is not sha256: and 64 hexadecimal digits", f"write {name}@sha256:<digest>"
    return None


def url(*schemes: str) -> Callable[[str], Verdict]:
    """A checker for URLs with a host and one of ``schemes``, without a user part, a query or white space."""

    def check(value: str) -> Verdict:
        try:
            parts = urlsplit(value)
            bad = not parts.hostname or (parts.port or 1) < 1
        except ValueError:
            return "is not a URL", f"write something like {schemes[0]}://example.org"
        if bad or parts.scheme not in schemes or re.search(r"\s", value):
            return "is not a URL", f"write something like {schemes[0]}://example.org"
        if "@" in parts.netloc:
            return "holds a user name", "leave it out; keys have keys of their own in the document"
        return None

    return check


def absolute_path(value: str) -> Verdict:
    """An absolute path without ``..``, doubled or final slashes."""
    parts = value.split("/")[1:]
    if (
        value.startswith("/")
        and value != "/"
        and all(part not in ("", ".", "..") for part in parts)
        and "\0" not in value
    ):
        return None
    return "is not an absolute path", "write the whole path, such as /tmp"


def container_path(value: str) -> Verdict:
    """An absolute path inside a container, in characters that need no quotes anywhere."""
    parts = value.split("/")
    if re.fullmatch(r"(?:/[A-Za-z0-9._-]+)+", value) and "." not in parts and ".." not in parts:
        return None
    return "is not an absolute path", "write the whole path, such as /tmp"


def tmpfs(value: str) -> Verdict:
    """A directory in memory, with mount options after a colon: ``/tmp``, ``/tmp:size=64m``."""
    path, colon, options = value.partition(":")
    if colon and not re.fullmatch(r"[a-z0-9=,]+", options):
        return "has mount options that are none", "write something like /tmp:size=64m"
    return container_path(path)


def url_path(value: str) -> Verdict:
    """The path of a URL: starts with a slash, no query, no white space, nothing that needs an escape."""
    if _PATH.fullmatch(value):
        return None
    return (
        ("does not start with /", f"write /{value}")
        if _PATH.fullmatch(f"/{value}")
        else ("is not the path of a URL", "write something like /health")
    )


def route_path(value: str) -> Verdict:
    """An exact path (``/health``) or everything below one (``/admin/*``)."""
    stem = value.removesuffix("/*") or "/"
    if "*" in stem:
        return (
            "has a * that is not the end of /*",
            "write an exact path such as /health, or one that ends in /* such as /admin/*",
        )
    if _ROUTE.fullmatch(stem):
        return None
    if _ROUTE.fullmatch(f"/{stem}"):
        return "does not start with /", f"write /{value}"
    return "is not the path of a URL", "write something like /admin/*"


def numeric_user(value: str) -> Verdict:
    """``uid:gid``, neither of them 0."""
    found = re.fullmatch(r"([0-9]{1,9}):([0-9]{1,9})", value)
    if not found:
        return "is not uid:gid in numbers", 'write something like "10001:10001"'
    if int(found[1]) == 0 or int(found[2]) == 0:
        return "is root", 'write a user of its own, such as "10001:10001"'
    return None


def authorized_key(value: str) -> Verdict:
    """A line of ``authorized_keys``: ``[options] type base64 [comment]``, base64 of a key of that very type."""
    if "PRIVATE KEY" in value:
        return "is a private key", "write the line of the .pub file, and treat the private key as lost"
    fields = value.split()
    kinds = [index for index, field in enumerate(fields) if field in KEY_TYPES]
    if "ssh-dss" in fields:
        return "is a DSA key, which OpenSSH no longer accepts", "make a new one with `ssh-keygen -t ed25519`"
    if not kinds or kinds[0] + 1 >= len(fields) or "\n" in value.strip():
        return "is not a public SSH key", "write one line of a .pub file, such as ssh-ed25519 AAAA... me"
    kind, body = fields[kinds[0]], fields[kinds[0] + 1]
    try:
        parts = _wire_strings(base64.b64decode(body, validate=True))
    except (binascii.Error, ValueError):
        return "is a cut or damaged SSH key", "copy the whole line of the .pub file"
    if parts[0] != kind.encode():
        return f"says {kind} but holds another type of key", "copy the whole line of the .pub file"
    if kind == "ssh-rsa" and (len(parts) < 3 or int.from_bytes(parts[2], "big").bit_length() < _SMALLEST_RSA_BITS):
        return f"is an RSA key of less than {_SMALLEST_RSA_BITS} bits", "make a new one with `ssh-keygen -t ed25519`"
    return None


def _wire_strings(data: bytes) -> list[bytes]:
    """The length-prefixed strings an SSH key consists of. Raises ``ValueError`` when lengths and data disagree."""
    parts: list[bytes] = []
    while data:
        if len(data) < 4:
            raise ValueError("cut inside a length")
        (length,) = struct.unpack(">I", data[:4])
        if len(data) < 4 + length:
            raise ValueError("cut inside a string")
        parts.append(data[4 : 4 + length])
        data = data[4 + length :]
    if len(parts) < 2:
        raise ValueError("no key inside")
    return parts


def user_name(value: str) -> Verdict:
    """A login that is no account of the system."""
    if value in ("root", "postgres", "caddy", "nobody", "daemon", "docker", "www-data", "systemd-network"):
        return "is an account of the system", "write a login of its own, such as ops"
    return matches(r"[a-z_][a-z0-9_-]{0,30}", "a login name", "ops")(value)


def identifier(value: str) -> Verdict:
    """A name for a role or database that needs no quotes in SQL."""
    return matches(r"[a-z_][a-z0-9_]{0,62}", "a name in lower case letters, digits and _", "app")(value)


def postgres_version(value: int) -> Verdict:
    """A major version that can be installed: the one of Debian 13."""
    if value == POSTGRES_VERSION:
        return None
    reason = "is too old" if value < POSTGRES_VERSION else f"is not in Debian 13, which has {POSTGRES_VERSION}"
    return reason, f"write {POSTGRES_VERSION}"


def scalar(value: Any) -> Verdict:
    """Text or a number, for the environment of a process."""
    if isinstance(value, bool):
        word = "true" if value else "false"
        return "is not text", f'write "{word}" in quotes'
    if isinstance(value, (str, int, float)):
        return ("holds a line break", "write it in one line") if "\n" in str(value) or "\0" in str(value) else None
    return "is not text", "write one value, in quotes"
