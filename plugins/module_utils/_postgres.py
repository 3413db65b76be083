# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""psql over the local socket: state of a server in, statements out. SQL goes through stdin, answers are JSON lines."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.sapflux.hosting.plugins.module_utils._postgres_plan import (
    DatabaseState,
    RoleState,
    ServerState,
    Step,
    identifier,
    literal,
)

#: (script for stdin) -> (return code, stdout, stderr)
Runner = Callable[[str], "tuple[int, str, str]"]

#: Statements of ours hold password verifiers: they must not appear in the server's log, whatever it is set to log.
_QUIET = """
SET log_min_error_statement = 'panic';
SET log_min_duration_statement = -1;
SET log_min_duration_sample = -1;
SET log_statement = 'none';
SET lock_timeout = '30s';
"""
_HEAD = "\\set ON_ERROR_STOP on\n\\set VERBOSITY terse\n\\set QUIET on\n" + _QUIET

_SERVER = """
SELECT json_build_object('kind', 'server', 'version', current_setting('server_version'),
  'version_num', current_setting('server_version_num')::int, 'in_recovery', pg_is_in_recovery(),
  'pending_restart', (SELECT coalesce(json_agg(name ORDER BY name), '[]') FROM (
     SELECT name FROM pg_settings WHERE pending_restart
     UNION
     SELECT s.name FROM pg_file_settings f JOIN pg_settings s ON s.name = lower(f.name)
       WHERE f.error = 'setting could not be applied' AND s.context = 'postmaster') AS waiting),
  'available', (SELECT json_object_agg(name, default_version) FROM pg_available_extensions));
"""

_ROLES = """
SELECT json_build_object('kind', 'role', 'name', r.rolname, 'login', r.rolcanlogin, 'superuser', r.rolsuper,
  'createdb', r.rolcreatedb, 'createrole', r.rolcreaterole,
  'replication', r.rolreplication, 'bypassrls', r.rolbypassrls,
  'connection_limit', r.rolconnlimit, 'verifier', r.rolpassword,
  'memberof', (SELECT coalesce(json_agg(DISTINCT g.rolname), '[]')
     FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid WHERE m.member = r.oid),
  'settings', (SELECT coalesce(json_agg(json_build_array(coalesce(d.datname, ''), s.setconfig)), '[]')
     FROM pg_db_role_setting s LEFT JOIN pg_database d ON d.oid = s.setdatabase WHERE s.setrole = r.oid))
FROM pg_authid r;
"""

_DATABASES = """
SELECT json_build_object('kind', 'database', 'name', d.datname, 'owner', pg_get_userbyid(d.datdba),
  'encoding', pg_encoding_to_char(d.encoding),
  'public', EXISTS (SELECT FROM aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a WHERE a.grantee = 0),
  'connect', (SELECT coalesce(json_agg(DISTINCT pg_get_userbyid(a.grantee)), '[]')
     FROM aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
     WHERE a.grantee <> 0 AND a.privilege_type = 'CONNECT'))
FROM pg_database d WHERE d.datname IN ({names});
"""

_EXTENSIONS = """
SELECT EXISTS (SELECT FROM pg_database WHERE datname = {name}) AS there \\gset
\\if :there
\\connect {database}
SELECT json_build_object('kind', 'extension', 'database', current_database(), 'name', extname, 'version', extversion)
FROM pg_extension;
\\connect postgres
\\endif
"""


class PostgresError(Exception):
    """The server cannot be reached or refused; the text is one sentence without a secret."""


@dataclass(frozen=True)
class Reading:
    """What one look at a server tells."""

    server: ServerState
    version: str
    version_num: int
    in_recovery: bool
    pending_restart: list[str]


def _first_error(stderr: str) -> str:
    """The server's own words: from terse output, without psql's prefix and without the statement."""
    for line in stderr.splitlines():
        match = re.search(r"(?:ERROR|FATAL|PANIC|error): +(.*)", line)
        if match:
            return match[1].strip()
    return next((line.strip() for line in stderr.splitlines() if line.strip()), "no message")


class Psql:
    """Runs scripts through a runner that speaks psql."""

    def __init__(self, run: Runner, where: str) -> None:
        self._run, self._where = run, where

    def lines(self, script: str) -> list[dict[str, Any]]:
        """The script's answers, one JSON object a line."""
        code, out, err = self._run(_HEAD + script)
        if code == 2 or "could not connect" in err or "connection to server" in err:
            reason = _first_error(err)
            raise PostgresError(
                f"PostgreSQL does not answer at {self._where}: {reason}; `pg_lsclusters` shows whether it runs"
            )
        if code != 0:
            raise PostgresError(f"PostgreSQL at {self._where} refused: {_first_error(err)}")
        return [json.loads(line) for line in out.splitlines() if line.strip()]

    def read(self, databases: Iterable[str]) -> Reading:
        """State of the server and, for the databases named that exist, their extensions."""
        names = list(databases)
        script = _SERVER + _ROLES
        if names:
            script += _DATABASES.format(names=", ".join(literal(name) for name in names))
        for name in names:
            script += _EXTENSIONS.format(name=literal(name), database=identifier(name))
        return _reading(self.lines(script))

    def apply(self, steps: Sequence[Step]) -> None:
        """Runs the steps: those of the maintenance database in transactions around what must stand alone."""
        script, inside, current = "", False, ""
        for step in steps:
            if step.database != current:
                script += "COMMIT;\n" if inside else ""
                script += f"\\connect {identifier(step.database or 'postgres')}\n{_QUIET}"
                inside, current = False, step.database
            if step.alone and inside:
                script, inside = script + "COMMIT;\n", False
            elif not step.alone and not inside:
                script, inside = script + "BEGIN;\n", True
            script += step.sql + ";\n"
        self.lines(script + ("COMMIT;\n" if inside else ""))


def _settings(pairs: Sequence[Any]) -> dict[str, dict[str, str]]:
    """[[database, ["name=value", ...]], ...] -> {database: {name: value}}"""
    found: dict[str, dict[str, str]] = {}
    for database, items in pairs:
        found[database] = dict(item.split("=", 1) for item in items or [])
    return found


def _reading(lines: Sequence[dict[str, Any]]) -> Reading:
    roles: dict[str, RoleState] = {}
    databases: dict[str, dict[str, Any]] = {}
    extensions: dict[str, dict[str, str]] = {}
    server: dict[str, Any] = {}
    for line in lines:
        kind = line["kind"]
        if kind == "server":
            server = line
        elif kind == "role":
            powers = frozenset(
                p for p in ("superuser", "createdb", "createrole", "replication", "bypassrls") if line[p]
            )
            roles[line["name"]] = RoleState(
                line["login"],
                powers,
                line["connection_limit"],
                line["verifier"],
                frozenset(line["memberof"]),
                _settings(line["settings"]),
            )
        elif kind == "database":
            databases[line["name"]] = line
        else:
            extensions.setdefault(line["database"], {})[line["name"]] = line["version"]
    states = {
        name: DatabaseState(d["owner"], d["encoding"], d["public"], frozenset(d["connect"]), extensions.get(name, {}))
        for name, d in databases.items()
    }
    return Reading(
        server=ServerState(roles, states, server["available"] or {}),
        version=server["version"],
        version_num=server["version_num"],
        in_recovery=server["in_recovery"],
        pending_restart=list(server["pending_restart"]),
    )
