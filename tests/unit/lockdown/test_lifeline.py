"""The ways in while SSH is closed: when they open, for whom, and that they close."""

from __future__ import annotations

import json
from typing import Any

import pytest

from roles.firewall.files import lockdown as program
from roles.firewall.files.lockdown_parts import lifeline, protocol
from roles.firewall.files.lockdown_parts.host import Config, LockdownError, load_config, merged, span
from tests.unit.lockdown.world import LOCKED, OPERATOR, World

FOR_EVER = float("inf")


def play(pattern: str, rescue: float = 120, settle: float = 60) -> list[bool]:
    """What is open after each look, 20 s apart; `u` is up, `d` is down."""
    memory: dict[str, Any] = {}
    opened = []
    for number, look in enumerate(pattern):
        memory = json.loads(json.dumps(lifeline.judge(memory, look == "u", 20.0 * number, rescue, settle)))
        opened.append(memory["open"])
    return opened


@pytest.mark.parametrize(
    ("pattern", "first_open", "closed_at_end"),
    [
        ("uuuuuuuuuu", None, True),
        ("dddddddd", 6, False),
        ("uddddddd", 7, False),
        ("uudduuuudduuuu", None, True),
        # It comes and goes, and never stays: nobody could work over it.
        ("ududududud", 7, False),
        ("ddddddduuuu", 6, True),
        ("dddddddudu", 6, False),
        ("ddddddddudduuuu", 6, True),
    ],
)
def test_opens_after_two_minutes_and_closes_when_it_is_back_for_one(
    pattern: str, first_open: int | None, closed_at_end: bool
) -> None:
    opened = play(pattern)
    assert (opened.index(True) if True in opened else None) == first_open
    assert opened[-1] != closed_at_end


def test_a_short_gap_is_forgotten() -> None:
    assert not any(play("du" + "uuu" + "du" + "uuu" + "du" + "uuu"))


@pytest.fixture
def locked(world: World) -> World:
    """A host that runs the locked rules."""
    world.kernel = LOCKED
    return world


def look(world: World, seconds: float = 0) -> str:
    """One look of the watch, some seconds later."""
    world.now += seconds
    text: str = lifeline.watch(world.host())["text"]
    return text


def test_opens_for_the_operator_alone(locked: World) -> None:
    locked.tailnet = False
    assert look(locked) == ""
    assert look(locked, 119) == ""
    said = look(locked, 1)
    assert said.startswith("SSH is open for 203.0.113.0/24 2001:db8::/32: the tailnet is down (tailscale0 is missing")
    assert locked.sets["ssh_rescue4"] == {"203.0.113.0/24": FOR_EVER}
    assert locked.sets["ssh_rescue6"] == {"2001:db8::/32": FOR_EVER}
    assert look(locked, 20) == ""
    locked.tailnet = True
    assert look(locked, 20) == ""
    assert look(locked, 59) == ""
    assert look(locked, 1) == "SSH is closed again: the tailnet is up"
    assert locked.sets["ssh_rescue4"] == {}


def test_opens_again_what_a_reload_has_closed(locked: World) -> None:
    locked.tailnet = False
    look(locked)
    assert look(locked, 120)
    locked.sets["ssh_rescue4"] = {}
    assert "SSH is open" in look(locked, 1)


def test_closes_what_somebody_else_has_opened(locked: World) -> None:
    locked.sets["ssh_rescue4"] = {"0.0.0.0/0": FOR_EVER}
    assert look(locked) == "SSH is closed again: the tailnet is up"
    assert locked.sets["ssh_rescue4"] == {}


def test_zero_seconds_mean_never(locked: World) -> None:
    locked.config = Config(**{**vars(locked.config), "rescue_seconds": 0})
    locked.tailnet = False
    for _ in range(20):
        assert look(locked, 20) == ""
    assert not locked.open_outside()


def test_a_torn_memory_starts_afresh(locked: World) -> None:
    locked.tailnet = False
    locked.write("/run/sapflux-lockdown/watch.json", '{"down_si')
    assert look(locked) == ""
    assert "SSH is open" in look(locked, 120)


def test_another_vpn_is_asked_for_its_interface_only(locked: World) -> None:
    locked.config = Config(**{**vars(locked.config), "provider": "interface"})
    locked.state = "NeedsLogin"
    assert locked.host().tailnet().up
    assert not any(command[0] == "tailscale" for command in locked.commands)
    locked.tailnet = False
    assert not locked.host().tailnet().up


def test_a_table_that_is_gone_closes_nothing(locked: World) -> None:
    locked.kernel = None
    with pytest.raises(LockdownError, match="not loaded, so nothing is closed"):
        look(locked)


