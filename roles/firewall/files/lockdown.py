#!/usr/bin/python3 -ISB
# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""lockdown: SSH through the tailnet only, with a way back.

At the provider's console, as root:
  lockdown status                                      what is open, and why
  lockdown open [--minutes 60] [--cidr NETWORK ...]    let networks reach SSH for a time (yours, when none is named)
  lockdown close                                       end that now
Ansible calls `arm`, `apply`, `commit`, `rollback` and `note`, which answer one line of JSON; systemd calls `watch`.
Exit codes: 0 done, 1 refused or failed with one sentence on standard error, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any, Callable, Dict, List, Optional

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))

from lockdown_parts import lifeline, protocol
from lockdown_parts.host import Host, LockdownError, load_config

CONFIG = "/etc/sapflux/lockdown.json"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="lockdown", description="SSH through the tailnet only, with a way back.")
    verbs = top.add_subparsers(dest="verb", required=True)
    status = verbs.add_parser("status", help="what is open, and why")
    status.add_argument("--json", action="store_true", help="the same for programs")
    opening = verbs.add_parser("open", help="let networks reach SSH for a time")
    opening.add_argument("--minutes", type=float, default=60, help="until it closes by itself (60)")
    opening.add_argument("--cidr", action="append", default=[], help="a network, may be repeated; yours by default")
    verbs.add_parser("close", help="end what `open` began")
    verbs.add_parser("arm", help="(Ansible) keep the open rules and start the dead-man timer; JSON on standard input")
    verbs.add_parser("note", help="(Ansible) renew what a locked host remembers; JSON on standard input")
    for name, text in (
        ("apply", "load the locked rules"),
        ("commit", "stop the dead-man timer and keep the locked rules"),
        ("rollback", "load the open rules again"),
    ):
        verbs.add_parser(name, help=f"(Ansible) {text}").add_argument("--token", required=True)
    verbs.add_parser("watch", help="(systemd) open SSH for your networks while the tailnet is down")
    return top


def act(host: Host, options: argparse.Namespace) -> Dict[str, Any]:
    """Do what was asked. Raises LockdownError."""
    verbs: Dict[str, Callable[[], Dict[str, Any]]] = {
        "status": lambda: protocol.status(host),
        "open": lambda: lifeline.open_for(host, options.cidr, options.minutes),
        "close": lambda: lifeline.close(host),
        "watch": lambda: lifeline.watch(host),
        "arm": lambda: protocol.arm(host, json.load(sys.stdin)),
        "note": lambda: protocol.note(host, json.load(sys.stdin)),
        "apply": lambda: protocol.apply(host, options.token),
        "commit": lambda: protocol.commit(host, options.token),
        "rollback": lambda: protocol.rollback(host, options.token),
    }
    return verbs[options.verb]()


def say(options: argparse.Namespace, answer: Dict[str, Any]) -> None:
    """Print the answer: sentences for people, JSON for programs; the watch speaks only when something changed."""
    if options.verb == "status" and not options.json:
        print("\n".join(protocol.describe(answer)))
    elif options.verb in ("open", "close", "watch"):
        if answer.get("text"):
            # <5> is "notice" to the journal: the unit's own starts and ends are kept out of it.
            print(("<5>" if options.verb == "watch" else "") + answer["text"])
    else:
        print(json.dumps(answer))


def main(arguments: Optional[List[str]] = None) -> int:
    """Entry point."""
    options = parser().parse_args(arguments)
    try:
        say(options, act(Host(load_config(CONFIG)), options))
    except LockdownError as error:
        print(f"lockdown: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
