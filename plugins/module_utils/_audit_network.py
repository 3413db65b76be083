# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private: checks of the firewall as the kernel has it, of open ports, and of the tailnet. Pure functions."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Mapping, Sequence, Set, Tuple

from ansible_collections.sapflux.hosting.plugins.module_utils._audit import (
    Facts,
    NotApplicableError,
    UnreadableError,
    Verdict,
    equals,
    few,
    none_of,
    part,
    row,
)

TABLE = "sapflux"
METADATA = "169.254.169.254"
#: What may be open to everybody: HTTPS, and the tailnet's direct connections.
PUBLIC = {("tcp", 443), ("udp", 41641)}
NO_NFT = "nftables is not installed"
NO_TAILSCALE = "Tailscale is not installed"
DHCP = {("udp", 68), ("udp", 546)}
#: Interfaces (their beginnings) behind which no stranger is.
INNER = ("lo", "tailscale", "docker", "br-", "veth")


@dataclass(frozen=True)
class Opening:
    """An accept rule of the input chain: what it opens, through which interface ('' any), to whom ('' everybody)."""

    protocol: str
    first: int
    last: int
    interface: str
    source: str


def _table(facts: Facts) -> List[Dict[str, Any]]:
    """The objects of our table."""
    listed = part(facts, "nft", NO_NFT)
    if not facts["wanted"]["firewall"] and not _ours(listed):
        raise NotApplicableError("this host has no firewall of ours")
    if not _ours(listed):
        raise UnreadableError(f"the kernel has no table inet {TABLE}")
    return _ours(listed)


def _ours(listed: Sequence[Mapping[str, Any]]) -> List[Dict[str, Any]]:
    return [
        dict(item)
        for item in listed
        for body in item.values()
        if isinstance(body, dict) and TABLE in (body.get("table"), body.get("name")) and body.get("family") == "inet"
    ]


def _chain(facts: Facts, name: str) -> Tuple[Dict[str, Any], List[List[Dict[str, Any]]]]:
    """A chain and the expressions of its rules."""
    table = _table(facts)
    chain = next((item["chain"] for item in table if item.get("chain", {}).get("name") == name), None)
    if chain is None:
        raise UnreadableError(f"the table has no chain {name}")
    rules = [item["rule"]["expr"] for item in table if item.get("rule", {}).get("chain") == name]
    return chain, rules


def _matches(rule: Sequence[Mapping[str, Any]]) -> Iterator[Tuple[str, Any]]:
    """(what is compared, with what) of a rule; `ip saddr`, `tcp dport`, `meta iifname`, `ct status`, ..."""
    for expression in rule:
        match = expression.get("match")
        if match:
            ((kind, body),) = match["left"].items()
            name = f"{body.get('protocol', kind)} {body.get('field', body.get('key', ''))}".strip()
            yield name, match["right"]


def _does(rule: Sequence[Mapping[str, Any]], verdict: str) -> bool:
    return any(verdict in expression for expression in rule)


def _ports(value: Any) -> Iterator[Tuple[int, int]]:
    if isinstance(value, int):
        yield value, value
    elif isinstance(value, dict) and "range" in value:
        yield int(value["range"][0]), int(value["range"][1])
    elif isinstance(value, dict) and "set" in value:
        for item in value["set"]:
            yield from _ports(item)


def openings(facts: Facts) -> List[Opening]:
    """What the input chain accepts of new connections. Raises NotApplicableError or UnreadableError.

    A rule for the members of a set opens nothing while the set is empty.
    """
    sets = [item["set"] for item in _table(facts) if "set" in item]
    empty = {f"@{item['name']}" for item in sets if not item.get("elem")}
    found = []
    for rule in _chain(facts, "input")[1]:
        if not _does(rule, "accept"):
            continue
        matches = list(_matches(rule))
        names = dict(matches)
        source = next((str(value) for name, value in matches if name.endswith(" saddr")), "")
        if source in empty:
            continue
        interface = str(names.get("meta iifname", ""))
        for protocol in ("tcp", "udp"):
            for first, last in _ports(names.get(f"{protocol} dport")):
                found.append(Opening(protocol, first, last, interface, source))
    return found


def _to_all(facts: Facts) -> List[Opening]:
    """What everybody reaches: from any source, and not through an inner interface only."""
    return [item for item in openings(facts) if not item.source and not item.interface.startswith(INNER)]


def public(facts: Facts) -> Set[Tuple[str, int]]:
    """(protocol, port) that everybody reaches; of a range its first port."""
    return {(item.protocol, item.first) for item in _to_all(facts)} - DHCP


def _loaded(facts: Facts) -> Verdict:
    table = _table(facts)
    rules = sum("rule" in item for item in table)
    return Verdict(rules > 0, f"{rules} rules")


def _input_policy(facts: Facts) -> Verdict:
    chain, _rules = _chain(facts, "input")
    return Verdict(
        (chain.get("hook"), chain.get("policy")) == ("input", "drop"), f"{chain.get('hook')} {chain.get('policy')}"
    )


