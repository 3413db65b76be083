"""The server as it runs: what SHOW, ss, pg_hba and real logins say, and what becomes of wrong configurations."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
from testinfra.backend.base import CommandResult
from testinfra.host import Host

from tests.scenario import converge, unchanged, wait_until

LOG = "/var/log/postgresql/postgresql-17-main.log"
PASSWORD = "molecule-app-pa'ss"
UNIT = "postgresql@17-main.service"


def sql(host: Host, text: str, database: str = "postgres") -> str:
    """SQL as the superuser, over the socket."""
    inner = f"psql -XAtq -v ON_ERROR_STOP=1 -d {database} -c {shlex.quote(text)}"
    return str(host.check_output(f"cd / && runuser -u postgres -- {inner}")).strip()


def login(host: Host, text: str, *, user: str = "app", password: str = PASSWORD, where: str = "app") -> CommandResult:
    """SQL as a user with a password; ``where`` is a database over the socket, or a whole connection string."""
    target = where if "=" in where else f"host=/run/postgresql dbname={where}"
    given = f"PGPASSWORD={shlex.quote(password)} PGCONNECT_TIMEOUT=5"
    return host.run(
        f"cd / && {given} psql -XAtq -v ON_ERROR_STOP=1 {shlex.quote(f'{target} user={user}')} -c {shlex.quote(text)}"
    )


def started(host: Host) -> str:
    return sql(host, "SELECT pg_postmaster_start_time()")


@pytest.fixture
def restored() -> Iterator[None]:
    """Leaves the scenario's configuration behind, whatever the test did."""
    yield
    assert converge("postgres").returncode == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("server_version_num", "17"),
        ("data_checksums", "on"),
        ("server_encoding", "UTF8"),
        ("shared_buffers", "256MB"),
        ("effective_cache_size", "768MB"),
        ("maintenance_work_mem", "64MB"),
        ("max_connections", "60"),
        ("password_encryption", "scram-sha-256"),
        ("shared_preload_libraries", "pg_stat_statements"),
        ("listen_addresses", "localhost,172.30.9.1"),
        ("huge_pages", "try"),
        ("log_min_duration_statement", "500ms"),
        ("ssl_min_protocol_version", "TLSv1.2"),
        ("archive_mode", "off"),
        # the scenario's own setting wins over the computed 4MB
        ("work_mem", "6MB"),
    ],
)
def test_setting(host: Host, name: str, value: str) -> None:
    """The server says itself what it runs with."""
    assert sql(host, f"SHOW {name}").startswith(value)


def test_no_setting_waits_for_a_restart(host: Host) -> None:
    assert sql(host, "SELECT count(*) FROM pg_settings WHERE pending_restart") == "0"
    assert sql(host, "SELECT count(*) FROM pg_file_settings WHERE error IS NOT NULL") == "0"


def test_the_locale_survives_an_upgrade_of_the_system(host: Host) -> None:
    """C.UTF-8: the order of an index does not depend on the version of glibc."""
    assert sql(host, "SELECT datcollate FROM pg_database WHERE datname = 'app'") == "C.UTF-8"


def test_nobody_outside_the_host_can_reach_the_port(host: Host) -> None:
    """Every listening socket of PostgreSQL is a loopback one, or the one that was named."""
    lines = [line for line in host.check_output("ss -Hltnp").splitlines() if "postgres" in line]
    found = {line.split()[3].rsplit(":", 1)[0] for line in lines}
    assert {"127.0.0.1", "172.30.9.1"} <= found <= {"127.0.0.1", "[::1]", "172.30.9.1"}


@pytest.fixture
def bridge(host: Host) -> Iterator[str]:
    """The address the server has listened to since before it was there, as a bridge's comes up late; how to enter."""
    assert host.run("ip address show to 172.30.9.1").stdout == ""
    host.check_output("ip address add 172.30.9.1/24 dev lo")
    yield "host=172.30.9.1 dbname=app sslrootcert=/etc/postgresql/tls/ca.crt sslmode=verify-full"
    host.check_output("ip address del 172.30.9.1/24 dev lo")


