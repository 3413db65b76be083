# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private: judges and prints what the module host_status found. Pure functions."""

from __future__ import annotations

import json
from typing import Any

FREE_PERCENT = 15
CERTIFICATE_HOURS = 2
LOOK_SECONDS = 900
"""How long the host check may be silent: it looks every five minutes."""


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


def _archive(archive: dict[str, Any]) -> list[str]:
    if "error" in archive:
        return [f"the archive cannot be asked: {archive['error']}"]
    return list(archive.get("problems", []))


def _look(look: dict[str, Any]) -> list[str]:
    if "error" in look:
        return [str(look["error"])]
    waited = look.get("waited_seconds", 0)
    if waited > LOOK_SECONDS:
        return [f"the host check has not looked for {waited // 60} min; look at: journalctl -u sapflux-host-check"]
    return list(look.get("problems", []))


def _releases(releases: dict[str, Any]) -> list[str]:
    if "error" in releases:
        return [str(releases["error"])]
    found = []
    if releases.get("maintenance"):
        found.append(
            "the services are closed for maintenance; the playbook maintenance with -e maintenance=off opens them"
        )
    if releases.get("cut_off"):
        found.append(f"the deployment of {releases['under_way']} was cut off; the next one cleans up: run deploy")
    return found + [
        f"{one['name']} of release {releases['release']} is {one['state']}; look at: docker logs {one['slot']}"
        for one in releases.get("services", [])
        if one["state"] == "missing"
    ]


def problems(status: dict[str, Any]) -> list[str]:
    """What is wrong with a host, one sentence each; empty when it is well."""
    stopped = [
        f"the container {one['name']} is {one['state']} ({one['status']}); look at: docker logs {one['name']}"
        for one in status.get("containers", [])
        if one["state"] != "running" or "unhealthy" in one["status"]
    ]
    found = [
        *_units(status),
        *_space(status),
        *_edge(status),
        *_archive(status.get("archive", {})),
        *stopped,
        *_releases(status.get("releases", {})),
        *_look(status.get("look", {})),
    ]
    return list(dict.fromkeys(found))


def _archive_lines(archive: dict[str, Any]) -> list[str]:
    if not archive:
        return []
    if "error" in archive:
        return [f"  archive       {archive['error']}"]
    newest = archive.get("newest_backup") or {}
    lag = archive.get("archive_lag_seconds")
    return [
        f"  last backup   {newest.get('finish_time', 'none')}  {newest.get('backup_name', '')}".rstrip(),
        f"  restorable    from {archive.get('oldest_restorable') or '-'} until "
        f"{archive.get('newest_restorable') or 'nothing yet'}",
        f"  archive lag   {'-' if lag is None else f'{lag:.0f} s'}, {archive.get('ready') or 0} segment(s) waiting",
        *(_proof(name, archive.get(f"last_{name}")) for name in ("verify", "drill")),
    ]


def _proof(name: str, last: dict[str, Any] | None) -> str:
    said = f"{'passed' if last.get('passed') else 'FAILED'} at {last.get('at')}" if last else "none yet"
    return f"  last {name:8s} {said}"


def _release_lines(releases: dict[str, Any]) -> list[str]:
    if not releases or "error" in releases:
        return []
    receipts = releases.get("receipts", [])
    last = f"; last deployment {receipts[-1]['verdict']} at {receipts[-1]['when']}" if receipts else ""
    lines = [f"  release       {releases['release'] or 'none'}, {len(releases.get('kept', []))} kept{last}"]
    lines += [f"  locked        by {releases['lock']}"] if releases.get("lock") else []
    return lines + ([f"  deploying     {releases['under_way']}"] if releases.get("under_way") else [])


def _look_lines(status: dict[str, Any]) -> list[str]:
    updates, look = status.get("updates", {}), status.get("look", {})
    lines = []
    if "pending" in updates:
        due = updates.get("reboot_days")
        reboot = "no reboot due" if due is None else f"a reboot due for {due} days"
        lines.append(f"  updates       {updates['pending']} pending, {updates['security']} of security; {reboot}")
    if "at" in look:
        clock = "clock kept" if look.get("clock_is_kept", True) else "CLOCK NOT KEPT"
        lines.append(
            f"  host check    at {look['at']}: {len(look.get('problems', []))} problem(s), "
            f"{len(look.get('failed_units', []))} unit(s) failed, {clock}"
        )
    return lines


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
    lines += _release_lines(status.get("releases", {}))
    lines += _archive_lines(status["archive"])
    lines += _look_lines(status)
    wrong = problems(status)
    lines += [f"  PROBLEM       {sentence}" for sentence in wrong] or ["  all well"]
    return lines


def document(hosts: list[dict[str, Any]]) -> str:
    """The JSON document about hosts, from their variables: {needed, hosts: [{host, problems, status}]}.

    ``needed`` says whether a person is: some host has a problem.
    """
    found = [
        {"host": one["inventory_hostname"], "problems": problems(status), "status": {**status, "ca": None}}
        for one in hosts
        if (status := one.get("__found", {}).get("status"))
    ]
    return json.dumps({"needed": any(one["problems"] for one in found), "hosts": found}, indent=2) + "\n"
