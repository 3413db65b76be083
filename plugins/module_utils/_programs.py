# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running programs on a host: input through a pipe, a small environment, an end in any case.

Private to the collection. Standard library of Python 3.9.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from dataclasses import dataclass
from typing import Callable, List

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
STOPPED, MISSING = 124, 127


@dataclass(frozen=True)
class Ran:
    """How a program ended: its exit code (124 when it was stopped, 127 when there is none) and what it printed."""

    code: int
    out: str
    err: str


#: (arguments, standard input, seconds) -> how it ended
Runner = Callable[[List[str], str, float], Ran]


def run(argv: List[str], stdin: str, timeout: float) -> Ran:
    """Run a program in a small environment; one that outlives `timeout` is killed with its children."""
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"PATH": PATH, "LC_ALL": "C.UTF-8", "HOME": "/root", "DEBIAN_FRONTEND": "noninteractive"},
            cwd="/",
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except FileNotFoundError as error:
        return Ran(MISSING, "", str(error))
    try:
        out, err = process.communicate(stdin, timeout=timeout)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        return Ran(STOPPED, out, err)
    return Ran(process.returncode, out, err)
