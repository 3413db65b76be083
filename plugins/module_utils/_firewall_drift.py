# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What differs between the table that the kernel runs and the one in the file.

Private to the collection. Pure functions without Ansible, used on the controller only. Both sides were printed by the
host's own nft, so that its spelling, which changes from version to version, never looks like a difference.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ._firewall import TABLE, WAYS_BACK, Range, merged

_VERBS = ("add", "create", "insert")


@dataclass
class _Table:
    """One table: its comment, chains (name -> attributes), rules (chain -> texts), sets (name -> spans), the rest."""

    comment: str = ""
    chains: dict[str, dict[str, Any]] = field(default_factory=dict)
    rules: dict[str, list[str]] = field(default_factory=dict)
    sets: dict[str, list[Range]] = field(default_factory=dict)
    others: set[str] = field(default_factory=set)


def _objects(text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Give every object of a listing, or of what `--echo` printed, with its kind. Raises ValueError for other texts."""
    try:
        items = json.loads(text)["nftables"]
        for item in items:
            for kind, body in item.items():
                yield from body.items() if kind in _VERBS else [(kind, body)]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("no listing of nft") from error


def _span(element: Any) -> Range:
    """Return first and last address of one set element as integers. Raises ValueError for other shapes."""
    if isinstance(element, str):
        address = int(ipaddress.ip_address(element))
        return address, address
    if isinstance(element, Mapping):
        if "prefix" in element:
            net = ipaddress.ip_network(f"{element['prefix']['addr']}/{element['prefix']['len']}")
            return int(net.network_address), int(net.broadcast_address)
        if "range" in element:
            first, last = element["range"]
            return int(ipaddress.ip_address(first)), int(ipaddress.ip_address(last))
    raise ValueError(f"unknown set element {element!r}")


def _spans(elements: Any) -> list[Range]:
    """Return the ranges of a set's elements; a listing has them in a list, an echo in a mapping around one."""
    listed = elements.get("set", []) if isinstance(elements, Mapping) else elements or []
    return [_span(element) for element in listed]


def _plain(value: Any) -> Any:
    """Return a part of a rule without what counts packets, and with anonymous sets in one order."""
    if isinstance(value, Mapping):
        if "counter" in value:
            return {"counter": None}
        if set(value) == {"set"} and isinstance(value["set"], list):
            return {"set": sorted((_plain(item) for item in value["set"]), key=json.dumps)}
        return {key: _plain(item) for key, item in value.items() if key != "handle"}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _table(text: str) -> _Table | None:
    """Return the table of a listing, None where it holds none."""
    table = None
    try:
        for kind, body in _objects(text):
            if kind == "metainfo" or TABLE not in (body.get("table"), body.get("name")):
                continue
            if kind == "table":
                table = _Table(str(body.get("comment", "")))
                continue
            if table is None:
                return None
            name = str(body.get("name", ""))
            if kind == "chain":
                table.chains[name] = {key: body.get(key) for key in ("type", "hook", "prio", "policy")}
                table.rules.setdefault(name, [])
            elif kind == "rule":
                chain = table.rules.setdefault(str(body["chain"]), [])
                chain.append(json.dumps(_plain(body), sort_keys=True))
            elif kind in ("set", "element"):
                spans = table.sets.setdefault(name, [])
                # Who is let in for a while is not what the file says, and not for a run to take back.
                if name[:-1] not in WAYS_BACK:
                    spans += _spans(body.get("elem"))
            else:
                table.others.add(f"{kind} {name}")
    except (ValueError, KeyError, TypeError):
        return None
    return table


def _names(kind: str, live: Iterable[str], wanted: Iterable[str]) -> list[str]:
    """Tell which names are missing and which are too many."""
    have, want = set(live), set(wanted)
    return [
        *(f"the {kind} {name} is missing" for name in sorted(want - have)),
        *(f"the {kind} {name} is not ours" for name in sorted(have - want)),
    ]


def _chain(name: str, live: _Table, wanted: _Table) -> list[str]:
    """Tell what differs in one chain that both have."""
    reasons = []
    for key, value in wanted.chains[name].items():
        found = live.chains[name].get(key)
        if found != value:
            what = {"policy": "policy", "prio": "priority"}.get(key, key)
            reasons.append(f"the {what} of the {name} chain is {found} instead of {value}")
    have, want = live.rules[name], wanted.rules[name]
    if len(have) != len(want):
        reasons.append(f"the {name} chain has {len(have)} rules instead of {len(want)}")
    else:
        changed = [str(number) for number, pair in enumerate(zip(have, want, strict=True), 1) if pair[0] != pair[1]]
        if changed:
            reasons.append(f"rule {', '.join(changed)} of the {name} chain is another one")
    return reasons


def drift(listing: str, expected: str) -> list[str]:
    """Compare what `nft --json list table inet sapflux` printed with what the same nft makes of the file.

    `expected` is the output of `nft --json --echo --file` in a network namespace of its own. `listing` is "" where the
    table does not exist. Returns a sentence for each difference, an empty list where the kernel runs exactly the file.
    """
    live, wanted = _table(listing), _table(expected)
    if live is None:
        return [f"table inet {TABLE} is not loaded"]
    if wanted is None:
        return ["the file with the rules cannot be read"]
    reasons = ["the loaded rules are of another version"] if live.comment != wanted.comment else []
    reasons += _names("chain", live.chains, wanted.chains)
    for name in sorted(set(live.chains) & set(wanted.chains)):
        reasons += _chain(name, live, wanted)
    reasons += _names("set", live.sets, wanted.sets)
    # Two networks side by side may be listed as one range.
    reasons += [
        f"the set {name} holds other networks"
        for name in sorted(set(live.sets) & set(wanted.sets))
        if merged(live.sets[name]) != merged(wanted.sets[name])
    ]
    return reasons + [f"the {other} is not ours" for other in sorted(live.others - wanted.others)]
