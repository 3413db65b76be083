"""file_set's core on a pretended host: what it installs, refuses, predicts, reports and puts back."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.sapflux.hosting.plugins.module_utils._file_set_run import Outcome
from ansible_collections.sapflux.hosting.plugins.module_utils._file_set_spec import (
    DirectorySpec,
    FileEntry,
    FileSetError,
    SetSpec,
    UnitSpec,
)

from tests.unit.plugins.module_utils.file_set_host import ME, MY_GROUP, STATE, Host, directory, files, wish

SHAPE = {
    "changed": bool,
    "files": list,
    "directories": list,
    "units": list,
    "activated": bool,
    "recovered": bool,
    "backup": (str, type(None)),
    "skipped_validation": list,
    "reports": list,
}
MARKER = "s3cr3t-marker-value"


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host.fresh(tmp_path / "host")


def reasons(result: dict[str, Any], part: str = "files") -> dict[str, str]:
    return {entry["path"]: entry["reason"] for entry in result[part]}


def assert_shape(result: dict[str, Any]) -> None:
    assert {key: value for key, value in result.items() if key != "diff"}.keys() == SHAPE.keys()
    for key, kind in SHAPE.items():
        assert isinstance(result[key], kind), key  # type: ignore[arg-type]


def test_installs_everything_and_then_writes_nothing(host: Host) -> None:
    host.programs["good"] = lambda _argv: Outcome(0)
    asked = wish(
        ("/etc/x/a.conf", "a\n"),
        ("/etc/x/b.bin", bytes(range(256))),
        directories=(directory("/etc/x/deep/er", 0o750),),
        validate=(("good", "{staged}"),),
        units=(UnitSpec("x.service", enabled=True, state="started", on_change="reload"),),
        commands=(("good",),),
    )
    host.set_unit("x.service", config="/etc/x/a.conf")
    (host.root / "etc/x").mkdir()
    first = host.apply(asked)
    assert_shape(first)
    assert first["changed"]
    assert first["activated"]
    assert not first["recovered"]
    assert reasons(first) == {"/etc/x/a.conf": "created", "/etc/x/b.bin": "created"}
    assert reasons(first, "directories") == {"/etc/x/deep": "created", "/etc/x/deep/er": "created"}
    assert first["units"] == [{"name": "x.service", "changed": True, "actions": ["enable", "start"]}]
    assert (host.root / "etc/x/b.bin").read_bytes() == bytes(range(256))
    assert host.shots()["/etc/x/deep/er"][1] == 0o750
    assert host.units()["x.service"]["loaded"] == "a\n"
    assert host.litter() == []
    state = host.shots(state=True)
    assert state[f"{STATE}/demo"][1] == 0o700
    host.forget_calls()
    before = host.traces()
    second = host.apply(asked)
    calls = host.calls()
    host.forget_calls()
    assert_shape(second)
    assert not second["changed"]
    assert not second["activated"]
    assert second["backup"] is None
    assert [call[:2] for call in calls] == [["systemctl", "show"]], "a no-op asks systemd one question"
    after = host.traces()
    base = str(host.base)
    assert {k: v for k, v in after.items() if k != base} == {k: v for k, v in before.items() if "calls" not in k}


def test_takes_two_hundred_files_and_names_the_one_that_changed(host: Host) -> None:
    many = [(f"/etc/many/{index:03}.conf", f"value = {index}\n") for index in range(200)]
    asked = wish(*many, directories=(directory("/etc/many"),))
    first = host.apply(asked)
    assert len(first["files"]) == 200
    assert first["backup"] is None, "nothing was replaced"
    many[117] = ("/etc/many/117.conf", "value = other\n")
    result = host.apply(wish(*many, directories=(directory("/etc/many"),)))
    assert [entry["path"] for entry in result["files"] if entry["changed"]] == ["/etc/many/117.conf"]
    assert result["backup"] == f"{STATE}/demo/previous"
    assert host.read(f"{STATE}/demo/previous/etc/many/117.conf") == "value = 117\n"


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda path: path.write_text("other\n"), "content"),
        (lambda path: path.write_text("same length."[:5]), "content"),
        (lambda path: path.chmod(0o600), "mode"),
        (lambda path: path.unlink(), "created"),
        (lambda path: (path.unlink(), path.symlink_to("/etc/hostname")), "type"),
    ],
)
def test_heals_drift_and_says_what_it_was(host: Host, spoil: Any, reason: str) -> None:
    asked = wish(("/etc/a", "text\n"))
    host.apply(asked)
    good = host.shots()
    spoil(host.root / "etc/a")
    result = host.apply(asked)
    assert reasons(result) == {"/etc/a": reason}
    assert host.shots() == good


@pytest.mark.parametrize("what", ["owner", "group"])
def test_heals_a_foreign_owner_or_says_that_root_is_needed(host: Host, what: str) -> None:
    if os.geteuid() == 0:
        host.apply(wish(("/etc/a", "text\n")))
        ids = (1, -1) if what == "owner" else (-1, 1)
        os.chown(host.root / "etc/a", *ids)
        assert reasons(host.apply(wish(("/etc/a", "text\n")))) == {"/etc/a": what}
        assert (host.root / "etc/a").stat().st_uid == 0 == (host.root / "etc/a").stat().st_gid
    else:
        mine = FileEntry("/etc/a", ME, MY_GROUP, content=b"x")
        foreign = replace(mine, owner="root") if what == "owner" else replace(mine, group="root")
        with pytest.raises(FileSetError, match="become: true"):
            host.apply(wish(files=(foreign,)))
        assert not host.exists("/etc/a")


def test_removes_files_and_only_empty_directories(host: Host) -> None:
    host.write("/etc/gone/ours", "x")
    host.write("/etc/kept/ours", "x")
    host.write("/etc/kept/theirs", "x")
    gone = (directory("/etc/gone", absent=True), directory("/etc/kept", absent=True))
    asked = wish(("/etc/gone/ours", None), ("/etc/kept/ours", None), directories=gone)
    result = host.apply(asked)
    assert reasons(result) == {"/etc/gone/ours": "removed", "/etc/kept/ours": "removed"}
    assert not host.exists("/etc/gone")
    assert host.exists("/etc/kept/theirs")
    assert not host.apply(asked)["changed"]


def _answer(argv: Any) -> Outcome:
    text = Path(argv[1]).read_text()
    return Outcome(1, "out line\n", f"{argv[1]}:1: wrong\n") if "BAD" in text else Outcome(0)


def test_a_validator_that_says_no_leaves_the_host_as_it_was(host: Host) -> None:
    host.programs["checker"] = _answer
    host.write("/etc/a", "old\n")
    host.write("/etc/other", "x")
    host.apply(wish(("/etc/a", "good\n"), ("/etc/unchanged", "u\n")))
    before = host.shots(state=True)
    bad = wish(("/etc/a", "BAD\n"), ("/etc/unchanged", "u\n"), validate=(("checker", "{staged:/etc/a}"),))
    runner = host.file_set(bad)
    with pytest.raises(FileSetError) as caught:
        runner.apply()
    assert host.shots(state=True) == before
    text = str(caught.value)
    assert "`checker /etc/a`" in text
    assert "exit 1" in text
    assert "nothing was installed" in text
    assert "/etc/a:1: wrong" in text
    assert "staging" not in text
    assert str(host.root) not in text
    assert_shape(runner.result)
    assert runner.result["changed"] is False


def test_validators_see_the_whole_set_with_its_modes(host: Host) -> None:
    seen: dict[str, int] = {}

    def look(argv: Any) -> Outcome:
        top = Path(argv[1])
        seen.update({str(path.relative_to(top)): path.stat().st_mode & 0o7777 for path in top.rglob("*")})
        seen["top"] = top.stat().st_mode & 0o7777
        return Outcome(0)

    host.programs["look"] = look
    host.write("/etc/x/same", "same", 0o640)
    (host.root / "etc/x").chmod(0o710)
    entries = (*files(("/etc/x/same", "same"), mode=0o640), *files(("/etc/x/new", "new")), *files(("/etc/off", None)))
    host.apply(wish(files=entries, validate=(("look", "{staged}"),)))
    assert seen == {"etc": 0o755, "etc/x": 0o710, "etc/x/same": 0o640, "etc/x/new": 0o644, "top": 0o700}


def test_a_missing_validator_stops_the_run_but_not_the_prediction(host: Host) -> None:
    asked = wish(("/etc/a", "x"), validate=(("nothere", "{staged}"),))
    predicted = host.apply(asked, check=True)
    assert predicted["changed"]
    assert predicted["skipped_validation"] == [{"command": "nothere '{staged}'", "reason": "nothere is not installed"}]
    with pytest.raises(FileSetError, match="nothere is missing on this host; nothing was installed"):
        host.apply(asked)
    with pytest.raises(FileSetError, match="the user 'no-such-user' of check_user is missing on this host"):
        host.apply(wish(("/etc/a", "x"), check_user="no-such-user"))
    assert not host.exists("/etc/a")


@pytest.mark.parametrize("failing", ["check", "command", "unit", "probe", "start"])
def test_whatever_fails_after_the_install_puts_everything_back(host: Host, failing: str) -> None:
    host.programs["good"] = lambda _argv: Outcome(0)
    host.programs["bad"] = lambda _argv: Outcome(7, "", "it is wrong\n")
    host.write("/etc/a", "old\n", 0o600)
    (host.root / "etc/link").symlink_to("/etc/a")
    host.set_unit("a.service", config="/etc/a", active="active", loaded="old\n", enabled="enabled")
    host.set_unit("idle.service", config="")
    before = host.shots()
    text = "BROKEN\n" if failing in ("unit", "start") else "new\n"
    asked = wish(
        ("/etc/a", text),
        ("/etc/link", "file now\n"),
        ("/etc/new/b", "b\n"),
        directories=(directory("/etc/new"),),
        check_installed=(("bad",),) if failing == "check" else (("good",),),
        commands=(("bad",),) if failing == "command" else (),
        units=(
            UnitSpec("idle.service", enabled=True, state="started"),
            UnitSpec("a.service", state="started", on_change="restart" if failing == "start" else "reload"),
        ),
        probe=(("bad",),) if failing == "probe" else (),
        probe_timeout=0,
    )
    runner = host.file_set(asked)
    with pytest.raises(FileSetError) as caught:
        runner.apply()
    message = str(caught.value)
    assert "put back" in message
    assert host.shots() == before
    assert host.litter() == []
    units = host.units()
    assert units["a.service"]["active"] == "active"
    assert units["a.service"]["loaded"] == "old\n"
    assert units["idle.service"]["active"] == "inactive"
    assert units["idle.service"]["enabled"] == "disabled"
    assert_shape(runner.result)
    assert runner.result["changed"] is False
    if failing in ("unit", "start"):
        assert "Job for a.service failed" in message
        assert "line of a.service" in message
    elif failing == "probe":
        assert "line of a.service" in message
        assert "line of idle.service" in message
    if failing in ("check", "command", "probe"):
        assert "it is wrong" in message
        assert "exit 7" in message


def test_a_service_that_starts_only_to_die_is_a_failure(host: Host) -> None:
    host.set_unit("a.service", config="/etc/a")
    asked = wish(("/etc/a", "x"), units=(UnitSpec("a.service", state="started"),))
    runner = host.file_set(asked)
    starts = iter(range(1, 100))
    runner.activator._sleep = lambda _seconds: host.set_unit("a.service", starts=100 + next(starts))
    with pytest.raises(FileSetError, match=r"keeps dying after its start; the old files were put back"):
        runner.apply()
    assert not host.exists("/etc/a")


def test_a_probe_is_tried_again_until_it_succeeds(host: Host) -> None:
    answers = iter([1, 1, 0])
    host.programs["probe"] = lambda _argv: Outcome(next(answers))
    host.apply(wish(("/etc/a", "x"), probe=(("probe",),), probe_timeout=30))
    assert next(answers, "used up") == "used up"
    host.forget_calls()
    host.apply(wish(("/etc/a", "x"), probe=(("probe",),)))
    assert host.calls() == [], "a no-op probes nothing"


@pytest.mark.parametrize(
    ("on_change", "active", "watch", "verbs"),
    [
        ("none", "active", (), []),
        ("reload", "active", (), ["reload"]),
        ("reload", "inactive", (), []),
        ("restart", "active", (), ["restart"]),
        ("restart", "inactive", (), ["restart"]),
        ("reload_or_restart", "active", (), ["reload-or-restart"]),
        ("reload", "active", ("/etc/a",), ["reload"]),
        ("reload", "active", ("/etc/*",), ["reload"]),
        ("reload", "active", ("/etc/other",), []),
    ],
)
def test_tells_units_of_the_changes_they_watch(
    host: Host, on_change: str, active: str, watch: tuple[str, ...], verbs: list[str]
) -> None:
    host.set_unit("a.service", active=active)
    unit = UnitSpec("a.service", on_change=on_change, watch=watch)
    predicted = host.apply(wish(("/etc/a", "x"), units=(unit,)), check=True)
    result = host.apply(wish(("/etc/a", "x"), units=(unit,)))
    assert result["units"][0]["actions"] == verbs == predicted["units"][0]["actions"]
    assert result["activated"] is bool(verbs) is predicted["activated"]


@pytest.mark.parametrize(
    ("unit", "now", "verbs"),
    [
        (UnitSpec("u.service", state="started"), {"active": "failed"}, ["start"]),
        (UnitSpec("u.service", state="stopped"), {"active": "active"}, ["stop"]),
        (UnitSpec("u.service", state="stopped"), {"active": "failed"}, []),
        (UnitSpec("u.service", enabled=True), {"enabled": "static"}, []),
        (UnitSpec("u.service", enabled=True), {"enabled": "enabled-runtime"}, ["enable"]),
        (UnitSpec("u.service", enabled=False), {"enabled": "enabled"}, ["disable"]),
    ],
)
def test_keeps_units_right_when_no_file_changes(
    host: Host, unit: UnitSpec, now: dict[str, str], verbs: list[str]
) -> None:
    host.set_unit("u.service", **now)
    result = host.apply(wish(units=(unit,)))
    assert result["units"][0]["actions"] == verbs
    assert result["changed"] is bool(verbs)
    assert not host.apply(wish(units=(unit,)))["changed"]


def test_units_that_cannot_come_up_are_explained(host: Host) -> None:
    with pytest.raises(FileSetError, match=r"u\.service does not exist on this host: install its package"):
        host.apply(wish(units=(UnitSpec("u.service", state="started"),)))
    host.set_unit("u.service", load="masked")
    with pytest.raises(FileSetError, match=r"is masked.*systemctl unmask u\.service"):
        host.apply(wish(units=(UnitSpec("u.service", enabled=True),)))
    host.set_unit("v.service", config="/etc/v", active="inactive")
    host.write("/etc/v", "BROKEN")
    with pytest.raises(FileSetError, match=r"failed; the files .* nothing was put back\.\n.*\nline of v\.service"):
        host.apply(wish(units=(UnitSpec("v.service", state="started"),)))


def test_a_unit_file_is_read_by_systemd_before_its_unit_starts(host: Host) -> None:
    asked = wish(
        ("/etc/systemd/system/n.service", "[Service]\n"), units=(UnitSpec("n.service", enabled=True, state="started"),)
    )
    host.apply(asked)
    order = [call[-1] if call[-1] == "daemon-reload" else call[2] for call in host.calls() if call[1] != "show"]
    assert order == ["daemon-reload", "enable", "start"]
    host.set_unit("n.service", stale=True)
    assert host.apply(asked)["changed"]
    assert not host.apply(asked)["changed"]


def test_check_mode_predicts_and_writes_nothing(host: Host) -> None:
    host.programs["checker"] = _answer
    host.write("/etc/a", "old\n")
    host.set_unit("a.service", active="active", config="/etc/a")
    asked = wish(
        ("/etc/a", "new\n"),
        ("/etc/x/b", "b"),
        directories=(directory("/etc/x"),),
        validate=(("checker", "{staged}/etc/a"),),
        commands=(("checker", "x"),),
        units=(UnitSpec("a.service", state="started", on_change="reload"),),
    )
    before = host.traces()
    result = host.apply(asked, check=True, with_diff=True)
    calls = host.calls()
    host.forget_calls()
    assert host.traces().items() >= before.items()
    assert host.shots(state=True).keys() == {"/etc", "/etc/a", "/etc/systemd", "/etc/systemd/system"}
    assert_shape(result)
    assert result["changed"]
    assert result["activated"]
    assert result["skipped_validation"] == []
    assert result["units"] == [{"name": "a.service", "changed": True, "actions": ["reload"]}]
    assert [call[0] for call in calls] == ["checker", "systemctl"] or [call[0] for call in calls] == [
        "systemctl",
        "checker",
    ]
    with pytest.raises(FileSetError, match="nothing was installed"):
        host.apply(replace(asked, files=files(("/etc/a", "BAD"))), check=True)
    leftovers = [name for base in ("/run", "/tmp") for name in Path(base).glob("file_set.demo.*")]
    assert leftovers == []


def test_check_mode_on_a_host_where_nothing_exists_yet(host: Host) -> None:
    host.missing = {"systemctl", "caddy"}
    asked = SetSpec(
        name="caddy",
        files=(FileEntry("/etc/caddy/Caddyfile", "root", "no-such-group", content=b"x"),),
        validate=(("caddy", "validate"),),
        validate_user="no-such-user",
        units=(UnitSpec("caddy.service", enabled=True, state="started", on_change="reload"),),
    )
    result = host.apply(asked, check=True, with_diff=True)
    assert_shape(result)
    assert result["changed"]
    assert result["units"][0]["actions"] == ["enable", "start"]
    assert [entry["reason"] for entry in result["skipped_validation"]] == [
        "the group 'no-such-group' does not exist on this host"
    ]
    assert host.shots(state=True).keys() == {"/etc", "/etc/systemd", "/etc/systemd/system"}
    host.missing = set()
    with pytest.raises(FileSetError) as caught:
        host.apply(asked)
    for part in ("'no-such-group'", "/etc/caddy of /etc/caddy/Caddyfile does not exist: list it in directories"):
        assert part in str(caught.value), "all faults are named at once"


@pytest.mark.parametrize("kind", ["directory", "fifo"])
def test_refuses_to_replace_what_is_no_file(host: Host, kind: str) -> None:
    place = host.root / "etc/a"
    place.mkdir() if kind == "directory" else os.mkfifo(place)
    before = host.shots() if kind == "directory" else None
    with pytest.raises(FileSetError, match=r"is a (directory|special file) on this host, not a file"):
        host.apply(wish(("/etc/a", "x")))
    assert place.is_dir() if kind == "directory" else place.is_fifo()
    assert before is None or host.shots() == before


def test_diffs_show_texts_and_modes_but_no_secrets(host: Host) -> None:
    host.write("/etc/plain", "one\n")
    host.write("/etc/secret", f"old {MARKER}\n", 0o600)
    host.write("/etc/mode", "same\n", 0o600)
    host.write("/etc/private", f"{MARKER}\n", 0o600)
    entries = (
        *files(("/etc/plain", "two\n"), ("/etc/bin", b"\0\xff"), ("/etc/mode", "same\n"), ("/etc/private", None)),
        *files(("/etc/secret", f"new {MARKER}\n"), secret=True, mode=0o600),
    )
    result = host.apply(wish(files=entries), check=True, with_diff=True)
    shown = {entry["after_header"].split(" ")[0]: entry for entry in result["diff"]}
    assert shown["/etc/plain"]["before"] == "one\n"
    assert shown["/etc/plain"]["after"] == "two\n"
    assert shown["/etc/bin"]["after"].startswith("(binary, sha256 ")
    assert shown["/etc/bin"]["before"] == ""
    assert "0600" in shown["/etc/mode"]["before"]
    assert "0644" in shown["/etc/mode"]["after"]
    assert shown["/etc/secret"]["after"] == "(secret content, not shown)\n"
    assert shown["/etc/private"]["after_header"] == "/etc/private (absent)"
    assert MARKER not in repr(result)
    applied = host.apply(wish(files=entries), with_diff=True)
    assert applied["diff"] == result["diff"], "the prediction shows what the run does"
    assert "diff" not in host.apply(wish(files=entries))
    open_now = wish(files=files(("/etc/secret", "no longer secret\n")))
    assert MARKER not in repr(host.apply(open_now, with_diff=True)), "what was secret stays secret"


def test_secrets_are_in_no_message(host: Host) -> None:
    host.programs["leaky"] = lambda _argv: Outcome(1, f"read PASSWORD={MARKER}", f"cannot log in with {MARKER}!\nuse X")
    secret = files(("/etc/s", f"# comment\nPASSWORD={MARKER}\n"), secret=True, mode=0o600)
    for part in ("validate", "check_installed", "commands", "probe"):
        with pytest.raises(FileSetError) as caught:
            host.apply(wish(files=secret, probe_timeout=0, **{part: (("leaky",),)}))
        assert MARKER not in str(caught.value), part
        assert "use X" in str(caught.value), "the rest of the message stays readable"
        assert not host.exists("/etc/s")


def test_reports_what_the_system_has_on_every_run(host: Host) -> None:
    """After a change, without one and in check mode; a program that fails or is missing is an answer."""
    host.programs["good"] = lambda _argv: Outcome(0, host.read("/etc/a") if host.exists("/etc/a") else "nothing")
    host.programs["bad"] = lambda _argv: Outcome(3, "", "no table")
    asked = wish(("/etc/a", "x"), report=(("good",), ("bad",), ("gone",)))
    assert host.apply(asked, check=True)["reports"][0]["stdout"] == "nothing"
    for changed in (True, False):
        result = host.apply(asked)
        assert_shape(result)
        assert result["changed"] is changed
        assert [(one["rc"], one["stdout"], one["stderr"]) for one in result["reports"]] == [
            (0, "x", ""),
            (3, "", "no table"),
            (127, "", "gone is not installed"),
        ]


def test_reports_hold_no_secret(host: Host) -> None:
    host.programs["leaky"] = lambda _argv: Outcome(0, f"key {MARKER}", f"{MARKER}!")
    secret = files(("/etc/s", f"PASSWORD={MARKER}\n"), secret=True, mode=0o600)
    assert MARKER not in repr(host.apply(wish(files=secret, report=(("leaky",),))))


def test_state_absent_takes_away_what_is_ours_and_nothing_else(host: Host) -> None:
    host.write("/etc/shared/theirs", "x")
    host.set_unit("sshd.service", active="active", enabled="enabled")
    unit_file = "/etc/systemd/system/o.service"
    units = (UnitSpec("o.service", enabled=True, state="started"), UnitSpec("sshd.service", on_change="reload"))
    full = wish(
        (unit_file, "[Service]\n"), ("/etc/own/dir/a", "a"), ("/etc/shared/b", "b"),
        directories=(directory("/etc/own/dir"), directory("/etc/shared")), units=units,
    )  # fmt: skip
    host.apply(full)
    less = wish((unit_file, None), absent=True, units=units)
    before = host.shots(state=True)
    predicted = host.apply(less, check=True, with_diff=True)
    assert host.shots(state=True) == before
    result = host.apply(less, with_diff=True)
    assert_shape(result)
    assert predicted == result
    assert reasons(result) == {unit_file: "removed", "/etc/own/dir/a": "removed", "/etc/shared/b": "removed"}
    assert host.shots(state=True).keys() == {
        "/etc", "/etc/shared", "/etc/shared/theirs", "/etc/systemd", "/etc/systemd/system",
        "/var", "/var/lib", "/var/lib/sapflux", STATE,
    }  # fmt: skip
    assert {entry["name"]: entry["actions"] for entry in result["units"]} == {
        "o.service": ["stop", "disable"],
        "sshd.service": ["reload-or-restart"],
    }
    assert host.units()["sshd.service"]["active"] == "active", "a unit of somebody else keeps running"
    again = host.apply(less)
    assert not again["changed"]
    assert host.units()["sshd.service"]["starts"] == 0
    assert host.apply(full)["changed"], "and it can come back"


def test_an_exclusive_set_takes_back_what_it_no_longer_lists(host: Host) -> None:
    """Files and directories of earlier runs go, the stranger's file and the directory it lies in stay."""
    asked = wish(
        ("/etc/a.d/ours", "1\n"), ("/etc/b.d/ours", "2\n"), ("/etc/c.d/ours", "3\n"),
        directories=tuple(directory(f"/etc/{name}.d", 0o755) for name in "abc"),
    )  # fmt: skip
    host.apply(asked)
    (host.root / "etc/c.d/theirs").write_text("x")
    fewer = replace(asked, files=asked.files[:1], directories=asked.directories[:1])
    assert host.apply(fewer)["changed"] is False
    exclusive = replace(fewer, exclusive=True)
    predicted, done = host.apply(exclusive, check=True), host.apply(exclusive)
    assert reasons(predicted) == reasons(done)
    assert reasons(done) == {"/etc/a.d/ours": "unchanged", "/etc/b.d/ours": "removed", "/etc/c.d/ours": "removed"}
    assert sorted(path.name for path in (host.root / "etc").rglob("*.d/*")) == ["ours", "theirs"]
    assert [(host.root / f"etc/{name}.d").exists() for name in "abc"] == [True, False, True]
    assert host.apply(exclusive)["changed"] is False


