"""The descriptions are such that the proxy uses all of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.trim import AMENDED, QUERIES, references, resolved, trim

SPECS = sorted((Path(__file__).parent / "specs").glob("*.json"))


def load(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def schemas(node: Any, where: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, mapping) of every mapping below a node."""
    if isinstance(node, dict):
        yield where, node
        for key, value in node.items():
            if key not in ("example", "examples", "enum", "default"):
                yield from schemas(value, f"{where}/{key}")
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from schemas(value, f"{where}/{number}")


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_no_schema_is_skipped_in_silence(path: Path) -> None:
    """Prism leaves out, without a word, a schema that it cannot compile: ``nullable`` needs a ``type`` beside it."""
    found = [
        where
        for where, node in schemas(load(path))
        if node.get("nullable") is True and "type" not in node and not where.endswith("/properties")
    ]
    assert found == []


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_every_reference_leads_somewhere_and_nothing_is_left_over(path: Path) -> None:
    document = load(path)
    used = set(references(document))
    assert all(resolved(document, reference) is not None for reference in used)
    kept = {f"#/components/{kind}/{name}" for kind, parts in document["components"].items() for name in parts}
    assert {name for name in kept - used if "/securitySchemes/" not in name} == set()


def test_trimming_keeps_what_is_needed() -> None:
    schema = {"type": "object", "properties": {"a": {"$ref": "#/components/schemas/b"}}}
    content = {"200": {"content": {"application/json": {"schema": schema}}}}
    document = {
        "openapi": "3.0.3",
        "paths": {"/a/{id}": {"get": {"responses": content}, "x-note": 1}, "/c": {"get": {}}},
        "components": {"schemas": {"b": {"type": "string"}, "d": {"type": "string"}}},
    }
    cut = trim(document, ["/a/*"])
    assert (list(cut["paths"]), list(cut["paths"]["/a/{id}"])) == (["/a/{id}"], ["get"])
    assert list(cut["components"]["schemas"]) == ["b"]
    with pytest.raises(SystemExit, match="no such path: /z"):
        trim(document, ["/z"])


def test_amendments_are_in_the_descriptions() -> None:
    paths = {key: item for path in SPECS for key, item in load(path)["paths"].items()}
    assert all(paths[path][method]["requestBody"] == body for (method, path), body in AMENDED.items())
    for (path, name), schema in QUERIES.items():
        assert [each["schema"] for each in paths[path]["get"]["parameters"] if each["name"] == name] == [schema]
