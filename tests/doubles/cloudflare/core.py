"""What all of Cloudflare's API has in common: envelope, authentication, scopes, rate limit, identifiers."""

from __future__ import annotations

import hashlib
import itertools
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NoReturn

from tests.doubles.web import Reply, Request, Route, Routes, Stop, WebDouble, page_of

PREFIX = "/client/v4"
ACCOUNT = hashlib.md5(b"the account", usedforsecurity=False).hexdigest()
HEX = re.compile(r"[0-9a-f]{32}")
ACCOUNT_KEY = "com.cloudflare.api.account"
ZONE_KEY = f"{ACCOUNT_KEY}.zone"

# Names as the API gives them; what the dashboard calls "Edit" is "Write" here. Write holds Read.
ACCOUNT_GROUPS = ("Account API Tokens", "Account Settings", "Workers R2 Storage", "Queues")
ZONE_GROUPS = (
    "Zone",
    "DNS",
    "Zone Settings",
    "SSL and Certificates",
    "Zone WAF",
    "Cache Settings",
    "Dynamic URL Redirects",
    "Config Rules",
    "Transform Rules",
    "Origin Rules",
)
USER_GROUPS = ("API Tokens",)
BUCKET_GROUPS = ("Workers R2 Storage Bucket Item",)
FIXED_IDS = {
    "Workers R2 Storage Bucket Item Write": "2efd5506f9c8494dacb1fa10a3e7d5b6",
    "Workers R2 Storage Bucket Item Read": "6a018a9f2fc74eb6b293b0c548f38b39",
}
LEVELS = {
    **dict.fromkeys(ACCOUNT_GROUPS, ACCOUNT_KEY),
    **dict.fromkeys(ZONE_GROUPS, ZONE_KEY),
    **dict.fromkeys(USER_GROUPS, "com.cloudflare.api.user"),
    **dict.fromkeys(BUCKET_GROUPS, "com.cloudflare.edge.r2.bucket"),
}


def group_id(name: str) -> str:
    """The identifier of a permission group."""
    return FIXED_IDS.get(name) or hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()


GROUPS = {group_id(f"{name} {verb}"): f"{name} {verb}" for name in LEVELS for verb in ("Read", "Write")}


@dataclass
class Token:
    """An API token; ``owner`` is ``user`` or ``account``."""

    id: str
    value: str
    name: str
    policies: list[dict[str, Any]]
    owner: str = "account"
    status: str = "active"
    issued_on: str = ""
    expires_on: str | None = None
    not_before: str | None = None
    condition: dict[str, Any] = field(default_factory=dict)


def refuse(status: int, code: int, message: str) -> NoReturn:
    """Answer with an error."""
    raise Stop(Reply(status, {"errors": [{"code": code, "message": message}]}))


