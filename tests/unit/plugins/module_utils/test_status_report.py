"""Judging and printing a host's status."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.sapflux.hosting.plugins.module_utils._status_report import problems, screen


def well() -> dict[str, Any]:
    """A host without a problem."""
    return {
        "versions": {"system": "Debian GNU/Linux 13 (trixie)", "caddy": "v2.11.9"},
        "units": {
            "caddy.service": {
                "loaded": True,
                "active": "active",
                "state": "running",
                "result": "success",
                "memory_bytes": 41 * 2**20,
            },
            "sapflux-backup.service": {
                "loaded": True,
                "active": "inactive",
                "state": "dead",
                "result": "success",
                "memory_bytes": 0,
            },
        },
        "disks": [{"path": "/", "size_mb": 38000, "free_mb": 30000}],
        "memory": {"total_mb": 1950, "available_mb": 900, "swap_total_mb": 2048, "swap_free_mb": 2048},
        "certificates": [{"hostname": "api.example.org", "hours_left": 11, "issuer": "CA"}],
        "probes": [{"url": "http://127.0.0.1:18080/ready", "status": 200, "seconds": 0.01}],
        "archive": {
            "newest_backup": {"backup_name": "base_0", "finish_time": "2026-11-20T03:17:09Z"},
            "newest_restorable": "2026-11-20T14:00:00Z",
            "archive_lag_seconds": 12.0,
            "ready": 0,
        },
        "containers": [{"name": "sapflux-api-1", "image": "x@sha256:0", "state": "running", "status": "Up (healthy)"}],
    }


def test_a_well_host_has_no_problem() -> None:
    assert problems(well()) == []


def unit(**fields: Any) -> dict[str, Any]:
    return {
        "caddy.service": {"loaded": True, "active": "active", "state": "x", "result": "", "memory_bytes": 0} | fields
    }


@pytest.mark.parametrize(
    ("part", "value", "fragment"),
    [
        ("units", unit(active="failed", result="exit-code"), "caddy.service is failed (exit-code)"),
        ("units", unit(active="inactive"), "caddy.service is inactive"),
        ("units", unit(loaded=False), "caddy.service is not installed"),
        ("units", {"sapflux-backup.service": unit(active="failed", result="timeout")["caddy.service"]}, "timeout"),
        ("disks", [{"path": "/", "size_mb": 1000, "free_mb": 149}], "/ has 149 MB free of 1000 MB"),
        ("certificates", [{"hostname": "a.b", "error": "self-signed"}], "https://a.b presents no valid certificate"),
        ("certificates", [{"hostname": "a.b", "hours_left": 1, "issuer": ""}], "ends in 1 h"),
        ("probes", [{"url": "http://127.0.0.1:1/ready", "status": 503}], "answers 503, not 200"),
        ("probes", [{"url": "http://127.0.0.1:1/ready", "error": "refused"}], "answers refused, not 200"),
        ("archive", {"error": "pgsafe status ended with 1"}, "the archive cannot be asked"),
        ("archive", {"newest_backup": None}, "no base backup"),
        ("archive", {"newest_backup": {"a": 1}, "ready": 9, "oldest_ready_seconds": 600.0}, "9 WAL segments wait"),
        ("containers", [{"name": "c", "state": "exited", "status": "Exited (1)"}], "the container c is exited"),
        ("containers", [{"name": "c", "state": "running", "status": "Up (unhealthy)"}], "unhealthy"),
    ],
)
def test_every_kind_of_problem_is_one_sentence(part: str, value: Any, fragment: str) -> None:
    found = problems(well() | {part: value})
    assert len(found) == 1
    assert fragment in found[0]
    assert "\n" not in found[0]


def test_few_or_young_segments_waiting_are_normal() -> None:
    for ready, oldest in ((3, 900), (40, 20)):
        archive = {"newest_backup": {"a": 1}, "ready": ready, "oldest_ready_seconds": oldest}
        assert problems(well() | {"archive": archive}) == []


def test_screen_fits_and_names_every_part() -> None:
    lines = screen(well(), "web")
    assert lines[0] == "web"
    assert lines[-1].strip() == "all well"
    assert max(map(len, lines)) <= 120
    text = "\n".join(lines)
    for part in (
        "caddy v2.11.9",
        "41 MB",
        "30000 MB free",
        "900 MB available",
        "11 h left",
        "2026-11-20T14:00:00Z",
        "12 s",
    ):
        assert part in text


def test_screen_shows_problems_and_works_without_an_archive() -> None:
    status = well() | {"archive": {}, "disks": [{"path": "/", "size_mb": 100, "free_mb": 1}]}
    lines = screen(status, "web")
    assert "PROBLEM" in lines[-1]
    assert not any("backup " in line for line in lines if "unit" not in line)
