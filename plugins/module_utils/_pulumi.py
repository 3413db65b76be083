# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The outputs of a Pulumi stack, and the hosts in them (private to this collection)."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
from collections.abc import Mapping
from typing import Any

HIDDEN = "[secret]"
"""What the command line prints in place of an output that is a secret."""
SECONDS = 120


class PulumiError(Exception):
    """The outputs cannot be had, or are of another form. One sentence with the way out."""


def saved(path: str) -> dict[str, Any]:
    """The outputs in a file that ``pulumi stack output --json`` wrote. Raises :class:`PulumiError`."""
    try:
        return parse(pathlib.Path(path).expanduser().read_text(encoding="utf-8"), f"the file {path}")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise PulumiError(
            f"the file {path} cannot be read: {reason}; write it with `pulumi stack output --json > {path}`"
        ) from None


def asked(program: str, folder: str, stack: str) -> dict[str, Any]:
    """The outputs as the command line tells them; secrets stay hidden. Raises :class:`PulumiError`."""
    command = [program, "stack", "output", "--json", "--non-interactive", "--cwd", os.path.expanduser(folder)]
    command += ["--stack", stack] if stack else []
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=SECONDS, stdin=subprocess.DEVNULL
        )
    except FileNotFoundError:
        raise PulumiError(
            f"there is no program {program}; install Pulumi, or name a file with saved outputs in the option file"
        ) from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PulumiError(f"{program} did not answer: {type(error).__name__}; run it by hand") from None
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise PulumiError(f"{program} refused: {said.removeprefix('error: ')}; check the options stack and cwd")
    return parse(done.stdout, program)


def parse(text: str, where: str) -> dict[str, Any]:
    """The outputs in a text. Raises :class:`PulumiError`, which holds nothing of the text."""
    try:
        outputs = json.loads(text)
    except ValueError:
        raise PulumiError(f"{where} has no JSON in it; it has to come from `pulumi stack output --json`") from None
    if not isinstance(outputs, dict):
        raise PulumiError(f"{where} has no mapping of outputs; it has to come from `pulumi stack output --json`")
    return outputs


def hosts(outputs: Mapping[str, Any], name: str) -> dict[str, dict[str, Any]]:
    """``{host: {groups, variables}}`` of the output called ``name``. Raises :class:`PulumiError`.

    A stack without the output has no hosts yet. Values that are secrets, and those that are not known, are left out.
    Hosts are reached by their names on the tailnet, and at their public addresses where there is none.
    """
    found = outputs.get(name, {})
    if found == HIDDEN:
        raise PulumiError(
            f"the output {name} is a secret; take the secret out of it, for an inventory must not hold one"
        )
    if not isinstance(found, Mapping):
        raise PulumiError(f"the output {name} is no mapping of hosts; export it as the program in infra/pulumi does")
    return {str(host): _host(str(host), values) for host, values in found.items()}


def _host(host: str, values: Any) -> dict[str, Any]:
    groups = values.get("groups") if isinstance(values, Mapping) else None
    if not isinstance(groups, list) or not all(isinstance(group, str) for group in groups):
        raise PulumiError(f"the host {host} has no list of groups; export it as the program in infra/pulumi does")
    known = {key: value for key, value in values.items() if value not in (None, "", HIDDEN) and key != "groups"}
    variables = {f"pulumi_{key}": value for key, value in known.items()}
    for key, names in (("ipv4", ("public_ipv4", "sapflux_public_host")), ("ipv6", ("public_ipv6",))):
        if key in known:
            variables |= dict.fromkeys(names, known[key])
    reached = known.get("tailnet_host") or known.get("ipv4") or known.get("ipv6")
    if reached:
        variables["ansible_host"] = reached
    return {"groups": list(groups), "variables": variables}
