# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private: asks a running host how it is.

Reads only; a part that cannot be asked says why instead of failing the rest.
"""

from __future__ import annotations

import json
import os
import re
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from glob import glob
from typing import Any

from ansible_collections.sapflux.hosting.plugins.module_utils import _host_watch

PGSAFE = "/usr/local/lib/sapflux/walg/pgsafe"
UPSTREAMS = "/etc/sapflux/upstreams"
VERSION = re.compile(r"v?\d+\.\d+[\w.+-]*")
VERSIONS = {
    "kernel": ["uname", "-r"],
    "docker": ["docker", "version", "--format", "{{.Server.Version}}"],
    "caddy": ["caddy", "version"],
    "wal-g": ["wal-g", "--version"],
}


def run(argv: list[str], timeout: float = 30) -> tuple[int, str]:
    """Run a program; (exit code, stdout). A program that is not there is (127, "")."""
    try:
        done = subprocess.run(argv, capture_output=True, timeout=timeout, check=False)
    except (FileNotFoundError, PermissionError):
        return 127, ""
    except subprocess.TimeoutExpired:
        return 124, ""
    return done.returncode, done.stdout.decode(errors="replace").strip()


def versions() -> dict[str, str]:
    """Versions of what runs here; a program that is not installed is left out."""
    found = {}
    with open("/etc/os-release", encoding="utf-8") as handle:
        lines = dict(line.rstrip().split("=", 1) for line in handle if "=" in line)
    found["system"] = lines.get("PRETTY_NAME", "").strip('"')
    servers = sorted(glob("/usr/lib/postgresql/*/bin/postgres"))
    programs = VERSIONS | ({"postgres": [servers[-1], "--version"]} if servers else {})
    for name, argv in programs.items():
        code, text = run(argv)
        if code == 0 and (version := VERSION.search(text)):
            found[name] = version[0]
    return found


def units(names: list[str]) -> dict[str, dict[str, object]]:
    """State of systemd units: active, sub-state, memory in bytes (0 = not counted), seconds since the change."""
    if not names:
        return {}
    code, text = run(["systemctl", "show", "--property=Id,LoadState,ActiveState,SubState,MemoryCurrent,Result", *names])
    if code != 0:
        return {}
    found: dict[str, dict[str, object]] = {}
    for name, block in zip(names, text.split("\n\n"), strict=False):
        fields = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        memory = fields.get("MemoryCurrent", "")
        found[name] = {
            "loaded": fields.get("LoadState") == "loaded",
            "active": fields.get("ActiveState", "unknown"),
            "state": fields.get("SubState", "unknown"),
            "result": fields.get("Result", ""),
            "memory_bytes": int(memory) if memory.isdigit() and int(memory) < 2**60 else 0,
        }
    return found


def disks(paths: list[str]) -> list[dict[str, object]]:
    """Size and free space in MB of the file systems that hold these paths, one entry a file system."""
    seen: dict[int, dict[str, object]] = {}
    for path in paths:
        if not os.path.exists(path):
            continue
        device = os.stat(path).st_dev
        space = os.statvfs(path)
        seen.setdefault(
            device,
            {
                "path": path,
                "size_mb": space.f_blocks * space.f_frsize // 2**20,
                "free_mb": space.f_bavail * space.f_frsize // 2**20,
            },
        )
    return list(seen.values())


def memory() -> dict[str, int]:
    """Memory and swap in MB, as the kernel counts them."""
    with open("/proc/meminfo", encoding="utf-8") as handle:
        fields = {line.split(":")[0]: int(line.split()[1]) // 1024 for line in handle}
    return {
        "total_mb": fields["MemTotal"],
        "available_mb": fields.get("MemAvailable", 0),
        "swap_total_mb": fields.get("SwapTotal", 0),
        "swap_free_mb": fields.get("SwapFree", 0),
    }


def certificate(hostname: str, ca_file: str | None, address: str = "127.0.0.1", port: int = 443) -> dict[str, object]:
    """Handshake with the web server here as `hostname`: its certificate's issuer and hours left, or why not."""
    found: dict[str, object] = {"hostname": hostname}
    try:
        context = ssl.create_default_context(cafile=ca_file)
        with (
            socket.create_connection((address, port), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname=hostname) as tls,
        ):
            peer = tls.getpeercert() or {}
        ends = ssl.cert_time_to_seconds(str(peer["notAfter"]))
        found.update(hours_left=int((ends - time.time()) // 3600), issuer=_issuer(peer))
    except (OSError, ssl.SSLError, KeyError) as error:
        found["error"] = str(error)
    return found


def _issuer(peer: Mapping[str, Any]) -> str:
    """The issuer's common name, else its organization."""
    names = {pair[0]: str(pair[1]) for group in peer.get("issuer", ()) for pair in group}
    return names.get("commonName") or names.get("organizationName", "")


def probe(url: str, timeout: float = 10) -> dict[str, object]:
    """GET a loopback URL: status and seconds, or the error.

    ``upstream://NAME/path`` stands for the slot that serves: its address is in the file of that name.
    """
    if url.startswith("upstream://"):
        name, _slash, path = url.removeprefix("upstream://").partition("/")
        address = public_file(os.path.join(UPSTREAMS, name)).strip()
        if not address:
            return {"url": url, "error": "it was never deployed"}
        url = "http://%s/%s" % (address, path)
    began = time.monotonic()
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer:  # noqa: S310 - loopback URLs of the wiring
            status = answer.status
    except urllib.error.HTTPError as error:
        status = error.code
    except (urllib.error.URLError, OSError) as error:
        return {"url": url, "error": str(error)}
    return {"url": url, "status": status, "seconds": round(time.monotonic() - began, 3)}


def archive() -> dict[str, object]:
    """What `pgsafe status` says about backups and the archive; empty where the role walg is not applied."""
    if not os.path.exists(PGSAFE):
        return {}
    code, text = run(["runuser", "-u", "postgres", "--", PGSAFE, "status", "--json"], timeout=120)
    try:
        return dict(json.loads(text))
    except ValueError:
        return {"error": "pgsafe status ended with %d" % code}


def containers(project: str) -> list[dict[str, object]]:
    """The project's containers: name, image, state, health. Empty without a project."""
    if not project:
        return []
    code, text = run(
        [
            "docker",
            "ps",
            "--all",
            "--no-trunc",
            "--filter",
            "label=com.docker.compose.project=" + project,
            "--format",
            "{{json .}}",
        ]
    )
    if code != 0:
        return []
    found = []
    for line in text.splitlines():
        entry = json.loads(line)
        found.append(
            {"name": entry["Names"], "image": entry["Image"], "state": entry["State"], "status": entry["Status"]}
        )
    return found


def public_file(path: str | None) -> str:
    """The content of a file that is no secret (a CA certificate); empty where there is none."""
    if not path or not os.path.exists(path):
        return ""
    with open(path, encoding="utf-8") as handle:
        return handle.read()


def collect(
    unit_names: list[str],
    hostnames: list[str],
    ca_file: str | None,
    urls: list[str],
    project: str,
) -> dict[str, object]:
    """Everything about this host, in one dictionary (see the RETURN of the module).

    The parts wait for other programs, not for this one, so they are asked at the same time.
    """
    bundle = ca_file if ca_file and os.path.exists(ca_file) else None
    with ThreadPoolExecutor(max_workers=8) as pool:
        parts: dict[str, Future[Any]] = {
            "versions": pool.submit(versions),
            "units": pool.submit(units, unit_names),
            "archive": pool.submit(archive),
            "containers": pool.submit(containers, project),
            "releases": pool.submit(_host_watch.releases, project),
            "updates": pool.submit(_host_watch.updates),
        }
        certificates = [pool.submit(certificate, name, bundle) for name in hostnames]
        probes = [pool.submit(probe, url) for url in urls]
        found: dict[str, object] = {name: part.result() for name, part in parts.items()}
        found["certificates"] = [part.result() for part in certificates]
        found["probes"] = [part.result() for part in probes]
    found["disks"] = disks(["/", "/var/lib/postgresql", "/var/lib/docker", "/tmp"])  # noqa: S108 - asked, not written to
    found["memory"] = memory()
    found["look"] = _host_watch.look()
    found["ca"] = public_file(ca_file)
    return found
