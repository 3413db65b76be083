"""The controller's half of ``sapflux.hosting.binary``: what it checks, what it sends and how often it asks the host."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.module_utils.testing import patch_module_args
from ansible_collections.sapflux.hosting.plugins.action.binary import ActionModule
from ansible_collections.sapflux.hosting.plugins.modules import binary

ROOT = Path(__file__).resolve().parents[4]
CONTENT = b"#!/bin/sh\necho one\n"
OTHER = b"#!/bin/sh\necho two\n"


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Action(ActionModule):
    """The action with the host on this side of the wire: the real module runs here, transfers are copies."""

    def __init__(self, root: Path, arguments: dict[str, Any], capsys: pytest.CaptureFixture[str], check: bool) -> None:
        task = SimpleNamespace(args=arguments, check_mode=check, diff=False, async_val=0, environment=[])
        super().__init__(
            task=task,
            connection=SimpleNamespace(_shell=SimpleNamespace(tmpdir=None, join_path=os.path.join)),
            play_context=SimpleNamespace(),
            loader=None,
            templar=None,
            shared_loader_obj=None,
        )
        self.root, self.capsys = root, capsys
        self.calls: list[dict[str, Any]] = []
        self.sent: list[str] = []
        self.removed: list[str | None] = []

    def _find_needle(self, dirname: str, needle: str) -> str:
        found = Path("/", needle) if needle.startswith("/") else self.root / dirname / needle
        if not found.exists():
            raise AnsibleError("Could not find or access it.\nSearched in:\n\tmany places")
        return str(found)

    def _execute_module(self, module_name: str, module_args: dict[str, Any], task_vars: Any) -> dict[str, Any]:
        assert (module_name, task_vars) == ("sapflux.hosting.binary", {})
        self.calls.append(dict(module_args))
        with (
            patch_module_args({**module_args, "_ansible_check_mode": self._task.check_mode}),
            pytest.raises(SystemExit),
        ):
            binary.main()
        return dict(json.loads(self.capsys.readouterr().out))

    def _make_tmp_path(self) -> None:
        self._connection._shell.tmpdir = str(self.root / "remote_tmp")
        (self.root / "remote_tmp").mkdir()

    def _transfer_file(self, local: str, remote: str) -> None:
        self.sent.append(local)
        shutil.copy(local, remote)

    def _fixup_perms2(self, paths: tuple[str, ...]) -> None:
        assert all(Path(path).exists() for path in paths)

    def _remove_tmp_path(self, path: str | None) -> None:
        self.removed.append(path)


class Bed:
    """A controller file ``files/prog``, a place to install to, and a way to run the task."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.root, self.capsys = root, capsys
        (root / "bin").mkdir()
        (root / "files").mkdir()
        self.source = root / "files" / "prog"
        self.source.write_bytes(CONTENT)
        self.action: Action

    def run(self, check: bool = False, **changes: Any) -> dict[str, Any]:
        arguments = {
            "name": "prog",
            "version": "1.0",
            "sha256": sha(CONTENT),
            "src": "prog",
            "link": str(self.root / "bin" / "prog"),
            "directory": str(self.root / "lib"),
            **changes,
        }
        given = {key: value for key, value in arguments.items() if value is not None}
        self.action = Action(self.root, given, self.capsys, check)
        return self.action.run(task_vars={})


@pytest.fixture
def bed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Bed:
    return Bed(tmp_path, capsys)


def test_the_file_is_sent_once_and_cleared_away(bed: Bed) -> None:
    result = bed.run()
    assert result["changed"] is True
    assert set(result) == {"changed", "path", "link", "version", "sha256", "previous"}
    assert bed.action.sent == [str(bed.source)]
    asked, done = bed.action.calls
    assert (asked["src"], asked["remote_src"]) == ("prog", False)
    assert (done["src"], done["remote_src"]) == (str(bed.root / "remote_tmp" / "source"), True)
    assert bed.action.removed == [str(bed.root / "remote_tmp")]
    assert Path(result["link"]).read_bytes() == CONTENT


def test_an_unchanged_program_costs_one_call(bed: Bed) -> None:
    bed.run()
    assert bed.run()["changed"] is False
    assert (len(bed.action.calls), bed.action.sent) == (1, [])


def test_going_back_sends_nothing(bed: Bed) -> None:
    bed.run()
    bed.source.write_bytes(OTHER)
    shutil.rmtree(bed.root / "remote_tmp")
    bed.run(version="2.0", sha256=sha(OTHER))
    back = bed.run()
    assert (back["changed"], back["previous"]["version"]) == (True, "2.0")
    assert (len(bed.action.calls), bed.action.sent) == (1, [])


