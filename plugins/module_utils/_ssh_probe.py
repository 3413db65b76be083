# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private: whether an SSH server greets, seen from the controller."""

from __future__ import annotations

import socket

#: Seconds: enough for a SYN that is lost and sent once more.
TIMEOUT = 4.0


def greets(address: str, port: int) -> bool:
    """Tell whether an SSH server greets at an address; who may log in is the host's affair."""
    try:
        with socket.create_connection((address, port), timeout=TIMEOUT) as connection:
            connection.settimeout(TIMEOUT)
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False
