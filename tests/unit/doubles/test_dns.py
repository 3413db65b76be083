"""The DNS double: what a certificate authority and certmagic ask of an authoritative server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from dnslib import QTYPE, RCODE, DNSRecord

from tests.doubles.dns import DnsServer, Record

RECORDS = [
    Record("_acme-challenge.api.example.test", "TXT", '"secret"', age=5),
    Record("www.example.test", "A", "10.0.0.1", 5),
]


@pytest.fixture
def server() -> Iterator[DnsServer]:
    server = DnsServer(["example.test"], lambda _zone: RECORDS)
    with server.running("127.0.0.1"):
        yield server


def ask(server: DnsServer, name: str, kind: str, *, tcp: bool = False) -> DNSRecord:
    return DNSRecord.parse(DNSRecord.question(name, kind).send("127.0.0.1", server.port, tcp=tcp, timeout=10))


@pytest.mark.parametrize("tcp", [False, True])
def test_records_are_answered_with_authority(server: DnsServer, tcp: bool) -> None:
    reply = ask(server, "_acme-challenge.API.example.test", "TXT", tcp=tcp)
    assert [str(each.rdata) for each in reply.rr] == ['"secret"']
    assert reply.header.aa == 1
    assert server.asked == [("_acme-challenge.api.example.test", "TXT")]


def test_the_zone_knows_itself(server: DnsServer) -> None:
    assert [QTYPE[each.rtype] for each in ask(server, "example.test", "SOA").rr] == ["SOA"]
    assert [str(each.rdata) for each in ask(server, "example.test", "NS").rr] == ["ns1.example.test."]
    assert [str(each.rdata) for each in ask(server, "ns1.example.test", "A").rr] == ["127.0.0.1"]


@pytest.mark.parametrize(
    ("name", "kind", "code"),
    [
        ("nobody.example.test", "TXT", "NXDOMAIN"),
        ("www.example.test", "TXT", "NOERROR"),
        ("example.org", "A", "REFUSED"),
    ],
)
def test_what_is_not_there(server: DnsServer, name: str, kind: str, code: str) -> None:
    reply = ask(server, name, kind)
    assert (RCODE[reply.header.rcode], reply.rr) == (code, [])
    assert [QTYPE[each.rtype] for each in reply.auth] == ([] if code == "REFUSED" else ["SOA"])


def test_a_record_takes_its_time_to_spread(server: DnsServer) -> None:
    server.delay = 6
    assert ask(server, "www.example.test", "A").rr == []
    server.delay = 5
    assert len(ask(server, "www.example.test", "A").rr) == 1
