# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Compose project on the host: its files, its keyed hashes, its records, and what of it differs from the wish.

Standard library of Python 3.9 only. Private to this collection.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
import secrets
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

HASH_LABEL = "com.sapflux.config-hash"
HIDDEN = "********"
SECRET_DIFF = "(secret content, not shown)\n"  # noqa: S105 - says that there is one
#: Shorter values are words like "true"; hiding them would make a log unreadable and protect nothing.
SHORTEST_SECRET = 4


class DeployError(Exception):
    """What went wrong and the way out; holds no secret."""


@dataclass(frozen=True)
class ServiceWish:
    """One service as the module gets it: `definition` is what its hash covers, `health_timeout` is in seconds."""

    name: str
    image: str
    definition: str
    secrets_env: str
    uid: int
    gid: int
    host_port: int
    health_path: str
    health_timeout: int
    ready_path: str
    migrate_path: str

    @property
    def digest(self) -> str:
        """sha256:... of the image."""
        return self.image.rpartition("@")[2]


@dataclass(frozen=True)
class Wish:
    """A whole project: Compose text (hashes are placeholders), services, systemd unit text."""

    project: str
    compose: str
    unit: str
    services: tuple[ServiceWish, ...]

    def dump(self) -> str:
        """As JSON; holds secrets."""
        return json.dumps(asdict(self), sort_keys=True)

    @staticmethod
    def load(text: str) -> Wish:
        """The opposite of dump; raises ValueError, KeyError or TypeError for anything else."""
        data = json.loads(text)
        services = tuple(ServiceWish(**item) for item in data["services"])
        return Wish(project=data["project"], compose=data["compose"], unit=data["unit"], services=services)


@dataclass(frozen=True)
class FileWish:
    """One file: content, permission bits, owner ids (who deploys, that is root, unless said otherwise)."""

    content: bytes
    mode: int
    uid: int = field(default_factory=os.geteuid)
    gid: int = field(default_factory=os.getegid)
    secret: bool = False


@dataclass(frozen=True)
class Layout:
    """Where a project's files are. `root` is / outside of tests."""

    project: str
    base_dir: str = "/var/lib/sapflux/app"
    run_dir: str = "/run/sapflux/app"
    root: Path = Path("/")

    def _at(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    @property
    def base(self) -> Path:
        return self._at(self.base_dir) / self.project

    @property
    def run(self) -> Path:
        return self._at(self.run_dir) / self.project

    @property
    def compose(self) -> Path:
        return self.base / "compose.yaml"

    @property
    def key(self) -> Path:
        return self.base / "hash.key"

    @property
    def state(self) -> Path:
        return self.base / "state.json"

    @property
    def good(self) -> Path:
        return self.base / "good.json"

    @property
    def releases(self) -> Path:
        return self.base / "releases.jsonl"

    @property
    def lock(self) -> Path:
        return self.base / ".lock"

    @property
    def unit_name(self) -> str:
        return f"sapflux-app@{self.project}.service"

    @property
    def unit(self) -> Path:
        return self._at("/etc/systemd/system") / self.unit_name


def config_hash(key: bytes, service: ServiceWish) -> str:
    """Keyed hash over definition and secrets: changes with a secret, and tells nothing about it to who reads labels."""
    message = b"\0".join([service.definition.encode(), service.secrets_env.encode()])
    return hmac.new(key, message, hashlib.sha256).hexdigest()


def unpacked_secrets(packed: str) -> dict[str, str]:
    """Dotenv text by service from the opaque string of the filter; {} for an empty one."""
    return {str(name): str(text) for name, text in json.loads(base64.b64decode(packed)).items()} if packed else {}


def hashes(wish: Wish, key: bytes | None) -> dict[str, str]:
    """Keyed hash by service; empty while the host has no key."""
    return {service.name: config_hash(key, service) for service in wish.services} if key else {}


def release_id(wish: Wish, known: Mapping[str, str]) -> str:
    """12 hex digits that name this very configuration on this host."""
    parts = [wish.compose, wish.unit, *(f"{name}={known[name]}" for name in sorted(known))]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def compose_text(wish: Wish, known: Mapping[str, str]) -> str:
    """The Compose file with every placeholder replaced by the service's hash."""
    text = wish.compose
    for name, value in known.items():
        text = text.replace(f"{HASH_LABEL}: sapflux-hash-of-{name}\n", f"{HASH_LABEL}: {value}\n")
    return text


def wanted_files(layout: Layout, wish: Wish, known: Mapping[str, str]) -> dict[Path, FileWish]:
    """All files of the project. Secrets are there twice: for root to keep, and in memory for the container to read."""
    files = {
        layout.compose: FileWish(compose_text(wish, known).encode(), 0o600),
        layout.unit: FileWish(wish.unit.encode(), 0o644),
    }
    for service in wish.services:
        if service.secrets_env:
            content = service.secrets_env.encode()
            files[layout.base / "secrets" / f"{service.name}.env"] = FileWish(content, 0o600, secret=True)
            files[layout.run / f"{service.name}.env"] = FileWish(content, 0o400, service.uid, service.gid, secret=True)
    return files


def stale_files(layout: Layout, wanted: Mapping[Path, FileWish]) -> list[Path]:
    """Secrets files of services that are no longer wanted."""
    found = [*layout.run.glob("*.env"), *(layout.base / "secrets").glob("*.env")]
    return sorted(path for path in found if path not in wanted)


def file_matches(path: Path, wish: FileWish) -> bool:
    """Whether the file is there with this content, mode and owner."""
    try:
        entry = path.lstat()
        return (
            stat.S_ISREG(entry.st_mode)
            and (stat.S_IMODE(entry.st_mode), entry.st_uid, entry.st_gid) == (wish.mode, wish.uid, wish.gid)
            and path.read_bytes() == wish.content
        )
    except (FileNotFoundError, NotADirectoryError):
        return False


def write_file(path: Path, wish: FileWish) -> None:
    """Write beside the destination and rename; the file is never open wider than wished, not even for a moment."""
    temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}"
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as stream:
            stream.write(wish.content)
            os.fchown(stream.fileno(), wish.uid, wish.gid)
            os.fchmod(stream.fileno(), wish.mode)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise DeployError(
            f"cannot write {path}: {error.strerror}; look at the free space with `df {path.parent}`"
        ) from error


