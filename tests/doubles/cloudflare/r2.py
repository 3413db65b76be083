"""R2: buckets of each jurisdiction, what is set on them, their domains that take a while, and objects as far as needed.

Objects come and go through ``/_double/r2/objects`` too, because the real ones come through S3.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.doubles.cloudflare import zones
from tests.doubles.cloudflare.core import PREFIX, Cloudflare, refuse, stamp
from tests.doubles.web import Reply, Request, Routes

routes = Routes()

BUCKETS = f"{PREFIX}/accounts/{{account}}/r2/buckets"
BUCKET = f"{BUCKETS}/{{bucket}}"
READ, WRITE = "Workers R2 Storage Read", "Workers R2 Storage Write"
NAME = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
JURISDICTIONS = ("default", "eu", "us", "fedramp", "fedramp-high")
HINTS = ("apac", "eeur", "enam", "weur", "wnam", "oc")
CLASSES = ("Standard", "InfrequentAccess")
METHODS = ("GET", "PUT", "POST", "DELETE", "HEAD")
MOST_RULES = 1000
ABORT_RULE = {
    "id": "Default Multipart Abort Rule",
    "enabled": True,
    "conditions": {"prefix": ""},
    "abortMultipartUploadsTransition": {"condition": {"type": "Age", "maxAge": 604800}},
}
STEPS = (("pending", "initializing"), ("active", "pending"), ("active", "active"))
"""(ownership, certificate) of a custom domain, one further each time it is asked for."""


@dataclass
class Bucket:
    """One bucket; ``domains`` are by name, each with the ``step`` it is at."""

    name: str
    jurisdiction: str
    location: str
    storage_class: str
    created: str
    number: str
    lifecycle: list[dict[str, Any]] = field(default_factory=lambda: [ABORT_RULE])
    cors: list[dict[str, Any]] | None = None
    lock: list[dict[str, Any]] = field(default_factory=list)
    public: bool = False
    domains: dict[str, dict[str, Any]] = field(default_factory=dict)
    objects: dict[str, int] = field(default_factory=dict)
    uploads: int = 0

    def shown(self) -> dict[str, Any]:
        """As the API gives it."""
        return {
            "name": self.name,
            "creation_date": self.created,
            "location": self.location,
            "jurisdiction": self.jurisdiction,
            "storage_class": self.storage_class,
        }


class Buckets:
    """All buckets by (jurisdiction, name). ``most`` fit; ``enabled`` is whether the account has R2 at all."""

    def __init__(self) -> None:
        self.all: dict[tuple[str, str], Bucket] = {}
        self.enabled = True
        self.most = 1_000_000
        self.placed = ""
        """Where new buckets go, whatever was hinted."""
        self.stuck = ("", "")
        """The states at which custom domains stay."""


def jurisdiction_of(request: Request) -> str:
    """The jurisdiction of a request's header."""
    found = request.headers.get("cf-r2-jurisdiction", "default")
    if found not in JURISDICTIONS:
        refuse(400, 10040, "Invalid jurisdiction")
    return found


def bucket_of(cloud: Cloudflare, request: Request) -> Bucket:
    """The bucket of a request's path, in the jurisdiction of its header. Refuses where there is none."""
    buckets = cloud.part(Buckets)
    if not buckets.enabled:
        refuse(403, 10042, "Please enable R2 through the Cloudflare Dashboard.")
    bucket = buckets.all.get((jurisdiction_of(request), request.params["bucket"]))
    if bucket is None:
        refuse(404, 10006, "The specified bucket does not exist.")
    return bucket


def body_of(request: Request, *keys: str) -> dict[str, Any]:
    """The body. Refuses what is no object, and keys that are not known."""
    body = request.body
    if not isinstance(body, dict) or set(body) - set(keys):
        refuse(400, 10040, "The JSON you provided was not well formed or did not validate.")
    return body


def rules_of(request: Request) -> list[dict[str, Any]]:
    """The rules of a body. Refuses too many, and two with one id."""
    rules = body_of(request, "rules").get("rules")
    if not isinstance(rules, list) or len(rules) > MOST_RULES:
        refuse(400, 10040, "The JSON you provided was not well formed or did not validate.")
    ids = [rule["id"] for rule in rules if "id" in rule]
    if len(ids) != len(set(ids)):
        refuse(400, 10040, "Rule ids must be unique.")
    return rules


