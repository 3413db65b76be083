"""The double of Clerk: its tokens match its keys, its keys rotate, its sessions end."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.doubles.clerk import ISSUER, PUBLISHABLE_KEY, Clerk
from tests.doubles.web import Fault


@pytest.fixture
def double() -> Iterator[Clerk]:
    made = Clerk(clock=lambda: 1_000_000)
    with made.running():
        yield made


def ask(double: Clerk, method: str, path: str, **headers: str) -> Any:
    request = urllib.request.Request(double.url + path, headers=headers, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


def raw(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def claims(token: str, keys: list[dict[str, str]]) -> Any:
    """The claims of a token whose signature matches the key that it names."""
    signed, signature = token.rsplit(".", 1)
    header, payload = (json.loads(raw(part)) for part in signed.split("."))
    key = next(key for key in keys if key["kid"] == header["kid"])
    numbers = rsa.RSAPublicNumbers(*(int.from_bytes(raw(key[part])) for part in ("e", "n")))
    numbers.public_key().verify(raw(signature), signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    assert header["alg"] == key["alg"] == "RS256"
    return payload


def test_a_token_of_a_session(double: Clerk) -> None:
    session = ask(double, "POST", "/v1/client/sign_ins")["session"]
    path = f"/v1/client/sessions/{session}/tokens"
    keys = ask(double, "GET", "/.well-known/jwks.json")["keys"]
    found = claims(ask(double, "POST", path, Origin="https://map.example.org")["jwt"], keys)
    assert found["iss"] == ISSUER
    assert (found["sub"], found["azp"], found["exp"]) == ("user_1", "https://map.example.org", 1_000_060)
    assert claims(ask(double, "POST", f"{path}/cli")["jwt"], keys)["exp"] == 1_000_000 + 30 * 86400
    ask(double, "POST", f"/v1/client/sessions/{session}/remove")
    with pytest.raises(urllib.error.HTTPError, match="404"):
        ask(double, "POST", path)


def test_a_rotated_key_signs_and_the_old_one_is_gone(double: Clerk) -> None:
    old = ask(double, "GET", "/.well-known/jwks.json")["keys"]
    ask(double, "POST", "/_double/rotate")
    new = ask(double, "GET", "/.well-known/jwks.json")["keys"]
    assert [key["kid"] for key in (*old, *new)] == ["ins_1", "ins_2"]
    token = ask(double, "POST", "/_double/tokens")["jwt"]
    assert claims(token, new)["sub"] == "user_1"
    with pytest.raises(InvalidSignature):
        claims(token, [{**old[0], "kid": "ins_2"}])


def test_claims_can_be_changed_and_taken_away(double: Clerk) -> None:
    double.role = "editor"
    keys = [key.published() for key in double.keys]
    found = claims(double.token(-60, azp=None, sub="user_2"), keys)
    assert (found["exp"], found["sub"], found["o"]["rol"]) == (999_940, "user_2", "editor")
    assert "azp" not in found


def test_it_fails_when_it_is_told_to(double: Clerk) -> None:
    double.faults.append(Fault("status", path="jwks", status=503))
    with pytest.raises(urllib.error.HTTPError, match="503"):
        ask(double, "GET", "/.well-known/jwks.json")
    assert ask(double, "GET", "/.well-known/jwks.json")["keys"]


def test_the_key_of_the_site_names_the_issuer() -> None:
    assert f"https://{base64.b64decode(PUBLISHABLE_KEY.removeprefix('pk_test_')).decode()}" == f"{ISSUER}$"
