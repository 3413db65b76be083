"""Faults, each made to happen: what was acknowledged stays, what waits arrives, and somebody is told meanwhile."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
from testinfra.host import Host

from tests.archive import (
    CREDENTIALS,
    DATA,
    SETTINGS,
    archive_all,
    changed,
    close_segment,
    failures,
    postgres,
    sql,
    status,
    waiting,
    walg,
)
from tests.bed import hosts, sidecars
from tests.bed.shell import run
from tests.scenario import converge, unchanged, wait_until

SCRATCH = "/var/tmp/molecule-faults"  # noqa: S108 - on the throwaway host
BUCKET = "molecule-walg"
KEY = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
OTHER_KEY = KEY.replace("00", "ab")
ZSTD = bytes.fromhex("28b52ffd")


def fingerprint(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:16]


@pytest.fixture(scope="module", autouse=True)
def rows(host: Host) -> Iterator[None]:
    host.check_output(f"rm -rf {SCRATCH} && install -d -o postgres -m 0700 {SCRATCH}")
    sql(host, "CREATE TABLE IF NOT EXISTS leaf (id serial PRIMARY KEY, what text)")
    yield
    host.check_output(f"rm -rf {SCRATCH}")


def check_problems(host: Host) -> list[str]:
    return list(json.loads(host.run("pgsafe check --json").stdout)["problems"])


def test_nothing_in_the_bucket_can_be_read_without_the_key(host: Host) -> None:
    """Segments and base backups are no zstd streams, and hold no word of a row; another key opens none."""
    sql(host, "INSERT INTO leaf (what) SELECT 'the words of a user' FROM generate_series(1, 9)")
    name = archive_all(host)
    prefix = status(host)["prefix"].split("/", 3)[3]
    objects = sidecars.s3().list_objects_v2(Bucket=BUCKET, Prefix=f"{prefix}/")["Contents"]
    sealed = [item["Key"] for item in objects if item["Key"].endswith(".zst")]
    assert any(name in key for key in sealed)
    assert any("tar_partitions" in key for key in sealed)
    for key in sealed:
        body = sidecars.s3().get_object(Bucket=BUCKET, Key=key)["Body"].read()
        assert not body.startswith(ZSTD), key
        assert b"the words of a user" not in body
    assert status(host)["key_fingerprint"] == fingerprint(KEY)
    host.check_output(f"printf {OTHER_KEY} > {SCRATCH}/key && chown postgres {SCRATCH}/key")
    other = f"env WALG_LIBSODIUM_KEY_PATH={SCRATCH}/key wal-g --config {CREDENTIALS}"
    assert postgres(host, f"{other} wal-fetch {name} {SCRATCH}/segment").rc not in (0, 74)
    # WAL-G itself would try to unpack a backup with it for ever; pgsafe asks first whose key it is
    with changed(host, SETTINGS, key_file=f"{SCRATCH}/key"):
        done = host.run("pgsafe identity")
    assert done.rc == 3
    assert "is not the confirmed one" in done.stderr


def test_the_key_is_readable_by_the_server_alone_and_a_copy_can_be_tried(host: Host) -> None:
    """0640; in no unit, no other file, no argument, not in the journal. A copy is tried through standard input."""
    file = host.file("/etc/wal-g/libsodium.key")
    assert (file.user, file.group, file.mode) == ("root", "postgres", 0o640)
    assert host.run("runuser -u nobody -- cat /etc/wal-g/libsodium.key").rc != 0
    assert KEY not in host.check_output(f"cat {SETTINGS} {CREDENTIALS} /etc/systemd/system/sapflux-*")
    assert KEY not in host.check_output("journalctl --no-pager")
    assert host.run(f"echo {KEY.upper()} | pgsafe key").rc == 0
    wrong = host.run(f"echo {OTHER_KEY} | pgsafe key")
    assert wrong.rc == 1
    assert "this is not the key of" in wrong.stderr


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"walg_encryption_key": ""}, "openssl rand -hex 32"),
        ({"walg_encryption_fingerprint": ""}, "whoever loses the key loses every backup"),
        ({"walg_encryption_fingerprint": "0123456789abcdef"}, "the second copy is of another key"),
    ],
)
def test_a_key_nobody_holds_twice_changes_nothing(host: Host, variables: dict[str, Any], message: str) -> None:
    sums = f"sha256sum {SETTINGS} {CREDENTIALS} /etc/wal-g/libsodium.key"
    before = host.check_output(sums)
    done = converge("walg", **variables)
    assert done.returncode != 0
    assert message in " ".join(done.stdout.split())
    assert "changed=0 " in done.stdout
    assert KEY not in done.stdout.replace(json.dumps(variables), "")
    assert host.check_output(sums) == before


def test_another_key_is_refused_before_it_writes(host: Host) -> None:
    """Confirmed or not: the archive knows the key it was begun with. WAL waits until the key is the old one again."""
    done = converge("walg", walg_encryption_key=OTHER_KEY, walg_encryption_fingerprint=fingerprint(OTHER_KEY))
    assert done.returncode != 0
    assert f"is encrypted with the key {fingerprint(KEY)}" in " ".join(done.stdout.split())
    failed = failures(host)
    name = close_segment(host)
    wait_until(lambda: failures(host) > failed, "a refusal")
    assert waiting(host) >= 1
    assert f"{name}.zst" not in walg(host, "st ls wal_005/").stdout
    assert converge("walg").returncode == 0
    archive_all(host)
    assert f"{name}.zst" in walg(host, "st ls wal_005/").stdout
    assert unchanged(converge("walg"))


def test_a_heartbeat_keeps_an_idle_server_archiving(host: Host) -> None:
    """Each check is a beat; the timer makes one every minute; the archive's age is known to the second."""
    beat = "SELECT seq FROM ops.heartbeat"
    # The timer's first minute may not be over yet.
    assert host.run("pgsafe check").rc == 0
    before = int(sql(host, beat, "postgres"))
    assert host.run("pgsafe check").rc == 0
    assert int(sql(host, beat, "postgres")) > before
    shown = host.check_output("systemctl show sapflux-check.timer -p TimersCalendar -p UnitFileState -p ActiveState")
    assert "*-*-* *:*:00" in shown
    assert "UnitFileState=enabled" in shown
    assert "ActiveState=active" in shown
    report = json.loads(host.check_output("cat /var/lib/sapflux/walg/check.json"))
    assert report["problems"] == []
    assert "Starting sapflux-check" not in host.check_output("journalctl --no-pager -u sapflux-check.service")


