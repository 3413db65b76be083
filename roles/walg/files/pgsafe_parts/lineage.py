"""Generations of an archive: after a restore the cluster goes on in a new prefix, and the old one stays as it is.

The old prefix holds SUCCESSOR.json, so that a new host whose document still names it finds the newest one. The state
directory holds lineage.json, so that this host goes on in the new prefix until its document says so too.
"""

# paths are plain strings in all of pgsafe
from __future__ import annotations

import contextlib
import copy
import os
import re
from typing import Any

from . import identity, objects
from .backup import iso
from .common import Config, PgsafeError, RefusedError, now, system_identifier
from .walg import is_empty, walg

SUCCESSOR = "SUCCESSOR.json"


def at(config: Config, prefix: str) -> Config:
    """The same settings for another prefix."""
    other = copy.copy(config)
    other.prefix = prefix
    return other


def next_prefix(prefix: str) -> str:
    """.../g1 -> .../g2; a prefix without a number at its end gets one."""
    found = re.match(r"^(.*?)(\d+)$", prefix)
    return f"{found[1]}{int(found[2]) + 1}" if found else f"{prefix}.2"


def newest(config: Config) -> Config:
    """Follows the successors from the configured prefix to the one in use."""
    seen: list[str] = []
    while True:
        if config.prefix in seen:
            raise RefusedError(
                f"the archives {', '.join(seen)} name each other as successor: look at their {SUCCESSOR}"
            )
        seen.append(config.prefix)
        found = objects.get(config, SUCCESSOR)
        if found is None:
            return config
        config = at(config, str(found["prefix"]))


def free_prefix(config: Config) -> str:
    """The first prefix after this one that holds nothing."""
    prefix = next_prefix(config.prefix)
    while not is_empty(at(config, prefix)):
        prefix = next_prefix(prefix)
    return prefix


def _path(config: Config) -> str:
    return os.path.join(config.state, "lineage.json")


def move_on(config: Config, prefix: str, identifier: str, why: str) -> Config:
    """Claims the new prefix, marks the old one as ended, and remembers; may be called again."""
    fresh = at(config, prefix)
    claimed = identity.stored(fresh)
    if claimed is None:
        if not is_empty(fresh):
            raise RefusedError(f"{prefix} is no longer empty: look who writes there")
        identity.claim(fresh, identifier, predecessor=config.prefix, why=why)
    elif claimed["system_identifier"] != identifier:
        raise RefusedError(f"{prefix} belongs to another cluster: look who writes there")
    if config.prefix != prefix and objects.get(config, SUCCESSOR) is None:
        objects.put(config, SUCCESSOR, {"prefix": prefix, "at": iso(now()), "why": why})
    before: dict[str, Any] = objects.read(_path(config)) or {"ended": []}
    ended = list(dict.fromkeys([*before["ended"], config.configured_prefix, config.prefix]))
    objects.write(_path(config), {"prefix": prefix, "ended": [one for one in ended if one != prefix], "why": why})
    return fresh


def take_back(config: Config, old: str, prefix: str) -> None:
    """The way back of ``move_on``: the old prefix is in use again, the new one is left where it is."""
    before = objects.read(_path(config))
    if before is not None:
        ended = [one for one in before["ended"] if one != old]
        if ended:
            objects.write(_path(config), {**before, "prefix": old, "ended": ended})
        else:
            os.unlink(_path(config))
    view = at(config, old)
    found = objects.get(view, SUCCESSOR)
    if found is not None and found.get("prefix") == prefix:
        walg(view, "st", "rm", SUCCESSOR)


def own_identifier(config: Config) -> str | None:
    """The cluster this host keeps or kept: from its data, else from memory; None on a host that never had one."""
    with contextlib.suppress(PgsafeError):
        return system_identifier(config.data)
    found = objects.read(os.path.join(config.state, "identity.json"))
    return str(found["system_identifier"]) if found else None


def archive_identifier(config: Config) -> str:
    """The cluster the archive belongs to; refuses an archive that does not say."""
    found = identity.stored(config)
    if found is None:
        raise RefusedError(f"the archive {config.prefix} holds no {identity.OBJECT}: there is nothing to restore")
    return str(found["system_identifier"])


def same_cluster(config: Config) -> str:
    """The archive's cluster, which must be the one this host keeps."""
    theirs, own = archive_identifier(config), own_identifier(config)
    if own is not None and own != theirs:
        raise RefusedError(
            f"the archive {config.prefix} belongs to another cluster ({theirs}, this host keeps {own}): correct the "
            "archive's prefix, or, on a host that is empty, bring that cluster back with walg_bootstrap: restore"
        )
    return theirs
