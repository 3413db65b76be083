"""SSH keys and placement groups."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Any

from tests.doubles.hetzner.core import PREFIX, Hetzner, Resource, invalid, labels_of, refuse
from tests.doubles.web import Reply, Request, Routes

routes = Routes()
KEYS, GROUPS = f"{PREFIX}/ssh_keys", f"{PREFIX}/placement_groups"
GROUP_MOST = 10


@routes.on("GET", KEYS)
def keys(double: Hetzner, request: Request) -> Reply:
    return double.list_of("ssh_keys", request)


@routes.on("POST", KEYS)
def create_key(double: Hetzner, request: Request) -> Reply:
    body = request.body or {}
    name = double.unique("ssh_keys", body.get("name"))
    fields = str(body.get("public_key", "")).split()
    try:
        hexed = hashlib.md5(base64.b64decode(fields[1], validate=True), usedforsecurity=False).hexdigest()
    except (IndexError, binascii.Error):
        invalid("public_key", "is no public key")
    fingerprint = ":".join(hexed[index : index + 2] for index in range(0, 32, 2))
    if any(each["fingerprint"] == fingerprint for each in double.all("ssh_keys").values()):
        refuse(
            409, "uniqueness_error", "SSH key with the same fingerprint already exists", fields=[{"name": "public_key"}]
        )
    key = {
        "id": double.new_id(),
        "name": name,
        "fingerprint": fingerprint,
        "public_key": body["public_key"],
        "labels": labels_of(body),
        "created": double.now(),
    }
    double.all("ssh_keys")[key["id"]] = key
    return Reply(201, {"ssh_key": key})


@routes.on("GET", GROUPS)
def groups(double: Hetzner, request: Request) -> Reply:
    return double.list_of("placement_groups", request)


@routes.on("POST", GROUPS)
def create_group(double: Hetzner, request: Request) -> Reply:
    body = request.body or {}
    name = double.unique("placement_groups", body.get("name"))
    if body.get("type") != "spread":
        invalid("type", "must be spread")
    group: Resource = {
        "id": double.new_id(),
        "name": name,
        "type": "spread",
        "labels": labels_of(body),
        "servers": [],
        "created": double.now(),
    }
    double.all("placement_groups")[group["id"]] = group
    return Reply(201, {"placement_group": group})


def _serve(kind: str, home: str) -> None:
    @routes.on("GET", f"{home}/{{id}}")
    def read(double: Hetzner, request: Request) -> dict[str, Any]:
        return {kind[:-1]: double.one(kind, request)}

    @routes.on("PUT", f"{home}/{{id}}")
    def update(double: Hetzner, request: Request) -> dict[str, Any]:
        found, body = double.one(kind, request), request.body or {}
        if body.get("name", found["name"]) != found["name"]:
            found["name"] = double.unique(kind, body["name"])
        found["labels"] = labels_of(body, found["labels"])
        return {kind[:-1]: found}

    @routes.on("DELETE", f"{home}/{{id}}")
    def delete(double: Hetzner, request: Request) -> Reply:
        found = double.one(kind, request)
        if found.get("servers"):
            refuse(409, "resource_in_use", f"{kind[:-1]} is still in use")
        del double.all(kind)[found["id"]]
        return Reply(204)


_serve("ssh_keys", KEYS)
_serve("placement_groups", GROUPS)
