"""Knocks on every port, for a host of the bed to run: `python3 sweep.py '{"wan": {"address": "10.83.0.9", ...}}'`.

Needs Python's standard library and root. Jobs are a JSON mapping from a name to
    {"address": str, "protocol": "tcp" | "udp" | "ping", "ports": "1-65535" | "22,443", "source": str = "",
     "mac": str = "", "through": str = "", "interface": str = "eth0"}
and run side by side. `source` is an address of the host to knock from. With `mac`, TCP packets are written as Ethernet
frames to that station, whatever a kernel's routing thinks of their destination: that is how a neighbour reaches
127.0.0.1 of somebody else; `through` is then an address of the station itself. Prints a JSON mapping from each name to
    {"open": [port], "closed": number of ports that refused, "silent": number that did not answer, "seconds": float}
A ping answers as port 0.
"""

from __future__ import annotations

import abc
import ctypes
import errno
import ipaddress
import itertools
import json
import random
import socket
import struct
import sys
import threading
import time
from typing import Any

BURST = 256  # packets between two looks at what came back
PATIENCE = 0.75  # seconds after the last answer until no other is expected; on one segment it takes a millisecond
SYN, RST, SYN_ACK = 0x02, 0x04, 0x12
IPV6_CHECKSUM, SO_ATTACH_FILTER, SO_RCVBUFFORCE = 7, 26, 33


def ports_of(text: str) -> list[int]:
    """Return the ports of "22,443,8000-8100"."""
    bounds = [part.partition("-") for part in text.split(",")]
    return [port for first, _dash, last in bounds for port in range(int(first), int(last or first) + 1)]


def checksum(data: bytes) -> int:
    """Return the checksum of the internet protocols."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def listen_for(listener: socket.socket, port: int, start: int, header: bool) -> None:
    """Have the kernel pass TCP packets to our port only: the answers to other jobs would fill the socket's buffer.

    `start` is where the packet begins in what the socket receives; `header` says whether an IPv4 header comes first.
    """
    # Where there is an IPv4 header its length goes into X first, and the port is read from X on, else from the start.
    read_port = ((0xB1, 0, 0, start), (0x48, 0, 0, start + 2)) if header else ((0x28, 0, 0, start + 2),)
    program = (*read_port, (0x15, 0, 1, port), (0x06, 0, 0, 0xFFFF), (0x06, 0, 0, 0))
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in program))
    pointer = struct.pack("HL", len(program), ctypes.addressof(code))
    listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, pointer)
    listener.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 25)


class Sweep(abc.ABC):
    """One job. Subclasses send a packet to a port and give the answers that are there."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.address = job["address"]
        self.v6 = ":" in self.address
        self.family = socket.AF_INET6 if self.v6 else socket.AF_INET
        self.source = job.get("source", "")
        self.ports = ports_of(job.get("ports", "0"))
        self.open: set[int] = set()
        self.closed: set[int] = set()

    @abc.abstractmethod
    def send(self, port: int) -> None:
        """Knock."""

    @abc.abstractmethod
    def receive(self) -> int:
        """Note the answers that are there, and return how many."""

    def waiting(self) -> list[int]:
        """The ports that have not answered."""
        return [port for port in self.ports if port not in self.open and port not in self.closed]

    def run(self) -> dict[str, Any]:
        """Knock on every port, and a second time on those that stay silent: a packet may get lost."""
        start = time.monotonic()
        for _round in range(2):
            for number, port in enumerate(self.waiting()):
                self.send(port)
                if number % BURST == BURST - 1:
                    self.receive()
            last = time.monotonic()
            while self.waiting() and time.monotonic() - last < PATIENCE:
                if self.receive():
                    last = time.monotonic()
                else:
                    time.sleep(0.01)
        return {
            "open": sorted(self.open),
            "closed": len(self.closed),
            "silent": len(self.waiting()),
            "seconds": round(time.monotonic() - start, 1),
        }


class Tcp(Sweep):
    """SYN packets from one port. The kernel knows of no connection and refuses what answers, so none comes up."""

    own_ports = itertools.count(random.randrange(20000, 31000))

    def __init__(self, job: dict[str, Any]) -> None:
        super().__init__(job)
        with socket.socket(self.family, socket.SOCK_DGRAM) as probe:
            probe.connect((self.address, 9))
            self.source = self.source or probe.getsockname()[0]
        self.mine = next(Tcp.own_ports)
        self.raw = socket.socket(self.family, socket.SOCK_RAW, socket.IPPROTO_TCP)
        self.raw.setblocking(False)
        listen_for(self.raw, self.mine, 0, not self.v6)
        self.raw.bind((self.source, 0))
        if self.v6:
            self.raw.setsockopt(socket.IPPROTO_IPV6, IPV6_CHECKSUM, -1)
        self.prepare()

    def prepare(self) -> None:
        """Everything of the header that is the same for all ports, and the sum over it."""
        self.rest = struct.pack("!IIBBH", random.getrandbits(32), 0, 5 << 4, SYN, 64240)
        self.ends = ipaddress.ip_address(self.source).packed + ipaddress.ip_address(self.address).packed
        header = struct.pack("!HH", self.mine, 0) + self.rest + bytes(4)
        self.sum = ~checksum(self.ends + struct.pack("!II", len(header), 6) + header) & 0xFFFF

    def segment(self, port: int) -> bytes:
        """A TCP header that asks for a connection."""
        total = self.sum + port
        return struct.pack("!HH12sHH", self.mine, port, self.rest, ~(total + (total >> 16)) & 0xFFFF, 0)

    def send(self, port: int) -> None:
        while True:
            try:
                self.raw.sendto(self.segment(port), (self.address, 0))
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.ENOBUFS):
                    raise
                self.receive()
                time.sleep(0.001)
            else:
                return

    def note(self, segment: bytes) -> bool:
        """Note one TCP header if it answers us."""
        if len(segment) < 20:
            return False
        port, mine, flags = (*struct.unpack_from("!HH", segment), segment[13])
        if mine != self.mine:
            return False
        if flags & SYN_ACK == SYN_ACK:
            self.open.add(port)
        elif flags & RST:
            self.closed.add(port)
        return True

    def receive(self) -> int:
        count = 0
        while True:
            try:
                packet, sender = self.raw.recvfrom(256)
            except BlockingIOError:
                return count
            if sender[0].partition("%")[0] == self.address:
                count += self.note(packet if self.v6 else packet[(packet[0] & 15) * 4 :])


