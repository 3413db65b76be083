# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's half of the switch: arm, apply, commit, or roll back.

  arm       keep both rulesets, start a timer that loads the open one        kernel open     file open     timer runs
  apply     load the locked rules into the kernel only                       kernel locked   file open     timer runs
  commit    stop the timer, then replace the file, then the state            kernel locked   file locked   no timer
  rollback  load the open rules, then stop the timer                         kernel open     file open     no timer

Wherever this stops half-way, either the timer opens the host again, or a reboot does, or what is locked has already
been proven; and the lifeline watches from before the first step on.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from typing import Any, Dict, List

from .host import GRANT_FILE, Host, LockdownError, Table, fingerprint

#: Seconds that must be left on the timer when a step begins.
MARGIN = 3.0


def _path(host: Host, name: str) -> str:
    return os.path.join(host.kept, name)


def _armed(host: Host) -> str:
    # On a tmpfs like the timer itself: both are gone after a reboot.
    return os.path.join(host.volatile, "armed.json")


def ssh_server_address() -> str:
    """The address of this host that the calling SSH session came in on, "" at a console.

    sudo hides it from its children's environment, so the parents' are read.
    """
    pid = os.getpid()
    while pid > 1:
        try:
            with open(f"/proc/{pid}/environ", "rb") as stream:
                environment = stream.read().split(b"\0")
            with open(f"/proc/{pid}/stat", "rb") as stream:
                pid = int(stream.read().rpartition(b")")[2].split()[1])
        except (OSError, ValueError):
            return ""
        for item in environment:
            if item.startswith(b"SSH_CONNECTION="):
                fields = item.decode(errors="replace").partition("=")[2].split()
                return fields[2] if len(fields) == 4 else ""
    return ""


def status(host: Host) -> Dict[str, Any]:
    """Everything there is to know, in one answer; changes nothing."""
    table = host.table()
    tailnet = host.tailnet()
    armed = host.read_json(_armed(host))
    running = bool(armed) and host.timer_runs()
    grant = host.read_json(os.path.join(host.volatile, GRANT_FILE))
    left = max(0.0, float(grant.get("until", 0)) - host.clock())
    return {
        "state": host.read_json(host.state),
        "loaded": table.fingerprint if table else "",
        "file": fingerprint(host.read(host.rules)),
        "armed_seconds": round(max(0.0, float(armed.get("until", 0)) - host.clock()), 1) if running else 0,
        "tailnet": {
            "up": tailnet.up,
            "why": tailnet.why,
            "addresses": tailnet.addresses,
            "problems": tailnet.problems,
        },
        "wan_addresses": host.addresses(host.config.wan_interface),
        "ssh_port": host.config.ssh_port,
        "sshd": host.greets(host.config.ssh_port),
        "rescue_open": bool(table and (table.sets.get("ssh_rescue4") or table.sets.get("ssh_rescue6"))),
        "grant": {"cidrs": grant["cidrs"], "seconds": round(left)} if left else {},
        "operator": host.config.operator,
        "machine": host.read("/etc/machine-id").strip(),
        "via": ssh_server_address(),
    }


def describe(answer: Dict[str, Any]) -> List[str]:
    """The answer of `status` in sentences."""
    state, tailnet = answer["state"], answer["tailnet"]
    lines = [
        f"locked:    since {state['since']}" if state.get("locked") else "locked:    no",
        f"tailnet:   {'up, ' + ' '.join(tailnet['addresses']) if tailnet['up'] else 'down: ' + tailnet['why']}",
        f"sshd:      {'answers' if answer['sshd'] else 'DOES NOT ANSWER'} on port {answer['ssh_port']}",
        f"rules:     {answer['loaded'] or 'NOT LOADED'}"
        + ("" if answer["loaded"] == answer["file"] else f", but the file has {answer['file'] or 'none'}"),
        f"lifeline:  {'OPEN' if answer['rescue_open'] else 'closed'}, for {' '.join(answer['operator']) or 'nobody'}",
    ]
    if answer["grant"]:
        lines.append(f"opened:    for {' '.join(answer['grant']['cidrs'])}, {answer['grant']['seconds']} s left")
    if answer["armed_seconds"]:
        lines.append(f"dead man:  opens SSH again in {answer['armed_seconds']} s unless the lockdown is confirmed")
    lines.extend(f"problem:   {problem}" for problem in tailnet["problems"])
    return lines


def _refuse_bad_start(host: Host, table: Table) -> None:
    """Raise LockdownError with everything that makes locking unsafe now."""
    problems = []
    if not host.greets(host.config.ssh_port):
        problems.append(f"no SSH server answers on port {host.config.ssh_port} of this host")
    tailnet = host.tailnet()
    if not tailnet.up:
        problems.append(f"the tailnet is down ({tailnet.why})")
    problems.extend(tailnet.problems)
    if table.sets.get("ssh_rescue4") or table.sets.get("ssh_rescue6"):
        problems.append("the tailnet was down a moment ago: run again in a minute")
    missing = [name for name in ("ssh_rescue4", "ssh_rescue6") if name not in table.sets]
    if missing:
        problems.append(f"the loaded rules have no {' and '.join(missing)}: set firewall_tailnet_interface")
    if problems:
        raise LockdownError("; ".join(problems))


