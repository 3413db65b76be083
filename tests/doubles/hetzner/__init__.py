"""A stateful stand-in for Hetzner Cloud's API: one project, its servers and what belongs to them.

Every module of this package that has ``routes`` is one part of the API; :func:`hetzner` puts them together. A server
is a record, unless ``machines`` make it a real one (``tests.bed.cloud``). ``python -m tests.doubles.hetzner`` serves it
alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.doubles.hetzner import (
    actions,
    addresses,
    catalogue,
    control,
    firewalls,
    networks,
    server_actions,
    servers,
    simple,
)
from tests.doubles.hetzner.core import PREFIX, Hetzner, Machines

PARTS = (control, actions, catalogue, simple, networks, firewalls, addresses, servers, server_actions)

__all__ = ["PARTS", "PREFIX", "Hetzner", "Machines", "hetzner"]


def hetzner(clock: Callable[[], float] = time.time, machines: Machines | None = None) -> Hetzner:
    """The whole API of an empty project; ``tokens`` (value to ``read`` or ``read-write``) say who may ask."""
    double = Hetzner(*(part.routes for part in PARTS), clock=clock, machines=machines)
    catalogue.fill(double)
    return double
