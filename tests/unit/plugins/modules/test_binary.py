"""``sapflux.hosting.binary`` on the host: its real ``main()`` in a folder, downloads from a server on the loopback."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.sapflux.hosting.plugins.module_utils import _binary, _binary_fetch
from ansible_collections.sapflux.hosting.plugins.modules import binary

OLD, NEW, NEWEST = b"#!/bin/sh\necho old\n", b"#!/bin/sh\necho new\n" * 1000, b"#!/bin/sh\necho newest\n"
SHAPE = {"changed", "path", "link", "version", "sha256", "previous"}


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serves ``server.replies[path]``: (status, bytes sent, length announced); a length beyond the bytes is a cut."""

    def do_GET(self) -> None:
        server: Any = self.server
        server.requests.append(self.path)
        status, body, length = server.replies[self.path].pop(0)
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()
        if self.path == "/stall":
            server.finish.wait(60)

    def log_message(self, *_args: Any) -> None:
        """Keep the test's output clean."""


class Host:
    """A folder that stands for the host, and a server for downloads."""

    def __init__(self, root: Path, server: Any, capsys: pytest.CaptureFixture[str]) -> None:
        self.root = root
        self.directory = root / "lib"
        self.link = root / "bin" / "prog"
        self.link.parent.mkdir()
        self.server = server
        self.capsys = capsys

    def url(self, path: str, *replies: tuple[int, bytes, int]) -> str:
        self.server.replies[path] = list(replies)
        return f"http://127.0.0.1:{self.server.server_port}{path}"

    def arguments(self, content: bytes, version: str, /, **changes: Any) -> dict[str, Any]:
        arguments: dict[str, Any] = {
            "name": "prog",
            "version": version,
            "sha256": sha(content),
            "url": self.url(f"/{version}", (200, content, len(content))),
            "link": str(self.link),
            "directory": str(self.directory),
        }
        return {key: value for key, value in {**arguments, **changes}.items() if value is not None}

    def call(self, arguments: dict[str, Any], check: bool = False) -> dict[str, Any]:
        with patch_module_args({**arguments, "_ansible_check_mode": check}), pytest.raises(SystemExit):
            binary.main()
        return dict(json.loads(self.capsys.readouterr().out))

    def install(self, content: bytes, version: str, /, check: bool = False, **changes: Any) -> dict[str, Any]:
        result = self.call(self.arguments(content, version, **changes), check)
        assert not result.get("failed"), result
        assert set(result) >= SHAPE
        return result

    def refused(self, content: bytes, version: str, /, **changes: Any) -> str:
        """Call, expect a refusal that changes nothing, and return its message."""
        before = self.tree()
        result = self.call(self.arguments(content, version, **changes))
        assert result.get("failed"), result
        assert self.tree() == before
        return str(result["msg"])

    def tree(self) -> dict[str, tuple[int, int, str]]:
        """Everything there is: path -> mode, time of modification (of files) and content or target."""
        found = {}
        for path in sorted(self.root.rglob("*")):
            stat = path.lstat()
            content = str(path.readlink()) if path.is_symlink() else sha(path.read_bytes()) if path.is_file() else ""
            found[str(path.relative_to(self.root))] = (stat.st_mode, stat.st_mtime_ns if path.is_file() else 0, content)
        return found

    def versions(self) -> list[str]:
        home = self.directory / "prog"
        return sorted(path.name for path in home.iterdir()) if home.exists() else []


