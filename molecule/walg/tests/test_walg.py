"""The archive as it is: what the bucket holds, what comes back from it, and what happens when it is out of reach."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from testinfra.host import Host

from tests.archive import DATA, LIB, archive_all, postgres, sql, status, walg
from tests.scenario import ROOT, converge, environment, unchanged, wait_until

RESTORES = "/var/lib/postgresql/restore"
SCRATCH = "/var/tmp/molecule-walg"  # noqa: S108 - on the throwaway host
STORE = "10.83.0.10"


def fingerprint(host: Host) -> str:
    """What a restore must not change of the running server: its process, its pid file, its start, its state."""
    return "\n".join(
        [
            sql(host, "SELECT pg_postmaster_start_time(), pg_is_in_recovery(), pg_current_wal_lsn() > '0/0'"),
            host.check_output("cat /run/postgresql/17-main.pid"),
            host.check_output("pg_lsclusters --no-header"),
        ]
    )


def configured(host: Host, name: str, **changed: object) -> str:
    """pgsafe's settings with some of them changed, in a file of their own."""
    values = {**json.loads(host.check_output("cat /etc/wal-g/pgsafe.json")), **changed}
    host.check_output(f"install -d -o postgres -m 0700 {SCRATCH}")
    path = f"{SCRATCH}/{name}.json"
    host.check_output(f"printf %s {shlex.quote(json.dumps(values))} > {path} && chown postgres {path}")
    return path


@pytest.fixture(scope="module", autouse=True)
def rows(host: Host) -> Iterator[None]:
    """A table whose rows are counted after every restore."""
    host.check_output(f"rm -rf {SCRATCH} {RESTORES}/*")
    sql(host, "CREATE TABLE IF NOT EXISTS tree (id serial PRIMARY KEY, at timestamptz DEFAULT clock_timestamp())")
    sql(host, "INSERT INTO tree SELECT FROM generate_series(1, 100)")
    yield
    host.check_output(f"rm -rf {SCRATCH}")


@pytest.fixture
def outage(host: Host) -> Iterator[None]:
    """The object store cannot be reached from the host."""
    host.check_output(f"ip route add unreachable {STORE}/32")
    yield
    host.run(f"ip route del unreachable {STORE}/32")


def test_the_first_backup_is_in_the_bucket(host: Host) -> None:
    """Its catalogue lists a base backup of this very cluster, made by the role."""
    listed = json.loads(walg(host, "backup-list --detail --json").stdout)
    identifier = int(sql(host, "SELECT system_identifier FROM pg_control_system()"))
    assert [backup["system_identifier"] for backup in listed] == [identifier] * len(listed)
    assert listed


def test_segments_arrive_in_the_bucket(host: Host) -> None:
    """A closed segment is an object a moment later, and the server says so too."""
    name = archive_all(host)
    assert f"{name}.zst" in walg(host, "st ls wal_005/").stdout
    assert sql(host, "SHOW archive_timeout") == "10s"


def test_status_tells_what_can_be_restored(host: Host) -> None:
    """Right after a segment was archived the newest restorable moment is not older than the row before it."""
    before = sql(host, "SELECT extract(epoch FROM clock_timestamp())")
    sql(host, "INSERT INTO tree DEFAULT VALUES")
    archive_all(host)
    found = status(host)
    assert found["problems"] == []
    assert found["archiving"] is True
    assert found["identity_proven"] is True
    assert found["newest_backup"]["backup_name"].startswith("base_")
    newest = sql(host, f"SELECT extract(epoch FROM timestamptz '{found['newest_restorable']}')")  # noqa: S608
    assert float(newest) >= int(float(before))
    assert "all well" in host.check_output("pgsafe status")


def test_secrets_are_readable_by_the_server_alone(host: Host) -> None:
    """One file, 0640 for root and postgres; not in units, not in arguments, not in the journal or PostgreSQL's log."""
    file = host.file("/etc/wal-g/wal-g.json")
    assert (file.user, file.group, file.mode) == ("root", "postgres", 0o640)
    secret = json.loads(file.content_string)["AWS_SECRET_ACCESS_KEY"]
    assert host.run("runuser -u nobody -- cat /etc/wal-g/wal-g.json").rc != 0
    assert secret not in host.check_output("systemctl show sapflux-backup.service sapflux-backup.timer")
    assert secret not in host.check_output("journalctl --no-pager")
    assert secret not in host.check_output("cat /var/log/postgresql/*.log")
    assert secret not in host.check_output("cat /etc/wal-g/pgsafe.json /etc/systemd/system/sapflux-backup.*")


