"""The switch as a whole: its order, each failing step, and a death at each step, on either side."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.sapflux.hosting.plugins.module_utils._lockdown import Lockdown, LockdownError

from roles.firewall.files.lockdown_parts import lifeline
from tests.unit.lockdown.world import LOCKED, OPEN, OPERATOR, TEXT, WAN, Controller, KilledError, World, plan

STATE = "/var/lib/sapflux/lockdown.json"
PROMISE = 180


def lock(world: World, **changes: Any) -> Controller:
    """Lock a host for real."""
    controller = Controller(world)
    assert Lockdown(controller, plan(**changes)).run()["changed"]
    return controller


def refusal(world: World, controller: Controller | None = None, **changes: Any) -> str:
    """The one sentence of a lockdown that fails."""
    with pytest.raises(LockdownError) as caught:
        Lockdown(controller or Controller(world), plan(**changes)).run()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def untouched(world: World) -> bool:
    """Whether the host is as it was."""
    return (world.kernel, world.read(world.config.rules), world.timer, world.read(STATE)) == (
        OPEN,
        TEXT[OPEN],
        None,
        "",
    )


def owner_gets_in(world: World) -> bool:
    """The tailnet dies for good: whether SSH opens for the operator in time."""
    world.tailnet = False
    world.advance(PROMISE)
    return world.open_outside()


def test_the_order_is_proof_timer_switch_proof_and_only_then_the_disk(world: World) -> None:
    controller = Controller(world)
    seen: list[tuple[str, str | None, bool, bool]] = []

    def look(call: str) -> None:
        seen.append((call, world.kernel, bool(world.timer), TEXT[LOCKED] in world.read(world.config.rules)))

    controller.before = look
    outcome = Lockdown(controller, plan()).run()
    assert seen == [
        ("status", OPEN, False, False),
        ("prove", OPEN, False, False),
        ("arm", OPEN, False, False),
        ("look", OPEN, True, False),
        ("apply", OPEN, True, False),
        ("drop", LOCKED, True, False),
        ("prove", LOCKED, True, False),
        ("look", LOCKED, True, False),
        ("commit", LOCKED, True, False),
    ]
    assert (world.kernel, world.timer) == (LOCKED, None)
    assert world.read(world.config.rules) == TEXT[LOCKED]
    assert json.loads(world.read(STATE)) == outcome["state"]
    assert outcome["state"]["locked"]
    assert outcome["state"]["operator"] == OPERATOR
    assert world.open_outside() is False


def test_the_second_run_asks_once_and_changes_nothing(world: World) -> None:
    lock(world)
    before = (world.read(STATE), len(world.commands))
    controller = Controller(world)
    assert Lockdown(controller, plan()).run() == {"changed": False, "state": json.loads(before[0])}
    assert controller.calls == ["status"]
    assert world.read(STATE) == before[0]


def test_other_networks_of_the_operator_are_noted_without_opening(world: World) -> None:
    lock(world)
    state = {"operator": ["192.0.2.0/24"], "break_glass": []}
    controller = Controller(world)
    assert Lockdown(controller, plan(state=state)).run(check=True)["changed"]
    assert controller.calls == ["status"]
    assert json.loads(world.read(STATE))["operator"] == OPERATOR
    assert Lockdown(controller, plan(state=state)).run()["state"]["operator"] == ["192.0.2.0/24"]
    assert world.kernel == LOCKED
    assert not Lockdown(controller, plan(state=state)).run()["changed"]


def test_check_mode_proves_and_changes_nothing(world: World) -> None:
    controller = Controller(world)
    assert Lockdown(controller, plan()).run(check=True)["changed"]
    assert controller.calls == ["status", "prove"]
    assert untouched(world)
    world.tailnet = False
    with pytest.raises(LockdownError, match="the tailnet is down"):
        Lockdown(controller, plan()).run(check=True)


def break_nothing(_world: World) -> None:
    """A plan may be wrong by itself."""


BEFORE: list[tuple[Callable[[World], object], dict[str, Any], str]] = [
    (lambda w: setattr(w, "tailnet", False), {}, "the tailnet is down (tailscale0 is missing"),
    (lambda w: setattr(w, "state", "NeedsLogin"), {}, "the tailnet is down (tailscaled is NeedsLogin, not Running)"),
    (lambda w: setattr(w, "online", False), {}, "has lost its control server"),
    (lambda w: setattr(w, "tags", []), {}, "the node has no tag"),
    (lambda w: setattr(w, "expiry", "2027-05-01T00:00:00Z"), {}, "key expires on 2027-05-01T00:00:00Z"),
    (lambda w: setattr(w, "sshd", False), {}, "no SSH server answers on port 22"),
    (lambda w: setattr(w, "kernel", None), {}, "neither the open nor the locked rules"),
    (lambda w: setattr(w, "kernel", "sapflux 00cc"), {}, "neither the open nor the locked rules"),
    (lambda w: w.write(w.config.rules, 'comment "sapflux 00cc"'), {}, "neither the open nor the locked rules"),
    (lambda w: w.sets.pop("ssh_rescue4"), {}, "the loaded rules have no ssh_rescue4"),
    (lambda w: setattr(w, "timer_breaks", True), {}, "the dead-man timer"),
    (lambda w: setattr(w, "full", lambda path: path.startswith(w.root + "/var")), {}, "free some space"),
    (break_nothing, {"locked": TEXT[LOCKED] + "nonsense"}, "nft refuses the rules"),
    (break_nothing, {"opened": TEXT[OPEN] + "nonsense"}, "nft refuses the rules"),
    (break_nothing, {"locked": TEXT[OPEN]}, "not two rulesets"),
    (break_nothing, {"tailnet_host": ""}, "set sapflux_tailnet_host"),
    (break_nothing, {"state": {"operator": [], "break_glass": []}}, "firewall_lockdown_cidrs is empty"),
    (break_nothing, {"seconds": 5}, "write at least 10"),
]


@pytest.mark.parametrize(("fault", "changes", "says"), BEFORE, ids=[says[:30] for _f, _c, says in BEFORE])
def test_what_is_wrong_before_the_switch_changes_nothing(
    world: World, fault: Callable[[World], object], changes: dict[str, Any], says: str
) -> None:
    fault(world)
    kernel, rules = world.kernel, world.read(world.config.rules)
    said = refusal(world, **changes)
    assert said.startswith("web-1 was not locked and nothing was changed: ")
    assert says in said
    assert (world.kernel, world.read(world.config.rules), world.timer, world.read(STATE)) == (kernel, rules, None, "")


def test_a_tailnet_that_was_down_a_moment_ago_is_given_a_minute(world: World) -> None:
    world.tailnet = False
    world.advance(PROMISE)
    world.tailnet = True
    world.advance(20)
    assert "the tailnet was down a moment ago: run again in a minute" in refusal(world)
    assert world.kernel == OPEN
    world.advance(60)
    lock(world)


def test_a_lockdown_ends_what_was_opened_for_a_time(world: World) -> None:
    lifeline.open_for(world.host(), ["192.0.2.0/24"], 60)
    lock(world)
    world.advance(60)
    assert not any(world.sets.values())


def test_a_tailnet_address_of_another_machine_is_refused(world: World) -> None:
    controller = Controller(world)
    controller.machine = "m2"
    assert "web-1.tailnet is another machine" in refusal(world, controller)
    assert untouched(world)


def test_a_tailnet_address_that_takes_a_detour_is_refused(world: World) -> None:
    controller = Controller(world)
    controller.via = WAN
    assert f"leads to {WAN}, which is not on the tailnet (100.64.0.5)" in refusal(world, controller)
    assert untouched(world)


def test_a_wrong_network_of_the_operator_is_refused(world: World) -> None:
    controller = Controller(world)
    controller.reaches_wan = False
    said = refusal(world, controller)
    assert "does not answer from here even now" in said
    assert "add this machine's network to 203.0.113.0/24, 2001:db8::/32" in said
    assert untouched(world)


def tailnet_dies(world: World, controller: Controller, at: str) -> None:
    """From one of the controller's steps on."""

    def fault(call: str) -> None:
        if call == at:
            world.tailnet = False

    controller.before = fault


