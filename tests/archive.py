"""What the tests of the archive share: asking the server, WAL-G and pgsafe on a host, and turning its settings."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from testinfra.backend.base import CommandResult
from testinfra.host import Host

from tests.scenario import wait_until

LIB = "/usr/local/lib/sapflux/walg"
DATA = "/var/lib/postgresql/17/main"
SETTINGS = "/etc/wal-g/pgsafe.json"
CREDENTIALS = "/etc/wal-g/wal-g.json"


def postgres(host: Host, command: str) -> CommandResult:
    """A command as postgres, in a directory it may enter."""
    return host.run(f"cd / && runuser -u postgres -- {command}")


def sql(host: Host, text: str, database: str = "app") -> str:
    done = postgres(host, f"psql -XAtq -v ON_ERROR_STOP=1 -d {database} -c {shlex.quote(text)}")
    assert done.rc == 0, done.stderr
    return str(done.stdout).strip()


def walg(host: Host, command: str) -> CommandResult:
    return postgres(host, f"wal-g --config {CREDENTIALS} {command}")


def status(host: Host) -> dict[str, Any]:
    return dict(json.loads(host.check_output("pgsafe status --json")))


def waiting(host: Host) -> int:
    """Segments that wait to be archived."""
    return int(sql(host, "SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'"))


def close_segment(host: Host) -> str:
    """Closes the current segment; its name."""
    # archive_timeout may have closed it a moment ago, and an empty one is not closed: write something first
    script = "SELECT pg_create_restore_point('closed'); SELECT pg_walfile_name(pg_switch_wal())"
    return sql(host, script).split()[-1]


def archived(host: Host, name: str) -> None:
    """Waits until the server says that a segment is in the archive."""
    wait_until(
        lambda: sql(host, f"SELECT last_archived_wal >= '{name}' FROM pg_stat_archiver") == "t",  # noqa: S608
        f"archiving {name}",
        180,
    )


def archive_all(host: Host) -> str:
    """Closes the current segment and waits until it is in the archive; its name."""
    name = close_segment(host)
    archived(host, name)
    return name


def failures(host: Host) -> int:
    return int(sql(host, "SELECT failed_count FROM pg_stat_archiver"))


_EDIT = "import json,sys; p,v=sys.argv[1:]; d=json.load(open(p)); d.update(json.loads(v)); json.dump(d, open(p,'w'))"


@contextmanager
def changed(host: Host, path: str, **values: object) -> Iterator[None]:
    """Some of a host's settings changed, for a while; owner and mode stay, and no other value is in an argument."""
    host.check_output(f"cp -p {path} {path}.before")
    host.check_output(f"python3 -c {shlex.quote(_EDIT)} {path} {shlex.quote(json.dumps(values))}")
    try:
        yield
    finally:
        host.check_output(f"cat {path}.before > {path} && rm {path}.before")
