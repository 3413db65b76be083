"""Going back, giving up, locking, the maintenance page: what is done with what the host keeps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible_collections.sapflux.hosting.plugins.module_utils import _compose_release as releases
from ansible_collections.sapflux.hosting.plugins.module_utils._compose_deploy import Outcome, Request
from ansible_collections.sapflux.hosting.plugins.module_utils._compose_host import DeployError
from ansible_collections.sapflux.hosting.plugins.module_utils._compose_lock import PAUSE_EXPIRES, read_lock
from ansible_collections.sapflux.hosting.plugins.module_utils._compose_seams import Answer
from ansible_collections.sapflux.hosting.plugins.module_utils._compose_state import Settings, read_state
from ansible_collections.sapflux.hosting.plugins.module_utils._compose_transaction import HOOKS

from .compose_world import PROBES, Cut, World, image, service, wish

ONE, TWO = wish(service()), wish(service(version=2))


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Version 1 served, version 2 does."""
    world = World(tmp_path / "host", settings=Settings(probes=PROBES))
    world.deploy(ONE)
    world.deploy(TWO)
    return world


def rollback(world: World, to: str = "previous", across: bool = False) -> Outcome:
    return releases.rollback(world.layout, world.seams, to, Request("tester", across_irreversible=across))


def test_a_rollback_brings_image_environment_and_secrets_back(world: World) -> None:
    world.deploy(wish(service(version=2, hidden="secret-two")))
    world.watched = "api"
    first = read_state(world.layout).history[0]
    outcome = rollback(world, first)
    (container,) = world.containers.values()
    assert (outcome.release, container["image"], world.unserved) == (first, image(1), [])
    (secret,) = world.layout.run.glob("*.env")
    assert secret.read_text() == "TOKEN='secret-one'\n"
    assert world.receipts()[-1]["kind"] == "rollback"
    assert world.receipts()[-1]["migrated"] == []


def test_previous_is_the_release_that_served_before(world: World) -> None:
    assert [next(iter(world.containers.values()))["image"] for _ in range(3) if rollback(world)] == [
        image(1),
        image(2),
        image(1),
    ]


def test_a_digest_names_a_release_too(world: World) -> None:
    rollback(world, image(1).split("@")[1])
    assert next(iter(world.containers.values()))["image"] == image(1)


@pytest.mark.parametrize("to", ["abcdefabcdef", "sha256:ffff"])
def test_what_is_not_kept_is_refused_and_what_is_kept_is_told(world: World, to: str) -> None:
    first = read_state(world.layout).history[0]
    with pytest.raises(
        DeployError, match=f"no release that {to} names is kept .* kept are: {first} \\(api sha256:0000"
    ):
        rollback(world, to)


def test_no_rollback_crosses_a_migration_that_cannot_be_undone(world: World) -> None:
    world.deploy(wish(service(version=3, migrate_irreversible=True)))
    with pytest.raises(DeployError, match="which cannot be undone"):
        rollback(world)
    assert rollback(world, across=True).changed


def test_a_host_without_a_deployment_says_so(tmp_path: Path) -> None:
    with pytest.raises(DeployError, match="has never been deployed here"):
        rollback(World(tmp_path / "bare"))


# Locks.


def test_a_lock_of_a_person_is_never_taken_over(world: World) -> None:
    assert releases.lock(world.layout, world.seams, "riley", "counting rows").changed
    assert not releases.lock(world.layout, world.seams, "robin", "").changed
    world.now += 10 * PAUSE_EXPIRES
    with pytest.raises(DeployError, match=r"locked by riley since .* \(counting rows\); nothing was changed"):
        world.deploy(ONE)
    assert not world.deploy(TWO).changed
    assert releases.unlock(world.layout).changed
    assert not releases.unlock(world.layout).changed
    assert world.deploy(ONE).changed


def test_a_lock_that_cannot_be_read_is_somebodys(world: World) -> None:
    world.layout.lock.write_text("{")
    with pytest.raises(DeployError, match="cannot be read"):
        world.deploy(ONE)


