"""A stateful stand-in for Doppler's API v3: one workplace, its projects, environments, configs, secrets and tokens.

Every module of this package that has ``routes`` is one part of the API; :func:`doppler` puts them together.
``python -m tests.doubles.doppler`` serves it alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.doubles.doppler import auth, control, secrets, structure
from tests.doubles.doppler.core import Config, Doppler, Token

PARTS = (control, auth, structure, secrets)

__all__ = ["PARTS", "Config", "Doppler", "Token", "doppler"]


def doppler(clock: Callable[[], float] = time.time) -> Doppler:
    """The whole API, empty: :meth:`Doppler.add_config` and :meth:`Doppler.add_token` fill it."""
    return Doppler(*(part.routes for part in PARTS), clock=clock)
