"""Hosts for measurements of the data half: made, filled, killed, and restored on another one."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bed import hosts, sidecars, walg
from tests.bed.shell import BedError, run, text, wait_for
from tests.scenario import environment

KEY = "5f" * 32
FINGERPRINT = "ce63c4ebf143f2aa"
DATA = "/var/lib/postgresql/17/main"
LIB = "/usr/local/lib/sapflux/walg"
HOME = "/opt/bench"
BUCKET = "bench-data"
#: A line of ansible.posix.profile_tasks.
PROFILED = re.compile(r"^(?P<task>\S.*?) -+ (?P<seconds>\d+\.\d+)s$")
#: Wall time and the peak memory of the largest process of a command, as JSON; the exit code is the command's.
_MEASURED = (
    "import json,resource,subprocess,sys,time; t=time.monotonic(); d=subprocess.run(sys.argv[1:], stdout=sys.stderr); "
    "print(json.dumps({'seconds': round(time.monotonic()-t, 2), "
    "'rss_mb': round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss/1024)})); sys.exit(d.returncode)"
)


@dataclass(frozen=True)
class Machine:
    """A host of the bed with PostgreSQL and an archive of its own; ``prefix`` is where it archives to."""

    name: str
    prefix: str
    variables: dict[str, Any] = field(default_factory=dict)

    def prepare(self) -> None:
        """Make the host, the bucket, and apply the roles."""
        sidecars.minio()
        sidecars.bucket(BUCKET)
        hosts.up(self.name, memory="2g")
        self.sh(
            "command -v faketime >/dev/null || apt-get install -qq -y --no-install-recommends libsodium23 >/dev/null"
        )
        self.apply()

    def apply(self, **environ: str) -> str:
        """Apply the roles; what ansible-playbook printed. ``environ`` are further settings of its environment."""
        program = walg.program()
        variables = {
            "postgres_memory_mb": 2048,
            "postgres_archive_command": f"{LIB}/archive %p",
            "postgres_databases": [{"name": "app", "owner": "app_owner"}],
            "walg_version": program.version,
            "walg_sha256": program.sha256,
            "walg_src": str(program.path),
            "walg_bucket": BUCKET,
            "walg_prefix": self.prefix,
            "walg_endpoint": f"http://{sidecars.MINIO.endpoint}",
            "walg_region": sidecars.REGION,
            "walg_access_key_id": sidecars.ACCESS_KEY,
            "walg_secret_access_key": sidecars.SECRET_KEY,
            "walg_encryption_key": KEY,
            "walg_encryption_fingerprint": FINGERPRINT,
            **self.variables,
        }
        with tempfile.TemporaryDirectory() as work:
            inventory, extra = Path(work, "hosts"), Path(work, "extra.json")
            inventory.write_text(f"[data]\n{hosts.inventory(self.name)} ansible_python_interpreter=/usr/bin/python3\n")
            extra.write_text(json.dumps(variables))
            playbook = str(Path(__file__).with_name("data.yml"))
            argv = ["ansible-playbook", "-i", str(inventory), "-e", f"@{extra}", playbook]
            env = {**environment(), **environ}
            done = subprocess.run(argv, env=env, cwd=hosts.ROOT, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise BedError(f"{self.name} could not be prepared: {done.stdout[-1500:]}")
        return done.stdout

    def sh(self, script: str) -> str:
        """A script as root."""
        return hosts.execute(self.name, script)

    def postgres(self, *argv: str) -> str:
        """A program as postgres."""
        return self.sh(f"cd /; runuser -u postgres -- {shlex.join(argv)}")

    def sql(self, statement: str, database: str = "app") -> str:
        return self.postgres("psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", statement)

    def measured(self, *argv: str) -> dict[str, float]:
        """Seconds and peak memory (MB, of the largest process) of a program that runs as postgres."""
        found = json.loads(self.postgres("python3", "-c", _MEASURED, *argv).splitlines()[-1])
        return dict(found)

    def kill(self) -> float:
        """The power goes; the moment it went."""
        at = time.monotonic()
        run("docker", "kill", hosts.container(self.name))
        return at

    def revive(self) -> None:
        hosts.up(self.name, memory="2g")
        wait_for(f"PostgreSQL on {self.name}", self.answers, seconds=180)

    def answers(self) -> bool:
        argv = ["docker", "exec", hosts.container(self.name), "pg_isready", "-q", "-h", "/run/postgresql"]
        return run(*argv, check=False).returncode == 0

    def archived_all(self, seconds: float = 1800) -> None:
        """Closes the current segment and waits until it is archived."""
        name = self.sql("SELECT pg_create_restore_point('bench'); SELECT pg_walfile_name(pg_switch_wal())").split()[-1]
        ask = f"SELECT coalesce(last_archived_wal >= '{name}', false) FROM pg_stat_archiver"  # noqa: S608
        wait_for(f"the archiving of {name}", lambda: self.sql(ask) == "t", seconds=seconds, every=0.5)

    def cpu_seconds(self) -> float:
        """Processor time of PostgreSQL since its start and of everything it starts, WAL-G included."""
        group = "/sys/fs/cgroup/system.slice/system-postgresql.slice/postgresql@17-main.service/cpu.stat"
        return int(self.sh(f"cat {group}").split()[1]) / 1e6

    def restore(self, prefix: str) -> dict[str, float]:
        """Another machine's archive, to its end, over what is here: seconds of the fetch, of replay and promotion.

        ``replay_cpu`` are processor seconds, of PostgreSQL and of what brings its segments.
        """
        self.sh(
            f"""systemctl stop postgresql@17-main; rm -rf {DATA}; install -d -o postgres {HOME}
