"""Build an image that stands in for Uptime Kuma's, push it to the bed's registry, and note its reference by digest.

Run from the root as `PYTHONPATH=. python molecule/monitoring/image/build.py FILE`. FILE gets the reference. Where an
image of the real one is at hand, `KUMA_IMAGE=reference@sha256:...` takes its place.
"""

from __future__ import annotations

import io
import os
import sys
import tarfile
import tempfile
from pathlib import Path

import bidict
import engineio
import h11
import simple_websocket
import socketio
import wsproto

from tests.bed import image, sidecars
from tests.bed.shell import run, text

ROOT = Path(__file__).resolve().parents[3]
LIBRARIES = (bidict, engineio, h11, simple_websocket, socketio, wsproto)
CHECK = "import urllib.request as u; u.urlopen('http://127.0.0.1:3001/api/entry-page', timeout=5)"
CHANGES = (
    "ENV PYTHONPATH=/srv:/srv/libraries PYTHONDONTWRITEBYTECODE=1 DATA_DIR=/app/data UPTIME_KUMA_HOST=0.0.0.0",
    "WORKDIR /app",
    'ENTRYPOINT ["/usr/bin/env"]',
    "USER 1000:1000",
    "VOLUME /app/data",
    f'HEALTHCHECK --interval=60s --start-period=180s --retries=5 CMD python3 -c "{CHECK}"',
    'CMD ["python3", "-m", "tests.doubles.kuma"]',
)


def main() -> int:
    """Build, push, write the reference."""
    reference = os.environ.get("KUMA_IMAGE") or built()
    Path(sys.argv[1]).write_text(f"{reference}\n")
    print(f"Uptime Kuma is {reference}")
    return 0


def built() -> str:
    """The reference by digest of an image with the double, on the base of the test hosts."""
    container = text("docker", "create", image.host(), "true").strip()
    tag = f"sapflux-test-kuma-{os.getpid()}"
    try:
        with tempfile.TemporaryDirectory(prefix="sapflux-kuma-") as scratch:
            archive = Path(scratch) / "files.tar"
            with tarfile.open(archive, "w") as tar:
                for name in ("__init__.py", "doubles/__init__.py"):
                    tar.add(ROOT / "tests" / name, f"srv/tests/{name}")
                tar.add(ROOT / "tests/doubles/kuma", "srv/tests/doubles/kuma")
                for library in LIBRARIES:
                    folder = Path(str(library.__file__)).parent
                    tar.add(folder, f"srv/libraries/{folder.name}")
                home = tarfile.TarInfo("app/data")
                home.type, home.mode, home.uid, home.gid = tarfile.DIRTYPE, 0o755, 1000, 1000
                tar.addfile(home, io.BytesIO())
            run("docker", "cp", "-", f"{container}:/", stdin=archive.read_bytes())
        options = [word for change in CHANGES for word in ("--change", change)]
        run("docker", "commit", *options, container, tag)
        return sidecars.push(tag, "test/kuma")
    finally:
        run("docker", "rm", "--force", container)
        run("docker", "image", "rm", "--force", tag, check=False)


if __name__ == "__main__":
    sys.exit(main())
