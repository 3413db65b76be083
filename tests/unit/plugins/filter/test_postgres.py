"""Settings from memory, and the text of configuration files."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.sapflux.hosting.plugins.filter.postgres import (
    FORBIDDEN,
    FilterModule,
    postgres_databases,
    postgres_hba,
    postgres_quote,
    postgres_settings,
)


def megabytes(value: str) -> int:
    assert value.endswith("MB")
    return int(value[:-2])


@pytest.mark.parametrize(
    ("memory", "shared", "cache", "work", "maintenance", "connections"),
    [
        (512, 64, 192, 2, 32, 60),
        (1024, 128, 384, 2, 32, 60),
        (2048, 256, 768, 4, 64, 60),
        (4096, 512, 1536, 8, 128, 60),
        (8192, 1024, 3072, 16, 256, 100),
        (65536, 1024, 24576, 32, 512, 100),
    ],
)
def test_memory(memory: int, shared: int, cache: int, work: int, maintenance: int, connections: int) -> None:
    found = postgres_settings({}, memory)
    assert megabytes(found["shared_buffers"]) == shared
    assert megabytes(found["effective_cache_size"]) == cache
    assert megabytes(found["work_mem"]) == work
    assert megabytes(found["maintenance_work_mem"]) == maintenance
    assert found["max_connections"] == str(connections)


@pytest.mark.parametrize("memory", [512, 1024, 1536, 2048, 3072, 4096])
def test_a_small_host_is_never_overbooked(memory: int) -> None:
    """Shared memory, every autovacuum worker and 20 busy connections fit into half of the memory."""
    found = postgres_settings({}, memory)
    workers = int(found["autovacuum_max_workers"]) * megabytes(found["autovacuum_work_mem"])
    assert megabytes(found["shared_buffers"]) + workers + 20 * megabytes(found["work_mem"]) <= memory / 2


def test_the_profile_of_2_gb() -> None:
    """Section by section what a server of 60 connections beside containers needs."""
    found = postgres_settings({}, 2048)
    wanted = {
        "autovacuum_work_mem": "48MB",
        "max_worker_processes": "4",
        "wal_level": "replica",
        "wal_compression": "zstd",
        "max_wal_size": "1GB",
        "jit": "off",
        "listen_addresses": "localhost",
        "password_encryption": "scram-sha-256",
        "shared_preload_libraries": "pg_stat_statements",
        "idle_in_transaction_session_timeout": "5min",
        "archive_mode": "off",
    }
    assert {name: found[name] for name in wanted} == wanted
    assert "archive_command" not in found


def test_archiving_fails_closed() -> None:
    """Whatever the command answers, PostgreSQL sees 0 or 1: above 125 it would end its archiver."""
    found = postgres_settings({}, 2048, "/usr/local/lib/x/archive %p", 30)
    assert found["archive_mode"] == "on"
    assert found["archive_command"] == "/usr/local/lib/x/archive %p || exit 1"
    assert found["archive_timeout"] == "30s"


def test_overrides_win_and_are_written_as_postgresql_writes_them() -> None:
    found = postgres_settings({"work_mem": "9MB", "jit": True, "max_connections": 7, "pg_stat_statements.max": 5}, 2048)
    assert (found["work_mem"], found["jit"], found["max_connections"]) == ("9MB", "on", "7")
    assert found["pg_stat_statements.max"] == "5"


@pytest.mark.parametrize("name", sorted(FORBIDDEN))
def test_settings_of_the_role_are_refused(name: str) -> None:
    with pytest.raises(AnsibleFilterError, match=f"may not set {name}"):
        postgres_settings({name: "x"}, 2048)


@pytest.mark.parametrize(
    ("overrides", "memory", "message"),
    [
        ({"Work_Mem": "1"}, 2048, "no name of a PostgreSQL setting"),
        ({"work mem": "1"}, 2048, "no name of a PostgreSQL setting"),
        ({"x = 1\narchive_mode": "1"}, 2048, "no name of a PostgreSQL setting"),
        ({"work_mem": ["1"]}, 2048, "not list"),
        ({"work_mem": None}, 2048, "not NoneType"),
        ({}, 511, "needs 512 MB or more"),
    ],
)
def test_nonsense_is_refused(overrides: dict[str, Any], memory: int, message: str) -> None:
    with pytest.raises(AnsibleFilterError, match=message):
        postgres_settings(overrides, memory)


@pytest.mark.parametrize(
    ("value", "text"),
    [("a", "'a'"), ("it's", "'it''s'"), ("a\\b", "'a\\\\b'"), (True, "'on'"), (5, "'5'"), ("", "''")],
)
def test_quote(value: Any, text: str) -> None:
    assert postgres_quote(value) == text


def test_a_value_cannot_smuggle_a_line_in() -> None:
    with pytest.raises(AnsibleFilterError, match="one line"):
        postgres_quote("a'\narchive_mode = off")


def test_hba_order() -> None:
    """The superuser first, then the document's rules, the users, and nobody else; the first match decides."""
    users = [{"name": "app", "database": "app"}, {"name": "group"}, {"name": "we ird", "database": "app"}]
    extra = [
        {"type": "hostssl", "database": "app", "user": "app_ro", "address": "100.64.0.0/10", "method": "scram-sha-256"}
    ]
    assert postgres_hba(users, extra) == [
        "local all postgres peer",
        "hostssl app app_ro 100.64.0.0/10 scram-sha-256",
        "local app app scram-sha-256",
        'local app "we ird" scram-sha-256',
        "local all all reject",
        "host all all all reject",
    ]


