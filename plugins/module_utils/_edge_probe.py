# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private: HTTPS and TCP as a stranger tries them. Runs on the controller."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

TIMEOUT = 10.0
PORT_TIMEOUT = 1.5


@dataclass(frozen=True)
class Route:
    """One question: GET https://hostname/path must answer with `status`."""

    hostname: str
    path: str
    status: int


class _Connection(http.client.HTTPSConnection):
    """Connects to a given address while TLS and the Host header carry the public name."""

    def __init__(self, hostname: str, address: str, context: ssl.SSLContext, port: int) -> None:
        super().__init__(hostname, port, context=context, timeout=TIMEOUT)
        self._to, self._tls = address or hostname, context

    def connect(self) -> None:
        plain = socket.create_connection((self._to, self.port), timeout=TIMEOUT)
        self.sock = self._tls.wrap_socket(plain, server_hostname=self.host)


def ask(route: Route, address: str, ca: str, port: int = 443) -> str:
    """Ask one route. Returns an empty string when it answers as it must, else what is wrong, one sentence."""
    url = f"https://{route.hostname}{route.path}"
    context = ssl.create_default_context(cadata=ca or None)
    connection = _Connection(route.hostname, address, context, port)
    try:
        connection.request("GET", route.path)
        status = connection.getresponse().status
    except ssl.SSLCertVerificationError as error:
        return f"{url} presents a certificate that does not verify: {error.verify_message}"
    except (OSError, http.client.HTTPException) as error:
        return f"{url} does not answer at {address or route.hostname}: {error}"
    finally:
        connection.close()
    return "" if status == route.status else f"{url} answers {status}, it must answer {route.status}"


def port_open(address: str, port: int) -> bool:
    """Tell whether a TCP connection from here succeeds."""
    try:
        socket.create_connection((address, port), timeout=PORT_TIMEOUT).close()
    except OSError:
        return False
    return True


def look(
    address: str, ca: str, routes: Sequence[Route], closed_ports: Sequence[int], closed_address: str = ""
) -> list[str]:
    """Try everything at the same time; what is wrong, one sentence each.

    Routes are asked at ``address``, ports are tried at ``closed_address``, which is the same where it is empty.
    """
    outside = closed_address or address
    with ThreadPoolExecutor(max_workers=16) as pool:
        asked = [pool.submit(ask, route, address, ca) for route in routes]
        tried = {port: pool.submit(port_open, outside, port) for port in closed_ports} if outside else {}
        found = [sentence for answer in asked if (sentence := answer.result())]
        found += [
            f"port {port} of {outside} answers from outside; it must be closed (look at: sudo nft list ruleset)"
            for port, answer in tried.items()
            if answer.result()
        ]
    return found