def listing(items: Sequence[Any], key_of: Any, request: Request) -> tuple[list[Any], dict[str, Any]]:
    """(one page, its ``result_info``) of a list that hands out cursors; a cursor is the last key, disguised."""
    size = min(1000, max(1, int(request.query.get("per_page", 20))))
    cursor = request.query.get("cursor", "")
    after = bytes.fromhex(cursor).decode() if cursor else request.query.get("start_after", "")
    rest = [item for item in items if key_of(item) > after]
    page = rest[:size]
    info: dict[str, Any] = {"per_page": size, "count": len(page)}
    if len(rest) > size:
        info["cursor"] = key_of(page[-1]).encode().hex()
    return page, info


@routes.on("GET", BUCKETS, needs=READ)
def find(cloud: Cloudflare, request: Request) -> Reply:
    """Only those of the header's jurisdiction."""
    buckets = cloud.part(Buckets)
    if not buckets.enabled:
        refuse(403, 10042, "Please enable R2 through the Cloudflare Dashboard.")
    where = jurisdiction_of(request)
    names = sorted(name for of, name in buckets.all if of == where and request.query.get("name_contains", "") in name)
    page, info = listing(names, str, request)
    return Reply(200, {"result": {"buckets": [buckets.all[where, name].shown() for name in page]}, "result_info": info})


@routes.on("POST", BUCKETS, needs=WRITE)
def create(cloud: Cloudflare, request: Request) -> dict[str, Any]:
    """The hint is only a hint."""
    buckets = cloud.part(Buckets)
    if not buckets.enabled:
        refuse(403, 10042, "Please enable R2 through the Cloudflare Dashboard.")
    body = body_of(request, "name", "locationHint", "storageClass")
    name, where = str(body.get("name", "")), jurisdiction_of(request)
    if not NAME.fullmatch(name):
        refuse(400, 10005, "The specified bucket name is not valid.")
    if body.get("locationHint", "weur") not in HINTS or body.get("storageClass", "Standard") not in CLASSES:
        refuse(400, 10040, "The JSON you provided was not well formed or did not validate.")
    if (where, name) in buckets.all:
        refuse(409, 10004, "The bucket you tried to create already exists, and you own it.")
    if len(buckets.all) >= buckets.most:
        refuse(400, 10009, "You have attempted to create more buckets than allowed.")
    location = buckets.placed or body.get("locationHint", "weur")
    bucket = Bucket(name, where, location, body.get("storageClass", "Standard"), cloud.now(), cloud.new_id())
    buckets.all[where, name] = bucket
    return bucket.shown()


@routes.on("GET", BUCKET, needs=READ)
def read(cloud: Cloudflare, request: Request) -> dict[str, Any]:
    return bucket_of(cloud, request).shown()


@routes.on("PATCH", BUCKET, needs=WRITE)
def change(cloud: Cloudflare, request: Request) -> dict[str, Any]:
    """The class is in a header; the body counts for nothing."""
    bucket = bucket_of(cloud, request)
    wanted = request.headers.get("cf-r2-storage-class", "")
    if wanted not in CLASSES:
        refuse(400, 10040, "Missing or invalid storage class.")
    bucket.storage_class = wanted
    return bucket.shown()


@routes.on("DELETE", BUCKET, needs=WRITE)
def remove(cloud: Cloudflare, request: Request) -> dict[str, Any]:
    bucket = bucket_of(cloud, request)
    if bucket.objects or bucket.uploads:
        refuse(409, 10008, "The bucket you tried to delete is not empty.")
    del cloud.part(Buckets).all[bucket.jurisdiction, bucket.name]
    return {}


@routes.on("GET", f"{BUCKET}/lifecycle", needs=READ)
def lifecycle(cloud: Cloudflare, request: Request) -> dict[str, Any]:
    return {"rules": bucket_of(cloud, request).lifecycle}


@routes.on("PUT", f"{BUCKET}/lifecycle", needs=WRITE)
def set_lifecycle(cloud: Cloudflare, request: Request) -> dict[str, Any]:
    """All rules are replaced."""
    bucket, rules = bucket_of(cloud, request), rules_of(request)
    acts = {"abortMultipartUploadsTransition", "deleteObjectsTransition", "storageClassTransitions"}
    for rule in rules:
        if set(rule) - acts != {"id", "enabled", "conditions"} or not set(rule) & acts:
            refuse(400, 10040, "The JSON you provided was not well formed or did not validate.")
    bucket.lifecycle = rules
    return {}


@routes.on("GET", f"{BUCKET}/cors", needs=READ)
def cors(cloud: Cloudflare, request: Request) -> dict[str, Any]:
    found = bucket_of(cloud, request).cors
    if found is None:
        refuse(404, 10059, "The CORS configuration does not exist.")
    return {"rules": found}


