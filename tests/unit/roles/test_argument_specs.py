"""Argument specs equal defaults: the same variables, and the same values where both give one."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.unit.fixtures import ROOT

ROLES = sorted(path.parent.parent.name for path in (ROOT / "roles").glob("*/defaults/main.yml"))


def load(role: str, path: str) -> Any:
    """A YAML file of a role; one that holds nothing is an empty mapping."""
    return yaml.safe_load((ROOT / "roles" / role / path).read_text(encoding="utf-8")) or {}


@pytest.mark.parametrize("role", ROLES)
def test_specs_and_defaults_agree(role: str) -> None:
    entries = load(role, "meta/argument_specs.yml")["argument_specs"].values()
    options = {name: option for entry in entries for name, option in entry["options"].items()}
    defaults = load(role, "defaults/main.yml")
    assert set(defaults) == {name for name, option in options.items() if not option.get("required")}
    given = {name: option["default"] for name, option in options.items() if "default" in option}
    assert {name: defaults[name] for name in given} == given