@pytest.fixture
def host(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    monkeypatch.setattr(_binary_fetch, "PAUSES", (0.0, 0.0))
    for key in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(key, raising=False)
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.replies, server.requests, server.finish = {}, [], threading.Event()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield Host(tmp_path, server, capsys)
    server.finish.set()
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_first_installation(host: Host) -> None:
    result = host.install(OLD, "1.0")
    path = host.directory / "prog" / f"1.0-{sha(OLD)[:12]}" / "prog"
    assert {key: result[key] for key in SHAPE} == {
        "changed": True,
        "path": str(path),
        "link": str(host.link),
        "version": "1.0",
        "sha256": sha(OLD),
        "previous": None,
    }
    assert host.link.readlink() == path
    assert subprocess.check_output([host.link], text=True) == "old\n"
    found = path.stat()
    assert (oct(found.st_mode), found.st_uid, found.st_gid) == ("0o100755", os.geteuid(), os.getegid())


def test_a_narrow_umask_does_not_hide_the_program(host: Host) -> None:
    before = os.umask(0o077)
    try:
        result = host.install(OLD, "1.0")
    finally:
        os.umask(before)
    folders = [folder for folder in Path(result["path"]).parents if host.directory in (folder, *folder.parents)]
    assert {oct(folder.stat().st_mode & 0o777) for folder in folders} == {"0o755"}


def test_a_second_run_changes_nothing_and_asks_nobody(host: Host) -> None:
    host.install(OLD, "1.0")
    before = host.tree()
    for rehash in (False, True):
        assert host.install(OLD, "1.0", rehash=rehash)["changed"] is False
    assert host.tree() == before
    assert host.server.requests == ["/1.0"]


def test_an_unchanged_program_is_not_read(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.install(OLD, "1.0")
    read: list[str] = []

    def count(path: str) -> str:
        read.append(path)
        return _binary_fetch.digest(path)

    monkeypatch.setattr(_binary, "digest", count)
    host.install(OLD, "1.0")
    assert read == []
    host.install(OLD, "1.0", rehash=True)
    assert len(read) == 1


def test_exactly_one_previous_version_is_kept(host: Host) -> None:
    host.install(OLD, "1.0")
    second = host.install(NEW, "2.0")
    assert second["previous"]["version"] == "1.0"
    third = host.install(NEWEST, "3.0")
    assert third["previous"] == {"version": "2.0", "sha256": sha(NEW), "path": second["path"]}
    assert host.versions() == [f"2.0-{sha(NEW)[:12]}", f"3.0-{sha(NEWEST)[:12]}"]


@pytest.mark.parametrize(("keep", "left"), [(0, 1), (2, 3)])
def test_another_number_can_be_kept(host: Host, keep: int, left: int) -> None:
    for version, content in (("1.0", OLD), ("2.0", NEW), ("3.0", NEWEST)):
        result = host.install(content, version, keep=keep)
    assert len(host.versions()) == left
    assert (result["previous"] is None) == (keep == 0)


def test_going_back_downloads_nothing_and_keeps_the_other(host: Host) -> None:
    first = host.install(OLD, "1.0")
    second = host.install(NEW, "2.0")
    back = host.install(OLD, "1.0")
    assert back["changed"] is True
    assert back["previous"]["path"] == second["path"]
    assert host.link.readlink() == Path(first["path"])
    assert host.server.requests == ["/1.0", "/2.0"]
    third = host.install(NEWEST, "3.0")
    assert third["previous"]["version"] == "1.0", (
        "the version that was in use is kept, not the one with the higher number"
    )


def test_the_version_in_use_is_kept_when_the_clock_went_back(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.install(OLD, "1.0")
    monkeypatch.setattr(time, "time_ns", lambda: 5)
    host.install(NEW, "2.0")
    assert host.install(NEWEST, "3.0")["previous"]["version"] == "2.0"


def test_a_damaged_previous_version_is_fetched_again(host: Host) -> None:
    first = host.install(OLD, "1.0")
    host.install(NEW, "2.0")
    path, before = Path(first["path"]), Path(first["path"]).stat()
    path.write_bytes(b"x" * len(OLD))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # only reading the file can tell
    host.install(OLD, "1.0")
    assert path.read_bytes() == OLD


def damage_content(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"!")


def damage_length(path: Path) -> None:
    path.write_bytes(b"")


def damage_absence(path: Path) -> None:
    path.unlink()


def damage_kind(path: Path) -> None:
    path.unlink()
    path.symlink_to("/bin/true")


def damage_record(path: Path) -> None:
    path.with_name("prog.json").write_text("{")


@pytest.mark.parametrize("damage", [damage_content, damage_length, damage_absence, damage_kind, damage_record])
def test_damage_is_repaired_from_the_source(host: Host, damage: Callable[[Path], None]) -> None:
    path = Path(host.install(OLD, "1.0")["path"])
    damage(path)
    result = host.install(OLD, "1.0")
    assert result["changed"] is True
    assert not path.is_symlink()
    assert path.read_bytes() == OLD
    assert host.install(OLD, "1.0")["changed"] is False
    assert len(host.server.requests) == 2


@pytest.mark.parametrize("change", [lambda path: path.chmod(0o700), lambda path: os.utime(path, (1, 1))])
def test_attributes_are_put_right_without_a_download(host: Host, change: Callable[[Path], None]) -> None:
    path = Path(host.install(OLD, "1.0")["path"])
    change(path)
    assert host.install(OLD, "1.0")["changed"] is True
    assert path.stat().st_mode & 0o7777 == 0o755
    assert host.install(OLD, "1.0")["changed"] is False
    assert host.server.requests == ["/1.0"]


def test_a_lost_link_comes_back(host: Host) -> None:
    host.install(OLD, "1.0")
    host.link.unlink()
    assert host.install(OLD, "1.0")["changed"] is True
    assert host.link.exists()


def test_a_moved_link_does_not_leave_the_old_one(host: Host) -> None:
    host.install(OLD, "1.0")
    host.install(OLD, "1.0", link=str(host.link.with_name("other")))
    assert not host.link.is_symlink()
    assert host.link.with_name("other").exists()


def test_check_mode_writes_nothing(host: Host) -> None:
    assert host.install(OLD, "1.0", check=True)["changed"] is True
    assert host.tree().keys() == {"bin"}
    host.install(OLD, "1.0")
    before = host.tree()
    assert host.install(OLD, "1.0", check=True)["changed"] is False
    predicted = host.install(NEW, "2.0", check=True)
    assert (
        host.call({"name": "prog", "state": "absent", "directory": str(host.directory)}, check=True)["changed"] is True
    )
    assert host.tree() == before
    assert "/2.0" not in host.server.requests
    done = host.install(NEW, "2.0")
    assert {key: predicted[key] for key in {*SHAPE, "diff"}} == {key: done[key] for key in {*SHAPE, "diff"}}


def test_the_diff_names_version_and_digest(host: Host) -> None:
    host.install(OLD, "1.0")
    diff = host.install(NEW, "2.0")["diff"]
    assert (diff["before"]["version"], diff["after"]["version"]) == ("1.0", "2.0")
    assert (diff["before"]["sha256"], diff["after"]["sha256"]) == (sha(OLD), sha(NEW))


def test_a_wrong_digest_is_refused_with_both_named(host: Host) -> None:
    for prepared in (False, True):
        if prepared:
            host.install(OLD, "1.0")
        message = host.refused(NEW, "2.0", sha256=sha(NEWEST))
        assert sha(NEW) in message
        assert sha(NEWEST) in message
    assert subprocess.check_output([host.link], text=True) == "old\n"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"sha256": "abc"}, "sha256 'abc' must be 64 hexadecimal digits"),
        ({"sha256": "sha256:" + "0" * 64}, "must be 64 hexadecimal digits"),
        ({"sha256": "g" * 64}, "must be 64 hexadecimal digits"),
        ({"sha256": None}, "missing: sha256"),
        ({"version": None}, "missing: version"),
        ({"version": "../1"}, "version '../1' must be"),
        ({"name": "../prog"}, "name '../prog' must be"),
        ({"name": ".incoming-x"}, "name '.incoming-x' must be"),
        ({"url": None}, "url, src"),
        ({"src": "/x"}, "mutually exclusive"),
        ({"url": "file:///etc/passwd"}, "url must begin with https:// or http://"),
        ({"keep": -1}, "keep -1 must be 0 or more"),
        ({"link": "bin/prog"}, "link 'bin/prog' must be an absolute path"),
        ({"directory": "/a/../b"}, "directory '/a/../b' must be an absolute path"),
        ({"name": "a b", "keep": -1}, "name 'a b' must be letters, digits, dots, dashes and underscores; keep -1"),
    ],
)
def test_wrong_options_are_refused(host: Host, changes: dict[str, Any], expected: str) -> None:
    assert expected in host.refused(OLD, "1.0", **changes)