def test_a_directory_that_was_there_before_is_not_ours_to_remove(host: Host) -> None:
    (host.root / "etc/before").mkdir(mode=0o700)
    host.apply(wish(("/etc/before/a", "a"), directories=(directory("/etc/before"),)))
    host.apply(wish(("/etc/before/a", None), absent=True, directories=(directory("/etc/before"),)))
    assert host.exists("/etc/before")
    assert not host.exists("/etc/before/a")


def test_a_unit_leaves_before_its_unit_file(host: Host) -> None:
    path = "/etc/systemd/system/old.service"
    host.write(path, "[Service]\n")
    host.set_unit("old.service", active="active", enabled="enabled", file=path)
    result = host.apply(wish((path, None), units=(UnitSpec("old.service", enabled=False, state="stopped"),)))
    assert result["units"][0]["actions"] == ["disable", "stop"]
    assert (host.units()["old.service"]["active"], host.units()["old.service"]["enabled"]) == ("inactive", "disabled")
    assert not host.exists(path)


def test_two_runs_of_one_set_do_not_meet(host: Host) -> None:
    inside, go = threading.Event(), threading.Event()
    order: list[str] = []

    def slow(_argv: Any) -> Outcome:
        inside.set()
        assert go.wait(30)
        order.append("first")
        return Outcome(0)

    host.programs["slow"] = slow
    first = threading.Thread(target=lambda: host.apply(wish(("/etc/a", "1"), validate=(("slow",),))))
    first.start()
    assert inside.wait(30)
    with pytest.raises(FileSetError, match="another run has held this set"):
        host.file_set(wish(("/etc/a", "2")), lock_wait=0.2).apply()

    def late() -> None:
        host.apply(wish(("/etc/a", "2")))
        order.append("second")

    second = threading.Thread(target=late)
    second.start()
    go.set()
    first.join(30)
    second.join(30)
    assert order == ["first", "second"]
    assert host.read("/etc/a") == "2"


def test_a_validator_user_that_cannot_reach_the_staging_tree_is_explained(host: Host) -> None:
    host.programs["good"] = lambda _argv: Outcome(0)
    (host.root / "var/lib/sapflux").mkdir(parents=True)
    asked = wish(("/etc/a", "x"), validate=(("good",),), validate_user="daemon")
    if os.geteuid() != 0:
        with pytest.raises(FileSetError, match="become: true"):
            host.apply(asked)
        return
    (host.root / "var/lib/sapflux").chmod(0o700)
    with pytest.raises(
        FileSetError, match="because /var/lib/sapflux is closed to it: give /var/lib/sapflux the mode 0711"
    ):
        host.apply(asked)
    assert not host.exists("/etc/a")


def test_unknown_things_are_never_left_half_made(host: Host) -> None:
    before = host.shots()
    asked = wish(
        ("/etc/new/a", "x"), directories=(directory("/etc/new"), DirectorySpec("/etc/new2", "no-such-user", MY_GROUP))
    )
    with pytest.raises(FileSetError, match="the user 'no-such-user' does not exist on this host"):
        host.apply(asked)
    assert host.shots() == before
