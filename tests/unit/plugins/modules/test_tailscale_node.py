"""The module's real `main()`: its options, what it prints, and that no key leaves it."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from ansible_collections.sapflux.hosting.plugins.module_utils import _tailscale_prefs
from ansible_collections.sapflux.hosting.plugins.module_utils._programs import Ran
from ansible_collections.sapflux.hosting.plugins.module_utils._tailscale import Cli
from ansible_collections.sapflux.hosting.plugins.modules import tailscale_node

from ..module_utils.tailscale_world import KEY, SERVER, World


def call(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, **arguments: Any
) -> dict[str, Any]:
    """The module's result; neither what it prints nor what it logs may hold the key."""
    logged: list[str] = []
    monkeypatch.setattr(
        AnsibleModule, "log", lambda _self, message, log_args=None: logged.append(f"{message}{log_args}")
    )
    monkeypatch.setattr(tailscale_node, "Cli", lambda: Cli(world.run))
    with patch_module_args(arguments), pytest.raises(SystemExit):
        tailscale_node.main()
    text = capsys.readouterr().out
    assert KEY not in text + "".join(logged)
    result: dict[str, Any] = json.loads(text)
    return result


def test_documentation_and_arguments_agree() -> None:
    documented = yaml.safe_load(tailscale_node.DOCUMENTATION)["options"]
    assert list(documented) == list(tailscale_node.ARGUMENT_SPEC)
    for name, spec in tailscale_node.ARGUMENT_SPEC.items():
        for key in ("type", "default", "choices", "elements"):
            assert documented[name].get(key) == spec.get(key), (name, key)
    assert {pref.option for pref in _tailscale_prefs.PREFS} <= set(documented)


def test_what_is_returned_is_documented() -> None:
    documented = yaml.safe_load(tailscale_node.RETURN)["node"]["contains"]
    assert set(documented) == set(World("Running").present().status.facts())


def test_a_join_and_its_diff(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    wish = {"auth_key": KEY, "login_server": SERVER, "tags": ["tag:server"], "hostname": "db-1", "_ansible_diff": True}
    planned = call(world, capsys, monkeypatch, **wish, _ansible_check_mode=True)
    assert world.writes == []
    done = call(world, capsys, monkeypatch, **wish)
    assert done["changed"] is planned["changed"] is True
    assert done["actions"] == planned["actions"] == [f"join the tailnet of {SERVER}"]
    assert done["diff"]["before"] != done["diff"]["after"] == planned["diff"]["after"]
    assert done["node"]["ipv4"] == "100.64.0.1"
    again = call(world, capsys, monkeypatch, **wish)
    assert again["changed"] is False
    assert "diff" not in again


def test_a_failure_has_the_shape_of_a_success(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World()
    world.up_answer = Ran(1, "", f"backend error: invalid key {KEY}")
    failed = call(world, capsys, monkeypatch, auth_key=KEY)
    assert failed["failed"] is True
    assert set(failed["node"]) == set(world.present(check=True, auth_key=KEY).status.facts())
    refused = call(world, capsys, monkeypatch, auth_key=KEY, tags=["server"])
    assert refused["node"]["backend_state"] == "NoState"
    assert refused["actions"] == []


def test_a_fresh_host_in_check_mode(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    warnings: list[str] = []
    monkeypatch.setattr(AnsibleModule, "warn", lambda _self, text: warnings.append(text))
    world = World()
    world.installed = False
    planned = call(world, capsys, monkeypatch, auth_key=KEY, _ansible_check_mode=True, _ansible_diff=True)
    assert planned["changed"] is True
    assert "not installed" in warnings[0]


def test_one_way_to_join_only(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    failed = call(World(), capsys, monkeypatch, auth_key=KEY, client_id="x", audience="y", tags=["tag:a"])
    assert "mutually exclusive" in failed["msg"]
    failed = call(World(), capsys, monkeypatch, id_token="x")
    assert "client_id" in failed["msg"]


def test_absent(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    world = World("Running", ControlURL=SERVER)
    assert call(world, capsys, monkeypatch, state="absent")["actions"] == ["log db out of the tailnet"]
    assert call(world, capsys, monkeypatch, state="absent")["changed"] is False
