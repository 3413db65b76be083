"""The double of Cloudflare's API: what it refuses, what goes wrong when told to, and that it keeps count."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.doubles.cloudflare import ACCOUNT, Cloudflare, cloudflare, zones
from tests.doubles.web import Fault

NOW = 1_800_000_000.0


class Live:
    """A double on a port, and requests to it that know nothing of our client."""

    def __init__(self, cloud: Cloudflare, url: str) -> None:
        self.cloud = cloud
        self.host = urlsplit(url).netloc

    def ask(self, method: str, path: str, body: Any = None, who: str = "good") -> tuple[int, dict[str, str], Any]:
        """(status, headers in lower case, JSON or text)."""
        connection = http.client.HTTPConnection(self.host, timeout=10)
        try:
            data = None if body is None else json.dumps(body)
            connection.request(method, f"/client/v4{path}", data, {"Authorization": f"Bearer {who}"} if who else {})
            answer = connection.getresponse()
            text = answer.read().decode()
            headers = {key.lower(): value for key, value in answer.getheaders()}
            return answer.status, headers, json.loads(text) if "json" in headers["content-type"] else text
        finally:
            connection.close()


@pytest.fixture
def live() -> Iterator[Live]:
    cloud = cloudflare(clock=lambda: NOW)
    cloud.add_token("good", "Zone Read", "Account API Tokens Write")
    with cloud.running() as url:
        yield Live(cloud, url)


@pytest.mark.parametrize(
    ("token", "status", "code"),
    [("", 400, 6003), ("two words", 400, 6003), ("unknown", 401, 1000)],
)
def test_who_has_no_good_token_is_refused(live: Live, token: str, status: int, code: int) -> None:
    answer = live.ask("GET", "/zones", who=token)
    assert (answer[0], answer[2]["success"], answer[2]["errors"][0]["code"]) == (status, False, code)


def test_a_token_reaches_as_far_as_its_scope(live: Live) -> None:
    mine, other = zones.add_zone(live.cloud, "example.org"), zones.add_zone(live.cloud, "example.net")
    live.cloud.add_token("narrow", "Zone Read", zones=[mine])
    assert [zone["name"] for zone in live.ask("GET", "/zones", who="narrow")[2]["result"]] == ["example.org"]
    assert live.ask("GET", f"/zones/{mine}", who="narrow")[0] == 200
    assert live.ask("GET", f"/zones/{other}", who="narrow")[0] == 403
    assert live.ask("GET", f"/accounts/{ACCOUNT}/tokens", who="narrow")[2]["errors"][0]["code"] == 10000
    assert live.ask("GET", f"/accounts/{'0' * 32}/tokens")[2]["errors"][0]["code"] == 9109
    assert live.ask("GET", "/accounts/me/tokens")[2]["errors"][0]["code"] == 7003
    assert live.ask("GET", "/nowhere")[2]["errors"][0]["code"] == 7003


def test_lists_come_in_pages(live: Live) -> None:
    for number in range(7):
        zones.add_zone(live.cloud, f"example{number}.org")
    _status, _headers, body = live.ask("GET", "/zones?page=2&per_page=5")
    assert [zone["name"] for zone in body["result"]] == ["example5.org", "example6.org"]
    assert body["result_info"] == {"page": 2, "per_page": 5, "count": 2, "total_count": 7, "total_pages": 2}
    assert len(live.ask("GET", "/zones?name=example3.org.")[2]["result"]) == 1


def test_who_asks_too_often_waits(live: Live) -> None:
    live.cloud.limit = 2
    assert [live.ask("GET", "/zones")[0] for _ in range(4)] == [200, 200, 429, 429]
    _status, headers, body = live.ask("GET", "/zones")
    assert (headers["retry-after"], body["success"]) == ("300", False)
    live.cloud.clock = lambda: NOW + 301
    assert live.ask("GET", "/zones")[0] == 200


def test_faults_strike_what_they_name(live: Live) -> None:
    live.cloud.faults = [
        Fault("page", path="/zones", status=520),
        Fault("status", status=429, headers={"Retry-After": "3"}),
    ]
    status, headers, text = live.ask("GET", "/zones")
    assert (status, headers["content-type"]) == (520, "text/html; charset=UTF-8")
    assert text.startswith("<html>")
    status, headers, body = live.ask("GET", "/user/tokens/verify")
    assert (status, headers["retry-after"], body["success"]) == (429, "3", False)
    live.cloud.faults = [Fault("slow", seconds=0.01), Fault("cut", after=1), Fault("lost", method="POST")]
    assert [live.ask("GET", "/zones")[0] for _ in range(2)] == [200, 200]
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        live.ask("GET", "/zones")
    assert live.ask("GET", "/zones")[0] == 200


def test_a_lost_answer_was_carried_out(live: Live) -> None:
    live.cloud.faults = [Fault("lost", method="POST")]
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        live.ask("POST", f"/accounts/{ACCOUNT}/tokens", wish(live, "Workers R2 Storage Read"))
    assert live.cloud.writes()[0].status == 0
    assert [token.name for token in live.cloud.tokens.values()][1:] == ["made"]


def wish(live: Live, *groups: str) -> dict[str, Any]:
    """The body that makes a token with permission groups of the account."""
    known = {
        each["name"]: each["id"]
        for each in live.ask("GET", f"/accounts/{ACCOUNT}/tokens/permission_groups")[2]["result"]
    }
    policy = {
        "effect": "allow",
        "permission_groups": [{"id": known[name]} for name in groups],
        "resources": {f"com.cloudflare.api.account.{ACCOUNT}": "*"},
    }
    return {"name": "made", "policies": [policy]}


def test_the_life_of_a_token(live: Live) -> None:
    home = f"/accounts/{ACCOUNT}/tokens"
    made = live.ask("POST", home, wish(live, "Workers R2 Storage Read"))[2]["result"]
    assert live.ask("GET", f"{home}/verify", who=made["value"])[2]["result"] == {"id": made["id"], "status": "active"}
    assert live.ask("GET", "/user/tokens/verify", who=made["value"])[0] == 401
    assert "value" not in live.ask("GET", f"{home}/{made['id']}")[2]["result"]
    rolled = live.ask("PUT", f"{home}/{made['id']}/value", {})[2]["result"]
    assert live.ask("GET", f"{home}/verify", who=made["value"])[0] == 401
    off = {**wish(live, "Workers R2 Storage Read"), "status": "disabled"}
    assert live.ask("PUT", f"{home}/{made['id']}", off)[2]["result"]["status"] == "disabled"
    assert live.ask("GET", f"{home}/verify", who=rolled)[0] == 401
    assert live.ask("DELETE", f"{home}/{made['id']}")[2]["result"] == {"id": made["id"]}
    assert live.ask("GET", f"{home}/{made['id']}")[0] == 404


def test_tokens_that_mix_scopes_are_refused(live: Live) -> None:
    home = f"/accounts/{ACCOUNT}/tokens"
    assert live.ask("POST", home, wish(live, "Workers R2 Storage Read", "DNS Read"))[0] == 400
    assert live.ask("POST", home, {"name": "x", "policies": []})[0] == 400


def test_what_caddy_asks_to_prove_a_name(live: Live) -> None:
    """Its plugin names the zone with a dot, the record relative to it, without a ttl, and looks it up by content."""
    live.cloud.add_token("caddy", "Zone Read", "DNS Write")
    zone = zones.add_zone(live.cloud, "example.org")
    assert live.ask("GET", "/zones?name=example.org.", who="caddy")[2]["result"][0]["id"] == zone
    home = f"/zones/{zone}/dns_records"
    body = {"type": "TXT", "name": "_acme-challenge.app", "content": '"proof"', "data": {"tag": ""}}
    made = live.ask("POST", home, body, who="caddy")[2]["result"]
    assert made["name"] == "_acme-challenge.app.example.org"
    looked = f"{home}?type=TXT&name=_acme-challenge.app.example.org&content.contains=proof"
    assert [each["id"] for each in live.ask("GET", looked, who="caddy")[2]["result"]] == [made["id"]]
    assert live.ask("DELETE", f"{home}/{made['id']}", who="caddy")[0] == 200
    assert live.ask("DELETE", f"{home}/{made['id']}", who="caddy")[2]["errors"][0]["code"] == 81044


def test_records_refuse_each_other(live: Live) -> None:
    live.cloud.add_token("dns", "DNS Write")
    home = f"/zones/{zones.add_zone(live.cloud, 'example.org')}/dns_records"

    def make(method: str, path: str, **record: Any) -> Any:
        body = live.ask(method, path, {"name": "www", "ttl": 1, **record}, who="dns")[2]
        return body["result"] or body["errors"][0]["code"]

    first = make("POST", home, type="A", content="192.0.2.1")
    assert make("POST", home, type="A", content="192.0.2.1") == 81058
    assert make("POST", home, type="CNAME", content="example.net") == 81053
    assert make("PUT", f"{home}/{first['id']}", type="CNAME", content="example.net")["id"] == first["id"]
    assert make("PATCH", f"{home}/{first['id']}", ttl=300)["content"] == "example.net"
    assert live.ask("GET", f"{home}/{first['id']}", who="dns")[2]["result"]["ttl"] == 300
    assert make("POST", home, type="A", content="x") == 9005
    assert make("POST", home, type="CAA") == 9101
    assert make("POST", home, type="TXT", content="x", ttl=59) == 9021
    assert make("POST", home, type="TXT", content="x", comment="y" * 101) == 9313


def test_another_process_can_prepare_and_read_it(live: Live) -> None:
    def control(method: str, path: str, body: Any = None) -> Any:
        connection = http.client.HTTPConnection(live.host, timeout=10)
        connection.request(method, f"/_double/{path}", None if body is None else json.dumps(body))
        return json.loads(connection.getresponse().read())["result"]

    zone = control("POST", "zones", {"name": "example.org", "plan": "pro"})["id"]
    control("POST", "tokens", {"value": "second", "groups": ["Zone Read"]})
    control("POST", "faults", {"kind": "status", "status": 503, "times": 9, "path": "/zones"})
    assert live.ask("GET", f"/zones/{zone}", who="second")[0] == 503
    control("DELETE", "faults")
    assert live.ask("GET", f"/zones/{zone}", who="second")[2]["result"]["plan"]["legacy_id"] == "pro"
    assert [seen["status"] for seen in control("GET", "log")] == [503, 200]
