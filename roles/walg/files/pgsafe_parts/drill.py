"""``drill``: the archive is restored, checked and thrown away, so that the day it is needed is not the first time."""

# paths are plain strings in all of pgsafe
from __future__ import annotations

import os
import random
import time
from typing import Any

from . import checks, lineage, objects, plan, restore, window
from .backup import iso, only_one
from .common import Config, PgsafeError, RefusedError, load, now
from .instance import Instance

#: Production keeps this much whatever a drill would like to have.
_DISK_LEFT, _MEMORY = 0.10, 300 * 1024 * 1024
#: Nothing here has to survive a power cut.
_FAST = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}


class NoRoomError(RefusedError):
    """There is no headroom now; the archive may be as good as it wants."""


def available_memory(text: str) -> int:
    """/proc/meminfo -> bytes that programs can have."""
    for line in text.splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def must_have_room(config: Config, need: int, memory: int | None = None) -> None:
    """Refuses when production would have to give something up."""
    info = os.statvfs(config.restores)
    free, total = info.f_bavail * info.f_frsize, info.f_blocks * info.f_frsize
    if free - need < total * _DISK_LEFT:
        raise NoRoomError(
            f"a drill needs {need / 1e6:.0f} MB in {config.restores} and {_DISK_LEFT:.0%} of the disk left, "
            f"{free / 1e6:.0f} MB are free: make room, or run the drill on another host"
        )
    if memory is None:
        with open("/proc/meminfo", encoding="utf-8") as file:
            memory = available_memory(file.read())
    if memory < _MEMORY:
        raise NoRoomError(
            f"a drill needs {_MEMORY / 1e6:.0f} MB of memory, {memory / 1e6:.0f} MB are free: run it later"
        )


def pick(found: window.Window, run: int, chance: random.Random) -> str:
    """Every second run goes to a random second inside the window, the others to its end."""
    if run % 2 or not found.ranges:
        return "latest"
    spans = [(begin, end) for begin, end in found.ranges if end - begin >= 2] or found.ranges
    begin, end = chance.choices(spans, [end - begin + 1 for begin, end in spans])[0]
    return window.second(int(begin) + 1 + chance.random() * max(0.0, end - begin - 1))


def _path(config: Config) -> str:
    return os.path.join(config.reports, "drill.json")


def last(config: Config) -> dict[str, Any]:
    """The result of the last run, {} before the first."""
    try:
        return objects.read(_path(config)) or {}
    except (OSError, ValueError):
        return {}


def run(config: Config, *, wanted: str = "", wait: float = 0) -> dict[str, Any]:
    """One drill. The result, also in drill.json and as an object drills/<time>.json:

    {at, passed, outcome: passed, failed or skipped, reason, target, backup, recovered_to, rpo_seconds,
    heartbeat_age_seconds, rto_seconds, parts: {fetch, replay, promote, checks}, checks: [{name, ok, detail}], rates,
    runs, last_pass, last_pass_backup}
    """
    before = last(config)
    began, clock = now(), time.monotonic()
    result: dict[str, Any] = {"at": iso(began), "outcome": "failed", "reason": "", "runs": before.get("runs", 0) + 1}
    home = os.path.join(config.restores, "drill")
    with only_one(config, wait):
        copy = Instance(config, home)
        try:
            copy.remove()
            result |= _restore(config, home, wanted, result["runs"], began)
            faults = [f"{check['name']}: {check['detail']}" for check in result["checks"] if not check["ok"]]
            result["reason"] = "; ".join(faults)
            result["outcome"] = "failed" if faults else "passed"
        except NoRoomError as error:
            result |= {"outcome": "skipped", "reason": str(error)}
        except (PgsafeError, OSError) as error:
            result |= {"outcome": "failed", "reason": str(error)}
        finally:
            try:
                copy.remove()
            except PgsafeError as error:
                result |= {"outcome": "failed", "reason": "; ".join(filter(None, (result["reason"], str(error))))}
    result["seconds"] = round(time.monotonic() - clock, 1)
    passed = result["passed"] = result["outcome"] == "passed"
    result["last_pass"] = result["at"] if passed else before.get("last_pass")
    result["last_pass_backup"] = result["backup"] if passed else before.get("last_pass_backup")
    result["rates"] = result.get("rates") or before.get("rates")
    objects.write(_path(config), result)
    _publish(config, result)
    return result


