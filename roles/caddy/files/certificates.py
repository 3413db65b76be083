#!/usr/bin/python3
"""See to it that every site has a certificate: Caddy's own, or the origin certificate until Caddy has one.

`settle [--wait SECONDS]` looks at the certificates Caddy got by ACME. A site that has none that is valid for another
hour is served under the origin certificate, and one that has its own again no longer is; Caddy goes on trying all the
time. With --wait it is given so long first. Reloads Caddy only when something changed.
`report` prints what was found at the last settling, as JSON: {"sites": {name: "own"|"origin"|"none"}, "reasons": {name:
"what the authority said last"}}.
Exit code 0 = settled, 1 = Caddy could not be reloaded.

Reads /etc/caddy/certificates.json: {"managed": folder of Caddy's certificates, "origin": the origin certificate or "",
"fallback": folder of what Caddy imports, "hostnames": [names]}.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any

SETTINGS = "/etc/caddy/certificates.json"
STATE = "/var/lib/sapflux/certificates.json"
UNIT = "caddy.service"
#: A certificate that ends within so many seconds does not count: the switch must come before the end.
MARGIN = 3600
PAUSE = 1.0


def run(*argv: str) -> subprocess.CompletedProcess[str]:
    """Run a program; its exit code is looked at by who asks."""
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def valid(path: str) -> bool:
    """Whether a certificate is there and stays valid for a while."""
    return (
        os.path.exists(path) and run("openssl", "x509", "-noout", "-in", path, "-checkend", str(MARGIN)).returncode == 0
    )


class Sites:
    """The sites of one settings file."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.managed: str = settings["managed"]
        self.origin: str = settings["origin"]
        self.fallback: str = settings["fallback"]
        self.hostnames: list[str] = settings["hostnames"]

    def own(self, name: str) -> bool:
        """Whether Caddy has a certificate for the site."""
        return valid(os.path.join(self.managed, name, f"{name}.crt"))

    def switch(self, name: str) -> str:
        """The file whose presence puts a site under the origin certificate."""
        return os.path.join(self.fallback, f"{name}.caddy")

    def wait(self, seconds: float) -> None:
        """Give sites that have no certificate of their own some time to get one."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not all(self.own(name) for name in self.hostnames):
            time.sleep(PAUSE)

    def settle(self) -> tuple[dict[str, str], bool]:
        """({site: own, origin or none}, whether a switch was moved)."""
        found = {}
        moved = False
        usable = bool(self.origin) and valid(self.origin)
        for name in self.hostnames:
            found[name] = "own" if self.own(name) else "origin" if usable else "none"
            moved = self._set(name, found[name] == "origin") or moved
        wanted = {self.switch(name) for name in self.hostnames}
        for path in self._switches():
            if path not in wanted:
                os.unlink(path)
                moved = True
        return found, moved

    def _switches(self) -> Iterable[str]:
        if not os.path.isdir(self.fallback):
            return []
        return [os.path.join(self.fallback, name) for name in os.listdir(self.fallback) if name.endswith(".caddy")]

    def _set(self, name: str, on: bool) -> bool:
        path = self.switch(name)
        if on == os.path.exists(path):
            return False
        if not on:
            os.unlink(path)
            return True
        with open(f"{path}.new", "w", encoding="ascii") as handle:
            handle.write(f"tls {self.origin} {self.origin.removesuffix('.pem')}.key\n")
        os.rename(f"{path}.new", path)
        return True


def reasons(names: Iterable[str]) -> dict[str, str]:
    """What the server logged last about getting a certificate for each of these sites."""
    wanted = set(names)
    if not wanted:
        return {}
    logged = run("journalctl", "--quiet", "--no-pager", "--output=cat", "--since=-1d", "--lines=2000", f"--unit={UNIT}")
    found: dict[str, str] = {}
    for line in logged.stdout.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if not isinstance(entry, dict) or not str(entry.get("logger", "")).startswith("tls"):
            continue
        name, error = entry.get("identifier"), entry.get("error")
        if name in wanted and error:
            found[name] = str(error)[:400]
    return found


def tell(found: dict[str, str], why: dict[str, str], before: dict[str, str]) -> None:
    """Say on stderr (the journal) what became of which site, when it is news."""
    for name, state in found.items():
        if before.get(name) == state:
            continue
        reason = f": {why[name]}" if name in why else ""
        if state == "origin":
            print(
                f"<4>{name} has no certificate of its own and is served under the origin certificate{reason}",
                file=sys.stderr,
            )
        elif state == "none":
            print(
                f"<3>{name} has no certificate, and there is no origin certificate to fall back to{reason}",
                file=sys.stderr,
            )
        elif name in before:
            print(f"<5>{name} is served under its own certificate again", file=sys.stderr)


def last() -> dict[str, Any]:
    """What was found the last time."""
    try:
        with open(STATE, encoding="utf-8") as handle:
            known: dict[str, Any] = json.load(handle)
    except (OSError, ValueError):
        return {"sites": {}, "reasons": {}}
    return known


def settle(wait: float) -> int:
    """Settle, reload when needed, and note what was found. Leaves it to a settling that waits, where there is one."""
    with open(f"{STATE}.lock", "w", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return 0
        return _settle(wait)


def _settle(wait: float) -> int:
    with open(SETTINGS, encoding="utf-8") as handle:
        sites = Sites(json.load(handle))
    sites.wait(wait)
    found, moved = sites.settle()
    if moved:
        done = run("systemctl", "try-reload-or-restart", UNIT)
        if done.returncode != 0:
            print(f"certificates: {UNIT} cannot be reloaded: {done.stderr.strip()}", file=sys.stderr)
            return 1
    why = reasons(name for name, state in found.items() if state != "own")
    tell(found, why, last()["sites"])
    noted = json.dumps({"sites": found, "reasons": why})
    with open(f"{STATE}.new", "w", encoding="utf-8") as handle:
        handle.write(noted)
    os.rename(f"{STATE}.new", STATE)
    return 0


def main(arguments: Sequence[str]) -> int:
    """Run one of the two commands."""
    parser = argparse.ArgumentParser(prog="certificates")
    commands = parser.add_subparsers(dest="command", required=True)
    asked = commands.add_parser("settle")
    asked.add_argument("--wait", type=float, default=0.0)
    commands.add_parser("report")
    given = parser.parse_args(arguments)
    if given.command == "settle":
        return settle(given.wait)
    print(json.dumps(last()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
