"""The commands that bring data back, and those that prove they would."""

# paths are plain strings in all of pgsafe
from __future__ import annotations

import argparse
import json
import os
import socket
from collections.abc import Callable
from typing import Any

from .common import Config, RefusedError
from .privileges import become_owner

Run = Callable[[Config, argparse.Namespace], int]
Add = Callable[[str, Run, str], argparse.ArgumentParser]


def show(result: dict[str, Any], as_json: bool, text: Callable[[dict[str, Any]], str]) -> int:
    print(json.dumps(result) if as_json else text(result), flush=True)
    return 0


def _window(config: Config, options: argparse.Namespace) -> int:
    from . import lineage, window

    if options.archive:
        config = lineage.at(config, options.archive)
    found, log = window.read(config, lineage.same_cluster(config))
    return show(window.report(found, log, config), options.json, window.as_text)


def _verify(config: Config, options: argparse.Namespace) -> int:
    from . import verify

    result = verify.check(config)
    show(result, options.json, verify.as_text)
    verify.must_be_well(result)
    return 0


def _mark(config: Config, options: argparse.Namespace) -> int:
    from . import points

    point = points.mark(config, options.name)
    return show(point, options.json, lambda point: f"restore with name:{point['name']} (marked {point['at']})")


def _drill(config: Config, options: argparse.Namespace) -> int:
    from . import drill

    result = drill.run(config, wanted=options.to, wait=options.wait)
    show(result, options.json, drill.as_text)
    drill.must_have_passed(result)
    return 0


def _dump(config: Config, options: argparse.Namespace) -> int:
    from . import dump

    if options.fetch:
        return show(dump.fetch(config, options.stamp, options.fetch), options.json, dump.fetched)
    return show(dump.make(config, wait=options.wait), options.json, dump.as_text)


def _bootstrap(config: Config, options: argparse.Namespace) -> int:
    from . import bootstrap, inplace
    from .host import Host

    if options.what == "new":
        become_owner(config)
        return show(bootstrap.new(config, options.confirm), options.json, bootstrap.as_text)
    _must_be_root()
    with inplace.exclusive(config):
        result = bootstrap.restore(config, Host(config), target=options.to, units=options.unit)
    return show(result, options.json, bootstrap.as_text)


def confirmation(config: Config) -> str:
    """What must be typed to change this very cluster: HOST/CLUSTER."""
    return f"{socket.gethostname()}/{config.cluster}"


def _must_be_root() -> None:
    if os.geteuid() != 0:
        raise RefusedError("a restore in place stops and starts units: run it as root")


def _restore(config: Config, options: argparse.Namespace) -> int:
    """Beside by default; in place only when it is asked for and the cluster is named."""
    actions = [options.in_place, options.resume, options.undo, options.state]
    if sum(map(bool, actions)) > 1:
        raise RefusedError("--in-place, --resume, --undo and --state exclude each other: choose one")
    if options.state:
        return _state(config, options)
    if options.to is None and not options.resume:
        options.to = "latest"
    if any(actions):
        return _in_place(config, options)
    become_owner(config)
    from . import lineage, plan, restore

    if options.archive:
        config = lineage.at(config, options.archive)
    if options.preview:
        made = plan.check(config, config.restores, options.to, options.backup)
        return show(made, options.json, lambda found: f"{plan.as_text(found)}\n{_how(config, options)}")
    wish = restore.Wish(options.backup, options.name, tuple(options.probe), options.timeout, options.to)
    return show(restore.beside(config, wish), options.json, restore.as_text)


def _how(config: Config, options: argparse.Namespace) -> str:
    return (
        f"beside      sudo pgsafe restore --to {options.to}\n"
        f"in place    sudo pgsafe restore --in-place --to {options.to} --confirm {confirmation(config)}"
    )


def _state(config: Config, options: argparse.Namespace) -> int:
    from .journal import Journal

    content = Journal(config.journal).content
    facts = content.get("facts", {})
    result = {
        "state": "none" if not content else ("paused" if content["begun"][-1:] == ["decide"] else "interrupted"),
        **{key: content[key] for key in ("id", "direction", "begun", "done") if content},
        **{key: facts[key] for key in ("target", "backup", "aside") if key in facts},
    }
    return show(result, options.json, _state_text)


def _state_text(result: dict[str, Any]) -> str:
    if result["state"] == "none":
        return "no restore is under way"
    todo = "go on with `pgsafe restore --resume`, or back with `pgsafe restore --undo`"
    if result["direction"] == "back":
        todo = "finish taking it back with `pgsafe restore --undo`"
    done = ", ".join(result["done"]) or "nothing"
    return f"restore {result['id']} to {result['target']} is {result['state']} (done: {done}): {todo}"


def _in_place(config: Config, options: argparse.Namespace) -> int:
    from . import inplace, lineage
    from .host import Host
    from .journal import Journal
    from .restore import split_probe

    _must_be_root()
    journal, host = Journal(config.journal), Host(config)
    with inplace.exclusive(config):
        if options.in_place:
            wanted = confirmation(config)
            if options.confirm != wanted:
                raise RefusedError(
                    f"this puts {wanted} back to {options.to}, and what came later is set aside: to say that you mean "
                    f"it, add --confirm {wanted} (--preview shows what would happen)"
                )
            for probe in options.probe:
                split_probe(probe)
            units = options.unit if options.unit is not None else _units(config)
            inplace.open_journal(
                lineage.at(config, options.archive or config.prefix),
                journal,
                host,
                target=options.to,
                backup_name=options.backup,
                tip=config.prefix,
                units=units,
                stop_command=options.stop_command,
                start_command=options.start_command,
                probes=options.probe,
                promote=options.promote,
            )
        elif not journal:
            raise RefusedError("no restore is under way: begin one with `pgsafe restore --in-place`")
        elif options.resume:
            if options.to is not None:
                inplace.move_target(journal, options.to)
            if options.promote:
                journal.note(promote=True)
        machine = inplace.InPlace(lineage.at(config, journal.facts["prefix"]), journal, host)
        result = inplace.take_back(machine) if options.undo else inplace.go_on(machine)
    return show(result, options.json, lambda found: _in_place_text(found, journal))


