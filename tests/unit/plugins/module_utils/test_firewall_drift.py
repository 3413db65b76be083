"""What the kernel runs against what the file says, on recorded output of nft 1.1.3."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.sapflux.hosting.plugins.module_utils._firewall_drift import drift

HERE = pathlib.Path(__file__).parent
LISTED = (HERE / "firewall_list.json").read_text(encoding="utf-8")
ECHOED = (HERE / "firewall_echo.json").read_text(encoding="utf-8")

Objects = list[dict[str, Any]]


def bodies(objects: Objects, kind: str, **having: Any) -> list[dict[str, Any]]:
    """The objects of one kind with these attributes."""
    found = [item[kind] for item in objects if kind in item]
    return [body for body in found if having.items() <= body.items()]


def changed(change: Callable[[Objects], object]) -> str:
    """The listing after a person with nft was there."""
    listing = json.loads(LISTED)
    change(listing["nftables"])
    return json.dumps(listing)


def test_the_loaded_table_is_the_file() -> None:
    """Elements that are echoed one by one, counters and handles are no difference."""
    assert drift(LISTED, ECHOED) == []
    counted = LISTED.replace('"packets": 0, "bytes": 0', '"packets": 7, "bytes": 420')
    assert counted != LISTED
    assert drift(counted, ECHOED) == []


def test_adjacent_networks_may_be_listed_as_one_range() -> None:
    """nft joins 10.0.1.0/24 and 10.0.2.0/23 when it likes."""

    def join(objects: Objects) -> None:
        bodies(objects, "set", name="ssh4")[0]["elem"] = [{"range": ["10.0.1.0", "10.0.3.255"]}, "198.51.100.7"]

    assert drift(changed(join), ECHOED) == []


def test_anonymous_sets_have_no_order() -> None:
    """The kernel lists the types of ICMP as it hashed them."""

    def turn(objects: Objects) -> None:
        for rule in bodies(objects, "rule"):
            for expression in rule["expr"]:
                right = expression.get("match", {}).get("right")
                if isinstance(right, dict) and "set" in right:
                    right["set"].reverse()

    assert changed(turn) != changed(lambda _objects: None)
    assert drift(changed(turn), ECHOED) == []


@pytest.mark.parametrize("text", ["", "not json", "[]", "5", '{"nftables": []}', '{"nftables": [{"metainfo": {}}]}'])
def test_a_missing_table_is_drift(text: str) -> None:
    """After `nft flush ruleset` there is no table."""
    assert drift(text, ECHOED) == ["table inet sapflux is not loaded"]


@pytest.mark.parametrize("text", ["", "[]", '{"nftables": []}'])
def test_an_unreadable_file_is_drift(text: str) -> None:
    """What cannot be compared is not taken for equal."""
    assert drift(LISTED, text) == ["the file with the rules cannot be read"]


def set_comment(objects: Objects) -> None:
    """The table of an older file."""
    bodies(objects, "table")[0]["comment"] = "sapflux 0000000000000000"


def replace_rule(objects: Objects) -> None:
    """`nft replace rule`: as many rules as before, and the comment of the table is kept."""
    rule = bodies(objects, "rule", chain="forward")[0]
    rule["expr"][-1] = {"accept": None}


def widen_rule(objects: Objects) -> None:
    """Another port in the rule of the tailnet."""
    bodies(objects, "rule", comment="tailnet")[0]["expr"][1]["match"]["right"]["set"].append(8443)


def move_rule(objects: Objects) -> None:
    """The same rules in another order."""
    first, second = [n for n, item in enumerate(objects) if item.get("rule", {}).get("chain") == "input"][:2]
    objects[first], objects[second] = objects[second], objects[first]


CHANGES: dict[str, tuple[Callable[[Objects], object], str]] = {
    "another version": (set_comment, "the loaded rules are of another version"),
    "rule added": (
        lambda objects: objects.append({"rule": {"table": "sapflux", "chain": "input", "expr": []}}),
        "the input chain has ",
    ),
    "rule removed": (lambda objects: objects.pop(), "the forward chain has "),
    "rule replaced": (replace_rule, "rule 1 of the forward chain is another one"),
    "rule widened": (widen_rule, "of the input chain is another one"),
    "rules swapped": (move_rule, "rule 1, 2 of the input chain is another one"),
    "policy": (
        lambda objects: bodies(objects, "chain", name="input")[0].update(policy="accept"),
        "the policy of the input chain is accept instead of drop",
    ),
    "priority": (
        lambda objects: bodies(objects, "chain", name="forward")[0].update(prio=300),
        "the priority of the forward chain is 300 instead of -1",
    ),
    "chain removed": (
        lambda objects: objects.remove({"chain": bodies(objects, "chain", name="forward")[0]}),
        "the chain forward is missing",
    ),
    "chain added": (
        lambda objects: objects.append({"chain": {"table": "sapflux", "name": "pre", "hook": "prerouting"}}),
        "the chain pre is not ours",
    ),
    "element added": (
        lambda objects: bodies(objects, "set", name="ssh6")[0]["elem"].append("2001:db8:ffff::1"),
        "the set ssh6 holds other networks",
    ),
    "element removed": (
        lambda objects: bodies(objects, "set", name="https4")[0].pop("elem"),
        "the set https4 holds other networks",
    ),
    "set removed": (
        lambda objects: objects.remove({"set": bodies(objects, "set", name="https4")[0]}),
        "the set https4 is missing",
    ),
    "set added": (
        lambda objects: objects.append({"set": {"table": "sapflux", "name": "mine", "elem": ["192.0.2.1"]}}),
        "the set mine is not ours",
    ),
    "map added": (
        lambda objects: objects.append({"map": {"table": "sapflux", "name": "verdicts"}}),
        "the map verdicts is not ours",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_every_change_by_hand_is_drift(name: str) -> None:
    """The kernel is compared, rule by rule, not the file and not the number of rules."""
    change, words = CHANGES[name]
    assert words in " ".join(drift(changed(change), ECHOED))


def test_a_strangers_table_is_not_looked_at() -> None:
    """Objects of other tables are nobody's business."""

    def add(objects: Objects) -> None:
        objects.append({"chain": {"table": "filter", "name": "ts-input"}})

    assert drift(changed(add), ECHOED) == []


def test_who_was_let_in_for_a_while_is_no_drift() -> None:
    """The lockdown fills sets of the loaded table; that they are there counts, and what is in them does not."""
    empty = {"set": {"family": "inet", "name": "ssh_grant4", "table": "sapflux", "type": "ipv4_addr"}}
    timed = {"elem": {"val": {"prefix": {"addr": "203.0.113.0", "len": 24}}, "timeout": 90, "expires": 89}}
    expected = json.loads(ECHOED)
    expected["nftables"].append({"add": empty})

    def let_in(objects: Objects) -> None:
        objects.append({"set": {**empty["set"], "elem": [timed]}})

    assert drift(changed(let_in), json.dumps(expected)) == []
    assert drift(LISTED, json.dumps(expected)) == ["the set ssh_grant4 is missing"]
