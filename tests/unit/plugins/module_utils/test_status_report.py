"""Judging and printing a host's status."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.sapflux.hosting.plugins.module_utils._status_report import document, problems, screen


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
            "oldest_restorable": "2026-11-13T03:17:09Z",
            "newest_restorable": "2026-11-20T14:00:00Z",
            "last_verify": {"passed": True, "at": "2026-11-20T13:00:00Z"},
            "last_drill": None,
            "problems": [],
            "archive_lag_seconds": 12.0,
            "ready": 0,
        },
        "containers": [{"name": "sapflux-api-1", "image": "x@sha256:0", "state": "running", "status": "Up (healthy)"}],
        "releases": {
            "release": "abc",
            "kept": [{"release": "abc", "images": ""}],
            "services": [{"name": "api", "slot": "api-blue", "state": "running"}],
            "receipts": [{"verdict": "ok", "when": "2026-11-20T12:00:00+00:00"}],
        },
        "look": {"at": "2026-11-20T14:00:00Z", "problems": [], "failed_units": [], "waited_seconds": 40},
        "updates": {"pending": 3, "security": 1, "reboot_days": None},
        "ca": "-----BEGIN",
    }


def test_a_well_host_has_no_problem() -> None:
    assert problems(well()) == []


def unit(**fields: Any) -> dict[str, Any]:
    return {
        "caddy.service": {"loaded": True, "active": "active", "state": "x", "result": "", "memory_bytes": 0} | fields
    }


def gone() -> dict[str, Any]:
    """Releases of which one service has no container."""
    return {"release": "abc", "services": [{"name": "api", "slot": "api-blue", "state": "missing"}]}


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
        ("archive", {"newest_backup": None, "problems": ["there is no base backup"]}, "no base backup"),
        ("look", {"error": "host.json cannot be read"}, "cannot be read"),
        ("look", {"waited_seconds": 1000, "problems": ["old"]}, "the host check has not looked for 16 min"),
        ("look", {"waited_seconds": 10, "problems": ["/ is 91 % full"]}, "/ is 91 % full"),
        ("releases", {"error": "no engine"}, "no engine"),
        ("releases", {"maintenance": True}, "closed for maintenance"),
        ("releases", {"under_way": "abc at switch", "cut_off": True}, "the deployment of abc at switch was cut off"),
        ("releases", gone(), "api of release abc is missing; look at: docker logs api-blue"),
        ("containers", [{"name": "c", "state": "exited", "status": "Exited (1)"}], "the container c is exited"),
        ("containers", [{"name": "c", "state": "running", "status": "Up (unhealthy)"}], "unhealthy"),
    ],
)
def test_every_kind_of_problem_is_one_sentence(part: str, value: Any, fragment: str) -> None:
    found = problems(well() | {part: value})
    assert len(found) == 1
    assert fragment in found[0]
    assert "\n" not in found[0]


def test_what_two_parts_see_is_told_once() -> None:
    both = {
        "archive": {"problems": ["the disk is full"]},
        "look": {"waited_seconds": 1, "problems": ["the disk is full"]},
    }
    assert problems(well() | both) == ["the disk is full"]


def test_a_deployment_that_runs_and_a_lock_of_a_person_are_told_and_no_problem() -> None:
    status = well()
    status["releases"] |= {"under_way": "def at watch", "lock": "ada since noon (counting rows)"}
    assert problems(status) == []
    text = "\n".join(screen(status, "web"))
    assert "def at watch" in text
    assert "by ada since noon (counting rows)" in text


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
        "abc, 1 kept; last deployment ok at 2026-11-20T12:00:00",
        "from 2026-11-13T03:17:09Z until",
        "verify   passed at",
        "drill    none yet",
        "3 pending, 1 of security; no reboot due",
        "0 problem(s), 0 unit(s) failed, clock kept",
    ):
        assert part in text


def test_screen_shows_problems_and_works_without_an_archive() -> None:
    status = well() | {"archive": {}, "disks": [{"path": "/", "size_mb": 100, "free_mb": 1}]}
    lines = screen(status, "web")
    assert "PROBLEM" in lines[-1]
    assert not any("backup " in line for line in lines if "unit" not in line)


def test_the_document_says_whether_a_person_is_needed() -> None:
    ill = well() | {"archive": {"problems": ["no base backup"]}}
    hosts: list[dict[str, Any]] = [
        {"inventory_hostname": "web", "__found": {"status": well()}},
        {"inventory_hostname": "db", "__found": {"status": ill}},
        {"inventory_hostname": "unreached"},
    ]
    found = json.loads(document(hosts))
    assert (found["needed"], [(one["host"], one["problems"]) for one in found["hosts"]]) == (
        True, [("web", []), ("db", ["no base backup"])],
    )  # fmt: skip
    assert found["hosts"][0]["status"]["updates"]["security"] == 1
    assert json.loads(document(hosts[:1]))["needed"] is False
