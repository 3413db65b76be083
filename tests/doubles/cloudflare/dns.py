"""DNS records of a zone: one by one, or a batch that is done whole or not at all."""

from __future__ import annotations

import copy
import ipaddress
from collections.abc import Callable
from typing import Any

from tests.doubles.cloudflare.core import PREFIX, Cloudflare, refuse
from tests.doubles.cloudflare.zones import zone_of
from tests.doubles.web import Reply, Request, Routes

routes = Routes()

HOME = f"{PREFIX}/zones/{{zone}}/dns_records"
WITH_DATA = {"CAA", "CERT", "DNSKEY", "DS", "HTTPS", "LOC", "NAPTR", "SMIMEA", "SRV", "SSHFP", "SVCB", "TLSA", "URI"}
TYPES = WITH_DATA | {"A", "AAAA", "CNAME", "MX", "NS", "OPENPGPKEY", "PTR", "TXT"}
PROXIABLE = {"A", "AAAA", "CNAME"}
SENT = ("name", "type", "ttl", "content", "data", "priority", "proxied", "comment", "tags", "settings")
READ_ONLY = ("id", "created_on", "modified_on")
"""May be sent and count for nothing: Caddy's plugin sends all three."""
LOC = {"altitude": 0, "size": 1, "precision_horz": 10000, "precision_vert": 10}
MOST = {"free": 200}
COMMENT = {"free": 100}

Record = dict[str, Any]

CHECKS: dict[str, Callable[[Record, str], bool]] = {
    "type": lambda record, want: record["type"] == want,
    "name": lambda record, want: record["name"] == want.rstrip("."),
    "name.exact": lambda record, want: record["name"] == want.rstrip("."),
    "content": lambda record, want: record["content"] == want,
    "content.exact": lambda record, want: record["content"] == want,
    "content.contains": lambda record, want: want in record["content"],
    "comment.startswith": lambda record, want: (record["comment"] or "").startswith(want),
}
"""Filters of the list: Caddy's plugin asks by type, name and a part of the content."""


class Records:
    """The records of each zone by id."""

    def __init__(self) -> None:
        self.of: dict[str, dict[str, Record]] = {}


def records_of(cloud: Cloudflare, zone: str) -> dict[str, Record]:
    """The records of a zone by id."""
    return cloud.part(Records).of.setdefault(zone, {})


def add_record(cloud: Cloudflare, zone: str, **fields: Any) -> Record:
    """A record that somebody made by hand."""
    request = Request("POST", "", {}, {}, params={"zone": zone})
    return put(cloud, request, fields)


def put(cloud: Cloudflare, request: Request, fields: Record, old: Record | None = None) -> Record:
    """Make a record, or put it in the place of an old one. Refuses what the API refuses."""
    zone = zone_of(cloud, request)
    plan = zone["plan"]["legacy_id"]
    unknown = set(fields) - {*SENT, *READ_ONLY}
    kind, name = fields.get("type", ""), str(fields.get("name", "")).lower().rstrip(".")
    if kind not in TYPES or not name or unknown:
        refuse(400, 1004, "DNS Validation Error")
    if name == "@":
        name = zone["name"]
    if name != zone["name"] and not name.endswith("." + zone["name"]):
        name = f"{name}.{zone['name']}"
    if not name.isascii():
        refuse(400, 9000, "DNS name is invalid.")
    proxied, ttl = bool(fields.get("proxied")), fields.get("ttl") or 1
    if proxied and kind not in PROXIABLE:
        refuse(400, 9004, "This record type cannot be proxied.")
    if ttl != 1 and not (30 if plan == "enterprise" else 60) <= ttl <= 86400:
        refuse(400, 9021, "Invalid TTL. Must be between 60 and 86400 seconds, or 1 for Automatic.")
    if fields.get("tags") and plan == "free":
        refuse(400, 9301, f"DNS record has {len(fields['tags'])} tags, exceeding the quota of 0.")
    if len(fields.get("comment") or "") > COMMENT.get(plan, 500):
        refuse(400, 9313, "DNS record comment is too long.")
    data, content = fields.get("data"), fields.get("content")
    if kind in WITH_DATA:
        if not data:
            refuse(400, 9101, f"data is a required field for {kind} records.")
        data = {**LOC, **data} if kind == "LOC" else data
        content = " ".join(str(value) for value in data.values())
    elif not content:
        refuse(400, 9005, "Content is a required field.")
    if kind in ("A", "AAAA"):
        version = 4 if kind == "A" else 6
        try:
            content = str(ipaddress.ip_address(content))
        except ValueError:
            refuse(400, 9005, f"Content for {kind} record is invalid. Must be a valid IPv{version} address.")
    now = cloud.now()
    record: Record = {
        "id": old["id"] if old else cloud.new_id(),
        "name": name,
        "type": kind,
        "content": content.rstrip(".") if kind in ("CNAME", "NS", "PTR") else content,
        "proxiable": kind in PROXIABLE,
        "proxied": proxied,
        "ttl": 1 if proxied else ttl,
        "settings": fields.get("settings") or {},
        "meta": {},
        "comment": fields.get("comment"),
        "tags": fields.get("tags") or [],
        "created_on": old["created_on"] if old else now,
        "modified_on": now,
    }
    if kind in WITH_DATA:
        record["data"] = data
    if kind in ("MX", "URI"):
        record["priority"] = fields.get("priority", 10)
    _conflicts(records_of(cloud, zone["id"]), record)
    records_of(cloud, zone["id"])[record["id"]] = record
    return record


