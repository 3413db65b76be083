"""From timers to the checks that wait for them."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.sapflux.hosting.plugins.filter import monitoring

TIMERS: dict[str, dict[str, Any]] = {
    "sapflux-backup": {"schedule": "*-*-* 03:17:00", "every": None, "delay": 60.0, "limit": 21600.0},
    "sapflux-look": {"schedule": "", "every": 30.0, "delay": 1.0, "limit": None},
    "apt-daily-upgrade": {"schedule": "*-*-* 06:00:00", "every": None, "delay": 3600.0, "limit": 60.0},
}


def test_each_timer_has_its_check() -> None:
    made = monitoring.monitoring_checks(TIMERS, "Web-1", "Europe/Zurich", ["Mail"], {"sapflux-look": {"grace": 120}})
    upgrade, backup, look = made
    assert backup == {
        "slug": "web-1-backup",
        "name": "backup of Web-1",
        "desc": "journalctl --unit sapflux-backup.service",
        "tags": ["Web-1"],
        "grace": 60 + 3600,
        "schedule": "*-*-* 03:17:00",
        "tz": "Europe/Zurich",
        "channels": ["Mail"],
    }
    assert (look["timeout"], look["grace"], "schedule" in look) == (60, 120, False)
    assert (upgrade["slug"], upgrade["grace"]) == ("web-1-apt-daily-upgrade", 3600 + 300)
    assert "channels" not in monitoring.monitoring_checks(TIMERS, "a", "UTC")[0]


def test_settings_of_a_job_that_is_not_there_are_refused() -> None:
    with pytest.raises(AnsibleFilterError, match="sapflux-bakcup has no timer on a that runs; there are: apt-daily"):
        monitoring.monitoring_checks(TIMERS, "a", "UTC", (), {"sapflux-bakcup": {"grace": 60}})


def test_slugs_and_drop_ins_are_those_of_the_checks() -> None:
    filters = monitoring.FilterModule().filters()
    slugs = filters["monitoring_slugs"](list(TIMERS), "a")
    assert sorted(slugs.values()) == sorted(check["slug"] for check in filters["monitoring_checks"](TIMERS, "a", "UTC"))
    made = filters["monitoring_drop_ins"](TIMERS, ["sapflux-backup"])
    files = made["files"]
    assert [one["path"].rpartition("/")[0] for one in files] == [one["path"] for one in made["directories"]]
    assert [(one["path"], one["vars"]["started"]) for one in files] == [
        ("/etc/systemd/system/apt-daily-upgrade.service.d/70-sapflux-ping.conf", False),
        ("/etc/systemd/system/sapflux-backup.service.d/70-sapflux-ping.conf", True),
        ("/etc/systemd/system/sapflux-look.service.d/70-sapflux-ping.conf", False),
    ]
