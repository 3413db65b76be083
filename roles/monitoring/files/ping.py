#!/usr/bin/python3
# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell Healthchecks how a unit fares: `ping.py start UNIT` beside its start, `ping.py end UNIT` after its end.

Runs in units of its own that systemd starts by OnSuccess=, OnFailure= and Wants=, so the watched job is neither slowed
down nor failed by it. The key comes as a credential (ping.json: url, key, slugs by unit) and is in no argument. A
failure carries the result in words and the last lines of the unit's journal. Exits with 1 and one sentence when the
server could not be told.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from typing import Any, Callable, Dict, Mapping, Optional
from urllib.parse import quote

TRIES = 5
PAUSE = 2.0
"""Seconds before the second try; it doubles with each that follows."""
TIMEOUT = 10.0
LINES = 30
BODY = 9000
"""Bytes of a body: servers of one's own keep 10 000."""
RUNNING = ("activating", "active", "reloading")
STARTING = 5.0
"""Seconds within which a unit that was asked to start has an invocation."""


class PingError(Exception):
    """One sentence that names what is wrong and the way out, never the key."""


def load(directory: str) -> Dict[str, Any]:
    """Read the credential. Raises PingError."""
    try:
        with open(os.path.join(directory, "ping.json"), encoding="utf-8") as stream:
            found: Dict[str, Any] = json.load(stream)
    except (OSError, ValueError) as error:
        raise PingError(f"the credential ping.json cannot be read ({error}); run the role monitoring again") from None
    return found


def show(unit: str, names: str) -> Dict[str, str]:
    """Ask systemd for properties of a unit. Raises PingError."""
    argv = ["systemctl", "show", f"{unit}.service", f"--property={names}"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise PingError(f"systemd does not answer about {unit}: {done.stderr.strip() or 'no reason given'}")
    return dict(line.partition("=")[::2] for line in done.stdout.splitlines())


def outcome(unit: str, given: Mapping[str, str]) -> Dict[str, str]:
    """How the unit ended: result, code, status, invocation.

    systemd hands it over, but for two ends at once; then the unit itself is asked.
    """
    if given.get("MONITOR_SERVICE_RESULT"):
        return {
            "result": given["MONITOR_SERVICE_RESULT"],
            "code": given.get("MONITOR_EXIT_CODE", ""),
            "status": given.get("MONITOR_EXIT_STATUS", ""),
            "invocation": given.get("MONITOR_INVOCATION_ID", ""),
        }
    seen = show(unit, "Result,ExecMainCode,ExecMainStatus,InvocationID")
    return {
        "result": seen.get("Result", ""),
        "code": seen.get("ExecMainCode", ""),
        "status": seen.get("ExecMainStatus", ""),
        "invocation": seen.get("InvocationID", ""),
    }


def begun(unit: str, pause: Callable[[float], None] = time.sleep) -> str:
    """The invocation of a unit that is about to start, "" where it does not."""
    for _look in range(int(STARTING / 0.1)):
        seen = show(unit, "ActiveState,InvocationID")
        if seen.get("ActiveState") in RUNNING:
            return seen.get("InvocationID", "")
        pause(0.1)
    return ""


def journal(invocation: str) -> str:
    """The last lines that an invocation wrote."""
    if not invocation:
        return ""
    argv = [
        "journalctl",
        "--quiet",
        "--no-pager",
        "--output=cat",
        f"--lines={LINES}",
        f"_SYSTEMD_INVOCATION_ID={invocation}",
    ]
    return subprocess.run(argv, capture_output=True, text=True, check=False, errors="replace").stdout


def report(end: Mapping[str, str]) -> bytes:
    """What a person needs to read first, cut to what the server keeps: the newest lines stay."""
    head = f"result {end['result']}, code {end['code']}, status {end['status']}\n\n".encode()
    return head + journal(end["invocation"]).encode()[-(BODY - len(head)) :]


def address(config: Mapping[str, Any], unit: str, what: str, invocation: str) -> str:
    """Where to say it. Raises PingError for a unit that nobody watches."""
    slug = config["slugs"].get(unit)
    if not slug:
        raise PingError(f"{unit} has no check; run the role monitoring again")
    url = f"{config['url'].rstrip('/')}/{config['key']}/{quote(slug)}{what}"
    # The same number at start and end lets the server tell how long the run took.
    return f"{url}?rid={_uuid(invocation)}" if len(invocation) == 32 else url


def _uuid(text: str) -> str:
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def send(url: str, body: bytes, key: str, pause: Callable[[float], None] = time.sleep) -> None:
    """Post, again after what may pass. Raises PingError."""
    reason = ""
    for attempt in range(TRIES):
        if attempt:
            pause(PAUSE * 2 ** (attempt - 1))
        try:
            request = urllib.request.Request(url, body, method="POST")  # noqa: S310 - the administrator's own URL
            with urllib.request.urlopen(request, timeout=TIMEOUT):  # noqa: S310
                return
        except urllib.error.HTTPError as error:
            reason = f"it answered {error.code}"
            if error.code in (400, 404, 409):
                reason += "; is there a check of that slug, and is the key the project's ping key?"
                break
        except (OSError, ValueError) as error:
            reason = str(error).replace(key, "********")
    raise PingError(f"the server of the checks was not told: {reason}")


def main(argv: list[str], environment: Optional[Mapping[str, str]] = None) -> int:
    """Entry point; 0 when the server was told, or there was nothing to tell."""
    given = os.environ if environment is None else environment
    try:
        what, unit = argv
        config = load(given.get("CREDENTIALS_DIRECTORY", ""))
        if what == "start":
            invocation = begun(unit)
            if not invocation:
                return 0
            send(address(config, unit, "/start", invocation), b"", config["key"])
            if show(unit, "ActiveState").get("ActiveState") in RUNNING:
                return 0
            # It has ended meanwhile; should its end have come first, the server would wait for another.
        end = outcome(unit, given)
        # A run that a condition held back is none: that it does not come in time is for the check to notice.
        if end["result"] == "exec-condition":
            return 0
        bad = end["result"] != "success"
        send(
            address(config, unit, "/fail" if bad else "", end["invocation"]),
            report(end) if bad else b"",
            config["key"],
        )
    except PingError as error:
        # A warning, in the journal's own way: less than that the unit keeps out of it.
        print(f"<4>{error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
