"""The table of docs/clouds.md: every test that it names is there."""

from __future__ import annotations

import ast
import re

import pytest
import yaml

from tests.unit.fixtures import ROOT

PAGE = (ROOT / "docs" / "clouds.md").read_text(encoding="utf-8")
OTHER = (ROOT / "docs" / "hetzner.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`((?:unit|contract|clouds)/[\w/]+\.py)::(\w+)`", PAGE)))


def test_the_table_is_there() -> None:
    assert len(NAMED) >= 30


@pytest.mark.parametrize("path", sorted({path for path, _name in NAMED}))
def test_every_test_that_is_named_exists(path: str) -> None:
    tree = ast.parse((ROOT / "tests" / path).read_text(encoding="utf-8"))
    there = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert [name for of, name in NAMED if of == path and name not in there] == []


def test_every_module_is_named() -> None:
    runtime = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text(encoding="utf-8"))
    modules = [name for group in runtime["action_groups"].values() for name in group]
    assert [name for name in modules if f"`{name}`" not in PAGE + OTHER] == []
