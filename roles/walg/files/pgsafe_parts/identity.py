"""Whose archive is it? WAL-G does not ask; two clusters in one prefix destroy each other's backups.

The prefix holds IDENTITY.json with the system identifier of the one cluster that may write there, and with the
fingerprint of the one key that opens what it writes. A cluster that finds a prefix empty claims it. What was found is
remembered in the state directory for as long as prefix, endpoint, cluster and key stay the same, so that an ordinary
segment costs no question.
"""

# pathlib costs more start-up time than all the rest of the hot path
from __future__ import annotations

import json
import os
import time

from .common import Config, PgsafeError, RefusedError, now, system_identifier, write_json

# what only annotations need is not imported
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OBJECT = "IDENTITY.json"


def _memory(config: Config) -> str:
    return os.path.join(config.state, "identity.json")


def _expected(config: Config) -> dict[str, str]:
    return {
        "prefix": config.prefix,
        "endpoint": config.endpoint,
        "system_identifier": system_identifier(config.data),
        "key_fingerprint": config.key_fingerprint,
    }


def is_known(config: Config) -> bool:
    """Whether this cluster has proven before that this archive is its own."""
    try:
        with open(_memory(config), encoding="utf-8") as file:
            return bool(json.load(file) == _expected(config))
    except (OSError, ValueError):
        return False


def ensure(config: Config) -> None:
    """Returns when the archive is this cluster's; raises RefusedError when not, PgsafeError when it cannot be asked."""
    if not is_known(config):
        verify(config)


def stored(config: Config) -> dict[str, Any] | None:
    """The identity the archive holds, or None."""
    from .walg import WalgError, walg

    try:
        text = walg(config, "st", "cat", OBJECT)
    except WalgError as error:
        if error.is_absent():
            return None
        raise
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not isinstance(found.get("system_identifier"), str):
        raise RefusedError(
            f"{config.prefix}/{OBJECT} is no identity: look who wrote there, or use a new generation of the archive"
        )
    return found


def verify(config: Config, *, adopt: bool = False) -> dict[str, Any]:
    """Asks the archive, claims an empty one (``adopt``: also one with our backups), and remembers the answer."""
    from .key import must_fit

    own = system_identifier(config.data)
    found = stored(config)
    must_fit(config, found)
    if found is None:
        _may_claim(config, own, adopt)
        claim(config, own)
        found = stored(config)
    if found is None:
        raise PgsafeError(f"{config.prefix}/{OBJECT} was written and is not there: check the bucket's rules")
    if found["system_identifier"] != own:
        raise RefusedError(
            f"the archive {config.prefix} belongs to another cluster ({found['system_identifier']}, this is {own}): "
            "raise the generation of the archive to start a new one beside it, or restore that cluster first"
        )
    _remember(config)
    return found


def _may_claim(config: Config, own: str, adopt: bool) -> None:
    from .walg import catalogue, is_empty

    if is_empty(config):
        return
    if not adopt:
        raise RefusedError(
            f"the archive {config.prefix} holds objects but no {OBJECT}: raise the archive's generation to start "
            "a new one, or, if it is certainly this cluster's, run `pgsafe identity --adopt`"
        )
    others = {backup.system_identifier for backup in catalogue(config)} - {own}
    if others:
        raise RefusedError(
            f"the archive {config.prefix} holds backups of another cluster ({min(others)}): use a new generation"
        )


def claim(config: Config, own: str, **more: str) -> None:
    """Writes the identity of that cluster into an archive that holds none, with what else is to be known about it."""
    from .walg import walg

    document = {
        "system_identifier": own,
        "cluster": config.cluster,
        "version": config.version,
        "generation": config.prefix.rsplit("/", 1)[-1],
        "encryption": "libsodium" if config.key_fingerprint else "none",
        "key_fingerprint": config.key_fingerprint,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now())),
        **more,
    }
    path = f"{_memory(config)}.{os.getpid()}"
    try:
        write_json(path, document)
        # this overwrites without asking; what is there afterwards is read back, here and before every base backup
        walg(config, "st", "put", "--no-compress", "--no-encrypt", path, OBJECT)
    finally:
        if os.path.exists(path):
            os.unlink(path)


def _remember(config: Config) -> None:
    write_json(_memory(config), _expected(config))
