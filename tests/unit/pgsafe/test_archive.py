"""archive and fetch as PostgreSQL calls them: as programs, by their names, judged by their exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from roles.walg.files.pgsafe_parts import fence
from roles.walg.files.pgsafe_parts.common import Config

from .conftest import OTHER, Walg

FILES = Path(__file__).resolve().parents[3] / "roles" / "walg" / "files"
SEGMENT = "pg_wal/000000010000000000000001"


def call(tmp_path: Path, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The installed layout: the same file under another name, its parts beside it."""
    program = tmp_path / "lib" / name
    if not program.exists():
        program.parent.mkdir(exist_ok=True)
        program.symlink_to(FILES / "pgsafe.py")
    argv = [sys.executable, "-ISB", "-c", _RUN, str(program), *arguments]
    return subprocess.run(argv, capture_output=True, text=True, env={"AWS_SECRET_ACCESS_KEY": "theirs"}, check=False)


# the interpreter of the tests, the shebang's options, and argv[0] as PostgreSQL gives it
_RUN = "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"


def test_archive_pushes_the_segment_in_a_closed_environment(tmp_path: Path, config: Config, walg: Walg) -> None:
    walg.holds_identity()
    walg.answer("wal-push")
    assert call(tmp_path, "archive", "--config", config.path, SEGMENT).returncode == 0
    push = walg.calls()[-1]
    assert push["arguments"] == ["wal-push", SEGMENT]
    assert push["config"] == config.walg_config
    assert push["environment"]["GOMEMLIMIT"] == "160MiB"
    assert push["environment"]["HOME"] == config.state
    assert "AWS_SECRET_ACCESS_KEY" not in push["environment"]


def test_archive_asks_for_the_identity_once(tmp_path: Path, config: Config, walg: Walg) -> None:
    walg.holds_identity()
    walg.answer("wal-push")
    for _ in range(3):
        assert call(tmp_path, "archive", "--config", config.path, SEGMENT).returncode == 0
    assert walg.asked() == ["st cat", "wal-push", "wal-push", "wal-push"]


@pytest.mark.parametrize("code", [1, 2, 74, 125, 126, 127, 255])
def test_archive_maps_every_failure_to_1(tmp_path: Path, config: Config, walg: Walg, code: int) -> None:
    """Above 125 PostgreSQL would end its archiver."""
    walg.holds_identity()
    walg.answer("wal-push", exit=code)
    assert call(tmp_path, "archive", "--config", config.path, SEGMENT).returncode == 1


def test_archive_fails_with_1_when_wal_g_is_killed(tmp_path: Path, config: Config, walg: Walg) -> None:
    walg.holds_identity()
    walg.answer("wal-push", signal=9)
    assert call(tmp_path, "archive", "--config", config.path, SEGMENT).returncode == 1


def test_archive_ends_a_push_that_hangs(tmp_path: Path, config: Config, walg: Walg) -> None:
    walg.holds_identity()
    walg.answer("wal-push", sleep=60)
    settings = tmp_path / "short.json"
    settings.write_text(json.dumps({**json.loads(Path(config.path).read_text()), "archive_limit": 1}))
    began = time.monotonic()
    done = call(tmp_path, "archive", "--config", str(settings), SEGMENT)
    assert done.returncode == 1
    assert "took more than 1 s" in done.stderr
    assert time.monotonic() - began < 30


def test_archive_of_a_foreign_archive_pushes_nothing(tmp_path: Path, config: Config, walg: Walg) -> None:
    walg.holds_identity(OTHER)
    done = call(tmp_path, "archive", "--config", config.path, SEGMENT)
    assert done.returncode == 1
    assert "belongs to another cluster" in done.stderr
    assert SEGMENT in done.stderr
    assert walg.asked() == ["st cat"]