def arm(host: Host, request: Dict[str, Any]) -> Dict[str, Any]:
    """Take the open and the locked rules (text), and start the timer.

    `request`: {open, locked: str; seconds: int; state: what the state file shall hold beside `locked` and `since`}.
    Answers {token}. What an earlier run left half done is undone first. Raises LockdownError; the host is then open.
    """
    opened, locked = str(request["open"]), str(request["locked"])
    names = {fingerprint(opened): "open", fingerprint(locked): "locked"}
    if len(names) != 2 or "" in names:
        raise LockdownError("the open and the locked rules are not two rulesets of this role")
    with host.locked():
        table = host.table()
        on_disk = fingerprint(host.read(host.rules))
        if table is None or table.fingerprint not in names or on_disk not in names:
            raise LockdownError(
                "the host runs neither the open nor the locked rules: apply the firewall role first, with the networks "
                "of firewall_lockdown_cidrs as firewall_ssh_cidrs"
            )
        _refuse_bad_start(host, table)
        host.nft(opened, check=True)
        host.nft(locked, check=True)
        token = secrets.token_hex(8)
        host.write(_path(host, "open.nft"), opened)
        host.write(_path(host, "locked.nft"), locked)
        host.write(_path(host, "state.json"), json.dumps(request["state"]))
        if names[on_disk] == "locked":
            # A reboot in the middle must boot open.
            host.write(host.rules, opened)
        seconds = int(request["seconds"])
        host.write(_armed(host), json.dumps({"token": token, "until": host.clock() + seconds}))
        try:
            host.arm_timer(seconds, _path(host, "open.nft"))
        except LockdownError:
            host.forget(_armed(host))
            raise
        if names[table.fingerprint] == "locked":
            host.nft(opened)
        return {"token": token}


def _check_token(host: Host, token: str) -> Dict[str, Any]:
    """What is armed. Raises LockdownError where it is not by this token, or the timer is up or about to be."""
    armed = host.read_json(_armed(host))
    if armed.get("token") != token:
        raise LockdownError("another run has taken this lockdown over, or the host was rebooted; the rules are open")
    if not host.timer_runs() or host.clock() > float(armed["until"]) - MARGIN:
        raise LockdownError("the dead-man timer is up; it opens the host again")
    return armed


def apply(host: Host, token: str) -> Dict[str, Any]:
    """Load the locked rules into the kernel, and nowhere else."""
    with host.locked():
        _check_token(host, token)
        # A lockdown ends what was opened for a time; the watch would give it back.
        host.forget(os.path.join(host.volatile, GRANT_FILE))
        host.nft(host.read(_path(host, "locked.nft")))
        return {"loaded": True}


def commit(host: Host, token: str) -> Dict[str, Any]:
    """Make the locked rules last. All that can fail for want of space is done while the timer still runs."""
    with host.locked():
        _check_token(host, token)
        locked = host.read(_path(host, "locked.nft"))
        state = {
            "locked": True,
            "since": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            **host.read_json(_path(host, "state.json")),
        }
        staged_rules = host.stage(host.rules, locked)
        staged_state = host.stage(host.state, json.dumps(state) + "\n")
        host.stop_timer()
        table = host.table()
        if table is None or table.fingerprint != fingerprint(locked):
            host.forget(staged_rules)
            host.forget(staged_state)
            host.forget(_armed(host))
            raise LockdownError("the dead-man timer was quicker: the host is open again; run again")
        try:
            host.install(staged_rules, host.rules)
        except LockdownError as error:
            host.nft(host.read(_path(host, "open.nft")))
            raise LockdownError(f"{error}; the host is open again") from None
        host.install(staged_state, host.state)
        host.forget(_armed(host))
        return {"state": state}


def note(host: Host, request: Dict[str, Any]) -> Dict[str, Any]:
    """Renew what a locked host remembers beside `locked` and `since`; no rule changes. `request` is that of `arm`."""
    with host.locked():
        state = host.read_json(host.state)
        if not state.get("locked"):
            raise LockdownError("the host is not locked")
        state.update(request["state"])
        host.write(host.state, json.dumps(state) + "\n")
        return {"state": state}


def rollback(host: Host, token: str) -> Dict[str, Any]:
    """Open the host again before its time. The timer keeps running until that is done."""
    with host.locked():
        if host.read_json(_armed(host)).get("token") != token:
            raise LockdownError("another run has taken this lockdown over, or the host was rebooted")
        host.nft(host.read(_path(host, "open.nft")))
        host.stop_timer()
        host.forget(_armed(host))
        return {"open": True}