def _accepts_all(facts: Facts) -> Verdict:
    bad = []
    for rule in _chain(facts, "input")[1]:
        names = [name for name, _value in _matches(rule)]
        if _does(rule, "accept") and not names:
            bad.append("accept without a condition")
    return none_of(bad)


def _let_through(rules: Sequence[Sequence[Mapping[str, Any]]]) -> List[str]:
    """Rules of the forward chain that accept new connections from outside."""
    bad = []
    for rule in rules:
        names = dict(_matches(rule))
        replies = "established" in str(names.get("ct state", "")) and "new" not in str(names.get("ct state", ""))
        if _does(rule, "accept") and not replies and not str(names.get("meta iifname", "")).startswith(INNER):
            bad.append(f"accept {' '.join(f'{name} {value}' for name, value in names.items())}".strip())
    return bad


def _forward(facts: Facts, *needed: str) -> Verdict:
    """Good when new connections from outside are dropped: by the policy, or by a rule that matches all of `needed`."""
    chain, rules = _chain(facts, "forward")
    bad = _let_through(rules)
    dropped = chain.get("policy") == "drop" or any(
        _does(rule, "drop") and set(needed) == {name for name, _value in _matches(rule)} for rule in rules
    )
    return Verdict(dropped and not bad, few(bad) if bad else ("dropped" if dropped else "no rule drops them"))


def _published(facts: Facts) -> Verdict:
    by_rule = _forward(facts, "meta iifname", "ct status")
    return by_rule if by_rule.ok else _forward(facts, "meta iifname", "ct status", "ct state")


def _into(facts: Facts) -> Verdict:
    by_rule = _forward(facts, "meta iifname")
    return by_rule if by_rule.ok else _forward(facts, "meta iifname", "ct state")


def _covers(value: Any, address: str) -> bool:
    """Whether what a rule compares an address with has this one in it."""
    if isinstance(value, dict) and "set" in value:
        return any(_covers(item, address) for item in value["set"])
    try:
        if isinstance(value, dict) and "prefix" in value:
            network = ipaddress.ip_network(f"{value['prefix']['addr']}/{value['prefix']['len']}")
        else:
            network = ipaddress.ip_network(str(value))
    except ValueError:
        return False
    return ipaddress.ip_address(address) in network


def _metadata(facts: Facts) -> Verdict:
    found = [
        rule
        for rule in _chain(facts, "forward")[1]
        if _does(rule, "drop")
        and any(name == "ip daddr" and _covers(value, METADATA) for name, value in _matches(rule))
    ]
    return Verdict(bool(found), "dropped" if found else "no rule drops it")


def _six(facts: Facts) -> Verdict:
    rules = _chain(facts, "input")[1]
    found = [rule for rule in rules if "icmpv6" in str(rule)]
    return Verdict(bool(found), "in one table with IPv4" if found else "no rule for ICMPv6")


def _unit(facts: Facts) -> Verdict:
    _table(facts)
    return equals(facts["units"].get("sapflux-firewall.service", {}).get("UnitFileState"), "enabled")


def _flusher(facts: Facts) -> Verdict:
    part(facts, "nft", NO_NFT)
    state = facts["units"].get("nftables.service", {})
    return Verdict(state.get("UnitFileState") != "enabled", str(state.get("UnitFileState") or "not installed"))


def _rivals(facts: Facts) -> Verdict:
    names = ("ufw.service", "firewalld.service", "netfilter-persistent.service", "shorewall.service")
    return none_of(name for name in names if facts["units"].get(name, {}).get("ActiveState") == "active")


def _public(facts: Facts) -> Verdict:
    more = {("tcp", port) for port in facts["wanted"]["public_tcp"]}
    return none_of(f"{port}/{protocol}" for protocol, port in sorted(public(facts) - PUBLIC - more - _ssh_port(facts)))


def _ssh_port(facts: Facts) -> Set[Tuple[str, int]]:
    """SSH has a check of its own."""
    server = facts.get("sshd") or {}
    return {("tcp", int(port)) for port in server.get("user", {}).get("port", ["22"])}


def _reaches_ssh(facts: Facts, item: Opening) -> bool:
    return any(item.protocol == name and item.first <= port <= item.last for name, port in _ssh_port(facts))


def _ssh_closed(facts: Facts) -> Verdict:
    found = [item for item in _to_all(facts) if _reaches_ssh(facts, item)]
    return Verdict(not found, "open to everybody" if found else "closed to strangers")


def _dead_openings(facts: Facts) -> Verdict:
    heard = {(item["protocol"], item["port"]) for item in facts["listeners"]}
    return none_of(f"{port}/{protocol}" for protocol, port in sorted(public(facts)) if (protocol, port) not in heard)


def _outside(address: str) -> bool:
    """Whether a listener there can be reached from another machine."""
    if address == "*":
        return True
    return not ipaddress.ip_address(address.split("%")[0]).is_loopback