def test_the_timer_makes_backups_within_limits(host: Host) -> None:
    """Enabled, at the document's time, as postgres, with little memory; its service makes a backup that is listed."""
    shown = host.check_output(
        "systemctl show sapflux-backup.timer -p TimersCalendar -p UnitFileState -p ActiveState -p Persistent"
    )
    assert "03:17:00" in shown
    assert "UnitFileState=enabled" in shown
    assert "ActiveState=active" in shown
    assert "Persistent=yes" in shown
    shown = host.check_output("systemctl show sapflux-backup.service -p User -p MemoryMax -p NoNewPrivileges")
    assert "User=postgres" in shown
    assert f"MemoryMax={384 * 1024 * 1024}" in shown
    assert "NoNewPrivileges=yes" in shown
    before = status(host)["newest_backup"]["backup_name"]
    host.check_output("systemctl start sapflux-backup.service")
    assert status(host)["newest_backup"]["backup_name"] > before


def test_retention_keeps_what_the_document_says(host: Host) -> None:
    """Two are always kept, and everything of the last day: four backups of today are four backups."""
    for _ in range(2):
        host.check_output("pgsafe backup --json")
    assert status(host)["backups"] >= 4
    old = configured(host, "now", keep_days=0)
    receipt = json.loads(host.check_output(f"{LIB}/pgsafe --config {old} backup --json"))
    assert receipt["backups"] == 2
    assert receipt["deleted"] >= 3
    assert status(host)["backups"] == 2


def test_restored_beside_and_the_running_server_untouched(host: Host) -> None:
    """The newest backup and all WAL after it: every row is there, and the server has noticed nothing."""
    sql(host, "INSERT INTO tree SELECT FROM generate_series(1, 23)")
    archive_all(host)
    count, before = sql(host, "SELECT count(*) FROM tree"), fingerprint(host)
    probe = shlex.quote("app:SELECT count(*), max(id) FROM tree")
    receipt = json.loads(host.check_output(f"pgsafe restore-beside --name first --probe {probe} --json"))
    assert receipt["probes"][0]["answer"] == sql(host, "SELECT count(*), max(id) FROM tree")
    assert receipt["databases"]["app"]["tables"]["public.tree"] == int(count)
    assert receipt["directory"] == f"{RESTORES}/first"
    assert fingerprint(host) == before
    assert sql(host, "SELECT count(*) FROM tree") == count
    assert host.file(f"{RESTORES}/first").mode == 0o700
    assert not host.file(f"{RESTORES}/first/data/postmaster.pid").exists
    assert status(host)["problems"] == []


def test_looking_at_a_restore(host: Host) -> None:
    """psql on the copy, which runs only for as long."""
    shown = host.run("echo 'SELECT count(*) FROM tree' | pgsafe look first app")
    assert shown.rc == 0, shown.stderr
    assert re.search(r"\b\d{3,}\b", shown.stdout)
    assert not host.file(f"{RESTORES}/first/data/postmaster.pid").exists


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--name first", "is there from an earlier restore"),
        ("--name ../first", "is no name for a restore"),
        ("--backup base_0000000100000000000000EE --name none", "holds no backup 'base_0000000100000000000000EE'"),
        ("--probe 'SELECT 1' --name none", "is no probe"),
    ],
)
def test_restores_that_are_refused(host: Host, arguments: str, message: str) -> None:
    """Exit 3, one sentence with the way out, and nothing made or changed."""
    listing = f"find {RESTORES} -printf '%p %s %T@\\n' | sort"
    before = host.check_output(listing)
    done = host.run(f"pgsafe restore-beside {arguments}")
    assert done.rc == 3
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert host.check_output(listing) == before


def test_a_restore_that_does_not_fit_is_refused(host: Host) -> None:
    """On a file system of 16 MB: refused before anything is written there."""
    path = f"{SCRATCH}/small"
    settings = configured(host, "small", restores=path)
    host.check_output(
        f"install -d -o postgres -m 0700 {path} && mount -t tmpfs -o size=16m,uid=$(id -u postgres) tmpfs {path}"
    )
    try:
        done = host.run(f"{LIB}/pgsafe --config {settings} restore-beside")
        assert done.rc == 3
        assert "MB are free" in done.stderr
        assert host.check_output(f"ls -A {path}") == ""
    finally:
        host.check_output(f"umount {path}")


