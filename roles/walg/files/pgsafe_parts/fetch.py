"""``fetch``: PostgreSQL's restore_command.

A day of WAL is thousands of calls, one after the other, while nothing else can go on. What an earlier one had brought
ahead is taken without even reading the settings; only the others cost the start of WAL-G.
"""

# on the hot path: json and pathlib cost more start-up time than all the rest
from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .common import Config

#: What WAL-G answers for a file that is not in the archive; every other failure is 1.
_ABSENT = 74
#: What PostgreSQL makes of a restore_command's code: below 126 "the archive ends here", above "stop, this is wrong".
_END_OF_ARCHIVE, _STOP = 1, 255
#: A started WAL-G costs more than the fetching; so many segments are brought ahead by one.
_AHEAD = 16
#: With so many left more are brought. Not with every number below: while one WAL-G starts others would be started.
_FEW = (_AHEAD // 2, _AHEAD // 4, 0)
_SEGMENT_BYTES = 16 * 1024 * 1024
#: XLOG_PAGE_MAGIC of the oldest PostgreSQL; every later one is larger.
_MAGIC = 0xD061


def fetch_main(arguments: Sequence[str]) -> int:
    """``fetch [--config FILE] %f %p``: 0 fetched, 1 not in the archive, 255 anything else."""
    left = take(*arguments[-2:]) if len(arguments) in (2, 4) else None
    if left is not None and left not in _FEW:
        return 0

    from .common import PgsafeError, load, say, take_config

    path, rest = take_config(arguments)
    if len(rest) != 2:
        say("usage: fetch [--config FILE] NAME DESTINATION")
        return _STOP
    name, destination = rest
    try:
        if left is None:
            return get(load(path), name, destination)
        bring_ahead(load(path), name, destination)
    except (PgsafeError, OSError) as error:
        say(f"{name} could not be fetched: {error}" if left is None else f"nothing is brought ahead: {error}")
        return _STOP if left is None else 0
    return 0


def take(name: str, destination: str) -> int | None:
    """Takes a segment that was brought ahead; how many are left, those on their way included, or None."""
    folder = os.path.join(os.path.dirname(destination), ".wal-g", "prefetch")
    ready, running = os.path.join(folder, name), os.path.join(folder, "running", name)
    deadline = time.monotonic() + 1
    while not os.path.exists(ready):
        # one that is on its way is waited for, as WAL-G does; what stalls is left to it
        if not os.path.exists(running) or time.monotonic() > deadline:
            return None
        time.sleep(0.004)
    try:
        if not _is_whole(ready, name):
            return None
        os.replace(ready, destination)
        left = [item for item in os.listdir(folder) if item > name and item != "running"]
        return len(left) + len(os.listdir(os.path.join(folder, "running")))
    except (OSError, ValueError):
        # whatever is wrong with it, WAL-G brings it anew
        return None


def _is_whole(path: str, name: str) -> bool:
    """Whether a file is the segment of that name: its size, and the address that its first page says it has."""
    with open(path, "rb") as file:
        head = file.read(16)
        size = os.fstat(file.fileno()).st_size
    if size != _SEGMENT_BYTES or int.from_bytes(head[:2], "little") < _MAGIC:
        return False
    number = (int(name[8:16], 16) << 32) + int(name[16:24], 16) * _SEGMENT_BYTES
    return int.from_bytes(head[8:16], "little") == number


def _environment(config: Config) -> dict[str, str]:
    from .common import environment

    # PostgreSQL and the loop below try again themselves; WAL-G's own 15 tries would sleep on when the store is back
    ours = {"WALG_S3_MAX_RETRIES": "3", "WALG_DOWNLOAD_CONCURRENCY": str(_AHEAD)}
    return {**environment(config, "160MiB", 1, quiet=True), **ours}


def bring_ahead(config: Config, name: str, destination: str) -> None:
    """Has WAL-G bring what follows that segment. Nobody waits: it lives on when this process has ended."""
    argv = [config.walg, "--config", config.walg_config, "wal-prefetch", name, destination]
    os.posix_spawn(config.walg, argv, _environment(config))


def _remove(path: str) -> None:
    # WAL-G neither overwrites a file nor removes the half of one that a failed try left behind
    if os.path.lexists(path):
        os.unlink(path)


def get(config: Config, name: str, destination: str) -> int:
    """Tries until the budget is used up: an archive out of reach must never look like the end of the archive."""
    from .common import run_limited, say

    deadline, wait, tries = time.monotonic() + config.fetch_budget, 1.0, 0
    argv = [config.walg, "--config", config.walg_config, "wal-fetch", name, destination]
    while True:
        _remove(destination)
        tries += 1
        remaining = deadline - time.monotonic()
        code = run_limited(argv, _environment(config), max(1.0, remaining))
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
