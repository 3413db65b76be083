# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What postgres_state wants, what a server has, and the SQL between the two. Pure: no server, no files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.sapflux.hosting.plugins.module_utils._postgres_scram import new_verifier, verifies

_NAME = re.compile(r"^[a-z_][a-z0-9_$-]{0,62}$")
_RESERVED = frozenset({"postgres", "public", "none", "current_user", "session_user", "template0", "template1"})

#: Attributes that no role managed here may have: each of them is a way around the grants.
_POWERS = ("superuser", "createdb", "createrole", "replication", "bypassrls")


class PlanError(Exception):
    """The wish cannot be met; the text is one sentence naming the thing and the way out."""


@dataclass(frozen=True)
class RoleWish:
    """One role. ``password`` in clear or None (left as it is); ``database`` is the one it works in."""

    name: str
    login: bool = True
    password: str | None = field(default=None, repr=False)
    connection_limit: int = -1
    memberof: tuple[str, ...] = ()
    database: str | None = None


@dataclass(frozen=True)
class DatabaseWish:
    """One database: its owner (a role that need not be able to log in), encoding and extensions."""

    name: str
    owner: str
    encoding: str = "UTF8"
    extensions: tuple[str, ...] = ()


@dataclass(frozen=True)
class RoleState:
    """One role as it is; ``settings`` maps a database name ("" = all) to its settings."""

    login: bool = False
    powers: frozenset[str] = frozenset()
    connection_limit: int = -1
    verifier: str | None = field(default=None, repr=False)
    memberof: frozenset[str] = frozenset()
    settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class DatabaseState:
    """One database as it is; ``connect`` are the roles with an explicit CONNECT."""

    owner: str
    encoding: str
    public: bool
    connect: frozenset[str] = frozenset()
    extensions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ServerState:
    """A server: roles and databases by name, and the extensions (name to default version) that it could create."""

    roles: Mapping[str, RoleState]
    databases: Mapping[str, DatabaseState]
    available: Mapping[str, str]


@dataclass(frozen=True)
class Step:
    """One statement. ``database`` "" = the maintenance database; ``summary`` never holds a secret."""

    sql: str = field(repr=False)
    summary: str
    database: str = ""
    alone: bool = False


def identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def literal(value: str) -> str:
    """A string literal that is safe whatever standard_conforming_strings says."""
    quoted = "'" + value.replace("'", "''").replace("\\", "\\\\") + "'"
    return f"E{quoted}" if "\\" in value else quoted


def _checked_name(name: Any, what: str) -> str:
    if not isinstance(name, str) or not _NAME.match(name):
        raise PlanError(f"{name!r} is no name for a {what}: use lower case letters, digits and _, at most 63 of them")
    if name in _RESERVED or name.startswith("pg_"):
        raise PlanError(f"the {what} name {name!r} belongs to PostgreSQL itself: choose another one")
    return name


