"""Images built here: the reference application's, and what its tests run beside it.

Each is built once for the content of its sources and the base, on whatever base is reachable.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from . import engine, image, sidecars
from .hosts import ROOT, locked
from .shell import BedError, retry_download, run, say, tell

APP = ROOT / "examples" / "app"
BESIDE = ROOT / "tests" / "web" / "images"
IGNORED = {".ca", ".svelte-kit", "build", "node_modules", "target"}


@dataclass(frozen=True)
class Image:
    """A Dockerfile with its context; `sources` are the parts of the context that decide whether it is built anew."""

    name: str
    context: Path
    sources: tuple[str, ...]
    takes: str
    target: str = ""

    def files(self) -> list[Path]:
        """Every file of the sources, in an order that does not change."""
        found: list[Path] = []
        for source in self.sources:
            path = self.context / source
            found += [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
        return sorted(path for path in found if not IGNORED & set(path.relative_to(self.context).parts))

    def tag(self, base: str) -> str:
        """Name and digest of all that goes in."""
        digest = hashlib.sha256(f"{base}\0{self.target}".encode())
        for path in self.files():
            digest.update(f"\0{path.relative_to(self.context)}\0".encode() + path.read_bytes())
        return f"{self.name}:{digest.hexdigest()[:12]}"


_RUST = ("Dockerfile", ".dockerignore", "Cargo.toml", "Cargo.lock", "api/Cargo.toml", "cli/Cargo.toml")
_SITE = (
    *("Dockerfile", ".dockerignore", ".npmrc", "package.json", "package-lock.json"),
    *("svelte.config.js", "vite.config.ts", "tsconfig.json", "healthcheck.js", "src", "static"),
)
_SITE_TEST = (*_SITE, "eslint.config.js", ".prettierrc", ".prettierignore")
_RUST_TEST = (*_RUST, "api/src", "api/migrations", "api/tests", "cli/src")
IMAGES = {
    "api": Image("sapflux-api", APP, (*_RUST, "api/src", "api/migrations"), "Rust, some minutes the first time", "api"),
    "cli": Image("sapflux-cli", APP, (*_RUST, "cli/src"), "Rust, some minutes the first time", "cli"),
    "rust-test": Image("sapflux-rust-test", APP, _RUST_TEST, "Rust's tests, some minutes the first time", "test"),
    "web": Image("sapflux-web", APP / "web", _SITE, "Node, about a minute the first time", "web"),
    "web-test": Image("sapflux-web-test", APP / "web", _SITE_TEST, "the site's own tests, about a minute", "test"),
    "postgis": Image("sapflux-test-postgis", BESIDE / "postgis", (".",), "about a minute"),
    "compose": Image("sapflux-test-compose", BESIDE / "compose", (".",), "half a minute"),
    "chromium": Image("sapflux-test-chromium", BESIDE / "chromium", (".",), "about a minute"),
}
DEPLOYED = ("api", "web")
TESTS = ("rust-test", "web-test")


def _ca_bundle() -> Path | None:
    """The certificates of a company proxy, where this machine names some; offered to the build stage only."""
    named = os.environ.get("SSL_CERT_FILE")
    return Path(named) if named and Path(named).is_file() else None


def build(name: str) -> str:
    """Build one of :data:`IMAGES` unless it is there, and return its tag."""
    wanted = IMAGES[name]
    tag = wanted.tag(image.base())
    # One at a time for a context: the second finds the layers of the first.
    with locked(f"image-{wanted.context.name}"):
        if run("docker", "image", "inspect", tag, check=False).returncode == 0:
            return tag
        say(f"building {wanted.name} ({wanted.takes})")
        with tempfile.TemporaryDirectory(prefix="sapflux-image-") as scratch:
            context = Path(scratch) / "context"
            shutil.copytree(wanted.context, context, ignore=shutil.ignore_patterns(*(IGNORED - {".ca"})))
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
                    f"BASE_IMAGE={image.base()}",
                    "--build-arg",
                    f"GIT_COMMIT={commit or 'unknown'}",
                    *(["--target", wanted.target] if wanted.target else []),
                    str(context),
                ],
                tries=2,
            )
    return tag


def main() -> int:
    """Build images and print them: those that are deployed by their digest in the bed's registry, others by tag."""
    parser = argparse.ArgumentParser(prog="python -m tests.bed.images", description=main.__doc__)
    parser.add_argument("--test", action="store_true", help="run the tests that are part of the builds instead")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(IMAGES)}; default: {' '.join(DEPLOYED)}"
    )
    options = parser.parse_args()
    if unknown := set(options.names) - set(IMAGES):
        parser.error(f"no image is called {', '.join(sorted(unknown))}")
    try:
        engine.ensure()
        for name in options.names or (TESTS if options.test else DEPLOYED):
            tag = build(name)
            print(sidecars.push(tag, f"sapflux/{name}") if name in DEPLOYED else tag, flush=True)
    except BedError as error:
        return tell(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
