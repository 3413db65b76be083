#!/usr/bin/python3
# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring a swap file to a size and switch it on: `swap_file.py --path /var/lib/sapflux/swapfile --size-mib 2048`.

Size 0 switches it off and removes it. Run by a unit at every boot; does nothing when all is as wanted. Other swap areas
of the host are not touched. Exits with 1 and one sentence when it cannot.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

MIB = 1024 * 1024
RESERVE_MIB = 512
"""Space that must stay free on the file system, in MiB."""

Run = Callable[[list[str]], str]


class SwapError(Exception):
    """One sentence that names what is wrong and the way out."""


def run(argv: list[str]) -> str:
    """Run a command and return its output. Raises SwapError with its last line."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = (done.stderr.strip() or done.stdout.strip() or "no reason given").splitlines()
        raise SwapError(f"`{' '.join(argv)}` failed: {lines[-1]}")
    return done.stdout


class SwapFile:
    """One swap file. `command` and `swaps` (the kernel's list of swap areas) are seams for tests."""

    def __init__(self, path: Path, command: Run = run, swaps: Path = Path("/proc/swaps")) -> None:
        self.path = path
        self._run = command
        self._swaps = swaps

    def active(self) -> bool:
        """Tell whether the kernel swaps to this file."""
        lines = self._swaps.read_text(encoding="utf-8").splitlines()[1:]
        return str(self.path) in [line.split()[0] for line in lines if line.strip()]

    def ready(self, size: int) -> bool:
        """Tell whether the file has this size (bytes) and the mark of a swap area, and is closed to others."""
        try:
            found = self.path.lstat()
            with self.path.open("rb") as stream:
                stream.seek(os.sysconf("SC_PAGE_SIZE") - 10)
                mark = stream.read(10)
        except FileNotFoundError:
            return False
        return found.st_size == size and mark == b"SWAPSPACE2" and found.st_mode & 0o077 == 0

    def remove(self) -> None:
        """Switch the file off and remove it."""
        if self.active():
            self._run(["swapoff", str(self.path)])
        self.path.unlink(missing_ok=True)

    def make(self, size: int) -> None:
        """Make the file anew with `size` bytes. Raises SwapError when the disk has no room for it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        space = os.statvfs(self.path.parent)
        free = space.f_bavail * space.f_frsize
        if free < size + RESERVE_MIB * MIB:
            raise SwapError(
                f"{self.path.parent} has {free // MIB} MiB free, too few for {size // MIB} MiB of swap and "
                f"{RESERVE_MIB} MiB to spare; make room or choose a smaller size"
            )
        staged = self.path.with_name(f".{self.path.name}.new")
        staged.unlink(missing_ok=True)
        handle = os.open(staged, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            os.posix_fallocate(handle, 0, size)
        except OSError as error:
            staged.unlink()
            raise SwapError(f"{staged} cannot be given {size // MIB} MiB: {error.strerror}") from error
        finally:
            os.close(handle)
        self._run(["mkswap", str(staged)])
        staged.rename(self.path)

    def apply(self, size: int) -> None:
        """Bring the file to `size` bytes (0: none) and switch it on."""
        if size == 0:
            self.remove()
            return
        if not self.ready(size):
            self.remove()
            self.make(size)
        if not self.active():
            self._run(["swapon", str(self.path)])


def main() -> int:
    """Entry point; 0 when the swap file is as wanted."""
    parser = argparse.ArgumentParser(description="Bring a swap file to a size and switch it on.")
    parser.add_argument("--path", type=Path, required=True)
    parser.add_argument("--size-mib", type=int, required=True, help="0 removes it")
    args = parser.parse_args()
    try:
        SwapFile(args.path).apply(args.size_mib * MIB)
    except SwapError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
