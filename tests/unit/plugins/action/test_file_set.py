"""file_set through ansible-playbook itself: what it renders, predicts, refuses and, at -vvv, keeps to itself."""

from __future__ import annotations

import grp
import json
import os
import pwd
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

ME = pwd.getpwuid(os.geteuid()).pw_name
MY_GROUP = grp.getgrgid(os.getegid()).gr_name
COLLECTIONS = Path(__file__).parents[4] / ".ansible" / "collections"
MARKER = "s3cr3t{{ not_a_variable }}marker"
ROLE_TEMPLATE = """{{ ansible_managed | comment }}
{% if demo_on %}
  on = {{ demo_port }}
{% endif %}
{% include 'part.j2' %}
name = {{ extra }}
path = {{ template_path }} -> {{ template_destpath }}
back = {{ 'a\\\\b' }} {{ secret }}

"""


class Played:
    """One run of a playbook: what it printed, each task's result by name, and what C(out) held before its removal."""

    def __init__(self, output: str, results: Mapping[str, Any], out: Path) -> None:
        self.output = output
        self.results = results
        self.out = out
        self.kept = out.parent / "kept"

    def failure(self, name: str) -> str:
        """Return why a task failed."""
        assert self.results[name]["failed"], name
        message: str = self.results[name]["msg"]
        return message


def task(name: str, out: Path, files: list[dict[str, Any]], **more: Any) -> list[dict[str, Any]]:
    """Return tasks that run file_set and keep what came of it, failure or not."""
    options = {key: more.pop(key) for key in ("check_mode", "diff", "no_log") if key in more}
    owned = [{"owner": ME, "group": MY_GROUP, **entry} for entry in files]
    call = {"name": "demo", "state_dir": str(out.parent / "state"), "files": owned, **more}
    store = f"{out.parent}/results/{name}.json"
    write = {"mode": "0600", "dest": store}
    return [
        {
            "name": name,
            "block": [
                {"name": name, "sapflux.hosting.file_set": call, "register": "kept", **options},
                {"ansible.builtin.copy": {**write, "content": "{{ kept | to_json }}"}},
            ],
            "rescue": [{"ansible.builtin.copy": {**write, "content": "{{ ansible_failed_result | to_json }}"}}],
        }
    ]


def playbook(out: Path) -> list[dict[str, Any]]:
    """Return the whole play: every task works on C(out)."""
    full: list[dict[str, Any]] = [
        {"path": f"{out}/a.conf", "template": "a.conf.j2", "mode": "0640", "vars": {"extra": "from vars"}},
        {"path": f"{out}/s.env", "content": "TOKEN={{ secret }}\n", "mode": "0600", "secret": True},
        {"path": f"{out}/b.bin", "source": "b.bin"},
        {"path": f"{out}/bare.conf", "template": "bare.j2"},
    ]
    directories = [{"path": str(out), "owner": ME, "group": MY_GROUP}]
    looks = [["grep", "-q", "on = 8080", "{staged}" + f"{out}/a.conf"]]
    common: dict[str, Any] = {"directories": directories, "validate": looks}
    says = [["sh", "-c", f"cat {{staged:{out}/s.env}} >&2; exit 3"]]
    leak = [{**full[1], "content": "TOKEN={{ secret }}\nMORE=1\n"}]
    secret_filter = [{"path": f"{out}/x", "template": "filter.j2", "secret": True}]
    many_faults: list[dict[str, Any]] = [
        {"path": "x", "content": "x"},
        {"path": f"{out}/y"},
        {"path": f"{out}/z", "content": "", "mode": 416},
    ]
    reference = {"src": "a.conf.j2", "dest": f"{out}/reference", "mode": "0600"}
    return [
        *task("predict", out, full, check_mode=True, diff=True, **common),
        *task("install", out, full, diff=True, **common),
        *task("again", out, full, **common),
        *task("no_validator", out, [{**full[2], "source": "a.bin"}], validate=[["no-such"]], check_mode=True),
        *task("refused", out, leak, diff=True, validate=says),
        *task("no_template", out, [{"path": f"{out}/x", "template": "nowhere.j2"}]),
        *task("no_source", out, [{"path": f"{out}/x", "source": "nowhere.bin"}]),
        *task("undefined", out, [{"path": f"{out}/x", "template": "undefined.j2"}]),
        *task("secret_filter", out, secret_filter),
        *task("faults", out, many_faults),
        *task("typo", out, [{"path": f"{out}/x", "content": "x", "onwer": "x"}]),
        *task("payload", out, [], payload="x"),
        {"ansible.builtin.template": reference, "vars": {"extra": "from vars"}},
        {"ansible.builtin.command": {"argv": ["cp", "-a", str(out), f"{out.parent}/kept"]}},
        {"ansible.builtin.file": {"path": reference["dest"], "state": "absent"}},
        *task("remove", out, [{"path": f"{out}/a.conf", "template": "undefined.j2"}], state="absent"),
    ]


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """Run the playbook once, as loud as a person would."""
    base = tmp_path_factory.mktemp("file_set")
    role = base / "roles/demo"
    for folder in ("tasks", "templates", "files"):
        (role / folder).mkdir(parents=True)
    (base / "results").mkdir()
    (role / "templates/a.conf.j2").write_text(ROLE_TEMPLATE)
    (role / "templates/part.j2").write_text("part\n")
    (role / "templates/bare.j2").write_text("{{ ['a', 'b'] | join(',') }}")
    (role / "templates/undefined.j2").write_text("{{ nobody_defined_this }}\n")
    (role / "templates/filter.j2").write_text("{{ secret | from_json }}\n")
    (role / "files/b.bin").write_bytes(bytes(range(256)))
    (role / "files/a.bin").write_bytes(b"\0")
    (role / "tasks/main.yml").write_text(yaml.safe_dump(playbook(base / "out")))
    variables = {"demo_on": True, "demo_port": 8080}
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "roles": ["demo"], "vars": variables}
    (base / "play.yml").write_text(yaml.safe_dump([play]))
    (base / "secret.txt").write_text(MARKER)
    play["vars"] = {**variables, "secret": "{{ lookup('ansible.builtin.file', '" + str(base / "secret.txt") + "') }}"}
    (base / "play.yml").write_text(yaml.safe_dump([play]))
    # Nothing of the caller's: what this proves must not hang on somebody's ansible.cfg.
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(base),
        "LC_ALL": "C.UTF-8",
        "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
        "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
        "ANSIBLE_PIPELINING": "true",
        "ANSIBLE_REMOTE_TEMP": str(base / "remote"),
        "ANSIBLE_INJECT_FACT_VARS": "false",
        # Older defaults print the arguments of every module.
        "ANSIBLE_INJECT_INVOCATION": "true",
    }
    program = Path(sys.executable).with_name("ansible-playbook")
    done = subprocess.run(
        [program, "-vvv", "-i", "localhost,", base / "play.yml"],
        capture_output=True,
        text=True,
        env=env,
        timeout=300,
        cwd=base,
    )
    results = {path.stem: json.loads(path.read_text()) for path in (base / "results").iterdir()}
    assert done.returncode == 0, done.stdout + done.stderr
    return Played(done.stdout + done.stderr, results, base / "out")


