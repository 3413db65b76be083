"""The first boot is waited for, and the host key of the first contact replaced in two steps."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from ansible_collections.sapflux.hosting.plugins.modules import first_boot

Answer = tuple[int, str, str]


class Host:
    """A host whose programs are scripted; ssh-keygen writes what it is asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cloud_init: list[dict[str, Any] | str] = [{"status": "done"}]
        self.there = True
        self.ran: list[str] = []
        self.now = 0.0

    def bin_path(self, _module: AnsibleModule, name: str, *_more: Any) -> str | None:
        return f"/usr/bin/{name}" if self.there else None

    def run(self, _module: AnsibleModule, argv: list[str], **_more: Any) -> Answer:
        self.ran.append(" ".join(argv[:3]))
        if argv[0].endswith("cloud-init"):
            found = self.cloud_init.pop(0) if len(self.cloud_init) > 1 else self.cloud_init[0]
            return 0, found if isinstance(found, str) else json.dumps(found), ""
        if argv[0] == "ssh-keygen":
            path = Path(argv[-1])
            path.write_text("private")
            path.with_name(f"{path.name}.pub").write_text(f"ssh-ed25519 {len(self.ran)} me\n")
        return 0, "", ""

    def pause(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    made = Host(tmp_path)
    monkeypatch.setattr(AnsibleModule, "get_bin_path", lambda *args, **more: made.bin_path(*args, **more))
    monkeypatch.setattr(AnsibleModule, "run_command", lambda *args, **more: made.run(*args, **more))
    monkeypatch.setattr(first_boot, "pause", made.pause)
    monkeypatch.setattr(first_boot, "clock", lambda: made.now)
    monkeypatch.setattr(first_boot, "LOCKS", (str(tmp_path / "lock"),))
    monkeypatch.setattr("ansible.module_utils._internal.is_controller", False)
    (tmp_path / "ssh_host_ed25519_key").write_text("born")
    (tmp_path / "ssh_host_ed25519_key.pub").write_text("ssh-ed25519 born me\n")
    return made


@pytest.fixture
def run(host: Host, capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    def call(**arguments: Any) -> dict[str, Any]:
        with patch_module_args({"directory": str(host.folder), **arguments}), pytest.raises(SystemExit):
            first_boot.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return call


def test_a_host_that_is_ready(host: Host, run: Callable[..., dict[str, Any]]) -> None:
    assert run() | {"invocation": 0} == {
        "changed": False,
        "cloud_init": "done",
        "host_keys": ["ssh-ed25519 born"],
        "invocation": 0,
    }
    host.there = False
    assert run()["cloud_init"] == "absent"


def test_cloud_init_is_waited_for(host: Host, run: Callable[..., dict[str, Any]]) -> None:
    host.cloud_init = ["", {"status": "running"}, {"status": "running"}, {"status": "done"}]
    assert run()["cloud_init"] == "done"
    assert host.now == 3.0


def test_a_cloud_init_that_fails_or_never_ends(host: Host, run: Callable[..., dict[str, Any]]) -> None:
    host.cloud_init = [{"status": "error", "errors": ["no such user"]}]
    assert "cloud-init failed: no such user" in run()["msg"]
    host.cloud_init = [{"status": "running"}]
    assert "cloud-init is still running" in run(seconds=5)["msg"]


def test_a_lock_of_apt_is_waited_for(
    host: Host, run: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([True, True, False])
    monkeypatch.setattr(first_boot, "held", lambda _path: next(answers))
    run()
    assert host.now == 2.0
    monkeypatch.setattr(first_boot, "held", lambda _path: True)
    assert "something holds" in run(seconds=3)["msg"]


def test_who_holds_a_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert first_boot.held(str(path)) is False
    path.write_text("")
    assert first_boot.held(str(path)) is False
    ready, done = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        with path.open("r+b") as stream:
            fcntl.lockf(stream, fcntl.LOCK_EX)
            os.write(ready[1], b"x")
            os.read(done[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    assert first_boot.held(str(path)) is True
    os.write(done[1], b"x")
    os.waitpid(child, 0)
    for end in (*ready, *done):
        os.close(end)


def test_a_key_is_made_beside_the_one_in_use_and_then_put_in_its_place(
    host: Host, run: Callable[..., dict[str, Any]]
) -> None:
    assert run(host_key="next", _ansible_check_mode=True)["changed"] is True
    assert not any("ssh-keygen" in call for call in host.ran)
    # What an interrupted run left is no key.
    (host.folder / "ssh_host_ed25519_key.next").write_text("half")
    both = run(host_key="next")
    assert (both["changed"], both["host_keys"][0], len(both["host_keys"])) == (True, "ssh-ed25519 born", 2)
    again = run(host_key="next")
    assert (again["changed"], again["host_keys"]) == (False, both["host_keys"])
    assert run(host_key="switch", _ansible_check_mode=True)["host_keys"] == both["host_keys"]
    switched = run(host_key="switch")
    assert (switched["changed"], switched["host_keys"]) == (True, both["host_keys"][1:])
    assert (host.folder / "ssh_host_ed25519_key").read_text() == "private"
    assert host.ran[-1] == "systemctl reload ssh.service"
    assert run(host_key="switch")["changed"] is False
