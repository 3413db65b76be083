"""The module's real `main()`: its options, check mode, and that no secret leaves it."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from ansible_collections.sapflux.hosting.plugins.module_utils import _compose_seams
from ansible_collections.sapflux.hosting.plugins.module_utils._compose_host import ServiceWish
from ansible_collections.sapflux.hosting.plugins.modules import compose_project

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
        "compose": "services: {}\n",
        "unit": "[Unit]\n",
        "services": [service],
        "secrets": base64.b64encode(json.dumps({"api": f"TOKEN='{MARKER}'\n"}).encode()).decode(),
        "base_dir": str(tmp_path / "lib"),
        "run_dir": str(tmp_path / "run"),
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
    assert {Path(entry["after_header"]).name for entry in result["diff"]} >= {"compose.yaml", "api.env"}
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


def test_options_and_documentation_agree() -> None:
    documented = yaml.safe_load(compose_project.DOCUMENTATION)["options"]
    spec = compose_project.ARGUMENT_SPEC
    assert set(documented) == set(spec)
    services = documented["services"]["suboptions"]
    assert set(services) == set(compose_project.SERVICE_OPTIONS)
    assert set(services) | {"secrets_env"} == set(ServiceWish.__dataclass_fields__)
    for told, meant in [(documented, spec), (services, compose_project.SERVICE_OPTIONS)]:
        for name, option in meant.items():
            assert told[name]["type"] == option["type"], name
            assert told[name].get("default") == option.get("default"), name
            assert told[name].get("required", False) == option.get("required", False), name


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
