"""A signed apt repository with Tailscale, laid out as the vendor's, in a container beside the hosts.

The default track is what a production host is pointed at: ``url()`` is the deb822 URI (suite ``SUITE``, component
``main``), ``key_url()`` its key. It holds the pinned version and never changes. A test that wants an upgrade publishes
a track of its own, named after its host, first with ``current()`` and later with ``newer()`` too::

    packages.publish("web", packages.current())
    packages.publish("web", packages.current(), packages.newer())   # now there is an upgrade
    packages.publish("web", packages.current())                     # ... and it is withdrawn again

The packages are built here from the programs of ``artifacts/tailscale``; both versions hold the same two programs. One
repository serves every checkout of this machine.
"""

from __future__ import annotations

import email.utils
import hashlib
import json
import os
import re
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from . import artifacts, hosts, image, openpgp, sidecars
from .archive import File, ar, gz, tar
from .shell import BedError

NAME = "pkgs.sapflux.test"
REPOSITORY = sidecars.Sidecar("packages", hosts.NAMES[NAME], 80, "/stable/debian/dists/trixie/InRelease")
STABLE = "stable"
SUITE = image.SUITE
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
# Where things lie in the container; only WEB is served.
WEB, POOL, SIGNING_KEY = "srv", "srv/.pool", "var/lib/signing-key.json"
SIGNER = "sapflux test bed <bed@sapflux.test>"

UNIT = """\
[Unit]
Description=Tailscale node agent
Wants=network-pre.target
After=network-pre.target NetworkManager.service systemd-resolved.service

[Service]
Type=notify
EnvironmentFile=/etc/default/tailscaled
ExecStart=/usr/sbin/tailscaled --port=${PORT} --state=/var/lib/tailscale/tailscaled.state \
--socket=/run/tailscale/tailscaled.sock $FLAGS
ExecStopPost=/usr/sbin/tailscaled --cleanup
Restart=on-failure
StateDirectory=tailscale
StateDirectoryMode=0700
CacheDirectory=tailscale
CacheDirectoryMode=0750
RuntimeDirectory=tailscale
RuntimeDirectoryMode=0755

[Install]
WantedBy=multi-user.target
"""
WAIT_UNIT = """\
[Unit]
Description=Wait until this host has its tailnet address
Requires=tailscaled.service
After=tailscaled.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/tailscale wait

[Install]
WantedBy=tailscale-online.target
"""
TARGET = """\
[Unit]
Description=This host has its tailnet address
Requires=tailscale-wait-online.service
After=tailscale-wait-online.service
"""
SETTINGS = """\
# The UDP port for direct connections, and further options of the daemon.
PORT="41641"
FLAGS=""
"""
# Installing enables and (re)starts the daemon, removing stops and masks it, purging takes the node's identity with it.
POSTINST = """\
#!/bin/sh
case "$1" in
configure | abort-upgrade | abort-deconfigure | abort-remove)
    deb-systemd-helper unmask tailscaled.service >/dev/null || true
    if deb-systemd-helper --quiet was-enabled tailscaled.service; then verb=enable; else verb=update-state; fi
    deb-systemd-helper "$verb" tailscaled.service >/dev/null || true
    if [ -d /run/systemd/system ]; then
        systemctl --system daemon-reload >/dev/null || true
        deb-systemd-invoke restart tailscaled.service >/dev/null || true
    fi
    ;;
esac
"""
PRERM = """\
#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
    deb-systemd-invoke stop tailscaled.service >/dev/null || true
fi
"""
POSTRM = """\
#!/bin/sh
set -e
[ ! -d /run/systemd/system ] || systemctl --system daemon-reload >/dev/null || true
[ -x /usr/bin/deb-systemd-helper ] || exit 0
case "$1" in
remove)
    deb-systemd-helper mask tailscaled.service >/dev/null || true
    ;;
purge)
    deb-systemd-helper purge tailscaled.service >/dev/null || true
    deb-systemd-helper unmask tailscaled.service >/dev/null || true
    rm -rf /var/lib/tailscale
    ;;
esac
"""


