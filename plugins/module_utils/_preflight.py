# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What preflight makes of the answers of a host (private to this collection). Pure, used on the controller."""

from __future__ import annotations

import json
import pathlib
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Optional

MARK = "SAPFLUX-PREFLIGHT "
NO_PYTHON = "SAPFLUX-NO-PYTHON "
NO_SUDO = "SAPFLUX-NO-SUDO"
OLDEST_PYTHON = (3, 9)
CLOCK_SECONDS = 300
SCRIPT = pathlib.Path(__file__).with_name("_preflight_remote.py")

_NOISE = re.compile(
    r"^(?:Warning: Permanently added|debug\d|Connection to .* closed|\s*$|@+|\*\* |Shared connection|mux_client"
    r"|Control socket)"
)
_CHANGED_KEY = "REMOTE HOST IDENTIFICATION HAS CHANGED"


class HostError(Exception):
    """A host that cannot carry the stack; the message is one line with the way out."""


class NoAnswerError(Exception):
    """A host that does not answer at one of its addresses; the message is one line with the way out."""


def places(public: Optional[str], tailnet: str, state: Optional[Mapping[str, Any]]) -> list[Optional[str]]:
    """Addresses to try, in order. ``state`` is the lockdown as it was last seen, None where nobody has looked yet.

    A closed port costs a wait and an unknown name costs nothing, so the tailnet is first unless the host is known to be
    open.
    """
    if not tailnet or tailnet == public:
        return [tailnet or public]
    known_open = state is not None and not state.get("locked")
    return [public, tailnet] if known_open else [tailnet, public]


def nowhere(lines: Sequence[str]) -> str:
    """The message for a host that answers at none of its addresses."""
    if len(lines) == 1:
        return lines[0]
    return (
        "\n".join(lines) + "\nA locked host opens SSH for your networks when its tailnet has been down for a while: "
        "try again in three minutes, or run `lockdown open` at the provider's console"
    )


def command(paths: Sequence[str]) -> str:
    """A shell command that runs the script it is given on standard input as root, with the first Python there is.

    Where the login is not root it goes through ``sudo -n``: the admin of the host needs no password for it. What is
    missing is said in marks, because error texts differ from shell to shell.
    """
    arguments = " ".join(shlex.quote(path) for path in paths)
    return (
        "p=$(command -v python3) || "
        f'{{ echo "{NO_PYTHON}$(. /etc/os-release 2>/dev/null; echo $ID $VERSION_ID)"; exit 0; }}; '
        f'if [ "$(id -u)" = 0 ]; then exec "$p" -I -S - {arguments}; fi; '
        f'sudo -n true 2>/dev/null || {{ echo "{NO_SUDO}"; exit 0; }}; '
        f'exec sudo -n "$p" -I -S - {arguments}'
    )


def ssh_reason(text: str) -> str:
    """The line of ssh's own error output that says why, without what Ansible and ssh put around it."""
    text = text.replace("\r", "")
    if _CHANGED_KEY in text:
        return "its host key has changed"
    text = re.sub(r"^.*?(?:via ssh:|over ssh:|reached over ssh:)\s*", "", text, count=1, flags=re.DOTALL)
    lines = [line.strip() for line in text.splitlines() if not _NOISE.match(line)]
    reason = lines[-1].rstrip(".") if lines else "no reason given"
    return re.sub(r"^ssh: (?:connect to host \S+ port \d+: )?", "", reason)


def denied(text: str) -> bool:
    """Whether the host answered and refused the login, so that another login is worth a try."""
    return "Permission denied" in text or "Too many authentication failures" in text


def shut_out(text: str) -> bool:
    """Whether sshd hangs up before it says a word, which is what it does to an address after failed logins."""
    return "kex_exchange_identification" in text


def _address(where: str) -> str:
    """The address of ``address:port`` or ``[address]:port``."""
    return where.rpartition(":")[0].strip("[]")