python3 - <<'END'
import json
for name in ("wal-g", "pgsafe"):
    values = json.load(open(f"/etc/wal-g/{{name}}.json"))
    if name == "wal-g":
        values["WALG_S3_PREFIX"] = "s3://{BUCKET}/{prefix}"
    else:
        values.update(prefix="s3://{BUCKET}/{prefix}", walg_config="{HOME}/wal-g.json")
    json.dump(values, open(f"{HOME}/{{name}}.json", "w"))
END
chown postgres {HOME}/*.json"""
        )
        began = time.monotonic()
        self.postgres("wal-g", "--config", f"{HOME}/wal-g.json", "backup-fetch", DATA, "LATEST")
        fetched = time.monotonic()
        self.recover(f"{LIB}/fetch --config {HOME}/pgsafe.json %f %p")
        ended = time.monotonic()
        return {
            "fetch": fetched - began,
            "replay": ended - fetched,
            "total": ended - began,
            "replay_cpu": self.cpu_seconds(),
        }

    def recover(self, command: str) -> None:
        """Replays to the end of an archive and opens."""
        settings = f"restore_command = '{command}'\narchive_mode = off"
        self.sh(
            f"chmod 0700 {DATA}; touch {DATA}/recovery.signal; chown postgres {DATA}/recovery.signal; "
            f'echo "{settings}" > /etc/postgresql/17/main/conf.d/99-bench.conf; '
            "systemctl start postgresql@17-main"
        )
        wait_for("the end of the recovery", self._is_open, seconds=3600, every=0.2)

    def _is_open(self) -> bool:
        argv = ["docker", "exec", "-u", "postgres", hosts.container(self.name), "psql", "-XAtq", "-c"]
        return text(*argv, "SELECT pg_is_in_recovery()", check=False) == "f"


def stored(prefix: str) -> tuple[int, int]:
    """(number, bytes) of the objects below a prefix of the bucket."""
    count = size = 0
    for page in sidecars.s3().get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{prefix}/"):
        for item in page.get("Contents", []):
            count, size = count + 1, size + item["Size"]
    return count, size


def note(message: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {message}", file=sys.stderr, flush=True)