def current() -> str:
    """The version every track begins with: the one `artifacts/tailscale` pins."""
    return artifacts.module_version(artifacts.ROOT / "artifacts" / "tailscale", artifacts.TAILSCALE)


def newer() -> str:
    """A later version of the package, with the same programs in it."""
    return f"{current()}+1"


def control(version: str, installed_kib: int) -> str:
    """The package's control file."""
    return (
        f"Package: tailscale\nVersion: {version}\nArchitecture: {ARCHITECTURE}\n"
        "Maintainer: sapflux test bed <bed@sapflux.test>\n"
        f"Installed-Size: {installed_kib}\nDepends: iptables\n"
        "Recommends: tailscale-archive-keyring (>= 1.35.181), iproute2\n"
        "Conflicts: tailscale-relay\nReplaces: tailscale-relay\n"
        "Section: net\nPriority: extra\nDescription: Tailscale's client and daemon, built for the test bed\n"
    )


def contents(tailscale: bytes, tailscaled: bytes) -> dict[str, File]:
    """What the package installs."""
    units = {"tailscaled.service": UNIT, "tailscale-wait-online.service": WAIT_UNIT, "tailscale-online.target": TARGET}
    return {
        "usr/bin/tailscale": File(tailscale, 0o755),
        "usr/sbin/tailscaled": File(tailscaled, 0o755),
        "etc/default/tailscaled": File(SETTINGS.encode()),
        **{f"usr/lib/systemd/system/{name}": File(text.encode()) for name, text in units.items()},
    }


def debs(files: Mapping[str, File], versions: Sequence[str]) -> dict[str, bytes]:
    """A .deb of the same files for each version."""
    data = gz(tar(files))
    sums = "".join(
        f"{hashlib.md5(file.content, usedforsecurity=False).hexdigest()}  {path}\n"
        for path, file in sorted(files.items())
        if not path.startswith("etc/")
    )
    scripts = {"postinst": POSTINST, "prerm": PRERM, "postrm": POSTRM}
    size = sum(len(file.content) for file in files.values()) // 1024
    made = {}
    for version in versions:
        about = {
            "control": File(control(version, size).encode()),
            "md5sums": File(sums.encode()),
            "conffiles": File(b"/etc/default/tailscaled\n"),
            **{f"{name}": File(text.encode(), 0o755) for name, text in scripts.items()},
        }
        made[version] = ar((("debian-binary", b"2.0\n"), ("control.tar.gz", gz(tar(about))), ("data.tar.gz", data)))
    return made


def deb_name(version: str) -> str:
    """The file name of a package."""
    return f"tailscale_{version}_{ARCHITECTURE}.deb"


def stanza(version: str, deb: bytes, installed_kib: int) -> str:
    """A package's entry in the Packages file."""
    return (
        control(version, installed_kib)
        + f"Filename: pool/{deb_name(version)}\nSize: {len(deb)}\nSHA256: {hashlib.sha256(deb).hexdigest()}\n"
    )


def release(track: str, indices: Mapping[str, bytes], date: float) -> str:
    """The Release file: what the suite is and the digests of its indices."""
    digests = "".join(
        f" {hashlib.sha256(content).hexdigest()} {len(content)} {path}\n" for path, content in sorted(indices.items())
    )
    return (
        f"Origin: Tailscale\nLabel: Tailscale\nSuite: {SUITE}\nCodename: {SUITE}\n"
        f"Date: {email.utils.formatdate(date, usegmt=True)}\nArchitectures: {ARCHITECTURE}\nComponents: main\n"
        f"Description: {track} packages of the test bed\nSHA256:\n{digests}"
    )


