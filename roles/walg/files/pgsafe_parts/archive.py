"""``archive`` (PostgreSQL's archive_command) and ``fetch`` (its restore_command)."""

# pathlib costs more start-up time than all the rest of the hot path
from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence

from . import fence, identity
from .common import Config, PgsafeError, environment, load, run_limited, say, take_config

#: What WAL-G answers for a file that is not in the archive; every other failure is 1.
_ABSENT = 74

#: What PostgreSQL makes of a restore_command's code: below 126 "the archive ends here", above "stop, this is wrong".
_END_OF_ARCHIVE, _STOP = 1, 255


def _environment(config: Config) -> dict[str, str]:
    # PostgreSQL and the loop below try again themselves; WAL-G's own 15 tries would sleep on when the store is back
    return {**environment(config, "160MiB", 1, quiet=True), "WALG_S3_MAX_RETRIES": "3"}


def push(config: Config, segment: str) -> int:
    fence.must_be_open(config)
    identity.ensure(config)
    # a try that outlives its limit is ended: PostgreSQL calls again
    code = run_limited(
        [config.walg, "--config", config.walg_config, "wal-push", segment],
        _environment(config),
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


#: A started WAL-G costs more than the fetching; so many segments are brought ahead by one.
_AHEAD = 8
_SEGMENT_BYTES = 16 * 1024 * 1024
#: XLOG_PAGE_MAGIC of the oldest PostgreSQL; every later one is larger.
_MAGIC = 0xD061


def _is_whole(path: str, name: str) -> bool:
    """Whether a file is the segment of that name: its size, and the address that its first page says it has."""
    with open(path, "rb") as file:
        head = file.read(16)
        size = os.fstat(file.fileno()).st_size
    if size != _SEGMENT_BYTES or int.from_bytes(head[:2], "little") < _MAGIC:
        return False
    number = (int(name[8:16], 16) << 32) + int(name[16:24], 16) * _SEGMENT_BYTES
    return int.from_bytes(head[8:16], "little") == number


def _take(config: Config, name: str, destination: str, env: dict[str, str]) -> bool:
    """Takes a segment that an earlier call of WAL-G brought ahead, and has more brought when few are left."""
    folder = os.path.join(os.path.dirname(destination), ".wal-g", "prefetch")
    ready, running = os.path.join(folder, name), os.path.join(folder, "running", name)
    deadline = time.monotonic() + 1
    while not os.path.exists(ready):
        # one that is on its way is waited for, as WAL-G does; what stalls is left to it
        if not os.path.exists(running) or time.monotonic() > deadline:
            return False
        time.sleep(0.004)
    if not _is_whole(ready, name):
        return False
    os.replace(ready, destination)
    left = [item for item in os.listdir(folder) if item > name and item != "running"]
    if len(left) + len(os.listdir(os.path.join(folder, "running"))) <= _AHEAD // 2:
        # nobody waits for it: it lives on when this process has ended, and says nothing
        os.posix_spawn(
            config.walg, [config.walg, "--config", config.walg_config, "wal-prefetch", name, destination], env
        )
    return True


def _remove(path: str) -> None:
    # WAL-G neither overwrites a file nor removes the half of one that a failed try left behind
    if os.path.lexists(path):
        os.unlink(path)


def get(config: Config, name: str, destination: str) -> int:
    """Tries until the budget is used up: an archive out of reach must never look like the end of the archive."""
    deadline, wait, tries = time.monotonic() + config.fetch_budget, 1.0, 0
    env = {**_environment(config), "WALG_DOWNLOAD_CONCURRENCY": str(_AHEAD)}
    _remove(destination)
    try:
        if len(name) == 24 and _take(config, name, destination, env):
            return 0
    except (OSError, ValueError):
        # whatever is wrong with what was brought ahead, WAL-G brings it anew
        pass
    while True:
        _remove(destination)
        tries += 1
        remaining = deadline - time.monotonic()
        argv = [config.walg, "--config", config.walg_config, "wal-fetch", name, destination]
        code = run_limited(argv, env, max(1.0, remaining))
        if code == 0:
            return 0
        _remove(destination)
        if code == _ABSENT:
            return _END_OF_ARCHIVE
        if deadline - time.monotonic() <= wait:
            say(
                f"{name} could not be fetched in {config.fetch_budget} s ({tries} tries): recovery stops, nothing opens"
            )
            return _STOP
        time.sleep(wait)
        wait = min(wait * 2, 30.0)


def fetch_main(arguments: Sequence[str]) -> int:
    """``fetch %f %p``: 0 fetched, 1 not in the archive, 255 anything else."""
    path, rest = take_config(arguments)
    if len(rest) != 2:
        print("pgsafe: usage: fetch [--config FILE] NAME DESTINATION", file=sys.stderr)
        return _STOP
    try:
        return get(load(path), rest[0], rest[1])
    except (PgsafeError, OSError) as error:
        say(f"{rest[0]} could not be fetched: {error}")
        return _STOP
