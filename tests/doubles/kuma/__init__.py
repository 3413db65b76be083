"""A stateful stand-in for Uptime Kuma 2.5: its Socket.IO, its pages for machines, and beats from real probes.

:mod:`core` holds what the server knows and the rules of its database, :mod:`events` what a page may ask of it,
:mod:`probes` asks what monitors watch, :mod:`server` serves. The Socket.IO side is python-socketio's, so that our
client is held to somebody else's understanding of the protocol. ``python -m tests.doubles.kuma`` serves it alone.
"""

from __future__ import annotations

from tests.doubles.kuma.core import Kuma
from tests.doubles.kuma.server import Double

__all__ = ["Double", "Kuma"]
