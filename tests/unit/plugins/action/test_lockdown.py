"""The action lockdown through ansible-playbook itself: over which address it asks what, and how it says no."""

from __future__ import annotations

import json
import pathlib
import re
import socketserver
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.fixtures import document
from tests.unit.fixtures.playbook import Project, Result, write
from tests.unit.lockdown.world import LOCKED, OPEN, TEXT

PUBLIC, TAILNET = "192.0.2.1", "100.64.0.5"
# Reaches the host at both addresses: notes which one, and runs the command here.
SSH = """#!/bin/sh
host=
for word; do
    case $word in {public}|{tailnet}) host=$word ;; -O) exit 255 ;; esac
    last=$word
done
if [ "$host" = {tailnet} ] && [ -e {folder}/cut ]; then
    echo "ssh: connect to host $host port 22: Connection timed out" >&2
    exit 255
fi
HOST=$host exec sh -c "$last"
"""
# The host's program, as far as the action sees it: every answer is a file, every call is noted.
PROGRAM = """#!{python}
import json, os, pathlib, sys
folder = pathlib.Path({folder!r})
verb = sys.argv[1]
with (folder / "calls").open("a") as calls:
    calls.write(verb + " " + os.environ["HOST"] + "\\n")
request = sys.stdin.read()
status = json.loads((folder / "status").read_text())
via = "{tailnet}" if os.environ["HOST"] == "{tailnet}" else "{public}"
if verb == "status":
    print("a banner")
    print(json.dumps({{**status, "via": via}}))
elif (folder / ("no-" + verb)).exists():
    sys.exit("lockdown: " + (folder / ("no-" + verb)).read_text())
elif verb == "arm":
    (folder / "request").write_text(request)
    print(json.dumps({{"token": "t1"}}))
elif verb == "apply":
    (folder / "open").unlink()
    print("{{}}")
elif verb == "rollback":
    (folder / "open").touch()
    print("{{}}")
elif verb == "commit":
    print(json.dumps({{"state": {{"locked": True, "since": "now"}}}}))
"""


class Scene:
    """A host with a public SSH port that greets while the file `open` is there."""

    def __init__(self, folder: pathlib.Path, port: int) -> None:
        self.folder = folder
        self.project = Project(folder, document())
        self.status = {
            "state": {},
            "loaded": OPEN,
            "file": OPEN,
            "armed_seconds": 0,
            "tailnet": {"up": True, "why": "", "addresses": [TAILNET], "problems": []},
            "wan_addresses": ["127.0.0.1"],
            "ssh_port": port,
            "machine": "m1",
        }
        self.put("open", "")
        for name, text in (("ssh", SSH), ("lockdown", PROGRAM)):
            filled = text.format(public=PUBLIC, tailnet=TAILNET, folder=str(folder), python=sys.executable)
            self.put(name, filled)
            (folder / name).chmod(0o755)

    def put(self, name: str, text: str) -> None:
        """Write a file into the scene."""
        (self.folder / name).write_text(text)

    def run(self, *arguments: str, **changes: Any) -> tuple[Result, list[str]]:
        """Lock, then write down what later tasks are given. The result, and `verb address` of every call."""
        self.put("status", json.dumps(self.status))
        self.put("calls", "")
        options = {
            "tailnet_host": TAILNET,
            "open_rules": TEXT[OPEN],
            "locked_rules": TEXT[LOCKED],
            "operator_cidrs": ["203.0.113.0/24"],
            "program": str(self.folder / "lockdown"),
            "seconds": 10,
            **changes,
        }
        wanted = (
            "{'changed': locked.changed, 'state': locked.lockdown, 'host': hostvars['sapflux-1']['ansible_host'], "
            "'public': hostvars['sapflux-1']['sapflux_public_host'] | default('')}"
        )
        variables = {
            "ansible_ssh_executable": str(self.folder / "ssh"),
            "ansible_ssh_args": "-o ControlMaster=auto",
            "ansible_pipelining": True,
            "ansible_python_interpreter": sys.executable,
        }
        tasks = [{"sapflux.hosting.lockdown": options, "register": "locked"}, write(self.folder, wanted)]
        play = {"hosts": "edge", "gather_facts": False, "vars": variables, "tasks": tasks}
        result = self.project.run([play], *arguments)
        return result, (self.folder / "calls").read_text().splitlines()


@pytest.fixture
def scene(tmp_path: pathlib.Path) -> Iterator[Scene]:
    """An open host."""

    class Greeter(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            if (tmp_path / "open").exists():
                self.request.sendall(b"SSH-2.0-x\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Greeter) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Scene(tmp_path, server.server_address[1])
        server.shutdown()


def said(result: Result) -> str:
    """What was printed, with the line breaks of the terminal taken out."""
    return re.sub(r"\s+", " ", result.output)


def test_asks_as_it_came_and_confirms_over_the_tailnet(scene: Scene) -> None:
    result, calls = scene.run()
    assert result.code == 0, result.output
    assert calls == [
        f"status {PUBLIC}",
        f"status {TAILNET}",
        f"arm {PUBLIC}",
        f"apply {PUBLIC}",
        f"status {TAILNET}",
        f"commit {TAILNET}",
    ]
    assert result.out == {
        "changed": True,
        "state": {"locked": True, "since": "now"},
        "host": TAILNET,
        "public": PUBLIC,
    }
    request = json.loads((scene.folder / "request").read_text())
    assert (request["seconds"], request["locked"]) == (10, TEXT[LOCKED])
    assert request["state"] == {"operator": ["203.0.113.0/24"], "break_glass": []}


def test_a_locked_host_is_asked_once(scene: Scene) -> None:
    state = {"locked": True, "operator": ["203.0.113.0/24"], "break_glass": []}
    scene.status.update(state=state, loaded=LOCKED, file=LOCKED)
    result, calls = scene.run()
    assert (result.code, calls) == (0, [f"status {PUBLIC}"]), result.output
    assert (result.out["changed"], result.out["host"]) == (False, TAILNET)


def test_check_mode_arms_nothing(scene: Scene) -> None:
    result, calls = scene.run("--check")
    assert result.code == 0, result.output
    assert calls == [f"status {PUBLIC}", f"status {TAILNET}"]


def test_a_tailnet_that_does_not_answer_changes_nothing(scene: Scene) -> None:
    scene.put("cut", "")
    result, calls = scene.run()
    assert result.code == 2
    assert calls == [f"status {PUBLIC}"]
    assert (
        f"sapflux-1 was not locked and nothing was changed: {TAILNET} does not answer SSH (Connection timed out)"
        in said(result)
    )


def test_a_host_that_refuses_to_confirm_is_rolled_back(scene: Scene) -> None:
    scene.put("no-commit", "no space is left")
    result, calls = scene.run()
    assert result.code == 2
    assert calls[-2:] == [f"commit {TAILNET}", f"rollback {TAILNET}"]
    assert "sapflux-1 is not locked: no space is left. SSH is open again at 127.0.0.1, as before" in said(result)


def test_a_host_without_the_program_says_so(scene: Scene) -> None:
    result, _calls = scene.run(program="/nowhere/lockdown")
    assert result.code == 2
    assert "nothing was changed" in said(result)
    assert "not found" in said(result)
