# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private: judges and prints what the module host_status found. Pure functions."""

from __future__ import annotations

from typing import Any

FREE_PERCENT = 15
CERTIFICATE_HOURS = 2
WAITING_SEGMENTS = 3
WAITING_SECONDS = 180


def _units(status: dict[str, Any]) -> list[str]:
    found = []
    for name, unit in status.get("units", {}).items():
        if not unit["loaded"]:
            found.append(f"the unit {name} is not installed; converge the host")
        elif unit["active"] not in {"active", "activating", "reloading"} and not _resting(name, unit):
            found.append(f"the unit {name} is {unit['active']} ({unit['result']}); look at: journalctl -u {name}")
    return found


def _resting(name: str, unit: dict[str, Any]) -> bool:
    """A service that a timer starts is at rest between its runs, unless its last run failed."""
    return name.endswith("-backup.service") and unit["active"] == "inactive" and unit["result"] in {"", "success"}


def _space(status: dict[str, Any]) -> list[str]:
    return [
        f"{disk['path']} has {disk['free_mb']} MB free of {disk['size_mb']} MB; make room before writes fail"
        for disk in status.get("disks", [])
        if disk["size_mb"] and disk["free_mb"] * 100 < disk["size_mb"] * FREE_PERCENT
    ]


def _edge(status: dict[str, Any]) -> list[str]:
    found = []
    for one in status.get("certificates", []):
        if "error" in one:
            found.append(f"https://{one['hostname']} presents no valid certificate: {one['error']}")
        elif one["hours_left"] < CERTIFICATE_HOURS:
            found.append(
                f"the certificate of {one['hostname']} ends in {one['hours_left']} h; look at: journalctl -u caddy"
            )
    return found + [
        f"{one['url']} answers {one.get('status') or one.get('error')}, not 200"
        for one in status.get("probes", [])
        if one.get("status") != 200
    ]


def _archive(status: dict[str, Any]) -> list[str]:
    archive = status.get("archive", {})
    if not archive:
        return []
    if "error" in archive:
        return [f"the archive cannot be asked: {archive['error']}"]
    found = []
    if not archive.get("newest_backup"):
        found.append("no base backup is in the bucket; run the backup playbook")
    ready, oldest = archive.get("ready") or 0, archive.get("oldest_ready_seconds") or 0
    if ready > WAITING_SEGMENTS and oldest > WAITING_SECONDS:
        found.append(
            f"{ready} WAL segments wait for the archive, the oldest for {oldest:.0f} s; "
            "look at: journalctl -u postgresql@17-main"
        )
    return found


def problems(status: dict[str, Any]) -> list[str]:
    """What is wrong with a host, one sentence each; empty when it is well."""
    stopped = [
        f"the container {one['name']} is {one['state']} ({one['status']}); look at: docker logs {one['name']}"
        for one in status.get("containers", [])
        if one["state"] != "running" or "unhealthy" in one["status"]
    ]
    return _units(status) + _space(status) + _edge(status) + _archive(status) + stopped


def _archive_lines(archive: dict[str, Any]) -> list[str]:
    if not archive:
        return []
    if "error" in archive:
        return [f"  archive       {archive['error']}"]
    newest = archive.get("newest_backup") or {}
    lag = archive.get("archive_lag_seconds")
    return [
        f"  last backup   {newest.get('finish_time', 'none')}  {newest.get('backup_name', '')}".rstrip(),
        f"  restorable    until {archive.get('newest_restorable') or 'nothing yet'}",
        f"  archive lag   {'-' if lag is None else f'{lag:.0f} s'}, {archive.get('ready') or 0} segment(s) waiting",
    ]


def screen(status: dict[str, Any], host: str) -> list[str]:
    """One screen about a host, as lines of at most about 120 characters."""
    memory = status["memory"]
    lines = [f"{host}", f"  versions      {', '.join(f'{name} {text}' for name, text in status['versions'].items())}"]
    lines += [
        f"  unit          {name:34s} {unit['active']:10s} {unit['memory_bytes'] // 2**20 or '':>5} "
        f"{'MB' if unit['memory_bytes'] >= 2**20 else ''}".rstrip()
        for name, unit in status["units"].items()
    ]
    lines += [f"  container     {one['name']:34s} {one['state']:10s} {one['status']}" for one in status["containers"]]
    lines += [
        f"  disk          {disk['path']:34s} {disk['free_mb']} MB free of {disk['size_mb']} MB"
        for disk in status["disks"]
    ]
    lines.append(
        f"  memory        {memory['available_mb']} MB available of {memory['total_mb']} MB, "
        f"swap {memory['swap_free_mb']} MB free of {memory['swap_total_mb']} MB"
    )
    lines += [
        f"  certificate   {one['hostname']:34s} "
        + (one["error"] if "error" in one else f"{one['hours_left']} h left, by {one['issuer']}")
        for one in status["certificates"]
    ]
    lines += _archive_lines(status["archive"])
    wrong = problems(status)
    lines += [f"  PROBLEM       {sentence}" for sentence in wrong] or ["  all well"]
    return lines
