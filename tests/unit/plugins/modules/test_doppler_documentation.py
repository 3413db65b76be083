"""What Doppler's plugins say of themselves is what they take: documentation, argument spec, action group, lengths."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from ansible_collections.sapflux.hosting.plugins.doc_fragments import _doppler as fragments
from ansible_collections.sapflux.hosting.plugins.lookup import doppler as lookup
from ansible_collections.sapflux.hosting.plugins.module_utils import _doppler

from tests.unit.fixtures import ROOT
from tests.unit.plugins.modules.doppler_module import TOKEN, WHERE, Runner
from tests.unit.plugins.modules.test_cloud_documentation import shape

NAMES = sorted(path.stem for path in (ROOT / "plugins" / "modules").glob("doppler_*.py"))


def load(name: str) -> ModuleType:
    return importlib.import_module(f"ansible_collections.sapflux.hosting.plugins.modules.{name}")


def documented(module: ModuleType) -> dict[str, Any]:
    """The options of a module's documentation, with those of its fragment."""
    document = yaml.safe_load(module.DOCUMENTATION)
    assert document["extends_documentation_fragment"] == ["sapflux.hosting._doppler"]
    shared = yaml.safe_load(fragments.ModuleDocFragment.DOCUMENTATION)["options"]
    return {**shared, **document["options"]}


def test_there_are_modules_to_look_at() -> None:
    assert NAMES == ["doppler_secrets", "doppler_service_token"]


@pytest.mark.parametrize("name", NAMES)
def test_the_documentation_is_the_argument_spec(name: str) -> None:
    module = load(name)
    assert shape(documented(module), "suboptions") == shape({**_doppler.OPTIONS, **module.ARGUMENT_SPEC}, "options")


@pytest.mark.parametrize("name", NAMES)
def test_examples_and_returns_are_whole(name: str) -> None:
    module = load(name)
    for task in yaml.safe_load(module.EXAMPLES):
        assert task["name"]
        assert set(task[f"sapflux.hosting.{name}"]) <= set(documented(module))
    returned = yaml.safe_load(module.RETURN)
    assert all({"description", "type", "returned"} <= set(entry) for entry in returned.values())


def test_every_module_is_in_the_action_group() -> None:
    runtime = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text(encoding="utf-8"))
    assert sorted(runtime["action_groups"]["doppler"]) == NAMES


@pytest.mark.parametrize("path", sorted((ROOT / "plugins").glob("*/*doppler*.py")), ids=lambda path: path.name)
def test_plugins_stay_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


def test_secrets_are_marked() -> None:
    spec = {**_doppler.OPTIONS, **load("doppler_secrets").ARGUMENT_SPEC}
    assert [name for name in ("token", "values") if spec[name].get("no_log") is not True] == []
    options = yaml.safe_load(lookup.DOCUMENTATION)["options"]
    # A file of settings is no place for a token.
    assert [name for name in ("token", "oidc_token") if "ini" in options[name]] == []


def test_what_all_share_may_come_from_the_environment(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = Runner(load("doppler_secrets"), capsys, monkeypatch)
    with runner.double() as double:
        given = {"DOPPLER_TOKEN": TOKEN, "DOPPLER_API_HOST": f"{double.url}/"}
        for name, value in (given | {f"DOPPLER_{key.upper()}": value for key, value in WHERE.items()}).items():
            monkeypatch.setenv(name, value)
        nothing = dict.fromkeys(("token", "base_url", *WHERE))
        assert runner(values={"A": "a-marker-xyzzy"}, **nothing)["changes"] == ["create A"]
