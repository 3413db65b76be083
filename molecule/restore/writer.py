"""Marker rows: one every 0.2 s, each noted in a file with the moment it was acknowledged."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

#: The commit lies between the two moments of a line: number, before it was sent, after it was acknowledged.
NOTES = Path("/var/tmp/marker-rows")  # noqa: S108 - on the throwaway host
TABLE = "CREATE TABLE IF NOT EXISTS marker (id bigint PRIMARY KEY, at timestamptz NOT NULL)"


def main() -> int:
    session = subprocess.Popen(
        ["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", "app"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert session.stdin is not None
    assert session.stdout is not None
    session.stdin.write(f"SET client_min_messages = error; {TABLE};\nSELECT coalesce(max(id), 0) FROM marker;\n")
    session.stdin.flush()
    number = int(session.stdout.readline())
    with NOTES.open("a", buffering=1) as notes:
        while True:
            number += 1
            before = time.time()
            session.stdin.write(f"INSERT INTO marker VALUES ({number}, clock_timestamp()) RETURNING id;\n")  # noqa: S608
            session.stdin.flush()
            if session.stdout.readline().strip() != str(number):
                return 1
            notes.write(f"{number} {before:.6f} {time.time():.6f}\n")
            time.sleep(0.2)


if __name__ == "__main__":
    sys.exit(main())
