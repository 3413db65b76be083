"""A deployment as one transaction: what it does in which order, what it refuses, and what a cut leaves behind."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.sapflux.hosting.plugins.module_utils._compose_deploy import Request
from ansible_collections.sapflux.hosting.plugins.module_utils._compose_host import DeployError
from ansible_collections.sapflux.hosting.plugins.module_utils._compose_remove import leftovers, remove
from ansible_collections.sapflux.hosting.plugins.module_utils._compose_seams import Answer
from ansible_collections.sapflux.hosting.plugins.module_utils._compose_state import Settings, read_deployed, read_state
from ansible_collections.sapflux.hosting.plugins.module_utils._compose_transaction import STEPS
from ansible_collections.sapflux.hosting.plugins.module_utils._compose_wish import HOLD_ADDRESS, Wish
from ansible_collections.sapflux.hosting.plugins.module_utils._docker_api import DockerError

from .compose_world import PROBES, UNIT, Cut, World, image, service, wish

ONE = wish(service())
TWO = wish(service(version=2))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "host")


def refused(world: World, wanted: Wish, **request: Any) -> str:
    with pytest.raises(DeployError) as error:
        world.deploy(wanted, **request)
    return str(error.value)


def answers(**paths: Answer) -> Any:
    """A behaviour: the named paths answer so, all others well."""
    return lambda _method, path: paths.get(path.lstrip("/"), Answer(200, "ok"))


def test_the_first_deployment_goes_through_every_step(world: World) -> None:
    outcome = world.deploy(ONE)
    assert outcome.changed
    assert world.asked[:3] == [("GET", "/health"), ("POST", "/migrate"), ("GET", "/ready")]
    assert world.units == {"ActiveState": "active", "UnitFileState": "enabled"}
    verbs = [words[1] if words[0] == "systemctl" else words[-1] for words in world.ran]
    assert verbs.index("daemon-reload") < verbs.index("enable") < verbs.index("start")
    (record,) = world.receipts()
    assert (record["verdict"], record["release"], record["migrated"]) == ("ok", outcome.release, ["api"])
    assert record["services"]["api"]["digest"] == image(1).split("@")[1]
    assert [step["step"] for step in record["steps"]] == list(STEPS)
    assert (world.upstream(), set(world.containers)) == ("127.0.0.1:18080", {"api-blue"})


def test_files_are_as_narrow_as_promised(world: World) -> None:
    world.deploy(ONE)
    base, run = world.layout.base, world.layout.run
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (base, world.layout.kept, world.layout.sets, run)}
    assert set(modes.values()) == {0o700}
    assert stat.S_IMODE((base / "current/secrets/api-blue.env").stat().st_mode) == 0o400
    assert stat.S_IMODE((run / "api-blue.env").stat().st_mode) == 0o400
    assert (run / "api-blue.env").read_text() == "TOKEN='secret-one'\n"
    holding = {
        p: stat.S_IMODE(p.stat().st_mode) for p in base.rglob("*") if p.is_file() and b"secret-one" in p.read_bytes()
    }
    assert set(holding.values()) <= {0o600, 0o400}
    assert stat.S_IMODE(world.layout.upstream("api").stat().st_mode) == 0o644


def test_a_second_run_writes_nothing_asks_once_and_says_so(world: World) -> None:
    first = world.deploy(ONE)
    before, world.asked = world.tree(), []
    outcome = world.deploy(ONE)
    assert (outcome.changed, outcome.release) == (False, first.release)
    assert outcome.message == f"release {first.release} serves already; nothing was done"
    assert world.tree() == before
    assert world.asked == [("GET", "/health")]


def test_looking_writes_nothing(world: World) -> None:
    before = world.tree()
    assert "a new release in the slot api-blue" in " ".join(world.deployment(ONE).plan().reasons)
    assert world.tree() == before
    world.deploy(ONE)
    before = world.tree()
    plan = world.deployment(TWO).plan()
    assert f"api: a new release in the slot api-green, image {image(2)}" in plan.reasons
    assert world.tree() == before


def test_looking_at_a_host_without_docker(world: World) -> None:
    world.engine_down = True
    assert world.deployment(ONE).plan(forgive_missing_engine=True).reasons
    with pytest.raises(DockerError):
        world.deploy(ONE)


def test_the_old_release_serves_until_the_new_one_does(world: World) -> None:
    world.settings = Settings(probes=PROBES)
    world.deploy(ONE)
    world.watched = "api"
    world.deploy(TWO)
    world.deploy(wish(service(hidden="secret-two")))
    assert world.unserved == []
    assert (world.upstream(), set(world.containers)) == ("127.0.0.1:18080", {"api-blue"})


def test_the_diff_shows_no_secret(world: World) -> None:
    world.deploy(ONE)
    outcome = world.deploy(wish(service(hidden="secret-two")))
    shown = json.dumps(outcome.diff)
    assert "secret-one" not in shown
    assert "secret-two" not in shown
    names = {Path(entry["after_header"]).name for entry in outcome.diff}
    assert names == {"compose.json", "api-green.env", "shop-api"}


def test_a_new_secret_alone_makes_a_new_release_and_no_new_migration(world: World) -> None:
    first = world.deploy(ONE)
    before = world.containers["api-blue"]
    outcome = world.deploy(wish(service(hidden="secret-two")))
    after = world.containers["api-green"]
    assert outcome.release != first.release
    assert (outcome.receipt["migrated"], before["Id"] != after["Id"]) == ([], True)
    assert "secret" not in json.dumps([before["Labels"], after["Labels"]])


def test_two_hosts_hash_the_same_secret_differently(tmp_path: Path) -> None:
    worlds = [World(tmp_path / name) for name in ("one", "two")]
    for one in worlds:
        one.deploy(ONE)
    assert worlds[0].containers["api-blue"]["Labels"] != worlds[1].containers["api-blue"]["Labels"]


def test_each_digest_is_migrated_once_even_when_it_comes_back(world: World) -> None:
    done = [world.deploy(wanted).receipt["migrated"] for wanted in (ONE, TWO, ONE, TWO)]
    assert done == [["api"], ["api"], [], []]


def test_a_database_put_back_meanwhile_is_migrated_again(world: World) -> None:
    world.deploy(ONE)
    ready = {"now": False}

    def behaviour(method: str, path: str) -> Answer:
        if method == "POST":
            ready["now"] = True
        return Answer(200 if path != "/ready" or ready["now"] else 503, "")

    world.behaviour[image(1)] = behaviour
    assert world.deploy(wish(service(hidden="secret-two"))).receipt["migrated"] == ["api"]


def test_a_service_that_is_as_it_was_is_not_touched(world: World) -> None:
    world.deploy(wish(service(), service("web")))
    before = dict(world.containers["web-blue"])
    world.deploy(wish(service(version=2), service("web")))
    assert world.containers["web-blue"] == before
    assert set(world.containers) == {"api-green", "web-blue"}


def test_a_service_that_is_no_longer_wanted_goes_with_its_secrets(world: World) -> None:
    world.deploy(wish(service(), service("web")))
    assert (world.layout.run / "web-blue.env").exists()
    world.deploy(ONE)
    assert set(world.containers) == {"api-blue"}
    assert sorted(path.name for path in world.root.rglob("*.env")) == ["api-blue.env", "api-blue.env"]
    assert world.upstream("web") == ""


@pytest.mark.parametrize("damage", ["stopped", "removed", "edited", "secret", "unit", "upstream", "stranger"])
def test_damage_is_mended(world: World, damage: str) -> None:
    world.deploy(ONE)
    damages: dict[str, Callable[[], object]] = {
        "stopped": lambda: world.containers["api-blue"].update(State="exited"),
        "removed": lambda: world.containers.clear(),
        "edited": lambda: (world.layout.current / "compose.json").write_text("{}\n"),
        "secret": lambda: (world.layout.run / "api-blue.env").unlink(),
        "unit": lambda: world.units.update(ActiveState="inactive"),
        "upstream": lambda: world.layout.upstream("api").write_text("127.0.0.1:1"),
        "stranger": lambda: world.containers.update(
            old={**world.containers["api-blue"], "Id": "x", "port": 1, "Labels": {}}
        ),
    }
    damages[damage]()
    outcome = world.deploy(ONE)
    assert outcome.changed
    assert "was mended" in outcome.message
    assert {slot: item["State"] for slot, item in world.containers.items()} == {"api-blue": "running"}
    assert (world.layout.run / "api-blue.env").exists()
    assert (world.units["ActiveState"], world.upstream()) == ("active", "127.0.0.1:18080")
    assert not world.deploy(ONE).changed


def test_an_image_that_cannot_be_pulled_changes_nothing(world: World) -> None:
    release = world.deploy(ONE).release
    world.unpullable.add(image(2))
    before, containers = world.tree(), json.dumps(world.containers)
    message = refused(world, TWO)
    assert message.startswith(f"the image {image(2)} cannot be pulled: manifest unknown.")
    assert f"Release {release} serves, as before." in message
    after = world.tree()
    changed = {path for path in after if after[path] != before.get(path)}
    assert {Path(path).name for path in changed} == {"releases.jsonl", "progress.jsonl"}
    assert json.dumps(world.containers) == containers
    assert world.receipts()[-1]["verdict"] == "refused"


def test_an_unhealthy_release_never_serves(world: World) -> None:
    release = world.deploy(ONE).release
    world.watched = "api"
    world.behaviour[image(2)] = answers(health=Answer(500, "not well"))
    world.log = "starting\nTOKEN is secret-one\n"
    assert refused(world, TWO).splitlines() == [
        "service api did not become healthy: no good answer within 10 s; "
        "GET http://127.0.0.1:18081/health says: 500 not well",
        f"Last lines of its log (more in {world.layout.failure_log}):",
        "starting",
        "TOKEN is ********",
        f"Release {release} serves, as before.",
    ]
    assert (set(world.containers), world.unserved) == ({"api-blue"}, [])
    assert world.receipts()[-1]["verdict"] == "failed"
    assert not world.deploy(ONE).changed


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        ({"migrate": Answer(500, "exists")}, "could not migrate: POST http://127.0.0.1:18081/migrate says: 500 exists"),
        ({"ready": Answer(503, "no bucket")}, "did not become ready: no good answer within 10 s; GET .* 503 no bucket"),
    ],
)
def test_a_release_that_cannot_work_never_serves(world: World, paths: dict[str, Answer], said: str) -> None:
    world.deploy(ONE)
    world.behaviour[image(2)] = answers(**paths)
    with pytest.raises(DeployError, match=said):
        world.deploy(TWO)
    assert (set(world.containers), world.upstream()) == ({"api-blue"}, "127.0.0.1:18080")


def test_a_release_that_does_not_last_is_gone_back_from(world: World) -> None:
    world.settings = Settings(probes=PROBES)
    release = world.deploy(ONE).release
    calls = {"n": 0}

    def dies(_method: str, path: str) -> Answer:
        calls["n"] += path == "/health"
        if calls["n"] > 2:
            world.containers["api-green"]["State"] = "exited"
            return Answer(0, "Connection reset")
        return Answer(200, "ok")

    world.behaviour[image(2)] = dies
    message = refused(world, TWO)
    assert "did not last after the switch" in message
    assert f"Release {release} serves, as before." in message
    assert (set(world.containers), world.upstream()) == ({"api-blue"}, "127.0.0.1:18080")


def test_a_route_that_does_not_answer_through_caddy_is_gone_back_from(world: World) -> None:
    world.deploy(ONE)
    world.settings = Settings(probes=(*PROBES, {"hostname": "api.example.org", "path": "/new", "status": 200}))
    world.behaviour[image(2)] = answers(new=Answer(404, "no such page"))
    assert "https://api.example.org/new answers 404 no such page through Caddy, it must answer 200" in refused(
        world, TWO
    )
    assert world.upstream() == "127.0.0.1:18080"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"caddy_down": True}, "Caddy does not answer for https://api.example.org/health"),
        ({"hidden": 200}, "https://api.example.org/admin answers 200 and must not be reachable"),
        ({"foreign_ports": {18081}}, "port 18081 of api-green is taken by another program"),
    ],
)
def test_what_is_refused_before_anything_changes(world: World, change: dict[str, Any], said: str) -> None:
    world.settings = Settings(probes=PROBES)
    world.deploy(ONE)
    before, world.ran = world.containers.copy(), []
    vars(world).update(change)
    message = refused(world, TWO)
    assert said in message
    assert "nothing was changed" in message
    assert world.containers == before
    assert not [words for words in world.ran if words[0] == "docker"]


def test_a_first_deployment_does_not_wait_for_routes_that_have_nothing_behind_them(world: World) -> None:
    """Caddy holds a request for an upstream that is missing; only what must be hidden is asked before the first one."""
    world.settings = Settings(probes=PROBES)
    asked: list[str] = []
    edge = world.edge

    def slow_without_upstream(address: str, port: int, hostname: str, path: str) -> Answer:
        asked.append(path)
        return edge(address, port, hostname, path) if world.upstream() or path == "/admin" else Answer(0, "timed out")

    deployment = world.deployment(ONE)
    deployment.seams.edge = slow_without_upstream
    assert deployment.deploy(Request("tester")).changed
    assert asked == ["/admin", "/health", "/admin"]


def test_a_full_disk_is_noticed_before_the_pull(world: World) -> None:
    world.deploy(ONE)
    world.disk = 100
    assert "100 MB are free for images, 1024 MB are kept in reserve" in refused(world, TWO)
    assert image(2) not in world.images


def test_an_empty_secret_is_refused(world: World) -> None:
    assert "the secret TOKEN of api is empty" in refused(world, wish(service(hidden="")))


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
    world.deploy(ONE)
    world.containers["api-blue"].update(state)
    world.behaviour[image(1)] = answers(health=Answer(0, "Connection refused"))
    deployment, now = world.deployment(ONE), read_deployed(world.layout)
    assert now is not None
    before = world.now
    with pytest.raises(DeployError) as error:
        deployment.project.wait_healthy(now)
    assert said in str(error.value)
    assert world.now - before < 5


def test_containers_that_do_not_start_change_nothing(world: World) -> None:
    world.deploy(ONE)
    world.up_fails = "port is already allocated"
    assert "the containers of shop do not start: Container starting\nport is already allocated" in refused(world, TWO)
    world.up_fails = ""
    assert not world.deploy(ONE).changed


def test_a_first_release_that_fails_is_removed_and_its_log_kept(world: World) -> None:
    world.behaviour[image(1)] = answers(health=Answer(500, ""))
    world.log = "a long story\n"
    assert "Nothing has served before" in refused(world, ONE)
    assert (world.containers, world.upstream()) == ({}, "")
    assert world.layout.failure_log.read_text() == "a long story"
    world.behaviour.clear()
    assert world.deploy(ONE).changed


def test_the_release_that_runs_and_fell_ill_is_named(world: World) -> None:
    world.deploy(ONE)
    world.behaviour[image(1)] = answers(health=Answer(500, "not well"))
    assert "did not become healthy" in refused(world, ONE)


def test_secrets_inside_of_urls_are_hidden(world: World) -> None:
    one = wish(service(secrets_env="DATABASE_URL='postgres://app:pass-word@localhost/app'\n"))
    world.behaviour[image(1)] = answers(health=Answer(500, "user app with pass-word"))
    assert "user app with ********" in refused(world, one)


# Replaced while requests wait.


HELD_ONE, HELD_TWO = wish(service(blue_green=False)), wish(service(version=2, blue_green=False))


def test_a_service_without_blue_green_keeps_its_port_and_requests_wait(world: World) -> None:
    world.settings = Settings(probes=PROBES)
    world.deploy(HELD_ONE)
    world.watched = "api"
    seen: list[str] = []

    def behaviour(_method: str, _path: str) -> Answer:
        seen.append(world.upstream())
        return Answer(200, "")

    world.behaviour[image(2)] = behaviour
    outcome = world.deploy(HELD_TWO)
    assert (world.unserved, outcome.receipt["held"]) == ([], ["api"])
    assert seen[:3] == [HOLD_ADDRESS] * 3
    assert (world.upstream(), set(world.containers)) == ("127.0.0.1:18080", {"api-green"})


def test_a_held_service_that_fails_starts_the_old_one_again(world: World) -> None:
    release = world.deploy(HELD_ONE).release
    world.watched = "api"
    world.behaviour[image(2)] = answers(health=Answer(500, "no"))
    assert f"Release {release} serves, as before." in refused(world, HELD_TWO)
    assert {slot: item["State"] for slot, item in world.containers.items()} == {"api-blue": "running"}
    assert (world.upstream(), world.unserved) == ("127.0.0.1:18080", [])


def test_without_memory_for_two_requests_wait(world: World) -> None:
    world.deploy(ONE)
    world.memory = 300
    outcome = world.deploy(TWO)
    assert outcome.receipt["held"] == ["api"]
    assert "two colours do not fit into the memory" in outcome.receipt["warnings"][0]
    assert (world.upstream(), set(world.containers)) == ("127.0.0.1:18081", {"api-green"})


# Letting the old release go.


def test_open_connections_are_waited_for(world: World) -> None:
    world.deploy(ONE)
    world.open[18080] = 1
    stopped: list[float] = []
    end = world.now + 12

    def connections(port: int) -> int:
        return 1 if port == 18080 and world.now < end else 0

    deployment = world.deployment(TWO)
    deployment.seams.connections = connections
    run = world.run

    def watch(argv: Any, timeout: float, given: str = "") -> Any:
        if "stop" in argv:
            stopped.append(world.now)
        return run(argv, timeout, given)

    deployment.seams.run = watch
    outcome = deployment.deploy(Request("tester"))
    assert stopped[0] >= end
    assert outcome.receipt["warnings"] == []


def test_connections_that_do_not_end_are_cut_in_the_end_and_told(world: World) -> None:
    world.deploy(ONE)
    world.open[18080] = 3
    assert "api-blue still had 3 open connections after 20 s" in world.deploy(TWO).receipt["warnings"][0]


def test_the_database_is_asked_before_the_old_release_stops(world: World) -> None:
    gated: Any = {"drain_sql": "SELECT count(*) FROM pg_locks", "drain_database": "app"}
    world.deploy(wish(service(**gated)))
    world.busy = 1
    receipt = world.deploy(wish(service(version=2, **gated))).receipt
    assert "api-blue still had work in the database app after 20 s" in receipt["warnings"][0]
    asked = next(text for words, text in zip(world.ran, world.told, strict=True) if words[0] == "runuser")
    assert "default_transaction_read_only = on" in asked
    assert "SELECT count(*) FROM pg_locks" in asked


# Authorities.


def test_a_service_finds_a_copy_of_the_authority_it_trusts(world: World) -> None:
    authority = world.root / "var/lib/caddy/root.crt"
    authority.parent.mkdir(parents=True)
    authority.write_text("an authority")
    authority.chmod(0o600)
    trusting = wish(service(ca_file="/var/lib/caddy/root.crt"))
    world.deploy(trusting)
    copy = world.layout.base / "ca.crt"
    assert (copy.read_text(), stat.S_IMODE(copy.stat().st_mode)) == ("an authority", 0o644)
    assert not world.deploy(trusting).changed
    authority.write_text("another one")
    assert world.deploy(trusting).changed
    assert copy.read_text() == "another one"


def test_without_the_authority_nothing_is_changed(world: World) -> None:
    world.deploy(ONE)
    before = world.tree()
    message = refused(world, wish(service(version=2, ca_file="/var/lib/caddy/root.crt")))
    assert "/var/lib/caddy/root.crt, which api trusts, is not there; nothing was changed. Converge first:" in message
    assert world.tree() == before


# Migrations.


def test_a_restore_point_is_named_before_the_migration(world: World) -> None:
    release = world.deploy(wish(service(database_socket=True))).receipt
    sql = next(words[-1] for words in world.ran if words[0] == "runuser")
    assert f"pg_create_restore_point('{release['restore_point']}')" in sql
    assert release["restore_point"].startswith(f"deploy_{release['release']}_2027")
    (world.root / "usr/local/lib/sapflux/walg").mkdir(parents=True)
    (world.root / "usr/local/lib/sapflux/walg/pgsafe").touch()
    again = world.deploy(wish(service(version=2, database_socket=True))).receipt
    assert ["/usr/local/lib/sapflux/walg/pgsafe", "mark", again["restore_point"]] in [words[4:] for words in world.ran]


def test_without_a_restore_point_nothing_is_migrated(world: World) -> None:
    world.deploy(wish(service(database_socket=True)))
    world.sql_fails, world.asked = True, []
    assert "no restore point could be made" in refused(world, wish(service(version=2, database_socket=True)))
    assert ("POST", "/migrate") not in world.asked


@pytest.mark.parametrize("by", ["label", "option"])
def test_a_migration_that_cannot_be_undone_closes_the_way_back(world: World, by: str) -> None:
    world.deploy(ONE)
    if by == "label":
        world.labels[image(2)] = {"com.sapflux.migration": "irreversible"}
    world.deploy(wish(service(version=2, migrate_irreversible=by == "option")))
    world.deploy(wish(service(version=3)))
    before = dict(world.containers)
    assert "which cannot be undone" in refused(world, ONE)
    assert world.containers == before
    assert world.deploy(wish(service(version=2, migrate_irreversible=by == "option"))).changed
    assert world.deploy(ONE, across_irreversible=True).changed


def test_what_a_restored_database_does_not_know_is_migrated_again_and_bars_nothing(world: World) -> None:
    for number in (1, 2):
        world.deploy(wish(service(version=number)))
    world.deploy(wish(service(version=3, migrate_irreversible=True)))
    world.deploy(ONE, across_irreversible=True)
    assert world.deploy(wish(service(version=2))).changed
    assert world.deploy(wish(service(version=3, migrate_irreversible=True))).receipt["migrated"] == ["api"]


# Assets, and what is kept.


def test_assets_of_the_old_release_are_still_there(world: World) -> None:
    world.contents = {image(n): {"a.js": "same", f"v{n}/{n}.js": str(n)} for n in range(1, 9)}
    shared = world.layout.assets / "api" / "0"
    world.settings = Settings(keep_releases=2)
    for number in (1, 2):
        world.deploy(wish(service(version=number, assets=("/assets",))))
    files = sorted(str(path.relative_to(shared)) for path in shared.rglob("*.js"))
    assert files == ["a.js", "v1/1.js", "v2/2.js"]
    assert stat.S_IMODE((shared / "v1").stat().st_mode) == 0o755
    world.deploy(wish(service(version=3, assets=("/assets",))))
    files = sorted(str(path.relative_to(shared)) for path in shared.rglob("*.js"))
    assert files == ["a.js", "v2/2.js", "v3/3.js"]


def test_an_asset_whose_name_does_not_change_with_it_is_refused(world: World) -> None:
    world.contents = {image(1): {"a.js": "one"}, image(2): {"a.js": "two"}}
    world.deploy(wish(service(assets=("/assets",))))
    assert "a.js of api is not the file of that name" in refused(world, wish(service(version=2, assets=("/assets",))))


def test_old_releases_go_with_their_images_but_never_the_one_before(world: World) -> None:
    world.settings = Settings(keep_releases=1)
    for number in (1, 2, 3):
        world.deploy(wish(service(version=number)))
    assert world.images == {image(2), image(3)}
    assert len(list(world.layout.kept.glob("*.json"))) == 2


# Cuts.


def all_cuts(tmp_path: Path, first: Wish, second: Wish, reboot: bool) -> None:
    """Killed at every contact with the outside while `second` replaces `first`: it serves, and the next run works."""
    step = 0
    while True:
        world = World(tmp_path / str(step))
        world.settings = Settings(probes=PROBES)
        world.deploy(first)
        world.watched = "api"
        world.contacts, world.cut_at = 0, step
        try:
            world.deploy(second)
            break
        except Cut:
            world.cut_at = None
        if reboot:
            world.watched = ""
            world.reboot()
            world.watched = "api"
        assert world.serves("api"), step
        outcome = world.deploy(second)
        assert world.unserved == [], step
        (container,) = world.containers.values()
        assert (container["image"], container["State"]) == (image(2), "running"), step
        assert world.upstream() == f"127.0.0.1:{container['port']}", step
        now = read_deployed(world.layout)
        assert now is not None
        assert now.release == outcome.release == read_state(world.layout).history[-1], step
        assert not world.deploy(second).changed, step
        assert not world.layout.journal.exists(), step
        assert not world.layout.lock.exists(), step
        assert len(list(world.layout.sets.iterdir())) == 1, step
        step += 1
    assert step > 25


@pytest.mark.parametrize("reboot", [False, True])
def test_a_cut_at_any_contact_leaves_the_old_release_serving(tmp_path: Path, reboot: bool) -> None:
    all_cuts(tmp_path, ONE, TWO, reboot)


@pytest.mark.parametrize("reboot", [False, True])
def test_a_cut_while_requests_wait_is_healed_by_the_next_run(tmp_path: Path, reboot: bool) -> None:
    all_cuts(tmp_path, HELD_ONE, HELD_TWO, reboot)


def test_removing_leaves_the_record_of_releases(world: World) -> None:
    world.deploy(wish(service(), service("web")))
    assert "container shop-api-blue-1" in leftovers(world.deployment(ONE))
    assert remove(world.deployment(ONE)).changed
    assert world.containers == {}
    assert UNIT not in str(list(world.root.rglob("*")))
    kept = [path.name for path in world.root.rglob("*") if path.is_file()]
    assert sorted(kept) == [".lock", "releases.jsonl"]
    assert not remove(world.deployment(ONE)).changed
    assert world.deploy(ONE).changed


def test_removing_what_was_never_there_changes_nothing(world: World) -> None:
    world.engine_down = True
    assert not remove(world.deployment(ONE)).changed
    assert not world.layout.base.exists()
