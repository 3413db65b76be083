# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ways in while SSH is closed: for the operator's networks while the tailnet is down, for anybody named for a time.

Both are elements of sets in the loaded table, so the rules themselves never change. All times are of the monotonic
clock, which no clock change moves; what is remembered lies on a tmpfs, so a reboot starts afresh.
"""

from __future__ import annotations

import ipaddress
import json
import os
from typing import Any, Dict, List, Sequence

from .host import GRANT_FILE, TABLE, Host, LockdownError, merged, span

RESCUE, GRANT = "ssh_rescue", "ssh_grant"
MAX_MINUTES = 7 * 24 * 60
#: Looks in a row that must find the tailnet up before it counts as back, so that a flapping one keeps the way open.
SETTLE_LOOKS = 3


def judge(memory: Dict[str, Any], up: bool, now: float, rescue: float, settle: float) -> Dict[str, Any]:
    """The next memory of the watch: {down_since, up_since: seconds or null; open: whether the way in shall be open}.

    Opens when the tailnet has not been well for `rescue` seconds, closes when it has been up for `settle` seconds.
    """
    down_since, up_since = memory.get("down_since"), memory.get("up_since")
    opened = bool(memory.get("open"))
    if up:
        up_since = now if up_since is None else up_since
        if now - up_since >= settle or down_since is None:
            down_since, opened = None, False
    else:
        up_since = None
        down_since = now if down_since is None else down_since
    if down_since is not None and now - down_since >= rescue:
        opened = True
    return {"down_since": down_since, "up_since": up_since, "open": opened}


def _networks(cidrs: Sequence[str]) -> Dict[int, List[str]]:
    """The networks by IP version, joined where they overlap. Raises LockdownError."""
    for cidr in cidrs:
        span(cidr)
    nets = [ipaddress.ip_network(cidr) for cidr in cidrs]
    four = ipaddress.collapse_addresses(net for net in nets if isinstance(net, ipaddress.IPv4Network))
    six = ipaddress.collapse_addresses(net for net in nets if isinstance(net, ipaddress.IPv6Network))
    return {4: [str(net) for net in four], 6: [str(net) for net in six]}


def fill(host: Host, name: str, cidrs: Sequence[str], seconds: int = 0) -> bool:
    """Make a pair of sets hold exactly these networks, for `seconds` (0 = until told otherwise).

    Returns whether that was a change. The kernel itself ends what has a time.
    """
    table = host.table()
    if table is None:
        raise LockdownError(f"table inet {TABLE} is not loaded, so nothing is closed; see `systemctl status sapflux-*`")
    lines: List[str] = []
    for version, nets in _networks(cidrs).items():
        if f"{name}{version}" not in table.sets:
            raise LockdownError(f"the loaded rules have no set {name}{version}; apply the firewall role again")
        if table.sets[f"{name}{version}"] == merged([span(net) for net in nets]) and not seconds:
            continue
        lines.append(f"flush set inet {TABLE} {name}{version}")
        if nets:
            limit = f" timeout {seconds}s" if seconds else ""
            lines.append(f"add element inet {TABLE} {name}{version} {{ {', '.join(net + limit for net in nets)} }}")
    if lines:
        host.nft("\n".join(lines) + "\n")
    return bool(lines)


def _grant_path(host: Host) -> str:
    return os.path.join(host.volatile, GRANT_FILE)


def _restore_grant(host: Host) -> None:
    """Give back the time that is left of an opening when somebody has loaded the table again."""
    grant = host.read_json(_grant_path(host))
    left = int(float(grant.get("until", 0)) - host.clock())
    table = host.table()
    if left > 0 and table is not None and not (table.sets.get(f"{GRANT}4") or table.sets.get(f"{GRANT}6")):
        fill(host, GRANT, grant["cidrs"], left)


def watch(host: Host) -> Dict[str, Any]:
    """One look of the timer. Answers {text}, empty where nothing changed."""
    with host.locked():
        path = os.path.join(host.volatile, "watch.json")
        before = host.read_json(path)
        config = host.config
        tailnet = host.tailnet()
        settle = SETTLE_LOOKS * config.watch_seconds
        after = judge(before, tailnet.up, host.clock(), config.rescue_seconds, settle)
        host.write(path, json.dumps(after))
        opened = after["open"] and config.rescue_seconds > 0
        changed = fill(host, RESCUE, config.operator if opened else [])
        _restore_grant(host)
    if not changed:
        return {"text": ""}
    if opened:
        why = tailnet.why or "it comes and goes"
        return {"text": f"SSH is open for {' '.join(config.operator)}: the tailnet is down ({why})"}
    return {"text": "SSH is closed again: the tailnet is up"}


def open_for(host: Host, cidrs: Sequence[str], minutes: float) -> Dict[str, Any]:
    """Let networks (the operator's, when none is named) reach SSH for a time; replaces what was opened before."""
    wanted = list(cidrs) or host.config.operator
    if not wanted:
        raise LockdownError("name a network with --cidr: none is configured")
    seconds = round(minutes * 60)
    if not 1 <= seconds <= MAX_MINUTES * 60:
        raise LockdownError(f"--minutes is {minutes:g}; write more than 0 and at most {MAX_MINUTES} (a week)")
    with host.locked():
        # The kernel first: at a console, what matters is that it opens.
        fill(host, GRANT, wanted, seconds)
        host.write(_grant_path(host), json.dumps({"cidrs": wanted, "until": host.clock() + seconds}))
    return {"text": f"SSH is open for {' '.join(wanted)} for {minutes:g} minutes, then it closes by itself"}


def close(host: Host) -> Dict[str, Any]:
    """End what `open` began."""
    with host.locked():
        host.forget(_grant_path(host))
        changed = fill(host, GRANT, [])
    return {"text": "SSH is closed again" if changed else "nothing was open"}