def test_an_upper_case_digest_is_the_same_digest(host: Host) -> None:
    host.install(OLD, "1.0", sha256=sha(OLD).upper())
    assert host.install(OLD, "1.0")["changed"] is False


def test_a_missing_page_is_not_asked_for_again(host: Host) -> None:
    message = host.refused(OLD, "1.0", url=host.url("/gone?token=hidden", (404, b"", 0)))
    assert "/gone answers 404 Not Found; correct url." in message
    assert "hidden" not in message
    assert len(host.server.requests) == 1


def test_a_truncated_download_is_refused(host: Host) -> None:
    cut = (200, NEW[:100], len(NEW))
    host.install(OLD, "1.0")
    message = host.refused(NEW, "2.0", url=host.url("/cut", cut, cut, cut))
    assert f"in 3 tries (it stopped after 100 of {len(NEW)} bytes)" in message
    assert host.server.requests.count("/cut") == 3


def test_a_passing_failure_is_overcome(host: Host) -> None:
    replies = [(503, b"", 0), (200, NEW[:100], len(NEW)), (200, NEW, len(NEW))]
    assert Path(host.install(NEW, "2.0", url=host.url("/late", *replies))["path"]).read_bytes() == NEW


def test_a_host_that_does_not_answer_is_named(host: Host) -> None:
    message = host.refused(OLD, "1.0", url="http://user:secret@127.0.0.1:9/prog")
    assert message.startswith("prog: http://127.0.0.1:9/prog could not be downloaded in 3 tries (")
    assert "secret" not in message


