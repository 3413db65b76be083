"""The commands that people, timers and playbooks call."""

# paths are plain strings in all of pgsafe
from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

from . import commands as back
from .common import FAILED, Config, PgsafeError, load, say, take_config
from .privileges import become_owner


def _show(result: dict[str, Any], as_json: bool, text: Callable[[dict[str, Any]], str]) -> int:
    print(json.dumps(result) if as_json else text(result))
    return 0


def _backup(config: Config, options: argparse.Namespace) -> int:
    from . import backup

    def text(receipt: dict[str, Any]) -> str:
        done = "made" if receipt["made"] else "is there already"
        size = receipt["backup"]["compressed_bytes"] / 1e6
        return (
            f"backup {receipt['backup']['backup_name']} {done}: {size:.1f} MB in the bucket, {receipt['backups']} kept"
        )

    return _show(backup.make(config, if_none=options.if_none, wait=options.wait), options.json, text)


def _status(config: Config, options: argparse.Namespace) -> int:
    from . import status

    report = status.gather(config)
    _show(report, options.json, status.as_text)
    if options.strict:
        status.must_be_well(report)
    return 0


def _check(config: Config, options: argparse.Namespace) -> int:
    from . import check

    report = check.run(config)
    _show(report, options.json, check.as_text)
    return FAILED if report["problems"] else 0


def _fence(config: Config, options: argparse.Namespace) -> int:
    from . import fence

    if options.up:
        fence.put_up(config, options.reason)
    else:
        fence.take_down(config)
    print(f"{config.cluster} is {'fenced: WAL waits on this host' if options.up else 'open: WAL is archived'}")
    return 0


def _key(config: Config, _options: argparse.Namespace) -> int:
    from . import key

    # from standard input, so that it is in no argument and no history
    if sys.stdin.isatty():
        import getpass

        typed = getpass.getpass("key: ")
    else:
        typed = sys.stdin.read()
    if not key.is_copy(config, typed):
        raise PgsafeError(
            f"this is not the key of {config.prefix} (fingerprint {config.key_fingerprint or 'none'}): "
            "with it nothing there can be read"
        )
    print(f"this is the key of {config.prefix}")
    return 0


def _identity(config: Config, options: argparse.Namespace) -> int:
    from . import identity

    found = identity.verify(config, adopt=options.adopt)
    return _show(
        found, options.json, lambda found: f"{config.prefix} belongs to this cluster ({found['system_identifier']})"
    )


def _restore(config: Config, options: argparse.Namespace) -> int:
    from . import restore

    wish = restore.Wish(options.backup, options.name, tuple(options.probe), options.timeout, options.to)
    return _show(restore.beside(config, wish), options.json, restore.as_text)


def _look(config: Config, options: argparse.Namespace) -> int:
    from . import restore

    return restore.look(config, options.name, options.database)


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="pgsafe", description="Archive, back up and restore PostgreSQL through WAL-G.")
    commands = top.add_subparsers(required=True, metavar="command")

    def command(name: str, run: Callable[[Config, argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        return sub

    sub = command("backup", _backup, "Make a base backup, prove it in the bucket, delete what retention allows.")
    sub.add_argument("--if-none", action="store_true", help="only when the bucket holds no backup of this cluster")
    sub.add_argument("--wait", type=float, default=0, metavar="SECONDS", help="for another run to end (0)")
    sub.add_argument("--json", action="store_true")
    sub = command("status", _status, "Show what could be restored now.")
    sub.add_argument("--strict", action="store_true", help="exit 1 when something is wrong")
    sub.add_argument("--json", action="store_true")
    sub = command("check", _check, "Once a minute: write the heartbeat, and tell what is wrong on this host.")
    sub.add_argument("--json", action="store_true")
    sub = command("fence", _fence, "Stop archiving; WAL waits on this host until `unfence`.")
    sub.add_argument("reason")
    sub.set_defaults(up=True)
    sub = command("unfence", _fence, "Archive again, beginning with what waits.")
    sub.set_defaults(up=False)
    command("key", _key, "Read a copy of the archive's key from standard input and say whether it is the right one.")
    sub = command("identity", _identity, "Check that the archive is this cluster's; claim it when it is empty.")
    sub.add_argument(
        "--adopt", action="store_true", help="also claim an archive that holds only this cluster's backups"
    )
    sub.add_argument("--json", action="store_true")
    sub = command(
        "restore-beside", _restore, "Restore a backup and all its WAL beside the running data, and look at it."
    )
    sub.set_defaults(to="latest")
    sub.add_argument("--backup", default="", metavar="NAME", help="base backup (the newest)")
    sub.add_argument("--name", default="", help="directory to make below the restores (the time of day)")
    sub.add_argument(
        "--probe", action="append", default=[], metavar="DATABASE:SQL", help="a query to answer from the copy"
    )
    sub.add_argument("--timeout", type=float, default=3600, metavar="SECONDS", help="for the replay (3600)")
    sub.add_argument("--json", action="store_true")
    back.add_all(command)
    sub = command("look", _look, "Open psql on an earlier restore.")
    sub.add_argument("name")
    sub.add_argument("database", nargs="?", default="postgres")
    for name, text in (("archive", "PostgreSQL's archive_command"), ("fetch", "PostgreSQL's restore_command")):
        commands.add_parser(name, help=text, add_help=False)
    return top


def main(arguments: Sequence[str]) -> int:
    path, rest = take_config(arguments)
    options = parser().parse_args(rest)
    try:
        # ended from outside, a restore or a drill removes what it has begun as well
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        config = load(path)
        if not getattr(options, "root", False):
            become_owner(config)
        return int(options.run(config, options))
    except PgsafeError as error:
        say(str(error))
        return error.code
    except OSError as error:
        say(str(error))
        return FAILED
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130
