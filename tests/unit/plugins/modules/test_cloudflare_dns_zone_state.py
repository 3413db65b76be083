"""A zone's records: one transaction, ours and theirs, every type, and answers that get lost."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.sapflux.hosting.plugins.modules import cloudflare_dns_zone_state

from tests.doubles.cloudflare import dns
from tests.doubles.web import Fault
from tests.unit.plugins.module_utils.scripted_http import Call
from tests.unit.plugins.modules.cloud_module import CHECK, ZONE, Runner, found, good

HOME = f"/zones/{ZONE}/dns_records"
LIST = f"{HOME}?per_page=1000"
OURS = "sapflux.hosting"
APEX: dict[str, Any] = {"type": "A", "name": "@", "content": "192.0.2.1", "proxied": True}
SRV = {"priority": 1, "port": 1, "target": "x.org"}

EVERY_TYPE: list[dict[str, Any]] = [
    {"type": "A", "name": "a", "content": "192.0.2.1", "ttl": 300},
    {"type": "AAAA", "name": "a", "content": "2001:DB8:0::1", "proxied": True, "ttl": 600},
    {"type": "CAA", "name": "@", "content": '0 issue "letsencrypt.org"'},
    {"type": "CERT", "name": "c", "data": {"type": 1, "key_tag": 2, "algorithm": 3, "certificate": "Ab c="}},
    {"type": "CNAME", "name": "www.example.org.", "content": "Example.ORG.", "settings": {"flatten_cname": False}},
    {"type": "DNSKEY", "name": "k", "data": {"flags": 257, "protocol": 3, "algorithm": 13, "public_key": "Ab=="}},
    {"type": "DS", "name": "sub", "content": "1 13 2 ABCDEF"},
    {"type": "HTTPS", "name": "a", "data": {"priority": 1, "target": ".", "value": 'alpn="h3,h2"'}},
    {"type": "LOC", "name": "l", "data": {"lat_degrees": 47, "lat_minutes": 22, "lat_seconds": 5.5,
     "lat_direction": "n", "long_degrees": 8, "long_minutes": 33, "long_seconds": 0, "long_direction": "E"}},
    {"type": "MX", "name": "@", "content": "mx.example.net.", "priority": 10},
    {"type": "NAPTR", "name": "n", "data": {"order": 1, "preference": 2, "flags": "S", "service": "SIP+D2U",
     "regex": "", "replacement": "_sip._udp.example.org."}},
    {"type": "NS", "name": "sub", "content": "ns1.example.net"},
    {"type": "OPENPGPKEY", "name": "o", "content": "mQ INB\nA=="},
    {"type": "PTR", "name": "p", "content": "host.example.net"},
    {"type": "SMIMEA", "name": "s", "content": "3 1 1 AB CD"},
    {"type": "SRV", "name": "_sip._tcp", "content": "10 5 5060 sip.example.net."},
    {"type": "SSHFP", "name": "h", "content": "4 2 ABCDEF"},
    {"type": "SVCB", "name": "v", "content": "0 other.example.net"},
    {"type": "TLSA", "name": "_443._tcp", "content": "3 1 1 ABCDEF"},
    {"type": "TXT", "name": "@", "content": 'he said "hällo" \\o/'},
    {"type": "TXT", "name": "long", "content": "x" * 600},
    {"type": "URI", "name": "_ftp._tcp", "data": {"weight": 1, "target": "ftp://Ftp.example.org/x"}, "priority": 5},
]  # fmt: skip


@pytest.fixture
def runner(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Runner:
    return Runner(cloudflare_dns_zone_state, capsys, monkeypatch)


def held(number: int, kind: str, name: str, content: str, comment: str | None = None, **more: Any) -> dict[str, Any]:
    """A record as the API gives it."""
    return {
        "id": f"{number:032x}", "type": kind, "name": name, "content": content, "ttl": 1, "proxied": False,
        "proxiable": kind in ("A", "AAAA", "CNAME"), "comment": comment, "tags": [], "settings": {}, "meta": {}, **more,
    }  # fmt: skip


def test_one_batch_removes_changes_and_makes(runner: Runner) -> None:
    have = [
        held(1, "A", "example.org", "192.0.2.9", OURS, proxied=True),
        held(2, "TXT", "old.example.org", '"gone"', f"{OURS}: no more"),
        held(3, "TXT", "example.org", '"theirs"'),
        held(4, "TXT", "_acme-challenge.example.org", '"proof"', OURS),
    ]
    batch = {
        "deletes": [{"id": f"{2:032x}"}],
        "patches": [{"id": f"{1:032x}", "name": "example.org", "type": "A", "ttl": 1, "content": "192.0.2.1"}],
        "posts": [
            {"name": "example.org", "type": "TXT", "ttl": 60, "content": '"v=spf1 -all"', "comment": f"{OURS}: mail"}
        ],
    }
    script = runner.script(found(), Call("GET", LIST, good(have)), Call("POST", f"{HOME}/batch", good({}), body=batch))
    spf = {"type": "TXT", "name": "@", "content": "v=spf1 -all", "ttl": 60, "comment": "mail"}
    result = runner(zone="example.org", records=[APEX, spf], _ansible_diff=True)
    script.done()
    assert (result["changed"], result["kept"], result["batches"], result["zone_id"]) == (True, 2, 1, ZONE)
    assert result["changes"] == [
        "remove TXT old.example.org gone",
        'change A example.org 192.0.2.9: content "192.0.2.9" -> "192.0.2.1"',
        "create TXT example.org v=spf1 -all",
    ]
    assert "192.0.2.9" in result["diff"]["before"]
    assert "192.0.2.9" not in result["diff"]["after"].replace('"A example.org 192.0.2.9"', "")


def test_check_mode_only_reads(runner: Runner) -> None:
    script = runner.script(found(), Call("GET", LIST, good([])))
    result = runner(zone="example.org", records=[APEX], **CHECK)
    script.done()
    assert (result["changed"], result["changes"]) == (True, ["create A example.org 192.0.2.1"])


def test_nothing_to_do_is_two_requests(runner: Runner) -> None:
    script = runner.script(
        found(), Call("GET", LIST, good([held(1, "A", "example.org", "192.0.2.1", OURS, proxied=True)]))
    )
    assert runner(zone="example.org", records=[APEX])["changed"] is False
    script.done()


def test_every_type_is_taken_and_then_left_alone(runner: Runner) -> None:
    with runner.double("DNS Write") as (cloud, zone):
        result = runner.check_then_do(cloud, zone="example.org", records=EVERY_TYPE)
        assert len(result["changes"]) == len(EVERY_TYPE)
        assert {record["type"] for record in dns.records_of(cloud, zone).values()} == dns.TYPES
        text = next(each for each in dns.records_of(cloud, zone).values() if each["name"] == "long.example.org")
        assert text["content"] == f'"{"x" * 255}" "{"x" * 255}" "{"x" * 90}"'
        assert runner(zone="example.org", records=[], whole=False)["changed"] is True
        assert dns.records_of(cloud, zone) == {}


def test_presets_make_what_clerk_and_mail_need(runner: Runner) -> None:
    presets = {
        "clerk": {"id": "abc"},
        "mail": {
            "mx": [{"host": "mx1.example.net"}, {"host": "mx2.example.net", "priority": 20}],
            "spf": ["include:_spf.example.net"],
            "dkim": [{"selector": "k1", "cname": "k1.example.net"}, {"selector": "k2", "key": "MIIB"}],
            "dmarc": {"policy": "quarantine", "rua": ["post@example.org"]},
        },
    }
    with runner.double("DNS Write") as (cloud, zone):
        runner.check_then_do(cloud, zone="example.org", presets=presets)
        made = {(each["type"], each["name"]): each for each in dns.records_of(cloud, zone).values()}
        assert made["CNAME", "clk._domainkey.example.org"]["content"] == "dkim1.abc.clerk.services"
        assert not any(record["proxied"] for record in made.values())
        assert made["TXT", "_dmarc.example.org"]["content"] == '"v=DMARC1; p=quarantine; rua=mailto:post@example.org"'
        assert made["TXT", "example.org"]["content"] == '"v=spf1 include:_spf.example.net ~all"'
        assert len(dns.records_of(cloud, zone)) == 11
        targets = [{"host": "clerk.example.org", "value": "frontend-api.clerk.services", "required": True}]
        presets = {"clerk": {"cname_targets": targets}, "mail": {"none": True}}
        runner.check_then_do(cloud, zone="example.org", presets=presets)
        assert len(dns.records_of(cloud, zone)) == 5


@pytest.mark.parametrize(
    ("presets", "said"),
    [
        ({"clerk": {"cname_targets": []}}, "needs the id of the instance"),
        ({"mail": {"none": True, "spf": ["mx"]}}, "leave out mx, spf and dkim"),
        ({"mail": {"dkim": [{"selector": "k"}]}}, "needs a cname or a key, one of the two"),
        ({"mail": {"mx": [{"hots": "x"}]}}, "missing required arguments: host found in presets -> mail -> mx"),
        ({"mail": {"dmarc": {"policy": "quarantene"}}}, "value of policy must be one of: none, quarantine, reject"),
    ],
)
def test_presets_that_make_no_sense(runner: Runner, presets: dict[str, Any], said: str) -> None:
    runner.script()
    assert said in runner.fails(zone="example.org", presets=presets)


@pytest.mark.parametrize(
    "old", [{"type": "A", "content": "192.0.2.99"}, {"type": "CNAME", "content": "old.example.net"}]
)
def test_an_old_server_does_not_answer_beside_the_new_one(runner: Runner, old: dict[str, Any]) -> None:
    with runner.double("DNS Write") as (cloud, zone):
        dns.add_record(cloud, zone, name="@", **old)
        said = runner.fails(zone="example.org", records=[APEX])
        assert said.endswith("beside what is wanted: remove it, or set takeover to true")
        assert cloud.writes() == []
        runner.check_then_do(cloud, zone="example.org", records=[APEX], takeover=True)
        assert [each["content"] for each in dns.records_of(cloud, zone).values()] == ["192.0.2.1"]


def test_a_record_that_is_there_already_becomes_ours(runner: Runner) -> None:
    with runner.double("DNS Write") as (cloud, zone):
        made = dns.add_record(cloud, zone, type="A", name="@", content="192.0.2.1", proxied=True)
        result = runner.check_then_do(cloud, zone="example.org", records=[APEX])
        assert result["changes"] == ['change A example.org 192.0.2.1: comment "" -> "sapflux.hosting"']
        assert dns.records_of(cloud, zone)[made["id"]]["comment"] == OURS


def test_ttl_and_priority_are_changed_in_place(runner: Runner) -> None:
    mail = {"type": "MX", "name": "@", "content": "mx.example.net", "priority": 10}
    with runner.double("DNS Write") as (cloud, zone):
        runner(zone="example.org", records=[mail])
        result = runner.check_then_do(cloud, zone="example.org", records=[{**mail, "priority": 20, "ttl": 300}])
        assert "priority 10 -> 20" in result["changes"][0]
        assert "ttl 1 -> 300" in result["changes"][0]
        assert [each["priority"] for each in dns.records_of(cloud, zone).values()] == [20]


def test_a_type_that_nothing_here_knows_is_left_alone(runner: Runner) -> None:
    script = runner.script(found(), Call("GET", LIST, good([held(1, "DNAME", "x.example.org", "example.net")])))
    kept = {"type": "A", "name": "@", "content": "192.0.2.1"}
    assert runner(zone="example.org", records=[kept], whole=True, **CHECK)["kept"] == 1
    script.done()


def test_the_whole_zone(runner: Runner) -> None:
    with runner.double("DNS Write") as (cloud, zone):
        for kind, name, content in (
            ("A", "old", "192.0.2.7"), ("NS", "@", "ns.example.net"), ("TXT", "_acme-challenge.app", "proof"),
        ):  # fmt: skip
            dns.add_record(cloud, zone, type=kind, name=name, content=content)
        mailed = dns.add_record(cloud, zone, type="MX", name="@", content="route1.mx.cloudflare.net")
        mailed["meta"] = {"email_routing": True, "read_only": True}
        result = runner.check_then_do(cloud, zone="example.org", records=[APEX], whole=True)
        assert result["changes"] == ["remove A old.example.org 192.0.2.7", "create A example.org 192.0.2.1"]
        assert result["kept"] == 3
        assert "would empty the zone" in runner.fails(zone="example.org", whole=True)
        assert "owner is empty" in runner.fails(zone="example.org", owner="")


def test_more_changes_than_one_batch_takes(runner: Runner) -> None:
    records = [{"type": "TXT", "name": f"n{number % 150}", "content": str(number)} for number in range(450)]
    with runner.double("DNS Write") as (cloud, zone):
        result = runner.check_then_do(cloud, zone="example.org", records=records)
        assert (result["batches"], len(cloud.writes()), len(dns.records_of(cloud, zone))) == (3, 3, 450)
        for seen in cloud.writes():
            names = [each["name"] for each in seen.body["posts"]]
            assert all(names.count(name) == 3 for name in names)


@pytest.mark.parametrize("kind", ["lost", "cut", "status", "page"])
def test_an_answer_that_is_lost_doubles_nothing(runner: Runner, kind: str) -> None:
    with runner.double("DNS Write") as (cloud, zone):
        cloud.faults = [Fault(kind, method="POST", status=502)]
        runner.check_then_do(cloud, zone="example.org", records=[APEX, {"type": "TXT", "name": "@", "content": "x"}])
        assert len(dns.records_of(cloud, zone)) == 2
        assert len(cloud.writes()) == (1 if kind == "lost" else 2)


def test_a_batch_is_done_whole_or_not_at_all_and_a_rerun_ends_it(runner: Runner) -> None:
    """The first of three batches is done, then the API stays broken; the next run does the rest and only that."""
    records = [{"type": "TXT", "name": f"n{number}", "content": "x"} for number in range(450)]
    with runner.double("DNS Write") as (cloud, zone):
        cloud.faults = [Fault("status", method="POST", status=503, times=2, after=1)]
        assert "with 503" in runner.fails(zone="example.org", records=records)
        assert len(dns.records_of(cloud, zone)) == 200
        result = runner(zone="example.org", records=records)
        assert (len(result["changes"]), len(dns.records_of(cloud, zone))) == (250, 450)


def test_a_refused_batch_changes_nothing_and_says_why(runner: Runner) -> None:
    bad = {"type": "TXT", "name": "x", "content": "y", "tags": ["a:b"]}
    with runner.double("DNS Write") as (cloud, zone):
        assert "exceeding the quota of 0 (code 9301)" in runner.fails(zone="example.org", records=[APEX, bad])
        assert dns.records_of(cloud, zone) == {}
    with runner.double("DNS Write", plan="pro") as (cloud, zone):
        runner.check_then_do(cloud, zone="example.org", records=[bad])
        result = runner.check_then_do(cloud, zone="example.org", records=[{**bad, "tags": ["c:d"]}])
        assert result["changes"] == ['change TXT x.example.org y: tags ["a:b"] -> ["c:d"]']


def test_a_token_that_may_only_read(runner: Runner) -> None:
    with runner.double("DNS Read") as (_cloud, _zone):
        assert runner(zone="example.org", records=[APEX], **CHECK)["changed"] is True
        assert "has the permission DNS Write there" in runner.fails(zone="example.org", records=[APEX])


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"type": "A", "content": "192.0.2.300"}, "points to 192.0.2.300, which is no address"),
        ({"type": "A", "content": "2001:db8::1"}, "points to an address of IPv6"),
        ({"type": "TXT", "name": "x.other.org.", "content": "x"}, "x.other.org. is not in the zone example.org"),
        ({"type": "TXT", "content": "x", "proxied": True}, "cannot be proxied: only A, AAAA, CNAME can"),
        ({"type": "TXT", "content": "x", "ttl": 5}, "has the ttl 5"),
        ({"type": "TXT"}, "has no content"),
        ({"type": "MX", "content": "mx.example.net"}, "needs a priority from 0 to 65535"),
        ({"type": "CAA", "content": "0 issue"}, "needs data with flags, tag, value"),
        ({"type": "SRV", "data": {**SRV, "weigth": 1}}, "needs weight in its data (not weigth)"),
        ({"type": "SRV", "data": {**SRV, "weight": "x"}}, "no number"),
        ({"type": "LOC", "content": "47 22 5 N 8 33 0 E"}, "needs data with lat_degrees"),
    ],
)  # fmt: skip
def test_a_wish_that_cannot_be_is_refused_before_anything_is_asked_of_the_records(
    runner: Runner, record: dict[str, Any], said: str
) -> None:
    runner.script(found())
    assert said in runner.fails(zone="example.org", records=[{"name": "@", **record}])


def test_all_that_is_wrong_is_told_at_once(runner: Runner) -> None:
    runner.script(found())
    cname = {"type": "CNAME", "name": "@", "content": "x.example.net"}
    said = runner.fails(zone="example.org", records=[APEX, APEX, cname, {"type": "A", "name": "b", "content": "x"}])
    assert "A example.org 192.0.2.1 is wanted twice" in said
    assert "stands alone at its name, but A example.org 192.0.2.1 is wanted there, too" in said
    assert "the A record b points to x" in said