def archive(*members: tuple[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members:
            item = tarfile.TarInfo(name)
            item.size = len(content)
            tar.addfile(item, io.BytesIO(content))
    return buffer.getvalue()


def test_a_member_of_an_archive_is_installed_alone(host: Host) -> None:
    packed = archive(("README", b"text"), ("./dist/prog-linux", OLD))
    result = host.install(packed, "1.0", member="dist/prog-linux")
    assert Path(result["path"]).read_bytes() == OLD
    assert sorted(path.name for path in Path(result["path"]).parent.iterdir()) == ["prog", "prog.json"]
    assert result["sha256"] == sha(packed)
    for rehash in (False, True):
        assert host.install(packed, "1.0", member="dist/prog-linux", rehash=rehash)["changed"] is False


def test_an_archive_without_the_member_lists_what_it_has(host: Host) -> None:
    message = host.refused(archive(("README", b"text"), ("other", OLD)), "1.0", member="prog")
    assert message == "prog: the archive has no file prog; it holds README, other. Correct member."


@pytest.mark.parametrize("content", [OLD, archive(("prog", os.urandom(5000)))[:-200]])
def test_what_is_no_archive_is_refused(host: Host, content: bytes) -> None:
    assert "is not a .tar.gz archive" in host.refused(content, "1.0", member="prog")


@pytest.mark.parametrize("make", [lambda path: path.write_text("by hand"), lambda path: path.symlink_to("/bin/true")])
def test_a_program_of_somebody_else_is_left_alone(host: Host, make: Callable[[Path], None]) -> None:
    make(host.link)
    assert "was not made by this module; move it away or choose another link." in host.refused(OLD, "1.0")
    host.call({"name": "prog", "state": "absent", "link": str(host.link), "directory": str(host.directory)})
    assert os.path.lexists(host.link)


def test_a_link_into_nowhere_is_refused(host: Host) -> None:
    assert "is not a directory; make it first" in host.refused(OLD, "1.0", link=str(host.root / "none" / "prog"))


def test_a_full_disk_leaves_the_version_in_use(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.install(OLD, "1.0")

    def full(*_args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(binary, "download", full)
    message = host.refused(NEW, "2.0")
    assert f"no space left below {host.directory} (" in message
    assert "The version in use was not touched." in message


def test_absent_removes_everything_it_made(host: Host) -> None:
    host.install(OLD, "1.0")
    host.install(NEW, "2.0")
    arguments = {"name": "prog", "state": "absent", "link": str(host.link), "directory": str(host.directory)}
    result = host.call(arguments)
    assert set(result) >= SHAPE
    assert result["changed"] is True
    assert host.tree().keys() == {"bin"}
    assert host.call(arguments)["changed"] is False


def test_absent_leaves_other_programs(host: Host) -> None:
    host.install(OLD, "1.0")
    host.install(OLD, "1.0", name="other", link=str(host.link.with_name("other")))
    host.call({"name": "prog", "state": "absent", "link": str(host.link), "directory": str(host.directory)})
    assert [path.name for path in host.directory.iterdir()] == ["other"]
    assert host.link.with_name("other").exists()


class Cut(BaseException):
    """Stands for SIGKILL: from here on the process does nothing more, not even clean up."""


WRITES = ("replace", "rename", "symlink", "mkdir", "chmod", "chown", "unlink", "rmdir", "fsync")


def cut_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Let the first ``step`` writing system calls happen and none after them."""
    done = 0

    def guarded(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal done
            if done >= step:
                raise Cut
            done += 1
            return real(*args, **kwargs)

        return call

    for name in WRITES:
        monkeypatch.setattr(os, name, guarded(getattr(os, name)))


def test_a_cut_at_any_step_leaves_a_whole_program_linked(host: Host) -> None:
    survived, step = 0, 0
    while not survived:
        host.install(OLD, "0.9")
        host.install(NEWEST, "1.0")  # so that the run to be cut also has an older version to remove
        arguments = host.arguments(NEW, "2.0")
        with pytest.MonkeyPatch.context() as patch:
            cut_at(patch, step)
            try:
                assert host.call(arguments)["changed"] is True
                survived = step
            except Cut:
                host.capsys.readouterr()
        assert host.link.read_bytes() in (NEWEST, NEW), f"cut at step {step}"
        assert host.install(NEW, "2.0")["changed"] is not bool(survived)
        assert host.link.read_bytes() == NEW
        assert sorted(path.name for path in host.link.parent.iterdir()) == ["prog"], f"left behind at step {step}"
        assert len(host.versions()) == 2, f"left behind at step {step}"
        step += 1
        shutil.rmtree(host.directory)
        host.link.unlink()
    assert survived > 10


def test_a_real_kill_leaves_the_old_version_linked(host: Host) -> None:
    host.install(OLD, "1.0")
    arguments = host.arguments(NEW, "2.0", url=host.url("/stall", (200, NEW[:100], len(NEW))))
    script = (
        "import json, sys; from ansible.module_utils.testing import patch_module_args\n"
        "from ansible_collections.sapflux.hosting.plugins.modules import binary\n"
        "with patch_module_args(json.load(sys.stdin)): binary.main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(arguments).encode())
    process.stdin.close()
    deadline = time.monotonic() + 60
    while not any(name.startswith(".incoming-") for name in host.versions()):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert subprocess.check_output([host.link], text=True) == "old\n"
    host.install(NEW, "2.0")
    assert host.link.read_bytes() == NEW
    assert host.versions() == [f"1.0-{sha(OLD)[:12]}", f"2.0-{sha(NEW)[:12]}"]


def test_runs_at_once_install_once(host: Host) -> None:
    defaults = {"member": None, "keep": 1, "rehash": False, "state": "present"}
    wanted = _binary.wanted_from({**defaults, **host.arguments(NEW, "2.0")})
    fetched: list[int] = []
    barrier = threading.Barrier(3)

    def fetch(handle: Any) -> None:
        fetched.append(1)
        handle.write(NEW)

    def run() -> None:
        barrier.wait(60)
        _binary.Store(wanted).apply(fetch)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert fetched == [1]
    assert host.link.read_bytes() == NEW


def test_the_action_is_asked_for_the_file_only_when_it_is_needed(host: Host) -> None:
    arguments = host.arguments(OLD, "1.0", url=None, src="/on/the/controller")
    before = host.tree()
    asked = host.call(arguments)
    assert (asked["changed"], asked["_needs_file"]) == (True, True)
    assert host.tree() == before
    staged = host.root / "staged"
    staged.write_bytes(OLD)
    sent = host.call({**arguments, "src": str(staged), "remote_src": True})
    assert (sent["changed"], sent["_needs_file"]) == (True, False)
    again = host.call(arguments)
    assert (again["changed"], again["_needs_file"]) == (False, False)
    assert staged.read_bytes() == OLD


def test_a_file_that_is_not_on_the_host_is_named(host: Host) -> None:
    message = host.refused(OLD, "1.0", url=None, src="/gone/prog", remote_src=True)
    assert message == "prog: there is no file /gone/prog on this host; correct src."


def test_options_and_documentation_agree() -> None:
    documented = yaml.safe_load(binary.DOCUMENTATION)["options"]
    assert documented.keys() == _binary.ARGUMENT_SPEC.keys()
    for name, option in _binary.ARGUMENT_SPEC.items():
        for key in ("type", "default", "choices", "required"):
            assert documented[name].get(key) == option.get(key), (name, key)
