"""The parts of the sweep that need no raw sockets."""

from __future__ import annotations

import ipaddress
import struct

import pytest

from tests.bed.sweep import Tcp, checksum, ports_of


def test_ports_are_lists_and_ranges() -> None:
    assert ports_of("22,443,8000-8003") == [22, 443, 8000, 8001, 8002, 8003]
    assert len(ports_of("1-65535")) == 65535


@pytest.mark.parametrize(
    ("source", "address"), [("192.0.2.1", "198.51.100.255"), ("2001:db8::1", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff")]
)
def test_every_segment_has_a_right_checksum(source: str, address: str) -> None:
    """Added up with the pseudo header, a right one gives zero; the sum over what never changes is made once."""
    sweep = Tcp.__new__(Tcp)
    sweep.mine, sweep.source, sweep.address = 31999, source, address
    sweep.prepare()
    ends = ipaddress.ip_address(source).packed + ipaddress.ip_address(address).packed
    for port in (1, 443, 40000, 65535):
        segment = sweep.segment(port)
        assert struct.unpack_from("!HH", segment) == (31999, port)
        assert checksum(ends + struct.pack("!II", len(segment), 6) + segment) == 0