def test_predicts_what_it_then_does(played: Played) -> None:
    predicted, done = played.results["predict"], played.results["install"]
    assert predicted["changed"]
    assert predicted["files"] == done["files"]
    assert predicted["diff"] == done["diff"]


def test_a_second_run_changes_nothing(played: Played) -> None:
    again = played.results["again"]
    assert not again["changed"]
    assert {entry["reason"] for entry in again["files"]} == {"unchanged"}


def test_renders_like_the_template_module(played: Played) -> None:
    shown = {entry["after_header"].split(" ")[0]: entry["after"] for entry in played.results["install"]["diff"]}
    out = str(played.out)
    reference = (played.kept / "reference").read_text().replace("/out/reference", "/out/a.conf")
    assert "# Ansible managed" in reference
    assert shown[f"{out}/a.conf"] == (played.kept / "a.conf").read_text() == reference
    assert reference.endswith(f"back = a\\b {MARKER}\n\n")
    assert shown[f"{out}/bare.conf"] == "a,b"
    assert (played.kept / "s.env").read_text() == f"TOKEN={MARKER}\n", "a secret with braces is not rendered again"
    assert (played.kept / "b.bin").read_bytes() == bytes(range(256))
    assert (played.kept / "s.env").stat().st_mode & 0o777 == 0o600


def test_secret_content_is_nowhere_in_the_loudest_output(played: Played) -> None:
    secret_tasks = {name: result for name, result in played.results.items() if name not in ("predict", "install")}
    assert MARKER not in json.dumps(secret_tasks)
    for name in ("predict", "install"):
        kept = [entry for entry in played.results[name]["diff"] if "/a.conf" not in entry["after_header"]]
        assert MARKER not in json.dumps(kept)
        assert "(secret content, not shown)" in json.dumps(kept)
    # a.conf shows the value on purpose and is not secret: leave its lines out and search all the rest.
    rest = [line for line in played.output.splitlines() if "back = a" not in line]
    assert MARKER not in "\n".join(rest)
    assert "TOKEN=" not in played.output
    assert "exit 3" in played.failure("refused")
    assert "(line hidden: it shows secret content)" in played.failure("refused")


def test_the_payload_is_never_echoed(played: Played) -> None:
    assert "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER" in played.output
    for name in ("install", "again", "refused"):
        shown = played.results[name].get("invocation", {}).get("module_args", {}).get("payload", "VALUE_SPECIFIED")
        assert shown.startswith("VALUE_SPECIFIED")


def test_check_mode_reports_validators_that_are_not_there(played: Played) -> None:
    result = played.results["no_validator"]
    assert result["changed"]
    assert result["skipped_validation"] == [{"command": "no-such", "reason": "no-such is not installed"}]
    assert (played.kept / "b.bin").read_bytes() == bytes(range(256))


def test_what_is_wrong_on_the_controller_is_said_before_anything_is_sent(played: Played) -> None:
    message = played.failure("no_template")
    assert "The template nowhere.j2 of" in message
    assert "does not exist; searched: " in message
    assert "roles/demo/templates/nowhere.j2" in message
    assert "roles/demo/files/nowhere.bin" in played.failure("no_source")
    assert "undefined.j2" in played.failure("undefined")
    assert "'nobody_defined_this' is undefined" in played.failure("undefined")
    assert "the details are hidden: it is secret" in played.failure("secret_filter")
    faults = played.failure("faults")
    assert "'x' is not an absolute path" in faults
    assert "exactly one of template, content and source" in faults
    assert "has the mode 416" in faults
    assert "onwer" in played.failure("typo")
    assert "payload is filled in by the action" in played.failure("payload")
    assert not (played.kept / "x").exists()


def test_a_set_is_removed_without_rendering_it(played: Played) -> None:
    removed = {entry["path"] for entry in played.results["remove"]["files"] if entry["changed"]}
    assert removed == {f"{played.out}/{name}" for name in ("a.conf", "s.env", "b.bin", "bare.conf")}
    assert not played.out.exists()
    assert not (played.out.parent / "state/demo").exists()
