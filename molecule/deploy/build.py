"""Build what the scenario serves: the test application, an image of another make, and the web server in front.

Run from the root as `PYTHONPATH=. python molecule/deploy/build.py FILE`. FILE gets the JSON object {images: {name:
reference by digest}, caddy: {version, path, sha256}}.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from tests.bed import sidecars
from tests.bed.artifacts import artifact
from tests.bed.shell import run, text

ROOT = Path(__file__).resolve().parents[2]


def web(program: Path, folder: Path) -> str:
    """An image that has nothing of ours: Caddy, answering everything with one word. Returns its reference."""
    archive, tag = folder / "web.tar", "sapflux-test-web:1"
    content = program.read_bytes()
    with tarfile.open(archive, "w") as tar:
        entry = tarfile.TarInfo("caddy")
        entry.size, entry.mode = len(content), 0o755
        tar.addfile(entry, io.BytesIO(content))
    start = 'ENTRYPOINT ["/caddy", "respond", "--listen", ":3000", "--body", "web"]'
    run("docker", "import", "--change", start, str(archive), tag)
    reference = sidecars.push(tag, "test/web")
    run("docker", "image", "rm", "--force", text("docker", "image", "inspect", "--format", "{{.Id}}", tag))
    return reference


def main() -> int:
    """Build, push, write."""
    target = Path(sys.argv[1])
    subprocess.run([sys.executable, "molecule/app/image/build.py", str(target)], cwd=ROOT, check=True)
    images = json.loads(target.read_text())
    caddy = artifact("caddy")
    with tempfile.TemporaryDirectory(prefix="sapflux-deploy-") as scratch:
        images["web"] = web(caddy.path, Path(scratch))
    told = {"version": caddy.version, "path": str(caddy.path), "sha256": caddy.sha256}
    target.write_text(json.dumps({"images": images, "caddy": told}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
