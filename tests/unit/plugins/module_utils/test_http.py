"""Retries, rate limits and errors of every cloud client, without a network and once over real sockets."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.sapflux.hosting.plugins.module_utils import _http
from ansible_collections.sapflux.hosting.plugins.module_utils._http import Client, HttpError, retry_after

from tests.unit.plugins.module_utils.scripted_http import Call, Script

BASE = "https://api.example.org/v1"
TOKEN = "marker-token"


def scripted(*calls: Call, **options: Any) -> tuple[Client, Script]:
    """A client whose requests are those of a script."""
    script = Script(BASE, calls)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    client = Client(
        "Example", BASE, headers, [TOKEN], opener=script, sleep=script.sleep, clock=lambda: 1000.0, **options
    )
    return client, script


def said(_status: int, body: Any) -> str:
    return str(body.get("message", ""))


def test_a_request_carries_query_body_and_headers() -> None:
    client, script = scripted(
        Call(
            "POST",
            "/things?name=a%20b&deep=true",
            {"id": 7},
            body={"size": 1},
            sent_headers={"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json", "X-One": "1"},
        )
    )
    query = {"name": "a b", "deep": True, "none": None}
    answer = client.request("POST", "/things", query, {"size": 1}, {"X-One": "1"})
    assert (answer.status, answer.body, client.requests) == (200, {"id": 7}, 1)
    script.done()


def test_an_empty_answer_is_none() -> None:
    client, _script = scripted(Call("DELETE", "/things/7", status=204, raw=b""))
    assert client.request("DELETE", "/things/7").body is None


@pytest.mark.parametrize("status", [500, 502, 503, 504, 520, 530])
def test_what_may_pass_is_tried_again_with_growing_pauses(status: int) -> None:
    bad = Call("GET", "/things", status=status, raw=b"<html>bad</html>", headers={"Content-Type": "text/html"})
    client, script = scripted(bad, bad, Call("GET", "/things", []))
    assert client.request("GET", "/things").body == []
    assert script.pauses == [0.5, 1.0]


def test_a_failure_after_all_tries_names_the_request_and_not_the_page() -> None:
    page = Call("GET", "/things", status=502, raw=b"<html>secret page</html>", headers={"Content-Type": "text/html"})
    client, script = scripted(*[page] * 5)
    with pytest.raises(HttpError) as caught:
        client.request("GET", "/things")
    assert str(caught.value) == "Example answered GET /things with 502: a page that is no JSON (text/html)"
    assert caught.value.status == 502
    script.done()


def test_a_post_that_failed_is_not_repeated() -> None:
    client, script = scripted(Call("POST", "/things", {}, status=503))
    with pytest.raises(HttpError, match="503"):
        client.request("POST", "/things", body={})
    assert script.pauses == []


def test_a_cut_connection_is_tried_again_where_that_is_safe() -> None:
    cut = ConnectionResetError(104, "reset by peer")
    client, script = scripted(Call("PUT", "/things/7", error=cut), Call("PUT", "/things/7", {"id": 7}))
    assert client.request("PUT", "/things/7", body={}).body == {"id": 7}
    script.done()
    client, script = scripted(Call("POST", "/things", error=cut))
    with pytest.raises(HttpError, match="it may have been carried out, so look before you repeat it"):
        client.request("POST", "/things", body={})
    script.done()


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_rate_limit_is_waited_for_by_every_method(method: str) -> None:
    """Nothing was done, so even a POST may be sent again."""
    limited = Call(method, "/things", {}, status=429, headers={"Retry-After": "12"})
    client, script = scripted(limited, Call(method, "/things", {"ok": True}))
    assert client.request(method, "/things").body == {"ok": True}
    assert script.pauses == [12.0]


def test_a_rate_limit_that_lasts_is_reported_with_its_time() -> None:
    client, script = scripted(Call("GET", "/things", {}, status=429, headers={"Retry-After": "3600"}))
    with pytest.raises(HttpError, match="is asked too often; wait 3600 s and run this again"):
        client.request("GET", "/things")
    assert script.pauses == []


def test_an_error_is_explained_and_never_shows_a_secret() -> None:
    client, _script = scripted(Call("GET", "/things", {"message": f"bad token {TOKEN}"}, status=401), explain=said)
    with pytest.raises(HttpError) as caught:
        client.request("GET", "/things")
    assert str(caught.value) == "Example answered GET /things with 401: bad token ********"
    assert caught.value.body == {"message": f"bad token {TOKEN}"}


def test_an_accepted_status_is_an_answer() -> None:
    client, _script = scripted(Call("GET", "/things/8", {"message": "no"}, status=404))
    assert client.request("GET", "/things/8", accept=(404,)).status == 404


def test_a_final_answer_is_not_repeated() -> None:
    client, script = scripted(
        Call("GET", "/things", {"message": "down for good"}, status=500),
        explain=said,
        final=lambda _s, body: bool(body),
    )
    with pytest.raises(HttpError, match="down for good"):
        client.request("GET", "/things")
    script.done()


def test_a_good_status_with_a_page_is_an_error() -> None:
    client, _script = scripted(Call("GET", "/things", raw=b"<html>", headers={"Content-Type": "text/html; charset=x"}))
    with pytest.raises(HttpError, match=r"something that is no JSON \(text/html\)"):
        client.request("GET", "/things")


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 0),
        ({"retry-after": "7"}, 7),
        ({"retry-after": "Thu, 01 Jan 1970 00:17:00 GMT"}, 20),
        ({"retry-after": "soon"}, 0),
        ({"ratelimit": '"default";r=0;t=12'}, 12),
        ({"ratelimit": '"default";r=3;t=12'}, 0),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1030"}, 30),
        ({"x-ratelimit-remaining": "4", "x-ratelimit-reset": "1030"}, 0),
        ({"x-ratelimit-reset": "tomorrow"}, 0),
    ],
)
def test_how_long_an_answer_asks_to_wait(headers: dict[str, str], seconds: float) -> None:
    assert retry_after(headers, 1000.0) == seconds


class _Api(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b'{"ok": true}'
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/fine")
            body = b""
        elif self.path == "/missing":
            self.send_response(404)
            body = b'{"message": "nothing here"}'
        else:
            self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body) + (9 if self.path == "/cut" else 0)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Says nothing."""


@pytest.fixture
def live() -> Iterator[Client]:
    """A client of a server on this machine."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Api)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Client(
        "Example", f"http://127.0.0.1:{server.server_port}", explain=said, tries=2, sleep=lambda _seconds: None
    )
    server.shutdown()
    server.server_close()


def test_over_real_sockets(live: Client) -> None:
    assert live.request("GET", "/fine").body == {"ok": True}
    assert live.request("GET", "/missing", accept=(404,)).body == {"message": "nothing here"}
    with pytest.raises(HttpError, match="with 302"):
        live.request("GET", "/moved")
    with pytest.raises(HttpError, match="could not be reached for GET /cut"):
        live.request("GET", "/cut")


def test_only_web_addresses_are_asked() -> None:
    with pytest.raises(ValueError, match="is no URL of a web server"):
        _http.urllib_opener("GET", "file:///etc/passwd", {}, None, 1.0)
