"""Fixtures of the scenario's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from testinfra.host import Host

from tests.bed import acme
from tests.doubles.cloudflare.origin import Pulls
from tests.edge import ORIGIN_TOKEN, TOKEN, ZONE, Client


@pytest.fixture
def client(host: Host) -> Client:
    """Asks the host from this machine, trusting its own authority."""
    return Client(host)


@pytest.fixture(scope="session")
def world() -> Iterator[acme.World]:
    """A certificate authority, its DNS and Cloudflare, known to the host."""
    with acme.world(ZONE, TOKEN) as made:
        made.cloud.add_token(ORIGIN_TOKEN, "Zone Read", "Zone Settings Read", "SSL and Certificates Write")
        made.cloud.part(Pulls).delay = 0
        made.introduce("caddy-1")
        yield made
