#!/usr/bin/python3 -ISB
"""check VERSION CLUSTER PORT: whether PostgreSQL accepts its installed configuration. Run as postgres.

Asked before a reload or restart: a server that runs refuses a bad file quietly, one that starts refuses to start.
Exit 0 when all is well, else 1 with one line a fault.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

#: A changed setting that waits for a restart is listed as an error too; it is not one.
_SQL = """
SELECT json_build_object('where', coalesce(f.name, 'line ' || f.sourceline), 'file', f.sourcefile, 'error', f.error)
FROM pg_file_settings f LEFT JOIN pg_settings s ON s.name = lower(f.name)
WHERE f.error IS NOT NULL AND NOT (f.error = 'setting could not be applied' AND coalesce(s.context, '') = 'postmaster')
UNION ALL
SELECT json_build_object('where', 'line ' || line_number, 'file', file_name, 'error', error)
FROM pg_hba_file_rules WHERE error IS NOT NULL;
"""


def run(argv: list[str], text: str = "") -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "PGCONNECT_TIMEOUT": "10"}
    return subprocess.run(argv, input=text, env=environment, capture_output=True, encoding="utf-8", check=False)


def setting(binaries: str, data: str, config: str, name: str) -> tuple[str, list[str]]:
    """The value a fresh server would have, and what it says against its configuration."""
    done = run([f"{binaries}/postgres", "-D", data, "-c", f"config_file={config}", "-C", name])
    return done.stdout.strip(), [] if done.returncode == 0 else done.stderr.strip().splitlines()


def missing_libraries(libraries: str, names: str) -> list[str]:
    """A library that is not there shows only at the next start, and then there is no server any more."""
    wanted = [name.strip().strip('"') for name in names.split(",") if name.strip()]
    return [
        f"shared_preload_libraries: {name} is not installed"
        for name in wanted
        if "/" not in name and not os.path.exists(os.path.join(libraries, f"{name}.so"))
    ]


def main(version: str, cluster: str, port: str) -> int:
    binaries, config = f"/usr/lib/postgresql/{version}/bin", f"/etc/postgresql/{version}/{cluster}/postgresql.conf"
    data = f"/var/lib/postgresql/{version}/{cluster}"
    names, faults = setting(binaries, data, config, "shared_preload_libraries")
    faults += missing_libraries(f"/usr/lib/postgresql/{version}/lib", names)
    psql = [f"{binaries}/psql", "-XAtq", "-h", "/var/run/postgresql", "-p", port, "-d", "postgres"]
    # exit 2: no server runs; then the start that follows is the test
    asked = run(psql, _SQL)
    if asked.returncode == 0:
        rows = [json.loads(line) for line in asked.stdout.splitlines()]
        faults += [f"{row['file']}: {row['where']}: {row['error']}" for row in rows]
    elif asked.returncode != 2:
        faults += asked.stderr.strip().splitlines()
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
