# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Asking a program what it is before anything leads to it; private to this collection."""

from __future__ import annotations

import os
import subprocess
from typing import Any

from ansible_collections.sapflux.hosting.plugins.module_utils._binary_fetch import BinaryError

VERIFY_OPTION: dict[str, Any] = {
    "type": "dict",
    "options": {
        "arguments": {"type": "list", "elements": "str", "required": True},
        "contains": {"type": "list", "elements": "str", "default": []},
    },
}
TIMEOUT = 60


def verify(name: str, program: str, question: dict[str, Any] | None) -> None:
    """Run C(program) with the question's arguments; BinaryError unless it ends well and prints every line asked for.

    Words are compared with whole lines, because C(dns) is no answer to C(dns.providers.cloudflare).
    """
    if question is None:
        return
    shown = " ".join([name, *question["arguments"]])
    try:
        done = subprocess.run(
            [program, *question["arguments"]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd="/",
            env={"PATH": os.defpath, "HOME": "/nonexistent", "LC_ALL": "C.UTF-8"},
            timeout=TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BinaryError(f"{name}: `{shown}` cannot be run ({error}); the version in use was not touched.") from error
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    missing = sorted(set(question["contains"]) - {line.strip() for line in lines})
    if done.returncode != 0:
        last = lines[-1] if lines else "it printed nothing"
        raise BinaryError(
            f"{name}: `{shown}` ended with {done.returncode} ({last}); the version in use was not touched. "
            "Install a program for this system."
        )
    if missing:
        raise BinaryError(
            f"{name}: this program lacks {', '.join(missing)}, as `{shown}` shows; the version in use was not touched. "
            "Install a build that has it."
        )
