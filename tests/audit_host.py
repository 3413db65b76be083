"""`python -m tests.audit_host [host]`: what ssh-audit and lynis say about a converged host, as figures and a list.

Both are other people's opinions. ssh-audit has to have nothing to say; what lynis still suggests is answered, one by
one, in docs/hardening.md, and a suggestion without an answer is an error here. lynis is installed on the host for that,
so this is for test hosts. In a container, the kernel's own settings are read as the role has them ready for a server.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bed import hosts
from tests.bed.shell import BedError, tell, wait_for

ROOT = Path(__file__).resolve().parents[1]
ANSWERS = ROOT / "docs" / "hardening.md"
SSH = [
    "ssh",
    "-F",
    str(ROOT / ".bed" / "ssh_config"),
    "-l",
    hosts.ADMIN,
    "-o",
    "BatchMode=yes",
    "-o",
    "ControlPath=none",
]
DETAILED = frozenset({"KRNL-6000", "SSH-7408"})
"""Tests of lynis that have many things to say; each of them is answered by itself."""
LYNIS = Path(__file__).with_name("audit_lynis.sh")


@dataclass(frozen=True)
class SshAudit:
    """What ssh-audit complains about, a line for each algorithm, and how many algorithms it looked at."""

    looked_at: int
    fails: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Lynis:
    """The hardening index (0 to 100), and what is suggested or warned of: {id, or id:detail: it in words}."""

    index: int
    suggestions: dict[str, str]
    warnings: dict[str, str]

    def unanswered(self) -> dict[str, str]:
        """What docs/hardening.md says nothing about."""
        known = answered()
        return {key: words for key, words in (self.suggestions | self.warnings).items() if key not in known}


def free_port() -> int:
    """A TCP port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listens(port: int) -> bool:
    """Tell whether something on this machine accepts connections on the port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def tunnel(host: str, port: int) -> Iterator[int]:
    """A local port that leads to the host's SSH server as if from the host itself.

    An auditor connects without logging in, many times. So the penalty for that hits the host's own loopback address,
    and not the address that everybody here logs in from.
    """
    local = free_port()
    argv = [*SSH, "-N", "-o", "ExitOnForwardFailure=yes", "-L", f"127.0.0.1:{local}:127.0.0.1:{port}", host]
    with subprocess.Popen(argv, stderr=subprocess.PIPE) as process:
        try:
            wait_for(f"a tunnel to {host}", lambda: process.poll() is not None or listens(local), seconds=30)
            if process.poll() is not None:
                said = process.stderr.read().decode().strip() if process.stderr else ""
                raise BedError(f"no tunnel to the SSH server of {host}: {said}", hint=" ".join([*SSH, host]))
            yield local
        finally:
            process.terminate()


def parse_ssh_audit(report: dict[str, Any]) -> SshAudit:
    """Pick the complaints from ssh-audit's JSON."""
    fails: list[str] = []
    warnings: list[str] = []
    count = 0
    for kind in ("kex", "key", "enc", "mac"):
        for entry in report[kind]:
            count += 1
            notes = entry.get("notes", {})
            fails += [f"{kind} {entry['algorithm']}: {note}" for note in notes.get("fail", [])]
            warnings += [f"{kind} {entry['algorithm']}: {note}" for note in notes.get("warn", [])]
    fails += [f"CVE: {entry}" for entry in report.get("cves", [])]
    return SshAudit(count, fails, warnings)


def ssh_audit(host: str, port: int = 22) -> SshAudit:
    """Look at the host's SSH server. Raises BedError when ssh-audit itself fails."""
    with tunnel(host, port) as local:
        argv = ["ssh-audit", "--json", "--port", str(local), "127.0.0.1"]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)
    try:
        return parse_ssh_audit(json.loads(done.stdout))
    except (json.JSONDecodeError, KeyError) as error:
        said = (done.stdout + done.stderr).strip().splitlines() or ["nothing"]
        raise BedError(f"ssh-audit did not look at {host}: it says {said[-1]}") from error


def parse_lynis(report: str) -> Lynis:
    """Read lynis' report file."""
    index = re.search(r"^hardening_index=(\d+)$", report, re.MULTILINE)
    if index is None:
        raise BedError("lynis made no report")
    suggestions: dict[str, str] = {}
    for test, words, details in re.findall(r"^suggestion\[\]=([^|]*)\|([^|]*)\|([^|]*)\|", report, re.MULTILINE):
        if test == "KRNL-6000":
            continue
        key = f"{test}:{details.split()[0]}" if test in DETAILED else test
        suggestions[key] = details if test in DETAILED else words
    for key, about in re.findall(
        r"^details\[\]=KRNL-6000\|sysctl\|desc:.*?;field:([^;]+);(.*?)\|", report, re.MULTILINE
    ):
        suggestions[f"KRNL-6000:{key}"] = about.strip(";")
    warnings = dict(re.findall(r"^warning\[\]=([^|]*)\|([^|]*)\|", report, re.MULTILINE))
    return Lynis(int(index[1]), suggestions, warnings)


def lynis(host: str) -> Lynis:
    """Let lynis look at the host. Raises BedError when there is no report."""
    argv = [*SSH, host, "sudo", "unshare", "--mount", "--propagation", "private", "sh", "-eu"]
    done = subprocess.run(argv, input=LYNIS.read_text(), capture_output=True, text=True, check=False, timeout=600)
    if done.returncode != 0:
        said = (done.stderr.strip() or "nothing").splitlines()[-1]
        raise BedError(f"lynis did not look at {host}: it says {said}", hint=" ".join([*SSH, host]))
    return parse_lynis(done.stdout)


def answered(text: str | None = None) -> set[str]:
    """The suggestions that docs/hardening.md answers."""
    text = ANSWERS.read_text(encoding="utf-8") if text is None else text
    return {key for row in re.findall(r"^\| (`.*?) \|", text, re.MULTILINE) for key in re.findall(r"`([^`]+)`", row)}


def main() -> int:
    """Print the figures; 1 when something is without an answer."""
    parser = argparse.ArgumentParser(prog="python -m tests.audit_host")
    parser.add_argument("host", nargs="?", default="demo-tailnet")
    parser.add_argument("--port", type=int, default=22, help="port of the SSH server on the host")
    args = parser.parse_args()
    try:
        ssh, host = ssh_audit(args.host, args.port), lynis(args.host)
    except BedError as error:
        return tell(error)
    print(f"ssh-audit  {len(ssh.fails)} fails, {len(ssh.warnings)} warnings on {ssh.looked_at} algorithms")
    for line in [*ssh.fails, *ssh.warnings]:
        print(f"           {line}")
    print(
        f"lynis      hardening index {host.index}, {len(host.warnings)} warnings, {len(host.suggestions)} suggestions"
    )
    open_ones = host.unanswered()
    everything = len(host.suggestions) + len(host.warnings)
    print(f"           answered in {os.path.relpath(ANSWERS)}: {everything - len(open_ones)}")
    for key, words in open_ones.items():
        print(f"           without an answer: {key} {words}")
    return 1 if ssh.fails or ssh.warnings or open_ones else 0


if __name__ == "__main__":
    sys.exit(main())
