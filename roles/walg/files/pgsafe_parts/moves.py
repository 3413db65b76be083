"""What a restore in place does to the disk, as the account that owns the data; each may follow on half of itself."""

# paths are plain strings in all of pgsafe
from __future__ import annotations

import os
from typing import Any

from . import archive, lineage, plan, restore
from .backup import make, only_one
from .common import Config, load
from .instance import Instance


def work(home: str) -> Config:
    """The settings the copy's restore_command reads: they stay what they are while the archive moves on."""
    return load(os.path.join(home, "pgsafe.json"))


def prepare(config: Config, home: str) -> None:
    """Makes the copy's directory, with settings that name the archive it comes from."""
    Instance(config, home).remove()
    os.mkdir(home, 0o700)
    config.write(os.path.join(home, "pgsafe.json"))


def fetch(config: Config, home: str, backup: str) -> None:
    with only_one(config, 600):
        prepare(config, home)
        restore.unpack(config, backup, os.path.join(home, "data"))


def replay(
    config: Config, home: str, wanted: str, backup: str, identifier: str, probes: list[str], limit: float
) -> dict[str, Any]:
    """Replays the copy to the target and tells what is there; the copy is stopped again."""
    with only_one(config, 600):
        made = plan.make(config, wanted, backup, identifier)
        instance = Instance(work(home), home)
        instance.stop(quietly=True)
        instance.configure(made.target.settings())
        try:
            state = instance.replay(limit, made.last_begins)
            return {
                **made.as_json(),
                **restore.position(made, state),
                "databases": restore.contents(instance),
                "probes": restore.answers(instance, [restore.split_probe(probe) for probe in probes]),
            }
        finally:
            instance.stop()


def promote(config: Config, home: str, facts: dict[str, Any], limit: float) -> None:
    """Opens the copy and takes its private configuration out. One that was interrupted in it is made anew."""
    begun, ended = os.path.join(home, "promoting"), os.path.join(home, "promoted")
    if os.path.exists(ended):
        return
    if os.path.exists(begun):
        fetch(config, home, facts["backup"])
    with only_one(config, 600):
        made = plan.make(config, facts["target"], facts["backup"], facts["identifier"])
        instance = Instance(work(home), home)
        instance.stop(quietly=True)
        instance.configure(made.target.settings())
        with open(begun, "w", encoding="utf-8"):
            pass
        try:
            instance.replay(limit, made.last_begins)
            instance.promote()
        finally:
            instance.stop()
        instance.release()
        os.rename(begun, ended)


def drain(config: Config, identifier: str) -> int:
    """Archives what the stopped server left behind; the number of segments that could not be."""
    if lineage.own_identifier(config) != identifier:
        return 0
    folder = os.path.join(config.data, "pg_wal", "archive_status")
    waiting = (
        sorted(name[:-6] for name in os.listdir(folder) if name.endswith(".ready")) if os.path.isdir(folder) else []
    )
    left = 0
    for name in waiting:
        if archive.push(config, os.path.join(config.data, "pg_wal", name)) == 0:
            os.rename(os.path.join(folder, f"{name}.ready"), os.path.join(folder, f"{name}.done"))
        else:
            left += 1
    return left


def swap(config: Config, home: str, aside: str) -> None:
    """The old data aside, the copy in their place; looks which of the two has happened."""
    data = os.path.join(home, "data")
    if not os.path.isdir(data):
        return
    if os.path.lexists(config.data):
        os.rename(config.data, aside)
    os.rename(data, config.data)
    os.sync()


def swap_back(config: Config, home: str, aside: str, undone: str) -> None:
    """The way back of ``swap``, from wherever it got to; what was in use meanwhile is kept as well."""
    swapped = os.path.isdir(home) and not os.path.isdir(os.path.join(home, "data"))
    # without data aside there were none before, or they are back already
    if swapped and os.path.lexists(config.data) and (os.path.lexists(aside) or not os.path.lexists(undone)):
        os.rename(config.data, undone)
    if os.path.lexists(aside) and not os.path.lexists(config.data):
        os.rename(aside, config.data)
    os.sync()


def discard(config: Config, home: str) -> None:
    """Removes the copy, which can be fetched again."""
    Instance(config, home).remove()


def backup(config: Config) -> str:
    return str(make(config, wait=3600)["backup"]["backup_name"])
