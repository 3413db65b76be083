"""Running programs, and saying clearly what failed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path


class BedError(Exception):
    """A step failed. The message is one sentence with the cause; `hint` is the next command to try."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


def say(message: str) -> None:
    """Show progress on stderr, where it never mixes with a command's answer."""
    print(message, file=sys.stderr, flush=True)


def tell(error: BedError) -> int:
    """Say an error with its way out, and return the exit code of a command that ends with it."""
    say(f"error: {error}" + (f"\n  next: {error.hint}" if error.hint else ""))
    return 1


def run(
    *argv: str,
    check: bool = True,
    stdin: bytes | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run a program and capture what it prints.

    Raises BedError naming the program and its last lines when it cannot start or (with `check`) fails.
    """
    try:
        done = subprocess.run(argv, input=stdin, capture_output=True, env=env, cwd=cwd, timeout=timeout, check=False)
    except FileNotFoundError as error:
        raise BedError(f"{argv[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise BedError(f"'{' '.join(argv[:4])}' did not finish within {timeout:.0f} s") from error
    if check and done.returncode != 0:
        tail = (done.stderr + done.stdout).decode(errors="replace").strip().splitlines()[-8:]
        raise BedError(f"'{' '.join(argv[:6])}' ended with {done.returncode}: " + "\n".join(tail))
    return done


def text(*argv: str, check: bool = True) -> str:
    """Run a program and return what it prints on stdout, stripped."""
    return run(*argv, check=check).stdout.decode(errors="replace").strip()


def wait_for(what: str, condition: Callable[[], bool], seconds: float = 120, every: float = 0.3) -> None:
    """Wait until `condition` holds. Raises BedError naming `what` when it does not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise BedError(f"{what} did not happen within {seconds:.0f} s")
        time.sleep(every)


def have(*programs: str) -> bool:
    """Tell whether every one of these programs is on PATH."""
    return all(shutil.which(program) for program in programs)


def retry_download(argv: Sequence[str], tries: int = 3, pause: float = 5) -> subprocess.CompletedProcess[bytes]:
    """Run a command that downloads, again when the network fails it; anything else must work the first time."""
    for attempt in range(1, tries + 1):
        try:
            return run(*argv)
        except BedError:
            if attempt == tries:
                raise
            time.sleep(pause * attempt)
    raise AssertionError("unreachable")
