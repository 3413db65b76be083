"""Cut a published API description down to the paths that are used: ``python -m tests.contract.trim FROM TO PATH...``.

Paths may end with ``*``. Only the components that what is left refers to are kept.
"""

from __future__ import annotations

import fnmatch
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NOTHING = {"content": {"application/json": {"schema": {"type": "object", "maxProperties": 0}}}, "required": True}
AMENDED = {
    ("put", "/accounts/{account_id}/tokens/{token_id}/value"): NOTHING,
    ("put", "/user/tokens/{token_id}/value"): NOTHING,
}
"""Bodies that the documentation asks for and the description leaves out: to roll a token one sends ``{}``."""
QUERIES = {
    ("/images", "include_deprecated"): {"type": "string", "enum": ["true", "false", "True", "False"]},
}
"""Parameters that the API's own client does not write as the description has them: Python's words for a boolean."""
METHODS = frozenset({"get", "put", "post", "patch", "delete", "parameters"})


def references(node: Any) -> Iterator[str]:
    """Every ``$ref`` below a node."""
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def resolved(document: dict[str, Any], reference: str) -> Any:
    """What a reference of the same document names."""
    node: Any = document
    for word in reference.removeprefix("#/").split("/"):
        node = node[word.replace("~1", "/").replace("~0", "~")]
    return node


def trim(document: dict[str, Any], patterns: list[str]) -> dict[str, Any]:
    """The document with the paths that match, and what they need."""
    paths = {
        path: {key: value for key, value in item.items() if key in METHODS}
        for path, item in document["paths"].items()
        if any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)
    }
    for (method, path), body in AMENDED.items():
        if path in paths:
            paths[path][method] = {**paths[path][method], "requestBody": body}
    for (path, name), schema in QUERIES.items():
        for parameter in paths.get(path, {}).get("get", {}).get("parameters", []):
            if parameter.get("name") == name:
                parameter["schema"] = schema
    unused = [each for each in patterns if not any(fnmatch.fnmatchcase(path, each) for path in paths)]
    if unused:
        raise SystemExit(f"no such path: {', '.join(unused)}")
    needed: dict[str, Any] = {}
    todo = list(references(paths))
    while todo:
        reference = todo.pop()
        if reference not in needed:
            needed[reference] = resolved(document, reference)
            todo += references(needed[reference])
    components: dict[str, Any] = {"securitySchemes": document["components"].get("securitySchemes", {})}
    for reference in sorted(needed):
        _root, _components, kind, name = reference.split("/", 3)
        components.setdefault(kind, {})[name] = needed[reference]
    kept: dict[str, Any] = {key: document[key] for key in ("openapi", "info", "servers", "security") if key in document}
    return {**kept, "paths": dict(sorted(paths.items())), "components": components}


if __name__ == "__main__":
    source, target, *wanted = sys.argv[1:]
    cut = trim(json.loads(Path(source).read_text(encoding="utf-8")), wanted)
    Path(target).write_text(json.dumps(cut, indent=1, sort_keys=True) + "\n", encoding="utf-8")
