# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""DNS records in one form, whoever wrote them: a person, or Cloudflare's API (private to this collection)."""

from __future__ import annotations

import ipaddress
import json
import re
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Tuple

from ansible_collections.sapflux.hosting.plugins.module_utils._cloudflare import CloudflareError, ascii_name

FIELDS: Dict[str, Tuple[str, ...]] = {
    "CAA": ("flags", "tag", "value"),
    "CERT": ("type", "key_tag", "algorithm", "certificate"),
    "DNSKEY": ("flags", "protocol", "algorithm", "public_key"),
    "DS": ("key_tag", "algorithm", "digest_type", "digest"),
    "HTTPS": ("priority", "target", "value"),
    "LOC": (
        *("lat_degrees", "lat_minutes", "lat_seconds", "lat_direction"),
        *("long_degrees", "long_minutes", "long_seconds", "long_direction"),
        *("altitude", "size", "precision_horz", "precision_vert"),
    ),
    "NAPTR": ("order", "preference", "flags", "service", "regex", "replacement"),
    "SMIMEA": ("usage", "selector", "matching_type", "certificate"),
    "SRV": ("priority", "weight", "port", "target"),
    "SSHFP": ("algorithm", "type", "fingerprint"),
    "SVCB": ("priority", "target", "value"),
    "TLSA": ("usage", "selector", "matching_type", "certificate"),
    "URI": ("weight", "target"),
}
"""Fields of the types that carry ``data``, in the order of their text form."""
DEFAULTS: Dict[str, Dict[str, Any]] = {
    "HTTPS": {"value": ""},
    "SVCB": {"value": ""},
    "LOC": {"altitude": 0, "size": 1, "precision_horz": 10000, "precision_vert": 10},
}
"""What the API fills in, so that leaving it out is no difference (LOC: RFC 1876)."""
PLAIN = ("A", "AAAA", "CNAME", "MX", "NS", "OPENPGPKEY", "PTR", "TXT")
TYPES = tuple(sorted((*FIELDS, *PLAIN)))
PROXIABLE = frozenset({"A", "AAAA", "CNAME"})
WITH_PRIORITY = frozenset({"MX", "URI"})
TEXTS = frozenset({
    *("tag", "value", "certificate", "public_key", "digest", "target", "flags/NAPTR", "service", "regex"),
    *("replacement", "fingerprint", "lat_direction", "long_direction"),
})  # fmt: skip
HOSTS = frozenset({"target", "replacement"})
HEX = frozenset({"digest", "fingerprint", "certificate/TLSA", "certificate/SMIMEA"})
AUTOMATIC = 1
"""The ttl that leaves the choice to Cloudflare."""
PIECE = 255
"""Bytes of one string of a TXT record."""


@dataclass(frozen=True)
class Record:
    """A record: ``identity`` is its content in one form, ``body`` what the API takes for it (content or data).

    None in ``comment``, ``tags`` and ``settings`` means: as it is.
    """

    type: str
    name: str
    identity: str
    body: Mapping[str, Any]
    ttl: int = AUTOMATIC
    proxied: bool = False
    comment: Optional[str] = None
    tags: Optional[Tuple[str, ...]] = None
    settings: Optional[Mapping[str, Any]] = None

    @property
    def group(self) -> Tuple[str, str]:
        """Type and name: what makes records one set."""
        return self.type, self.name

    def __str__(self) -> str:
        short = self.identity if len(self.identity) <= 60 else self.identity[:57] + "..."
        return f"{self.type} {self.name} {short}"


def full_name(name: str, zone: str) -> str:
    """The name of a record as the API holds it: ``@`` is the zone, other names end with it or are below it.

    A name with a dot at its end is taken as it is, and refused where it is not in the zone.
    """
    if name.strip() in ("@", ""):
        return zone
    plain = ascii_name(name)
    if plain == zone or plain.endswith(f".{zone}"):
        return plain
    if name.strip().endswith("."):
        raise CloudflareError(f"{name} is not in the zone {zone}: leave out the dot at its end, or move it elsewhere")
    return ascii_name(f"{plain}.{zone}")


def parse(given: Mapping[str, Any], zone: str) -> Record:
    """A record of a person or of the API. Raises :class:`CloudflareError` naming the record and what is wrong."""
    kind, where = str(given["type"]).upper(), f"the {given['type']} record {given['name']}"
    if kind not in TYPES:
        raise CloudflareError(f"{where} is of no type that the API takes: {', '.join(TYPES)}")
    name = full_name(str(given["name"]), zone)
    body: Dict[str, Any]
    if kind in FIELDS:
        data = given.get("data") or _data_of(kind, given.get("content"), where)
        body = {"data": _data(kind, data, where)}
        identity = _identity(kind, body["data"])
    else:
        if not given.get("content"):
            raise CloudflareError(f"{where} has no content")
        identity = _content(kind, str(given["content"]), zone, where)
        body = {"content": quoted(identity) if kind == "TXT" else identity}
    if kind in WITH_PRIORITY:
        priority = given.get("priority")
        if priority is None or not 0 <= int(priority) <= 65535:
            raise CloudflareError(f"{where} needs a priority from 0 to 65535")
        body["priority"] = int(priority)
    proxied = bool(given.get("proxied"))
    if proxied and kind not in PROXIABLE:
        raise CloudflareError(f"{where} cannot be proxied: only {', '.join(sorted(PROXIABLE))} can")
    ttl = AUTOMATIC if proxied else int(given.get("ttl") or AUTOMATIC)
    if ttl != AUTOMATIC and not 30 <= ttl <= 86400:
        raise CloudflareError(f"{where} has the ttl {ttl}: 1 (automatic), or 60 to 86400 seconds")
    tags = given.get("tags")
    return Record(
        kind,
        name,
        identity,
        body,
        ttl,
        proxied,
        given.get("comment"),
        None if tags is None else tuple(sorted(map(str, tags))),
        given.get("settings"),
    )