def test_a_fenced_cluster_keeps_its_wal(host: Host) -> None:
    """Nothing is dropped, nothing arrives, it is told; open again, all of it arrives."""
    host.check_output("pgsafe fence 'somebody looks into it'")
    failed = failures(host)
    name = close_segment(host)
    wait_until(lambda: failures(host) > failed, "a refusal")
    assert f"{name}.zst" not in walg(host, "st ls wal_005/").stdout
    assert any("fenced" in problem for problem in check_problems(host))
    assert host.run("pgsafe backup").rc == 3
    host.check_output("pgsafe unfence")
    archive_all(host)
    assert f"{name}.zst" in walg(host, "st ls wal_005/").stdout
    wait_until(lambda: not check_problems(host), "the end of the alarm", 90)


def test_a_growing_pg_wal_is_told_and_nothing_of_it_dropped(host: Host) -> None:
    """The limit is moved below what is there; the same segments are there afterwards."""
    segments = sql(host, "SELECT string_agg(name, ',' ORDER BY name) FROM pg_ls_waldir() WHERE length(name) = 24")
    with changed(host, SETTINGS, wal_growth_mb=-1024):
        done = host.run("pgsafe check")
    assert done.rc == 1
    assert "pg_wal holds" in done.stdout
    left = sql(host, "SELECT string_agg(name, ',' ORDER BY name) FROM pg_ls_waldir() WHERE length(name) = 24")
    assert set(segments.split(",")) <= set(left.split(","))


def test_a_store_that_forbids_loses_nothing(host: Host) -> None:
    """403: the segment waits, status tells although the bucket does not answer, and it arrives afterwards."""
    with changed(host, CREDENTIALS, AWS_SECRET_ACCESS_KEY="forbidden"):
        failed = failures(host)
        sql(host, "INSERT INTO leaf (what) VALUES ('403')")
        name = close_segment(host)
        wait_until(lambda: failures(host) > failed, "a refusal")
        report = json.loads(host.run("pgsafe status --json").stdout)
        assert any("the bucket does not tell what it holds" in problem for problem in report["problems"])
        assert any("archiving" in problem and "fails" in problem for problem in report["problems"])
        assert report["ready"] >= 1
        assert host.run("pgsafe status --strict").rc == 1
    archive_all(host)
    assert f"{name}.zst" in walg(host, "st ls wal_005/").stdout


