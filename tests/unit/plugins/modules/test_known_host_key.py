"""Host keys are pinned before a server exists, and lines of others are kept."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.sapflux.hosting.plugins.filter.hcloud import FilterModule
from ansible_collections.sapflux.hosting.plugins.module_utils import _known_hosts as lines
from ansible_collections.sapflux.hosting.plugins.modules import known_host_key

KEY = "ssh-ed25519 AAAA1"
OTHER = "ssh-ed25519 AAAA2"
THEIRS = "example.org ssh-ed25519 AAAA9 a comment\n"


class Runner:
    """Runs the module on a file."""

    def __init__(self, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.path, self.capsys = path, capsys

    def __call__(self, **arguments: Any) -> dict[str, Any]:
        given = {"path": str(self.path), "server": "one", "hosts": ["one", "", "192.0.2.1"], **arguments}
        with patch_module_args(given), pytest.raises(SystemExit):
            known_host_key.main()
        result: dict[str, Any] = json.loads(self.capsys.readouterr().out)
        return result

    def text(self) -> str:
        """The file."""
        return self.path.read_text(encoding="utf-8")


@pytest.fixture
def runner(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Runner:
    monkeypatch.setattr("ansible.module_utils._internal.is_controller", False)
    return Runner(tmp_path / "ssh" / "known_hosts", capsys)


def test_exactly_these_keys(runner: Runner) -> None:
    assert runner(keys=[KEY], _ansible_check_mode=True)["changed"] is True
    assert not runner.path.exists()
    assert runner(keys=[f"{KEY} a comment", KEY], pending=True)["changed"] is True
    assert runner.text() == f"one,192.0.2.1 {KEY} sapflux.hosting/one first-contact\n"
    assert stat.S_IMODE(runner.path.parent.stat().st_mode) == 0o700
    assert runner(keys=[KEY], pending=True)["changed"] is False
    assert runner(keys=[KEY, OTHER])["changed"] is True
    assert lines.keys_of(runner.text(), "one") == [KEY, OTHER]
    assert not lines.pending(runner.text(), "one")


def test_lines_of_others_are_kept(runner: Runner) -> None:
    runner.path.parent.mkdir()
    runner.path.write_text(THEIRS.rstrip("\n"))
    runner.path.chmod(0o644)
    runner(keys=[KEY])
    runner(server="one-more", keys=[OTHER])
    assert runner.text().startswith(THEIRS)
    assert runner(state="absent")["changed"] is True
    assert runner.text() == f"{THEIRS}one,192.0.2.1 {OTHER} sapflux.hosting/one-more\n"
    assert stat.S_IMODE(runner.path.stat().st_mode) == 0o644
    assert runner(state="absent")["changed"] is False


def test_a_new_key(runner: Runner) -> None:
    assert "private_key" not in runner(state="new", _ansible_check_mode=True)
    made = runner(state="new")
    assert made["private_key"].startswith("-----BEGIN OPENSSH PRIVATE KEY-----")
    assert lines.pending(runner.text(), "one")
    assert lines.keys_of(runner.text(), "one") == [" ".join(made["public_key"].split()[:2])]
    assert runner(state="new")["public_key"] != made["public_key"]
    assert len(lines.keys_of(runner.text(), "one")) == 1
    assert "PRIVATE" not in runner.text()


def test_filters_of_the_role() -> None:
    filters = FilterModule().filters()
    servers = [{"name": "one", "ipv4": "192.0.2.1", "ipv6": None, "tailnet_host": "one.ts.net"}]
    assert filters["hcloud_ssh_names"](servers, "one") == ["one", "192.0.2.1", "one.ts.net"]
    with pytest.raises(Exception, match="there is no server two"):
        filters["hcloud_ssh_names"](servers, "two")
    there = {"servers": ["one"], "primary_ips": ["a", "b"], "networks": []}
    assert filters["hcloud_inventory"](there) == "servers one; addresses a, b"
    assert filters["hcloud_inventory"]({}) == "nothing"
    key = {"private_key": "P", "public_key": "Q"}
    assert '"ed25519_private": "P"' in filters["hcloud_user_data"]("#cloud-config\n{}\n", key)
