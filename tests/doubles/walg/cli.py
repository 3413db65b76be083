"""The command line of WAL-G, as far as anything here uses it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from . import base, catalogue, delete, storage, verify, wal
from .s3 import Store
from .settings import WalgError, load, log

VERSION = "v3.0.9"
#: What --version says in the place of the revision: the summary of a test run tells by it which program ran.
REVISION = "stand-in"
_DEFAULT = "~/.walg.json"


class _Parser(argparse.ArgumentParser):
    """Answers a wrong command as WAL-G does: exit 1 and its words."""

    def error(self, message: str) -> None:  # type: ignore[override]
        raise WalgError(message)


def _parser() -> argparse.ArgumentParser:
    top = _Parser(prog="wal-g", add_help=False)
    commands = top.add_subparsers(dest="command", required=True)
    command = commands.add_parser("wal-push")
    command.add_argument("path")
    for name in ("wal-fetch", "wal-prefetch"):
        command = commands.add_parser(name)
        command.add_argument("name")
        command.add_argument("destination")
    command = commands.add_parser("backup-push")
    command.add_argument("data", nargs="?", default="")
    for flag in ("--full", "--permanent", "--verify"):
        command.add_argument(flag, action="store_true")
    command.add_argument("--add-user-data", default="")
    command = commands.add_parser("backup-fetch")
    command.add_argument("directory")
    command.add_argument("name")
    command = commands.add_parser("backup-list")
    for flag in ("--detail", "--json", "--pretty"):
        command.add_argument(flag, action="store_true")
    command = commands.add_parser("backup-mark")
    command.add_argument("name")
    command.add_argument("-i", "--impermanent", action="store_true")
    command = commands.add_parser("wal-show")
    command.add_argument("--detailed-json", action="store_true")
    command = commands.add_parser("wal-verify")
    command.add_argument("checks", nargs="+", choices=["integrity", "timeline"])
    command.add_argument("--json", action="store_true")
    command.add_argument("--backup-name", default="")
    command = commands.add_parser("delete")
    command.add_argument("what", choices=["retain", "before", "garbage"])
    command.add_argument("words", nargs="*")
    command.add_argument("--after", default="")
    for flag in ("--use-sentinel-time", "--confirm"):
        command.add_argument(flag, action="store_true")
    _add_storage(commands.add_parser("st"))
    return top


def _add_storage(command: argparse.ArgumentParser) -> None:
    command.add_argument("what", choices=["ls", "cat", "get", "put", "rm", "check", "stat"])
    command.add_argument("words", nargs="*")
    for flag in ("--no-compress", "--no-encrypt", "--no-decompress", "--no-decrypt", "--decrypt", "--decompress"):
        command.add_argument(flag, action="store_true")
    command.add_argument("-f", "--force", action="store_true")
    command.add_argument("-r", "--recursive", action="store_true")


def _storage(store: Store, options: argparse.Namespace) -> None:
    words = [*options.words, "", ""]
    match options.what:
        case "ls":
            storage.ls(store, words[0], options.recursive)
        case "cat":
            storage.cat(store, words[0], options.decrypt, options.decompress)
        case "get":
            storage.get(store, words[0], words[1], not options.no_decrypt, not options.no_decompress)
        case "put":
            storage.put(store, words[0], words[1], not options.no_compress, not options.no_encrypt, options.force)
        case "rm":
            storage.rm(store, words[0])
        case "stat":
            storage.stat(store, words[0])
        case _:
            storage.check(store, words[0] or "read")


def _delete(store: Store, options: argparse.Namespace) -> None:
    if options.what != "garbage":
        log("INFO", "Backup to delete will be searched in storages: [default]")
    deletion = delete.Deletion(store, by_sentinel=options.use_sentinel_time, confirm=options.confirm)
    # FULL and FIND_FULL mean the same where there are only full backups
    words = [word for word in options.words if word not in ("FULL", "FIND_FULL")]
    if options.what == "garbage":
        deletion.garbage(words[0] if words else "")
    elif len(words) != 1:
        raise WalgError(f"accepts 1 arg, received {len(words)}")
    elif options.what == "retain":
        deletion.retain(int(words[0]), options.after)
    else:
        deletion.before(words[0])


def _run(options: argparse.Namespace, path: str) -> None:
    settings = load(path)
    store = Store(settings)
    match options.command:
        case "wal-push":
            wal.push(store, settings, options.path)
        case "wal-fetch":
            wal.fetch(store, settings, path, options.name, options.destination)
        case "wal-prefetch":
            wal.prefetch(store, settings, options.name, options.destination)
        case "backup-push":
            data = options.data or settings.get("PGDATA")
            base.push(store, settings, data, permanent=options.permanent, user_data=options.add_user_data)
        case "backup-fetch":
            base.fetch(store, options.directory, options.name)
        case "backup-list":
            catalogue.backup_list(store, detail=options.detail, as_json=options.json)
        case "backup-mark":
            catalogue.backup_mark(store, options.name, not options.impermanent)
        case "wal-show":
            verify.wal_show(store)
        case "wal-verify":
            verify.wal_verify(store, settings, options.checks, options.backup_name)
        case "delete":
            _delete(store, options)
        case _:
            _storage(store, options)


def main(arguments: Sequence[str]) -> int:
    rest = list(arguments)
    if "--version" in rest:
        print(f"wal-g version {VERSION}\t{REVISION}\t{REVISION}\tPostgreSQL\n")
        return 0
    path = os.environ.get("WALG_CONFIG_PATH", os.path.expanduser(_DEFAULT))  # noqa: PTH111
    if "--config" in rest:
        at = rest.index("--config")
        path = rest[at + 1]
        del rest[at : at + 2]
    parser = _parser()
    known = parser._subparsers._group_actions[0].choices  # type: ignore[union-attr]
    if rest and known is not None and rest[0] not in known:
        print(f'unknown command "{rest[0]}" for "wal-g"\n')
        print(f'Error: unknown command "{rest[0]}" for "wal-g"\nRun \'wal-g --help\' for usage.', file=sys.stderr)
        return 1
    try:
        _run(parser.parse_args(rest), path)
    except WalgError as error:
        log("ERROR", str(error))
        return error.code
    except KeyError as error:
        log("ERROR", f"object {error} not found in storage")
        return 1
    return 0
