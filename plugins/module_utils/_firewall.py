# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules of the host firewall: from lists of networks to nftables lines.

Private to the collection. Pure functions without Ansible, used on the controller only.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Optional

from ._networks import Network, networks

Range = tuple[int, int]

TABLE = "sapflux"
# Sets that are filled while the table is loaded, by the lockdown of the role: name -> flags.
WAYS_BACK = {"ssh_rescue": "interval", "ssh_grant": "interval,timeout"}
# Where providers answer questions about the server, its secrets included; no container has any business there.
METADATA4 = "169.254.0.0/16"
METADATA6 = "{ fe80::/10, fd00:ec2::/32, fd20:ce::/32 }"
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


def _port(value: object, name: str, problems: list[str]) -> str:
    """Return a port or a range of ports as nft writes it, "" where it is wrong."""
    match = _PORT.match(str(value))
    bounds = [int(part) for part in match.groups() if part] if match else []
    if not bounds or not all(1 <= bound <= 65535 for bound in bounds) or bounds != sorted(bounds):
        problems.append(f"{name} is {value!r}, which is no port; write 1 to 65535 or a range like 8000-8100")
        return ""
    return "-".join(str(bound) for bound in bounds)


def _ports(values: object, name: str, problems: list[str]) -> list[Range]:
    """Return a list of ports and ranges as ranges, sorted and without overlaps, as a set of nft wants them."""
    if not isinstance(values, (list, tuple)):
        problems.append(f"{name} is not a list of ports")
        return []
    found = [_port(value, f"{name}[{index}]", problems) for index, value in enumerate(values)]
    return [_range(port) for port in found if port]


def _range(port: str) -> Range:
    """Return first and last port of what `_port` returned."""
    first, _dash, last = port.partition("-")
    return int(first), int(last or first)


def merged(spans: Iterable[Range]) -> list[Range]:
    """Join ranges that overlap or touch, sorted."""
    joined: list[Range] = []
    for first, last in sorted(spans):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
        else:
            joined.append((first, last))
    return joined


def _port_match(spans: Iterable[Range]) -> str:
    """Return what nft compares a destination port with."""
    texts = [str(first) if first == last else f"{first}-{last}" for first, last in merged(spans)]
    return texts[0] if len(texts) == 1 else f"{{ {', '.join(texts)} }}"


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

    def _set(self, name: str, version: int, elements: Optional[list[str]], flags: str = "interval") -> None:
        self.sets.append({"name": name, "type": f"ipv{version}_addr", "flags": flags, "elements": elements})

    def ways_back(self, match: str) -> list[str]:
        """Return accept rules for sets that are filled while the table is loaded, by the lockdown of the role.

        `ssh_rescue` lets the operator in while the tailnet is down; the kernel itself ends what is in `ssh_grant`.
        """
        rules: list[str] = []
        for name, flags in WAYS_BACK.items():
            for version, family in ((4, "ip"), (6, "ip6")):
                self._set(f"{name}{version}", version, None, flags)
                rules.append(f'{family} saddr @{name}{version} {match} counter accept comment "{name}"')
        return rules

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
                self._set(f"{name}{version}", version, _elements(own, version))
                source = f"{family} saddr @{name}{version}"
            rules.append(f'{prefix}{source} {match} counter accept comment "{label or name}"')
        return rules


def _extra_input(entries: object, rules: _Rules, problems: list[str], cloudflare: Sequence[str]) -> list[str]:
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
        nets = networks(cidrs, f"{name}.cidrs", problems, cloudflare)
        lines.extend(rules.allow(f"input{index}_", nets, f"{protocol} dport {port}", interface, name))
    return lines


def _same_interface(one: str, other: str) -> bool:
    """Tell whether two names of interfaces, each perhaps with a trailing *, can mean the same one."""
    return fnmatchcase(one, other) or fnmatchcase(other, one)


def _interfaces(options: Mapping[str, Any], problems: list[str]) -> tuple[str, str, list[str]]:
    """Return the interface to the outside, the one of the tailnet ("" = none) and those of containers.

    A name that means two of them would open one side to the other, so it is refused.
    """
    wan = _interface(options["wan_interface"] or None, "firewall_wan_interface", problems)
    tailnet = options["tailnet_interface"]
    if tailnet:
        tailnet = _interface(tailnet, "firewall_tailnet_interface", problems)
    bridges = [_interface(name, "firewall_container_interfaces", problems) for name in options["container_interfaces"]]
    roles = [("firewall_container_interfaces", bridge) for bridge in bridges]
    if tailnet:
        roles.insert(0, ("firewall_tailnet_interface", tailnet))
    for name, value in roles:
        if wan and value and _same_interface(wan, value):
            problems.append(f"{name} holds {value}, which is the interface to the outside ({wan}); name another one")
    problems.extend(
        f"firewall_container_interfaces holds {bridge}, which is the tailnet's {tailnet}"
        for bridge in bridges
        if tailnet and bridge and _same_interface(tailnet, bridge)
    )
    return wan, tailnet, bridges


