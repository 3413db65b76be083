"""Build the test application twice, push both images to the bed's registry, and note their references by digest.

Run from the root as `PYTHONPATH=. python molecule/app/image/build.py FILE`.
FILE gets the JSON object {"v1": reference, "v2": reference}.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from tests.bed import sidecars
from tests.bed.shell import run, text

HERE = Path(__file__).resolve().parent
VERSIONS = ("v1", "v2")


def program(version: str, folder: Path) -> bytes:
    """The static server as an executable for Linux."""
    target = folder / f"server-{version}"
    subprocess.run(
        [
            "go",
            "build",
            "-trimpath",
            "-buildvcs=false",
            "-ldflags",
            f"-s -w -X main.version={version}",
            "-o",
            target,
            ".",
        ],
        cwd=HERE,
        check=True,
        env={**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly", "GOTOOLCHAIN": "local", "GOWORK": "off"},
    )
    return target.read_bytes()


def image(version: str, content: bytes, folder: Path) -> str:
    """An image that holds nothing but the program; returns its local tag."""
    archive = folder / f"{version}.tar"
    with tarfile.open(archive, "w") as tar:
        entry = tarfile.TarInfo("server")
        entry.size, entry.mode = len(content), 0o755
        tar.addfile(entry, io.BytesIO(content))
    tag = f"sapflux-test-app:{version}"
    run("docker", "import", "--change", 'ENTRYPOINT ["/server"]', "--change", "USER 10001:10001", str(archive), tag)
    return tag


def main() -> int:
    """Build, push, write the references."""
    with tempfile.TemporaryDirectory(prefix="sapflux-app-") as scratch:
        folder = Path(scratch)
        references = {}
        for version in VERSIONS:
            tag = image(version, program(version, folder), folder)
            references[version] = sidecars.push(tag, "test/app")
            # The registry has it now; every run makes new ones, which would pile up here.
            run("docker", "image", "rm", "--force", text("docker", "image", "inspect", "--format", "{{.Id}}", tag))
    Path(sys.argv[1]).write_text(json.dumps(references, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
