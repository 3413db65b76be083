"""What a cloud's module says of itself is what it takes: documentation, argument spec, action group, lengths."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.sapflux.hosting.plugins.doc_fragments import _cloudflare as fragments
from ansible_collections.sapflux.hosting.plugins.module_utils import _cloudflare

from tests.unit.fixtures import ROOT
from tests.unit.plugins.modules.cloud_module import TOKEN, Runner

PACKAGE = "ansible_collections.sapflux.hosting.plugins.modules"
ON_THE_CONTROLLER = {path.stem for path in (ROOT / "plugins" / "action").glob("cloudflare_*.py")}
MODULES = [path for kind in ("cloudflare", "r2") for path in (ROOT / "plugins" / "modules").glob(f"{kind}_*.py")]
UTILS = [path for kind in ("cloudflare", "r2") for path in (ROOT / "plugins" / "module_utils").glob(f"_{kind}*.py")]
# Speaks S3 only, and takes no token.
S3_ONLY = {"r2_object"}
NAMES = sorted({path.stem for path in MODULES} - ON_THE_CONTROLLER - S3_ONLY)
PARTS = {
    "sapflux.hosting._cloudflare": "DOCUMENTATION",
    "sapflux.hosting._cloudflare.zone": "ZONE",
    "sapflux.hosting._cloudflare.account": "ACCOUNT",
    "sapflux.hosting._cloudflare.store": "STORE",
}


def load(name: str) -> ModuleType:
    return importlib.import_module(f"{PACKAGE}.{name}")


def documented(module: ModuleType) -> dict[str, Any]:
    """The options of a module's documentation, with those of its fragments."""
    document = yaml.safe_load(module.DOCUMENTATION)
    options: dict[str, Any] = {}
    for fragment in document.get("extends_documentation_fragment", []):
        options |= yaml.safe_load(getattr(fragments.ModuleDocFragment, PARTS[fragment]))["options"]
    return {**options, **(document.get("options") or {})}


def shape(options: dict[str, Any], nested: str) -> dict[str, Any]:
    """What has to be equal on both sides."""
    return {
        name: {
            "type": option.get("type", "str"),
            "elements": option.get("elements"),
            "required": option.get("required", False),
            "default": option.get("default"),
            "choices": option.get("choices"),
            "options": shape(option[nested], nested) if nested in option else None,
        }
        for name, option in options.items()
    }


def test_there_are_modules_to_look_at() -> None:
    assert len(NAMES) >= 6


@pytest.mark.parametrize("name", NAMES)
def test_the_documentation_is_the_argument_spec(name: str) -> None:
    module = load(name)
    spec = {**_cloudflare.OPTIONS, **module.ARGUMENT_SPEC}
    assert shape(documented(module), "suboptions") == shape(spec, "options")


@pytest.mark.parametrize("name", sorted(S3_ONLY))
def test_the_documentation_is_the_argument_spec_also_without_a_token(name: str) -> None:
    module = load(name)
    assert shape(documented(module), "suboptions") == shape(module.ARGUMENT_SPEC, "options")


@pytest.mark.parametrize("name", sorted({*NAMES, *S3_ONLY}))
def test_examples_and_returns_are_whole(name: str) -> None:
    module = load(name)
    options = set(documented(module))
    for task in yaml.safe_load(module.EXAMPLES):
        assert task["name"]
        assert set(task[f"sapflux.hosting.{name}"]) <= options
    returned = yaml.safe_load(module.RETURN)
    assert all({"description", "type", "returned"} <= set(entry) for entry in returned.values())


def test_every_module_is_in_the_action_group() -> None:
    runtime = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text(encoding="utf-8"))
    assert sorted(runtime["action_groups"]["cloudflare"]) == NAMES


@pytest.mark.parametrize("path", [*MODULES, *UTILS], ids=lambda path: path.name)
def test_modules_stay_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


@pytest.mark.parametrize("variable", ["CLOUDFLARE_API_TOKEN", "CLOUDFLARE_TOKEN"])
def test_token_and_address_may_come_from_the_environment(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    runner = Runner(load("cloudflare_zone_settings"), capsys, monkeypatch)
    with runner.double("Zone Settings Write"):
        monkeypatch.setenv(variable, TOKEN)
        monkeypatch.setenv("CLOUDFLARE_BASE_URL", f"{runner.base}/")
        with patch_module_args({"zone": "example.org", "settings": {"ssl": "strict"}}), pytest.raises(SystemExit):
            runner.module.main()
    text = capsys.readouterr().out
    assert json.loads(text)["changes"] == ['change ssl: value "full" -> "strict"']
    assert TOKEN not in text


@pytest.mark.parametrize("name", NAMES)
def test_no_key_of_old_is_offered(name: str) -> None:
    """The Origin CA key stopped working, and the global key can do everything."""
    assert [key for key in documented(load(name)) if "service" in key or "email" in key or key == "api_key"] == []


@pytest.mark.parametrize("name", NAMES)
def test_secrets_are_marked(name: str) -> None:
    """Every option whose name speaks of a secret is masked, or says that it is none."""
    spec = {**_cloudflare.OPTIONS, **load(name).ARGUMENT_SPEC}
    secret = [key for key in spec if key.endswith(("token", "key", "secret", "password"))]
    assert [key for key in secret if spec[key].get("no_log") is not True] == []
    assert "api_token" in secret
