"""The reference application as its users have it: database, bucket, API, site, sign-in service and a browser.

Everything runs in containers of a network of its own, so that several checkouts can do it side by side; the double of
Clerk runs in this process, at the network's gateway.
"""

from __future__ import annotations

import json
import re
import secrets
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.bed import image, images
from tests.bed.artifacts import artifact
from tests.bed.shell import run, text, wait_for
from tests.doubles.clerk import PUBLISHABLE_KEY, Clerk

PASSWORD = "hunter2-database"
BUCKET_SECRET = "hunter2-bucket"
API_NAME = "api.sapflux.test"
"""The API's public name, which the browser knows."""
LISTENING = re.compile(r"DevTools listening on (ws://\S+)")
PATIENCE = 120.0
"""Seconds after which what should have happened has not."""


@dataclass(frozen=True)
class Answer:
    """One HTTP answer; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body's JSON."""
        return json.loads(self.body)


def ask(url: str, method: str = "GET", body: Any = None, token: str = "") -> Answer:
    """Ask, and take whatever status comes."""
    headers = {"Content-Type": "application/json"} if body is not None else {}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return Answer(answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read())
    except urllib.error.HTTPError as error:
        return Answer(error.code, {k.lower(): v for k, v in error.headers.items()}, error.read())


def answers(url: str) -> bool:
    """Whether there is a 200."""
    try:
        return ask(url).status == 200
    except OSError:
        return False


@dataclass
class Stack:
    """The running containers.

    `site` has nothing switched on; `full` has Clerk, Umami and tiles; from `apart` browsers ask the API themselves.
    """

    network: str
    gateway: str
    clerk: Clerk
    cleanup: ExitStack
    addresses: dict[str, str] = field(default_factory=dict)

    def container(self, name: str) -> str:
        """Its name for Docker."""
        return f"{self.network}-{name}"

    def start(self, name: str, image_: str, *options: str, command: tuple[str, ...] = ()) -> str:
        """Run a container on the network, under its name there, until the end; gives its address."""
        full = self.container(name)
        common = ("--detach", "--init", "--network", self.network, "--network-alias", name, "--cap-drop", "ALL")
        self.cleanup.callback(run, "docker", "rm", "--force", "--volumes", full, check=False)
        run("docker", "run", "--name", full, *common, *options, image_, *command)
        template = f'{{{{(index .NetworkSettings.Networks "{self.network}").IPAddress}}}}'
        self.addresses[name] = text("docker", "inspect", "--format", template, full)
        return self.addresses[name]

    @property
    def api(self) -> str:
        """URL of the API itself."""
        return f"http://{self.addresses['api']}:8080"

    @property
    def site(self) -> str:
        """URL of the site with nothing switched on."""
        return f"http://{self.addresses['site']}:3000"

    @property
    def full(self) -> str:
        """URL of the site with everything switched on."""
        return f"http://{self.addresses['full']}:3000"

    @property
    def apart(self) -> str:
        """URL of the site that has no way to the API."""
        return f"http://{self.addresses['apart']}:3000"

    def browser(self) -> str:
        """Start a headless Chromium, which sees the containers by their addresses; gives where it takes orders."""
        full = self.container("browser")
        self.cleanup.callback(run, "docker", "rm", "--force", full, check=False)
        options = ["--detach", "--init", "--network", "host", "--cap-drop", "ALL", "--read-only"]
        options += ["--tmpfs", "/tmp:mode=1777"]
        # What browsers keep for https counts here, too.
        trusted = f"--unsafely-treat-insecure-origin-as-secure={self.site},{self.full},{self.apart}"
        names = f"--host-resolver-rules=MAP {API_NAME} {self.addresses['api']}"
        run("docker", "run", "--name", full, *options, images.build("chromium"), trusted, names)
        wait_for("the browser", lambda: LISTENING.search(self.logs("browser")) is not None, PATIENCE)
        found = LISTENING.search(self.logs("browser"))
        assert found is not None
        return found[1]

    def token(self, **changes: Any) -> str:
        """A session of somebody who came by the full site."""
        return self.clerk.token(**({"azp": self.full} | changes))

    def logs(self, name: str) -> str:
        """All that a container has said."""
        done = run("docker", "logs", self.container(name), check=False)
        return (done.stdout + done.stderr).decode(errors="replace")

    def forget(self, last: int) -> None:
        """Remove every observation after this id."""
        psql = ("psql", "--quiet", "--host=/tmp", "--username=app", "--dbname=app", f"--set=last={last}")
        query = b"DELETE FROM observations WHERE id > :last"
        run("docker", "exec", "--interactive", self.container("postgis"), *psql, stdin=query)

    def cli(self, *arguments: str, stdin: str = "", home: str = "") -> tuple[int, str, str]:
        """(exit code, output, errors) of the command line beside the API; ``home`` names a volume for its files."""
        argv = ["docker", "run", "--rm", "--interactive", "--network", self.network, "--read-only", "--cap-drop", "ALL"]
        argv += ["--env", "SAPFLUX_API=http://api:8080"]
        argv += ["--volume", f"{home}:/home/sapflux"] if home else []
        done = run(*argv, images.build("cli"), *arguments, stdin=stdin.encode(), check=False)
        return done.returncode, done.stdout.decode(), done.stderr.decode()