def _listeners(facts: Facts) -> Verdict:
    known = {"sshd", "caddy", "tailscaled", "postgres", "systemd", "dhcpcd", "systemd-network", "systemd-resolve"}
    found = {
        f"{item['program'] or '?'} {item['address']}:{item['port']}/{item['protocol']}"
        for item in facts["listeners"]
        if _outside(item["address"]) and item["program"] not in known and item["program"]
    }
    return none_of(sorted(found))


def _everywhere(facts: Facts) -> Verdict:
    """Programs that answer on every address although nobody outside is meant to reach them."""
    inner = {"postgres", "dockerd", "containerd", "minio", "node_exporter"}
    return none_of(
        f"{item['program']} {item['address']}:{item['port']}"
        for item in facts["listeners"]
        if item["program"] in inner and item["address"] in ("0.0.0.0", "::", "*")  # noqa: S104 - looked for
    )


def _tailnet(facts: Facts) -> Dict[str, Any]:
    return dict(part(facts, "tailscale", NO_TAILSCALE))


def _tail_running(facts: Facts) -> Verdict:
    return equals(_tailnet(facts)["state"], "Running")


def _tail_tagged(facts: Facts) -> Verdict:
    tags = _tailnet(facts)["tags"]
    return Verdict(bool(tags), few(tags))


def _tail_expiry(facts: Facts) -> Verdict:
    expiry = _tailnet(facts)["expiry"]
    return Verdict(not expiry, expiry or "never")


def _tail_ssh(facts: Facts) -> Verdict:
    return equals(_tailnet(facts)["ssh"], False)


def _tail_health(facts: Facts) -> Verdict:
    return none_of(_tailnet(facts)["health"])


def _tail_unit(facts: Facts) -> Verdict:
    _tailnet(facts)
    return equals(facts["units"].get("tailscaled.service", {}).get("UnitFileState"), "enabled")


def _lockdown(facts: Facts) -> Verdict:
    if not part(facts, "lockdown", "this host was never locked down").get("locked"):
        raise NotApplicableError("this host is not locked down now")
    found = [item for item in openings(facts) if _reaches_ssh(facts, item)]
    bad = [f"{item.first}/tcp from {item.source or 'everybody'}" for item in found if item.interface != "tailscale0"]
    return Verdict(bool(found) and not bad, few(bad) if bad or found else "SSH is closed on the tailnet, too")


_LIST = f"nft list table inet {TABLE}"
CHECKS = [
    row("firewall-loaded", "The kernel has our rules", "rules", _LIST, _loaded),
    row("firewall-default", "What is not opened is closed", "input drop", _LIST, _input_policy),
    row("firewall-conditions", "No rule accepts everything", "none", _LIST, _accepts_all),
    row("firewall-published", "Published container ports are closed from outside", "dropped", _LIST, _published),
    row("firewall-neighbours", "Neighbours reach no container directly", "dropped", _LIST, _into),
    row("firewall-metadata", "Containers do not reach the provider's metadata", "dropped", _LIST, _metadata),
    row("firewall-ipv6", "IPv6 is filtered the same", "in one table with IPv4", _LIST, _six),
    row("firewall-boot", "The rules are loaded at boot", "enabled", "systemctl is-enabled sapflux-firewall", _unit),
    row(
        "firewall-flush", "Nothing flushes the rules at boot", "not enabled", "systemctl is-enabled nftables", _flusher
    ),
    row("firewall-rivals", "No other firewall is at work", "none", "systemctl is-active ufw firewalld", _rivals),
    row("firewall-public", "Only HTTPS and the tailnet's port are open to all", "443/tcp, 41641/udp", _LIST, _public),
    row("firewall-ssh", "SSH is closed to strangers", "closed to strangers", _LIST, _ssh_closed, "note"),
    row("firewall-dead", "What is open to all has a program behind it", "none", "ss -ltnu", _dead_openings, "note"),
    row("port-known", "Only known programs listen to the outside", "none", "ss -ltnup", _listeners),
    row("port-everywhere", "Inner services do not listen everywhere", "none", "ss -ltnup", _everywhere),
    row("tailnet-running", "This host is in the tailnet", "Running", "tailscale status", _tail_running),
    row("tailnet-tagged", "The tailnet node belongs to no person", "a tag", "tailscale status --json", _tail_tagged),
    row("tailnet-expiry", "The tailnet node's key does not expire", "never", "tailscale status --json", _tail_expiry),
    row("tailnet-ssh", "Tailscale's own SSH server is off", "False", "tailscale debug prefs", _tail_ssh),
    row("tailnet-health", "Tailscale sees no problem", "none", "tailscale status", _tail_health, "note"),
    row("tailnet-boot", "Tailscale comes up at boot", "enabled", "systemctl is-enabled tailscaled", _tail_unit),
    row("lockdown-ssh", "A locked host takes SSH from the tailnet only", "tailscale0 only", _LIST, _lockdown),
]
