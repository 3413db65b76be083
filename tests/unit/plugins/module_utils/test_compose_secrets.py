"""Releases whose secrets come from Doppler: what makes one, what it keeps, what is refused."""

from __future__ import annotations

import base64
import json
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.sapflux.hosting.plugins.module_utils import _compose_release as releases
from ansible_collections.sapflux.hosting.plugins.module_utils._compose_deploy import Outcome, Request
from ansible_collections.sapflux.hosting.plugins.module_utils._compose_host import DeployError
from ansible_collections.sapflux.hosting.plugins.module_utils._compose_seams import Answer
from ansible_collections.sapflux.hosting.plugins.module_utils._compose_secrets import prepared
from ansible_collections.sapflux.hosting.plugins.module_utils._compose_state import read_deployed
from ansible_collections.sapflux.hosting.plugins.module_utils._compose_wish import Wish

from .compose_world import Cut, Engine, World, image, service, wish
from .doppler_cli import TOKEN, VALUES, Cli

DIRECTORY = "/run/sapflux/app/shop/{sapflux:slot}.doppler"


def wanted(version: int = 1) -> Wish:
    """A service with an entrypoint around its image's own, as the filter renders it."""
    definition = {
        "image": image(version),
        "ports": ["127.0.0.1:{sapflux:port}:8080"],
        "volumes": [{"source": DIRECTORY, "target": "/run/doppler/config"}],
        "entrypoint": ["/run/doppler/doppler", "run", "--"],
    }
    return wish(service(version=version, definition=json.dumps(definition), secrets_env=""))


def source(**changes: Any) -> dict[str, str]:
    """What the filter packs for the service."""
    given = {"token": TOKEN, "only": [], "api_host": "https://doppler.example", "environment": "", "domain": ""}
    return {"doppler:api": json.dumps({**given, **changes})}


class Shop:
    """A world with a Doppler CLI."""

    def __init__(self, root: Path) -> None:
        self.cli = Cli()
        self.world = World(root, cli=self.cli)
        self.warnings: list[str] = []
        # Where the CLI's link is; its version is in the name of the folder it leads to.
        program = root / "lib" / "3.66.0-abc" / "doppler"
        program.parent.mkdir(parents=True)
        program.write_text("")
        self.link = root / "doppler"
        self.link.symlink_to(program)

    def prepare(self, version: int = 1, predict: bool = False, rotate: bool = False, **changes: Any) -> Wish:
        made, self.warnings = prepared(
            wanted(version), source(**changes), self.world.layout, predict, rotate, self.cli, str(self.link)
        )
        return made

    def deploy(self, version: int = 1, rotate: bool = False, **changes: Any) -> Outcome:
        return self.world.deploy(self.prepare(version, rotate=rotate, **changes))

    def given(self, slot: str = "api-blue") -> dict[str, Any]:
        """Values that the container of a slot would get."""
        text = (self.world.layout.run / f"{slot}.doppler" / "secrets.json").read_text()
        return dict(json.loads(text.removeprefix("sealed:"))[1])


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path / "host")


def test_a_container_gets_its_directory_and_runs_what_its_image_runs(shop: Shop) -> None:
    shop.deploy()
    place = shop.world.layout.run / "api-blue.doppler"
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in place.iterdir()} == {
        ".doppler.yaml": 0o400,
        "secrets.json": 0o400,
        "mark": 0o400,
    }
    kept = shop.world.layout.current / "secrets" / "api-blue.doppler"
    assert (kept / "secrets.json").read_text() == (place / "secrets.json").read_text()
    compose = json.loads((shop.world.layout.current / "compose.json").read_text())
    assert compose["services"]["api-blue"]["command"] == ["/server", "$$HOME"]
    assert compose["services"]["api-blue"]["labels"]["com.sapflux.doppler"] == "3.66.0-abc"


def test_neither_token_nor_values_are_in_any_file(shop: Shop) -> None:
    shop.deploy()
    shop.world.log = "careless: marker-a"
    shop.world.behaviour[image(2)] = lambda _method, _path: Answer(500, "marker-a")
    with pytest.raises(DeployError) as caught:
        shop.deploy(2)
    sealed = [
        name for name in shop.world.tree() if name.endswith(("secrets.json", "deployed.json")) or "releases/" in name
    ]
    for name, (_mode, _time, content) in shop.world.tree().items():
        assert TOKEN.encode() not in content, name
        # The stand-in for the CLI seals without encrypting.
        assert name in sealed or b"marker-a" not in content, name
    assert "marker-a" not in str(caught.value)
    assert "careless: ********" in str(caught.value)


def test_the_same_secrets_are_no_new_release_although_they_are_sealed_anew(shop: Shop) -> None:
    first = shop.deploy()
    before = shop.world.tree()
    again = shop.deploy()
    assert (again.changed, again.release) == (False, first.release)
    assert shop.world.tree() == before


def test_a_changed_secret_is_a_new_release_and_the_old_one_can_be_gone_back_to(shop: Shop) -> None:
    first = shop.deploy()
    shop.cli.values["A"] = "marker-new"
    second = shop.deploy()
    assert second.release != first.release
    assert (shop.given("api-green")["A"], set(shop.world.containers)) == ("marker-new", {"api-green"})
    assert not (shop.world.layout.run / "api-blue.doppler").exists()
    shop.cli.seal = shop.cli.refuse
    back = releases.rollback(shop.world.layout, shop.world.seams, "previous", Request("tester"))
    assert (back.release, shop.given("api-blue")["A"]) == (first.release, "marker-a")


