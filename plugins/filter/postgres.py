# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filters of the postgres role: settings computed from memory, and the text of configuration files.

DOCUMENTATION lives in the ``.yml`` files beside this one.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError

#: Settings that belong to the role, the archive or the recovery: set elsewhere they break one of these silently.
FORBIDDEN = frozenset(
    {
        "archive_cleanup_command",
        "archive_command",
        "archive_library",
        "archive_mode",
        "archive_timeout",
        "config_file",
        "data_directory",
        "external_pid_file",
        "fsync",
        "full_page_writes",
        "hba_file",
        "ident_file",
        "include",
        "include_dir",
        "include_if_exists",
        "listen_addresses",
        "password_encryption",
        "port",
        "primary_conninfo",
        "recovery_end_command",
        "restore_command",
        "ssl",
        "ssl_cert_file",
        "ssl_key_file",
        "unix_socket_directories",
        "wal_level",
    }
)

_NAME = re.compile(r"^[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)?$")
_BARE_WORD = re.compile(r"^[A-Za-z0-9_+/:.,-]+$")

#: Below this much memory PostgreSQL beside containers does not make sense, and the formulas give nonsense.
MINIMUM_MEMORY_MB = 512


def _clamp(low: int, value: int, high: int) -> int:
    return max(low, min(value, high))


#: Where tailnets are; Python does not count it among the private networks.
_SHARED = ipaddress.IPv4Network("100.64.0.0/10")

#: The server's certificate and its key, made on the host.
CERTIFICATES = "/etc/postgresql/tls"


def _addresses(listen: Sequence[Any]) -> list[str]:
    """Addresses to listen on, as text; never all of them."""
    found = []
    for item in listen:
        try:
            address = ipaddress.ip_address(str(item))
        except ValueError:
            raise AnsibleFilterError(
                f"postgres_listen: {item!r} is no address: name the bridge's or the tailnet's own, like 172.30.9.1"
            ) from None
        if address.is_unspecified:
            raise AnsibleFilterError(
                f"postgres_listen: {item} is every address of the host: name the bridge's or the tailnet's own"
            )
        found.append(str(address))
    return found


def _networks(networks: Sequence[Any]) -> list[str]:
    """Networks that may connect, as text; never the whole internet."""
    found = []
    for item in networks:
        try:
            network = ipaddress.ip_network(str(item))
        except ValueError as error:
            raise AnsibleFilterError(f"postgres_networks: {error}: write a network like 172.30.9.0/24") from None
        shared = isinstance(network, ipaddress.IPv4Network) and network.subnet_of(_SHARED)
        if not network.is_private and not shared:
            raise AnsibleFilterError(
                f"postgres_networks: {item} is not a private network: the server is for bridges and the tailnet"
            )
        found.append(str(network))
    return found


