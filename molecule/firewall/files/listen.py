"""Answers on ports, for tests: `python3 listen.py 443 53/udp`. Every address, IPv4 and IPv6; no output, no end."""

from __future__ import annotations

import contextlib
import selectors
import socket
import sys


def main() -> None:
    """Greet every TCP connection, and send every datagram back."""
    ready = selectors.DefaultSelector()
    for argument in sys.argv[1:]:
        port, _slash, protocol = argument.partition("/")
        listener = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(("::", int(port)))
        if protocol != "udp":
            listener.listen(128)
        listener.setblocking(False)
        ready.register(listener, selectors.EVENT_READ, protocol)
    while True:
        for key, _events in ready.select():
            listener = key.fileobj  # type: ignore[assignment]
            # Half of a sweep's connections are gone before they are accepted.
            with contextlib.suppress(OSError):
                if key.data == "udp":
                    listener.sendto(*listener.recvfrom(2048))
                else:
                    with listener.accept()[0] as connection:
                        connection.sendall(b"here\n")


if __name__ == "__main__":
    main()
