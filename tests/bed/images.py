"""The reference application's image, built from its Dockerfile on whatever base is reachable here."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

from . import engine, image, sidecars
from .hosts import ROOT, locked
from .shell import BedError, retry_download, run, say, tell

API = ROOT / "examples" / "app" / "api"
IGNORED = {"target", ".ca"}


def _sources() -> list[Path]:
    return sorted(path for path in API.rglob("*") if path.is_file() and not IGNORED & set(path.relative_to(API).parts))


def _key(base: str) -> str:
    digest = hashlib.sha256(base.encode())
    for path in _sources():
        digest.update(f"\0{path.relative_to(API)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def _ca_bundle() -> Path | None:
    """The certificates of a company proxy, where this machine names some; offered to the build stage only."""
    named = os.environ.get("SSL_CERT_FILE")
    return Path(named) if named and Path(named).is_file() else None


def api(target: str | None = None) -> str:
    """Build the API's image (or one stage of it) unless it is there, and return its tag."""
    base = image.base()
    tag = f"sapflux-api{f'-{target}' if target else ''}:{_key(base)}"
    with locked(f"image-{target or 'api'}"):
        if run("docker", "image", "inspect", tag, check=False).returncode == 0:
            return tag
        say(f"building {tag.split(':', maxsplit=1)[0]} (Rust, release; some minutes the first time)")
        with tempfile.TemporaryDirectory(prefix="sapflux-image-") as scratch:
            context = Path(scratch) / "api"
            shutil.copytree(API, context, ignore=shutil.ignore_patterns("target"))
            if bundle := _ca_bundle():
                (context / ".ca").mkdir(exist_ok=True)
                shutil.copyfile(bundle, context / ".ca" / "ca-certificates.crt")
            commit = run("git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD", check=False).stdout.decode().strip()
            retry_download(
                [
                    "env",
                    "DOCKER_BUILDKIT=0",
                    "docker",
                    "build",
                    "--quiet",
                    "--tag",
                    tag,
                    "--build-arg",
                    f"BASE_IMAGE={base}",
                    "--build-arg",
                    f"GIT_COMMIT={commit or 'unknown'}",
                    *(["--target", target] if target else []),
                    str(context),
                ],
                tries=2,
            )
    return tag


def main() -> int:
    """Build the image, push it to the bed's registry and print its reference by digest."""
    try:
        engine.ensure()
        if "--test" in sys.argv[1:]:
            print(api("test"))
            return 0
        print(sidecars.push(api(), "sapflux/api"))
    except BedError as error:
        return tell(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
