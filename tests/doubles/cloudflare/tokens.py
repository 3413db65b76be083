"""API tokens of the account and of the user: made with their value once, rolled, switched off, deleted."""

from __future__ import annotations

import hashlib
from typing import Any

from tests.doubles.cloudflare.core import GROUPS, LEVELS, PREFIX, Cloudflare, Token, refuse
from tests.doubles.web import Reply, Request, Routes

routes = Routes()

QUOTA = {"account": 500, "user": 50}
HOMES = (
    ("account", f"{PREFIX}/accounts/{{account}}/tokens", "Account API Tokens"),
    ("user", f"{PREFIX}/user/tokens", "API Tokens"),
)


def shown(cloud: Cloudflare, token: Token) -> dict[str, Any]:
    """A token without its value."""
    expired = token.expires_on is not None and token.expires_on <= cloud.now()
    shape: dict[str, Any] = {
        "id": token.id,
        "name": token.name,
        "status": "expired" if expired else token.status,
        "issued_on": token.issued_on,
        "modified_on": token.issued_on,
        "policies": [
            {
                **policy,
                "permission_groups": [{**group, "name": GROUPS[group["id"]]} for group in policy["permission_groups"]],
            }
            for policy in token.policies
        ],
    }
    for key in ("expires_on", "not_before", "condition"):
        if getattr(token, key):
            shape[key] = getattr(token, key)
    return shape


def checked(request: Request, owner: str) -> dict[str, Any]:
    """The body of a wish. Refuses what the API refuses."""
    body = request.body if isinstance(request.body, dict) else {}
    if not body.get("name") or len(body["name"]) > 120 or not body.get("policies"):
        refuse(400, 1001, "Invalid token: name and policies are required")
    for policy in body["policies"]:
        levels = set()
        for group in policy.get("permission_groups", []):
            if group.get("id") not in GROUPS:
                refuse(400, 1001, "Invalid permission group")
            if owner == "account" and GROUPS[group["id"]].startswith("API Tokens"):
                refuse(400, 1001, "Permission group is not available for account tokens")
            levels.add(LEVELS[GROUPS[group["id"]].rpartition(" ")[0]])
        if len(levels) != 1 or not policy.get("resources") or policy.get("effect") not in ("allow", "deny"):
            refuse(400, 1001, "Permission groups of different scopes must be in different policies")
    return body


def fill(token: Token, body: dict[str, Any]) -> None:
    """Take over a wish."""
    token.name = body["name"]
    token.policies = [
        {
            "id": policy.get("id") or hashlib.md5(repr(policy).encode(), usedforsecurity=False).hexdigest(),
            "effect": policy["effect"],
            "permission_groups": [{"id": group["id"]} for group in policy["permission_groups"]],
            "resources": policy["resources"],
        }
        for policy in body["policies"]
    ]
    token.condition = body.get("condition") or {}
    token.expires_on, token.not_before = body.get("expires_on"), body.get("not_before")
    token.status = body.get("status", token.status)


def new_value(cloud: Cloudflare) -> str:
    """A secret that looks like theirs."""
    return (cloud.new_id() + cloud.new_id())[:40]


def serve(owner: str, home: str, group: str) -> None:
    """The same places twice: below the account and below the user."""

    def one(cloud: Cloudflare, request: Request) -> Token:
        token = cloud.tokens.get(request.params["token"])
        if token is None or token.owner != owner:
            refuse(404, 1003, "Token not found")
        return token

    @routes.on("GET", f"{home}/verify")
    def verify(cloud: Cloudflare, request: Request) -> Any:
        """A token verifies only where it lives."""
        token = cloud.token_of(request)
        if token.owner != owner:
            refuse(401, 1000, "Invalid API Token")
        result = {"id": token.id, "status": token.status}
        if token.expires_on:
            result["expires_on"] = token.expires_on
        message = {"code": 10000, "message": "This API Token is valid and active", "type": None}
        return Reply(200, {"result": result, "messages": [message]})

    @routes.on("GET", f"{home}/permission_groups", needs=f"{group} Read")
    def groups(_cloud: Cloudflare, request: Request) -> list[dict[str, Any]]:
        wanted = request.query.get("name", "")
        return [
            {
                "id": key,
                "name": name,
                "scopes": [LEVELS[name.rpartition(" ")[0]]],
                "category": "other",
                "is_selectable": True,
            }
            for key, name in GROUPS.items()
            if wanted in ("", name)
        ]

    @routes.on("GET", home, needs=f"{group} Read")
    def listed(cloud: Cloudflare, request: Request) -> Reply:
        return cloud.pages([shown(cloud, each) for each in cloud.tokens.values() if each.owner == owner], request)

    @routes.on("POST", home, needs=f"{group} Write")
    def create(cloud: Cloudflare, request: Request) -> dict[str, Any]:
        body = checked(request, owner)
        if sum(each.owner == owner for each in cloud.tokens.values()) >= QUOTA[owner]:
            refuse(403, 1007, "Token quota exceeded")
        token = Token(cloud.new_id(), new_value(cloud), "", [], owner, issued_on=cloud.now())
        fill(token, body)
        cloud.tokens[token.id] = token
        return {**shown(cloud, token), "value": token.value}

    @routes.on("GET", f"{home}/{{token}}", needs=f"{group} Read")
    def read(cloud: Cloudflare, request: Request) -> dict[str, Any]:
        return shown(cloud, one(cloud, request))

    @routes.on("PUT", f"{home}/{{token}}", needs=f"{group} Write")
    def update(cloud: Cloudflare, request: Request) -> dict[str, Any]:
        token = one(cloud, request)
        fill(token, checked(request, owner))
        return shown(cloud, token)

    @routes.on("PUT", f"{home}/{{token}}/value", needs=f"{group} Write")
    def roll(cloud: Cloudflare, request: Request) -> str:
        token = one(cloud, request)
        token.value = new_value(cloud)
        return token.value

    @routes.on("DELETE", f"{home}/{{token}}", needs=f"{group} Write")
    def delete(cloud: Cloudflare, request: Request) -> dict[str, str]:
        del cloud.tokens[one(cloud, request).id]
        return {"id": request.params["token"]}


for _home in HOMES:
    serve(*_home)