def _units(config: Config) -> list[str]:
    found = config.values.get("app_units")
    return [str(unit) for unit in found] if isinstance(found, list) else []


def _in_place_text(result: dict[str, Any], _journal: object) -> str:
    from .restore import shown

    if result["state"] == "undone":
        kept = f"; what was written meanwhile is in {result['kept']}" if result["kept"] else ""
        return f"restore {result['id']} is taken back, the cluster is as it was{kept}"
    if result["state"] == "paused":
        lines = [
            f"waiting     the copy stands at {result['recovered_to']}, its last commit (target: {result['target']})",
            *shown(result),
            "open it     sudo pgsafe restore --resume --promote",
            "further     sudo pgsafe restore --resume --to LATER",
            "back        sudo pgsafe restore --undo",
        ]
        return "\n".join(lines)
    lines = [
        f"restored    to {result['recovered_to']}, the last commit (target: {result['target']})",
        f"measured    RTO {result['rto_seconds']} s, RPO {result['rpo_seconds']} s",
        f"archive     goes on in {result['prefix']}, first backup {result['backup']}",
        f"before      the old data are in {result['aside']}; remove them when they are no longer needed",
        "document    raise backup.generation to the new archive's number",
    ]
    if result["unarchived"]:
        lines.append(
            f"NOTE        {result['unarchived']} segments of the old data are not archived: they are there only"
        )
    return "\n".join(lines)


def _add_restore(add: Add) -> None:
    sub = add("restore", _restore, "Bring the cluster back: beside the running one, or, with --in-place, itself.")
    sub.set_defaults(root=True)
    sub.add_argument("--to", metavar="TARGET", help="2026-11-20T14:00:00Z, 0/3000060, name:NAME, or latest (latest)")
    sub.add_argument("--backup", default="", metavar="NAME", help="base backup (the right one)")
    sub.add_argument("--archive", default="", metavar="PREFIX", help="an ended archive, as s3://BUCKET/PREFIX")
    sub.add_argument("--preview", action="store_true", help="only say what would happen")
    sub.add_argument("--name", default="", help="beside: directory to make below the restores (the time of day)")
    sub.add_argument(
        "--probe", action="append", default=[], metavar="DATABASE:SQL", help="a query to answer from the copy"
    )
    sub.add_argument("--timeout", type=float, default=3600, metavar="SECONDS", help="beside: for the replay (3600)")
    sub.add_argument("--in-place", action="store_true", help="put the cluster itself back; stops for a decision")
    sub.add_argument("--confirm", default="", metavar="HOST/CLUSTER", help="in place: the cluster that is put back")
    sub.add_argument("--promote", action="store_true", help="in place: do not wait for a decision, open the copy")
    sub.add_argument("--unit", action="append", metavar="UNIT", help="in place: what to stop meanwhile (app_units)")
    sub.add_argument("--stop-command", default="", help="in place: run when the units are stopped")
    sub.add_argument("--start-command", default="", help="in place: run when the units are started again")
    sub.add_argument("--resume", action="store_true", help="go on with a restore in place")
    sub.add_argument("--undo", action="store_true", help="take a restore in place back")
    sub.add_argument("--state", action="store_true", help="how far a restore in place is")
    sub.add_argument("--json", action="store_true")


def add_all(add: Add) -> None:
    """Adds the commands of this module to the parser."""
    sub = add("window", _window, "Show from when to when the archive can bring the cluster back.")
    sub.add_argument("--archive", default="", metavar="PREFIX", help="an ended archive, as s3://BUCKET/PREFIX")
    sub.add_argument("--json", action="store_true")
    sub = add("verify", _verify, "Check that every segment since the oldest backup is in the bucket.")
    sub.add_argument("--json", action="store_true")
    sub = add("mark", _mark, "Name this moment, to restore to it later.")
    sub.add_argument("name")
    sub.add_argument("--json", action="store_true")
    _add_restore(add)
    sub = add("drill", _drill, "Restore into a private instance, check it, measure, and throw it away.")
    sub.add_argument("--to", default="", metavar="TARGET", help="latest, or a random moment every second run")
    sub.add_argument("--wait", type=float, default=0, metavar="SECONDS", help="for another run to end (0)")
    sub.add_argument("--json", action="store_true")
    sub = add("dump", _dump, "Dump every database and the roles to the bucket, or fetch such a dump.")
    sub.add_argument("--fetch", default="", metavar="DIRECTORY", help="bring one back instead")
    sub.add_argument("--stamp", default="", help="fetch: which one (the newest)")
    sub.add_argument("--wait", type=float, default=0, metavar="SECONDS", help="for another run to end (0)")
    sub.add_argument("--json", action="store_true")
    sub = add("bootstrap", _bootstrap, "Decide what a fresh cluster does about an archive that is not empty.")
    sub.set_defaults(root=True)
    sub.add_argument("what", choices=["restore", "new"])
    sub.add_argument("--to", default="latest", metavar="TARGET", help="restore: what to bring back (latest)")
    sub.add_argument("--unit", action="append", default=[], metavar="UNIT", help="restore: what to stop meanwhile")
    sub.add_argument("--confirm", default="", metavar="PREFIX", help="new: the archive that is left behind")
    sub.add_argument("--json", action="store_true")
