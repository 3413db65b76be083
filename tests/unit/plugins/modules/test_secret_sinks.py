"""Secrets that are shown once go where they are kept by name: whole, once, and never into anything that is printed."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.sapflux.hosting.plugins.module_utils import _doppler
from ansible_collections.sapflux.hosting.plugins.module_utils._secret_sinks import merged
from ansible_collections.sapflux.hosting.plugins.modules import cloudflare_api_token, r2_credentials

from tests.doubles.cloudflare import ACCOUNT, Cloudflare
from tests.doubles.doppler import doppler
from tests.doubles.web import Fault
from tests.unit.plugins.modules.cloud_module import Runner

WRITE = "Account API Tokens Write"
DOPPLER_TOKEN = f"dp.st.prd.{'A1' * 20}"
NAMES = {"access_key_id": "BACKUP_ACCESS_KEY_ID", "secret_access_key": "BACKUP_SECRET_ACCESS_KEY"}
BEFORE = '# by hand\nOTHER: "of-somebody-else"\n'


@pytest.fixture
def runner(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Runner:
    monkeypatch.setattr(_doppler, "pause", lambda _seconds: None)
    made = Runner(r2_credentials, capsys, monkeypatch)
    made.secrets += [DOPPLER_TOKEN, "of-somebody-else"]
    return made


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A secret store with a secret of somebody else."""
    path = tmp_path / ".secrets.yml"
    path.write_text(BEFORE, encoding="utf-8")
    path.chmod(0o640)
    return path


def pair(store: Path, **more: Any) -> dict[str, Any]:
    """Arguments of a key pair that is kept in the store, and in ``doppler`` as well."""
    where = {"file": str(store), "names": NAMES, **more}
    return {"account_id": ACCOUNT, "name": "backup", "buckets": ["backup"], "store": where}


def of(cloud: Cloudflare) -> dict[str, str]:
    """The pair that Cloudflare knows."""
    token = next(token for token in cloud.tokens.values() if token.name == "backup")
    return {
        "BACKUP_ACCESS_KEY_ID": token.id,
        "BACKUP_SECRET_ACCESS_KEY": hashlib.sha256(token.value.encode()).hexdigest(),
    }


def test_a_pair_goes_into_the_secret_store(runner: Runner, store: Path) -> None:
    with runner.double(WRITE) as (cloud, _zone):
        runner.check_then_do(cloud, **pair(store))
        assert yaml.safe_load(store.read_text()) == {"OTHER": "of-somebody-else", **of(cloud)}
        assert store.read_text().startswith(BEFORE)
        assert stat.S_IMODE(store.stat().st_mode) == 0o640
        # Lost: it is replaced, and the line of the old one with it.
        before = of(cloud)
        store.write_text(store.read_text().replace(before["BACKUP_SECRET_ACCESS_KEY"], "lost"), encoding="utf-8")
        runner.check_then_do(cloud, **pair(store))
        assert of(cloud) != before
        assert yaml.safe_load(store.read_text()) == {"OTHER": "of-somebody-else", **of(cloud)}
        assert store.read_text().count("BACKUP_SECRET_ACCESS_KEY") == 1
        assert list(store.parent.iterdir()) == [store]


def test_each_place_may_be_the_one_that_still_has_it(runner: Runner, store: Path) -> None:
    vault = doppler()
    config = vault.add_config("app", "prd", {"OTHER": "of-somebody-else"})
    vault.add_token(DOPPLER_TOKEN, ["app/prd"], "read/write")
    with runner.double(WRITE) as (cloud, _zone), vault.running() as url:
        arguments = pair(store, doppler={"token": DOPPLER_TOKEN, "base_url": url})
        runner.check_then_do(cloud, **arguments)
        assert len(vault.writes()) == 1
        made = of(cloud)
        assert config.values == {"OTHER": "of-somebody-else", **made}
        store.write_text(BEFORE, encoding="utf-8")
        assert runner(**arguments)["changes"] == [f"change key pair backup in secrets file {store}"]
        del config.values["BACKUP_ACCESS_KEY_ID"]
        assert runner(**arguments)["changes"] == ["change key pair backup in Doppler"]
        assert runner(**arguments)["changed"] is False
        assert of(cloud) == made
        assert config.values == {"OTHER": "of-somebody-else", **made}
        assert yaml.safe_load(store.read_text()) == {"OTHER": "of-somebody-else", **made}


