"""Data that come back: to the moment that was asked for, beside and in place, whatever happens on the way."""

from __future__ import annotations

import json
import random
import shlex
from collections.abc import Iterator

import pytest
from testinfra.host import Host

from tests.recovery import (
    DATA,
    LIB,
    REPORTS,
    RESTORES,
    SCRATCH,
    archive_all,
    configured,
    confirmation,
    fingerprint,
    is_exact,
    killed_at,
    marker_rows,
    pgsafe,
    seconds,
    sql,
    stamp,
)
from tests.scenario import wait_until

STORE = "10.83.0.10"
LAST = shlex.quote("app:SELECT max(id) FROM marker")


@pytest.fixture(scope="module", autouse=True)
def tables(host: Host) -> Iterator[None]:
    """Marker rows arrive by themselves; this is the table with a known number of rows."""
    host.check_output(f"rm -rf {SCRATCH} {RESTORES}/*")
    sql(host, "CREATE TABLE IF NOT EXISTS tree (id serial PRIMARY KEY, note text)")
    sql(host, "INSERT INTO tree (note) SELECT repeat('x', 100) FROM generate_series(1, 100)")
    archive_all(host)
    yield
    host.run(f"rm -rf {SCRATCH}")


def now(host: Host) -> float:
    return float(host.check_output("date +%s.%N"))


def test_the_window_is_told_to_the_second(host: Host) -> None:
    """It begins with the first backup and ends where the newest segment was closed; people read the same."""
    found = pgsafe(host, "window")
    assert found["gaps"] == found["lost"] == []
    assert seconds(found["oldest"]) >= seconds(found["backups"][0]["finish_time"])
    assert 0 <= now(host) - seconds(found["newest"]) < 60
    assert f"restorable  every second from {found['oldest']} to " in host.check_output("pgsafe window")


def test_restored_to_random_moments(host: Host) -> None:
    """The last commit that is kept is not after the target, and the next one is not before it."""
    found = pgsafe(host, "window")
    before = fingerprint(host)
    begin, end = seconds(found["backups"][-1]["finish_time"]), seconds(found["newest"])
    for number in range(2):
        target = random.uniform(begin, end)  # noqa: S311 - no secret
        receipt = pgsafe(host, f"restore --to {stamp(target)} --name random{number} --probe {LAST}")
        kept = int(receipt["probes"][0]["answer"])
        assert is_exact(marker_rows(host), kept, target), (kept, target)
        assert receipt["complete"] is True
        assert seconds(receipt["recovered_to"]) <= target
    assert fingerprint(host) == before
    host.check_output(f"rm -r {RESTORES}/random0 {RESTORES}/random1")


def test_restored_to_a_named_moment_and_a_position(host: Host) -> None:
    """Both are exact: the row before is there, the row after is not."""
    sql(host, "DELETE FROM tree WHERE note LIKE '%point'; INSERT INTO tree (note) VALUES ('before the point')")
    pgsafe(host, "mark before-migration")
    lsn = sql(host, "SELECT pg_current_wal_insert_lsn()")
    sql(host, "INSERT INTO tree (note) VALUES ('after the point')")
    archive_all(host)
    probe = shlex.quote("app:SELECT string_agg(note, ',') FROM tree WHERE note LIKE '%point'")
    for name, target in (("point", "name:before-migration"), ("position", lsn)):
        receipt = pgsafe(host, f"restore --to {target} --name {name} --probe {probe}")
        assert receipt["probes"][0]["answer"] == "before the point", target
        host.check_output(f"rm -r {RESTORES}/{name}")


REFUSED = [
    ("--to 2001-01-01T00:00:00Z", "is before the oldest restorable moment: the archive leads from 20"),
    ("--to 2101-01-01T00:00:00Z", "is in the future"),
    ("--to 2026-11-20T14:00:00", "has no time zone"),
    ("--to yesterday", "is no target for a restore"),
    ("--to FFFF/0", "does not lead to FFFF/0"),
    ("--to name:nobody-marked", "was not recorded by `pgsafe mark`"),
    ("--backup base_0000000100000000000000EE", "holds no backup 'base_0000000100000000000000EE'"),
    ("--in-place", "and what came later is set aside: to say that you mean it, add --confirm restore-1/17-main"),
    ("--in-place --confirm other/17-main", "add --confirm restore-1/17-main"),
    ("--in-place --to 2001-01-01T00:00:00Z --confirm restore-1/17-main", "is before the oldest restorable moment"),
    ("--resume", "no restore is under way"),
    ("--undo", "no restore is under way"),
    ("--in-place --undo", "exclude each other"),
]