def test_users_come_over_tls_from_the_named_network(host: Host, bridge: str) -> None:
    """With a certificate that fits the address; not without TLS, not into another database, not as the superuser."""
    done = login(host, "\\conninfo", where=bridge)
    assert "TLSv1.3" in done.stdout, done.stderr
    assert login(host, "SELECT 1", where=bridge, password="wrong").rc != 0
    for where in (
        bridge.replace("verify-full", "disable"),
        bridge.replace("dbname=app", "dbname=other"),
        bridge.replace("172.30.9.1", "127.0.0.1").replace("verify-full", "require"),
    ):
        assert "rejects connection" in login(host, "SELECT 1", where=where).stderr
    assert "rejects connection" in login(host, "SELECT 1", user="postgres", where=bridge).stderr


def test_the_certificate_is_renewed_before_it_ends(host: Host, bridge: str) -> None:
    """By the timer's service; clients trust the same authority, the server is told and not restarted."""
    tls, unit = "/etc/postgresql/tls", "sapflux-postgres-certificate"
    for name, group, mode in (("ca.key", "root", 0o600), ("server.key", "postgres", 0o640)):
        file = host.file(f"{tls}/{name}")
        assert (file.user, file.group, file.mode) == ("root", group, mode)
    assert "UnitFileState=enabled" in host.check_output(f"systemctl show {unit}.timer -p UnitFileState")
    serial = f"openssl x509 -noout -serial -in {tls}/server.crt"
    authority, before, since = host.check_output(f"sha256sum {tls}/ca.crt"), host.check_output(serial), started(host)
    host.check_output(f"systemctl start {unit}.service")
    assert host.check_output(serial) == before
    # one that ends in 20 days, of the same authority
    host.check_output(
        f"cd {tls} && openssl req -new -key server.key -subj /CN=old -out /run/old.csr && openssl x509 -req -days 20 "
        "-in /run/old.csr -CA ca.crt -CAkey ca.key -out server.crt"
    )
    host.check_output(f"systemctl start {unit}.service")
    assert host.check_output(serial) not in ("", before)
    assert host.check_output(f"sha256sum {tls}/ca.crt") == authority
    wait_until(lambda: login(host, "SELECT 1", where=bridge).rc == 0, "the new certificate", 30)
    assert started(host) == since


def test_extensions_are_brought_to_the_version_of_the_packages(host: Host) -> None:
    """As after an upgrade of a package: the role updates the extension, and says so."""
    version = "SELECT extversion FROM pg_extension WHERE extname = 'pg_stat_statements'"
    newest = sql(host, version, "app")
    sql(host, "DROP EXTENSION pg_stat_statements; CREATE EXTENSION pg_stat_statements VERSION '1.9'", "app")
    done = converge("postgres")
    assert done.returncode == 0, done.stdout
    assert sql(host, version, "app") == newest
    assert newest != "1.9"
    assert unchanged(converge("postgres"))
    assert int(sql(host, "SELECT count(*) FROM pg_stat_statements", "app")) > 0


def test_connections_are_not_protected_from_memory_pressure(host: Host) -> None:
    """The server is; what its connections take is theirs to answer for."""
    pid = sql(host, "SELECT split_part(pg_read_file('postmaster.pid'), chr(10), 1)")
    variables = host.check_output(f"tr '\\0' '\\n' </proc/{pid}/environ")
    assert "PG_OOM_ADJUST_FILE=/proc/self/oom_score_adj" in variables


def test_the_application_can_migrate_and_its_objects_belong_to_the_owner(host: Host) -> None:
    """Extensions are there already, a table with a PostGIS column can be made, indexed and used."""
    script = (
        "CREATE EXTENSION IF NOT EXISTS postgis; CREATE EXTENSION IF NOT EXISTS btree_gist;"
        "CREATE TABLE IF NOT EXISTS probe (id int PRIMARY KEY, at timestamptz, place geography(Point));"
        "CREATE INDEX IF NOT EXISTS probe_place ON probe USING gist (place, at);"
        "INSERT INTO probe VALUES (1, now(), 'POINT(8.5 47.4)') ON CONFLICT DO NOTHING; SELECT count(*) FROM probe"
    )
    done = login(host, script)
    assert done.rc == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1] == "1"
    assert sql(host, "SELECT tableowner FROM pg_tables WHERE tablename = 'probe'", "app") == "app_owner"
    assert sql(host, "SELECT rolcanlogin FROM pg_roles WHERE rolname = 'app_owner'") == "f"
    assert login(host, "SELECT session_user || ' as ' || current_user").stdout.strip() == "app as app_owner"
    assert sql(host, "SELECT rolconnlimit FROM pg_roles WHERE rolname = 'app'") == "20"


