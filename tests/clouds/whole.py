"""Empty accounts at Hetzner and Cloudflare, and the document of the demo with both: the whole way starts from nothing.

R2 is the double's: REST makes bucket and keys, and its S3 door lets in who holds a pair that was made of a token, over
TLS and under R2's own name. The objects behind it are MinIO's.
"""

from __future__ import annotations

import hashlib
import http.client
import secrets
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import yaml

from tests.bed import cloud, hosts, image, images, packages, pki, sidecars, tailnet, walg
from tests.bed.artifacts import artifact
from tests.bed.shell import run, text
from tests.bed.stage import DOMAIN, LOCAL
from tests.clouds.project import Project
from tests.clouds.world import GROUPS, TOKEN
from tests.doubles.cloudflare import ACCOUNT, Cloudflare, cloudflare, zones
from tests.doubles.cloudflare import s3 as door
from tests.doubles.hetzner import PREFIX, Hetzner, hetzner
from tests.doubles.hetzner.addresses import Pool
from tests.doubles.web import Reply, Request

HOST = "whole-way"
BUCKET = "sapflux-whole-way"
HCLOUD_TOKEN = "hcloud-token-that-must-not-show"
BLOCK = 65
"""Of the bed's network: the addresses of this server, not those of other tests."""
RELAY = """
import asyncio, sys

async def pass_on(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    writer.close()

async def serve(reader, writer):
    try:
        there, away = await asyncio.open_connection(sys.argv[1], int(sys.argv[2]))
    except OSError:
        writer.close()
        return
    await asyncio.gather(pass_on(reader, away), pass_on(there, writer))

async def main():
    async with await asyncio.start_server(serve, "0.0.0.0", 443) as server:
        await server.serve_forever()

asyncio.run(main())
"""
"""Port 443 of an address of the bed, for which nobody here has to be root, to a port of this machine."""


SSH = """\
Host *.{domain}
  ProxyCommand ssh -F {bed} -o ControlPath=none {operator} sudo tailscale nc %h %p

Host *
  IdentityFile {key}
  IdentitiesOnly yes
  UserKnownHostsFile {known_hosts}
  LogLevel ERROR
"""
"""This machine is no node of the tailnet: there is one through which it gets in."""


@dataclass
class World:
    """The doubles, and the project that is run on them."""

    cloud: Cloudflare
    objects: door.Objects
    hetzner: Hetzner
    project: Project
    zone: str

    def address(self) -> str:
        """Where the server is."""
        return str(self.hetzner.named("primary_ips", f"{HOST}-ipv4")["ip"])

    def sudo(self, command: str) -> str:
        """What a command says as root, over the tailnet: the way in that is left."""
        config = str(self.project.folder / "ssh_config")
        return text("ssh", "-F", config, f"{hosts.ADMIN}@{HOST}.{tailnet.DOMAIN}", f"sudo {command}")

    def kept(self) -> dict[str, str]:
        """What the secret store holds."""
        held: dict[str, str] = yaml.safe_load((self.project.folder / ".secrets.yml").read_text(encoding="utf-8"))
        return held

    def marks(self) -> list[str]:
        """The beginnings of everything secret: however the rest is quoted, these would show."""
        open_ = {name for name in self.kept() if name.endswith("ACCESS_KEY_ID")}
        values = [value for name, value in self.kept().items() if name not in open_]
        return [value[:24] for value in [*values, *(token.value for token in self.cloud.tokens.values())]]


def behind(request: Request) -> Reply:
    """What MinIO answers to a request, signed anew as its administrator."""
    headers = {
        "host": sidecars.MINIO.endpoint,
        "x-amz-date": datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ"),
        "x-amz-content-sha256": request.headers["x-amz-content-sha256"],
    }
    headers |= {name: request.headers[name] for name in ("content-type", "range") if name in request.headers}
    again = Request(request.method, request.path, request.query, headers)
    again.headers["authorization"] = door.authorization(
        sidecars.ACCESS_KEY,
        sidecars.SECRET_KEY,
        sidecars.REGION,
        Request(request.method, request.path, request.query, dict(headers)),
    )
    connection = http.client.HTTPConnection(sidecars.MINIO.endpoint, timeout=60)
    try:
        where = f"{request.path}?{urlencode(request.query)}" if request.query else request.path
        connection.request(request.method, where, request.raw or None, again.headers)
        answer = connection.getresponse()
        raw = answer.read()
        kept = ("ETag", "Last-Modified", "Content-Range", "Content-Length")
        found = {name: value for name in kept if (value := answer.getheader(name))}
        return Reply(answer.status, raw=raw, headers=found, content_type=answer.getheader("Content-Type") or "")
    finally:
        connection.close()


