"""An authoritative DNS server for zones whose records live elsewhere, over UDP and TCP.

It answers what certificate authorities and their clients ask: SOA and NS of the zone, addresses of its name server, and
the records a callable gives. A record is answered ``delay`` seconds after it was made, as if it had to spread first;
names outside its zones are refused, names without records do not exist. Built on dnslib, which knows the wire format::

    server = DnsServer(["example.test"], lambda zone: [Record("_acme.example.test", "TXT", "x", age=3.0)])
    with server.running("127.0.0.1") as port:
        ...
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from dnslib import CLASS, NS, QTYPE, RCODE, RR, SOA, TXT, A, DNSRecord
from dnslib.server import BaseResolver, DNSLogger, DNSServer

TTL = 60


@dataclass(frozen=True)
class Record:
    """One record: full name without a dot at the end, type, content (quotes of a TXT do not count), age in seconds."""

    name: str
    kind: str
    content: str
    age: float = 0.0


class DnsServer(BaseResolver):  # type: ignore[misc]
    """Serves ``zones``; ``records`` gives those of a zone right now; ``asked`` lists (name, type) of every query."""

    def __init__(self, zones: Sequence[str], records: Callable[[str], Sequence[Record]]) -> None:
        self.zones = list(zones)
        self.records = records
        self.delay = 0.0
        self.asked: list[tuple[str, str]] = []
        self.address = ""
        self.port = 0
        self._serials = itertools.count(int(time.time()))

    def resolve(self, request: DNSRecord, _handler: Any) -> DNSRecord:
        """The answer to one query."""
        name, kind = str(request.q.qname).rstrip(".").lower(), QTYPE[request.q.qtype]
        self.asked.append((name, kind))
        reply = request.reply(ra=0, aa=1)
        zone = next((each for each in self.zones if name == each or name.endswith(f".{each}")), None)
        if zone is None:
            reply.header.rcode = RCODE.REFUSED
            return reply
        found = self._own(zone, name) + [
            RR(name, getattr(QTYPE, each.kind), ttl=TTL, rdata=_data(each))
            for each in self.records(zone)
            if each.name.lower() == name and each.age >= self.delay and each.kind in ("A", "TXT")
        ]
        for record in found:
            if kind in (QTYPE[record.rtype], "ANY"):
                reply.add_answer(record)
        if not reply.rr:
            reply.header.rcode = RCODE.NOERROR if found else RCODE.NXDOMAIN
            reply.add_auth(self._soa(zone))
        return reply

    def _own(self, zone: str, name: str) -> list[RR]:
        """Records of the zone itself and of its name server."""
        if name == zone:
            return [self._soa(zone), RR(zone, QTYPE.NS, CLASS.IN, TTL, NS(f"ns1.{zone}"))]
        return [RR(name, QTYPE.A, CLASS.IN, TTL, A(self.address))] if name == f"ns1.{zone}" else []

    def _soa(self, zone: str) -> RR:
        times = (next(self._serials), 60, 60, 3600, 1)
        return RR(zone, QTYPE.SOA, CLASS.IN, TTL, SOA(f"ns1.{zone}", f"hostmaster.{zone}", times))

    @contextmanager
    def running(self, address: str, port: int = 0) -> Iterator[int]:
        """Serve while the block runs; gives the port, which is the same for UDP and TCP."""
        quiet = DNSLogger(log="", logf=lambda _line: None)
        self.address = address
        tcp = DNSServer(self, address=address, port=port, tcp=True, logger=quiet)
        self.port = int(tcp.server.server_address[1])
        udp = DNSServer(self, address=address, port=self.port, logger=quiet)
        threads = [threading.Thread(target=each.server.serve_forever, args=(0.05,), daemon=True) for each in (tcp, udp)]
        for thread in threads:
            thread.start()
        try:
            yield self.port
        finally:
            for each in (tcp, udp):
                each.server.shutdown()
                each.server.server_close()
            for thread in threads:
                thread.join()


def _data(record: Record) -> Any:
    return A(record.content) if record.kind == "A" else TXT(record.content.strip('"'))