def test_another_version_of_the_cli_is_proven_by_a_release(shop: Shop) -> None:
    first = shop.deploy()
    newer = shop.link.resolve().parent.parent / "3.76.1-def"
    newer.mkdir()
    (newer / "doppler").write_text("")
    shop.link.unlink()
    shop.link.symlink_to(newer / "doppler")
    assert shop.deploy().release != first.release


def test_a_refused_token_leaves_everything_as_it_is(shop: Shop) -> None:
    shop.deploy()
    before = shop.world.tree()
    shop.cli.seal = shop.cli.refuse
    with pytest.raises(DeployError, match="Doppler refuses its token"):
        shop.deploy()
    assert shop.world.tree() == before
    assert set(shop.world.containers) == {"api-blue"}


def test_a_new_image_is_deployed_while_doppler_is_silent(shop: Shop) -> None:
    shop.deploy()
    shop.cli.seal = shop.cli.silent
    assert shop.deploy(2).changed
    assert shop.warnings == ["Doppler does not answer; api keeps the secrets it serves with"]
    assert shop.given("api-green") == VALUES


def test_after_a_reboot_the_files_are_there_and_nobody_is_asked(shop: Shop) -> None:
    shop.deploy()
    asked = len(shop.cli.seen)
    shop.world.reboot()
    assert (shop.given(), len(shop.cli.seen)) == (VALUES, asked)
    assert shop.deploy().changed is False


@pytest.mark.parametrize("at", range(0, 40, 3))
def test_a_cut_deployment_of_a_changed_secret_is_healed_by_the_next(shop: Shop, at: int) -> None:
    shop.deploy()
    shop.cli.values["A"] = "marker-new"
    shop.world.cut_at = shop.world.contacts + at
    with suppress(Cut):
        shop.deploy()
    shop.world.cut_at = None
    shop.deploy()
    (slot,) = shop.world.containers
    assert shop.given(slot)["A"] == "marker-new"
    assert shop.deploy().changed is False


def test_stops_for_hooks_do_not_seal_again(shop: Shop) -> None:
    """Each stop is a run of its own, which asks Doppler again and gets the same with another salt."""
    shop.deploy()
    shop.cli.values["A"] = "marker-new"
    paused = shop.world.deploy(shop.prepare(), until="before_switch")
    shop.world.deploy(shop.prepare(), transaction=paused.transaction)
    assert shop.deploy().changed is False


def test_a_rotation_changes_secrets_and_nothing_else(shop: Shop) -> None:
    shop.deploy(1)
    assert shop.deploy(2, rotate=True).changed is False
    shop.cli.values["A"] = "marker-new"
    assert shop.deploy(2, rotate=True).changed
    now = read_deployed(shop.world.layout)
    assert now is not None
    assert now.wish.services[0].image == image(1)
    assert shop.given("api-green")["A"] == "marker-new"


def test_a_rotation_of_secrets_in_files_changes_nothing_else(tmp_path: Path) -> None:
    world = World(tmp_path / "host")
    world.deploy(wish(service(hidden="one")))
    made, _warnings = prepared(wish(service(version=2, hidden="two")), {}, world.layout, rotate=True)
    assert (made.services[0].image, made.services[0].secrets_env) == (image(1), "TOKEN='two'\n")


def test_a_rotation_before_the_first_deployment_and_one_in_another_way_are_refused(shop: Shop) -> None:
    with pytest.raises(DeployError, match="has never been deployed here; run the playbook deploy first"):
        shop.prepare(rotate=True)
    shop.deploy()
    with pytest.raises(DeployError, match="no longer gives api its secrets in the way it serves with"):
        prepared(wish(service()), {}, shop.world.layout, rotate=True)


def test_looking_makes_no_file(shop: Shop) -> None:
    (shop.world.root / "run").mkdir()
    before = shop.world.tree()
    assert shop.prepare(predict=True).services[0].secret_files
    assert shop.world.tree() == before
    shop.link.unlink()
    assert not shop.prepare(predict=True).services[0].secret_files


def test_an_empty_secret_is_refused_where_it_is_asked_for(shop: Shop) -> None:
    shop.cli.values["A"] = ""
    with pytest.raises(DeployError, match="the secret A of api is empty"):
        shop.deploy(only=["A"])


def test_keys_of_clerk_are_looked_at_before_anything_starts(shop: Shop) -> None:
    shop.cli.values["CLERK_SECRET_KEY"] = "sk_test_marker0key"
    shop.cli.values["CLERK_PUBLISHABLE_KEY"] = "pk_live_" + base64.b64encode(b"clerk.other.org$").decode()
    with pytest.raises(DeployError) as caught:
        shop.deploy(environment="production", domain="example.org")
    assert "CLERK_PUBLISHABLE_KEY belongs to clerk.other.org" in str(caught.value)
    assert "CLERK_SECRET_KEY is a Clerk key of the development instance" in str(caught.value)
    assert "marker0key" not in str(caught.value)
    assert shop.world.containers == {}


def test_an_image_that_says_nothing_of_what_it_runs_is_refused(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Engine, "image_command", lambda *_words: [])
    with pytest.raises(DeployError, match="says nothing of what it runs; give it an entrypoint"):
        shop.deploy()