def test_what_is_refused(host: Host) -> None:
    """Exit 3, one sentence with the way out, and nothing made or changed."""
    where = f"{RESTORES} /var/lib/postgresql/17 /var/lib/sapflux/restore"
    listing = f"find {where} -maxdepth 1 ! -name '*.lock' -printf '%p\\n' | sort"
    before = (host.check_output(listing), fingerprint(host))
    for arguments, message in REFUSED:
        done = host.run(f"pgsafe restore {arguments}")
        assert done.rc == 3, (arguments, done.stderr)
        assert message in done.stderr, arguments
        assert len(done.stderr.strip().splitlines()) == 1, arguments
    assert (host.check_output(listing), fingerprint(host)) == before


def test_no_root_no_restore_in_place(host: Host) -> None:
    done = host.run(f"cd / && runuser -u postgres -- pgsafe restore --in-place --confirm {confirmation(host)}")
    assert done.rc == 3
    assert "run it as root" in done.stderr


def test_no_key_no_room_no_restore(host: Host) -> None:
    """Both are told before anything is fetched."""
    settings = json.loads(host.check_output("cat /etc/wal-g/wal-g.json"))
    configured(host, "keyless")
    text = shlex.quote(json.dumps({**settings, "WALG_LIBSODIUM_KEY_PATH": "/etc/wal-g/lost.key"}))
    host.check_output(f"printf %s {text} > {SCRATCH}/wal-g.json && chown postgres {SCRATCH}/wal-g.json")
    path = configured(host, "keyless", walg_config=f"{SCRATCH}/wal-g.json")
    done = host.run(f"{LIB}/pgsafe --config {path} restore")
    assert done.rc == 3
    assert "the key /etc/wal-g/lost.key is not there" in done.stderr
    small = f"{SCRATCH}/small"
    path = configured(host, "small", restores=small, reports=SCRATCH)
    host.check_output(
        f"install -d -o postgres -m 0700 {small} && mount -t tmpfs -o size=16m,uid=$(id -u postgres) tmpfs {small}"
    )
    try:
        done = host.run(f"{LIB}/pgsafe --config {path} restore")
        assert done.rc == 3
        assert "MB are free: make room" in done.stderr
        done = host.run(f"{LIB}/pgsafe --config {path} drill --json")
        assert done.rc == 1
        assert json.loads(done.stdout)["outcome"] == "skipped"
        assert host.check_output(f"ls -A {small}") == ""
    finally:
        host.check_output(f"umount {small}")


def test_a_preview_changes_nothing(host: Host) -> None:
    before = host.check_output(f"ls -A {RESTORES}")
    shown = host.check_output("pgsafe restore --preview")
    assert "backup      base_" in shown
    assert f"--confirm {confirmation(host)}" in shown
    assert host.check_output(f"ls -A {RESTORES}") == before


def test_the_drill_of_the_timer_passes_beside_production(host: Host) -> None:
    """As systemd runs it, within its limits; the server notices nothing, not even its pid file does."""
    before = fingerprint(host)
    host.check_output("systemctl start sapflux-drill.service")
    result = json.loads(host.file(f"{REPORTS}/drill.json").content_string)
    assert (result["passed"], result["outcome"]) == (True, "passed"), result["reason"]
    names = {check["name"] for check in result["checks"]}
    assert {"position", "pg_amcheck", "pg_checksums", "postgis app", "rows app:tree"} <= names
    assert result["rpo_seconds"] < 60
    assert result["last_pass"] == result["at"]
    assert fingerprint(host) == before
    assert host.check_output(f"ls -A {RESTORES}") == ""
    assert result["at"][:19].replace(":", "") in host.check_output(
        "cd / && runuser -u postgres -- wal-g --config /etc/wal-g/wal-g.json st ls drills/"
    )
    shown = host.check_output("systemctl show sapflux-drill.service -p User -p MemoryMax -p ProtectSystem -p CPUWeight")
    assert {"User=postgres", f"MemoryMax={500 * 2**20}", "ProtectSystem=strict", "CPUWeight=20"} <= set(shown.split())


