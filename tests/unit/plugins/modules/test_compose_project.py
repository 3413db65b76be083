"""The module's real `main()`: its options, check mode, and that no secret leaves it."""

from __future__ import annotations

import base64
import json
import socket
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from ansible_collections.sapflux.hosting.plugins.doc_fragments._compose import ModuleDocFragment
from ansible_collections.sapflux.hosting.plugins.module_utils import _compose_seams
from ansible_collections.sapflux.hosting.plugins.module_utils._compose_wish import ServiceWish
from ansible_collections.sapflux.hosting.plugins.modules import compose_project, compose_release

MARKER = "s3cret-marker"


def call(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], check: bool = False, **changes: Any
) -> tuple[dict[str, Any], str]:
    """Run main() without an engine behind the socket; its result and everything it printed."""
    service = {
        "name": "api",
        "image": "r.example/api@sha256:" + "a" * 64,
        "definition": "{}",
        "uid": 10001,
        "gid": 10001,
        "host_port": 18080,
        "health_path": "/health",
    }
    arguments = {
        "project": "unit-test",
        "compose": "{}",
        "unit": "[Unit]\n",
        "services": [service],
        "secrets": base64.b64encode(json.dumps({"api": f"TOKEN='{MARKER}'\n"}).encode()).decode(),
        "base_dir": str(tmp_path / "lib"),
        "run_dir": str(tmp_path / "run"),
        "upstream_dir": str(tmp_path / "etc/upstreams"),
        "docker_socket": str(tmp_path / "docker.sock"),
        "_ansible_check_mode": check,
        "_ansible_diff": True,
        **changes,
    }
    with patch_module_args(arguments), pytest.raises(SystemExit):
        compose_project.main()
    printed = capsys.readouterr()
    return dict(json.loads(printed.out)), printed.out + printed.err


def test_check_mode_on_a_host_without_docker_predicts_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result, printed = call(tmp_path, capsys, check=True)
    assert (result["changed"], result["release"], result["migrated"]) == (True, "", [])
    assert "Docker does not answer yet" in result["reasons"]
    assert {Path(entry["after_header"]).name for entry in result["diff"]} >= {"compose.json", "api-blue.env"}
    assert MARKER not in printed
    assert list(tmp_path.iterdir()) == []


def test_the_log_of_arguments_on_the_host_shows_no_secret(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[str] = []
    monkeypatch.setattr(
        AnsibleModule, "log", lambda _self, message, log_args=None: logged.append(f"{message}{log_args}")
    )
    call(tmp_path, capsys, check=True)
    assert "project=unit-test" in "".join(logged)
    packed = base64.b64encode(json.dumps({"api": f"TOKEN='{MARKER}'\n"}).encode()).decode()
    assert not [needle for needle in (MARKER, packed) if needle in "".join(logged)]


def test_a_host_without_docker_is_one_clear_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result, printed = call(tmp_path, capsys)
    assert result["failed"]
    assert f"Docker does not answer at {tmp_path}/docker.sock" in result["msg"]
    assert "systemctl status docker" in result["msg"]
    assert MARKER not in printed


@pytest.mark.parametrize("changes", [{"compose": ""}, {"unit": ""}, {"services": []}])
def test_nothing_to_deploy_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any]
) -> None:
    result, _printed = call(tmp_path, capsys, **changes)
    assert "has nothing to deploy: give compose, unit and services, or state: absent" in result["msg"]


@pytest.mark.parametrize("check", [True, False])
def test_absent_on_a_host_that_never_had_it(tmp_path: Path, capsys: pytest.CaptureFixture[str], check: bool) -> None:
    result, _printed = call(tmp_path, capsys, check=check, state="absent")
    assert not result["changed"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("module", [compose_project, compose_release])
def test_options_and_documentation_agree(module: Any) -> None:
    documented = yaml.safe_load(module.DOCUMENTATION)["options"]
    documented.update(yaml.safe_load(ModuleDocFragment.DOCUMENTATION)["options"])
    agree(documented, module.ARGUMENT_SPEC)


def agree(documented: dict[str, Any], spec: dict[str, Any]) -> None:
    """Documented and real options are the same, at every depth."""
    assert set(documented) == set(spec)
    for name, option in spec.items():
        told = documented[name]
        assert told["type"] == option["type"], name
        assert told.get("default") == option.get("default"), name
        assert told.get("required", False) == option.get("required", False), name
        assert told.get("choices") == option.get("choices"), name
        if "options" in option:
            agree(told["suboptions"], option["options"])


def test_the_services_of_the_module_are_those_of_a_wish() -> None:
    assert set(compose_project.SERVICE_OPTIONS) | {"secrets_env", "secret_files"} == set(
        ServiceWish.__dataclass_fields__
    )


def test_programs_run_without_the_environment_of_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPOSE_FILE", "/elsewhere")
    ran = _compose_seams.run_program(["env"], 10)
    assert ran.rc == 0
    assert {line.split("=")[0] for line in ran.output.splitlines()} == {"PATH", "HOME", "LC_ALL"}


def test_programs_that_hang_or_are_missing() -> None:
    slow = _compose_seams.run_program(["sleep", "60"], 0.2)
    assert (slow.rc, "did not end within" in slow.output) == (124, True)
    assert _compose_seams.run_program(["no-such-program"], 1).output == "no-such-program is not installed"


def test_a_closed_port_is_an_answer() -> None:
    answer = _compose_seams.ask(1, "GET", "/health", 1)
    assert (answer.status, answer.good) == (0, False)
    assert "refused" in str(answer)


def test_what_is_given_to_a_program_arrives_on_its_stdin() -> None:
    assert _compose_seams.run_program(["cat"], 10, "a question").output == "a question"


def test_open_connections_to_a_port_are_counted() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert (_compose_seams.connections(port), _compose_seams.listening(port)) == (0, True)
        # listening() has knocked; what it left behind is taken off the queue.
        server.accept()[0].close()
        with socket.create_connection(("127.0.0.1", port)):
            assert _compose_seams.connections(port) == 1
    assert not _compose_seams.listening(port)


def test_a_connection_that_is_being_closed_does_not_count() -> None:
    table = (
        "  sl  local_address rem_address   st\n"
        "   0: 0100007F:46A0 00000000:0000 0A\n"
        "   1: 0100007F:C350 0100007F:46A0 01\n"
        "   2: 0100007F:C351 0100007F:46A0 06\n"
        "   3: 0100007F:46A0 0100007F:C350 01\n"
    )
    assert _compose_seams.established(table, 18080) == 1


def test_memory_and_disk_of_this_machine(tmp_path: Path) -> None:
    assert _compose_seams.available_mb() > 0
    assert _compose_seams.free_mb(str(tmp_path / "not/there/yet")) > 0


def test_a_web_server_that_is_not_there_is_an_answer() -> None:
    assert _compose_seams.edge("127.0.0.1", 1, "api.example.org", "/health").status == 0
