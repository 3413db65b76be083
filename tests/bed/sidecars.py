"""What stands beside the hosts: MinIO as the object store, and a container registry.

Both are the real programs, built from their Go modules (see artifacts/), run in containers on the bed's network.
"""

from __future__ import annotations

import secrets
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from . import archive, hosts, image
from .artifacts import artifact
from .shell import run, say, text, wait_for

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ACCESS_KEY = "minioadmin"
SECRET_KEY = "minioadmin-secret"
REGION = "us-east-1"
PUSH_PORT = 5083

REGISTRY_CONFIG = """\
version: 0.1
log: {level: warn}
storage: {filesystem: {rootdirectory: /data}, delete: {enabled: true}}
http: {addr: ":5000", secret: %s}
"""


@dataclass(frozen=True)
class Sidecar:
    """One program beside the hosts: its fixed address on the bed's network and the path that says it is well."""

    name: str
    host_number: int
    port: int
    health: str

    @property
    def address(self) -> str:
        """Fixed IPv4 address."""
        return f"{hosts.PREFIX}.0.{self.host_number}"

    @property
    def endpoint(self) -> str:
        """host:port as the hosts reach it."""
        return f"{self.address}:{self.port}"

    def healthy(self) -> bool:
        """Tell whether it answers."""
        try:
            with urllib.request.urlopen(f"http://{self.endpoint}{self.health}", timeout=3) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


MINIO = Sidecar("objects", 10, 9000, "/minio/health/live")
REGISTRY = Sidecar("registry", 11, 5000, "/v2/")


def start(
    sidecar: Sidecar,
    *options: str,
    arguments: tuple[str, ...],
    program: str = "",
    files: Callable[[], Mapping[str, archive.File]] = dict,
    bottom: Callable[[], str] = image.base,
) -> None:
    """Start a sidecar unless it runs, and wait until it is well.

    `program` is one of `artifacts/`, put before `arguments`; `files` makes what is written into a new container
    (by path below /) before its first start; `bottom` names its image.
    """
    hosts.network()
    with hosts.locked(f"sidecar-{sidecar.name}", machine=True):
        _resume(sidecar.name)
        if not hosts.exists(sidecar.name):
            _create(sidecar, *options, arguments=arguments, program=program, files=files(), bottom=bottom())
        wait_for(f"an answer of {sidecar.name} at {sidecar.endpoint}", sidecar.healthy)


def _resume(name: str) -> None:
    """Start a stopped sidecar, whoever made it (one serves every checkout of this machine); remove one that cannot."""
    if not hosts.exists(name) or hosts.running(name):
        return
    # Files of a checkout that is gone would be mounted as empty folders.
    if not hosts.owner(name).exists() or run("docker", "start", hosts.container(name), check=False).returncode != 0:
        hosts.down(name)


def _create(
    sidecar: Sidecar,
    *options: str,
    arguments: tuple[str, ...],
    program: str,
    files: Mapping[str, archive.File],
    bottom: str,
) -> None:
    say(f"starting {program or sidecar.name} at {sidecar.endpoint}")
    argv = ["docker", "create", "--init", "--name", hosts.container(sidecar.name)]
    argv += ["--label", f"{hosts.LABEL}={hosts.STATE}"]
    argv += ["--network", hosts.NETWORK, "--ip", sidecar.address, "--volume", "/data"]
    if program:
        argv += ["--volume", f"{artifact(program).path}:/usr/local/bin/{program}:ro"]
        arguments = (f"/usr/local/bin/{program}", *arguments)
    run(*argv, *options, "--entrypoint", arguments[0], bottom, *arguments[1:])
    try:
        if files:
            run("docker", "cp", "-", f"{hosts.container(sidecar.name)}:/", stdin=archive.tar(files))
        run("docker", "start", hosts.container(sidecar.name))
    except BaseException:
        # A container without its files would be taken for a stopped one and started as it is.
        hosts.down(sidecar.name)
        raise


def minio() -> Sidecar:
    """Start the object store unless it runs."""
    start(
        MINIO,
        "--env",
        f"MINIO_ROOT_USER={ACCESS_KEY}",
        "--env",
        f"MINIO_ROOT_PASSWORD={SECRET_KEY}",
        program="minio",
        arguments=("server", "/data", "--address", f":{MINIO.port}"),
    )
    return MINIO


def registry() -> Sidecar:
    """Start the registry unless it runs; from this machine it is 127.0.0.1:PUSH_PORT, so that Docker trusts it."""
    config = hosts.STATE / "registry.yml"
    if not config.exists():
        hosts.STATE.mkdir(mode=0o700, parents=True, exist_ok=True)
        config.write_text(REGISTRY_CONFIG % secrets.token_hex(16))
    start(
        REGISTRY,
        "--volume",
        f"{config}:/etc/registry.yml:ro",
        "--publish",
        f"127.0.0.1:{PUSH_PORT}:5000",
        program="registry",
        arguments=("serve", "/etc/registry.yml"),
    )
    return REGISTRY


def s3() -> S3Client:
    """A client of the object store, as its administrator."""
    return boto3.client(
        "s3",
        endpoint_url=f"http://{MINIO.endpoint}",
        region_name=REGION,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        config=Config(s3={"addressing_style": "path"}),
    )


def bucket(name: str) -> None:
    """Make a bucket unless it is there."""
    try:
        s3().create_bucket(Bucket=name)
    except ClientError as error:
        if error.response["Error"]["Code"] not in {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}:
            raise


def drop_bucket(name: str) -> None:
    """Remove a bucket with everything in it, if it is there."""
    store = s3()
    try:
        for page in store.get_paginator("list_objects_v2").paginate(Bucket=name):
            for item in page.get("Contents", []):
                store.delete_object(Bucket=name, Key=item["Key"])
        store.delete_bucket(Bucket=name)
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchBucket":
            raise


def push(local: str, repository: str) -> str:
    """Push a local image and return the reference by digest under which the hosts pull it."""
    registry()
    remote = f"127.0.0.1:{PUSH_PORT}/{repository}"
    run("docker", "tag", local, remote)
    run("docker", "push", "--quiet", remote)
    digests = text("docker", "image", "inspect", "--format", '{{join .RepoDigests "\\n"}}', remote).splitlines()
    digest = next(line.split("@", 1)[1] for line in digests if line.startswith(f"{remote}@"))
    return f"{REGISTRY.endpoint}/{repository}@{digest}"