@routes.on("PUT", f"{BUCKET}/cors", needs=WRITE)
def set_cors(cloud: Cloudflare, request: Request) -> dict[str, Any]:
    bucket, rules = bucket_of(cloud, request), rules_of(request)
    for rule in rules:
        allowed = rule.get("allowed") or {}
        good = allowed.get("origins") and allowed.get("methods") and not set(allowed["methods"]) - set(METHODS)
        if not good or not 0 <= rule.get("maxAgeSeconds", 0) <= 86400:
            refuse(400, 10040, "The JSON you provided was not well formed or did not validate.")
    bucket.cors = rules
    return {}


@routes.on("DELETE", f"{BUCKET}/cors", needs=WRITE)
def remove_cors(cloud: Cloudflare, request: Request) -> dict[str, Any]:
    bucket_of(cloud, request).cors = None
    return {}


@routes.on("GET", f"{BUCKET}/lock", needs=READ)
def lock(cloud: Cloudflare, request: Request) -> dict[str, Any]:
    return {"rules": bucket_of(cloud, request).lock}


@routes.on("PUT", f"{BUCKET}/lock", needs=WRITE)
def set_lock(cloud: Cloudflare, request: Request) -> dict[str, Any]:
    """All rules are replaced."""
    bucket, rules = bucket_of(cloud, request), rules_of(request)
    for rule in rules:
        if (rule.get("condition") or {}).get("type") not in ("Age", "Date", "Indefinite") or "enabled" not in rule:
            refuse(400, 10040, "The JSON you provided was not well formed or did not validate.")
    bucket.lock = rules
    return {}


@routes.on("GET", f"{BUCKET}/domains/managed", needs=READ)
def managed(cloud: Cloudflare, request: Request) -> dict[str, Any]:
    bucket = bucket_of(cloud, request)
    return {"bucketId": bucket.number, "domain": f"pub-{bucket.number}.r2.dev", "enabled": bucket.public}


@routes.on("PUT", f"{BUCKET}/domains/managed", needs=WRITE)
def set_managed(cloud: Cloudflare, request: Request) -> dict[str, Any]:
    bucket_of(cloud, request).public = bool(body_of(request, "enabled")["enabled"])
    shown: dict[str, Any] = managed(cloud, request)
    return shown


def domain_shown(cloud: Cloudflare, domain: dict[str, Any], *, further: bool = False) -> dict[str, Any]:
    """A custom domain with its states, which go on when one asks for it."""
    ownership, ssl = STEPS[min(domain["step"], len(STEPS) - 1)]
    if any(cloud.part(Buckets).stuck):
        ownership, ssl = cloud.part(Buckets).stuck
    if further:
        domain["step"] += 1
    shown = {key: value for key, value in domain.items() if key != "step"}
    zone = cloud.part(zones.Zones).by_id[domain["zoneId"]]
    return {**shown, "zoneName": zone["name"], "status": {"ownership": ownership, "ssl": ssl}}


def domain_of(cloud: Cloudflare, request: Request) -> dict[str, Any]:
    """The custom domain of a request's path."""
    domain = bucket_of(cloud, request).domains.get(request.params["domain"])
    if domain is None:
        refuse(404, 10061, "The custom domain does not exist.")
    return domain


@routes.on("GET", f"{BUCKET}/domains/custom", needs=READ)
def domains(cloud: Cloudflare, request: Request) -> dict[str, Any]:
    return {"domains": [domain_shown(cloud, each) for each in bucket_of(cloud, request).domains.values()]}


@routes.on("POST", f"{BUCKET}/domains/custom", needs=WRITE)
def add_domain(cloud: Cloudflare, request: Request) -> dict[str, Any]:
    bucket = bucket_of(cloud, request)
    body = body_of(request, "domain", "zoneId", "enabled", "minTLS", "ciphers")
    zone = cloud.part(zones.Zones).by_id.get(body.get("zoneId", ""))
    if zone is None or not f".{body['domain']}".endswith(f".{zone['name']}"):
        refuse(400, 10062, "The domain does not belong to the zone.")
    if any(body["domain"] in each.domains for each in cloud.part(Buckets).all.values()):
        refuse(409, 10073, "The domain is in use by a bucket.")
    bucket.domains[body["domain"]] = {"minTLS": "1.0", **body, "step": 0}
    return {key: value for key, value in bucket.domains[body["domain"]].items() if key != "step"}