@pytest.mark.parametrize(
    ("user", "password", "where", "message"),
    [
        ("app", "wrong", "app", "password authentication failed"),
        ("app", PASSWORD, "other", "rejects connection"),
        ("app", PASSWORD, "postgres", "rejects connection"),
        ("other", "molecule-other-pass", "app", "rejects connection"),
        ("postgres", "", "postgres", "Peer authentication failed"),
        ("app", PASSWORD, "host=127.0.0.1 dbname=app", "rejects connection"),
    ],
)
def test_refused(host: Host, user: str, password: str, where: str, message: str) -> None:
    """Wrong passwords, foreign databases, the superuser from another account, and TCP."""
    done = login(host, "SELECT 1", user=user, password=password, where=where)
    assert done.rc != 0
    assert message in done.stderr


def test_databases_are_closed_to_everybody_else(host: Host) -> None:
    """Not only pg_hba.conf: the grants say so too."""
    assert sql(host, "SELECT has_database_privilege('other', 'app', 'CONNECT')") == "f"
    assert sql(host, "SELECT has_database_privilege('app', 'app', 'CONNECT')") == "t"


def test_passwords_are_verifiers_and_in_no_log(host: Host) -> None:
    """Stored as SCRAM; neither the password nor its verifier was ever logged."""
    verifier = sql(host, "SELECT rolpassword FROM pg_authid WHERE rolname = 'app'")
    assert verifier.startswith("SCRAM-SHA-256$4096:")
    log = host.check_output(f"cat {LOG}")
    assert "pa'ss" not in log
    assert "pa''ss" not in log
    assert "SCRAM-SHA-256$" not in log


def test_the_unit_protects_and_revives_the_server(host: Host) -> None:
    """Killed with the signal of the kernel's out-of-memory killer, it is back by itself."""
    shown = host.check_output(f"systemctl show {UNIT} -p Restart -p OOMScoreAdjust -p MainPID")
    assert "Restart=on-failure" in shown
    assert "OOMScoreAdjust=-900" in shown
    pid = sql(host, "SELECT split_part(pg_read_file('postmaster.pid'), chr(10), 1)")
    host.check_output(f"kill -KILL {pid}")
    wait_until(lambda: host.run("pg_isready -q -h /run/postgresql").rc != 0, "the end of the server", 30)
    wait_until(lambda: host.run("pg_isready -q -h /run/postgresql").rc == 0, "its return", 120)
    assert sql(host, "SELECT count(*) FROM probe", "app") == "1"


@pytest.mark.usefixtures("restored")
def test_a_reload_is_enough_for_most_settings(host: Host) -> None:
    """A setting that can be changed while the server runs is, without a restart."""
    before = started(host)
    done = converge("postgres", postgres_settings={"work_mem": "7MB"})
    assert done.returncode == 0, done.stdout
    wait_until(lambda: sql(host, "SHOW work_mem") == "7MB", "the reload")
    assert started(host) == before


