"""The stand-in for WAL-G as one file, and how the tests choose between it and the real one."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.bed import walg
from tests.doubles.walg import build, catalogue, names, verify


def test_the_same_sources_give_the_same_bytes(tmp_path: Path) -> None:
    digests = {build.build(tmp_path / str(number)) for number in range(2)}
    assert len(digests) == 1
    assert hashlib.sha256((tmp_path / "0").read_bytes()).hexdigest() in digests
    assert (tmp_path / "0").stat().st_mode & 0o777 == 0o755


def test_every_part_is_in_it() -> None:
    """A module that is forgotten in the list is missing on the host only."""
    folder = Path(build.__file__).parent
    outside = {"build", "conformance"}
    assert {path.stem for path in folder.glob("*.py")} - outside == set(build._PARTS)


def test_it_says_that_it_is_a_stand_in(tmp_path: Path) -> None:
    build.build(tmp_path / "wal-g")
    done = subprocess.run([sys.executable, tmp_path / "wal-g", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == "wal-g version v3.0.9\tstand-in\tstand-in\tPostgreSQL\n\n"


def test_walg_binary_in_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "named"
    program.write_text("#!/bin/sh\nprintf 'wal-g version v3.1.0\\tabc\\t2026\\tPostgreSQL\\n'\n")
    program.chmod(0o755)
    monkeypatch.setenv("WALG_BINARY", str(program))
    found = walg.program()
    assert (found.path, found.version, found.real) == (program, "3.1.0", True)
    assert found.sha256 == hashlib.sha256(program.read_bytes()).hexdigest()


@pytest.mark.parametrize("text", ["", "#!/bin/sh\necho something else\n", "#!/bin/sh\nexit 1\n"])
def test_a_wrong_walg_binary_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    program = tmp_path / "named"
    if text:
        program.write_text(text)
        program.chmod(0o755)
    monkeypatch.setenv("WALG_BINARY", str(program))
    with pytest.raises(walg.WalgBinaryError, match="correct it or unset it"):
        walg.program()


@pytest.mark.parametrize("content", [b"not the release", None], ids=["wrong bytes", "no network"])
def test_without_the_pinned_release_the_stand_in_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    source = tmp_path / "release"
    if content is not None:
        source.write_bytes(content)
    monkeypatch.delenv("WALG_BINARY", raising=False)
    monkeypatch.setenv("SAPFLUX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(walg, "URL", source.as_uri())
    found = walg.program()
    assert found.real is False
    assert found.path.exists()
    left = sorted(path.name for path in (tmp_path / "cache" / "walg").iterdir())
    assert left == sorted([found.path.name, f"unreachable-{walg.VERSION}"])


def test_the_pinned_release_is_downloaded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "release"
    source.write_bytes(b"the release")
    monkeypatch.delenv("WALG_BINARY", raising=False)
    monkeypatch.setenv("SAPFLUX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(walg, "URL", source.as_uri())
    monkeypatch.setattr(walg, "SHA256", hashlib.sha256(b"the release").hexdigest())
    first = walg.program()
    source.unlink()
    assert walg.program() == first
    assert first.real is True
    assert first.path.read_bytes() == b"the release"


def test_names_of_segments() -> None:
    assert names.parse_segment("0000000100000002000000FF") == (1, 2 * 256 + 255)
    assert names.segment_name(1, 2 * 256 + 255) == "0000000100000002000000FF"
    assert names.parse_segment("00000002.history") is None
    assert names.number_in("wal_005/000000010000000000000002.00000028.backup.zst") == 2
    assert names.number_in("basebackups_005/base_000000010000000000000005/metadata.json") == 5
    assert names.number_in("IDENTITY.json") is None
    assert names.lsn("1/63128C0") == (1 << 32) + 0x63128C0


@pytest.mark.parametrize(
    ("found", "stop", "statuses"),
    [
        (set(range(2, 10)), 2, "F" * 8),
        (set(range(2, 10)) - {3}, 2, "FL" + "F" * 6),
        (set(range(2, 8)), 2, "F" * 6 + "UU"),
        (set(range(2, 6)), 2, "FFFFLLUU"),
        (set(), 1, "L" * 7 + "UU"),
    ],
)
def test_what_is_missing_and_why(found: set[int], stop: int, statuses: str) -> None:
    """The newest two may be under way, what is older is lost."""
    letters = {"FOUND": "F", "MISSING_LOST": "L", "MISSING_UPLOADING": "U", "MISSING_DELAYED": "D"}
    assert "".join(letters[one.status] for one in verify.scan(10, stop, found, 0, 2)) == statuses


def test_times_are_written_as_go_does() -> None:
    assert catalogue.milliseconds(datetime(2026, 11, 23, 1, 2, 3, 120_000, UTC)) == "2026-11-23T01:02:03.12Z"
    assert catalogue.milliseconds(datetime(2026, 11, 23, 1, 2, 3, 0, UTC)) == "2026-11-23T01:02:03Z"
