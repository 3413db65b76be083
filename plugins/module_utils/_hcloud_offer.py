# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Hetzner sells where (private to this collection). Pure.

Types of servers come and go location by location, and a creation that asks for one that is sold out fails half-way.
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Sequence

Record = Mapping[str, Any]
Account = Mapping[str, Sequence[Record]]
SHOWN = 3


def offer_problems(
    needs: Sequence[Record], wanted: Sequence[Record], account: Mapping[str, Sequence[Record]]
) -> List[str]:
    """Why servers of ``needs`` (name, server_type) cannot be made or resized, one sentence each, alternatives named."""
    types = {each["name"]: each for each in account.get("server_types", [])}
    servers = {each["name"]: each for each in wanted}
    problems: List[str] = []
    for need in needs:
        server = servers[need["name"]]
        kind, location = need["server_type"], server["location"]
        known = types.get(kind)
        reason = unavailable(known, location)
        if reason:
            others = alternatives(types, known, location)
            problems.append(f"server {need['name']}: Hetzner has no {kind} in {location} ({reason}); {others}")
        elif known is not None and "image" in need:
            problems += _image_problems(need["name"], need["image"], known, account)
    return problems


def unavailable(known: Optional[Record], location: str) -> str:
    """Why a type cannot be had in a location, "" where it can."""
    if known is None:
        return "there is no such type"
    place = next((each for each in known["locations"] if each["name"] == location), None)
    if place is None:
        return "it is not sold there"
    deprecation = place.get("deprecation")
    if deprecation:
        return f"it is given up there and cannot be had after {str(deprecation['unavailable_after'])[:10]}"
    return "" if place["available"] else "it is sold out there"


def alternatives(types: Mapping[str, Record], known: Optional[Record], location: str) -> str:
    """The next larger types that can be had in the location, cheapest first; any, where the type is not known."""
    need = known or {"architecture": "x86", "memory": 2, "cores": 2, "cpu_type": "shared"}
    good = [
        each
        for each in types.values()
        if not unavailable(each, location)
        and each["architecture"] == need["architecture"]
        and each["memory"] >= need["memory"]
        and each["cores"] >= need["cores"]
    ]
    good.sort(key=lambda each: (_price(each, location), each["memory"], each["name"]))
    if not good:
        return "take another location"
    shown = [f"{each['name']} ({each['cores']} cores, {each['memory']:g} GB)" for each in good[:SHOWN]]
    return f"write {' or '.join(shown)}"


def _price(known: Record, location: str) -> float:
    price = next((each for each in known.get("prices", []) if each["location"] == location), None)
    return float(price["price_monthly"]["net"]) if price else float("inf")


def _image_problems(name: str, image: str, known: Record, account: Account) -> List[str]:
    """Whether the image is there for the architecture of the type, and not given up."""
    images = [each for each in account.get("images", []) if each["architecture"] == known["architecture"]]
    found = next((each for each in images if each["name"] == image), None)
    if found is not None and found["deprecated"] is None:
        return []
    system = sorted(each["name"] for each in images if each["name"] and each["deprecated"] is None)
    good = [each for each in system if each.startswith("debian-")] or system
    reason = "is given up" if found else "is not there"
    others = " or ".join(good) or "another one"
    return [f"server {name}: the image {image} {reason} for {known['architecture']}; write {others}"]


def type_notes(
    wanted: Sequence[Record], there: Mapping[str, Record], account: Mapping[str, Sequence[Record]]
) -> List[str]:
    """Types of servers that exist and that will not be sold again: a resize away from them has no way back."""
    notes: List[str] = []
    types: Dict[str, Record] = {each["name"]: each for each in account.get("server_types", [])}
    for server in wanted:
        have = there.get(server["name"])
        if have is None:
            continue
        kind = have["server_type"]
        reason = unavailable({**kind, "locations": kind.get("locations") or []}, have["location"]["name"])
        if "given up" in reason:
            more = f"; {alternatives(types, kind, have['location']['name'])}" if types else ""
            notes.append(f"server {server['name']} is a {kind['name']}: {reason}. It goes on running{more}")
    return notes