@routes.on("GET", f"{BUCKET}/domains/custom/{{domain}}", needs=READ)
def domain(cloud: Cloudflare, request: Request) -> dict[str, Any]:
    return domain_shown(cloud, domain_of(cloud, request), further=True)


@routes.on("PUT", f"{BUCKET}/domains/custom/{{domain}}", needs=WRITE)
def set_domain(cloud: Cloudflare, request: Request) -> dict[str, Any]:
    found = domain_of(cloud, request)
    found.update(body_of(request, "enabled", "minTLS", "ciphers"))
    return {key: value for key, value in found.items() if key not in ("step", "zoneId")}


@routes.on("DELETE", f"{BUCKET}/domains/custom/{{domain}}", needs=WRITE)
def remove_domain(cloud: Cloudflare, request: Request) -> dict[str, Any]:
    name = domain_of(cloud, request)["domain"]
    del bucket_of(cloud, request).domains[name]
    return {"domain": name}


@routes.on("GET", f"{BUCKET}/objects", needs=READ)
def objects(cloud: Cloudflare, request: Request) -> Reply:
    bucket = bucket_of(cloud, request)
    keys = sorted(key for key in bucket.objects if key.startswith(request.query.get("prefix", "")))
    page, info = listing(keys, str, request)
    found = [{"key": key, "size": 1, "last_modified": stamp(bucket.objects[key])} for key in page]
    return Reply(200, {"result": found, "result_info": info})


@routes.on("DELETE", f"{BUCKET}/objects/{{key+}}", needs=WRITE)
def remove_object(cloud: Cloudflare, request: Request) -> dict[str, Any]:
    """Refuses what a lock holds."""
    bucket, key = bucket_of(cloud, request), request.params["key"]
    for rule in bucket.lock:
        if rule["enabled"] and key.startswith(rule.get("prefix") or "") and held(cloud, rule, bucket.objects.get(key)):
            refuse(403, 10069, "The object is locked by the bucket policy.")
    if bucket.objects.pop(key, None) is None:
        refuse(404, 10007, "The specified key does not exist.")
    return {"key": key}


def held(cloud: Cloudflare, rule: dict[str, Any], put: int | None) -> bool:
    """Whether a lock rule holds what was put at a moment."""
    condition = rule["condition"]
    if condition["type"] == "Age":
        return put is not None and cloud.clock() < put + condition["maxAgeSeconds"]
    return condition["type"] == "Indefinite" or bool(cloud.now() < condition["date"])


def add_bucket(cloud: Cloudflare, name: str, jurisdiction: str = "default") -> Bucket:
    """A bucket that was there before."""
    bucket = Bucket(name, jurisdiction, "weur", "Standard", cloud.now(), cloud.new_id())
    return cloud.part(Buckets).all.setdefault((jurisdiction, name), bucket)


def put_objects(cloud: Cloudflare, name: str, *keys: str, jurisdiction: str = "default") -> None:
    """What comes through S3 otherwise."""
    bucket = cloud.part(Buckets).all[jurisdiction, name]
    bucket.objects.update(dict.fromkeys(keys, int(cloud.clock())))


@routes.on("POST", "/_double/r2/objects")
def put(cloud: Cloudflare, request: Request) -> None:
    """``{bucket, keys, jurisdiction?}``."""
    body = request.body
    put_objects(cloud, body["bucket"], *body["keys"], jurisdiction=body.get("jurisdiction", "default"))


PERMISSIONS = ("admin-read-write", "admin-read-only", "object-read-write", "object-read-only")


@routes.on("POST", f"{PREFIX}/accounts/{{account}}/r2/temp-access-credentials", needs=WRITE)
def lend(cloud: Cloudflare, request: Request) -> dict[str, Any]:
    """Credentials that end: made of a token that is there, for at most a week."""
    body = body_of(request, "bucket", "parentAccessKeyId", "permission", "ttlSeconds", "objects", "prefixes")
    if (jurisdiction_of(request), body.get("bucket")) not in cloud.part(Buckets).all:
        refuse(404, 10006, "The specified bucket does not exist.")
    if not 1 <= body.get("ttlSeconds", 0) <= 604800 or body.get("permission") not in PERMISSIONS:
        refuse(400, 10040, "The JSON you provided was not well formed or did not validate.")
    if body.get("parentAccessKeyId") not in {token.id for token in cloud.tokens.values()}:
        refuse(403, 10003, "The parent access key is not valid.")
    number = cloud.new_id()
    return {"accessKeyId": number, "secretAccessKey": f"{number}-lent", "sessionToken": f"{number}-session"}
