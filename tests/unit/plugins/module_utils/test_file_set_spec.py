"""What file_set accepts, what it refuses and how it says so; packing; masking; running programs."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest
from ansible_collections.sapflux.hosting.plugins.module_utils._file_set_run import Mask, find_program, run
from ansible_collections.sapflux.hosting.plugins.module_utils._file_set_spec import (
    FileSetError,
    UnitSpec,
    clean_path,
    pack,
    problems,
    refuse,
    unpack,
)
from ansible_collections.sapflux.hosting.plugins.module_utils._file_set_stage import expand, plain
from ansible_collections.sapflux.hosting.plugins.module_utils._file_set_units import triggered, unit_of


def a_file(path: Any = "/etc/a", **more: Any) -> dict[str, Any]:
    return {"path": path, **({"content": "x"} if not more.keys() & {"state", "template", "source"} else {}), **more}


@pytest.mark.parametrize(
    ("params", "clause"),
    [
        ({"name": "Bad Name"}, "name 'Bad Name' may hold only a-z, 0-9, _ and -"),
        ({"name": None}, "name None may hold"),
        ({"files": [a_file("etc/a")]}, "file 'etc/a' is not an absolute path"),
        ({"files": [a_file("/etc/../a")]}, "file '/etc/../a' contains '..'"),
        ({"files": [a_file("/etc/a\n")]}, "contains a control character"),
        ({"directories": [{"path": "//"}]}, "directory '/' cannot be managed"),
        ({"files": [a_file("/var/lib/sapflux/file_set/x")]}, "lies inside file_set's own state directory"),
        ({"files": [a_file("/s/x")], "state_dir": "/s"}, "own state directory /s"),
        ({"files": [a_file(), a_file("/etc//a")]}, "'/etc/a' is listed twice (as file and as file)"),
        ({"files": [a_file()], "directories": [{"path": "/etc/a/"}]}, "listed twice (as directory and as file)"),
        ({"files": [a_file(), a_file("/etc/a/b/c")]}, "'/etc/a/b/c' lies below '/etc/a', which is a file"),
        ({"files": [a_file(mode=416)]}, "has the mode 416, which must be a quoted octal string"),
        ({"files": [a_file(mode="u+x")]}, "has the mode 'u+x'"),
        ({"files": [a_file(mode="0888")]}, "has the mode '0888'"),
        ({"files": [{"path": "/a"}]}, "needs exactly one of template, content and source (found none)"),
        ({"files": [a_file(template="t", content="x")]}, "(found template and content)"),
        ({"files": [a_file(state="absent", source="x")]}, "has state absent and also source"),
        (
            {"files": [{"path": "/a", "content": {"a": 1}}]},
            "is a dict, not a string: pass it through | string or | to_json",
        ),
        ({"files": [{"path": "/a", "content": 5432}]}, "is a int, not a string"),
        ({"files": [{"content": "x"}]}, "a file has no path"),
        ({"units": [{"name": "caddy"}]}, "unit 'caddy' must be named in full"),
        ({"units": [{"name": "a@.service"}]}, "is a template: name its instance"),
        ({"units": [{"name": "a.service"}, {"name": "a.service"}]}, "unit 'a.service' is listed twice"),
        ({"validate": ["sshd -t"]}, "validate holds 'sshd -t', which must be a list of strings"),
        ({"commands": [[]]}, "commands holds []"),
        ({"probe": "curl x"}, "probe must be a list of argument lists"),
        ({"check_installed": [["a", None]]}, "check_installed holds ['a', None]"),
    ],
)
def test_refuses_nonsense_in_plain_words(params: dict[str, Any], clause: str) -> None:
    found = problems({"name": "demo", **params})
    assert len(found) == 1
    assert clause in found[0]


def test_names_every_problem_at_once() -> None:
    found = problems({"name": "X", "files": [a_file("a"), a_file("/b", mode=1)], "units": [{"name": "u"}]})
    assert len(found) == 4
    with pytest.raises(FileSetError) as caught:
        refuse("X", found)
    assert all(text in str(caught.value) for text in found)
    assert problems({"name": "a-b_1", "files": [a_file(mode="640"), a_file("/b", mode="4755")]}) == []


def test_an_absent_set_needs_no_sources() -> None:
    assert problems({"name": "demo", "state": "absent", "files": [{"path": "/a"}, a_file("/b", template="t")]}) == []


def test_packs_any_bytes() -> None:
    contents = {"/a": bytes(range(256)) * 40, "/empty": b"", "/ümlaut": "é\n".encode()}
    assert unpack(pack(contents)) == contents
    assert unpack("") == unpack(None) == {}
    for damaged in ("***", pack(contents)[:-8], "aGVsbG8="):
        with pytest.raises(FileSetError, match="payload"):
            unpack(damaged)


def test_cleans_paths_and_expands_the_staging_tree() -> None:
    assert clean_path("//etc///x/./y/") == "/etc/x/y"
    argv = ["c", "{staged}/etc/a", "--root={staged}", "{staged:/etc/b}", "{other}"]
    assert expand(argv, "/s") == ["c", "/s/etc/a", "--root=/s", "/s/etc/b", "{other}"]
    assert plain("/s/etc/a:1: bad in /s", "/s") == "/etc/a:1: bad in /"


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        ("/etc/systemd/system/a.service", "a.service"),
        ("/etc/systemd/system/a.timer", "a.timer"),
        ("/etc/systemd/system/a@.service", None),
        ("/etc/systemd/system/a.service.d/x.conf", None),
        ("/etc/a.service", None),
    ],
)
def test_knows_which_unit_a_file_defines(path: str, unit: str | None) -> None:
    assert unit_of(path) == unit


def test_a_watch_list_is_a_list_of_patterns() -> None:
    unit = UnitSpec("a.service", on_change="reload", watch=("/etc/x/*.conf", "/etc/y"))
    assert triggered(unit, ["/etc/x/a.conf"])
    assert triggered(unit, ["/other", "/etc/y"])
    assert not triggered(unit, ["/etc/x/a.env"])
    assert not triggered(unit, [])


@pytest.mark.parametrize(
    ("secret", "said", "shown"),
    [
        ("PASSWORD=hunter22\n", "line: PASSWORD=hunter22", "(line hidden: it shows secret content)"),
        ("PASSWORD=hunter22\n", "cannot use hunter22 as PASSWORD", "cannot use ******** as PASSWORD"),
        ("url: postgres://app:hunter22@localhost/app\n", "no route to hunter22", "no route to ********"),
        ("  'quoted value'\n", "got value", "got value"),
        ("key=abcdef+ghi/jkl==\n", "bad abcdef+ghi/jkl", "bad ********"),
        ("# a comment about nothing\n", "a comment about nothing", "a comment about nothing"),
        ("x\n", "x marks", "x marks"),
        ("/etc/demo/name\n", "see /etc/demo/name.conf", "(line hidden: it shows secret content)"),
    ],
)
def test_masks_lines_and_words_of_secrets(secret: str, said: str, shown: str) -> None:
    assert Mask([secret.encode()])(said) == shown
    assert Mask([secret.encode()])("harmless\n" + said).splitlines()[0] == "harmless"


def test_spares_the_names_of_the_set() -> None:
    assert Mask([b"include=/etc/demo.conf extra\n"], ["demo.conf", "/etc/demo.conf"])("in demo.conf") == "in demo.conf"


def test_runs_programs_without_a_shell_and_without_our_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", "x")
    seen = run(["env"], None, 30).out.splitlines()
    assert not [line for line in seen if line.startswith("SOME_TOKEN")]
    assert "LC_ALL=C.UTF-8" in seen
    assert run(["sh", "-c", "echo out; echo err >&2; exit 3"], None, 30).tail(5) == "out\nerr"
    assert run(["sh", "-c", "exit 3"], None, 30).rc == 3
    assert run(["no-such-program"], None, 30).err == "no-such-program is not installed"
    assert find_program("sh")
    assert not find_program("no-such-program")


def test_a_program_out_of_time_is_stopped_with_its_children() -> None:
    begun = time.monotonic()
    outcome = run(["sh", "-c", "sleep 600 & sleep 600"], None, 0.3)
    assert outcome.rc == 124
    assert "did not end within" in outcome.err
    assert time.monotonic() - begun < 60


def test_a_daemon_that_keeps_its_output_open_does_not_hold_the_run() -> None:
    begun = time.monotonic()
    outcome = run(["sh", "-c", "sleep 90 & echo started $!"], None, 80)
    os.kill(int(outcome.out.split()[1]), 15)
    assert outcome.rc == 0
    assert time.monotonic() - begun < 60


def test_runs_as_another_user_or_says_that_it_may_not() -> None:
    assert "the user 'no-such-user' does not exist" in run(["id"], "no-such-user", 30).err
    if os.geteuid() == 0:
        assert run(["id", "-un"], "nobody", 30).out.strip() == "nobody"
        assert "HOME=/root" not in run(["env"], "nobody", 30).out
    else:
        outcome = run(["id", "-un"], "nobody", 30)
        assert outcome.rc == 126