def _unique(names: Iterable[str], what: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise PlanError(f"the {what} {name!r} is listed twice: keep one of them")
        seen.add(name)


Options = Sequence[Mapping[str, Any]]


def parse_wishes(roles: Options, databases: Options) -> tuple[list[RoleWish], list[DatabaseWish]]:
    """Module options -> wishes. Roles that are only mentioned (owners, groups) become roles that cannot log in."""
    wanted = [
        DatabaseWish(
            name=_checked_name(item["name"], "database"),
            owner=_checked_name(item["owner"], "role"),
            encoding=item.get("encoding") or "UTF8",
            extensions=tuple(item.get("extensions") or ()),
        )
        for item in databases
    ]
    users = [
        RoleWish(
            name=_checked_name(item["name"], "role"),
            login=item.get("login") is not False,
            password=item.get("password") or None,
            connection_limit=-1 if item.get("connection_limit") is None else int(item["connection_limit"]),
            memberof=tuple(item.get("memberof") or ()),
            database=item.get("database") or None,
        )
        for item in roles
    ]
    _unique((user.name for user in users), "role")
    _unique((database.name for database in wanted), "database")
    known = {database.name for database in wanted}
    for user in users:
        if user.database is not None and user.database not in known:
            raise PlanError(
                f"the role {user.name!r} works in the database {user.database!r}, which is not listed: "
                "add it to databases"
            )
        if user.name in user.memberof:
            raise PlanError(f"the role {user.name!r} cannot be a member of itself: remove it from memberof")
    groups: dict[str, None] = {database.owner: None for database in wanted}
    groups.update({name: None for user in users for name in user.memberof if not name.startswith("pg_")})
    own = {user.name for user in users}
    extra = [RoleWish(name=_checked_name(name, "role"), login=False) for name in groups if name not in own]
    return [*extra, *users], wanted


def _plan_role(wish: RoleWish, have: RoleState | None, managed: bool) -> list[Step]:
    """Steps for the role itself; a group that is only mentioned (``managed`` false) is made, and then left alone."""
    name, steps = identifier(wish.name), []
    if have is None:
        login = "LOGIN" if wish.login else "NOLOGIN"
        sql = f"CREATE ROLE {name} {login} CONNECTION LIMIT {wish.connection_limit}"
        steps.append(Step(sql, f"create role {wish.name}" + ("" if wish.login else " (cannot log in)")))
        have = RoleState(login=wish.login, connection_limit=wish.connection_limit)
    if have.powers:
        powers = [power for power in _POWERS if power in have.powers]
        without = " ".join(f"NO{power.upper()}" for power in powers)
        steps.append(Step(f"ALTER ROLE {name} {without}", f"take {', '.join(powers)} from role {wish.name}"))
    if not managed:
        return steps
    if have.login != wish.login:
        login, may = ("LOGIN", "may") if wish.login else ("NOLOGIN", "may not")
        steps.append(Step(f"ALTER ROLE {name} {login}", f"role {wish.name}: {may} log in"))
    if have.connection_limit != wish.connection_limit:
        steps.append(
            Step(
                f"ALTER ROLE {name} CONNECTION LIMIT {wish.connection_limit}",
                f"role {wish.name}: connection limit {have.connection_limit} -> {wish.connection_limit}",
            )
        )
    if wish.password is not None and not verifies(wish.password, have.verifier):
        sql = f"ALTER ROLE {name} PASSWORD {literal(new_verifier(wish.password))}"
        steps.append(Step(sql, f"role {wish.name}: set password"))
    return steps


def _plan_membership(wish: RoleWish, have: RoleState | None, server: ServerState) -> list[Step]:
    name, current = identifier(wish.name), have.memberof if have else frozenset()
    for group in wish.memberof:
        if group.startswith("pg_") and group not in server.roles:
            raise PlanError(
                f"the role {wish.name!r} shall be a member of {group!r}, which this server does not have: "
                "correct the name"
            )
    new = [group for group in wish.memberof if group not in current]
    old = sorted(current - set(wish.memberof))
    return [
        *(Step(f"GRANT {identifier(group)} TO {name}", f"role {wish.name}: member of {group}") for group in new),
        *(Step(f"REVOKE {identifier(group)} FROM {name}", f"role {wish.name}: leaves {group}") for group in old),
    ]


def _plan_database(wish: DatabaseWish, have: DatabaseState | None) -> list[Step]:
    name, owner, steps = identifier(wish.name), identifier(wish.owner), []
    if have is None:
        sql = f"CREATE DATABASE {name} OWNER {owner} TEMPLATE template0 ENCODING {literal(wish.encoding)}"
        steps.append(Step(sql, f"create database {wish.name} owned by {wish.owner}", alone=True))
    elif have.encoding.replace("-", "").upper() != wish.encoding.replace("-", "").upper():
        raise PlanError(
            f"the database {wish.name!r} has the encoding {have.encoding}, not {wish.encoding}: "
            "an encoding is chosen at creation only; write the existing one, or make a new database and move the data"
        )
    elif have.owner != wish.owner:
        change = f"owner {have.owner} -> {wish.owner}"
        steps.append(Step(f"ALTER DATABASE {name} OWNER TO {owner}", f"database {wish.name}: {change}"))
    if have is None or have.public:
        sql = f"REVOKE ALL ON DATABASE {name} FROM PUBLIC"
        steps.append(Step(sql, f"database {wish.name}: closed to everybody else"))
    return steps


def _plan_access(wish: RoleWish, database: DatabaseWish, server: ServerState) -> list[Step]:
    """A user may connect to its database; a member of the owner acts as the owner there.

    Tables made by a user then belong to the owner, so that a second user (a rotated login, a migration run by hand)
    can work with them just as well.
    """
    state, role = server.databases.get(database.name), server.roles.get(wish.name)
    name, target, steps = identifier(wish.name), identifier(database.name), []
    if wish.name not in (state.connect if state else frozenset()):
        sql = f"GRANT CONNECT, TEMPORARY ON DATABASE {target} TO {name}"
        steps.append(Step(sql, f"role {wish.name}: may connect to {database.name}"))
    if database.owner in wish.memberof:
        current = (role.settings.get(database.name, {}) if role else {}).get("role")
        if current != database.owner:
            steps.append(
                Step(
                    f"ALTER ROLE {name} IN DATABASE {target} SET role = {literal(database.owner)}",
                    f"role {wish.name}: acts as {database.owner} in {database.name}",
                )
            )
    return steps


def _plan_extensions(wish: DatabaseWish, server: ServerState, update: bool) -> list[Step]:
    state, steps = server.databases.get(wish.name), []
    installed = state.extensions if state else {}
    for extension in wish.extensions:
        if extension not in server.available:
            raise PlanError(
                f"the extension {extension!r} (database {wish.name!r}) is not on this host: "
                "install the package that brings it"
            )
        name = identifier(extension)
        if extension not in installed:
            sql, summary = f"CREATE EXTENSION {name} CASCADE", f"create extension {extension}"
            steps.append(Step(sql, f"database {wish.name}: {summary}", wish.name))
        elif update and installed[extension] != server.available[extension]:
            summary = f"extension {extension} {installed[extension]} -> {server.available[extension]}"
            steps.append(Step(f"ALTER EXTENSION {name} UPDATE", f"database {wish.name}: {summary}", wish.name))
    return steps


def make_plan(
    roles: Sequence[RoleWish],
    databases: Sequence[DatabaseWish],
    server: ServerState,
    *,
    declared: Iterable[str],
    update: bool,
) -> list[Step]:
    """All steps, in an order in which each finds what it needs. ``declared`` are the roles that were listed as such."""
    listed, by_name = set(declared), {database.name: database for database in databases}
    steps: list[Step] = []
    for role in roles:
        steps += _plan_role(role, server.roles.get(role.name), role.name in listed)
    for role in roles:
        if role.name in listed:
            steps += _plan_membership(role, server.roles.get(role.name), server)
    for database in databases:
        steps += _plan_database(database, server.databases.get(database.name))
    for role in roles:
        if role.database is not None:
            steps += _plan_access(role, by_name[role.database], server)
    for database in databases:
        steps += _plan_extensions(database, server, update)
    return steps