def test_the_drill_has_keys_that_only_read(host: Host) -> None:
    """They are another user's of the store, who is refused every write; without them no drill passes."""
    as_reader = "cd / && runuser -u postgres -- wal-g --config /etc/wal-g/read.json"
    assert "IDENTITY.json" in host.check_output(f"{as_reader} st ls")
    assert host.run(f"{as_reader} st put /etc/hostname reader").rc != 0
    # that it was refused does not show in the exit code of this one
    host.run(f"{as_reader} st rm IDENTITY.json")
    listing = host.check_output(f"{as_reader} st ls")
    assert "IDENTITY.json" in listing
    assert "reader" not in listing
    path = configured(host, "unreadable", walg_read_config=f"{SCRATCH}/nowhere.json", reports=SCRATCH)
    done = host.run(f"{LIB}/pgsafe --config {path} drill --to latest --json")
    assert (done.rc, json.loads(done.stdout)["outcome"]) == (1, "failed"), done.stdout


def test_the_second_drill_goes_to_a_random_moment(host: Host) -> None:
    result = pgsafe(host, "drill")
    assert result["runs"] % 2 == 0
    assert result["target"] != "latest"
    assert result["outcome"] == "passed"


def test_a_drill_finds_rows_that_are_missing(host: Host) -> None:
    path = configured(host, "floors", drill_floors=["app:tree:1000000"], reports=SCRATCH)
    done = host.run(f"{LIB}/pgsafe --config {path} drill --to latest --json")
    assert done.rc == 1
    assert "not the 1000000 that it must have" in json.loads(done.stdout)["reason"]
    assert host.check_output(f"ls -A {RESTORES}") == ""


def test_a_drill_finds_a_damaged_page(host: Host) -> None:
    """The page is damaged on the disk, where the server does not look again; the base backup carries it."""
    # frozen and left alone: a page that is only read would be written again for its hint bits, and be whole
    sql(host, "CREATE TABLE spoiled WITH (autovacuum_enabled = off) AS SELECT generate_series(1, 5000) AS n")
    sql(host, "VACUUM FREEZE spoiled")
    sql(host, "CHECKPOINT")
    file = f"{DATA}/{sql(host, "SELECT pg_relation_filepath('spoiled')")}"
    archive_all(host)
    host.check_output(f"dd if=/dev/urandom of={file} bs=1 seek=9000 count=200 conv=notrunc status=none")
    pgsafe(host, "backup")
    path = configured(host, "pages", reports=SCRATCH)
    done = host.run(f"{LIB}/pgsafe --config {path} drill --to latest --json")
    assert done.rc == 1, done.stdout
    reason = json.loads(done.stdout)["reason"]
    assert "pg_checksums found faults" in reason
    assert "pg_amcheck found faults" in reason
    sql(host, "DROP TABLE spoiled; CHECKPOINT")
    assert pgsafe(host, "backup")["made"] is True


def test_errors_that_come_and_go_never_end_a_recovery(host: Host) -> None:
    """The store is out of reach every other moment of the replay: all of it is replayed, or nothing opens."""
    expected = marker_rows(host)[-1]
    archive_all(host)
    flips = (
        f"while test ! -e {SCRATCH}/done; do ip route add unreachable {STORE}/32; sleep 0.3; "
        f"ip route del unreachable {STORE}/32; sleep 0.7; done"
    )
    begin = f"until test -e {RESTORES}/flips/data/standby.signal; do sleep 0.02; done; {flips}"
    done = host.run(
        f"rm -f {SCRATCH}/done; ({begin}) & pgsafe restore --name flips --probe {LAST} --json; "
        f"code=$?; touch {SCRATCH}/done; wait; exit $code"
    )
    host.run(f"ip route del unreachable {STORE}/32")
    assert done.rc == 0, done.stderr
    assert int(json.loads(done.stdout)["probes"][0]["answer"]) >= expected.number
    host.check_output(f"rm -r {RESTORES}/flips")


def walg(host: Host, command: str) -> None:
    host.check_output(f"cd / && runuser -u postgres -- wal-g --config /etc/wal-g/wal-g.json {command}")


