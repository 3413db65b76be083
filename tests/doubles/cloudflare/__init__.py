"""A stateful stand-in for Cloudflare's API v4: one account, its zones, tokens and what hangs on them.

Every module of this package that has ``routes`` is one part of the API with its own state; :func:`cloudflare` puts
them together. ``python -m tests.doubles.cloudflare`` serves it alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.doubles.cloudflare import control, dns, ips, origin, r2, rulesets, settings, tokens, zones
from tests.doubles.cloudflare.core import ACCOUNT, Cloudflare

PARTS = (control, zones, tokens, dns, settings, rulesets, origin, r2, ips)

__all__ = ["ACCOUNT", "PARTS", "Cloudflare", "cloudflare"]


def cloudflare(clock: Callable[[], float] = time.time) -> Cloudflare:
    """The whole API, empty: :meth:`Cloudflare.add_token` and ``zones.add_zone`` fill it."""
    return Cloudflare(*(part.routes for part in PARTS), clock=clock)
