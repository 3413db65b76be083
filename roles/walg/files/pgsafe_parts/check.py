"""``check``: once a minute a row that tells how old the archive is, and whether anything here is wrong.

The row keeps an idle server archiving: PostgreSQL closes a segment after archive_timeout only when something was
written. Read from a restored copy it is the measured loss. Only this host is asked; the bucket is asked by ``status``,
``backup`` and ``verify``.
"""

# paths are plain strings in all of pgsafe
from __future__ import annotations

import os
from typing import Any

from .backup import iso
from .common import Config, PgsafeError, now, write_json
from .status import local, local_problems
from .walg import query

#: One row in the maintenance database; seq counts the beats. A standby has no pulse of its own.
#:
#: After the recovery from a crash PostgreSQL's checkpointer can sleep for checkpoint_timeout without a look at
#: archive_timeout: it fell asleep while the recovery was still on. A reload wakes it, and it closes what is overdue.
_BEAT = """
SET client_min_messages = warning;
DO $$ BEGIN
  IF NOT pg_is_in_recovery() THEN
    CREATE SCHEMA IF NOT EXISTS ops;
    CREATE TABLE IF NOT EXISTS ops.heartbeat (id int PRIMARY KEY CHECK (id = 1), at timestamptz NOT NULL,
      seq bigint NOT NULL);
    INSERT INTO ops.heartbeat VALUES (1, clock_timestamp(), 1)
      ON CONFLICT (id) DO UPDATE SET at = clock_timestamp(), seq = ops.heartbeat.seq + 1;
    IF current_setting('archive_mode') <> 'off' AND current_setting('archive_timeout') <> '0'
      AND clock_timestamp() - greatest(pg_postmaster_start_time(),
        (SELECT max(modification) FROM pg_ls_archive_statusdir()))
      > current_setting('archive_timeout')::interval + interval '10 s' THEN
      PERFORM pg_reload_conf();
    END IF;
  END IF;
END $$;
"""


def run(config: Config) -> dict[str, Any]:
    """{at, problems, ...}: the local part of ``status``, also left in check.json."""
    try:
        query(config, _BEAT, limit=30)
        report = local(config)
        report["problems"] = local_problems(config, report)
    except PgsafeError as error:
        report = {"problems": [str(error)]}
    report["at"] = iso(now())
    write_json(os.path.join(config.reports, "check.json"), report)
    return report


def as_text(report: dict[str, Any]) -> str:
    return "\n".join(f"PROBLEM     {problem}" for problem in report["problems"]) or "all well"
