"""The images of the bed: a bare Debian 13 (also the base of application images) and the systemd host on top of it."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from pathlib import Path

from .shell import BedError, have, retry_download, run, say

HERE = Path(__file__).parent / "image"
CLOUD = Path(__file__).parent / "image_cloud"
SUITE = "trixie"
BASE_PACKAGES = "ca-certificates"
UPSTREAM_BASE = "debian:trixie-slim"


def _exists(image: str) -> bool:
    return run("docker", "image", "inspect", image, check=False).returncode == 0


def _debootstrap(image: str) -> None:
    if not have("debootstrap") or os.geteuid() != 0:
        raise BedError(
            f"{UPSTREAM_BASE} cannot be pulled, and building it here needs debootstrap and root",
            hint="apt-get install debootstrap, then run this as root",
        )
    say(f"no registry has {UPSTREAM_BASE}: building Debian 13 with debootstrap (about a minute)")
    with tempfile.TemporaryDirectory(prefix="sapflux-base-", dir="/var/tmp") as scratch:
        root = Path(scratch) / "root"
        retry_download(["debootstrap", "--variant=minbase", f"--include={BASE_PACKAGES}", SUITE, str(root)])
        run("sh", "-c", f"rm -rf '{root}'/var/cache/apt/archives/*.deb '{root}'/dev/* ")
        tar = subprocess.Popen(["tar", "-C", str(root), "-c", "."], stdout=subprocess.PIPE)
        done = subprocess.run(["docker", "import", "-", image], stdin=tar.stdout, capture_output=True, check=False)
        if tar.wait() != 0 or done.returncode != 0:
            raise BedError(f"docker import of the base image failed: {done.stderr.decode().strip()}")


def base() -> str:
    """Return the tag of a bare Debian 13 image, pulling or building it once."""
    image = f"sapflux-base:{hashlib.sha256(f'{SUITE} {BASE_PACKAGES}'.encode()).hexdigest()[:12]}"
    if _exists(image):
        return image
    try:
        pulled = run("docker", "pull", "-q", UPSTREAM_BASE, check=False, timeout=180).returncode == 0
    except BedError:
        pulled = False
    if pulled:
        run("docker", "tag", UPSTREAM_BASE, image)
    else:
        _debootstrap(image)
    return image


def host() -> str:
    """Return the tag of the host image, built once for the content of `image/` and the base."""
    files = sorted(path for path in HERE.iterdir() if path.is_file())
    digest = hashlib.sha256(b"\0".join(path.name.encode() + b"\0" + path.read_bytes() for path in files))
    image = f"sapflux-bed-host:{digest.hexdigest()[:12]}"
    if _exists(image):
        return image
    bottom = base()
    say("building the test host image (Debian 13 with systemd; one to three minutes)")
    _build(image, bottom, HERE)
    return image


def _build(image: str, bottom: str, folder: Path) -> None:
    argv = ["env", "DOCKER_BUILDKIT=0", "docker", "build", "-q", "-t", image, "--build-arg", f"BASE_IMAGE={bottom}"]
    retry_download([*argv, str(folder)])


def cloud() -> str:
    """Return the tag of the host image with cloud-init in it, which does at the first boot what it is told."""
    bottom = host()
    files = sorted(path for path in CLOUD.iterdir() if path.is_file())
    digest = hashlib.sha256(b"\0".join([bottom.encode(), *(path.read_bytes() for path in files)]))
    image = f"sapflux-bed-cloud:{digest.hexdigest()[:12]}"
    if not _exists(image):
        say("building the image of a cloud's server (half a minute)")
        _build(image, bottom, CLOUD)
    return image
