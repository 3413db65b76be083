# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets of containers from Doppler, through its own command line.

A deployment has the CLI read a config once, on the host, and seal it: that is the CLI's fallback file, encrypted with
a passphrase of this host. Containers run `doppler run --fallback-only` on it. So a container never has the token, asks
nobody when it starts, and a release keeps the secrets it was proven with, whatever becomes of Doppler, the network or
the token. A changed secret is a new release.

The CLI takes the passphrase from its environment, which `docker inspect` shows, or, where there is none, from the token
in its config file. The config file of a container therefore has the passphrase in the token's place, and nothing of
ours has to run inside of an image that may hold no shell.

Standard library of Python 3.9 only. Private to this collection.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ._compose_host import DeployError

#: Where the CLI is on the host; the link to the pinned version.
CLI = "/usr/local/bin/doppler"
#: Where it and its config directory are in a container.
INSIDE, CONFIG_INSIDE = "/run/doppler/doppler", "/run/doppler/config"
CONFIG, SEALED = ".doppler.yaml", "secrets.json"
API_HOST = "https://api.doppler.com"
ATTEMPTS, ANSWER_SECONDS, TIMEOUT = 3, 10, 120.0
TOKEN = re.compile(r"dp\.(?:st|sa|said|pt|ct)\.[A-Za-z0-9._-]+")
#: Never injected by the CLI, and set where it runs.
OWN = ("HOME", "PATH", "PS1")
#: Stands where a fallback file would be, so that what becomes of it tells how Doppler answered.
NOTHING = b"no release yet"


@dataclass(frozen=True)
class Source:
    """Where a service's secrets are. Without `only` it gets all of the config."""

    token: str = field(repr=False)
    only: tuple[str, ...] = ()
    api_host: str = API_HOST


@dataclass(frozen=True)
class Sealed:
    """Values by name, and the encrypted file that holds them; not `fresh` = Doppler is silent, these are the last."""

    values: Mapping[str, str] = field(repr=False)
    content: bytes = field(repr=False)
    fresh: bool = True

    def mark(self, key: bytes) -> str:
        """16 hex digits that change with a value and tell nothing about it to who has not the host's key."""
        text = json.dumps(dict(self.values), sort_keys=True)
        return hmac.new(key, b"doppler values\0" + text.encode(), hashlib.sha256).hexdigest()[:16]


@dataclass(frozen=True)
class Ended:
    """How a program ended."""

    rc: int
    output: bytes
    errors: str


Run = Callable[[Sequence[str], Mapping[str, str], float], Ended]


def run_cli(argv: Sequence[str], environment: Mapping[str, str], timeout: float) -> Ended:
    """Run a program with exactly this environment; its output is kept apart from what it says of itself."""
    try:
        done = subprocess.run(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(environment),
            timeout=timeout,
            check=False,
        )
    except (FileNotFoundError, PermissionError):
        return Ended(127, b"", "")
    except subprocess.TimeoutExpired:
        return Ended(124, b"", f"Doppler Error: no answer within {timeout:.0f} s")
    return Ended(done.returncode, done.stdout, done.stderr.decode(errors="replace"))


def passphrase(key: bytes) -> str:
    """What this host's sealed files are encrypted with: not the token, or a new one could not open the old ones'."""
    return hmac.new(key, b"doppler passphrase", hashlib.sha256).hexdigest()


def config_file(token: str, api_host: str = "http://127.0.0.1:9") -> str:
    """The CLI's config file; JSON is YAML as well. What reports its use is off, in the words of old and new versions.

    In a container `token` is the passphrase, and nothing listens at `api_host`: it can be sent nowhere.
    """
    settings = {
        "scoped": {"/": {"token": token, "api-host": api_host}},
        "analytics": {"disable": True},
        "flags": {"analytics": False, "update-check": False},
    }
    return json.dumps(settings, sort_keys=True) + "\n"


def arguments(directory: str) -> list[str]:
    """Words of the CLI that open a sealed file and run what follows them."""
    return [
        "run",
        "--silent",
        "--no-read-env",
        f"--config-dir={directory}",
        "--fallback-only",
        f"--fallback={directory}/{SEALED}",
        "--",
    ]


def entrypoint() -> list[str]:
    """What a container runs; the image's own entrypoint and command follow."""
    return [INSIDE, *arguments(CONFIG_INSIDE)]


def secret_files(sealed: Sealed, key: bytes) -> dict[str, str]:
    """Content of a container's config directory by file name."""
    return {CONFIG: config_file(passphrase(key)), SEALED: sealed.content.decode()}