def test_whose_lock_was_taken_over_is_told(world: World) -> None:
    world.contacts, world.cut_at = 0, 14
    with pytest.raises(Cut):
        world.deploy(ONE)
    world.cut_at = None
    assert read_lock(world.layout) is not None
    outcome = world.deploy(wish(service(version=3)))
    assert outcome.receipt["warnings"][0].startswith("took over from a deployment by tester since")


# Hooks.


def test_a_deployment_stops_at_each_hook_and_goes_on(world: World) -> None:
    stops, transaction = [], ""
    for until in (*HOOKS, ""):
        outcome = world.deploy(ONE, until=until, transaction=transaction)
        transaction = outcome.transaction
        stops.append((outcome.paused, world.upstream(), sorted(world.containers)))
    both = ["api-blue", "api-green"]
    assert stops == [
        ("before_pull", "127.0.0.1:18081", ["api-green"]),
        ("before_migrate", "127.0.0.1:18081", both),
        ("before_switch", "127.0.0.1:18081", both),
        ("after_switch", "127.0.0.1:18080", both),
        ("", "127.0.0.1:18080", ["api-blue"]),
    ]
    assert not world.deploy(ONE, until="before_pull").paused


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_that_fails_leads_back(world: World, hook: str) -> None:
    world.watched = "api"
    paused = world.deploy(ONE, until=hook)
    assert releases.abort(world.layout, world.seams, paused.transaction, "the hook failed").changed
    assert (world.upstream(), set(world.containers), world.unserved) == ("127.0.0.1:18081", {"api-green"}, [])
    assert not releases.abort(world.layout, world.seams, paused.transaction, "again").changed
    assert not world.deploy(TWO).changed


def test_a_deployment_that_waits_is_left_alone_for_half_an_hour(world: World) -> None:
    paused = world.deploy(ONE, until="before_switch")
    with pytest.raises(DeployError, match="waits for its hook before_switch until"):
        world.deploy(wish(service(version=3)))
    world.now += PAUSE_EXPIRES + 1
    assert world.deploy(wish(service(version=3))).changed
    with pytest.raises(DeployError, match="is not under way any more"):
        world.deploy(ONE, transaction=paused.transaction)


def test_a_deployment_goes_on_with_what_it_began(world: World) -> None:
    paused = world.deploy(ONE, until="before_switch")
    with pytest.raises(DeployError, match="is of another release than is asked for now"):
        world.deploy(wish(service(version=3)), transaction=paused.transaction)


# Looking, and the maintenance page.


def test_the_status_tells_what_serves_and_what_is_kept(world: World) -> None:
    found = releases.status(world.layout, world.seams)
    assert (found["maintenance"], found["lock"], found["under_way"]) == (False, "", "")
    assert found["services"] == [
        {"name": "api", "slot": "api-green", "address": "127.0.0.1:18081", "image": image(2), "state": "running"}
    ]
    assert [one["release"] for one in found["kept"]] == list(reversed(read_state(world.layout).history))
    assert "secret" not in json.dumps(found)


def test_logs_hide_secrets(world: World) -> None:
    world.log = "one\nTOKEN secret-one\n"
    assert releases.logs(world.layout, world.seams, "", 1) == {"api-green": "TOKEN ********"}
    with pytest.raises(DeployError, match="there is no service web; there are api"):
        releases.logs(world.layout, world.seams, "web", 1)


def test_maintenance_is_a_file_that_anybody_may_read_and_deploys_go_on(world: World) -> None:
    assert releases.maintenance(world.layout, world.seams, True).changed
    assert not releases.maintenance(world.layout, world.seams, True).changed
    assert world.layout.maintenance.stat().st_mode & 0o777 == 0o644
    world.edge = lambda *_asked: Answer(404 if _asked[3] == "/admin" else 503, "")  # type: ignore[method-assign]
    assert world.deploy(ONE).changed
    assert releases.status(world.layout, world.seams)["maintenance"]
    assert releases.maintenance(world.layout, world.seams, False).changed
