"""The fence: while it stands nothing of this cluster reaches the archive.

A restore puts it up before it touches anything, and takes it down when the new generation of the archive has its first
backup. WAL waits on the host meanwhile; nothing is dropped and nothing is written where it does not belong.
"""

# on the hot path: pathlib costs more start-up time than all the rest
from __future__ import annotations

import os
import time

from .common import Config, RefusedError, now, read_json, write_json


def must_be_open(config: Config) -> None:
    """Refuses while the fence stands."""
    if os.path.lexists(config.fence):
        why = (read_json(config.fence) or {}).get("reason", "nobody knows why")
        raise RefusedError(
            f"the cluster {config.cluster} is fenced ({why}): nothing is archived until `pgsafe unfence`"
        )


def put_up(config: Config, reason: str) -> None:
    """Puts the fence up; one that stands keeps its reason."""
    if not os.path.lexists(config.fence):
        write_json(config.fence, {"reason": reason, "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now()))})


def take_down(config: Config) -> None:
    if os.path.lexists(config.fence):
        os.unlink(config.fence)
