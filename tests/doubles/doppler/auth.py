"""Who asks: login of identities, the token itself, and service tokens of a config, whose key is shown once."""

from __future__ import annotations

from typing import Any

from tests.doubles.doppler.core import Doppler, Token, refuse
from tests.doubles.web import Reply, Request, Routes

routes = Routes()
HOME = "/v3/configs/config/tokens"


@routes.on("POST", "/v3/auth/oidc", needs="-")
def login(double: Doppler, request: Request) -> dict[str, Any]:
    proof, configs = double.identities.get(str(request.body.get("identity")), ("", ()))
    if not proof or request.body.get("token") != proof:
        refuse(401, "Unable to authenticate identity")
    token = double.add_token(f"dp.said.{double.new_id('said')}", configs)
    token.expires_at = "2999-01-01T00:00:00.000Z"
    return {
        "success": True,
        "token": token.value,
        "expires_at": token.expires_at,
        "dashboard_url": "https://dashboard.doppler.com",
    }


@routes.on("POST", "/v3/auth/revoke", needs="-")
def revoke(double: Doppler, request: Request) -> dict[str, Any]:
    if double.tokens.pop(str(request.body.get("token")), None) is None:
        refuse(401, "Invalid Auth token")
    return {"success": True}


@routes.on("GET", "/v3/me", needs="read")
def me(double: Doppler, request: Request) -> dict[str, Any]:
    token = double.token_of(request)
    return {
        "slug": token.slug,
        "name": token.name,
        "type": "service_token" if token.service else "service_account_api_token",
        "token_preview": f"{token.value[:12]}…",
        "created_at": token.created_at,
        "last_seen_at": double.now(),
        "workplace": {"slug": "0" * 20, "name": "the workplace"},
    }


def shown(double: Doppler, token: Token) -> dict[str, Any]:
    """A service token without its key."""
    config = double.configs[token.configs[0]]
    return {
        "name": token.name,
        "slug": token.slug,
        "created_at": token.created_at,
        "expires_at": token.expires_at,
        "access": token.access,
        "project": config.project,
        "environment": config.environment,
        "config": config.name,
    }


@routes.on("GET", HOME, needs="read")
def tokens(double: Doppler, request: Request) -> dict[str, Any]:
    key = double.config_of(request).key
    return {"tokens": [shown(double, each) for each in double.tokens.values() if each.service and key in each.configs]}


@routes.on("POST", HOME, needs="write")
def make(double: Doppler, request: Request) -> dict[str, Any]:
    config = double.config_of(request)
    if not request.body.get("name"):
        refuse(400, "You must specify a name")
    if request.body.get("access", "read") not in ("read", "read/write"):
        refuse(400, "Invalid access")
    token = double.add_token(
        f"dp.st.{config.name}.{double.new_id('key')}",
        [config.key],
        request.body.get("access", "read"),
        expires_at=request.body.get("expire_at"),
    )
    token.name = request.body["name"]
    return {"token": {**shown(double, token), "key": token.value}}


@routes.on("DELETE", f"{HOME}/token", needs="write")
def remove(double: Doppler, request: Request) -> Reply:
    key, slug = double.config_of(request).key, request.body.get("slug")
    value = next((each.value for each in double.tokens.values() if (each.slug, each.configs) == (slug, (key,))), None)
    if value is None:
        refuse(404, "Could not find requested token")
    del double.tokens[value]
    return Reply(204, raw=b"")