def test_nothing_is_lost_when_the_store_is_out_of_reach(host: Host) -> None:
    """WAL waits on the host, the problem is told, and all of it arrives afterwards: a restore holds every row."""
    host.check_output(f"ip route add unreachable {STORE}/32")
    try:
        failed = int(sql(host, "SELECT failed_count FROM pg_stat_archiver"))
        for _ in range(3):
            sql(host, "INSERT INTO tree SELECT FROM generate_series(1, 7); SELECT pg_switch_wal()")
        wait_until(
            lambda: int(sql(host, "SELECT failed_count FROM pg_stat_archiver")) > failed, "a failure to archive", 240
        )
        ready = "SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'"
        assert int(sql(host, ready)) >= 3
        done = host.run("pgsafe backup")
        assert done.rc == 1
        assert len(done.stderr.strip().splitlines()) == 1
    finally:
        host.check_output(f"ip route del unreachable {STORE}/32")
    # a closed segment wakes the archiver, which sends the oldest first
    sql(host, "INSERT INTO tree DEFAULT VALUES")
    archive_all(host)
    assert sql(host, ready) == "0"
    assert status(host)["problems"] == []
    probe = shlex.quote("app:SELECT count(*), max(id) FROM tree")
    receipt = json.loads(host.check_output(f"pgsafe restore-beside --name after-outage --probe {probe} --json"))
    assert receipt["probes"][0]["answer"] == sql(host, "SELECT count(*), max(id) FROM tree")
    host.check_output(f"rm -r {RESTORES}/after-outage")


@pytest.mark.usefixtures("outage")
def test_an_outage_never_looks_like_the_end_of_the_archive(host: Host) -> None:
    """fetch: 255 stops a recovery, 1 would open the server with half of the data."""
    settings = configured(host, "impatient", fetch_budget=4)
    # 255 is also how ssh says that it failed, so the code is asked for on the host
    fetch = f"{LIB}/fetch --config {settings} 000000010000000000000001 {SCRATCH}/segment; echo code $?"
    done = host.run(f"runuser -u postgres -- sh -c {shlex.quote(fetch)}")
    assert "code 255" in done.stdout
    assert "recovery stops" in done.stderr
    assert not host.file(f"{SCRATCH}/segment").exists
    assert host.run("pgsafe restore-beside --name never").rc == 1
    assert not host.file(f"{RESTORES}/never").exists


def test_a_restore_cut_off_from_the_store_half_way_does_not_open(host: Host) -> None:
    """The base backup is there, then the store is gone: the copy is not opened, and nothing is left of it."""
    settings = configured(host, "cut", fetch_budget=3)
    cutter = (
        f"until test -e {RESTORES}/cut/data/standby.signal; do sleep 0.02; done; ip route add unreachable {STORE}/32"
    )
    before = fingerprint(host)
    try:
        done = host.run(
            f"({cutter}) & {LIB}/pgsafe --config {settings} restore-beside --name cut; code=$?; wait; exit $code"
        )
    finally:
        host.run(f"ip route del unreachable {STORE}/32")
    assert done.rc == 1, (done.stdout, done.stderr)
    assert "did not open" in done.stderr
    assert not host.file(f"{RESTORES}/cut").exists
    assert fingerprint(host) == before


def test_fetch_brings_segments_and_ends_where_the_archive_ends(host: Host) -> None:
    """0 and the right bytes over the half of an earlier try; 1 for what is not there."""
    name = archive_all(host)
    host.check_output(f"install -d -o postgres -m 0700 {SCRATCH}")
    postgres(host, f"sh -c 'echo half > {SCRATCH}/segment'")
    assert postgres(host, f"{LIB}/fetch {name} {SCRATCH}/segment").rc == 0
    assert host.run(f"cmp {SCRATCH}/segment {DATA}/pg_wal/{name}").rc == 0
    assert postgres(host, f"{LIB}/fetch 0000000100000000000000F0 {SCRATCH}/none").rc == 1
    assert postgres(host, f"{LIB}/fetch 00000009.history {SCRATCH}/none").rc == 1
    assert not host.file(f"{SCRATCH}/none").exists


def test_another_cluster_is_refused_before_it_writes(host: Host) -> None:
    """A second cluster with the same archive: neither a segment nor a backup of it arrives, and the way out is told."""
    home = f"{SCRATCH}/other"
    settings = configured(host, "other", data=f"{home}/data", state=f"{home}/state")
    host.check_output(f"install -d -o postgres -m 0700 {home} {home}/state")
    assert postgres(host, f"/usr/lib/postgresql/17/bin/initdb --no-sync -D {home}/data").rc == 0
    before = walg(host, "st ls -r").stdout
    done = postgres(host, f"{LIB}/archive --config {settings} {home}/data/pg_wal/000000010000000000000001")
    assert done.rc == 1
    assert "belongs to another cluster" in done.stderr
    assert "raise the archive's generation" in done.stderr or "raise the generation" in done.stderr
    done = postgres(host, f"{LIB}/pgsafe --config {settings} backup")
    assert done.rc == 3
    assert "belongs to another cluster" in done.stderr
    archive_prefix = [
        line for line in walg(host, "st ls -r").stdout.splitlines() if "IDENTITY" in line or "base_" in line
    ]
    assert archive_prefix == [line for line in before.splitlines() if "IDENTITY" in line or "base_" in line]