def test_a_slow_store_is_told_and_catches_up(host: Host) -> None:
    """200 kbit/s and a limit of 3 s: the try is ended, PostgreSQL keeps the segment, and later it arrives."""
    with changed(host, SETTINGS, archive_limit=3):
        host.check_output("tc qdisc add dev eth0 root tbf rate 200kbit burst 8kb latency 1s")
        try:
            failed = failures(host)
            sql(host, "INSERT INTO leaf (what) SELECT gen_random_uuid()::text FROM generate_series(1, 9000)")
            name = close_segment(host)
            wait_until(lambda: failures(host) > failed, "a try that is ended", 90)
        finally:
            host.check_output("tc qdisc del dev eth0 root")
    assert "took more than 3 s and was ended" in host.check_output("cat /var/log/postgresql/*.log")
    archive_all(host)
    assert f"{name}.zst" in walg(host, "st ls wal_005/").stdout


def test_killed_between_the_upload_and_the_note_of_it(host: Host) -> None:
    """The segment is in the bucket and the server does not know: it sends it again, which is no conflict."""
    script = (
        '#!/bin/sh\nwal-g "$@"; code=$?\n'
        f'case "$*" in *wal-push*) rm {SCRATCH}/armed 2>/dev/null && kill -KILL '
        f"$(pgrep -f 'postgres: 17/main: archiver') $(head -n 1 {DATA}/postmaster.pid);; esac\nexit $code\n"
    )
    host.check_output(f"printf %s {shlex.quote(script)} > {SCRATCH}/wal-g && chmod 0755 {SCRATCH}/wal-g")
    sql(host, "DELETE FROM leaf WHERE what = 'killed'; INSERT INTO leaf (what) VALUES ('killed')")
    started = "SELECT pg_postmaster_start_time()"
    before = sql(host, started)
    with changed(host, SETTINGS, walg=f"{SCRATCH}/wal-g"):
        host.check_output(f"touch {SCRATCH}/armed && chown postgres {SCRATCH}/armed")
        name = close_segment(host)
        wait_until(lambda: not host.file(f"{SCRATCH}/armed").exists, "the kill", 60)
        wait_until(lambda: host.run("pg_isready -q -h /run/postgresql").rc == 0, "the server's return", 120)
    assert sql(host, started) != before
    archive_all(host)
    assert waiting(host) == 0
    assert f"{name}.zst" in walg(host, "st ls wal_005/").stdout
    assert failures(host) == 0
    assert sql(host, "SELECT count(*) FROM leaf WHERE what = 'killed'") == "1"


def test_archive_timeout_is_kept_after_a_crash(host: Host) -> None:
    """By itself the checkpointer would sleep through it: it lay down while the recovery was on."""
    host.check_output(f"kill -KILL $(head -n 1 {DATA}/postmaster.pid)")
    wait_until(lambda: host.run("pg_isready -q -h /run/postgresql").rc != 0, "the end of the server", 30)
    wait_until(lambda: host.run("pg_isready -q -h /run/postgresql").rc == 0, "the server's return", 120)
    sql(host, "INSERT INTO leaf (what) VALUES ('after the crash')")
    name = sql(host, "SELECT pg_walfile_name(pg_current_wal_insert_lsn())")
    ready = f"SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name LIKE '{name}.%'"  # noqa: S608
    wait_until(lambda: sql(host, ready) == "1", f"the end of {name}", 25)