class Doppler:
    """The CLI on this host. `scratch` is a directory in memory; what is made in there is gone when a call returns."""

    def __init__(self, key: bytes, scratch: Path, run: Run = run_cli, cli: str = CLI) -> None:
        self.key = key
        self.scratch = scratch
        self.run = run
        self.cli = cli
        self._known: dict[tuple[Source, bytes], Sealed] = {}

    def fetch(self, service: str, source: Source, last: bytes = b"") -> Sealed:
        """A service's secrets, sealed, and opened again as its container will. `last` is the sealed file that serves.

        Raises DeployError where Doppler refuses, where it does not answer and there is no `last`, or where what the
        container would do does not work.
        """
        if (source, last) not in self._known:
            self._known[source, last] = self._fetch(service, source, last)
        return self._known[source, last]

    def _fetch(self, service: str, source: Source, last: bytes) -> Sealed:
        if TOKEN.fullmatch(source.token) is None:
            raise DeployError(
                f"service {service}: its token is no token of Doppler (dp.st.…): copy it again, whole, without spaces"
            )
        before = last or NOTHING
        with self._directory({CONFIG: config_file(source.token, source.api_host).encode(), SEALED: before}) as place:
            sealed = Path(place, SEALED)
            ended = self._seal(place, source)
            after = sealed.read_bytes() if sealed.exists() else b""
        if ended.rc == 127:
            raise DeployError(f"{self.cli} is not there; name the program in artifacts.doppler of the document")
        if ended.rc != 0:
            raise DeployError(f"service {service}: {self._refusal(ended, source, before, after)}")
        return Sealed(self.open(service, after), after, fresh=after != before)

    def _seal(self, place: str, source: Source) -> Ended:
        words = ["run", "--silent", f"--config-dir={place}", "--no-cache", f"--fallback={place}/{SEALED}"]
        words += [f"--attempts={ATTEMPTS}", f"--timeout={ANSWER_SECONDS}s"]
        words += [f"--only-secrets={','.join(source.only)}"] if source.only else []
        return self.run([self.cli, *words, "--", "/bin/true"], self._environment(), TIMEOUT)

    def _environment(self) -> dict[str, str]:
        proxies = ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy")
        kept = {name: os.environ[name] for name in proxies if name in os.environ}
        return {**kept, "HOME": "/", "PATH": "/usr/bin:/bin", "DOPPLER_PASSPHRASE": passphrase(self.key)}

    def _refusal(self, ended: Ended, source: Source, before: bytes, after: bytes) -> str:
        said = reason(ended.errors, (source.token, passphrase(self.key)))
        if not after:
            return (
                f"Doppler refuses its token: {said}. Nothing was changed, what ran before still runs. Make a new "
                "service token of the config (in its dashboard, or with doppler_service_token), put it into the secret "
                "store, and run again"
            )
        if after == before:
            return (
                f"Doppler does not answer, and no release has served whose secrets could be kept: {said}. Nothing was "
                f"changed; look whether this host reaches {source.api_host}, and run again"
            )
        return f"its config in Doppler is not what it needs: {said}. Nothing was changed; add what is missing there"

    def open(self, service: str, content: bytes) -> dict[str, str]:
        """Values of a sealed file, by the very words a container uses."""
        with self._directory({CONFIG: config_file(passphrase(self.key)).encode(), SEALED: content}) as place:
            ended = self.run([self.cli, *arguments(place), "/usr/bin/env", "-0"], {"HOME": "/"}, TIMEOUT)
        if ended.rc != 0:
            said = reason(ended.errors, (passphrase(self.key),))
            raise DeployError(
                f"service {service}: this version of the Doppler CLI cannot open what it sealed: {said}. Nothing was "
                "changed; pin another one in artifacts.doppler"
            )
        pairs = [entry.decode(errors="replace").partition("=") for entry in ended.output.split(b"\0") if entry]
        return {name: value for name, _equals, value in pairs if name not in OWN}

    def _directory(self, files: Mapping[str, bytes]) -> _Scratch:
        return _Scratch(self.scratch, files)


class _Scratch:
    """A directory of 0700 with files of 0600, which is gone when the block ends."""

    def __init__(self, home: Path, files: Mapping[str, bytes]) -> None:
        self.home = home
        self.files = files

    def __enter__(self) -> str:
        self.place = tempfile.mkdtemp(prefix=".doppler-", dir=self.home)
        for name, content in self.files.items():
            handle = os.open(os.path.join(self.place, name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
        return self.place

    def __exit__(self, *_error: object) -> None:
        shutil.rmtree(self.place)


def reason(errors: str, hidden: Sequence[str]) -> str:
    """What the CLI says is wrong, in one line and without secrets."""
    kept = []
    for line in errors.splitlines():
        if line.startswith("=== "):
            break
        kept.append(line.strip())
    start = next((number for number, line in enumerate(kept) if line.startswith("Doppler Error:")), len(kept) - 1)
    said = " ".join(line.removeprefix("Doppler Error:").strip() for line in kept[max(start, 0) :] if line)
    for word in hidden:
        said = said.replace(word, "********")
    return TOKEN.sub("********", said).rstrip(".") or "it said nothing"
