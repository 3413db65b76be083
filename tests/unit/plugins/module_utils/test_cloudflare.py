"""The client of Cloudflare's API: envelopes, both paginations, refusals with their way out, and what a storm does."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.sapflux.hosting.plugins.module_utils import _cloudflare
from ansible_collections.sapflux.hosting.plugins.module_utils._cloudflare import (
    Cloudflare,
    CloudflareError,
    ascii_name,
    error_codes,
)

from tests.doubles.cloudflare import ACCOUNT, cloudflare, zones
from tests.doubles.web import Fault
from tests.unit.plugins.module_utils.scripted_http import Call, Script

BASE = "https://api.example.org"
TOKEN = "tok-en_of-the-test"


def good(result: Any, **info: Any) -> dict[str, Any]:
    """An envelope."""
    return {"success": True, "errors": [], "messages": [], "result": result, "result_info": info}


def bad(code: int, message: str, **more: Any) -> dict[str, Any]:
    """An envelope of a refusal."""
    return {"success": False, "errors": [{"code": code, "message": message, **more}], "messages": [], "result": None}


def scripted(*calls: Call) -> tuple[Cloudflare, Script]:
    """A client of a script."""
    script = Script(BASE, calls)
    return Cloudflare(TOKEN, BASE + "/", opener=script), script


def refusal(*calls: Call, needs: str = "") -> CloudflareError:
    """How the first of ``calls`` is refused."""
    cloud, script = scripted(*calls)
    with pytest.raises(CloudflareError) as caught:
        cloud.ask(calls[0].method, calls[0].url, needs=needs)
    script.done()
    return caught.value


def test_the_envelope_is_taken_off() -> None:
    cloud, script = scripted(Call("GET", "/x?a=b", good([1]), sent_headers={"Authorization": f"Bearer {TOKEN}"}))
    assert cloud.result("GET", "/x", query={"a": "b"}) == [1]
    script.done()


def test_a_good_status_with_a_refusal_inside_is_a_refusal() -> None:
    error = refusal(Call("POST", "/x", bad(1004, f"no good: {TOKEN}.", source={"pointer": "/rules/0"})))
    assert str(error) == "Cloudflare refused POST /x: no good: ******** (code 1004, at /rules/0)"
    assert (error.status, error.codes, error.uncertain) == (200, frozenset({1004}), False)
    assert "no reason given" in str(refusal(Call("GET", "/x", [])))


def test_a_missing_permission_is_named() -> None:
    error = refusal(Call("GET", "/x", bad(10000, "Authentication error"), status=403), needs="DNS Write")
    assert str(error) == (
        "Cloudflare answered GET /x with 403: Authentication error (code 10000); "
        "check that the token is active, and that it has the permission DNS Write there"
    )
    assert str(refusal(Call("GET", "/x", bad(1000, "Invalid API Token"), status=401))).endswith("token is active")
    # The same code with another status speaks of something else.
    assert "token" not in str(refusal(Call("GET", "/x", bad(10003, "could not find entrypoint"), status=404)))


@pytest.mark.parametrize("code", sorted(_cloudflare.WAYS_OUT))
def test_known_codes_come_with_their_way_out(code: int) -> None:
    assert str(refusal(Call("POST", "/x", bad(code, "no"), status=400))).endswith(_cloudflare.WAYS_OUT[code])


def test_a_chain_of_errors_is_told_whole() -> None:
    chain = [{"code": 6111, "message": "Invalid format for Authorization header"}]
    body = bad(6003, "Invalid request headers", error_chain=chain)
    error = refusal(Call("GET", "/x", body, status=400))
    assert "Invalid request headers, Invalid format for Authorization header (code 6003)" in str(error)
    assert error.codes == {6003, 6111}


@pytest.mark.parametrize("body", [None, [], {"errors": None}, {"errors": ["text", {"code": "x"}]}])
def test_odd_bodies_have_no_codes(body: Any) -> None:
    assert error_codes(body) == []


def test_errors_that_are_plain_text_are_told() -> None:
    body = {"success": False, "errors": ["bucket is busy"], "messages": [], "result": {}}
    assert "with 409: bucket is busy" in str(refusal(Call("GET", "/x", body, status=409)))


def test_a_page_of_the_edge_is_uncertain() -> None:
    error = refusal(Call("POST", "/x", raw=b"<html>", status=520, headers={"Content-Type": "text/html"}))
    assert error.uncertain
    assert "no JSON (text/html)" in str(error)


def test_what_cannot_be_a_token_is_refused_before_it_is_sent() -> None:
    with pytest.raises(CloudflareError, match="api_token is no token") as caught:
        Cloudflare("se cret\n")
    assert "cret" not in str(caught.value)


def test_lists_are_read_to_their_end_by_pages() -> None:
    cloud, script = scripted(
        Call("GET", "/x?name=n&per_page=2", good([1, 2], page=1, total_pages=2)),
        Call("GET", "/x?name=n&per_page=2&page=2", good([3], page=2, total_pages=2)),
    )
    assert list(cloud.pages("/x", {"name": "n"}, size=2)) == [1, 2, 3]
    script.done()


@pytest.mark.parametrize("info", [{"cursor": "c1"}, {"cursors": {"after": "c1"}}])
def test_lists_are_read_to_their_end_by_cursors(info: dict[str, Any]) -> None:
    cloud, script = scripted(
        Call("GET", "/x?per_page=50", good({"buckets": [1]}, **info)),
        Call("GET", "/x?per_page=50&cursor=c1", good({"buckets": [2]}, cursor="")),
    )
    assert list(cloud.pages("/x", key="buckets")) == [1, 2]
    script.done()


def test_a_list_without_end_is_left() -> None:
    cloud, _script = scripted(
        Call("GET", "/x?per_page=50", good([1], cursor="c")),
        Call("GET", "/x?per_page=50&cursor=c", good([1], cursor="c")),
    )
    with pytest.raises(CloudflareError, match="does not end"):
        list(cloud.pages("/x"))


def test_what_is_not_there_is_none() -> None:
    cloud, script = scripted(
        Call("GET", "/x", bad(10003, "no entrypoint"), status=404),
        Call("GET", "/x", bad(10059, "no policy"), status=400),
        Call("GET", "/x", bad(7003, "Could not route"), status=404),
    )
    assert cloud.find("/x") is None
    assert cloud.find("/x", gone=[10059]) is None
    with pytest.raises(CloudflareError, match="check the id of the zone or account"):
        cloud.find("/x")
    script.done()


@pytest.mark.parametrize(
    ("given", "name"),
    [("Example.ORG.", "example.org"), ("bäume.example", "xn--bume-loa.example"), ("_dmarc.x.org", "_dmarc.x.org")],
)
def test_names_are_as_the_api_holds_them(given: str, name: str) -> None:
    assert ascii_name(given) == name


@pytest.mark.parametrize("name", ["a..b", "x" * 64 + ".org", "ä" * 80 + ".org", ""])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(CloudflareError, match="is no domain name"):
        ascii_name(name)


def test_against_the_double(monkeypatch: pytest.MonkeyPatch) -> None:
    """A storm of limits, broken answers and cut connections ends in the right answer; a refusal is told."""
    pauses: list[float] = []
    monkeypatch.setattr(_cloudflare, "pause", pauses.append)
    double = cloudflare()
    double.add_token("good", "Zone Read")
    ids = [zones.add_zone(double, f"z{number}.example.org") for number in range(120)]
    with double.running() as url:
        cloud = Cloudflare("good", f"{url}/client/v4")
        assert len(list(cloud.pages("/zones"))) == 120
        assert cloud.zone("Z7.example.org")["id"] == ids[7]
        assert cloud.zone(ids[8])["name"] == "z8.example.org"
        double.faults = [
            Fault("status", status=429, headers={"retry-after": "7"}),
            Fault("page", status=521),
            Fault("cut"),
            Fault("lost"),
        ]
        assert cloud.zone("z9.example.org")["id"] == ids[9]
        assert pauses == [7.0, 1.0, 2.0, 4.0]
        with pytest.raises(CloudflareError, match=r"sees no zone other\.example: add the domain"):
            cloud.zone("other.example")
        with pytest.raises(CloudflareError, match="has the permission Account API Tokens Read there"):
            list(cloud.pages(f"/accounts/{ACCOUNT}/tokens", needs="Account API Tokens Read"))
        with pytest.raises(CloudflareError, match="Invalid API Token"):
            Cloudflare("unknown", f"{url}/client/v4").zone("z1.example.org")
