"""Servers of a cloud's double as hosts of the bed: cloud-init does at their first boot what they were given."""

from __future__ import annotations

import io
import ipaddress
import json
import tarfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from . import hosts, image
from .shell import run

SEED = "/var/lib/cloud/seed/nocloud"
SHUTDOWN_SECONDS = "60"
TRUST = "cat >/usr/local/share/ca-certificates/sapflux-{number}.crt; update-ca-certificates >/dev/null 2>&1"


def addresses(block: int = 64) -> Iterator[str]:
    """IPv4 addresses of the bed's network that Docker gives to nobody by itself; ``block`` is a test's own."""
    return (str(address) for address in ipaddress.IPv4Network(f"{hosts.PREFIX}.{block}.0/24").hosts())


class BedMachines:
    """What ``tests.doubles.hetzner`` asks for. A server keeps its name and its addresses.

    ``names`` are host names that its servers find, with their addresses; ``authorities`` are certificates, PEM, that
    they trust, as if the world's DNS and every trust store knew them.
    """

    def __init__(self, names: Mapping[str, str] | None = None, authorities: Sequence[str] = ()) -> None:
        self.names = dict(names or {})
        self.authorities = authorities

    def create(self, server: dict[str, Any], user_data: str, keys: Sequence[str]) -> None:
        """Boot a new host."""
        name = server["name"]
        hosts.network()
        hosts.down(name)
        argv = hosts.create_arguments(name, f"{server['memory']}g", server["ipv4"])
        argv += [f"--add-host={known}:{address}" for known, address in self.names.items()]
        run("docker", "create", *argv, image.cloud())
        meta = {"instance-id": str(uuid.uuid4()), "local-hostname": name, "public-keys": list(keys)}
        seed = _tar({"meta-data": json.dumps(meta), "user-data": user_data or "#cloud-config\n{}\n"})
        run("docker", "cp", "-", f"{hosts.container(name)}:/", stdin=seed)
        run("docker", "start", hosts.container(name))
        for number, authority in enumerate(self.authorities):
            hosts.execute(name, TRUST.format(number=number), stdin=authority.encode())

    def rebuild(self, server: dict[str, Any], user_data: str, keys: Sequence[str]) -> None:
        """Boot it anew: another disk, the same addresses."""
        self.create(server, user_data, keys)

    def power(self, server: dict[str, Any], on: bool, *, hard: bool) -> None:
        """Switch it on, press its button, or pull the plug."""
        name = hosts.container(server["name"])
        if on:
            run("docker", "start", name)
        elif hard:
            run("docker", "kill", name, check=False)
        else:
            run("docker", "stop", "--time", SHUTDOWN_SECONDS, name)

    def delete(self, server: dict[str, Any]) -> None:
        """Throw it away."""
        hosts.down(server["name"])


def _tar(files: dict[str, str]) -> bytes:
    """An archive with a seed of cloud-init, readable by root alone."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, text in files.items():
            data = text.encode()
            member = tarfile.TarInfo(f"{SEED.lstrip('/')}/{name}")
            member.size, member.mode = len(data), 0o600
            archive.addfile(member, io.BytesIO(data))
    return stream.getvalue()
