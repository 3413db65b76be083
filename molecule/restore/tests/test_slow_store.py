"""A store whose every answer takes its time, as one across the sea does."""

from __future__ import annotations

import json
import shlex

from testinfra.host import Host

from tests.recovery import LIB, RESTORES, SCRATCH, archive_all, configured, marker_rows

#: All it asks at the end of the archive takes seconds then.
_SLOW = '#!/bin/sh\nsleep 1\nexec /usr/local/bin/wal-g "$@"\n'


def test_the_end_of_the_archive_is_seen_however_long_it_takes_to_ask(host: Host) -> None:
    """A restore of the latest ends where the archive does, and does not wait there for more."""
    expected = marker_rows(host)[-1].number
    archive_all(host)
    program = f"{SCRATCH}/slow-wal-g"
    path = configured(host, "slow", walg=program)
    host.check_output(f"printf %s {shlex.quote(_SLOW)} > {program} && chmod 0755 {program}")
    probe = shlex.quote("app:SELECT max(id) FROM marker")
    done = host.run(f"{LIB}/pgsafe --config {path} restore-beside --name slow --timeout 300 --probe {probe} --json")
    assert done.rc == 0, done.stderr
    receipt = json.loads(done.stdout)
    assert receipt["complete"] is True
    assert int(receipt["probes"][0]["answer"]) >= expected
    host.check_output(f"rm -r {RESTORES}/slow")
