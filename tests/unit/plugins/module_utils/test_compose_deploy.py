"""A deployment as one transaction: what it does in which order, what it refuses, and what a cut leaves behind."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.sapflux.hosting.plugins.module_utils._compose_host import DeployError, Wish, read_state
from ansible_collections.sapflux.hosting.plugins.module_utils._compose_remove import leftovers, remove
from ansible_collections.sapflux.hosting.plugins.module_utils._compose_seams import Answer
from ansible_collections.sapflux.hosting.plugins.module_utils._docker_api import DockerError

from .compose_world import UNIT, Cut, World, image, service, wish

ONE = wish(service())
TWO = wish(service(version=2))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "host")


def deploy(world: World, wanted: Wish) -> Any:
    return world.deployment(wanted).deploy()


def refused(world: World, wanted: Wish) -> str:
    with pytest.raises(DeployError) as error:
        deploy(world, wanted)
    return str(error.value)


def records(world: World) -> list[dict[str, Any]]:
    return [json.loads(line) for line in world.layout.releases.read_text().splitlines()]


def answers(**paths: Answer) -> Any:
    """A behaviour: the named paths answer so, all others well."""
    return lambda _method, path: paths.get(path.lstrip("/"), Answer(200, "ok"))


def test_the_first_deployment_goes_through_every_step(world: World) -> None:
    outcome = deploy(world, ONE)
    assert (outcome.changed, outcome.migrated) == (True, ["api"])
    assert world.asked == [("GET", "/health"), ("POST", "/migrate"), ("GET", "/ready")]
    assert world.units == {"ActiveState": "active", "UnitFileState": "enabled"}
    verbs = [words[1] if words[0] == "systemctl" else words[-1] for words in world.ran]
    assert verbs.index("daemon-reload") < verbs.index("enable") < verbs.index("start")
    (record,) = records(world)
    assert (record["verdict"], record["release"]) == ("ok", outcome.release)
    assert record["services"]["api"]["digest"] == image(1).split("@")[1]


def test_files_are_as_narrow_as_promised(world: World) -> None:
    deploy(world, ONE)
    base, run = world.layout.base, world.layout.run
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (base, base / "secrets", run)}
    assert set(modes.values()) == {0o700}
    assert stat.S_IMODE((base / "secrets/api.env").stat().st_mode) == 0o600
    assert stat.S_IMODE((run / "api.env").stat().st_mode) == 0o400
    assert stat.S_IMODE(world.layout.compose.stat().st_mode) == 0o600
    assert (run / "api.env").read_text() == "TOKEN='secret-one'\n"


def test_a_second_run_writes_nothing_and_asks_once(world: World) -> None:
    first = deploy(world, ONE)
    before, world.asked = world.tree(), []
    outcome = deploy(world, ONE)
    assert (outcome.changed, outcome.release) == (False, first.release)
    assert world.tree() == before
    assert world.asked == [("GET", "/health")]


def test_looking_writes_nothing(world: World) -> None:
    before = world.tree()
    assert "no container" in " ".join(world.deployment(ONE).plan().reasons)
    assert world.tree() == before
    deploy(world, ONE)
    before = world.tree()
    plan = world.deployment(TWO).plan()
    assert "api: the container has another configuration" in plan.reasons
    assert world.tree() == before


def test_looking_at_a_host_without_docker(world: World) -> None:
    world.engine_down = True
    assert "Docker does not answer yet" in world.deployment(ONE).plan(forgive_missing_engine=True).reasons
    with pytest.raises(DockerError):
        deploy(world, ONE)


def test_the_diff_shows_no_secret(world: World) -> None:
    deploy(world, ONE)
    outcome = deploy(world, wish(service(hidden="secret-two")))
    shown = json.dumps(outcome.diff)
    assert "secret-one" not in shown
    assert "secret-two" not in shown
    assert {Path(entry["after_header"]).name for entry in outcome.diff} == {"compose.yaml", "api.env"}
    assert all(entry["before"] != entry["after"] for entry in outcome.diff)


def test_a_new_secret_alone_makes_a_new_container_and_no_new_migration(world: World) -> None:
    deploy(world, ONE)
    before = world.containers["api"]
    outcome = deploy(world, wish(service(hidden="secret-two")))
    after = world.containers["api"]
    assert (outcome.migrated, before["Id"] != after["Id"]) == ([], True)
    labels = json.dumps([before["Labels"], after["Labels"]])
    assert "secret" not in labels


def test_two_hosts_hash_the_same_secret_differently(tmp_path: Path) -> None:
    worlds = [World(tmp_path / name) for name in ("one", "two")]
    for one in worlds:
        deploy(one, ONE)
    assert worlds[0].containers["api"]["Labels"] != worlds[1].containers["api"]["Labels"]


def test_each_digest_is_migrated_once_even_when_it_comes_back(world: World) -> None:
    assert [deploy(world, wanted).migrated for wanted in (ONE, TWO, ONE, TWO)] == [["api"], ["api"], [], []]


def test_a_database_put_back_meanwhile_is_migrated_again(world: World) -> None:
    deploy(world, ONE)
    ready = {"now": True}

    def behaviour(method: str, path: str) -> Answer:
        if method == "POST":
            ready["now"] = True
        return Answer(200 if path != "/ready" or ready["now"] else 503, "")

    world.behaviour[image(1)] = behaviour
    ready["now"] = False
    assert deploy(world, wish(service(hidden="secret-two"))).migrated == ["api"]


def test_a_service_that_is_no_longer_wanted_goes_with_its_secrets(world: World) -> None:
    deploy(world, wish(service(), service("web")))
    assert (world.layout.run / "web.env").exists()
    deploy(world, ONE)
    assert set(world.containers) == {"api"}
    assert sorted(path.name for path in world.root.rglob("*.env")) == ["api.env", "api.env"]


@pytest.mark.parametrize("damage", ["stopped", "removed", "edited", "secret", "unit"])
def test_damage_is_mended(world: World, damage: str) -> None:
    deploy(world, ONE)
    damages: dict[str, Callable[[], object]] = {
        "stopped": lambda: world.containers["api"].update(State="exited"),
        "removed": lambda: world.containers.clear(),
        "edited": lambda: world.layout.compose.write_text("services: {}\n"),
        "secret": lambda: (world.layout.run / "api.env").unlink(),
        "unit": lambda: world.units.update(ActiveState="inactive"),
    }
    damages[damage]()
    outcome = deploy(world, ONE)
    assert outcome.changed
    assert world.containers["api"]["State"] == "running"
    assert (world.layout.run / "api.env").exists()
    assert world.units["ActiveState"] == "active"
    assert not deploy(world, ONE).changed


def test_an_image_that_cannot_be_pulled_changes_nothing(world: World) -> None:
    release = deploy(world, ONE).release
    world.unpullable.add(image(2))
    before, containers = world.tree(), json.dumps(world.containers)
    message = refused(world, TWO)
    assert message.startswith(f"the image {image(2)} cannot be pulled: manifest unknown. Nothing was changed;")
    assert f"what ran before still runs (release {release})" in message
    after = world.tree()
    del before[str(world.layout.releases)], after[str(world.layout.releases)]
    assert (after, json.dumps(world.containers)) == (before, containers)
    assert records(world)[-1]["verdict"] == "refused"


def test_an_unhealthy_release_is_put_back(world: World) -> None:
    release = deploy(world, ONE).release
    world.behaviour[image(2)] = answers(health=Answer(500, "not well"))
    world.log = "starting\nTOKEN is secret-one\n"
    message = refused(world, TWO)
    assert message.splitlines() == [
        "service api did not become healthy: no good answer within 10 s; "
        "GET http://127.0.0.1:18080/health says: 500 not well",
        "Last lines of its log:",
        "starting",
        "TOKEN is ********",
        f"Release {release} was put back and runs.",
    ]
    assert world.containers["api"]["image"] == image(1)
    assert records(world)[-1]["verdict"] == "failed"
    assert not deploy(world, ONE).changed


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        (
            {"migrate": Answer(500, "relation exists")},
            "could not migrate: POST http://127.0.0.1:18080/migrate says: 500",
        ),
        (
            {"ready": Answer(503, "no bucket")},
            "did not become ready: no good answer within 10 s; GET .* says: 503 no bucket",
        ),
    ],
)
def test_a_release_that_cannot_work_is_put_back(world: World, paths: dict[str, Answer], said: str) -> None:
    deploy(world, ONE)
    world.behaviour[image(2)] = answers(**paths)
    with pytest.raises(DeployError, match=said):
        deploy(world, TWO)
    assert world.containers["api"]["image"] == image(1)
    assert world.units["ActiveState"] == "active"


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"ending": 1}, "its container ends again and again;"),
        ({"ending": 1, "State": "restarting"}, "its container ends again and again (exit code 3)"),
        ({"State": "exited"}, "its container ends again and again (exit code 3)"),
        ({"State": "exited", "oom": True}, "using more memory than memory_mb allows"),
    ],
)
def test_a_container_beyond_hope_is_not_waited_for(world: World, state: dict[str, Any], said: str) -> None:
    deploy(world, ONE)
    world.containers["api"].update(state)
    world.behaviour[image(1)] = answers(health=Answer(0, "Connection refused"))
    with pytest.raises(DeployError) as error:
        world.deployment(ONE)._wait_for_all()
    assert said in str(error.value)
    assert world.now < 5


def test_containers_that_do_not_start_are_put_back(world: World) -> None:
    deploy(world, ONE)
    world.up_fails = "port is already allocated"
    message = refused(world, TWO)
    assert "the containers of shop do not start: Container starting\nport is already allocated" in message
    assert "Putting back release" in message
    world.up_fails = ""
    deploy(world, ONE)
    assert world.containers["api"]["image"] == image(1)
    assert not deploy(world, ONE).changed


def test_a_first_release_that_fails_is_left_to_look_at(world: World) -> None:
    world.behaviour[image(1)] = answers(health=Answer(500, ""))
    assert "No release has passed before" in refused(world, ONE)
    assert read_state(world.layout).applied == ""
    world.behaviour.clear()
    assert deploy(world, ONE).changed


def test_the_release_that_runs_and_fell_ill_is_named(world: World) -> None:
    deploy(world, ONE)
    world.behaviour[image(1)] = answers(health=Answer(500, "not well"))
    assert "did not become healthy" in refused(world, ONE)


def test_secrets_inside_of_urls_are_hidden(world: World) -> None:
    one = wish(service(secrets_env="DATABASE_URL='postgres://app:pass-word@localhost/app'\n"))
    world.behaviour[image(1)] = answers(health=Answer(500, "user app with pass-word"))
    assert "user app with ********" in refused(world, one)


def test_a_cut_at_any_contact_is_healed_by_the_next_run(tmp_path: Path) -> None:
    """Killed at every single contact with the outside while version 2 replaces version 1."""
    step = 0
    while True:
        world = World(tmp_path / str(step))
        deploy(world, ONE)
        world.contacts, world.cut_at = 0, step
        try:
            deploy(world, TWO)
            break
        except Cut:
            world.cut_at = None
        outcome = deploy(world, TWO)
        assert world.containers["api"]["image"] == image(2), step
        assert read_state(world.layout).applied == outcome.release, step
        assert image(2).split("@")[1] in read_state(world.layout).migrated["api"], step
        assert not deploy(world, TWO).changed, step
        step += 1
    assert step > 8


def test_removing_leaves_the_record_of_releases(world: World) -> None:
    deploy(world, wish(service(), service("web")))
    assert "container shop-api-1" in leftovers(world.deployment(ONE))
    assert remove(world.deployment(ONE)).changed
    assert world.containers == {}
    assert UNIT not in str(list(world.root.rglob("*")))
    kept = [path.name for path in world.root.rglob("*") if path.is_file()]
    assert sorted(kept) == [".lock", "releases.jsonl"]
    assert not remove(world.deployment(ONE)).changed
    assert deploy(world, ONE).changed


def test_removing_what_was_never_there_changes_nothing(world: World) -> None:
    world.engine_down = True
    assert not remove(world.deployment(ONE)).changed
    assert not world.layout.base.exists()