def test_a_place_that_refuses_leaves_a_pair_that_the_next_run_replaces(runner: Runner, store: Path) -> None:
    vault = doppler()
    vault.add_config("app", "prd")
    vault.add_token(DOPPLER_TOKEN, ["app/prd"], "read/write")
    with runner.double(WRITE) as (cloud, _zone), vault.running() as url:
        only = {"doppler": {"token": DOPPLER_TOKEN, "base_url": url}, "names": NAMES}
        arguments = {**pair(store), "store": only}
        vault.faults = [Fault("status", method="POST", status=403)]
        assert "read/write" in runner.fails(**arguments)
        assert runner(**arguments)["changes"] == ["change secret of key pair backup"]
        assert runner(**arguments)["changed"] is False
        assert [token.name for token in cloud.tokens.values()].count("backup") == 1
        # A token that reads only is refused before anything is asked of Cloudflare, but for the one that writes.
        only["doppler"]["token"] = "dp.st.prd.wrong"
        before = len(cloud.writes())
        assert "Doppler" in runner.fails(**arguments)
        assert len(cloud.writes()) == before


def test_the_value_of_a_token_goes_there_too(runner: Runner, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "module", cloudflare_api_token)
    where = {"file": str(store), "names": {"value": "CADDY_TOKEN"}}
    arguments = {"account_id": ACCOUNT, "name": "caddy", "permissions": ["DNS Write"], "store": where}
    with runner.double(WRITE) as (cloud, _zone):
        runner.check_then_do(cloud, **arguments)
        token = next(token for token in cloud.tokens.values() if token.name == "caddy")
        assert yaml.safe_load(store.read_text())["CADDY_TOKEN"] == token.value
        other = store.with_name("value")
        assert runner(**arguments, path=str(other))["changes"] == [f"change token caddy in file {other}"]
        assert other.read_text() == f"{token.value}\n"
        store.write_text(store.read_text().replace(token.value, "lost"), encoding="utf-8")
        assert runner(**arguments, path=str(other))["changes"] == [f"change token caddy in secrets file {store}"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"names": {"access_key_id": "A"}}, "store.names needs names for access_key_id and secret_access_key"),
        ({"names": {**NAMES, "access_key_id": "lower"}}, "'lower' is no name of a secret"),
        ({"file": None}, "nobody says where the secret goes"),
        ({"file": "/nowhere/secrets.yml"}, "there is no secrets file /nowhere/secrets.yml"),
    ],
)
def test_a_place_that_will_not_do_is_refused_before_anything_is_made(
    runner: Runner, store: Path, change: dict[str, Any], says: str
) -> None:
    with runner.double(WRITE) as (cloud, _zone):
        arguments = pair(store)
        arguments["store"] |= change
        assert says in runner.fails(**arguments)
        assert cloud.writes() == []
        store.chmod(0o644)
        assert "wider than 0640" in runner.fails(**pair(store))
        assert cloud.writes() == []


@pytest.mark.parametrize(
    ("text", "held"),
    [
        ("", {}),
        ('{"OTHER": "x"}', {"OTHER": "x"}),
        ("OTHER: |\n  two\n  lines\nNEW: old\n", {"OTHER": "two\nlines\n", "NEW": "old"}),
        ("NEW: |\n  two\n  lines\nOTHER: x\n", {"OTHER": "x", "NEW": "two\nlines\n"}),
    ],
)
def test_a_store_of_any_form_keeps_what_it_holds(text: str, held: dict[str, str]) -> None:
    result = merged(text, held, {"NEW": 'a"b\\c: {{ d }}'})
    assert yaml.safe_load(result) == {**held, "NEW": 'a"b\\c: {{ d }}'}
