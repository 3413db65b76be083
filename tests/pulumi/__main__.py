"""Run the tests of the Pulumi program in an environment of their own: ``python -m tests.pulumi [pytest arguments]``.

Nobody who does not use Pulumi needs its packages, so they are not in ``.venv``. They are locked all the same.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PLACE = ROOT / ".venv-pulumi"


def find_uv() -> str:
    """The uv that brings the tools, where ``justw`` put it if it is not installed."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    own = Path(os.environ.get("SAPFLUX_CACHE") or Path(cache) / "sapflux.hosting") / "uv" / "bin" / "uv"
    found = shutil.which("uv") or str(own)
    return found if Path(found).exists() else sys.exit("there is no uv; ./justw brings it")


def bring() -> None:
    """Install what is locked, if it is not there yet."""
    stamp, lock = PLACE / ".locked", (ROOT / "uv.lock").read_bytes()
    if stamp.exists() and stamp.read_bytes() == lock:
        return
    python = getattr(sys, "_base_executable", sys.executable)
    command = [find_uv(), "sync", "--quiet", "--locked", "--group", "pulumi", "--python", python]
    environment = os.environ | {"UV_PROJECT_ENVIRONMENT": str(PLACE), "UV_HTTP_TIMEOUT": "180"}
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    stamp.write_bytes(lock)


if __name__ == "__main__":
    bring()
    # The provider's package warns of every resource that it renamed, used or not.
    quiet = ["-W", "ignore::DeprecationWarning"]
    command = [str(PLACE / "bin" / "python"), "-m", "pytest", *quiet, *(sys.argv[1:] or ["tests/pulumi"])]
    sys.exit(subprocess.run(command, cwd=ROOT, check=False).returncode)
