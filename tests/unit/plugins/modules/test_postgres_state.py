"""The module around the plan: what it runs, what it shows, and what it never does."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from ansible_collections.sapflux.hosting.plugins.modules import postgres_state

PASSWORD = "pa'ss-that-must-not-show"
ARGUMENTS: dict[str, Any] = {
    "databases": [{"name": "app", "owner": "app_owner"}],
    "roles": [{"name": "app", "database": "app", "memberof": ["app_owner"], "password": PASSWORD}],
}


class Server:
    """Stands in for psql: answers every reading with what it holds, and keeps the scripts it was given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.scripts: list[str] = []
        self.argv: list[list[str]] = []
        self.answer: tuple[int, str, str] | None = None
        self.in_recovery = False
        self.pending: list[str] = []
        monkeypatch.setattr(AnsibleModule, "run_command", self._run)
        monkeypatch.setattr(AnsibleModule, "get_bin_path", lambda _self, name, **_options: f"/usr/bin/{name}")

    def _run(self, argv: list[str], data: str, **_options: Any) -> tuple[int, str, str]:
        self.argv.append(argv)
        self.scripts.append(data)
        if self.answer is not None:
            return self.answer
        if "pg_authid" not in data:
            return 0, "", ""
        server = {
            "kind": "server", "version": "17.11", "version_num": 170011, "in_recovery": self.in_recovery,
            "pending_restart": self.pending, "available": {"plpgsql": "1.0"},
        }  # fmt: skip
        role: dict[str, Any] = dict.fromkeys(("superuser", "createdb", "createrole", "replication", "bypassrls"), False)
        role |= {"kind": "role", "name": "postgres", "login": True, "connection_limit": -1, "verifier": None}
        return 0, "\n".join(json.dumps(line) for line in (server, {**role, "memberof": [], "settings": []})), ""

    @property
    def writes(self) -> list[str]:
        return [script for script in self.scripts if "CREATE ROLE" in script]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    return Server(monkeypatch)


def run(capsys: pytest.CaptureFixture[str], **arguments: Any) -> dict[str, Any]:
    """The module's result; nothing it prints may hold the password."""
    with patch_module_args({**ARGUMENTS, **arguments}), pytest.raises(SystemExit):
        postgres_state.main()
    text = capsys.readouterr().out
    result: dict[str, Any] = json.loads(text)
    # what the module was called with is shown too, with the password masked
    assert PASSWORD not in text
    assert "SCRAM" not in text
    return result


def test_it_plans_then_acts(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    result = run(capsys)
    assert result["changed"] is True
    assert "create database app owned by app_owner" in result["actions"]
    assert (result["server_version"], result["server_version_num"]) == ("17.11", 170011)
    assert len(server.writes) == 1
    assert "diff" not in result


def test_check_mode_only_reads_and_says_the_same(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    planned = run(capsys, _ansible_check_mode=True, _ansible_diff=True)
    assert server.writes == []
    assert len(server.scripts) == 1
    assert planned["changed"] is True
    assert "+ create role app" in planned["diff"]["after"]
    assert run(capsys)["actions"] == planned["actions"]


def test_the_password_is_in_no_argument(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys)
    assert PASSWORD not in json.dumps(server.argv)
    assert PASSWORD not in "".join(server.scripts)
    assert server.argv[0][:4] == ["/usr/bin/runuser", "-u", "postgres", "--"]


@pytest.mark.usefixtures("server")
def test_no_password_reaches_the_journal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(
        AnsibleModule, "log", lambda _self, message, log_args=None: said.append(f"{message} {log_args}")
    )
    run(capsys, roles=[{"name": "app", "password": "marker'\"%&\\ x"}])
    assert said
    assert not any("marker" in line for line in said)


def test_nothing_wanted_nothing_written(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    server.pending = ["max_connections"]
    result = run(capsys, databases=[], roles=[])
    assert result["changed"] is False
    assert result["actions"] == []
    assert result["pending_restart"] == ["max_connections"]
    assert len(server.scripts) == 1


@pytest.mark.parametrize("check", [True, False])
def test_a_server_that_is_not_there(
    server: Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, check: bool
) -> None:
    """In check mode of a new host that is not a failure."""
    warnings: list[str] = []
    monkeypatch.setattr(AnsibleModule, "warn", lambda _self, text: warnings.append(text))
    server.answer = (2, "", "psql: error: connection to server on socket failed: No such file or directory")
    result = run(capsys, _ansible_check_mode=check)
    if check:
        assert result["changed"] is True
        assert (result["pending_restart"], result["server_version"], result["server_version_num"]) == ([], "", 0)
        assert "does not answer" in warnings[0]
    else:
        assert result["failed"] is True
        assert "does not answer at /run/postgresql port 5432" in result["msg"]


def test_a_standby_is_not_written_to(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    server.in_recovery = True
    result = run(capsys)
    assert "in recovery" in result["msg"]
    assert server.writes == []


def test_a_wish_that_cannot_be_met_writes_nothing(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    result = run(capsys, databases=[{"name": "app", "owner": "app_owner", "extensions": ["nonsense"]}])
    assert "'nonsense'" in result["msg"]
    assert server.writes == []
