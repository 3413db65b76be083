"""The client of Hetzner's API: lists to their end, errors in words."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.sapflux.hosting.plugins.module_utils import _hcloud, _http
from ansible_collections.sapflux.hosting.plugins.module_utils._hcloud import Hcloud, HcloudError

from tests.unit.plugins.module_utils.scripted_http import Call, Script

BASE = "https://api.example.org/v1"


def client(monkeypatch: pytest.MonkeyPatch, *calls: Call) -> tuple[Hcloud, Script]:
    """The API is a script."""
    script = Script(BASE, calls)
    monkeypatch.setattr(_http, "urllib_opener", script)
    return Hcloud("secret-token", f"{BASE}/", script.sleep), script


def page(number: int, following: int | None) -> Call:
    """One page of servers."""
    body = {"servers": [{"id": number}], "meta": {"pagination": {"next_page": following}}}
    return Call("GET", f"/servers?page={number}&per_page=50", body)


def failing(code: str, status: int = 422, **more: Any) -> Call:
    """An error."""
    return Call("GET", "/x", {"error": {"code": code, "message": "it is wrong", **more}}, status)


def test_lists_are_read_to_their_end(monkeypatch: pytest.MonkeyPatch) -> None:
    cloud, script = client(monkeypatch, page(1, 2), page(2, None))
    assert [each["id"] for each in cloud.all("servers")] == [1, 2]
    script.done()


def test_a_list_without_end_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_hcloud, "PAGES_MOST", 2)
    cloud, _script = client(monkeypatch, page(1, 2), page(2, 3))
    with pytest.raises(HcloudError, match="list of servers has no end"):
        cloud.all("servers")


def test_a_list_of_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    cloud, _script = client(monkeypatch, Call("GET", "/servers?page=1&per_page=50", {"servers": []}))
    assert cloud.all("servers") == []


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (failing("unauthorized", 401), "it does not know the token"),
        (failing("token_readonly", 403), "the token may only read"),
        (failing("resource_limit_exceeded", 403), "ask for more in Hetzner's console under Limits"),
        (failing("invalid_input", details={"fields": [{"name": "name", "messages": ["is short"]}]}), "name: is short"),
        (failing("strange"), "it is wrong"),
        (Call("GET", "/x", {"error": "text"}, 400), "no reason given"),
        (Call("GET", "/x", ["a list"], 400), "no reason given"),
    ],
)
def test_errors_say_what_to_do(monkeypatch: pytest.MonkeyPatch, call: Call, says: str) -> None:
    cloud, _script = client(monkeypatch, call)
    with pytest.raises(HcloudError, match="Hetzner answered GET /x with") as caught:
        cloud.ask("GET", "/x")
    assert says in str(caught.value)
    assert "secret-token" not in str(caught.value)


def test_a_rate_limit_says_how_long(monkeypatch: pytest.MonkeyPatch) -> None:
    busy = Call("GET", "/x", {"error": {}}, 429, headers={"RateLimit-Reset": "12.0", "RateLimit-Remaining": "0"})
    cloud, script = client(monkeypatch, busy, Call("GET", "/x", {"good": True}))
    cloud.client.clock = lambda: 5.0
    assert cloud.ask("GET", "/x") == {"good": True}
    assert script.pauses == [7.0]
