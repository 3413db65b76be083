"""``archive``: PostgreSQL's archive_command."""

# pathlib costs more start-up time than all the rest of the hot path
from __future__ import annotations

from collections.abc import Sequence

from . import fence, identity
from .common import Config, PgsafeError, environment, load, run_limited, say, take_config


def push(config: Config, segment: str) -> int:
    fence.must_be_open(config)
    identity.ensure(config)
    # PostgreSQL tries again itself; WAL-G's own 15 tries would sleep on when the store is back. A try that outlives its
    # limit is ended
    env = {**environment(config, "160MiB", 1, quiet=True), "WALG_S3_MAX_RETRIES": "3"}
    code = run_limited(
        [config.walg, "--config", config.walg_config, "wal-push", segment],
        env,
        config.archive_limit,
    )
    if code == -1:
        say(f"archiving {segment} took more than {config.archive_limit} s and was ended; PostgreSQL tries again")
    return 0 if code == 0 else 1


def archive_main(arguments: Sequence[str]) -> int:
    """``archive %p``: 0 when the segment is in the archive, else 1; above 125 would end PostgreSQL's archiver."""
    path, rest = take_config(arguments)
    if len(rest) != 1:
        say("usage: archive [--config FILE] PATH-OF-SEGMENT")
        return 1
    try:
        return push(load(path), rest[0])
    except PgsafeError as error:
        say(f"{rest[0]} stays here: {error}")
    except OSError as error:
        say(f"{rest[0]} stays here: {error}")
    return 1