def _options(variables: Mapping[str, str]) -> list[str]:
    return [part for name, value in variables.items() for part in ("--env", f"{name}={value}")]


def _database(stack: Stack) -> None:
    variables = {"POSTGRES_USER": "app", "POSTGRES_PASSWORD": PASSWORD, "POSTGRES_DB": "app"}
    tmpfs = ("--tmpfs", "/tmp:mode=1777,exec")
    stack.start("postgis", images.build("postgis"), "--read-only", *tmpfs, *_options(variables))


def _bucket(stack: Stack) -> None:
    variables = {"MINIO_ROOT_USER": "app", "MINIO_ROOT_PASSWORD": BUCKET_SECRET}
    program = ("--volume", f"{artifact('minio').path}:/usr/local/bin/minio:ro", "--tmpfs", "/data:mode=1777")
    # A directory of the data is a bucket: nobody has to ask for one.
    start = "mkdir -p /data/payloads && exec minio server /data --address :9000"
    stack.start("minio", image.base(), "--user", "10001", *program, *_options(variables), command=("sh", "-c", start))


def _api(stack: Stack) -> None:
    variables = {
        "DATABASE_URL": f"postgres://app:{PASSWORD}@postgis/app",
        "S3_BUCKET": "payloads",
        "S3_ENDPOINT_URL": "http://minio:9000",
        "S3_FORCE_PATH_STYLE": "true",
        "S3_ACCESS_KEY_ID": "app",
        "S3_SECRET_ACCESS_KEY": BUCKET_SECRET,
        "CLERK_PUBLISHABLE_KEY": PUBLISHABLE_KEY,
        "CLERK_JWKS_URL": f"{stack.clerk.url}/.well-known/jwks.json",
        "CLERK_AUTHORIZED_PARTIES": f"{stack.full},{stack.apart}",
        "SAPFLUX_ORIGINS": stack.apart,
    }
    stack.start("api", images.build("api"), "--read-only", *_options(variables))
    wait_for("the API's first answer", lambda: answers(f"{stack.api}/health"), PATIENCE)


def _site(stack: Stack, name: str, **variables: str) -> None:
    options = _options(variables)
    address = stack.start(name, images.build("web"), "--read-only", *options)
    wait_for(f"the first answer of {name}", lambda: answers(f"http://{address}:3000/health"), PATIENCE)


def _migrated(stack: Stack) -> bool:
    return ask(f"{stack.api}/admin/migrate", "POST").status == 200 and answers(f"{stack.api}/ready")


@contextmanager
def running() -> Iterator[Stack]:
    """Build what is missing, start everything, and take it down at the end."""
    for name in ("api", "web", "cli", "postgis", "chromium"):
        images.build(name)
    network = f"sapflux-web-{secrets.token_hex(3)}"
    with ExitStack() as cleanup:
        cleanup.callback(run, "docker", "network", "rm", network, check=False)
        run("docker", "network", "create", network)
        gateway = text("docker", "network", "inspect", "--format", "{{(index .IPAM.Config 0).Gateway}}", network)
        clerk = Clerk()
        cleanup.enter_context(clerk.running(gateway))
        stack = Stack(network, gateway, clerk, cleanup)
        _database(stack)
        _bucket(stack)
        sign_in = {
            "PUBLIC_CLERK_PUBLISHABLE_KEY": PUBLISHABLE_KEY,
            "CLERK_JS_URL": f"{clerk.url}/clerk.browser.js",
        }
        inside = "http://api:8080"
        _site(stack, "site", API_URL=inside)
        _site(stack, "apart", PUBLIC_API_URL=f"http://{API_NAME}:8080", **sign_in)
        _site(
            stack,
            "full",
            **sign_in,
            API_URL=inside,
            UMAMI_WEBSITE_ID="5e1a1b8e-0b57-5d1c-9c59-0c8a8f3a3c11",
            TILE_URL=f"{clerk.url}/tiles/{{z}}/{{x}}/{{y}}.png",
            TILE_ATTRIBUTION="Tiles of nobody",
        )
        _api(stack)
        wait_for("the database's migration", lambda: _migrated(stack), PATIENCE)
        yield stack