def unreachable(host: str, where: str, text: str, ssh: str) -> str:
    """The message for a host that does not answer: what ssh said, what to check, and the command that shows it."""
    reason = ssh_reason(text)
    if "host key has changed" in reason:
        check = f"If the server was rebuilt, run `ssh-keygen -R {_address(where)}`"
    elif "Host key verification failed" in reason:
        check = "Compare its key with the one your provider shows"
    elif shut_out(reason):
        check = "After failed logins sshd shuts an address out for a while: wait a minute"
    elif "resolve hostname" in reason:
        check = "Check ansible_host in the inventory"
    else:
        check = "Check its address, that it runs, and the firewall between"
    return f"host {host} ({where}) does not answer SSH: {reason}. {check}, then `{ssh}`"


def refused(host: str, where: str, tried: Sequence[str], reason: str) -> str:
    """The message for a host that lets none of the logins in."""
    users = " or ".join(tried)
    return (
        f"host {host} ({where}) lets {users} in with none of your keys: {reason}. "
        f"Load the right key (`ssh-add -l` lists them) or put one into {tried[-1]}'s authorized_keys, "
        f"then `ssh {tried[0]}@{_address(where)}`"
    )


def parse(host: str, user: str, output: str, error: str) -> dict[str, Any]:
    """The answer of the script. Raises :class:`HostError` where there is none."""
    for line in output.splitlines():
        if line.startswith(MARK):
            answer: dict[str, Any] = json.loads(line.removeprefix(MARK))
            return answer
        if line.startswith(NO_PYTHON):
            name = line.removeprefix(NO_PYTHON).strip() or "an unknown system"
            raise HostError(f"host {host} ({name}) has no Python; run `apt-get install python3` on it")
        if line.startswith(NO_SUDO):
            raise HostError(
                f"host {host}: {user} may not become root without a password; "
                f"run `echo '{user} ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/{user}` as root on it"
            )
    reason = next((line.strip() for line in reversed((error or output).splitlines()) if not _NOISE.match(line)), "")
    raise HostError(
        f"host {host}: the look at it as {user} failed: {reason or 'no answer'}; run `ssh` by hand to see why"
    )


def judge(
    host: str,
    answer: Mapping[str, Any],
    distributions: Mapping[str, Sequence[str]],
    min_free_mb: Mapping[str, int],
    now: float,
) -> list[str]:
    """What is wrong with a host, one line each; ``now`` is the controller's clock (s) when the answer was made."""
    facts = answer["facts"]
    name, major = facts["distribution"], facts["distribution_major_version"]
    if str(major) not in [str(version) for version in distributions.get(name, [])]:
        good = " or ".join(f"{name} {version}" for name, versions in distributions.items() for version in versions)
        found = f"{name} {facts['distribution_version']}"
        return [f"host {host} runs {found}, and this needs {good}; reinstall it with that or take another host"]
    problems: list[str] = []
    version = tuple(answer["python_version"])
    if version < OLDEST_PYTHON:
        problems.append(f"host {host} has Python {'.'.join(map(str, version))}; it needs 3.9 or newer")
    if not answer["root"]:
        problems.append(f"host {host} does not let the login become root; give it sudo without a password")
    free = facts["sapflux"]["free_mb"]
    short = [
        f"{path} has {free[path]} MB free and needs {wanted} MB"
        for path, wanted in min_free_mb.items()
        if free.get(path, 0) < wanted
    ]
    if short:
        problems.append(f"host {host} has too little space: {', '.join(short)}; free some or take a larger disk")
    off = answer["time"] - now
    if abs(off) > CLOCK_SECONDS:
        ahead = "ahead" if off > 0 else "behind"
        problems.append(
            f"host {host}: its clock is {abs(off):.0f} s {ahead} of this machine's, and certificates and backups "
            "depend on it; run `timedatectl set-ntp true` on the one that is wrong"
        )
    return problems
