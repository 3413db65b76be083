"""``verify``: whether every segment since the oldest backup is in the bucket; WAL-G's exit code does not say it."""

# paths are plain strings in all of pgsafe
from __future__ import annotations

import json
import os
from typing import Any

from . import lineage, objects, segments, window
from .backup import iso
from .common import Config, PgsafeError, now
from .walg import walg


def problems(answer: dict[str, Any], found: window.Window) -> list[str]:
    """What ``wal-verify --json`` and the window say is wrong, one sentence each."""
    wrong = []
    integrity, timeline = answer["integrity"], answer["timeline"]
    newest = segments.split(found.reaches[-1].chain.names[0])[1] if found.reaches else 0
    # what is lost before the newest backup is in the window's gaps, and nothing can be done about it any more
    lost = [
        part
        for part in integrity["details"]
        if part["status"] == "MISSING_LOST" and segments.split(part["end_segment"])[1] >= newest
    ]
    if integrity["status"] == "FAILURE" and lost:
        names = ", ".join(
            part["start_segment"] if part["segments_count"] == 1 else f"{part['start_segment']}..{part['end_segment']}"
            for part in lost
        )
        wrong.append(
            f"{names} not in the archive: what lies in them is lost; a backup now (`pgsafe backup`) ends the gap"
        )
    if timeline["status"] == "FAILURE":
        details = timeline["details"]
        wrong.append(
            f"the archive holds timeline {details['highest_storage_timeline_id']}, the server is on "
            f"{details['current_timeline_id']}: another server writes into this archive"
        )
    if not found.ranges:
        wrong.append("no backup in the archive can be restored: make one with `pgsafe backup`")
    return wrong


def check(config: Config) -> dict[str, Any]:
    """{at, passed, integrity, timeline, oldest, newest, lost, problems}, also in verify.json."""
    result: dict[str, Any] = {"at": iso(now()), "passed": False, "problems": []}
    try:
        answer = json.loads(walg(config, "wal-verify", "integrity", "timeline", "--json"))
        found, log = window.read(config, lineage.same_cluster(config))
        told = window.report(found, log, config)
        result |= {
            "integrity": answer["integrity"]["status"],
            "timeline": answer["timeline"]["status"],
            **{key: told[key] for key in ("oldest", "newest", "gaps", "lost")},
            "problems": problems(answer, found),
        }
    except PgsafeError as error:
        result["problems"] = [str(error)]
    except (ValueError, KeyError, TypeError) as error:
        result["problems"] = [f"wal-g wal-verify answered something else than its JSON ({error!r}): check its version"]
    result["passed"] = not result["problems"]
    objects.write(os.path.join(config.reports, "verify.json"), result)
    return result


def as_text(result: dict[str, Any]) -> str:
    lines = [f"PROBLEM     {problem}" for problem in result["problems"]]
    if "oldest" in result:
        lines.append(f"restorable  every second from {result['oldest']} to {result['newest']}")
    return "\n".join(lines or ["the archive is complete"])


def must_be_well(result: dict[str, Any]) -> None:
    if result["problems"]:
        raise PgsafeError("; ".join(result["problems"]))
