"""From what a server has to what is wanted: which statements, in which order, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.sapflux.hosting.plugins.module_utils import _postgres
from ansible_collections.sapflux.hosting.plugins.module_utils._postgres_plan import (
    DatabaseState,
    PlanError,
    RoleState,
    ServerState,
    Step,
    identifier,
    literal,
    make_plan,
    parse_wishes,
)
from ansible_collections.sapflux.hosting.plugins.module_utils._postgres_scram import new_verifier, saslprep, verifies

PASSWORD = "s3cret'\\"
APP: dict[str, Any] = {
    "name": "app", "database": "app", "memberof": ["app_owner"], "connection_limit": 20, "password": PASSWORD,
}  # fmt: skip
DATABASE: dict[str, Any] = {"name": "app", "owner": "app_owner", "extensions": ["postgis", "btree_gist"]}
AVAILABLE = {"postgis": "3.5.2", "btree_gist": "1.7", "plpgsql": "1.0"}
EMPTY = ServerState(roles={"postgres": RoleState(login=True)}, databases={}, available=AVAILABLE)
CONVERGED = ServerState(
    roles={
        "postgres": RoleState(login=True),
        "app_owner": RoleState(login=False),
        "other": RoleState(login=True),
        "app": RoleState(
            login=True,
            connection_limit=20,
            verifier=new_verifier(PASSWORD),
            memberof=frozenset({"app_owner"}),
            settings={"app": {"role": "app_owner"}},
        ),
    },
    databases={
        "app": DatabaseState(
            "app_owner", "UTF8", False, frozenset({"app", "app_owner"}), {"postgis": "3.5.0", "btree_gist": "1.7"}
        )
    },
    available=AVAILABLE,
)


def plan(
    server: ServerState,
    roles: list[dict[str, Any]] | None = None,
    databases: list[dict[str, Any]] | None = None,
    *,
    update: bool = False,
) -> list[Step]:
    listed = [APP] if roles is None else roles
    wishes, wanted = parse_wishes(listed, [DATABASE] if databases is None else databases)
    return make_plan(wishes, wanted, server, declared=[role["name"] for role in listed], update=update)


def with_app(**changed: Any) -> ServerState:
    return replace(CONVERGED, roles={**CONVERGED.roles, "app": replace(CONVERGED.roles["app"], **changed)})


def with_database(**changed: Any) -> ServerState:
    return replace(CONVERGED, databases={"app": replace(CONVERGED.databases["app"], **changed)})


def test_everything_on_an_empty_server() -> None:
    steps = plan(EMPTY)
    assert [step.summary for step in steps] == [
        "create role app_owner (cannot log in)",
        "create role app",
        "role app: set password",
        "role app: member of app_owner",
        "create database app owned by app_owner",
        "database app: closed to everybody else",
        "role app: may connect to app",
        "role app: acts as app_owner in app",
        "database app: create extension postgis",
        "database app: create extension btree_gist",
    ]
    assert [step.summary for step in steps if step.alone] == ["create database app owned by app_owner"]
    assert {step.database for step in steps} == {"", "app"}


def test_nothing_on_a_converged_server() -> None:
    assert plan(CONVERGED) == []


def test_the_password_is_in_no_statement_and_the_verifier_in_no_summary() -> None:
    for step in plan(EMPTY):
        assert "s3cret" not in step.sql
        assert "SCRAM" not in step.summary
        assert "SCRAM" not in repr(step)


@pytest.mark.parametrize(
    ("server", "sql"),
    [
        (with_app(connection_limit=-1), 'ALTER ROLE "app" CONNECTION LIMIT 20'),
        (with_app(login=False), 'ALTER ROLE "app" LOGIN'),
        (with_app(powers=frozenset({"superuser", "createdb"})), 'ALTER ROLE "app" NOSUPERUSER NOCREATEDB'),
        (with_app(memberof=frozenset()), 'GRANT "app_owner" TO "app"'),
        (with_app(memberof=frozenset({"app_owner", "pg_read_all_data"})), 'REVOKE "pg_read_all_data" FROM "app"'),
        (with_app(settings={}), 'ALTER ROLE "app" IN DATABASE "app" SET role = \'app_owner\''),
        (with_app(settings={"": {"role": "app_owner"}}), 'ALTER ROLE "app" IN DATABASE "app" SET role = \'app_owner\''),
        (with_database(owner="other"), 'ALTER DATABASE "app" OWNER TO "app_owner"'),
        (with_database(public=True), 'REVOKE ALL ON DATABASE "app" FROM PUBLIC'),
        (with_database(connect=frozenset()), 'GRANT CONNECT, TEMPORARY ON DATABASE "app" TO "app"'),
        (with_database(extensions={"postgis": "3.5.2"}), 'CREATE EXTENSION "btree_gist" CASCADE'),
    ],
)
def test_one_drift_one_statement(server: ServerState, sql: str) -> None:
    assert [step.sql for step in plan(server)] == [sql]


@pytest.mark.parametrize("verifier", [None, "", "md5abc", "SCRAM-SHA-256$4096:!$a:b", new_verifier("another")])
def test_a_password_that_is_not_the_wanted_one_is_set(verifier: str | None) -> None:
    assert [step.summary for step in plan(with_app(verifier=verifier))] == ["role app: set password"]


def test_a_role_without_password_in_the_document_keeps_its_own() -> None:
    assert plan(CONVERGED, [{**APP, "password": None}]) == []


def test_extensions_are_updated_on_request_only() -> None:
    assert [step.sql for step in plan(CONVERGED, update=True)] == ['ALTER EXTENSION "postgis" UPDATE']


def test_a_group_that_is_only_mentioned_is_left_alone_but_for_powers() -> None:
    """Somebody may have given it a login or memberships; it must not be a superuser all the same."""
    groups = {**CONVERGED.roles, "app_owner": RoleState(login=True, connection_limit=5, memberof=frozenset({"other"}))}
    assert plan(replace(CONVERGED, roles=groups)) == []
    groups["app_owner"] = RoleState(powers=frozenset({"superuser"}))
    assert [step.sql for step in plan(replace(CONVERGED, roles=groups))] == ['ALTER ROLE "app_owner" NOSUPERUSER']


def test_nothing_is_ever_dropped() -> None:
    """A server full of things the document does not speak of."""
    assert plan(CONVERGED, [], []) == []
    assert not any("DROP" in step.sql for server in (EMPTY, CONVERGED) for step in plan(server))


@pytest.mark.parametrize(
    ("roles", "databases", "message"),
    [
        ([{"name": "postgres"}], [], "belongs to PostgreSQL itself"),
        ([{"name": "pg_x"}], [], "belongs to PostgreSQL itself"),
        ([{"name": "App"}], [], "no name for a role"),
        ([{"name": "a; DROP"}], [], "no name for a role"),
        ([{"name": "x" * 64}], [], "no name for a role"),
        ([], [{"name": "template1", "owner": "a"}], "belongs to PostgreSQL itself"),
        ([], [{"name": "a", "owner": "public"}], "belongs to PostgreSQL itself"),
        ([{"name": "a"}, {"name": "a"}], [], "role 'a' is listed twice"),
        ([], [{"name": "a", "owner": "o"}, {"name": "a", "owner": "o"}], "database 'a' is listed twice"),
        ([{"name": "a", "database": "b"}], [], "which is not listed"),
        ([{"name": "a", "memberof": ["a"]}], [], "member of itself"),
        ([{"name": "a", "memberof": ["pg_nothing"]}], [], "does not have: correct the name"),
        ([], [{"name": "a", "owner": "o", "extensions": ["timescaledb"]}], "is not on this host: install the package"),
    ],
)
def test_refused(roles: list[dict[str, Any]], databases: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        plan(EMPTY, roles, databases)


def test_another_encoding_is_refused_because_it_cannot_be_changed() -> None:
    with pytest.raises(PlanError, match="encoding LATIN1, not UTF8"):
        plan(with_database(encoding="LATIN1"))


@pytest.mark.parametrize("password", ["a", "pä'ss\\word", "日本", "\u00a0\u2003x", "\u00ad", "\u05d0a", "tab\t"])
def test_a_verifier_verifies_its_password_only(password: str) -> None:
    verifier = new_verifier(password)
    assert verifies(password, verifier)
    assert not verifies(password + "x", verifier)
    assert new_verifier(password) != verifier


def test_a_verifier_of_postgresql() -> None:
    """The example of RFC 7677: user `user`, password `pencil`, with its salt and its keys."""
    verifier = (
        "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$"
        "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
    )
    assert verifies("pencil", verifier)
    assert not verifies("Pencil", verifier)


@pytest.mark.parametrize(
    ("given", "hashed"), [("I\u00adX", b"IX"), ("\u2168", b"IX"), ("\u00aa", b"a"), ("a\u00a0b", b"a b")]
)
def test_saslprep_as_postgresql_does_it(given: str, hashed: bytes) -> None:
    assert saslprep(given) == hashed


def test_quoting() -> None:
    assert identifier('a"b') == '"a""b"'
    assert literal("a'b") == "'a''b'"
    assert literal("a\\b'") == "E'a\\\\b'''"


def test_statements_are_grouped_into_transactions() -> None:
    """CREATE DATABASE stands alone; the session's logging is switched off again after every connect."""
    scripts: list[str] = []

    def run(script: str) -> tuple[int, str, str]:
        scripts.append(script)
        return 0, "", ""

    _postgres.Psql(run, "here").apply(
        [Step("A", "a"), Step("B", "b", alone=True), Step("C", "c"), Step("D", "d", "app")]
    )
    lines = [line for line in scripts[0].splitlines() if line and not line.startswith("SET ")]
    assert lines[-11:] == [
        "BEGIN;", "A;", "COMMIT;", "B;", "BEGIN;", "C;", "COMMIT;", '\\connect "app"', "BEGIN;", "D;", "COMMIT;"
    ]  # fmt: skip
    assert scripts[0].count("SET log_min_error_statement = 'panic'") == 2


@pytest.mark.parametrize(
    ("code", "stderr", "message"),
    [
        (
            2,
            "psql: error: connection to server on socket failed: No such file",
            "does not answer at here: connection to",
        ),
        (3, "psql:<stdin>:9: ERROR:  permission denied", "refused: permission denied"),
        (3, "LINE 1: PASSWORD 'SCRAM-SHA-256$x'\npsql:<stdin>:9: ERROR:  syntax error", "refused: syntax error"),
        (1, "", "refused: no message"),
    ],
)
def test_errors_are_one_sentence_without_the_statement(code: int, stderr: str, message: str) -> None:
    with pytest.raises(_postgres.PostgresError, match=message) as caught:
        _postgres.Psql(lambda _script: (code, "", stderr), "here").read([])
    assert "SCRAM" not in str(caught.value)
    assert "\n" not in str(caught.value)
