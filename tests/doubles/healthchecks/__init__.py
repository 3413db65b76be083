"""A stateful stand-in for Healthchecks.io: its management API v3 and its ping addresses, on one port.

:mod:`checks` holds what a check is and which state it is in at a moment of the double's clock; :mod:`api` is the
management API, :mod:`pings` what jobs call. ``python -m tests.doubles.healthchecks`` serves it alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.doubles.healthchecks import api, control, pings
from tests.doubles.healthchecks.checks import Check, Healthchecks

__all__ = ["Check", "Healthchecks", "healthchecks"]


def healthchecks(clock: Callable[[], float] = time.time) -> Healthchecks:
    """One project without checks; its keys are ``API_KEY``, ``READ_KEY`` and ``PING_KEY`` of :mod:`checks`."""
    return Healthchecks(control.routes, api.routes, pings.routes, clock=clock)
