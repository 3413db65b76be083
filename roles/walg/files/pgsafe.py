#!/usr/bin/python3 -ISB
"""pgsafe: archive, back up and restore PostgreSQL through WAL-G.

PostgreSQL calls it as ``archive`` and ``fetch`` (the same file under those names), systemd and people as ``pgsafe``.
``pgsafe --help`` lists the commands. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused before anything was
changed, 75 another run holds the lock. ``archive`` fails with 1 whatever happened, so that PostgreSQL keeps the segment
and tries again. ``fetch`` says 1 only for a file the archive certainly does not hold, which ends a recovery; everything
else is 255, which stops the server instead of opening it half restored.

Started once for every WAL segment: what a command does not need is not imported.
"""

# pathlib costs more start-up time than all the rest of the hot path
from __future__ import annotations

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))


def main() -> int:
    name, arguments = os.path.basename(sys.argv[0]), sys.argv[1:]
    if name not in ("archive", "fetch") and arguments[:1] in (["archive"], ["fetch"]):
        name, arguments = arguments[0], arguments[1:]
    if name == "archive":
        from pgsafe_parts.archive import archive_main

        return int(archive_main(arguments))
    if name == "fetch":
        from pgsafe_parts.fetch import fetch_main

        return int(fetch_main(arguments))
    from pgsafe_parts.cli import main as cli_main

    return int(cli_main(arguments))


if __name__ == "__main__":
    sys.exit(main())