def test_rules_without_the_sets_say_so(locked: World) -> None:
    del locked.sets["ssh_grant6"]
    with pytest.raises(LockdownError, match="no set ssh_grant6; apply the firewall role again"):
        lifeline.open_for(locked.host(), [], 5)


def test_open_is_for_a_time_that_the_kernel_ends(locked: World) -> None:
    said = lifeline.open_for(locked.host(), ["192.0.2.0/25", "192.0.2.128/25"], 30)["text"]
    assert said == "SSH is open for 192.0.2.0/25 192.0.2.128/25 for 30 minutes, then it closes by itself"
    assert locked.sets["ssh_grant4"] == {"192.0.2.0/24": locked.now + 1800}
    locked.advance(600)
    locked.sets["ssh_grant4"] = {}
    locked.advance(40)
    assert locked.sets["ssh_grant4"]["192.0.2.0/24"] <= 1000 + 1800 + 1
    locked.advance(1800 - 640)
    assert locked.sets["ssh_grant4"] == {}
    locked.advance(60)
    assert locked.sets["ssh_grant4"] == {}
    assert protocol.status(locked.host())["grant"] == {}


def test_open_without_a_network_is_for_the_operator(locked: World) -> None:
    lifeline.open_for(locked.host(), [], 1)
    assert list(locked.sets["ssh_grant4"]) == ["203.0.113.0/24"]
    assert list(locked.sets["ssh_grant6"]) == ["2001:db8::/32"]


def test_a_second_open_replaces_the_first_and_close_ends_it(locked: World) -> None:
    lifeline.open_for(locked.host(), ["192.0.2.1/32"], 5)
    lifeline.open_for(locked.host(), ["2001:db8:1::/48"], 5)
    assert (locked.sets["ssh_grant4"], list(locked.sets["ssh_grant6"])) == ({}, ["2001:db8:1::/48"])
    assert lifeline.close(locked.host())["text"] == "SSH is closed again"
    assert locked.sets["ssh_grant6"] == {}
    assert lifeline.close(locked.host())["text"] == "nothing was open"


def test_open_works_on_a_full_disk(locked: World) -> None:
    """At the console of a host in trouble it opens all the same: what it keeps is in memory."""
    locked.full = lambda path: "/run/" not in path
    lifeline.open_for(locked.host(), ["192.0.2.1/32"], 5)
    assert list(locked.sets["ssh_grant4"]) == ["192.0.2.1/32"]


@pytest.mark.parametrize(
    ("cidrs", "minutes", "says"),
    [
        (["203.0.113.7/24"], 5, "203.0.113.7/24 has host bits set; write a network such as"),
        (["home"], 5, "write a network such as"),
        ([], 0, "write more than 0 and at most 10080"),
        ([], 10081, "write more than 0 and at most 10080"),
    ],
)
def test_what_cannot_be_opened_is_one_sentence(locked: World, cidrs: list[str], minutes: float, says: str) -> None:
    with pytest.raises(LockdownError) as caught:
        lifeline.open_for(locked.host(), cidrs, minutes)
    assert says in str(caught.value)
    assert not any(locked.sets.values())


def test_spans_of_touching_networks_are_one() -> None:
    assert merged([span("10.0.1.0/24"), span("10.0.0.0/24")]) == [span("10.0.0.0/23")]
    assert len(merged([span("10.0.0.0/24"), span("::/128")])) == 2


def test_the_status_reads_well(locked: World) -> None:
    lifeline.open_for(locked.host(), ["192.0.2.1/32"], 5)
    lines = protocol.describe(protocol.status(locked.host()))
    assert lines[:2] == ["locked:    no", "tailnet:   up, 100.64.0.5"]
    assert "rules:     sapflux 00000000000000bb, but the file has sapflux 00000000000000aa" in lines
    assert f"lifeline:  closed, for {' '.join(OPERATOR)}" in lines
    assert "opened:    for 192.0.2.1/32, 300 s left" in lines
    locked.tailnet, locked.sshd, locked.kernel, locked.tags = False, False, None, []
    text = "\n".join(protocol.describe(protocol.status(locked.host())))
    assert "tailnet:   down: tailscale0 is missing" in text
    assert "DOES NOT ANSWER" in text
    assert "NOT LOADED" in text


def test_a_missing_configuration_is_one_sentence(
    tmp_path: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(LockdownError, match="apply the lockdown of the firewall role again"):
        load_config(str(tmp_path / "none.json"))
    (tmp_path / "old.json").write_text('{"rules": "/r", "unknown": 1}')
    monkeypatch.setattr(program, "CONFIG", str(tmp_path / "old.json"))
    assert program.main(["status"]) == 1
    assert "cannot be used" in capsys.readouterr().err