class Frame(Tcp):
    """The same, written to the wire as Ethernet frames; answers count wherever they claim to come from."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.interface = job.get("interface", "eth0")
        self.mac = bytes.fromhex(job["mac"].replace(":", ""))
        # The kernel must not be asked the way to an address that it takes for its own.
        super().__init__({**job, "address": job["through"]})
        self.address = job["address"]
        self.prepare()
        self.wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x86DD if self.v6 else 0x0800))
        self.wire.bind((self.interface, 0x86DD if self.v6 else 0x0800))
        self.wire.setblocking(False)
        listen_for(self.wire, self.mine, 54 if self.v6 else 14, not self.v6)

    def send(self, port: int) -> None:
        segment, ends = self.segment(port), self.ends
        if self.v6:
            kind, header = b"\x86\xdd", struct.pack("!IHBB", 6 << 28, len(segment), 6, 64) + ends
        else:
            kind, header = b"\x08\x00", struct.pack("!BBHHHBBH", 0x45, 0, 40, 7, 0, 64, 6, 0) + ends
            header = header[:10] + struct.pack("!H", checksum(header)) + header[12:]
        self.wire.send(self.mac + self.wire.getsockname()[4] + kind + header + segment)

    def receive(self) -> int:
        count = 0
        while True:
            try:
                frame = self.wire.recv(2048)
            except BlockingIOError:
                return count
            if (frame[20] if self.v6 else frame[23]) == socket.IPPROTO_TCP:
                count += self.note(frame[54:] if self.v6 else frame[14 + (frame[14] & 15) * 4 :])


class Udp(Sweep):
    """A datagram from a connected socket for each port, so that refusals come back to it."""

    def __init__(self, job: dict[str, Any]) -> None:
        super().__init__(job)
        self.sockets: dict[int, socket.socket] = {}
        for port in self.ports:
            one = socket.socket(self.family, socket.SOCK_DGRAM)
            one.setblocking(False)
            if self.source:
                one.bind((self.source, 0))
            one.connect((self.address, port))
            self.sockets[port] = one

    def send(self, port: int) -> None:
        try:
            self.sockets[port].send(b"anybody there?")
        except ConnectionRefusedError:
            self.closed.add(port)

    def receive(self) -> int:
        count = 0
        for port in self.waiting():
            try:
                self.sockets[port].recv(256)
            except BlockingIOError:
                continue
            except ConnectionRefusedError:
                self.closed.add(port)
            else:
                self.open.add(port)
            count += 1
        return count


class Ping(Sweep):
    """An ICMP echo request; its answer counts as port 0."""

    def __init__(self, job: dict[str, Any]) -> None:
        super().__init__({**job, "ports": "0"})
        protocol = socket.getprotobyname("ipv6-icmp") if self.v6 else socket.IPPROTO_ICMP
        self.raw = socket.socket(self.family, socket.SOCK_RAW, protocol)
        self.raw.setblocking(False)
        self.raw.bind((self.source, 0))
        self.mine = random.randrange(1, 65535)

    def send(self, port: int) -> None:
        kind = 128 if self.v6 else 8
        # Over IPv6 the kernel fills in the checksum.
        header = struct.pack("!BBHHH", kind, 0, 0, self.mine, port)
        self.raw.sendto(struct.pack("!BBHHH", kind, 0, checksum(header), self.mine, port), (self.address, 0))

    def receive(self) -> int:
        count = 0
        while True:
            try:
                packet = self.raw.recv(256)
            except BlockingIOError:
                return count
            reply = packet if self.v6 else packet[(packet[0] & 15) * 4 :]
            if reply[0] == (129 if self.v6 else 0) and struct.unpack_from("!H", reply, 4)[0] == self.mine:
                self.open.add(0)
                count += 1


def kind_of(job: dict[str, Any]) -> type[Sweep]:
    """Return the class that does a job."""
    return Frame if job.get("mac") else {"tcp": Tcp, "udp": Udp, "ping": Ping}[job["protocol"]]


def run(jobs: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Run the jobs side by side. Raises the first exception of any of them."""
    found: dict[str, Any] = {}
    failures: list[Exception] = []

    def work(name: str, sweep: Sweep) -> None:
        try:
            found[name] = sweep.run()
        except Exception as error:
            failures.append(error)

    sweeps = {name: kind_of(job)(job) for name, job in jobs.items()}
    threads = [threading.Thread(target=work, args=item) for item in sweeps.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return found


if __name__ == "__main__":
    print(json.dumps(run(json.loads(sys.argv[1]))))