@pytest.mark.parametrize("at", ["apply", "drop", "commit"])
def test_a_tailnet_that_dies_during_the_switch_is_undone(world: World, at: str) -> None:
    controller = Controller(world)
    tailnet_dies(world, controller, at)
    began = world.now
    said = refusal(world, controller)
    assert said.startswith("web-1 is not locked: ")
    assert f"SSH is open again at {WAN}" in said
    assert world.now - began <= PROMISE + 5
    # The lifeline may have been the first; the timer opens the host all the same.
    world.advance(PROMISE)
    assert (world.kernel, world.timer, world.read(STATE)) == (OPEN, None, "")


def test_a_public_port_that_still_answers_is_undone_at_once(world: World) -> None:
    controller = Controller(world)
    controller.wan_is_held_open = True
    began = world.now
    said = refusal(world, controller)
    assert "still answers from here after the switch" in said
    assert world.now - began < 5
    assert untouched(world)


def test_networks_that_are_let_in_when_locked_may_answer(world: World) -> None:
    controller = Controller(world)
    controller.wan_is_held_open = True
    state = {"operator": OPERATOR, "break_glass": ["198.51.100.0/24"]}
    assert Lockdown(controller, plan(state=state)).run()["state"]["break_glass"] == ["198.51.100.0/24"]


@pytest.mark.parametrize("path", ["/etc/nftables.d/sapflux.nft", STATE])
def test_a_disk_that_fills_during_the_switch_is_undone_at_once(world: World, path: str) -> None:
    controller = Controller(world)

    def fault(call: str) -> None:
        if call == "commit":
            world.full = lambda wanted: wanted == world.root + path

    controller.before = fault
    began = world.now
    assert "free some space" in refusal(world, controller)
    assert world.now - began < 5
    assert (world.kernel, world.timer, world.read(STATE)) == (OPEN, None, "")
    assert world.read(world.config.rules) == TEXT[OPEN]


