"""Secrets of a config: raw and computed, downloaded with an ETag, changed whole or not at all."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from tests.doubles.doppler.core import Config, Doppler, refuse
from tests.doubles.web import Reply, Request, Routes

routes = Routes()
HOME = "/v3/configs/config"
REFERENCE = re.compile(r"\$\{([A-Z_][A-Z0-9_.]*)\}")
NAME = re.compile(r"[A-Z_][A-Z0-9_]{0,199}")
MANAGED = ("DOPPLER_PROJECT", "DOPPLER_ENVIRONMENT", "DOPPLER_CONFIG")


def computed(config: Config, value: str, depth: int = 0) -> str:
    """A value with its references followed; one that leads nowhere stays as it is."""

    def follow(found: re.Match[str]) -> str:
        target = config.values.get(found[1])
        return found[0] if target is None or depth > 8 else computed(config, target, depth + 1)

    return REFERENCE.sub(follow, value)


def managed(config: Config) -> dict[str, str]:
    """What Doppler puts into every config."""
    return dict(zip(MANAGED, (config.project, config.environment, config.name), strict=True))


def shown(config: Config, name: str) -> dict[str, Any]:
    """A secret as it is listed; of a restricted one nothing is seen."""
    visibility = config.visibility.get(name, "masked")
    restricted = visibility == "restricted"
    value = {**managed(config), **config.values}[name]
    return {
        "raw": None if restricted else value,
        "computed": None if restricted else computed(config, value),
        "note": "",
        "rawVisibility": visibility,
        "computedVisibility": visibility,
        "rawValueType": {"type": "string"},
        "computedValueType": {"type": "string"},
    }


def names_of(config: Config, request: Request) -> list[str]:
    """The names that a request is about."""
    names = set(config.values)
    if request.query.get("include_managed_secrets", "true") == "true":
        names |= set(MANAGED)
    if request.query.get("secrets"):
        names &= set(request.query["secrets"].split(","))
    return sorted(names)


@routes.on("GET", f"{HOME}/secrets/download", needs="secrets")
def download(double: Doppler, request: Request) -> Reply:
    config = double.config_of(request)
    every = {**managed(config), **config.values}
    values = {name: computed(config, every[name]) for name in names_of(config, request)}
    form = request.query.get("format", "json")
    if form not in ("json", "env"):
        refuse(400, f"the double has no format {form}")
    text = json.dumps(values) if form == "json" else "".join(f"{k}={json.dumps(v)}\n" for k, v in values.items())
    who = request.headers["authorization"]
    etag = f'W/"{hashlib.sha256(f"{who} {config.key} {sorted(request.query.items())} {text}".encode()).hexdigest()}"'
    if request.headers.get("if-none-match") == etag:
        return Reply(304, raw=b"", headers={"ETag": etag}, content_type="text/plain")
    kind = "application/json" if form == "json" else "text/plain"
    return Reply(200, raw=text.encode(), headers={"ETag": etag}, content_type=kind)


@routes.on("GET", f"{HOME}/secrets/names", needs="read")
def names(double: Doppler, request: Request) -> dict[str, Any]:
    return {"names": names_of(double.config_of(request), request)}


@routes.on("GET", f"{HOME}/secrets", needs="secrets")
def listed(double: Doppler, request: Request) -> dict[str, Any]:
    config = double.config_of(request)
    return {"secrets": {name: shown(config, name) for name in names_of(config, request)}}


@routes.on("GET", f"{HOME}/secret", needs="secrets")
def one(double: Doppler, request: Request) -> dict[str, Any]:
    config, name = double.config_of(request), request.query.get("name", "")
    if name not in {**managed(config), **config.values}:
        refuse(404, f"Could not find requested secret: {name}")
    found = shown(config, name)
    return {"name": name, "value": {key: found[key] for key in ("raw", "computed", "note")}}


@routes.on("DELETE", f"{HOME}/secret", needs="write")
def remove(double: Doppler, request: Request) -> Reply:
    config, name = double.config_of(request), request.query.get("name", "")
    if config.values.pop(name, None) is None:
        refuse(404, f"Could not find requested secret: {name}")
    return Reply(204, raw=b"")


@routes.on("POST", f"{HOME}/secrets", needs="write")
def change(double: Doppler, request: Request) -> dict[str, Any]:
    """Everything that is asked for, or nothing."""
    config, body = double.config_of(request), request.body
    if ("secrets" in body) == ("change_requests" in body):
        refuse(400, "You must specify exactly one of secrets and change_requests")
    if config.locked:
        refuse(403, "This config is locked")
    values, visibility = dict(config.values), dict(config.visibility)
    if "secrets" in body:
        asked = [
            {"name": name, "originalName": name, "value": value, "shouldDelete": value is None}
            for name, value in body["secrets"].items()
        ]
    else:
        asked = body["change_requests"]
    for each in asked:
        apply(each, values, visibility, config, compare="change_requests" in body)
    config.values, config.visibility = values, visibility
    return {"secrets": {name: shown(config, name) for name in sorted(config.values)}}


def apply(
    each: dict[str, Any], values: dict[str, str], visibility: dict[str, str], config: Config, *, compare: bool
) -> None:
    """One change. The published facts give the guards, not the words and status of a guard that fails."""
    name, old = each["name"], each["originalName"]
    if not NAME.fullmatch(name) or name in MANAGED:
        refuse(400, f"Invalid secret name: {name}")
    if compare and old is None and name in values:
        refuse(409, f"Secret {name} already exists")
    if compare and old is not None and old not in values:
        refuse(409, f"Secret {old} does not exist")
    if each.get("originalValue") is not None and values.get(old) != each["originalValue"]:
        refuse(409, f"Secret {name} has been changed, it is now {values.get(old)}")
    if each.get("originalVisibility") not in (None, config.visibility.get(old, "masked")):
        refuse(409, f"The visibility of secret {name} has been changed")
    if each.get("shouldDelete"):
        values.pop(old, None)
        visibility.pop(old, None)
        return
    value = each["value"] if each["value"] is not None else values.get(old)
    if value is None:
        refuse(400, f"Secret {name} needs a value")
    if each.get("valueType", {}).get("type") == "integer" and not re.fullmatch(r"-?\d+", value):
        refuse(400, f"Value {value} of secret {name} is not a valid integer")
    if old and old != name:
        values.pop(old)
        visibility[name] = visibility.pop(old, "masked")
    values[name] = value
    if each.get("visibility"):
        visibility[name] = each["visibility"]
