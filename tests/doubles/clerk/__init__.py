"""A stand-in for Clerk's Frontend API: one user who signs in with one click, signed session tokens, and their keys.

It publishes the keys at ``/.well-known/jwks.json``, serves a browser script with the few members a site uses, and
signs the tokens that the script asks for (RS256, version 2). ``python -m tests.doubles.clerk`` serves it alone.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.doubles.web import CONTROL, Reply, Request, Routes, Stop, WebDouble

SCRIPT = Path(__file__).with_name("clerk.browser.js")
LIFE = 60
"""Seconds a session token is good for, as with Clerk."""
CLI_LIFE = 30 * 86400
"""Seconds of a token from the template ``cli``."""
PUBLISHABLE_KEY = "pk_test_ZXhhbXBsZS5hY2NvdW50cy5kZXYk"
ISSUER = "https://example.accounts.dev"
"""What the key says in Base64."""

routes = Routes()


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@dataclass
class Key:
    """An RSA key pair and the name it is published under."""

    name: str
    pair: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65537, 2048))

    def published(self) -> dict[str, str]:
        """The public half, as a member of a key set."""
        numbers = self.pair.public_key().public_numbers()
        n, e = (number.to_bytes((number.bit_length() + 7) // 8) for number in (numbers.n, numbers.e))
        return {"use": "sig", "kty": "RSA", "kid": self.name, "alg": "RS256", "n": _text(n), "e": _text(e)}

    def sign(self, claims: dict[str, Any]) -> str:
        """A token of these claims, whatever they are."""
        header = {"alg": "RS256", "cat": "cl_B7d4PD111AAA", "kid": self.name, "typ": "JWT"}
        signed = ".".join(_text(json.dumps(part, separators=(",", ":")).encode()) for part in (header, claims))
        return f"{signed}.{_text(self.pair.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


class Clerk(WebDouble):
    """The service: its keys, the newest of which signs, and the sessions of its one user."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        super().__init__(routes, clock=clock)
        self.keys = [Key("ins_1")]
        self.sessions: set[str] = set()
        self.role = ""
        """Role of the user in an organisation, if any."""

    def rotate(self) -> None:
        """Sign with a new key from now on, and publish it alone."""
        self.keys = [Key(f"ins_{int(self.keys[-1].name.removeprefix('ins_')) + 1}")]

    def token(self, life: float = LIFE, **changes: Any) -> str:
        """A good session token, with ``changes`` laid over its claims; None takes a claim away."""
        now = int(self.clock())
        claims: dict[str, Any] = {
            "azp": "https://example.org", "exp": now + int(life), "fva": [0, -1], "iat": now, "iss": ISSUER,
            "nbf": now - 10, "sid": "sess_1", "sts": "active", "sub": "user_1", "v": 2,
        }  # fmt: skip
        if self.role:
            claims["o"] = {"id": "org_1", "rol": self.role, "slg": "trees"}
        claims |= changes
        return self.keys[-1].sign({name: value for name, value in claims.items() if value is not None})

    def dress(self, reply: Reply) -> Reply:
        """Any origin may read: which ones may sign in is what ``azp`` is for."""
        reply.headers |= {
            "Access-Control-Allow-Origin": "*",
            "Access-Control-Allow-Headers": "content-type",
            "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
        }
        return reply


@routes.on("GET", "/.well-known/jwks.json")
def key_set(double: Clerk, _request: Request) -> dict[str, Any]:
    return {"keys": [key.published() for key in double.keys]}


@routes.on("GET", "/clerk.browser.js")
def script(_double: Clerk, _request: Request) -> Reply:
    return Reply(200, raw=SCRIPT.read_bytes(), content_type="text/javascript; charset=utf-8")


@routes.on("OPTIONS", "/v1/{path+}")
def preflight(_double: Clerk, _request: Request) -> Reply:
    return Reply(204)


@routes.on("POST", "/v1/client/sign_ins")
def sign_in(double: Clerk, _request: Request) -> dict[str, Any]:
    session = f"sess_{len(double.sessions) + 1}"
    double.sessions.add(session)
    return {"session": session, "user": {"id": "user_1", "fullName": "Ada Forester"}}


@routes.on("POST", "/v1/client/sessions/{session}/remove")
def sign_out(double: Clerk, request: Request) -> dict[str, Any]:
    double.sessions.discard(request.params["session"])
    return {}


def _signed(double: Clerk, request: Request, life: float) -> dict[str, Any]:
    session = request.params["session"]
    if session not in double.sessions:
        raise Stop(Reply(404, {"errors": [{"code": "resource_not_found", "message": "No session was found"}]}))
    return {"object": "token", "jwt": double.token(life, sid=session, azp=request.headers.get("origin"))}


@routes.on("POST", "/v1/client/sessions/{session}/tokens")
def session_token(double: Clerk, request: Request) -> dict[str, Any]:
    return _signed(double, request, LIFE)


@routes.on("POST", "/v1/client/sessions/{session}/tokens/cli")
def cli_token(double: Clerk, request: Request) -> dict[str, Any]:
    return _signed(double, request, CLI_LIFE)


@routes.on("POST", f"{CONTROL}rotate")
def rotate(double: Clerk, _request: Request) -> dict[str, Any]:
    double.rotate()
    return {}


@routes.on("POST", f"{CONTROL}tokens")
def token(double: Clerk, request: Request) -> dict[str, Any]:
    """``{life?, ...claims}``."""
    return {"jwt": double.token(**(request.body or {}))}
