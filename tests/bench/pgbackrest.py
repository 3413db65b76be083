"""pgBackRest from Debian beside WAL-G: the same machines, data and object store.

It speaks TLS to an object store and nothing else, so each machine has a proxy that takes the TLS off.
"""

from __future__ import annotations

import time

from tests.bed import sidecars

from .machines import BUCKET, DATA, Machine

_CONFIG = f"""[global]
repo1-type=s3
repo1-s3-bucket={BUCKET}
repo1-s3-endpoint=localhost
repo1-storage-port=9443
repo1-storage-verify-tls=n
repo1-s3-region={sidecars.REGION}
repo1-s3-uri-style=path
repo1-s3-key={sidecars.ACCESS_KEY}
repo1-s3-key-secret={sidecars.SECRET_KEY}
repo1-path=/%s
repo1-cipher-type=aes-256-cbc
repo1-cipher-pass=bench
repo1-retention-full=2
compress-type=zst
process-max=2
archive-async=y
archive-get-queue-max=256MiB
start-fast=y
log-level-console=warn
log-level-file=off
[main]
pg1-path={DATA}
"""


def install(machine: Machine, repository: str) -> None:
    """pgBackRest and the proxy, configured."""
    machine.sh(
        "command -v pgbackrest socat >/dev/null || DEBIAN_FRONTEND=noninteractive apt-get install -qq -y "
        "--no-install-recommends pgbackrest socat openssl >/dev/null; cd /opt; "
        "install -d -o postgres -g postgres /var/spool/pgbackrest; "
        "openssl req -x509 -newkey rsa:2048 -nodes -keyout tls.key -out tls.crt -subj /CN=localhost 2>/dev/null; "
        "systemctl is-active -q bench-tls || systemd-run --quiet --unit=bench-tls socat "
        "OPENSSL-LISTEN:9443,reuseaddr,fork,cert=/opt/tls.crt,key=/opt/tls.key,verify=0 "
        f"TCP:{sidecars.MINIO.endpoint}\n"
        f"cat > /etc/pgbackrest.conf <<'END'\n{_CONFIG % repository}END\nchown postgres /etc/pgbackrest.conf"
    )


def take_over(machine: Machine) -> None:
    """Archives with pgBackRest from now on."""
    machine.sh(
        "echo \"archive_command = 'pgbackrest --stanza=main archive-push %p'\" "
        "> /etc/postgresql/17/main/conf.d/99-bench.conf; systemctl reload postgresql@17-main"
    )
    machine.postgres("pgbackrest", "--stanza=main", "stanza-create")


def restore(machine: Machine) -> dict[str, float]:
    """To the end of the archive, over what is there: seconds of the fetch, of replay and promotion."""
    machine.sh(f"systemctl stop postgresql@17-main; rm -rf {DATA}; install -d -o postgres -g postgres -m 0700 {DATA}")
    began = time.monotonic()
    machine.postgres("pgbackrest", "--stanza=main", "restore")
    fetched = time.monotonic()
    # what it wrote to postgresql.auto.conf is the same command
    machine.recover('pgbackrest --stanza=main archive-get %f "%p"'.replace('"', ""))
    ended = time.monotonic()
    return {
        "fetch": fetched - began,
        "replay": ended - fetched,
        "total": ended - began,
        "replay_cpu": machine.cpu_seconds(),
    }
