# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare what has to be there at Hetzner Cloud with what is there (private to this collection). Pure.

Of a resource that exists Hetzner's modules change what they can and ignore the rest in silence. Here every difference
has a name and the way to apply it: ``provision`` (at once), ``resize`` (the server is off for a minute), ``rebuild``
(its disk is made anew), ``replace`` (something else takes its place), ``person`` (nobody but you can decide).
"""

from __future__ import annotations

import ipaddress
from dataclasses import asdict, dataclass, field
from typing import Any, Dict, List, Mapping, Optional, Sequence

from ansible_collections.sapflux.hosting.plugins.module_utils._hcloud_offer import offer_problems, type_notes
from ansible_collections.sapflux.hosting.plugins.module_utils._site_hcloud import MARKS, SSH_STATE

Record = Mapping[str, Any]
KINDS = ("ssh_keys", "networks", "placement_groups", "firewalls", "primary_ips", "servers")
"""What is read of an account; ``server_types`` and ``images`` as well where a server is made or resized."""
RUN = "ansible-playbook sapflux.hosting"
MARK_WORDS = {"ssh-keys": "SSH keys of root at the first boot", "user-data": "cloud-init of the first boot"}


@dataclass(frozen=True)
class Difference:
    """One thing that is not as it is wanted. ``have`` is None where it is not there at all."""

    kind: str
    name: str
    field: str
    have: Any
    want: Any
    apply: str
    how: str = ""

    def __str__(self) -> str:
        if self.field == "":
            return f"create {self.kind} {self.name}"
        return f"change {self.kind} {self.name}: {self.field} {_word(self.have)} -> {_word(self.want)}"


@dataclass
class Plan:
    """The differences, what the tasks that make them need, and what speaks against all of it.

    ``todo`` holds arguments of modules of ``hetzner.hcloud`` by step; ``servers`` is where the servers are, ``there``
    the names of what is wanted and exists, by kind.
    """

    differences: List[Difference] = field(default_factory=list)
    todo: Dict[str, List[Dict[str, Any]]] = field(default_factory=dict)
    problems: List[str] = field(default_factory=list)
    notes: List[str] = field(default_factory=list)
    servers: List[Dict[str, Any]] = field(default_factory=list)
    there: Dict[str, List[str]] = field(default_factory=dict)
    ssh: str = "open"

    def differs(self, *difference: Any, **more: Any) -> None:
        """Remember a difference."""
        self.differences.append(Difference(*difference, **more))

    def do(self, step: str, **arguments: Any) -> None:
        """Remember the arguments of a task; those for the same name are joined."""
        for known in self.todo.setdefault(step, []):
            if known.get("name") == arguments.get("name", object()):
                known.update(arguments)
                return
        self.todo[step].append(arguments)

    def by(self, *ways: str) -> List[Difference]:
        """The differences that are applied in one of these ways."""
        return [each for each in self.differences if each.apply in ways]

    def as_dict(self) -> Dict[str, Any]:
        """Plain data."""
        return {
            "differences": [{**asdict(each), "text": str(each)} for each in self.differences],
            "todo": self.todo,
            "notes": self.notes,
            "servers": self.servers,
            "there": self.there,
            "ssh": self.ssh,
        }


def compare(wanted: Mapping[str, Any], account: Mapping[str, Sequence[Record]], ssh: str = "keep") -> Plan:
    """The plan that brings ``account`` (lists of the API by kind) to ``wanted`` (see ``_site_hcloud.resources``).

    ``ssh`` is what becomes of port 22: ``keep``, ``open`` or ``closed``.
    """
    plan = Plan()
    have = {kind: {each["name"]: each for each in account.get(kind, [])} for kind in KINDS}
    names = _ssh_keys(plan, wanted["ssh_keys"], account.get("ssh_keys", []))
    if wanted["network"]:
        _network(plan, wanted["network"], have["networks"].get(wanted["network"]["name"]))
    if wanted["placement_group"]:
        _labelled(plan, "placement group", "placement_groups", wanted["placement_group"], have["placement_groups"])
    if wanted["firewall"]:
        # A new server is not on the tailnet yet: the first contact comes from outside.
        new = any(server["name"] not in have["servers"] for server in wanted["servers"])
        name = wanted["firewall"]["name"]
        _firewall(plan, wanted["firewall"], have["firewalls"].get(name), "open" if new else ssh)
    plan.there = {kind: [name for name in _names(wanted, kind) if name in have[kind]] for kind in KINDS}
    servers_by_id = {each["id"]: each["name"] for each in account.get("servers", [])}
    for address in wanted["primary_ips"]:
        _primary_ip(plan, address, have["primary_ips"].get(address["name"]), servers_by_id)
    for server in wanted["servers"]:
        _server(plan, server, have["servers"].get(server["name"]), have, names)
    needs = [each for step in ("new_servers", "resize") for each in plan.todo.get(step, []) if "server_type" in each]
    plan.problems += offer_problems(needs, wanted["servers"], account)
    plan.notes += type_notes(wanted["servers"], have["servers"], account)
    return plan


def _names(wanted: Mapping[str, Any], kind: str) -> List[str]:
    """The names of what is wanted of a kind, whether it is one or a list."""
    value = wanted.get(kind) if kind in wanted else wanted.get(kind[:-1])
    return [each["name"] for each in ([value] if isinstance(value, Mapping) else value or [])]


def _ssh_keys(plan: Plan, wanted: Sequence[Record], account: Sequence[Record]) -> Dict[str, str]:
    """Names by which the keys are known: Hetzner takes a key once, whatever it is called."""
    names: Dict[str, str] = {}
    for key in wanted:
        same = next((each for each in account if each["fingerprint"] == key["fingerprint"]), None)
        taken = next((each for each in account if each["name"] == key["name"]), None)
        names[key["name"]] = same["name"] if same else key["name"]
        if same is None and taken is not None:
            plan.problems.append(
                f"an SSH key named {key['name']} is another key in this project; remove or rename it in the console"
            )
        elif same is None:
            plan.differs("ssh key", key["name"], "", None, key["public_key"], "provision")
            plan.do("ssh_keys", name=key["name"], public_key=key["public_key"], labels=key["labels"])
    return names


def _labels(have: Record, wanted: Record, keep: Sequence[str] = ()) -> Optional[Dict[str, str]]:
    """The labels to set, those of others kept; None where ours are there. ``keep`` stay as they are."""
    ours = {key: value for key, value in wanted["labels"].items() if key not in keep}
    if all(have["labels"].get(key) == value for key, value in ours.items()):
        return None
    return {**have["labels"], **ours}


def _labelled(plan: Plan, kind: str, step: str, wanted: Record, there: Mapping[str, Record]) -> None:
    """A resource of which only labels can change."""
    have = there.get(wanted["name"])
    if have is None:
        plan.differs(kind, wanted["name"], "", None, wanted["name"], "provision")
        plan.do(step, **wanted)
        return
    labels = _labels(have, wanted)
    if labels is not None:
        plan.differs(kind, wanted["name"], "labels", have["labels"], labels, "provision")
        plan.do(step, name=wanted["name"], labels=labels)


def _network(plan: Plan, wanted: Record, have: Optional[Record]) -> None:
    subnet = {**wanted["subnet"], "network": wanted["name"]}
    there = {wanted["name"]: have} if have else {}
    _labelled(plan, "network", "networks", {key: wanted[key] for key in ("name", "ip_range", "labels")}, there)
    if have is None:
        plan.do("subnetworks", **subnet)
    elif have["ip_range"] != wanted["ip_range"]:
        how = "a network cannot move: tear down and provision, or write the range it has"
        plan.differs("network", wanted["name"], "ip_range", have["ip_range"], wanted["ip_range"], "replace", how=how)
    elif subnet["ip_range"] not in [each.get("ip_range") for each in have["subnets"]]:
        plan.differs("subnet", wanted["name"], "", None, subnet["ip_range"], "provision")
        plan.do("subnetworks", **subnet)


def _firewall(plan: Plan, wanted: Record, have: Optional[Record], ssh: str) -> None:
    before = have["labels"].get(SSH_STATE) if have else None
    state = (before or "open") if ssh == "keep" else ssh
    if wanted["closed_rules"] is None:
        state = "open"
    plan.ssh = state
    rules = wanted["closed_rules"] if state == "closed" else wanted["rules"]
    new = {"name": wanted["name"], "labels": {**wanted["labels"], SSH_STATE: state}}
    _labelled(plan, "firewall", "firewalls", new, {wanted["name"]: have} if have else {})
    if have is None:
        plan.do("rules", name=wanted["name"], rules=rules)
    elif _rules(have["rules"]) != _rules(rules):
        plan.differs("firewall", wanted["name"], "rules", _rules(have["rules"]), _rules(rules), "provision")
        plan.do("rules", name=wanted["name"], rules=rules)


def _rules(rules: Sequence[Record]) -> List[str]:
    """Rules in words, in their order, which is how Hetzner compares them."""
    shown = []
    for rule in rules:
        words = [rule["direction"], rule["protocol"], rule.get("port"), rule.get("description")]
        shown.append(" ".join(filter(None, words)) + ": " + ", ".join([*rule["source_ips"], *rule["destination_ips"]]))
    return shown


def _primary_ip(plan: Plan, wanted: Record, have: Optional[Record], servers: Mapping[int, str]) -> None:
    name = wanted["name"]
    new = {key: wanted[key] for key in ("name", "type", "location", "auto_delete", "delete_protection", "labels")}
    _labelled(plan, "address", "primary_ips", new, {name: have} if have else {})
    if have is None:
        return
    changed = {
        key: (old, wanted[key])
        for key, old in (("auto_delete", have["auto_delete"]), ("delete_protection", have["protection"]["delete"]))
        if old != wanted[key]
    }
    for key, (old, want) in changed.items():
        plan.differs("address", name, key, old, want, "provision")
        plan.do("primary_ips", name=name, type=wanted["type"], **{key: want})
    if have["location"]["name"] != wanted["location"]:
        how = f"an address cannot move: remove {name} in the console to be given another one, or write its location"
        plan.differs("address", name, "location", have["location"]["name"], wanted["location"], "replace", how=how)
    holder = servers.get(have["assignee_id"] or 0)
    if holder is not None and holder != wanted["server"]:
        how = f"it belongs to {holder}: take it off that server, which has to be off for it"
        plan.differs("address", name, "server", holder, wanted["server"], "person", how=how)
    address = first_address(have)
    pointer = next((each["dns_ptr"] for each in have["dns_ptr"] if each["ip"] == address), None)
    if pointer != wanted["dns_ptr"]:
        plan.differs("reverse DNS", address, "name", pointer, wanted["dns_ptr"], "provision")
        plan.do("rdns", primary_ip=name, ip_address=address, dns_ptr=wanted["dns_ptr"])


def first_address(primary_ip: Record) -> str:
    """The address a server has from a primary IP: of an IPv6 network the first."""
    if primary_ip["type"] == "ipv4":
        return str(primary_ip["ip"])
    return str(ipaddress.ip_network(primary_ip["ip"], strict=False)[1])


CREATED = ("name", "server_type", "image", "location", "labels", "placement_group", "ipv4", "ipv6", "backups")


def _server(
    plan: Plan,
    wanted: Record,
    have: Optional[Record],
    account: Mapping[str, Mapping[str, Record]],
    names: Mapping[str, str],
) -> None:
    name = wanted["name"]
    plan.servers.append(_where(wanted, have, account["primary_ips"]))
    if have is None:
        plan.differs("server", name, "", None, f"{wanted['server_type']}, {wanted['image']}", "provision")
        plan.do(
            "new_servers",
            **{key: wanted[key] for key in CREATED},
            delete_protection=wanted["delete_protection"],
            rebuild_protection=wanted["rebuild_protection"],
            ssh_keys=[names.get(key, key) for key in wanted["ssh_keys"]],
            firewalls=[wanted["firewall"]],
            private_networks=[wanted["network"]] if wanted["network"] else [],
            user_data=wanted["user_data"],
        )
        return
    _fixed(plan, wanted, have)
    _offline(plan, wanted, have, account)
    _online(plan, wanted, have, account)


def _where(wanted: Record, have: Optional[Record], addresses: Mapping[str, Record]) -> Dict[str, Any]:
    """Where a server is, or will be: at the addresses that are kept for it."""
    found: Dict[str, Any] = {}
    for kind in ("ipv4", "ipv6"):
        own = (have["public_net"][kind] or {}).get("ip") if have else None
        kept = addresses.get(wanted[kind])
        if own:
            found[kind] = first_address({"type": kind, "ip": own})
        else:
            found[kind] = first_address(kept) if kept and not have else None
    same = {key: wanted[key] for key in ("name", "groups", "tailnet_host")}
    return {**same, "new": have is None, **found}


def _fixed(plan: Plan, wanted: Record, have: Record) -> None:
    """What is decided when a server is made, and ignored in silence later on."""
    name = wanted["name"]
    rebuild = f"{RUN}.rebuild -e hetzner_confirm={name}, which empties its disk and restores the data"
    image = (have["image"] or {}).get("name")
    if image != wanted["image"]:
        plan.differs("server", name, "image", image, wanted["image"], "rebuild", how=rebuild)
    locked = "nothing to do: root's keys are locked away, and the role base keeps those of the admin"
    for mark, how in (("user-data", rebuild), ("ssh-keys", locked)):
        before, after = have["labels"].get(mark), wanted["labels"][mark]
        if before != after:
            way = "rebuild" if how is rebuild else "replace"
            plan.differs("server", name, MARK_WORDS[mark], before, after, way, how=how)
    if have["location"]["name"] != wanted["location"]:
        how = (
            "a server cannot move: give the document a server of another name in the new location, provision it with "
            "-e postgres_bootstrap=restore, then tear this one down"
        )
        plan.differs("server", name, "location", have["location"]["name"], wanted["location"], "replace", how=how)


def _offline(plan: Plan, wanted: Record, have: Record, account: Mapping[str, Mapping[str, Record]]) -> None:
    """What takes a server that is off."""
    name = wanted["name"]
    how = f"{RUN}.resize, which shuts it down for a minute or two"
    if have["server_type"]["name"] != wanted["server_type"]:
        plan.differs("server", name, "type", have["server_type"]["name"], wanted["server_type"], "resize", how=how)
        plan.do("resize", name=name, server_type=wanted["server_type"])
    group = (have["placement_group"] or {}).get("name")
    if group != wanted["placement_group"]:
        plan.differs("server", name, "placement group", group, wanted["placement_group"], "resize", how=how)
        plan.do("resize", name=name, placement_group=wanted["placement_group"])
    for kind in ("ipv4", "ipv6"):
        address = account["primary_ips"].get(wanted[kind])
        if address is None or address["assignee_id"] != have["id"]:
            holds = (have["public_net"][kind] or {}).get("ip")
            plan.differs("server", name, f"address {kind}", holds, wanted[kind], "resize", how=how)
            plan.do("resize", name=name, **{kind: wanted[kind]})


def _online(plan: Plan, wanted: Record, have: Record, account: Mapping[str, Mapping[str, Record]]) -> None:
    """What changes while a server runs."""
    name = wanted["name"]

    def differs(what: str, old: Any, new: Any, **arguments: Any) -> None:
        plan.differs("server", name, what, old, new, "provision")
        plan.do("servers", name=name, **arguments)

    labels = _labels(have, wanted, keep=MARKS)
    if labels is not None:
        differs("labels", have["labels"], labels, labels=labels)
    backups = have["backup_window"] is not None
    if wanted["backups"] and not backups:
        differs("backups", backups, True, backups=True)
    elif backups and not wanted["backups"]:
        # To switch them off is to lose them all.
        how = "Hetzner removes every backup with it: do it in the console if that is meant, or write backups: true"
        plan.differs("server", name, "backups", True, False, "person", how=how)
    for what in ("delete", "rebuild"):
        key = f"{what}_protection"
        if have["protection"][what] != wanted[key]:
            both = {f"{each}_protection": wanted[f"{each}_protection"] for each in ("delete", "rebuild")}
            differs(f"{what} protection", have["protection"][what], wanted[key], **both)
    if have["status"] == "off":
        differs("status", "off", "running", state="started")
    network = account["networks"].get(wanted["network"]) if wanted["network"] else None
    attached = [each["network"] for each in have["private_net"]]
    if wanted["network"] and (network is None or network["id"] not in attached):
        others = [each["name"] for each in account["networks"].values() if each["id"] in attached]
        differs("network", others or None, wanted["network"], private_networks=[*others, wanted["network"]])
    firewall = account["firewalls"].get(wanted["firewall"])
    applied = [each["id"] for each in have["public_net"].get("firewalls") or []]
    if firewall is None or firewall["id"] not in applied:
        plan.differs("server", name, "firewall", None, wanted["firewall"], "provision")
        plan.do("firewall_resources", name=name, firewall=wanted["firewall"])


def _word(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_word(each)}" for key, each in sorted(value.items())) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + "; ".join(_word(each) for each in value) + "]"
    return str(value).lower() if isinstance(value, bool) else str(value)
