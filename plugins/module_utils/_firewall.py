# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules of the host firewall: from lists of networks to nftables lines, and from `nft -j` back to differences.

Private to the collection. Pure functions without Ansible, used on the controller only.
"""

from __future__ import annotations

import difflib
import hashlib
import ipaddress
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Union

Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]
Range = tuple[int, int]

TABLE = "sapflux"
METADATA_ADDRESS = "169.254.169.254"
# RFC 4890: IPv6 does not work without these, so they are not a choice.
ICMP6_TYPES = (
    "destination-unreachable, packet-too-big, time-exceeded, parameter-problem, echo-request, "
    "nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert, mld-listener-query"
)
ICMP4_TYPES = "destination-unreachable, time-exceeded, parameter-problem, echo-request"

_INTERFACE = re.compile(r"^[A-Za-z0-9_.:@-]{1,15}\*?$")
_PORT = re.compile(r"^(\d{1,5})(?:-(\d{1,5}))?$")
_INPUT_KEYS = ("interface", "protocol", "port", "cidrs")


class FirewallError(ValueError):
    """The wanted firewall cannot be built; `problems` holds one sentence for each thing to mend."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        super().__init__(f"the firewall was left as it is: {'; '.join(self.problems)}")


def networks(cidrs: object, name: str, problems: list[str]) -> list[Network]:
    """Parse a list of CIDR strings into sorted networks without overlaps.

    `name` is the option the list came from. What cannot be read is added to `problems` and left out.
    """
    if not isinstance(cidrs, (list, tuple)):
        problems.append(f"{name} is not a list of networks")
        return []
    v4: list[ipaddress.IPv4Network] = []
    v6: list[ipaddress.IPv6Network] = []
    for cidr in cidrs:
        try:
            network = ipaddress.ip_network(str(cidr))
        except ValueError:
            problems.append(f"{name} holds {str(cidr)!r}, which is no network{_nearest_network(str(cidr))}")
            continue
        if isinstance(network, ipaddress.IPv4Network):
            v4.append(network)
        else:
            v6.append(network)
    return [*ipaddress.collapse_addresses(v4), *ipaddress.collapse_addresses(v6)]


def _nearest_network(cidr: str) -> str:
    """Say how `cidr` would be right where only its host bits are wrong."""
    try:
        return f"; write {ipaddress.ip_network(cidr, strict=False)}"
    except ValueError:
        return "; write one like 203.0.113.0/24 or 2001:db8::/32"


def _port(value: object, name: str, problems: list[str]) -> str:
    """Return a port or a range of ports as nft writes it, "" where it is wrong."""
    match = _PORT.match(str(value))
    bounds = [int(part) for part in match.groups() if part] if match else []
    if not bounds or not all(1 <= bound <= 65535 for bound in bounds) or bounds != sorted(bounds):
        problems.append(f"{name} is {value!r}, which is no port; write 1 to 65535 or a range like 8000-8100")
        return ""
    return "-".join(str(bound) for bound in bounds)


def _interface(value: object, name: str, problems: list[str]) -> str:
    """Return the name of an interface (a trailing * is a wildcard), "" where it is wrong."""
    if isinstance(value, str) and _INTERFACE.match(value):
        return value
    problems.append(f"{name} is {value!r}, which is no name of an interface (such as eth0, br-*)")
    return ""


def _elements(nets: Iterable[Network], version: int) -> list[str]:
    """Return the networks of one IP version as set elements, host networks as plain addresses."""
    return [
        str(net.network_address) if net.prefixlen == net.max_prefixlen else str(net)
        for net in nets
        if net.version == version
    ]


class _Rules:
    """Collects sets and rules so that both stay in one fixed order."""

    def __init__(self) -> None:
        self.sets: list[dict[str, Any]] = []

    def allow(self, name: str, nets: Sequence[Network], match: str, interface: str = "", label: str = "") -> list[str]:
        """Return accept rules for `match` from `nets`; a family that is allowed as a whole needs no set."""
        rules: list[str] = []
        prefix = f'iifname "{interface}" ' if interface else ""
        for version, family in ((4, "ip"), (6, "ip6")):
            own = [net for net in nets if net.version == version]
            if not own:
                continue
            if any(net.prefixlen == 0 for net in own):
                source = f"meta nfproto ipv{version}"
            else:
                self.sets.append(
                    {"name": f"{name}{version}", "type": f"ipv{version}_addr", "elements": _elements(own, version)}
                )
                source = f"{family} saddr @{name}{version}"
            rules.append(f'{prefix}{source} {match} counter accept comment "{label or name}"')
        return rules


def _extra_input(entries: object, rules: _Rules, problems: list[str]) -> list[str]:
    """Return the accept rules of `firewall_input`: a list of {interface, protocol, port, cidrs}."""
    if not isinstance(entries, (list, tuple)):
        problems.append("firewall_input is not a list")
        return []
    lines: list[str] = []
    for index, entry in enumerate(entries):
        name = f"firewall_input[{index}]"
        if not isinstance(entry, Mapping):
            problems.append(f"{name} is not a mapping of {', '.join(_INPUT_KEYS)}")
            continue
        for key in sorted(set(entry) - set(_INPUT_KEYS)):
            near = difflib.get_close_matches(str(key), _INPUT_KEYS, 1)
            problems.append(f"{name}.{key} is unknown{f'; did you mean {near[0]}' if near else ''}")
        protocol = entry.get("protocol", "tcp")
        if protocol not in ("tcp", "udp"):
            problems.append(f"{name}.protocol is {protocol!r}; write tcp or udp")
        port = _port(entry.get("port"), f"{name}.port", problems)
        interface = entry.get("interface") or ""
        if interface:
            interface = _interface(interface, f"{name}.interface", problems)
        cidrs = entry.get("cidrs") or ["0.0.0.0/0", "::/0"]
        nets = networks(cidrs, f"{name}.cidrs", problems)
        lines.extend(rules.allow(f"input{index}_", nets, f"{protocol} dport {port}", interface, name))
    return lines


