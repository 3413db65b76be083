# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters of the base role."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.sapflux.hosting.plugins.module_utils import _sshd

# Several files, or several lines, may add to these, so others may be there as well.
ADDITIVE = frozenset({"port"})


def _words(value: object) -> set[str]:
    if isinstance(value, (list, tuple)):
        return {str(word) for word in value}
    return set(str(value).split())


def sshd_differences(effective: str, wanted: Mapping[str, Any]) -> list[str]:
    """Compare what `sshd -T` printed with the wanted settings, a sentence for each difference.

    `wanted` maps keywords, in any case, to a string, a number or a list of words.
    """
    settings = _sshd.parse_settings(effective)
    differences = []
    for keyword, value in wanted.items():
        name = keyword.lower()
        have = {word for line in settings.get(name, []) for word in line.split()}
        want = _words(value)
        if (want - have) if name in ADDITIVE else (want != have):
            now = " ".join(sorted(have)) or "not set"
            differences.append(f"{keyword} is {now} instead of {' '.join(sorted(want))}")
    return differences


def sshd_problems(ssh: Mapping[str, Any], wanted: Mapping[str, Any], port: int) -> list[str]:
    """Return everything about a running SSH server that is not as wanted, a clause each.

    `ssh` is what the modules sshd_info and host_setup return under that name.
    """
    if ssh["error"]:
        return [f"sshd -T refuses its files: {ssh['error']}"]
    return sshd_differences(ssh["effective"], wanted) + _sshd.owner_problems(ssh["listeners"], port)


def sshd_algorithms(
    offers: Mapping[str, Sequence[str]], classical: bool = False, client: Sequence[str] = ()
) -> dict[str, str]:
    """Return KexAlgorithms, Ciphers, MACs and HostKeyAlgorithms, best first, of what the server offers.

    Raises AnsibleFilterError where nothing would be left, or nothing that `client` (the key exchanges of the SSH
    client here; empty: not known) can do.
    """
    try:
        return _sshd.algorithms(offers, classical, client)
    except _sshd.SshdError as error:
        raise AnsibleFilterError(str(error)) from None


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {
            "sshd_algorithms": sshd_algorithms,
            "sshd_differences": sshd_differences,
            "sshd_problems": sshd_problems,
        }