def test_a_truncated_segment_stops_a_restore(host: Host) -> None:
    """The object is there and its end is not: nothing opens, nothing is left, the drill says so."""
    sql(host, "INSERT INTO tree (note) VALUES ('in the segment')")
    name = sql(host, "SELECT pg_walfile_name(pg_switch_wal())")
    archive_all(host)
    path = configured(host, "truncated", fetch_budget=2, reports=SCRATCH)
    key, whole, half = f"wal_005/{name}.zst", f"{SCRATCH}/whole.zst", f"{SCRATCH}/half.zst"
    walg(host, f"st get --no-decompress --no-decrypt {key} {whole}")
    host.check_output(f"head -c $(($(stat -c %s {whole}) / 2)) {whole} > {half} && chown postgres {half}")
    walg(host, f"st put -f --no-compress --no-encrypt {half} {key}")
    try:
        done = host.run(f"{LIB}/pgsafe --config {path} drill --to latest --json")
        assert done.rc == 1
        assert json.loads(done.stdout)["outcome"] == "failed"
        assert host.check_output(f"ls -A {RESTORES}") == ""
    finally:
        walg(host, f"st put -f --no-compress --no-encrypt {whole} {key}")
    assert pgsafe(host, "drill --to latest")["outcome"] == "passed"


def test_a_lost_segment_is_a_gap_that_is_told(host: Host) -> None:
    """verify fails, latest and the moments in the gap are refused, what lies around it is not; a backup ends it."""
    before = now(host)
    archive_all(host)
    name = sql(host, "SELECT pg_create_restore_point('x'); SELECT pg_walfile_name(pg_switch_wal())").split()[-1]
    archive_all(host)
    sql(host, "INSERT INTO tree (note) VALUES ('behind the gap')")
    # WAL-G takes the newest ones for such that are still on their way
    for _ in range(4):
        archive_all(host)
    inside = now(host)
    walg(host, f"st rm wal_005/{name}.zst")
    assert host.run("systemctl start sapflux-verify.service").rc != 0
    told = json.loads(host.file(f"{REPORTS}/verify.json").content_string)
    assert told["passed"] is False
    assert name in told["problems"][0]
    done = host.run("pgsafe restore --name never")
    assert done.rc == 3
    assert f"{name} is not in the archive, though later segments are" in done.stderr
    host.check_output("pgsafe backup")
    archive_all(host)
    assert pgsafe(host, "verify")["passed"] is True
    found = pgsafe(host, "window")
    assert found["lost"] == [name]
    assert len(found["gaps"]) == 1
    done = host.run(f"pgsafe restore --to {stamp(inside)}")
    assert done.rc == 3
    assert f"is in a gap: {name} is not in the archive" in done.stderr
    assert pgsafe(host, f"restore --to {stamp(before - 1)} --name around")["complete"] is True
    host.check_output(f"rm -r {RESTORES}/around")


def test_the_second_leg_comes_back_into_another_server(host: Host) -> None:
    """pg_dump of every database and the roles, as the timer makes it; restored where nothing of ours is."""
    host.check_output("systemctl start sapflux-dump.service")
    result = json.loads(host.file(f"{REPORTS}/dump.json").content_string)
    assert set(result["files"]) == {"globals.sql", "app.dump", "postgres.dump"}
    expected = int(sql(host, "SELECT count(*) FROM tree"))
    home = f"{SCRATCH}/second"
    host.check_output(f"install -d -o postgres -m 0700 {SCRATCH} {home}")
    pgsafe(host, f"dump --fetch {home}/dump")
    binaries = "/usr/lib/postgresql/17/bin"
    where = f"-h {home} -p 5498 -U postgres"
    script = (
        f"{binaries}/initdb --no-sync -D {home}/data >/dev/null && "  # noqa: S608 - no SQL
        f'{binaries}/pg_ctl -D {home}/data -w -l {home}/log -o "-c listen_addresses= -c unix_socket_directories={home} '
        f'-p 5498 -c fsync=off" start >/dev/null && '
        f"psql -Xq {where} -d postgres -f {home}/dump/globals.sql >/dev/null 2>&1; "
        f"pg_restore {where} --create -d postgres {home}/dump/app.dump && "
        f"psql -XAtq {where} -d app -c 'SELECT count(*) FROM tree'; code=$?; "
        f"{binaries}/pg_ctl -D {home}/data -m immediate stop >/dev/null; exit $code"
    )
    done = host.run(f"cd / && runuser -u postgres -- sh -c {shlex.quote(script)}")
    assert done.rc == 0, done.stderr
    assert int(done.stdout.split()[-1]) == expected