def _check_way_in(options: Mapping[str, Any], tailnet: str, problems: list[str]) -> None:
    """Refuse rules after which nobody could log in."""
    if options["ssh_cidrs"]:
        return
    if not tailnet:
        problems.append(
            "firewall_ssh_cidrs is empty and no tailnet interface is named, which would lock everybody out; "
            "name the network you come from, or 0.0.0.0/0 and ::/0 for every network"
        )
        return
    present = options.get("interfaces")
    if present is not None and not any(fnmatchcase(str(name), tailnet) for name in present):
        problems.append(
            f"firewall_ssh_cidrs is empty and the host has no interface {tailnet}, which would lock everybody out; "
            "join the tailnet first, then gather the facts of the host again"
        )


def ruleset(options: Mapping[str, Any]) -> dict[str, Any]:
    """Turn the options of the role into the lines of its table.

    `options`: {ssh_cidrs, https_cidrs: list of CIDR or `cloudflare`; ssh_port: int; wan_interface: str;
    tailnet_interface: str, "" = no tailnet; tailnet_ports: list of ports and ranges; tailscale_port: int, 0 = closed;
    container_interfaces: list of interface names, * allowed at the end; input: list of {interface, protocol, port,
    cidrs}; cloudflare_cidrs: what `cloudflare` stands for, empty or left out = the list that ships; interfaces: names
    of the host's interfaces, None or left out = not known}.
    Returns {fingerprint: str, sets: [{name, type, flags, elements: list, None = filled while the table is loaded}],
    input: [rule], forward: [rule]}. The fingerprint names this content; it is the comment of the loaded table. Raises
    FirewallError with every problem.
    """
    problems: list[str] = []
    rules = _Rules()
    cloudflare = options.get("cloudflare_cidrs") or []
    ssh = networks(options["ssh_cidrs"], "firewall_ssh_cidrs", problems, cloudflare)
    https = networks(options["https_cidrs"], "firewall_https_cidrs", problems, cloudflare)
    port = _port(options["ssh_port"], "firewall_ssh_port", problems)
    wan, tailnet, bridges = _interfaces(options, problems)
    _check_way_in(options, tailnet, problems)
    tailnet_ports = _ports(options["tailnet_ports"], "firewall_tailnet_ports", problems)
    wireguard = ""
    if options["tailscale_port"]:
        wireguard = _port(options["tailscale_port"], "firewall_tailscale_port", problems)
    extra = _extra_input(options["input"], rules, problems, cloudflare)
    if problems:
        raise FirewallError(problems)
    from_tailnet = []
    if tailnet:
        ports = _port_match([_range(port), *tailnet_ports])
        from_tailnet = [f'iifname "{tailnet}" tcp dport {ports} counter accept comment "tailnet"']
    # Replies of a container on a loopback-published port come in on the bridge with a loopback destination, so the
    # rule against spoofed loopback addresses stands after the one for established connections.
    input_rules = [
        "ct state established,related counter accept",
        "ct state invalid counter drop",
        'iifname "lo" counter accept',
        'ip daddr 127.0.0.0/8 counter drop comment "loopback from outside"',
        'ip6 daddr ::1 counter drop comment "loopback from outside"',
        f"meta nfproto ipv4 icmp type {{ {ICMP4_TYPES} }} counter accept",
        f"meta nfproto ipv6 icmpv6 type {{ {ICMP6_TYPES} }} counter accept",
        'meta nfproto ipv4 udp sport 67 udp dport 68 counter accept comment "dhcp"',
        'ip6 saddr fe80::/10 udp sport 547 udp dport 546 counter accept comment "dhcpv6"',
        *extra,
        *(f'iifname "{name}" counter drop comment "containers to host"' for name in bridges),
        *from_tailnet,
        *rules.allow("ssh", ssh, f"tcp dport {port}"),
        *rules.allow("https", https, "tcp dport 443"),
        *(rules.ways_back(f"tcp dport {port}") if tailnet else []),
        *([f'udp dport {wireguard} counter accept comment "tailscale"'] if wireguard else []),
    ]
    # Only containers start connections through this host. The two rules about the outside come first and would be
    # done by the policy as well: they name in the counters what was tried.
    forward_rules = [
        f'ip daddr {METADATA4} counter drop comment "cloud metadata"',
        f'ip6 daddr {METADATA6} counter drop comment "cloud metadata"',
        "ct state established,related counter accept",
        "ct state invalid counter drop",
        f'iifname "{wan}" ct status dnat counter drop comment "published container ports"',
        f'iifname "{wan}" counter drop comment "into containers"',
        *(f'iifname "{name}" counter accept comment "from containers"' for name in bridges),
    ]
    content = {"sets": rules.sets, "input": input_rules, "forward": forward_rules}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return {**content, "fingerprint": f"sapflux {digest[:16]}"}
