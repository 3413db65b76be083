"""R2's other door: objects through S3, for whoever holds a key pair that was made of a token of this account.

Whether something may be done is judged here, as R2 does it: by the signature, the token that the access key names, what
its policies allow, and the buckets of the REST API. What may be done is done by the store behind it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from typing import NoReturn
from urllib.parse import quote

from tests.doubles.cloudflare import r2, tokens
from tests.doubles.cloudflare.core import ACCOUNT, GROUPS, Cloudflare, Token
from tests.doubles.web import CONTROL, Reply, Request, Stop, WebDouble

DOMAIN = "r2.cloudflarestorage.com"
HOST = f"{ACCOUNT}.{DOMAIN}"
ITEMS = "Workers R2 Storage Bucket Item"
ALGORITHM = "AWS4-HMAC-SHA256"
CREDENTIAL = re.compile(
    rf"{ALGORITHM} Credential=(?P<key>[^/]+)/(?P<scope>\d{{8}}/[^/]+/s3/aws4_request), ?"
    r"SignedHeaders=(?P<names>[a-z0-9;-]+), ?Signature=(?P<signature>[0-9a-f]{64})"
)
Backend = Callable[[Request], Reply]


def signature(secret: str, scope: str, names: str, request: Request) -> str:
    """The signature of a request whose headers ``names`` are signed; ``scope`` is day, region, service and its end."""
    headers = request.headers
    query = "&".join(f"{quote(key, safe='~')}={quote(request.query[key], safe='~')}" for key in sorted(request.query))
    lines = "".join(f"{name}:{headers.get(name, '').strip()}\n" for name in names.split(";"))
    canonical = "\n".join([request.method, request.path, query, lines, names, headers["x-amz-content-sha256"]])
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    text = "\n".join([ALGORITHM, headers["x-amz-date"], scope, digest])
    return hmac.new(key, text.encode(), "sha256").hexdigest()


def authorization(key: str, secret: str, region: str, request: Request) -> str:
    """The header that signs a request; its ``x-amz-date`` and ``x-amz-content-sha256`` are there already."""
    scope = f"{request.headers['x-amz-date'][:8]}/{region}/s3/aws4_request"
    names = ";".join(sorted(request.headers))
    signed = signature(secret, scope, names, request)
    return f"{ALGORITHM} Credential={key}/{scope}, SignedHeaders={names}, Signature={signed}"


def secret_of(token: Token) -> str:
    """The secret access key that a token is."""
    return hashlib.sha256(token.value.encode()).hexdigest()


def refuse(status: int, code: str, message: str) -> NoReturn:
    """Answer with an error in the form of S3."""
    body = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'
    raise Stop(Reply(status, raw=body.encode(), content_type="application/xml"))


class Objects(WebDouble):
    """S3 in front of a ``backend``, for the tokens and buckets of ``cloud``; ``used`` counts requests by token name."""

    def __init__(self, cloud: Cloudflare, backend: Backend) -> None:
        super().__init__()
        self.cloud, self.backend = cloud, backend
        self.used: dict[str, int] = {}

    def handle(self, request: Request) -> Reply:
        """Answer one request."""
        if request.path.startswith(CONTROL):
            return super().handle(request)
        try:
            with self.cloud.lock:
                token = self._token(request)
                self._allow(token, request)
        except Stop as stop:
            return stop.reply
        self.used[token.name] = self.used.get(token.name, 0) + 1
        return self.backend(request)

    def _token(self, request: Request) -> Token:
        given = CREDENTIAL.fullmatch(request.headers.get("authorization", ""))
        if given is None or "x-amz-content-sha256" not in request.headers:
            refuse(400, "InvalidRequest", "Missing or malformed authorization")
        token = self.cloud.tokens.get(given["key"])
        if token is None or tokens.shown(self.cloud, token)["status"] != "active":
            refuse(401, "Unauthorized", "Unauthorized")
        wanted = signature(secret_of(token), given["scope"], given["names"], request)
        if not hmac.compare_digest(wanted, given["signature"]):
            refuse(403, "SignatureDoesNotMatch", "The request signature we calculated does not match the signature.")
        return token

    def _allow(self, token: Token, request: Request) -> None:
        """Refuse what the token may not do, and what there is no bucket for."""
        where = jurisdiction_of(request.headers)
        bucket = request.path.strip("/").partition("/")[0]
        verbs = ("Read", "Write") if request.method in ("GET", "HEAD") else ("Write",)
        resource = f"com.cloudflare.edge.r2.bucket.{ACCOUNT}_{where}_{bucket}"
        allowed = {
            GROUPS[group["id"]]
            for policy in token.policies
            if policy["effect"] == "allow" and resource in policy["resources"]
            for group in policy["permission_groups"]
        }
        if not allowed & {f"{ITEMS} {verb}" for verb in verbs}:
            refuse(403, "AccessDenied", "Access Denied")
        if (where, bucket) not in self.cloud.part(r2.Buckets).all:
            refuse(404, "NoSuchBucket", "The specified bucket does not exist.")


def jurisdiction_of(headers: Mapping[str, str]) -> str:
    """The jurisdiction that a host name stands for: ``<account>.eu.r2...`` is another one than ``<account>.r2...``."""
    name = headers.get("host", "").partition(":")[0]
    between = name.removeprefix(f"{ACCOUNT}.").removesuffix(DOMAIN).strip(".")
    return between or "default"