def ruleset(options: Mapping[str, Any]) -> dict[str, Any]:
    """Turn the options of the role into the lines of its table.

    `options`: {ssh_cidrs, https_cidrs: list of CIDR; ssh_port: int; wan_interface: str; container_interfaces: list of
    interface names, * allowed at the end; input: list of {interface, protocol, port, cidrs}}.
    Returns {fingerprint: str, sets: [{name, type, elements}], input: [rule], forward: [rule], rules: int}. The
    fingerprint names this content; it is the comment of the loaded table. Raises FirewallError with every problem.
    """
    problems: list[str] = []
    rules = _Rules()
    ssh = networks(options["ssh_cidrs"], "firewall_ssh_cidrs", problems)
    if not options["ssh_cidrs"]:
        problems.append(
            "firewall_ssh_cidrs is empty, which would lock everybody out; "
            "name the network you come from, or 0.0.0.0/0 and ::/0 for every network"
        )
    https = networks(options["https_cidrs"], "firewall_https_cidrs", problems)
    port = _port(options["ssh_port"], "firewall_ssh_port", problems)
    wan = _interface(options["wan_interface"] or None, "firewall_wan_interface", problems)
    bridges = [_interface(name, "firewall_container_interfaces", problems) for name in options["container_interfaces"]]
    extra = _extra_input(options["input"], rules, problems)
    if problems:
        raise FirewallError(problems)
    # Replies of a container on a loopback-published port come in on the bridge with a loopback destination, so the
    # rule against spoofed loopback addresses stands after the one for established connections.
    input_rules = [
        "ct state established,related counter accept",
        "ct state invalid counter drop",
        'iifname "lo" counter accept',
        'ip daddr 127.0.0.0/8 counter drop comment "loopback from outside"',
        f"meta nfproto ipv4 icmp type {{ {ICMP4_TYPES} }} counter accept",
        f"meta nfproto ipv6 icmpv6 type {{ {ICMP6_TYPES} }} counter accept",
        'meta nfproto ipv4 udp sport 67 udp dport 68 counter accept comment "dhcp"',
        'ip6 saddr fe80::/10 udp sport 547 udp dport 546 counter accept comment "dhcpv6"',
        *extra,
        *(f'iifname "{name}" counter drop comment "containers to host"' for name in bridges),
        *rules.allow("ssh", ssh, f"tcp dport {port}"),
        *rules.allow("https", https, "tcp dport 443"),
    ]
    forward_rules = [
        f'ip daddr {METADATA_ADDRESS} counter drop comment "cloud metadata"',
        f'iifname "{wan}" ct status dnat ct state new counter drop comment "published container ports"',
        f'iifname "{wan}" ct state new,invalid,untracked counter drop comment "into containers"',
    ]
    content = {"sets": rules.sets, "input": input_rules, "forward": forward_rules}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return {
        **content,
        "fingerprint": f"sapflux {digest[:16]}",
        "rules": len(input_rules) + len(forward_rules),
    }


def _span(element: object) -> Range:
    """Return first and last address of one set element of `nft -j` as integers. Raises ValueError for other shapes."""
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


def _merged(spans: Iterable[Range]) -> list[Range]:
    """Join touching ranges: nft may list two adjacent networks as one range."""
    merged: list[Range] = []
    for first, last in sorted(spans):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return merged


def _wanted_spans(elements: Iterable[str]) -> list[Range]:
    nets = [ipaddress.ip_network(element) for element in elements]
    return _merged((int(net.network_address), int(net.broadcast_address)) for net in nets)


def drift(listing: str, wanted: Mapping[str, Any]) -> list[str]:
    """Compare what `nft -j list table inet sapflux` printed with `ruleset()`.

    `listing` is "" where the table does not exist. Returns a sentence for each difference, an empty list where the
    kernel runs exactly these rules.
    """
    try:
        parsed = json.loads(listing)
        objects = parsed["nftables"]
    except (ValueError, KeyError, TypeError):
        return [f"table inet {TABLE} is not loaded"]
    found: dict[str, list[Mapping[str, Any]]] = {}
    for item in objects:
        for kind, body in item.items():
            found.setdefault(kind, []).append(body)
    if not found.get("table"):
        return [f"table inet {TABLE} is not loaded"]
    reasons: list[str] = []
    if found["table"][0].get("comment") != wanted["fingerprint"]:
        reasons.append("the loaded rules are of another version")
    count = len(found.get("rule", []))
    if count != wanted["rules"]:
        reasons.append(f"{count} rules are loaded instead of {wanted['rules']}")
    policies = {str(chain.get("name")): str(chain.get("policy")) for chain in found.get("chain", [])}
    if policies.get("input") != "drop":
        reasons.append(f"the policy of the input chain is {policies.get('input', 'missing')} instead of drop")
    live = {str(item.get("name")): item for item in found.get("set", [])}
    for item in wanted["sets"]:
        elements = live.get(item["name"], {}).get("elem", [])
        if _merged(_span(element) for element in elements) != _wanted_spans(item["elements"]):
            reasons.append(f"set {item['name']} holds other networks")
    return reasons