def test_an_archive_without_identity_is_not_taken_over(host: Host) -> None:
    """Objects but no IDENTITY.json: refused, unless it is adopted and holds nothing of another cluster."""
    copy = f"{SCRATCH}/identity.json"
    host.check_output(f"install -d -o postgres -m 0700 {SCRATCH}/state")
    settings = configured(host, "stranger", state=f"{SCRATCH}/state")
    saved = walg(host, "st cat IDENTITY.json").stdout
    assert walg(host, "st rm IDENTITY.json").rc == 0
    try:
        done = postgres(host, f"{LIB}/pgsafe --config {settings} identity")
        assert done.rc == 3
        assert "identity --adopt" in done.stderr
        assert postgres(host, f"{LIB}/pgsafe --config {settings} identity --adopt").rc == 0
        found = json.loads(walg(host, "st cat IDENTITY.json").stdout)
        assert found["system_identifier"] == json.loads(saved)["system_identifier"]
    finally:
        host.check_output(f"printf %s {shlex.quote(saved)} > {copy} && chown postgres {copy}")
        walg(host, f"st put --no-compress --no-encrypt {copy} IDENTITY.json")


def test_a_backup_that_is_gone_is_made_again(host: Host) -> None:
    """The role asks the bucket, not its memory."""
    for backup in json.loads(walg(host, "backup-list --json").stdout):
        assert walg(host, f"st rm basebackups_005/{backup['backup_name']}_backup_stop_sentinel.json").rc == 0
    done = converge("walg")
    assert done.returncode == 0, done.stdout
    assert "changed=1 " in done.stdout, done.stdout
    assert status(host)["backups"] == 1
    assert unchanged(converge("walg"))


def test_a_wrong_key_ends_the_run_with_one_sentence(host: Host) -> None:
    """The store's own words, after which nothing but the recap follows; the right key makes all well again."""
    done = converge("walg", walg_secret_access_key="molecule-wrong-key")
    assert done.returncode != 0
    last = done.stdout.split("Say why there is no backup", 1)[1]
    assert '"msg": "pgsafe: wal-g backup-list failed (exit 1): ' in last
    assert "SignatureDoesNotMatch" in last
    assert "molecule-wrong-key" not in done.stdout
    done = converge("walg")
    assert done.returncode == 0, done.stdout
    sql(host, "INSERT INTO tree DEFAULT VALUES")
    archive_all(host)


def test_the_maintenance_tasks(host: Host) -> None:
    """What playbooks/backup.yml and restore.yml run: a backup more, a copy with every row, and receipts to read."""
    playbook = ROOT / "molecule" / "walg" / "maintenance.yml"
    before = status(host)["newest_backup"]["backup_name"]
    argv = ["ansible-playbook", "-i", str(ROOT / "molecule" / "inventory"), "--limit", "walg", str(playbook)]
    done = subprocess.run(argv, env=environment(), cwd=Path(ROOT), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    newest = status(host)["newest_backup"]["backup_name"]
    assert newest > before
    assert f"restored    {newest}" in done.stdout
    assert f"where       {RESTORES}/maintenance" in done.stdout
    count = sql(host, "SELECT count(*) FROM tree")
    assert f"public.tree: {count} rows" in done.stdout
    host.check_output(f"rm -r {RESTORES}/maintenance")


def test_walg_answers_as_recorded(host: Host) -> None:
    """The program on the host, WAL-G itself or its stand-in, against the transcript of the real one."""
    shown = host.check_output("wal-g --version")
    print(f"held to the transcript: {shown.strip()}")
    options = "--walg /usr/local/bin/wal-g --settings /etc/wal-g/wal-g.json"
    done = postgres(host, f"python3 /opt/conformance.py /opt/cases.json {options}")
    assert done.stdout, done.stderr
    results = json.loads(done.stdout)
    assert [result for result in results if result["faults"]] == []
    assert len(results) >= 50


def test_removed_and_the_archive_stays(host: Host) -> None:
    """absent takes the files and the timer; the bucket, and WAL that is not archived yet, stay."""
    done = converge("walg", walg_state="absent")
    assert done.returncode == 0, done.stdout
    assert not host.file("/etc/wal-g").exists
    assert not host.file(LIB).exists
    assert not host.file("/usr/local/bin/wal-g").exists
    assert "sapflux-backup" not in host.check_output("systemctl list-timers --all --no-legend")
    name = sql(host, "INSERT INTO tree DEFAULT VALUES; SELECT pg_walfile_name(pg_switch_wal())")
    assert unchanged(converge("walg", walg_state="absent"))
    assert f"{name}.ready" in sql(host, "SELECT name FROM pg_ls_archive_statusdir()")
    done = converge("walg")
    assert done.returncode == 0, done.stdout
    sql(host, "INSERT INTO tree DEFAULT VALUES")
    archive_all(host)
    assert f"{name}.zst" in walg(host, "st ls wal_005/").stdout