@pytest.mark.parametrize("name", ["archive", "fetch"])
@pytest.mark.parametrize("fault", ["no configuration", "no program", "no arguments", "broken configuration"])
def test_faults_of_the_host(tmp_path: Path, config: Config, walg: Walg, name: str, fault: str) -> None:
    """archive keeps the segment (1), fetch stops the recovery (255): neither goes on as if nothing were wrong."""
    walg.holds_identity()
    path, arguments = Path(config.path), ["a", "b"] if name == "fetch" else ["a"]
    if fault == "no configuration":
        path.unlink()
    elif fault == "no program":
        walg.program.unlink()
    elif fault == "broken configuration":
        path.write_text("{")
    else:
        arguments = []
    done = call(tmp_path, name, "--config", config.path, *arguments)
    assert done.returncode == (1 if name == "archive" else 255)
    assert done.stderr.startswith("pgsafe: ")
    assert "Traceback" not in done.stderr


def test_fetch_brings_a_segment(tmp_path: Path, config: Config, walg: Walg) -> None:
    walg.answer("wal-fetch", write="content")
    target = tmp_path / "RECOVERYXLOG"
    target.write_text("half of an earlier try")
    assert call(tmp_path, "fetch", "--config", config.path, "000000010000000000000001", str(target)).returncode == 0
    assert target.read_text() == "content"


def test_fetch_ends_the_recovery_only_where_the_archive_ends(tmp_path: Path, config: Config, walg: Walg) -> None:
    walg.answer("wal-fetch", exit=74)
    assert call(tmp_path, "fetch", "--config", config.path, "00000002.history", str(tmp_path / "t")).returncode == 1
    assert len(walg.calls()) == 1


def test_fetch_tries_again_and_clears_the_half_before(tmp_path: Path, config: Config, walg: Walg) -> None:
    walg.answer("wal-fetch", exit=1, write="half", once=True)
    walg.answer("wal-fetch", write="whole")
    settings = tmp_path / "long.json"
    settings.write_text(json.dumps({**json.loads(Path(config.path).read_text()), "fetch_budget": 30}))
    target = tmp_path / "t"
    assert call(tmp_path, "fetch", "--config", str(settings), "seg", str(target)).returncode == 0
    assert target.read_text() == "whole"
    assert len(walg.calls()) == 2


@pytest.mark.parametrize("code", [1, 2, 126, 137])
def test_fetch_never_mistakes_an_outage_for_the_end(tmp_path: Path, config: Config, walg: Walg, code: int) -> None:
    walg.answer("wal-fetch", exit=code, write="half")
    target = tmp_path / "t"
    done = call(tmp_path, "fetch", "--config", config.path, "seg", str(target))
    assert done.returncode == 255
    assert "recovery stops" in done.stderr
    assert not target.exists()