def _conflicts(records: dict[str, Record], new: Record) -> None:
    for other in records.values():
        if other["id"] == new["id"] or other["name"] != new["name"]:
            continue
        if (other["type"], other["content"]) == (new["type"], new["content"]):
            refuse(400, 81058, "An identical record already exists.")
        kinds = {other["type"], new["type"]}
        if "CNAME" in kinds and kinds <= PROXIABLE:
            refuse(400, 81053, "An A, AAAA, or CNAME record with that host already exists.")


def _one(cloud: Cloudflare, request: Request, record: str) -> Record:
    found = records_of(cloud, request.params["zone"]).get(record)
    if found is None:
        refuse(404, 81044, "Record does not exist.")
    return found


@routes.on("GET", HOME, needs="DNS Read")
def listed(cloud: Cloudflare, request: Request) -> Reply:
    """By pages of 100."""
    zone_of(cloud, request)
    query = request.query
    found = [
        record
        for record in records_of(cloud, request.params["zone"]).values()
        if all(check(record, query[key]) for key, check in CHECKS.items() if key in query)
    ]
    return cloud.pages(found, request, default=100, most=5_000_000)


@routes.on("POST", HOME, needs="DNS Write")
def create(cloud: Cloudflare, request: Request) -> Record:
    return put(cloud, request, request.body or {})


@routes.on("POST", f"{HOME}/batch", needs="DNS Write")
def batch(cloud: Cloudflare, request: Request) -> dict[str, list[Record]]:
    """Deletes, patches, puts, posts, in this order; an error undoes all of it."""
    body = request.body or {}
    zone = zone_of(cloud, request)
    records = records_of(cloud, zone["id"])
    if sum(len(items) for items in body.values()) > MOST.get(zone["plan"]["legacy_id"], 3500):
        refuse(400, 1004, "Too many operations in one batch")
    before = copy.deepcopy(records)
    done: dict[str, list[Record]] = {"deletes": [], "patches": [], "puts": [], "posts": []}
    try:
        for each in body.get("deletes", []):
            done["deletes"].append(records.pop(_one(cloud, request, each["id"])["id"]))
        for each in body.get("patches", []):
            old = _one(cloud, request, each["id"])
            done["patches"].append(put(cloud, request, {**{key: old[key] for key in SENT if key in old}, **each}, old))
        for each in body.get("puts", []):
            done["puts"].append(put(cloud, request, each, _one(cloud, request, each["id"])))
        for each in body.get("posts", []):
            done["posts"].append(put(cloud, request, each))
    except BaseException:
        records.clear()
        records.update(before)
        raise
    return done


@routes.on("GET", f"{HOME}/{{record}}", needs="DNS Read")
def read(cloud: Cloudflare, request: Request) -> Record:
    return _one(cloud, request, request.params["record"])


@routes.on("PATCH", f"{HOME}/{{record}}", needs="DNS Write")
def change(cloud: Cloudflare, request: Request) -> Record:
    old = _one(cloud, request, request.params["record"])
    return put(cloud, request, {**{key: old[key] for key in SENT if key in old}, **(request.body or {})}, old)


@routes.on("PUT", f"{HOME}/{{record}}", needs="DNS Write")
def replace(cloud: Cloudflare, request: Request) -> Record:
    return put(cloud, request, request.body or {}, _one(cloud, request, request.params["record"]))


@routes.on("DELETE", f"{HOME}/{{record}}", needs="DNS Write")
def delete(cloud: Cloudflare, request: Request) -> dict[str, str]:
    record = _one(cloud, request, request.params["record"])
    del records_of(cloud, request.params["zone"])[record["id"]]
    return {"id": record["id"]}