class Cloudflare(WebDouble):
    """The API. ``limit`` requests in ``window`` seconds, then everything is refused for as long again."""

    def __init__(self, *parts: Routes, clock: Callable[[], float] = time.time) -> None:
        super().__init__(*parts, clock=clock)
        self.tokens: dict[str, Token] = {}
        self.limit = 1200
        self.window = 300
        self.asked: dict[str, list[float]] = {}
        self.blocked: dict[str, float] = {}
        self._numbers = itertools.count(1)

    # What the parts use.

    def new_id(self) -> str:
        """32 hexadecimal digits, the same ones in every run."""
        return hashlib.md5(f"id {next(self._numbers)}".encode(), usedforsecurity=False).hexdigest()

    def now(self) -> str:
        """The moment, as the API writes it."""
        return stamp(self.clock())

    def add_token(self, value: str, *groups: str, zones: Sequence[str] = ("*",), owner: str = "account") -> Token:
        """A token with these permission groups, on all of the account or on some zones only."""
        policies = []
        for level, resources in (
            (ZONE_KEY, {f"{ZONE_KEY}.{zone}": "*" for zone in zones}),
            (ACCOUNT_KEY, {f"{ACCOUNT_KEY}.{ACCOUNT}": "*"}),
            ("com.cloudflare.api.user", {"com.cloudflare.api.user.*": "*"}),
        ):
            ids = [group_id(name) for name in groups if LEVELS[name.rpartition(" ")[0]] == level]
            if ids:
                groups_of = [{"id": each} for each in ids]
                policies.append(
                    {"id": self.new_id(), "effect": "allow", "permission_groups": groups_of, "resources": resources}
                )
        token = Token(self.new_id(), value, "made by the test", policies, owner, issued_on=self.now())
        self.tokens[token.id] = token
        return token

    def pages(self, items: Sequence[Any], request: Request, default: int = 20, most: int = 50) -> Reply:
        """One page of a list, numbered."""
        part, numbers = page_of(items, request.query, default, most)
        return Reply(200, {"result": part, "result_info": numbers})

    def token_of(self, request: Request) -> Token:
        """The token of a request. Refuses where there is none that is good."""
        header = request.headers.get("authorization", "")
        if not header.startswith("Bearer ") or " " in header[7:]:
            chain = [{"code": 6111, "message": "Invalid format for Authorization header"}]
            error = {"code": 6003, "message": "Invalid request headers", "error_chain": chain}
            raise Stop(Reply(400, {"errors": [error]}))
        token = next((each for each in self.tokens.values() if each.value == header[7:]), None)
        if token is None:
            refuse(401, 1000, "Invalid API Token")
        if token.status != "active" or (token.expires_on and token.expires_on <= self.now()):
            refuse(401, 1000, f"API Token is {'expired' if token.status == 'active' else token.status}")
        return token

    def may(self, token: Token, need: str, zone: str = "") -> bool:
        """Whether a token holds a permission group on a zone (or on the account); Write holds Read."""
        names = {need, f"{need.removesuffix(' Read')} Write"}
        verdicts = [
            policy["effect"]
            for policy in token.policies
            if any(GROUPS.get(group["id"]) in names for group in policy["permission_groups"])
            and covers(policy["resources"], need, zone)
        ]
        return bool(verdicts) and "deny" not in verdicts

    # What the web double asks.

    def admit(self, request: Request, route: Route) -> None:
        """Who asks, how often, and whether the token may: ``needs`` is a permission group or ``-`` for nothing."""
        if route.needs == "-":
            return
        token = self.token_of(request)
        self._count(token)
        for name in ("account", "zone"):
            if name in request.params and not HEX.fullmatch(request.params[name]):
                refuse(404, 7003, f"Could not route to {request.path}, perhaps your object identifier is invalid?")
        if request.params.get("account", ACCOUNT) != ACCOUNT:
            refuse(403, 9109, "Unauthorized to access requested resource")
        if route.needs and not self.may(token, route.needs, request.params.get("zone", "")):
            refuse(403, 10000, "Authentication error")

    def _count(self, token: Token) -> None:
        now = self.clock()
        if now < self.blocked.get(token.id, 0):
            self._limited(self.blocked[token.id] - now)
        recent = [moment for moment in self.asked.get(token.id, []) if moment > now - self.window]
        self.asked[token.id] = [*recent, now]
        if len(recent) >= self.limit:
            self.blocked[token.id] = now + self.window
            self._limited(self.window)

    def _limited(self, wait: float) -> NoReturn:
        headers = {"retry-after": str(int(wait) or 1), "Ratelimit": f'"default";r=0;t={int(wait)}'}
        body = {"errors": [{"code": 10013, "message": "More than 1200 requests per 300 seconds reached."}]}
        raise Stop(Reply(429, body, headers))

    def wrap(self, result: Any) -> Reply:
        """A handler gives its ``result``."""
        return Reply(200, {"result": result})

    def dress(self, reply: Reply) -> Reply:
        """The envelope around what a reply has of it (``result``, ``result_info``, ``errors``, ``messages``)."""
        if reply.raw is not None or reply.status == 204:
            return reply
        content: Mapping[str, Any] = reply.body or {}
        envelope = {"success": not content.get("errors"), "errors": [], "messages": [], "result": None, **content}
        policy = {"Ratelimit-Policy": f'"default";q={self.limit};w={self.window}'}
        return Reply(reply.status, envelope, {**policy, **reply.headers})

    def unknown(self, request: Request) -> Reply:
        """No such place."""
        message = f"Could not route to {request.path}, perhaps your object identifier is invalid?"
        return Reply(404, {"errors": [{"code": 7003, "message": message}]})

    def broken(self, status: int) -> Reply:
        """An error in the API's own form."""
        return Reply(status, {"errors": [{"code": 10013 if status == 429 else 10002, "message": "please wait"}]})


def covers(resources: Mapping[str, Any], need: str, zone: str) -> bool:
    """Whether the resources of a policy hold the zone, or the account where there is none."""
    level = LEVELS.get(re.sub(r" (Read|Write)$", "", need), ACCOUNT_KEY)
    if level == ZONE_KEY:
        flat = {key for key, value in resources.items() if value == "*"}
        nested = [value for value in resources.values() if isinstance(value, Mapping)]
        flat |= {key for each in nested for key in each}
        return bool(flat & {f"{ZONE_KEY}.*", f"{ZONE_KEY}.{zone}"}) or (
            not zone and any(ZONE_KEY in key for key in flat)
        )
    if level == ACCOUNT_KEY:
        return bool({f"{ACCOUNT_KEY}.*", f"{ACCOUNT_KEY}.{ACCOUNT}"} & {k for k, v in resources.items() if v == "*"})
    return any(key.startswith(level) for key in resources)


def stamp(moment: float) -> str:
    """A moment as the API writes it."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
