"""The module host_audit: what it asks for, what it returns, and names of checks that do not exist."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.sapflux.hosting.plugins.modules import host_audit

from ..module_utils.audit_host import GOOD


def run(capsys: pytest.CaptureFixture[str], **arguments: Any) -> dict[str, Any]:
    """Run the module's main; what it printed."""
    with patch_module_args(arguments), pytest.raises(SystemExit):
        host_audit.main()
    return dict(json.loads(capsys.readouterr().out))


def test_results_and_summary_in_check_mode_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is ever changed; what was said of the host reaches the facts."""
    asked: list[dict[str, Any]] = []

    def gather(wanted: dict[str, Any]) -> dict[str, Any]:
        asked.append(wanted)
        return {**GOOD, "wanted": wanted}

    monkeypatch.setattr(host_audit, "gather", gather)
    result = run(capsys, admins=["ops"], public_tcp=[8080], skip={"ssh-x11": "why not"}, _ansible_check_mode=True)
    assert asked == [{"admins": ["ops"], "firewall": True, "public_tcp": [8080], "skip": {"ssh-x11": "why not"}}]
    assert result["changed"] is False
    assert result["summary"]["fail"] == 0
    assert result["summary"]["n/a"] == 1
    assert result["summary"]["checks"] == len(result["checks"])
    assert result["seconds"] >= 0


def test_a_decision_about_a_check_that_does_not_exist_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before the host is asked; with the page that lists them."""
    monkeypatch.setattr(host_audit, "gather", lambda _wanted: pytest.fail("asked"))
    result = run(capsys, skip={"ssh-x12": "?", "ssh-x11": "!"})
    assert result["failed"] is True
    assert result["msg"] == "skip names checks that do not exist: ssh-x12; docs/audit.md lists them"