def _publish(config: Config, result: dict[str, Any]) -> None:
    """The history is kept where it outlives the host; without the store the local result still says how it went."""
    try:
        objects.put(config, f"drills/{result['at'][:19].replace(':', '')}Z.json", result)
    except PgsafeError as error:
        result["reason"] = "; ".join(
            part for part in (result["reason"], f"the result is not in the bucket: {error}") if part
        )


def _restore(config: Config, home: str, wanted: str, number: int, began: float) -> dict[str, Any]:
    identifier = lineage.same_cluster(config)
    found, _log = window.read(config, identifier)
    target = wanted or pick(found, number, random.SystemRandom())
    made = plan.make(config, target, identifier=identifier)
    must_have_room(config, plan.room(made.backup))
    os.mkdir(home, 0o700)
    # credentials that can read and nothing else, where there are some
    reader = str(config.values.get("walg_read_config") or config.walg_config)
    config.write(os.path.join(home, "pgsafe.json"), walg_config=reader)
    private = load(os.path.join(home, "pgsafe.json"))
    instance, parts, clock = Instance(private, home), {}, time.monotonic()

    def lap(name: str) -> None:
        nonlocal clock
        parts[name] = round(time.monotonic() - clock, 2)
        clock = time.monotonic()

    restore.unpack(private, made.backup.name, instance.data)
    lap("fetch")
    instance.configure(made.target.settings(), **_FAST)
    state = instance.replay(3600, made.last_begins)
    lap("replay")
    instance.promote()
    lap("promote")
    where = restore.position(made, state)
    latest = target == "latest"
    values = config.values
    results = [_position(where, target, made.target.at)]
    results += checks.all_of(
        instance, _texts(values, "drill_floors") if latest else [], _texts(values, "drill_probes") if latest else []
    )
    age = checks.heartbeat_age(instance, began)
    instance.stop()
    results.append(checks.checksums(instance))
    lap("checks")
    return {
        "target": target,
        "backup": made.backup.name,
        "segments": len(made.names),
        "recovered_to": where["recovered_to"],
        # of the latest: how old the newest commit in the archive is
        "rpo_seconds": round(max(0.0, began - window.seconds(where["recovered_to"])), 1)
        if latest and where["recovered_to"]
        else where["rpo_seconds"],
        "heartbeat_age_seconds": age if latest else None,
        "rto_seconds": round(parts["fetch"] + parts["replay"] + parts["promote"], 1),
        "parts": parts,
        "checks": results,
        "rates": {
            "bytes_per_second": round(made.backup.compressed_size / max(parts["fetch"], 0.1)),
            "segments_per_second": round(len(made.names) / max(parts["replay"], 0.1), 2),
        },
    }


def _position(where: dict[str, Any], target: str, at: float) -> checks.Check:
    """The copy must stand where it was asked to: nothing after the target, nothing missing before it."""
    late = at and where["recovered_to"] and window.seconds(where["recovered_to"]) > at
    return {
        "name": "position",
        "ok": bool(where["complete"] and not late),
        "detail": f"the last commit is of {where['recovered_to']}, the target was {target}",
    }


def _texts(values: dict[str, object], key: str) -> list[str]:
    found = values.get(key)
    return [str(one) for one in found] if isinstance(found, list) else []


def as_text(result: dict[str, Any]) -> str:
    lines = [f"drill       {result['outcome'].upper()} in {result.get('seconds', 0)} s"]
    if result["reason"]:
        lines.append(f"because     {result['reason']}")
    if "target" in result:
        lines.append(f"target      {result['target']}, from {result['backup']} and {result['segments']} segments")
        lines.append(f"up to       {result['recovered_to']}, the last commit")
        rpo = "unknown" if result["rpo_seconds"] is None else f"{result['rpo_seconds']} s"
        lines.append(f"measured    RTO {result['rto_seconds']} s {result['parts']}, RPO {rpo}")
        lines += [f"{'ok' if one['ok'] else 'FAULT':11s} {one['name']}: {one['detail']}" for one in result["checks"]]
    lines.append(f"last pass   {result['last_pass'] or 'never'}")
    return "\n".join(lines)


def must_have_passed(result: dict[str, Any]) -> None:
    if result["outcome"] != "passed":
        raise PgsafeError(f"the drill has {result['outcome']}: {result['reason']}")
