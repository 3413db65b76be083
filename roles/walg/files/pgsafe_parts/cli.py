"""The commands that people, timers and playbooks call."""

# paths are plain strings in all of pgsafe
from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from .common import FAILED, Config, PgsafeError, load, say, take_config


def become_postgres(config: Config) -> None:
    """Root gives its rights up for those of the account that owns the data; everybody else stays what they are."""
    if os.geteuid() != 0:
        return
    import pwd

    owner = pwd.getpwuid(os.stat(config.data).st_uid)
    if owner.pw_uid == 0:
        raise PgsafeError(f"{config.data} belongs to root: PostgreSQL would not start there")
    os.initgroups(owner.pw_name, owner.pw_gid)
    os.setgid(owner.pw_gid)
    os.setuid(owner.pw_uid)
    # the caller's directory may be closed to the new user, and every child would complain
    os.chdir("/")
    os.umask(0o077)


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


def _identity(config: Config, options: argparse.Namespace) -> int:
    from . import identity

    found = identity.verify(config, adopt=options.adopt)
    return _show(
        found, options.json, lambda found: f"{config.prefix} belongs to this cluster ({found['system_identifier']})"
    )


def _restore(config: Config, options: argparse.Namespace) -> int:
    from . import restore

    wish = restore.Wish(options.backup, options.name, tuple(options.probe), options.timeout)
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
    sub = command("identity", _identity, "Check that the archive is this cluster's; claim it when it is empty.")
    sub.add_argument(
        "--adopt", action="store_true", help="also claim an archive that holds only this cluster's backups"
    )
    sub.add_argument("--json", action="store_true")
    sub = command(
        "restore-beside", _restore, "Restore a backup and all its WAL beside the running data, and look at it."
    )
    sub.add_argument("--backup", default="", metavar="NAME", help="base backup (the newest)")
    sub.add_argument("--name", default="", help="directory to make below the restores (the time of day)")
    sub.add_argument(
        "--probe", action="append", default=[], metavar="DATABASE:SQL", help="a query to answer from the copy"
    )
    sub.add_argument("--timeout", type=float, default=3600, metavar="SECONDS", help="for the replay (3600)")
    sub.add_argument("--json", action="store_true")
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
        config = load(path)
        become_postgres(config)
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
