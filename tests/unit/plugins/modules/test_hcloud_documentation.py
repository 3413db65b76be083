"""What the modules for Hetzner say of themselves is what they take."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from ansible_collections.sapflux.hosting.plugins.module_utils import _hcloud

from tests.unit.fixtures import ROOT
from tests.unit.plugins.modules.test_cloud_documentation import PACKAGE, shape

SHARED = {"hcloud_drift": _hcloud.OPTIONS, "hcloud_shutdown": _hcloud.OPTIONS, "known_host_key": {}, "first_boot": {}}
UTILS = [path for name in ("_hcloud*.py", "_known_hosts.py") for path in (ROOT / "plugins" / "module_utils").glob(name)]


def load(name: str) -> ModuleType:
    return importlib.import_module(f"{PACKAGE}.{name}")


@pytest.mark.parametrize("name", SHARED)
def test_the_documentation_is_the_argument_spec(name: str) -> None:
    module = load(name)
    options = yaml.safe_load(module.DOCUMENTATION)["options"]
    assert shape(options, "suboptions") == shape({**SHARED[name], **module.ARGUMENT_SPEC}, "options")


@pytest.mark.parametrize("name", SHARED)
def test_examples_and_returns_are_whole(name: str) -> None:
    module = load(name)
    options = set(yaml.safe_load(module.DOCUMENTATION)["options"])
    tasks = [task for task in yaml.safe_load(module.EXAMPLES) if f"sapflux.hosting.{name}" in task]
    assert tasks
    assert all(set(task[f"sapflux.hosting.{name}"]) <= options for task in tasks)
    returned = yaml.safe_load(module.RETURN)
    assert all({"description", "type", "returned"} <= set(entry) for entry in returned.values())


@pytest.mark.parametrize("path", UTILS, ids=lambda path: path.name)
def test_they_stay_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


def test_every_module_that_asks_hetzner_is_in_the_action_group() -> None:
    runtime = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text(encoding="utf-8"))
    asks = [path.stem for path in (ROOT / "plugins" / "modules").glob("hcloud_*.py")]
    assert sorted(runtime["action_groups"]["hetzner"]) == sorted(asks)
    assert {*_hcloud.OPTIONS} == {"api_token", "api_endpoint"}