def served(host: Host) -> bool:
    done = host.run("cd / && runuser -u postgres -- psql -XAtqd app -c 'SELECT pg_is_in_recovery()'")
    return bool(done.stdout.strip() == "f")


def recent_backup(host: Host) -> float:
    """A backup of now, so that little is to be replayed; when it was finished."""
    return seconds(pgsafe(host, "backup")["backup"]["finish_time"])


def test_in_place_killed_again_and_again(host: Host) -> None:
    """It waits at the target, moves on to a later one, is killed at four steps, and is exact in the end."""
    begin = recent_backup(host)
    wait_until(lambda: now(host) > begin + 14, "rows after the backup", 60)
    archive_all(host)
    rows = marker_rows(host)
    early, late = rows[-60].after + 0.01, rows[-30].after + 0.01
    shown = pgsafe(host, f"restore --in-place --to {stamp(early)} --confirm {confirmation(host)} --probe {LAST}")
    assert shown["state"] == "paused"
    assert is_exact(rows, int(shown["probes"][0]["answer"]), early)
    assert not served(host)
    assert host.run("systemctl is-active molecule-app.service").stdout.strip() == "inactive"
    # a reboot, a person or a converge would start the old server again; the fence is in the way
    host.run("systemctl start postgresql@17-main.service")
    assert not served(host)
    assert host.run("pgsafe restore --resume --to 2026-01-01T00:00:00Z").rc == 3
    shown = pgsafe(host, f"restore --resume --to {stamp(late)}")
    assert is_exact(rows, int(shown["probes"][0]["answer"]), late)
    for step, delay in (("promote", 1.0), ("swap", 0.0), ("start_server", 0.2), ("backup", 0.3)):
        killed_at(host, step, "--resume --promote", delay)
        assert "is interrupted" in host.check_output("pgsafe restore --state") or "is paused" in host.check_output(
            "pgsafe restore --state"
        )
    receipt = pgsafe(host, "restore --resume")
    assert receipt["state"] == "done"
    wait_until(lambda: host.run("systemctl is-active molecule-app.service").rc == 0, "the application's start")
    kept = int(sql(host, f"SELECT max(id) FROM marker WHERE at <= '{stamp(late)}'"))  # noqa: S608 - a moment
    assert is_exact(rows, kept, late)
    assert receipt["rpo_seconds"] < 2
    assert receipt["rto_seconds"] > 0
    # what came after the target is not lost: it is in the data that were set aside
    assert host.file(f"{receipt['aside']}/PG_VERSION").exists
    assert pgsafe(host, "status")["problems"] == []
    assert pgsafe(host, "window")["prefix"] == receipt["prefix"]
    line = host.check_output(f"tail -n 1 {REPORTS}/restores.jsonl")
    assert json.loads(line)["id"] == receipt["id"]
    assert "restoring" not in host.check_output("ls /var/lib/postgresql/17")
    host.check_output(f"rm -r {receipt['aside']}")


def test_in_place_taken_back_when_it_was_open_already(host: Host) -> None:
    """Killed while the first backup of the new archive is made, then undone: every row is back, and archived again."""
    target = stamp(recent_backup(host) + 1)
    wait_until(lambda: now(host) > seconds(target) + 1, "a moment after the target", 30)
    sql(host, "INSERT INTO tree (note) VALUES ('would be lost')")
    expected = sql(host, "SELECT count(*), max(id) FROM tree")
    archive_all(host)
    prefix = pgsafe(host, "window")["prefix"]
    killed_at(host, "backup", f"--in-place --promote --to {target} --confirm {confirmation(host)}", 0.2)
    assert served(host)
    assert sql(host, "SELECT count(*), max(id) FROM tree") != expected
    done = pgsafe(host, "restore --undo")
    assert done["state"] == "undone"
    assert sql(host, "SELECT count(*), max(id) FROM tree") == expected
    assert host.file(f"{done['kept']}/PG_VERSION").exists
    assert pgsafe(host, "window")["prefix"] == prefix
    archive_all(host)
    wait_until(lambda: host.run("systemctl is-active molecule-app.service").rc == 0, "the application's start")
    host.check_output(f"rm -r {done['kept']}")