def test_a_backup_that_is_killed_is_none(host: Host) -> None:
    """The whole unit, WAL-G and all, with SIGKILL: not in the catalogue, the lock is free, the next one is good."""
    before = status(host)["backups"]
    host.check_output(
        "systemctl start --no-block sapflux-backup.service; for n in $(seq 3000); do "
        "pgrep -u postgres -f backup-push >/dev/null && break; sleep 0.02; done; "
        "systemctl kill --signal=KILL sapflux-backup.service"
    )
    wait_until(lambda: host.run("systemctl is-failed -q sapflux-backup.service").rc == 0, "the end of the unit")
    assert status(host)["backups"] == before
    assert sql(host, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_backup_start%'", "postgres") in "01"
    host.check_output("systemctl start sapflux-backup.service")
    assert status(host)["newest_backup"] is not None
    assert status(host)["backups"] >= min(before + 1, 2)


@pytest.mark.parametrize("jump", ["+400 days", "-400 days"])
def test_a_clock_that_jumps_takes_no_backup_with_it(host: Host, jump: str) -> None:
    """pgsafe believes another year: the backup is made, found and kept, and the number to keep is kept."""
    before = status(host)
    receipt = json.loads(host.check_output(f"faketime '{jump}' pgsafe backup --json"))
    assert receipt["made"] is True
    assert receipt["backup"]["backup_name"] > before["newest_backup"]["backup_name"]
    after = status(host)
    assert after["newest_backup"]["backup_name"] == receipt["backup"]["backup_name"]
    assert after["backups"] >= min(before["backups"] + 1, 2)


def test_what_a_drill_has_proven_is_not_deleted(host: Host) -> None:
    """Until a newer one is proven, however old it is."""
    oldest = status(host)["oldest_backup"]["backup_name"]
    report, iso = "/var/lib/sapflux/walg/drill.json", status(host)["oldest_backup"]["finish_time"]
    host.check_output(f"printf %s {shlex.quote(json.dumps({'backup': oldest, 'passed': True, 'at': iso}))} > {report}")
    try:
        with changed(host, SETTINGS, keep_days=0):
            for _ in range(2):
                host.check_output("pgsafe backup")
            assert status(host)["oldest_backup"]["backup_name"] == oldest
            host.check_output(f"rm {report} /var/lib/postgresql/walg/proven.json")
            host.check_output("pgsafe backup")
        assert status(host)["oldest_backup"]["backup_name"] != oldest
    finally:
        host.run(f"rm -f {report}")


def test_the_power_goes_while_rows_are_written(host: Host) -> None:
    """Every acknowledged row is there when the host is back, and the archive goes on where it was."""
    write = (
        "for n in $(seq 1 100000); do psql -XAtq -d app -c \"INSERT INTO leaf (what) VALUES ('power $n')\" "
        "&& echo $n > /var/lib/postgresql/written; done"
    )
    host.check_output(f"systemd-run --quiet --collect --uid=postgres sh -c {shlex.quote(write)}")
    wait_until(lambda: int(host.run("cat /var/lib/postgresql/written").stdout or 0) > 20, "some rows", 60)
    run("docker", "kill", hosts.container("walg-1"))
    hosts.up("walg-1")
    wait_until(lambda: host.run("pg_isready -q -h /run/postgresql").rc == 0, "the server's return", 180)
    written = int(host.check_output("cat /var/lib/postgresql/written"))
    assert written > 20
    kept = int(sql(host, "SELECT count(*) FROM leaf WHERE what LIKE 'power %'"))
    assert kept >= written
    archive_all(host)
    wait_until(lambda: not check_problems(host), "the end of all alarms", 90)


def test_a_bucket_that_was_deleted_is_told_and_begun_again(host: Host) -> None:
    """Nothing is dropped meanwhile; a new bucket is not taken for the old one; the way out is told and works."""
    sidecars.drop_bucket(BUCKET)
    try:
        failed = failures(host)
        sql(host, "INSERT INTO leaf (what) VALUES ('no bucket')")
        name = close_segment(host)
        wait_until(lambda: failures(host) > failed, "a failure to archive")
        assert waiting(host) >= 1
        assert any("bucket" in problem for problem in json.loads(host.run("pgsafe status --json").stdout)["problems"])
    finally:
        sidecars.bucket(BUCKET)
    archive_all(host)
    assert f"{name}.zst" in walg(host, "st ls wal_005/").stdout
    assert any("there is no base backup" in problem for problem in status(host)["problems"])
    done = host.run("pgsafe backup")
    assert done.rc == 3
    assert "identity --adopt" in done.stderr
    host.check_output("pgsafe identity --adopt")
    host.check_output("pgsafe backup")
    assert status(host)["problems"] == []
    assert status(host)["backups"] == 1