def test_check_mode_sends_nothing_but_verifies(bed: Bed) -> None:
    assert bed.run(check=True)["changed"] is True
    assert (len(bed.action.calls), bed.action.sent) == (1, [])
    assert not (bed.root / "lib").exists()
    bed.source.write_bytes(OTHER)
    with pytest.raises(AnsibleActionFail, match=sha(OTHER)):
        bed.run(check=True)


def test_a_file_with_another_digest_is_not_sent(bed: Bed) -> None:
    bed.source.write_bytes(OTHER)
    with pytest.raises(AnsibleActionFail) as failure:
        bed.run()
    assert sha(CONTENT) in str(failure.value)
    assert sha(OTHER) in str(failure.value)
    assert bed.action.sent == []
    assert not (bed.root / "lib").exists()


@pytest.mark.parametrize("src", ["gone", "/gone/prog", "~/gone/prog"])
def test_a_missing_file_is_one_sentence_before_the_host_is_asked(bed: Bed, src: str) -> None:
    with pytest.raises(AnsibleActionFail) as failure:
        bed.run(src=src)
    message = str(failure.value)
    assert message.startswith("prog: there is no file ")
    assert message.endswith(f"{src[-4:]} on the controller; put it there, correct src, or set url instead.")
    assert "\n" not in message
    assert bed.action.calls == []


def test_a_file_on_the_host_is_not_looked_for_here(bed: Bed) -> None:
    staged = bed.root / "on_the_host"
    staged.write_bytes(CONTENT)
    assert bed.run(src=str(staged), remote_src=True)["changed"] is True
    assert (len(bed.action.calls), bed.action.sent) == (1, [])


def test_a_folder_is_no_program(bed: Bed) -> None:
    with pytest.raises(AnsibleActionFail, match="there is no file"):
        bed.run(src=str(bed.root))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"sha256": "abc"}, "sha256 'abc' must be 64 hexadecimal digits"),
        ({"sha256": None}, "missing: sha256"),
        ({"src": None}, "url, src"),
        ({"url": "https://example.org/prog"}, "mutually exclusive"),
        ({"vresion": "1"}, "Unsupported parameters.*vresion"),
        ({"state": "latest"}, "must be one of: present, absent"),
    ],
)
def test_wrong_options_never_reach_the_host(bed: Bed, changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(AnsibleActionFail, match=expected):
        bed.run(**changes)
    assert bed.action.calls == []


def test_a_failure_on_the_host_is_passed_on_and_cleared_away(bed: Bed) -> None:
    (bed.root / "bin" / "prog").write_text("by hand")
    result = bed.run()
    assert result["failed"] is True
    assert "was not made by this module" in result["msg"]
    assert (bed.action.sent, len(bed.action.removed)) == ([], 1)


def test_absent_needs_neither_file_nor_digest(bed: Bed) -> None:
    bed.run()
    bed.source.unlink()
    assert bed.run(version=None, sha256=None, src=None, state="absent")["changed"] is True
    assert not (bed.root / "lib").exists()
    assert bed.run(version=None, sha256=None, src=None, state="absent")["changed"] is False


PLAY = """
- hosts: localhost
  gather_facts: false
  tasks:
    - ansible.builtin.include_role:
        name: sapflux.hosting._binary
      vars:
        binary_name: prog
        binary_version: "1.0"
        binary_sha256: "{{ digest }}"
        binary_src: prog
        binary_directory: "{{ playbook_dir }}/lib"
        binary_link: "{{ playbook_dir }}/bin/prog"
"""


def play(bed: Bed, *options: str) -> str:
    """Run the role for real over the local connection; return what Ansible printed."""
    (bed.root / "play.yml").write_text(PLAY)
    settings = "[defaults]\ninject_facts_as_vars = false\nnocolor = true\n[connection]\npipelining = true\n"
    (bed.root / "ansible.cfg").write_text(settings)
    command = [sys.executable, "-m", "ansible", "playbook", "play.yml", "-c", "local", "-e", f"digest={sha(CONTENT)}"]
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(bed.root / "ansible.cfg"),
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".ansible" / "collections"),
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "ANSIBLE_HOME": str(bed.root / "home"),
        "ANSIBLE_REMOTE_TEMP": str(bed.root / "remote"),
    }
    command += ["-e", f"ansible_python_interpreter={sys.executable}", *options]
    done = subprocess.run(
        command, cwd=bed.root, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_role_end_to_end(bed: Bed) -> None:
    assert "changed=1 " in play(bed, "--check", "--diff")
    assert not (bed.root / "lib").exists()
    first = play(bed, "--diff")
    assert "changed=1 " in first
    assert f'+    "sha256": "{sha(CONTENT)}"' in first
    assert subprocess.check_output([bed.root / "bin" / "prog"], text=True) == "one\n"
    assert "changed=0 " in play(bed)
    assert "changed=0 " in play(bed, "--check")
    assert list((bed.root / "remote").iterdir()) == [], "nothing sent is left behind"