def make_directories(layout: Layout) -> None:
    """Directories of the project: nobody but root looks in."""
    for directory in (layout.base, layout.base / "secrets", layout.run):
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o700)


def read_key(layout: Layout) -> bytes | None:
    """The key of this host's hashes; None before the first deployment."""
    try:
        return bytes.fromhex(layout.key.read_text().strip()) or None
    except (FileNotFoundError, ValueError):
        return None


def make_key(layout: Layout) -> bytes:
    """The key of this host's hashes, made when there is none."""
    key = read_key(layout)
    if key is None:
        key = secrets.token_bytes(32)
        write_file(layout.key, FileWish(f"{key.hex()}\n".encode(), 0o600))
    return key


@dataclass
class State:
    """What the host remembers: the release that passed last, and which image digests were migrated, by service."""

    applied: str
    migrated: dict[str, list[str]]


def read_state(layout: Layout) -> State:
    """The remembered state; empty where none can be read, which only means asking the application again."""
    try:
        data = json.loads(layout.state.read_text())
        return State(str(data["applied"]), {str(k): [str(d) for d in v] for k, v in data["migrated"].items()})
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return State("", {})


def write_state(layout: Layout, state: State) -> None:
    """Remember; atomic."""
    write_file(layout.state, FileWish((json.dumps(asdict(state), sort_keys=True) + "\n").encode(), 0o600))


def read_good(layout: Layout) -> Wish | None:
    """The release that passed last; None before the first."""
    try:
        return Wish.load(layout.good.read_text())
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def append_release(layout: Layout, record: Mapping[str, Any]) -> None:
    """One line in the record of releases."""
    handle = os.open(layout.releases, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
    with os.fdopen(handle, "w") as stream:
        stream.write(json.dumps(record, sort_keys=True) + "\n")
        stream.flush()
        os.fsync(stream.fileno())


def dotenv_values(text: str) -> list[str]:
    """Values of dotenv text as the filter writes it."""
    values = []
    for line in text.splitlines():
        value = line.partition("=")[2]
        if value.startswith('"'):
            value = re.sub(r"\\(.)", lambda found: {"n": "\n", "r": "\r"}.get(found[1], found[1]), value[1:-1])
        else:
            value = value[1:-1]
        values.append(value)
    return values


class Mask:
    """Takes secrets out of text: whole values, their lines, and the password inside a connection URL."""

    def __init__(self, services: Iterable[ServiceWish]) -> None:
        words: set[str] = set()
        for service in services:
            for value in dotenv_values(service.secrets_env):
                words.update(
                    [value, *value.splitlines(), *re.findall(r"[a-z][a-z0-9+.-]*://[^/@\s:]*:([^/@\s]+)@", value)]
                )
        self._words = sorted((word for word in words if len(word) >= SHORTEST_SECRET), key=len, reverse=True)

    def __call__(self, text: str) -> str:
        for word in self._words:
            text = text.replace(word, HIDDEN)
        return text


def container_problems(wish: Wish, known: Mapping[str, str], containers: Sequence[Mapping[str, Any]]) -> list[str]:
    """How the running containers differ from the wish; containers as the engine lists them."""
    problems = []
    by_service: dict[str, list[Mapping[str, Any]]] = {}
    for container in containers:
        by_service.setdefault(str(container["Labels"].get("com.docker.compose.service")), []).append(container)
    for service in wish.services:
        mine = by_service.pop(service.name, [])
        if len(mine) != 1:
            problems.append(f"{service.name}: {'no container' if not mine else f'{len(mine)} containers'}")
        elif mine[0]["Labels"].get(HASH_LABEL) != known.get(service.name):
            problems.append(f"{service.name}: the container has another configuration")
        elif mine[0]["State"] != "running":
            problems.append(f"{service.name}: the container is {mine[0]['State']}")
    problems += [f"{name}: not wanted any more" for name in sorted(by_service)]
    return problems


def diff_entry(path: Path, wish: FileWish) -> dict[str, str]:
    """One entry of Ansible's diff; secrets are named, not shown."""
    try:
        before = path.read_text(errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        before = ""
    after = wish.content.decode(errors="replace")
    if wish.secret:
        before, after = (SECRET_DIFF if before else ""), SECRET_DIFF
        if path.exists():
            after = "(other " + SECRET_DIFF[1:]
    return {"before": before, "after": after, "before_header": str(path), "after_header": str(path)}
