#!/usr/bin/python3
# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look at what only this host sees, and push it to Uptime Kuma: readiness behind the edge, databases, the archive.

The configuration comes as a credential (kuma-push.json: url, upstreams, pushes, secrets with a token for each). What is
not well is pushed as down with the reason; exits with 1 only where the server itself could not be told.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from typing import Any, Dict, List, Mapping
from urllib.parse import urlencode

TIMEOUT = 10.0
PGSAFE = "/usr/local/lib/sapflux/walg/pgsafe"
ARCHIVE_SECONDS = 600
"""How long an answer about the archive is good: each asks the bucket."""
WORDS = 200
"""Characters of a reason that are pushed."""


def readiness(target: str, upstreams: str) -> str:
    """What is wrong with a loopback URL; ``upstream://NAME/path`` stands for the slot that serves."""
    url = target
    if target.startswith("upstream://"):
        name, _slash, path = target[len("upstream://") :].partition("/")
        try:
            with open(os.path.join(upstreams, name), encoding="utf-8") as stream:
                url = f"http://{stream.read().strip()}/{path}"
        except FileNotFoundError:
            return "it was never deployed"
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT):  # noqa: S310 - loopback URLs of the configuration
            return ""
    except urllib.error.HTTPError as error:
        return f"it answers {error.code}"
    except OSError as error:
        return str(getattr(error, "reason", error))


def run(argv: List[str], timeout: float) -> "subprocess.CompletedProcess[str]":
    """Run a program to its end. One that is not there, or does not end, is one that failed."""
    try:
        return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=timeout, errors="replace")
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(argv, 127, "", str(error))


def postgres(database: str) -> str:
    """What is wrong with a database: whether it answers a query, not only whether somebody listens."""
    done = run(["psql", "--no-psqlrc", "--no-password", "--quiet", "-Atc", "SELECT 1", "--dbname", database], TIMEOUT)
    return "" if done.returncode == 0 else done.stderr.strip() or "it does not answer"


def archive(state: str) -> str:
    """What is wrong with the backups, in pgsafe's words; the last answer, while it is young."""
    kept = os.path.join(state, "archive.json")
    try:
        if time.time() - os.stat(kept).st_mtime < ARCHIVE_SECONDS:
            with open(kept, encoding="utf-8") as stream:
                return str(json.load(stream)["wrong"])
    except (OSError, ValueError, KeyError):
        pass
    done = run([PGSAFE, "status", "--json"], 60)
    try:
        wrong = "; ".join(json.loads(done.stdout)["problems"])
    except (ValueError, KeyError):
        wrong = done.stderr.strip() or f"pgsafe status ended with {done.returncode}"
    with open(f"{kept}.new", "w", encoding="utf-8") as stream:
        json.dump({"wrong": wrong}, stream)
    os.replace(f"{kept}.new", kept)
    return wrong


def look(push: Mapping[str, Any], config: Mapping[str, Any], state: str) -> str:
    """What is wrong with one thing, "" where nothing is."""
    if push["kind"] == "url":
        return readiness(push["target"], config["upstreams"])
    return postgres(push["target"]) if push["kind"] == "postgres" else archive(state)


def tell(url: str, token: str, wrong: str) -> str:
    """Push one beat; why it could not be, without the token."""
    words = urlencode({"status": "down" if wrong else "up", "msg": " ".join(wrong.split())[:WORDS] or "OK"})
    try:
        with urllib.request.urlopen(f"{url}/api/push/{token}?{words}", timeout=TIMEOUT):  # noqa: S310
            return ""
    except urllib.error.HTTPError as error:
        return f"it answered {error.code}" + ("; run the role monitoring again" if error.code == 404 else "")
    except OSError as error:
        return str(getattr(error, "reason", error)).replace(token, "********")


def main(environment: Mapping[str, str]) -> int:
    """Entry point."""
    try:
        with open(
            os.path.join(environment.get("CREDENTIALS_DIRECTORY", ""), "kuma-push.json"), encoding="utf-8"
        ) as stream:
            config: Dict[str, Any] = json.load(stream)
        tokens = {name: one["pushToken"] for name, one in json.loads(config["secrets"])["monitors"].items()}
    except (OSError, ValueError, KeyError) as error:
        print(
            f"<4>the credential kuma-push.json cannot be read ({type(error).__name__}); run the role monitoring again"
        )
        return 1
    bad = 0
    for push in config["pushes"]:
        wrong = look(push, config, environment.get("STATE_DIRECTORY", ""))
        failed = tell(config["url"], tokens[push["name"]], wrong)
        if failed:
            bad = 1
            print(f"<4>Uptime Kuma was not told of {push['name']}: {failed}")
    return bad


if __name__ == "__main__":
    sys.exit(main(os.environ))