def _text(value: Any) -> str:
    """One setting's value as PostgreSQL writes it: booleans as on/off, everything else as its text."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, (int, float, str)):
        return str(value)
    raise AnsibleFilterError(
        f"a PostgreSQL setting is a string, a number or a boolean, not {type(value).__name__}: {value!r}"
    )


def postgres_settings(
    overrides: Mapping[str, Any] | None = None,
    memory_mb: int = 2048,
    archive_command: str = "",
    archive_timeout: int = 20,
    port: int = 5432,
    listen: Sequence[Any] = (),
) -> dict[str, str]:
    """Settings of a server that shares a host of ``memory_mb`` MB with containers; ``overrides`` win.

    A quarter of the memory would be right for a host of its own; beside an application it is an eighth, at most 1 GB.
    """
    memory = int(memory_mb)
    if memory < MINIMUM_MEMORY_MB:
        raise AnsibleFilterError(
            f"postgres_memory_mb is {memory}: PostgreSQL beside containers needs {MINIMUM_MEMORY_MB} MB or more"
        )
    big = memory > 4096
    settings: dict[str, str] = {
        # memory
        "shared_buffers": f"{_clamp(64, memory // 8, 1024)}MB",
        "effective_cache_size": f"{memory * 3 // 8}MB",
        "work_mem": f"{_clamp(2, memory // 512, 32)}MB",
        "maintenance_work_mem": f"{_clamp(32, memory // 32, 512)}MB",
        "autovacuum_work_mem": f"{_clamp(24, memory * 3 // 128, 256)}MB",
        # nr_hugepages stays 0 on a small host: reserved pages are lost to everybody else
        "huge_pages": "try",
        "temp_file_limit": "2GB",
        # processes
        "max_connections": "100" if big else "60",
        "superuser_reserved_connections": "3",
        "max_worker_processes": "8" if big else "4",
        "max_parallel_workers": "4" if big else "2",
        "max_parallel_workers_per_gather": "2" if big else "1",
        "max_parallel_maintenance_workers": "2" if big else "1",
        "autovacuum_max_workers": "3" if big else "2",
        # write-ahead log
        "wal_level": "replica",
        "wal_compression": "zstd",
        "wal_buffers": "8MB",
        "min_wal_size": "128MB",
        "max_wal_size": "1GB",
        "checkpoint_timeout": "15min",
        "max_wal_senders": "3",
        "max_replication_slots": "2",
        "max_slot_wal_keep_size": "1GB",
        # planner: the disks are SSDs; a compilation costs more than most queries of an application
        "random_page_cost": "1.1",
        "effective_io_concurrency": "200",
        "jit": "off",
        # access
        "listen_addresses": ",".join(["localhost", *_addresses(listen)]),
        "ssl": "on" if listen else "off",
        "port": str(int(port)),
        "unix_socket_directories": "/var/run/postgresql",
        "password_encryption": "scram-sha-256",
        "ssl_min_protocol_version": "TLSv1.2",
        "idle_in_transaction_session_timeout": "5min",
        # what happened
        "shared_preload_libraries": "pg_stat_statements",
        "pg_stat_statements.max": "1000",
        "log_min_duration_statement": "500ms",
        "log_checkpoints": "on",
        "log_lock_waits": "on",
        "log_autovacuum_min_duration": "1s",
        "log_temp_files": "1MB",
        "timezone": "UTC",
        "log_timezone": "UTC",
    }
    if listen:
        settings["ssl_cert_file"] = f"{CERTIFICATES}/server.crt"
        settings["ssl_key_file"] = f"{CERTIFICATES}/server.key"
    if archive_command:
        settings["archive_mode"] = "on"
        # a code above 126 (the program is not there yet) ends the archiver, and it takes a minute to come back
        settings["archive_command"] = f"{archive_command} || exit 1"
        settings["archive_timeout"] = f"{int(archive_timeout)}s"
    else:
        settings["archive_mode"] = "off"
    wrong = sorted(set(overrides or {}) & FORBIDDEN)
    if wrong:
        raise AnsibleFilterError(
            f"postgres_settings may not set {', '.join(wrong)}: the role sets these itself; remove them"
        )
    for name, value in (overrides or {}).items():
        if not _NAME.match(name):
            raise AnsibleFilterError(
                f"postgres_settings: {name!r} is no name of a PostgreSQL setting (lower case, digits, _)"
            )
        settings[name] = _text(value)
    return settings


def postgres_quote(value: Any) -> str:
    """A value as it stands in postgresql.conf: in single quotes, quotes and backslashes doubled."""
    text = _text(value)
    if "\n" in text:
        raise AnsibleFilterError("a value in postgresql.conf is one line")
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def _hba_word(word: str, what: str) -> str:
    if "\n" in word or '"' in word:
        raise AnsibleFilterError(f"postgres_hba: {what} {word!r} holds a quote or a line break")
    return word if _BARE_WORD.match(word) else f'"{word}"'


def _hba_line(rule: Mapping[str, str]) -> str:
    kind, address = rule["type"], rule.get("address") or ""
    if (kind == "local") != (address == ""):
        raise AnsibleFilterError(
            f"postgres_hba: a {kind} rule {'has no' if kind == 'local' else 'needs an'} address ({dict(rule)!r})"
        )
    fields = [kind, _hba_word(rule["database"], "database"), _hba_word(rule["user"], "user"), address, rule["method"]]
    return " ".join(field for field in fields if field)


def postgres_hba(
    users: Sequence[Mapping[str, Any]],
    extra: Sequence[Mapping[str, str]] | None = None,
    networks: Sequence[Any] = (),
) -> list[str]:
    """Lines of pg_hba.conf: the superuser by its system account, ``extra``, each user to its database, then nobody.

    From ``networks`` a user enters over TLS only.
    """
    rules: list[Mapping[str, str]] = [
        {"type": "local", "database": "all", "user": "postgres", "method": "peer"},
        *(extra or []),
    ]
    places = [{"type": "local"}, *({"type": "hostssl", "address": network} for network in _networks(networks))]
    for user in users:
        if user.get("database"):
            rule = {"database": str(user["database"]), "user": str(user["name"]), "method": "scram-sha-256"}
            rules += [{**rule, **place} for place in places]
    rules += [
        {"type": "local", "database": "all", "user": "all", "method": "reject"},
        {"type": "host", "database": "all", "user": "all", "address": "all", "method": "reject"},
    ]
    return [_hba_line(rule) for rule in rules]


def postgres_databases(databases: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The databases, each with the view of what its statements cost, whose library is loaded anyway."""
    return [
        {**database, "extensions": list(dict.fromkeys([*(database.get("extensions") or []), "pg_stat_statements"]))}
        for database in databases
    ]


class FilterModule:
    """Filters of this file, by name."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "postgres_settings": postgres_settings,
            "postgres_quote": postgres_quote,
            "postgres_hba": postgres_hba,
            "postgres_databases": postgres_databases,
        }