def suite(track: str, stanzas: Sequence[str], key: openpgp.Key, date: float) -> dict[str, File]:
    """Every file of a track but the packages themselves, by path below the web root."""
    packages = "\n".join(stanzas).encode()
    folder = f"main/binary-{ARCHITECTURE}"
    indices = {f"{folder}/Packages": packages, f"{folder}/Packages.gz": gz(packages)}
    text = release(track, indices, date)
    top = f"{track}/debian"
    files = {f"{top}/dists/{SUITE}/{path}": File(content) for path, content in indices.items()}
    files[f"{top}/dists/{SUITE}/Release"] = File(text.encode())
    files[f"{top}/dists/{SUITE}/InRelease"] = File(key.clearsign(text).encode())
    files[f"{top}/{SUITE}.noarmor.gpg"] = File(key.public())
    files[f"{top}/pool"] = File(link="../../.pool")
    return files


def url(track: str = STABLE) -> str:
    """The URI of a track for a deb822 source."""
    return f"http://{NAME}/{track}/debian"


def key_url(track: str = STABLE) -> str:
    """Where the key that signs a track is had, not armored."""
    return f"{url(track)}/{SUITE}.noarmor.gpg"


def key_sha256() -> str:
    """SHA-256 of that key of the default track, in hex, as it is served."""
    with urllib.request.urlopen(key_url().replace(NAME, REPOSITORY.address), timeout=30) as answer:
        return hashlib.sha256(answer.read()).hexdigest()


def _files() -> dict[str, File]:
    """What a new repository begins with: the key, all packages, and the track that never changes."""
    key = openpgp.Key.generate(SIGNER)
    kept = {**asdict(key), "secret": key.secret.hex()}
    files = {SIGNING_KEY: File(json.dumps(kept).encode(), 0o600)}
    installed = contents(*(artifacts.artifact(name).path.read_bytes() for name in ("tailscale", "tailscaled")))
    size = sum(len(file.content) for file in installed.values()) // 1024
    stanzas = {}
    for version, deb in debs(installed, (current(), newer())).items():
        stanzas[version] = stanza(version, deb, size)
        files[f"{POOL}/{deb_name(version)}"] = File(deb)
        files[f"{POOL}/{version}.stanza"] = File(stanzas[version].encode())
    stable = suite(STABLE, [stanzas[current()]], key, time.time())
    return files | {f"{WEB}/{path}": file for path, file in stable.items()}


def repository() -> sidecars.Sidecar:
    """Start the repository unless it runs."""
    sidecars.start(
        REPOSITORY,
        arguments=("python3", "-m", "http.server", "80", "--protocol", "HTTP/1.1", "--directory", f"/{WEB}"),
        files=_files,
        bottom=image.host,
    )
    return REPOSITORY


def _own(track: str) -> None:
    if track == STABLE or not re.fullmatch(r"[a-z0-9][a-z0-9-]*", track):
        raise BedError(f"{track!r} cannot be published: a track is named after the host whose test it serves")


def publish(track: str, *versions: str) -> str:
    """Make `versions` (of current() and newer()) all that the caller's own track offers, and return its `url`."""
    _own(track)
    unknown = set(versions) - {current(), newer()}
    if unknown:
        raise BedError(f"no package has the version {', '.join(sorted(unknown))}: there are {current()} and {newer()}")
    repository()
    kept = json.loads(hosts.execute(REPOSITORY.name, f"cat /{SIGNING_KEY}"))
    key = openpgp.Key(bytes.fromhex(kept["secret"]), kept["created"], kept["user"])
    stanzas = [hosts.execute(REPOSITORY.name, f"cat '/{POOL}/{version}.stanza'") + "\n" for version in versions]
    new, old, place = (f"/{WEB}/{prefix}{track}" for prefix in (".new-", ".old-", ""))
    hosts.execute(
        REPOSITORY.name,
        f"rm -rf {new} {old}; mkdir {new}; tar -x -C {new}; ! [ -e {place} ] || mv {place} {old}; "
        f"mv {new}/{track} {place}; rm -rf {new} {old}",
        stdin=tar(suite(track, stanzas, key, time.time())),
    )
    return url(track)


def withdraw(track: str) -> None:
    """Remove the caller's own track, if it is there."""
    _own(track)
    if hosts.running(REPOSITORY.name):
        hosts.execute(REPOSITORY.name, f"rm -rf /{WEB}/{track}")