def test_a_timer_that_is_up_before_the_confirmation_wins(world: World) -> None:
    controller = Controller(world)

    def fault(call: str) -> None:
        if call == "commit":
            world.advance(PROMISE)

    controller.before = fault
    assert "the dead-man timer is up" in refusal(world, controller)
    assert world.kernel == OPEN
    assert world.read(world.config.rules) == TEXT[OPEN]


def test_a_lost_answer_of_the_confirmation_is_asked_for(world: World) -> None:
    """The work was done: this is a locked host, not a failed lockdown."""
    controller = Controller(world)
    controller.lose_answer, controller.lose_at = True, 9
    assert Lockdown(controller, plan()).run()["state"]["locked"]
    assert controller.calls[-2:] == ["commit", "status"]
    assert world.kernel == LOCKED


def test_two_controllers_at_once_cannot_confirm_for_each_other(world: World) -> None:
    first, second = Controller(world), Controller(world)

    def barge_in(call: str) -> None:
        if call == "commit":
            first.before = lambda _call: None
            assert Lockdown(second, plan()).run()["changed"]

    first.before = barge_in
    said = refusal(world, first)
    assert "another run has taken this lockdown over" in said
    assert json.loads(world.read(STATE))["locked"]
    assert owner_gets_in(world)


def test_the_numbers_below_are_all_steps_of_the_controller(world: World) -> None:
    assert len(lock(world).calls) == 9


@pytest.mark.parametrize("answered", [False, True])
@pytest.mark.parametrize("number", range(1, 10))
def test_a_connection_that_is_lost_at_any_step_leaves_a_way_in(world: World, number: int, answered: bool) -> None:
    controller = Controller(world)
    controller.lose_at, controller.lose_answer = number, answered
    began = world.now
    try:
        locked = bool(Lockdown(controller, plan()).run()["state"].get("locked"))
    except LockdownError:
        locked = False
    assert world.now - began <= PROMISE + 25
    world.advance(PROMISE)
    assert (world.kernel == LOCKED) == locked
    assert owner_gets_in(world)


@pytest.mark.parametrize("number", range(1, 10))
def test_a_controller_that_dies_at_any_step_leaves_a_way_in_and_can_begin_again(world: World, number: int) -> None:
    controller = Controller(world)
    controller.die_at = number
    with contextlib.suppress(KilledError):
        Lockdown(controller, plan()).run()
    # At once, while the old timer still runs, as well as later.
    kernel = world.kernel
    Lockdown(Controller(world), plan()).run()
    assert (world.kernel, world.timer) == (LOCKED, None), kernel
    assert owner_gets_in(world)


FUTURES: dict[str, Callable[[World], object]] = {
    "time passes": lambda world: world.advance(PROMISE),
    "the host is rebooted": lambda world: world.reboot(),
    "nothing": break_nothing,
}


def killed_at(world: World, number: int) -> bool:
    """Kill the host's program before its n-th act, whichever call that falls into; False when there are not so many."""
    world.kill_at = number
    try:
        lock(world)
    except KilledError:
        world.kill_at = 0
        return True
    finally:
        world.kill_at = 0
    return False


@pytest.mark.parametrize("future", sorted(FUTURES))
def test_a_program_that_dies_before_any_act_leaves_a_way_in(tmp_path: Path, future: str) -> None:
    """Every act of the host's program, in every call: files, nft, systemd."""
    number = 1
    while True:
        world = World(tmp_path / str(number))
        if not killed_at(world, number):
            break
        FUTURES[future](world)
        if world.kernel == LOCKED and world.timer is None:
            # Only what has been proven may last without a timer.
            assert world.read(world.config.rules + ".new") or world.read(world.config.rules) == TEXT[LOCKED], number
        assert owner_gets_in(world), number
        # And the next run ends well, wherever that was.
        world.tailnet = True
        world.advance(PROMISE)
        if world.kernel == LOCKED and not json.loads(world.read(STATE) or "{}"):
            # What the role's main path does first, as the host does not say that it is locked.
            world.write(world.config.rules, TEXT[OPEN])
            world.load(TEXT[OPEN])
        Lockdown(Controller(world), plan()).run()
        assert world.kernel == LOCKED, number
        assert json.loads(world.read(STATE))["locked"]
        number += 1
    assert number > 30


def test_a_reboot_between_switch_and_confirmation_boots_open(world: World) -> None:
    controller = Controller(world)

    def fault(call: str) -> None:
        if call == "commit":
            world.reboot()

    controller.before = fault
    assert "the host was rebooted" in refusal(world, controller)
    assert (world.kernel, world.timer) == (OPEN, None)


def test_the_lifeline_is_the_last_word_on_a_locked_host(world: World) -> None:
    lock(world)
    assert owner_gets_in(world)
    world.reboot()
    assert world.kernel == LOCKED
    assert owner_gets_in(world)
    world.tailnet = True
    world.advance(PROMISE)
    assert not world.open_outside()
    assert lifeline.watch(world.host()) == {"text": ""}