def quoted(text: str) -> str:
    """A text as strings in quotes of at most 255 bytes each, as TXT records are written."""
    data = text.encode()
    pieces = [data[start : start + PIECE] for start in range(0, len(data), PIECE)] or [b""]
    # A character may be cut by the limit: bytes that are no text are written as \DDD.
    return " ".join('"' + "".join(_escaped(piece)) + '"' for piece in pieces)


def _escaped(piece: bytes) -> List[str]:
    return [
        f"\\{chr(byte)}" if byte in b'"\\' else chr(byte) if 32 <= byte < 127 else f"\\{byte:03d}" for byte in piece
    ]


def unquoted(content: str) -> str:
    """The text of a TXT record, whether it is written in quotes or not."""
    text = content.strip()
    if not (len(text) >= 2 and text[0] == text[-1] == '"'):
        return text
    pieces = re.findall(r'"((?:[^"\\]|\\.)*)"', text, re.DOTALL)
    raw = bytearray()
    for found in re.finditer(r"\\(\d{3})|\\(.)|([^\\])", "".join(pieces), re.DOTALL):
        raw += bytes([int(found[1]) & 255]) if found[1] else (found[2] or found[3]).encode()
    return raw.decode(errors="replace")


def _content(kind: str, content: str, zone: str, where: str) -> str:
    if kind in ("A", "AAAA"):
        try:
            address = ipaddress.ip_address(content.strip())
        except ValueError as error:
            raise CloudflareError(f"{where} points to {content}, which is no address") from error
        if (address.version == 4) != (kind == "A"):
            raise CloudflareError(f"{where} points to an address of IPv{address.version}: make it of the other type")
        return str(address)
    if kind == "TXT":
        return unquoted(content)
    if kind == "OPENPGPKEY":
        return "".join(content.split())
    return _host(content, zone)


def _host(host: str, zone: str = "") -> str:
    text = host.strip()
    return zone if text == "@" and zone else "." if text in (".", "") else ascii_name(text)


def _data_of(kind: str, content: Any, where: str) -> Dict[str, Any]:
    """The fields of a record that is given as text, like ``0 issue "letsencrypt.org"``."""
    names = FIELDS[kind]
    words = str(content or "").split(None, len(names) - 1)
    if kind in ("LOC", "NAPTR") or len(words) < len(names) - (kind in ("HTTPS", "SVCB")):
        raise CloudflareError(f"{where} needs data with {', '.join(names)}")
    return {name: words[place] if place < len(words) else "" for place, name in enumerate(names)}


def _identity(kind: str, data: Mapping[str, Any]) -> str:
    text = " ".join(str(data[key]) for key in FIELDS[kind] if data.get(key) not in (None, ""))
    return " ".join(text.replace('"', "").split()) if kind in ("HTTPS", "SVCB") else text


def _data(kind: str, given: Mapping[str, Any], where: str) -> Dict[str, Any]:
    unknown = [key for key in given if key not in FIELDS[kind] and given[key] is not None]
    # Unknown keys are no error by themselves: of the API comes more than it takes (a SRV record's own name).
    known = {**DEFAULTS.get(kind, {}), **{key: given[key] for key in FIELDS[kind] if given.get(key) is not None}}
    missing = [key for key in FIELDS[kind] if key not in known]
    if missing:
        hint = f" (not {', '.join(sorted(unknown))})" if unknown else ""
        raise CloudflareError(f"{where} needs {', '.join(missing)} in its data{hint}")
    try:
        return {key: _value(kind, key, value) for key, value in known.items()}
    except ValueError as error:
        raise CloudflareError(f"{where} has data that is no number where one belongs: {error}") from error


def _value(kind: str, key: str, value: Any) -> Any:
    special = f"{key}/{kind}"
    if key not in TEXTS and special not in TEXTS:
        number = float(value)
        return int(number) if number.is_integer() else number
    text = str(value).strip()
    if key in HOSTS and kind != "URI":
        return _host(text)
    if key in HEX or special in HEX:
        return "".join(text.lower().split())
    if key in ("certificate", "public_key"):
        return "".join(text.split())
    if key == "value" and kind in ("HTTPS", "SVCB"):
        return text
    if key in ("lat_direction", "long_direction"):
        return text.upper()
    return text.strip('"')


def shown(record: Record) -> Dict[str, Any]:
    """A record as a result and a diff show it."""
    shape: Dict[str, Any] = {
        "type": record.type,
        "name": record.name,
        "content": record.identity,
        "ttl": record.ttl,
    }
    if record.type in PROXIABLE:
        shape["proxied"] = record.proxied
    if "priority" in record.body:
        shape["priority"] = record.body["priority"]
    if record.comment is not None:
        shape["comment"] = record.comment
    if record.tags is not None:
        shape["tags"] = list(record.tags)
    if record.settings is not None:
        shape["settings"] = json.loads(json.dumps(record.settings))
    return shape
