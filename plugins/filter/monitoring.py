# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the timers of a host to the checks that wait for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError

LEAST = 300
MOST = 3600
"""Seconds of grace that a run gets beyond what its timer may be late."""
SHORTEST = 60


def slug(host: str, service: str) -> str:
    """The name of a check in addresses."""
    return f"{host}-{service.removeprefix('sapflux-')}".lower().replace(".", "-").replace("@", "-")


def monitoring_checks(
    timers: Mapping[str, Mapping[str, Any]],
    host: str,
    tz: str,
    channels: Sequence[str] = (),
    jobs: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[dict[str, Any]]:
    """Return a check for each timer, by name of the service.

    The grace of a check is what its timer may be late, and what a run may take, 5 to 60 minutes of it. Raises
    AnsibleFilterError for settings of a service that has no timer.
    """
    known = jobs or {}
    lost = sorted(set(known) - set(timers))
    if lost:
        raise AnsibleFilterError(
            f"{', '.join(lost)} has no timer on {host} that runs; there are: {', '.join(sorted(timers)) or 'none'}"
        )
    checks = []
    for name, timer in sorted(timers.items()):
        job = known.get(name, {})
        run = min(MOST, max(LEAST, timer["limit"] if timer["limit"] is not None else MOST))
        check: dict[str, Any] = {
            "slug": slug(host, name),
            "name": f"{name.removeprefix('sapflux-')} of {host}",
            "desc": job.get("desc") or f"journalctl --unit {name}.service",
            "tags": [host],
            "grace": int(job.get("grace") or timer["delay"] + run),
        }
        if timer["schedule"]:
            check |= {"schedule": timer["schedule"], "tz": tz}
        else:
            check["timeout"] = max(SHORTEST, int(timer["every"]))
        if channels:
            check["channels"] = list(channels)
        checks.append(check)
    return checks


def monitoring_slugs(services: Sequence[str], host: str) -> dict[str, str]:
    """Return the slug of each service."""
    return {name: slug(host, name) for name in sorted(services)}


def monitoring_drop_ins(services: Iterable[str], started: Sequence[str] = ()) -> dict[str, list[dict[str, Any]]]:
    """Return `directories` and `files` that make services tell how they end, and those of `started` that they begin."""
    homes = {name: f"/etc/systemd/system/{name}.service.d" for name in sorted(services)}
    return {
        "directories": [{"path": home} for home in homes.values()],
        "files": [
            {
                "path": f"{home}/70-sapflux-ping.conf",
                "template": "drop-in.conf.j2",
                "vars": {"started": name in started},
            }
            for name, home in homes.items()
        ],
    }


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {
            "monitoring_checks": monitoring_checks,
            "monitoring_drop_ins": monitoring_drop_ins,
            "monitoring_slugs": monitoring_slugs,
        }
