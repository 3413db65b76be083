"""Build the test application three times, push the images to the bed's registry, and note their references by digest.

Run from the root as `PYTHONPATH=. python molecule/app/image/build.py FILE`.
FILE gets the JSON object {"v1": reference, "v2": reference, "v3": reference}.
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
VERSIONS = ("v1", "v2", "v3")
#: Its image says that its migration cannot be undone.
IRREVERSIBLE = "v3"


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
    """An image that holds the program and one asset whose name is its version's; returns its local tag."""
    archive = folder / f"{version}.tar"
    with tarfile.open(archive, "w") as tar:
        for name, mode, data in (("server", 0o755, content), (f"assets/{version}.js", 0o644, version.encode())):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), mode
            tar.addfile(entry, io.BytesIO(data))
    # Two scenarios may do this at the same time.
    tag = f"sapflux-test-app-{os.getpid()}:{version}"
    changes = ['ENTRYPOINT ["/server"]', "USER 10001:10001"]
    if version == IRREVERSIBLE:
        changes.append("LABEL com.sapflux.migration=irreversible")
    options = [word for change in changes for word in ("--change", change)]
    run("docker", "import", *options, str(archive), tag)
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