@pytest.mark.parametrize(
    "rule",
    [
        {"type": "local", "database": "a", "user": "a", "address": "1.2.3.4/32", "method": "peer"},
        {"type": "host", "database": "a", "user": "a", "address": "", "method": "peer"},
        {"type": "local", "database": 'a"', "user": "a", "method": "peer"},
        {"type": "local", "database": "a", "user": "a\nlocal all all trust", "method": "peer"},
    ],
)
def test_hba_rules_that_are_none(rule: dict[str, str]) -> None:
    with pytest.raises(AnsibleFilterError, match="postgres_hba"):
        postgres_hba([], [rule])


def test_what_is_listened_to_speaks_tls() -> None:
    closed, opened = postgres_settings({}, 2048), postgres_settings({}, 2048, listen=["172.30.9.1", "100.101.102.103"])
    assert (closed["listen_addresses"], closed["ssl"]) == ("localhost", "off")
    assert "ssl_cert_file" not in closed
    assert (opened["listen_addresses"], opened["ssl"]) == ("localhost,172.30.9.1,100.101.102.103", "on")
    assert opened["ssl_cert_file"].endswith("/server.crt")


@pytest.mark.parametrize("address", ["*", "0.0.0.0", "::", "", "eth0", "172.30.9.0/24"])
def test_never_everything_is_listened_to(address: str) -> None:
    with pytest.raises(AnsibleFilterError, match=r"postgres_listen: .*name the bridge's or the tailnet's own"):
        postgres_settings({}, 2048, listen=[address])


def test_users_come_over_tls_from_the_networks_and_reach_their_own_database() -> None:
    users = [{"name": "app", "database": "app"}, {"name": "other", "database": "other"}]
    assert postgres_hba(users, [], ["172.30.9.0/24", "100.64.0.0/10"]) == [
        "local all postgres peer",
        "local app app scram-sha-256",
        "hostssl app app 172.30.9.0/24 scram-sha-256",
        "hostssl app app 100.64.0.0/10 scram-sha-256",
        "local other other scram-sha-256",
        "hostssl other other 172.30.9.0/24 scram-sha-256",
        "hostssl other other 100.64.0.0/10 scram-sha-256",
        "local all all reject",
        "host all all all reject",
    ]


@pytest.mark.parametrize("network", ["0.0.0.0/0", "::/0", "8.8.8.0/24", "100.0.0.0/8", "172.30.9.1/24", "all", ""])
def test_networks_that_are_refused(network: str) -> None:
    """The internet, and what is no network."""
    with pytest.raises(AnsibleFilterError, match="postgres_networks"):
        postgres_hba([{"name": "app", "database": "app"}], [], [network])


def test_each_database_tells_what_its_statements_cost() -> None:
    found = postgres_databases([{"name": "a", "owner": "o", "extensions": ["postgis"]}, {"name": "b", "owner": "o"}])
    assert [item["extensions"] for item in found] == [["postgis", "pg_stat_statements"], ["pg_stat_statements"]]
    assert postgres_databases([{"name": "a", "extensions": ["pg_stat_statements"]}])[0]["extensions"] == [
        "pg_stat_statements"
    ]


def test_filters_are_registered() -> None:
    names = {"postgres_settings", "postgres_quote", "postgres_hba", "postgres_databases"}
    assert set(FilterModule().filters()) == names