@pytest.mark.usefixtures("restored")
def test_a_restart_happens_when_a_setting_needs_it_and_only_once(host: Host) -> None:
    before = started(host)
    changed: dict[str, Any] = {"postgres_settings": {"work_mem": "6MB", "max_connections": 61}}
    done = converge("postgres", **changed)
    assert done.returncode == 0, done.stdout
    assert sql(host, "SHOW max_connections") == "61"
    after = started(host)
    assert after != before
    assert unchanged(converge("postgres", **changed))
    assert started(host) == after


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"postgres_settings": {"work_mem": "lots"}}, "work_mem"),
        ({"postgres_settings": {"shared_buffers": "many"}}, "shared_buffers"),
        ({"postgres_settings": {"no_such_setting": "1"}}, "no_such_setting"),
        ({"postgres_settings": {"shared_preload_libraries": "no_such_library"}}, "no_such_library"),
        ({"postgres_settings": {"archive_command": "true"}}, "may not set archive_command"),
        (
            {
                "postgres_hba": [
                    {"type": "host", "database": "all", "user": "all", "address": "10.0.0.0/99", "method": "reject"}
                ]
            },
            "10.0.0.0/99",
        ),
    ],
)
def test_a_wrong_configuration_changes_nothing(host: Host, wrong: dict[str, Any], message: str) -> None:
    """Refused with the server's words; the files are the old ones and the server has not noticed."""
    files = "/etc/postgresql/17/main/conf.d/50-sapflux.conf /etc/postgresql/17/main/pg_hba.conf"
    before, sums = started(host), host.check_output(f"sha256sum {files}")
    done = converge("postgres", **wrong)
    assert done.returncode != 0
    assert message in done.stdout
    assert host.check_output(f"sha256sum {files}") == sums
    assert started(host) == before
    assert sql(host, "SELECT count(*) FROM pg_file_settings WHERE error IS NOT NULL") == "0"
    assert login(host, "SELECT 1").rc == 0


def test_drift_of_roles_and_grants_is_put_right(host: Host) -> None:
    """What somebody changed by hand comes back, what the document does not speak of stays."""
    sql(host, "ALTER ROLE app SUPERUSER CONNECTION LIMIT 3; GRANT other_owner TO app")
    sql(host, "GRANT CONNECT ON DATABASE app TO PUBLIC; CREATE ROLE bystander")
    done = converge("postgres")
    assert done.returncode == 0, done.stdout
    assert sql(host, "SELECT rolsuper, rolconnlimit FROM pg_roles WHERE rolname = 'app'") == "f|20"
    assert sql(host, "SELECT pg_has_role('app', 'other_owner', 'MEMBER')") == "f"
    assert sql(host, "SELECT has_database_privilege('other', 'app', 'CONNECT')") == "f"
    assert sql(host, "SELECT count(*) FROM pg_roles WHERE rolname = 'bystander'") == "1"
    assert unchanged(converge("postgres"))
    sql(host, "DROP ROLE bystander")


@pytest.mark.usefixtures("restored")
def test_a_new_password_is_the_only_one(host: Host) -> None:
    """Changed in the document, changed in the server; shown nowhere on the way."""
    users = [
        {
            "name": "app",
            "database": "app",
            "password": "another-secret",
            "memberof": ["app_owner"],
            "connection_limit": 20,
        }
    ]
    done = converge("postgres", "-vvv", "--diff", postgres_users=users)
    assert done.returncode == 0, done.stdout
    assert "another-secret" not in done.stdout.split("PLAY [", 1)[1].replace(json.dumps(users), "")
    assert login(host, "SELECT 1", password="another-secret").rc == 0
    assert login(host, "SELECT 1").rc != 0


def test_removed_and_made_again_with_its_data(host: Host) -> None:
    """absent stops the server and leaves the data; present finds them again."""
    done = converge("postgres", postgres_state="absent")
    assert done.returncode == 0, done.stdout
    assert host.run("pg_isready -q -h /run/postgresql").rc != 0
    assert not host.file("/etc/postgresql/17/main/conf.d/50-sapflux.conf").exists
    assert host.file("/var/lib/postgresql/17/main/PG_VERSION").exists
    assert unchanged(converge("postgres", postgres_state="absent"))
    done = converge("postgres")
    assert done.returncode == 0, done.stdout
    assert login(host, "SELECT count(*) FROM probe").stdout.strip() == "1"


def test_a_run_cut_off_before_the_cluster_was_made_is_finished(host: Host) -> None:
    """The packages are there, the cluster is not: the next run makes it."""
    host.check_output("pg_dropcluster --stop 17 main")
    done = converge("postgres")
    assert done.returncode == 0, done.stdout
    assert sql(host, "SHOW data_checksums") == "on"
    assert unchanged(converge("postgres"))