@contextmanager
def front(objects: door.Objects, folder: Path) -> Iterator[tuple[str, str]]:
    """R2's S3 door under its own name while the block runs; gives the address of that name and the CA of its TLS."""
    gateway = f"{hosts.PREFIX}.0.1"
    issued = pki.issue("sapflux test clouds", (door.HOST,), (gateway,))
    pair = folder / "r2.pem"
    pair.touch(mode=0o600)
    pair.write_text(issued.certificate + issued.key, encoding="utf-8")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pair)
    relay = f"{HOST}-r2"
    with objects.running(gateway, tls=tls) as url:
        hosts.down(relay)
        label = f"{hosts.LABEL}={hosts.STATE}"
        argv = ["--name", hosts.container(relay), "--network", hosts.NETWORK, "--label", label, "--init"]
        words = ["python3", "-c", RELAY, *url.removeprefix("https://").split(":")]
        run("docker", "run", "--detach", *argv, "--entrypoint", words[0], image.host(), *words[1:])
        try:
            yield hosts.address(relay), issued.ca
        finally:
            hosts.down(relay)


def document(folder: Path, endpoint: str, base_url: str, key: str) -> dict[str, Any]:
    """The document of the demo, with servers, a zone and a bucket that have yet to be made."""
    site: dict[str, Any] = yaml.safe_load((LOCAL / "group_vars" / "all" / "site.yml").read_text())["site"]
    program, caddy = walg.program(), artifact("caddy")
    site["admin"]["authorized_keys"] = [hosts.public_key()]
    site["artifacts"] = {
        "caddy": {"version": caddy.version, "file": str(caddy.path), "sha256": caddy.sha256},
        "walg": {"version": program.version, "file": str(program.path), "sha256": program.sha256},
    }
    site["tailscale"] = {
        "login_server": tailnet.LOGIN_SERVER,
        "auth_key": "${TAILSCALE_AUTH_KEY}",
        "domain": tailnet.DOMAIN,
        "version": packages.current(),
        "repository": {"url": packages.url(), "key_sha256": packages.key_sha256()},
    }
    site["docker"] = {"insecure_registries": [sidecars.REGISTRY.endpoint]}
    site["hetzner"] = {
        "servers": [{"name": HOST, "type": "cpx11"}],
        "token": "${HCLOUD_TOKEN}",
        "endpoint": endpoint,
        "known_hosts": str(folder / "known_hosts"),
    }
    site["cloudflare"] = {
        "zone": DOMAIN,
        "account_id": ACCOUNT,
        "api_token": "${CLOUDFLARE_API_TOKEN}",
        "base_url": base_url,
    }
    site["backup"] |= {
        "endpoint": f"https://{door.HOST}",
        "bucket": BUCKET,
        "r2": {"create": True},
        "read_access_key_id": "${BACKUP_READ_ACCESS_KEY_ID}",
        "read_secret_access_key": "${BACKUP_READ_SECRET_ACCESS_KEY}",
        "encryption_fingerprint": hashlib.sha256(key.encode()).hexdigest()[:16],
    }
    for each in site["services"]:
        each["image"] = sidecars.push(images.build(each["name"]), f"sapflux/{each['name']}")
    service = site["services"][0]
    service["env"] |= {"S3_BUCKET": BUCKET, "S3_ENDPOINT_URL": f"http://{sidecars.MINIO.endpoint}"}
    site["secrets"] = {"file": str(folder / ".secrets.yml")}
    return site


@contextmanager
def world(folder: Path) -> Iterator[World]:
    """Two empty accounts and the document while the block runs; what was made is thrown away at its end."""
    hosts.network()
    sidecars.minio()
    sidecars.bucket(BUCKET)
    tailnet.operator()
    tailnet.delete(HOST)
    account, servers = cloudflare(), hetzner()
    zone = zones.add_zone(account, DOMAIN)
    account.add_token(TOKEN, *GROUPS)
    objects = door.Objects(account, behind)
    servers.tokens[HCLOUD_TOKEN] = "read-write"
    servers.part(Pool).ipv4 = cloud.addresses(BLOCK)
    key = secrets.token_hex(32)
    known = {
        "HCLOUD_TOKEN": HCLOUD_TOKEN,
        "CLOUDFLARE_API_TOKEN": TOKEN,
        "BACKUP_ENCRYPTION_KEY": key,
        "TAILSCALE_AUTH_KEY": tailnet.key(),
        "APP_DB_PASSWORD": secrets.token_urlsafe(24),
        "APP_S3_ACCESS_KEY_ID": sidecars.ACCESS_KEY,
        "APP_S3_SECRET_ACCESS_KEY": sidecars.SECRET_KEY,
    }
    with servers.running() as url, account.running() as other, front(objects, folder) as (address, authority):
        servers.machines = cloud.BedMachines({door.HOST: address}, [authority, tailnet.ca()])
        site = document(folder, f"{url}{PREFIX}", f"{other}/client/v4", key)
        project = Project(folder, site, {}, known)
        config = folder / "ssh_config"
        places = {"bed": hosts.ssh_config(), "key": hosts.key_path(), "known_hosts": project.known_hosts}
        config.write_text(SSH.format(domain=tailnet.DOMAIN, operator=tailnet.OPERATOR, **places), encoding="utf-8")
        project.reach(f"-F {config}")
        try:
            yield World(account, objects, servers, project, zone)
        finally:
            hosts.down(HOST)
            tailnet.delete(HOST)
            sidecars.drop_bucket(BUCKET)