def test_an_ordinary_segment_imports_little(config: Config, walg: Walg) -> None:
    """Started for every segment: subprocess alone would double what it takes to start."""
    walg.holds_identity()
    walg.answer("wal-push")
    code = (
        f"import sys; sys.path.insert(0, {str(FILES)!r}); from pgsafe_parts import archive, identity; "
        "from pgsafe_parts.common import load; "
        f"identity.verify(load({config.path!r})); "
        "[sys.modules.pop(n, None) for n in ('subprocess', 're', 'dataclasses')]; "
        f"code = archive.archive_main(['--config', {config.path!r}, 'x']); "
        "print(code, [n for n in ('subprocess', 'argparse', 'dataclasses', 'pathlib') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-ISB", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0 []"


def test_a_fenced_cluster_archives_nothing(tmp_path: Path, config: Config, walg: Walg) -> None:
    """The segment stays; as soon as the fence is gone it goes."""
    walg.holds_identity()
    walg.answer("wal-push")
    fence.put_up(config, "a restore runs")
    fence.put_up(config, "another reason")
    done = call(tmp_path, "archive", "--config", config.path, SEGMENT)
    assert done.returncode == 1
    assert "is fenced (a restore runs)" in done.stderr
    assert walg.asked() == []
    fence.take_down(config)
    fence.take_down(config)
    assert call(tmp_path, "archive", "--config", config.path, SEGMENT).returncode == 0


NAME = "000000010000000200000003"


def a_segment(name: str = NAME, size: int = 16 * 1024 * 1024, magic: int = 0xD116) -> bytes:
    """The first page's header and nothing else: magic, flags, timeline, address."""
    address = (int(name[8:16], 16) << 32) + int(name[16:], 16) * 16 * 1024 * 1024
    head = magic.to_bytes(2, "little") + bytes(6) + address.to_bytes(8, "little")
    return head.ljust(size, b"\0")


@pytest.fixture
def ahead(tmp_path: Path) -> Path:
    """Where WAL-G leaves what it brought ahead, for a recovery below ``recovery``."""
    path = tmp_path / "recovery" / "pg_wal" / ".wal-g" / "prefetch"
    (path / "running").mkdir(parents=True)
    return path


def test_what_was_brought_ahead_costs_no_start_of_walg(tmp_path: Path, config: Config, walg: Walg, ahead: Path) -> None:
    """With enough left nobody is started; the file is moved, not copied."""
    (ahead / NAME).write_bytes(a_segment())
    for number in range(4, 13):
        (ahead / f"0000000100000002{number:08X}").write_bytes(b"")
    destination = ahead.parents[1] / "RECOVERYXLOG"
    destination.write_bytes(b"the half of an earlier try")
    assert call(tmp_path, "fetch", "--config", config.path, NAME, str(destination)).returncode == 0
    assert destination.read_bytes() == a_segment()
    assert not (ahead / NAME).exists()
    assert walg.calls() == []


def test_what_was_brought_ahead_costs_no_settings_either(ahead: Path) -> None:
    """Thousands of calls, one after the other: json would double what each takes."""
    (ahead / NAME).write_bytes(a_segment())
    for number in range(4, 13):
        (ahead / f"0000000100000002{number:08X}").write_bytes(b"")
    destination = ahead.parents[1] / "RECOVERYXLOG"
    code = (
        f"import sys; sys.path.insert(0, {str(FILES)!r}); from pgsafe_parts import fetch; "
        f"code = fetch.fetch_main(['--config', '/nowhere', {NAME!r}, {str(destination)!r}]); "
        "print(code, [n for n in ('json', 're', 'typing', 'subprocess') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-ISB", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0 []"


def test_a_segment_that_is_there_is_there_even_if_no_more_can_be_brought(tmp_path: Path, ahead: Path) -> None:
    (ahead / NAME).write_bytes(a_segment())
    destination = ahead.parents[1] / "RECOVERYXLOG"
    done = call(tmp_path, "fetch", "--config", str(tmp_path / "nowhere"), NAME, str(destination))
    assert done.returncode == 0
    assert "nothing is brought ahead" in done.stderr
    assert destination.read_bytes() == a_segment()


def test_when_few_are_left_more_are_brought(tmp_path: Path, config: Config, walg: Walg, ahead: Path) -> None:
    walg.answer("wal-prefetch")
    (ahead / NAME).write_bytes(a_segment())
    destination = ahead.parents[1] / "RECOVERYXLOG"
    assert call(tmp_path, "fetch", "--config", config.path, NAME, str(destination)).returncode == 0
    deadline = time.monotonic() + 10
    while not walg.calls():
        assert time.monotonic() < deadline, "nothing was started"
        time.sleep(0.02)
    assert walg.calls()[0]["arguments"] == ["wal-prefetch", NAME, str(destination)]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        a_segment(size=1 << 20),
        a_segment(magic=0),
        a_segment("000000010000000200000004"),
    ],
    ids=["empty", "cut off", "zeros", "another one"],
)
def test_what_was_brought_ahead_and_is_not_the_segment_is_fetched_anew(
    tmp_path: Path, config: Config, walg: Walg, ahead: Path, content: bytes
) -> None:
    walg.answer("wal-fetch", write="fetched")
    (ahead / NAME).write_bytes(content)
    destination = ahead.parents[1] / "RECOVERYXLOG"
    assert call(tmp_path, "fetch", "--config", config.path, NAME, str(destination)).returncode == 0
    assert destination.read_text() == "fetched"


def test_what_is_on_its_way_is_waited_for(tmp_path: Path, config: Config, walg: Walg, ahead: Path) -> None:
    """Not for ever: what stalls is fetched by WAL-G."""
    walg.answer("wal-fetch", write="fetched")
    (ahead / "running" / NAME).write_bytes(b"half")
    destination = ahead.parents[1] / "RECOVERYXLOG"
    before = time.monotonic()
    assert call(tmp_path, "fetch", "--config", config.path, NAME, str(destination)).returncode == 0
    assert time.monotonic() - before >= 1
    assert destination.read_text() == "fetched"
