"""Asking a host: what the answers of other programs are turned into."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.sapflux.hosting.plugins.module_utils import _host_status


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("v2.11.9 h1:bhZtcRKQOq0fuLvEgCdPYvUxXyGn9kzjG4lh2332DTE=", "v2.11.9"),
        ("postgres (PostgreSQL) 17.12 (Debian 17.12-0+deb13u1)", "17.12"),
        ("wal-g version v3.0.9\tdevel\tdevel\tPostgreSQL", "v3.0.9"),
        ("26.1.5+dfsg1", "26.1.5+dfsg1"),
    ],
)
def test_versions_are_short(said: str, version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_host_status, "VERSIONS", {"program": ["program"]})
    monkeypatch.setattr(_host_status, "run", lambda argv: (0, said) if argv == ["program"] else (127, ""))
    assert _host_status.versions()["program"] == version


def test_a_program_that_is_not_there_has_no_version() -> None:
    assert _host_status.run(["/no/such/program"]) == (127, "")


def test_a_part_that_cannot_be_asked_says_why() -> None:
    assert "error" in _host_status.certificate("api.example.test", None, port=1)
    assert "error" in _host_status.probe("http://127.0.0.1:1/")
    assert _host_status.public_file("/no/such/file") == ""
    assert _host_status.units([]) == {}


def test_one_entry_for_each_file_system() -> None:
    found = _host_status.disks(["/", "/", "/no/such/path"])
    assert [one["path"] for one in found] == ["/"]


def test_the_slot_that_serves_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_host_status, "UPSTREAMS", str(tmp_path))
    assert _host_status.probe("upstream://shop-api/health")["error"] == "it was never deployed"
    (tmp_path / "shop-api").write_text("127.0.0.1:1")
    found = _host_status.probe("upstream://shop-api/health")
    assert (found["url"], "error" in found) == ("http://127.0.0.1:1/health", True)
