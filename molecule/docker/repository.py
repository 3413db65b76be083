#!/usr/bin/python3
"""Build a signed apt repository that looks like Docker's, out of Debian's packages, in /srv/docker-ce of a test host.

Docker's own packages are behind a site that a test must not need. Theirs differ from Debian's in name, version and in
how they are cut (containerd.io brings runc), and that is what the role has to deal with; so Debian's files are packed
anew under those names. Prints the fingerprint of the repository's key. Needs gpg; run as root.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import subprocess
from email.utils import formatdate
from pathlib import Path

ROOT = Path("/srv/docker-ce")
WORK = Path("/var/tmp/docker-ce")  # noqa: S108 - of a throwaway host
SUITE = "trixie"
VERSION = "5:26.1.5-1~debian.13~trixie"
#: Package: what it is made of, what it needs of the others, what it takes the place of.
PACKAGES = {
    "docker-ce": (["docker.io"], "containerd.io, docker-ce-cli, iptables", "docker.io"),
    "docker-ce-cli": (["docker-cli"], "", "docker-cli"),
    "containerd.io": (["containerd", "runc"], "", "containerd, runc"),
    "docker-buildx-plugin": ([], "", ""),
    "docker-compose-plugin": (["docker-compose"], "", "docker-compose"),
}
SCRIPTS = ("postinst", "prerm", "postrm", "preinst")


def run(*argv: str, cwd: Path = WORK) -> str:
    """Run a program and return what it printed."""
    return subprocess.run(argv, cwd=cwd, check=True, capture_output=True, text=True).stdout


def unpack(name: str) -> Path:
    """Debian's package, unpacked."""
    run("apt-get", "--quiet=2", "download", name)
    into = WORK / f"{name}.d"
    run("dpkg-deb", "--raw-extract", str(next(WORK.glob(f"{name}_*.deb"))), str(into))
    return into


def build(name: str, architecture: str) -> Path:
    """One package of the repository."""
    sources, needs, replaces = PACKAGES[name]
    tree = WORK / name
    (tree / "DEBIAN").mkdir(parents=True)
    for source in sources:
        unpacked = unpack(source)
        shutil.copytree(unpacked, tree, symlinks=True, dirs_exist_ok=True, ignore=shutil.ignore_patterns("DEBIAN"))
        for script in (*SCRIPTS, "conffiles"):
            if (unpacked / "DEBIAN" / script).exists():
                shutil.copy2(unpacked / "DEBIAN" / script, tree / "DEBIAN" / script)
    fields = {
        "Package": name,
        "Version": VERSION,
        "Architecture": architecture,
        "Maintainer": "tests <tests@example.org>",
        "Depends": needs,
        "Conflicts": replaces,
        "Replaces": replaces,
        "Description": f"stand-in for {name}",
    }
    (tree / "DEBIAN" / "control").write_text("".join(f"{key}: {value}\n" for key, value in fields.items() if value))
    run("dpkg-deb", "-Znone", "--build", str(tree), str(ROOT / "pool"))
    return next((ROOT / "pool").glob(f"{name}_*.deb"))


def entry(package: Path) -> str:
    """What Packages says about a package."""
    data = package.read_bytes()
    control = run("dpkg-deb", "--field", str(package)).strip()
    digest = hashlib.sha256(data).hexdigest()
    return f"{control}\nFilename: {package.relative_to(ROOT)}\nSize: {len(data)}\nSHA256: {digest}\n"


def sign() -> str:
    """Make a key, sign the release, publish the key as Docker does; the fingerprint."""
    home = WORK / "gnupg"
    home.mkdir(mode=0o700)
    gpg = ["gpg", "--homedir", str(home), "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""]
    run(*gpg, "--quick-generate-key", "stand-in for Docker <tests@example.org>", "ed25519", "sign", "never")
    dists = ROOT / "dists" / SUITE
    run(*gpg, "--yes", "--clear-sign", "--output", str(dists / "InRelease"), str(dists / "Release"))
    (ROOT / "gpg").write_text(run(*gpg, "--armor", "--export"))
    listed = run(*gpg, "--with-colons", "--fingerprint").splitlines()
    return next(line for line in listed if line.startswith("fpr:")).split(":")[9]


def main() -> None:
    """Build it all anew."""
    for directory in (ROOT, WORK):
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
    (ROOT / "pool").mkdir()
    # apt downloads as a user of its own.
    os.chmod(WORK, 0o777)  # noqa: PTH101, S103
    architecture = run("dpkg", "--print-architecture").strip()
    packages = "\n".join(entry(build(name, architecture)) for name in PACKAGES)
    index = ROOT / "dists" / SUITE / "stable" / f"binary-{architecture}"
    index.mkdir(parents=True)
    (index / "Packages").write_text(packages)
    (index / "Packages.gz").write_bytes(gzip.compress(packages.encode()))
    dist = ROOT / "dists" / SUITE
    sums = "".join(
        f" {hashlib.sha256(path.read_bytes()).hexdigest()} {path.stat().st_size} {path.relative_to(dist)}\n"
        for path in sorted(index.iterdir())
    )
    (dist / "Release").write_text(
        f"Origin: Docker\nLabel: Docker CE\nSuite: {SUITE}\nCodename: {SUITE}\nDate: {formatdate(usegmt=True)}\n"
        f"Architectures: {architecture}\nComponents: stable\nSHA256:\n{sums}"
    )
    print(sign())


if __name__ == "__main__":
    main()
