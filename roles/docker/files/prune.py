#!/usr/bin/python3
# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove images that nothing has used for days, and old build cache: `prune.py /etc/sapflux/docker-prune.json`.

Run by a timer. Never touches volumes, containers or networks, nor an image that a container was made of (stopped ones
count) or that a kept release names. When an image was built says nothing about its use, and one that was pulled for a
deploy a moment ago is not used yet; so the program remembers since when it has seen an image unused, and counts from
then. When the disk is fuller than the watermark, the short age counts instead of the long one. Exits with 1 and one
sentence when it cannot work, or when the disk stays fuller than the watermark.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import http.client
import json
import os
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional, Set
from urllib.parse import quote, urlencode

HOUR = 3600


class PruneError(Exception):
    """One sentence that names what is wrong and the way out."""


@dataclass(frozen=True)
class Options:
    """What the configuration file says. Ages in seconds, the watermark in percent of the file system."""

    keep: List[str]
    keep_releases: int
    age: float
    pressure_age: float
    watermark: int
    sock: str = "/run/docker.sock"
    ledger: str = "/var/lib/sapflux/docker_prune/unused.json"

    @staticmethod
    def load(path: str) -> Options:
        """Read the file. Raises PruneError."""
        try:
            with open(path, encoding="utf-8") as stream:
                data = json.load(stream)
            return Options(
                keep=[str(pattern) for pattern in data["keep"]],
                keep_releases=int(data["keep_releases"]),
                age=float(data["age_hours"]) * HOUR,
                pressure_age=float(data["pressure_hours"]) * HOUR,
                watermark=int(data["watermark_percent"]),
                sock=str(data.get("sock", Options.sock)),
                ledger=str(data.get("ledger", Options.ledger)),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise PruneError(f"{path} cannot be used ({error!r}); apply the role docker again") from error


class SocketConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket in place of a TCP address."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Engine:
    """The five things that are asked of the engine."""

    def __init__(self, path: str, timeout: float = 600.0) -> None:
        self._path = path
        self._timeout = timeout

    def _ask(self, method: str, url: str) -> Any:
        """The parsed answer; None for 404 (gone) and 409 (in use). Raises PruneError for anything else."""
        connection = SocketConnection(self._path, self._timeout)
        try:
            connection.request(method, url)
            answer = connection.getresponse()
            body = answer.read()
            if answer.status in (404, 409):
                return None
            if answer.status != 200:
                reason = body.decode("utf-8", "replace").strip()[:200]
                raise PruneError(f"Docker refused {method} {url.split('?')[0]} with {answer.status}: {reason}")
            return json.loads(body)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise PruneError(
                f"Docker does not answer at {self._path} ({error}); look at `systemctl status docker`"
            ) from error
        finally:
            connection.close()

    def root(self) -> str:
        """The directory that holds images."""
        return str(self._ask("GET", "/info")["DockerRootDir"])

    def images(self) -> List[Dict[str, Any]]:
        """Id, RepoTags, RepoDigests and Size (bytes) of every image."""
        return list(self._ask("GET", "/images/json"))

    def used(self) -> Set[str]:
        """Ids of the images of all containers, stopped ones included."""
        return {str(container["ImageID"]) for container in self._ask("GET", "/containers/json?all=1")}

    def resolve(self, reference: str) -> Optional[str]:
        """The id of an image by any of its names, None where it is not on this host."""
        found = self._ask("GET", f"/images/{quote(reference, safe='/:@')}/json")
        return None if found is None else str(found["Id"])

    def remove(self, name: str) -> bool:
        """Remove a name, and the image with its last name; False when it is gone or in use after all."""
        return self._ask("DELETE", f"/images/{quote(name, safe='/:@')}") is not None

    def prune_cache(self, age: float) -> int:
        """Remove build cache that was not used for `age` seconds; the bytes it took."""
        filters = json.dumps({"until": {f"{int(age)}s": True}})
        done = self._ask("POST", "/build/prune?" + urlencode({"all": "1", "filters": filters}))
        return int((done or {}).get("SpaceReclaimed") or 0)


def names_in(value: Any) -> Iterator[str]:
    """The values of every key `image` in a JSON document, at any depth."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "image" and isinstance(inner, str):
                yield inner
            else:
                yield from names_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from names_in(inner)


def references(path: str, text: str, keep_releases: int) -> Set[str]:
    """The images that a file says to keep.

    `*.jsonl` is a record of releases: the newest `keep_releases` that passed count. `*.json` is a document, in which
    every key `image` counts. Any other file has one reference a line; # begins a comment. Raises ValueError.
    """
    if path.endswith(".jsonl"):
        # A line without its end is being written, or was cut off by a crash: the release it tells of did not pass yet.
        records = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n") and line.strip()]
        passed = [record for record in records if record.get("verdict", "ok") == "ok"]
        return {name for record in passed[-keep_releases:] for name in names_in(record)} if keep_releases else set()
    if path.endswith(".json"):
        return set(names_in(json.loads(text)))
    lines = [line.split("#")[0].strip() for line in text.splitlines()]
    return {line for line in lines if line}


def kept_references(options: Options) -> Set[str]:
    """Everything that the files of the patterns name. One that cannot be read stops the run: it may name anything."""
    found: Set[str] = set()
    for path in sorted({path for pattern in options.keep for path in glob.glob(pattern)}):
        try:
            with open(path, encoding="utf-8") as stream:
                found |= references(path, stream.read(), options.keep_releases)
        except (OSError, ValueError, AttributeError) as error:
            raise PruneError(
                f"{path} says which images to keep and cannot be read ({error}); nothing was removed"
            ) from error
    return found


def read_ledger(path: str) -> Dict[str, float]:
    """Image id to the time (Unix) since when it is unused; empty where nothing is known, which only means waiting."""
    try:
        with open(path, encoding="utf-8") as stream:
            return {str(image): float(since) for image, since in json.load(stream).items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def write_ledger(path: str, ledger: Dict[str, float]) -> None:
    """Remember; atomic."""
    handle, staged = tempfile.mkstemp(prefix=".unused.", dir=os.path.dirname(path))
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump(ledger, stream, sort_keys=True)
        os.rename(staged, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(staged)
        raise


def fill(path: str) -> int:
    """Percent of the file system at `path` that is taken, as df counts: what is reserved for root is not there."""
    space = os.statvfs(path)
    used = space.f_blocks - space.f_bfree
    return -(-100 * used // max(used + space.f_bavail, 1))


@dataclass
class Report:
    """What a run did: removed images by name, bytes of build cache, percent of the disk before and after."""

    removed: List[str] = field(default_factory=list)
    waiting: int = 0
    kept: int = 0
    cache_bytes: int = 0
    before: int = 0
    after: int = 0

    def sentence(self) -> str:
        """For the journal."""
        return (
            f"removed {len(self.removed)} image(s) and {self.cache_bytes // 2**20} MiB of build cache; "
            f"{self.kept} in use or kept, {self.waiting} unused but young; the disk was {self.before} % full, "
            f"now {self.after} %"
        )


class Prune:
    """One run. `engine`, `now` and `full` are seams for tests."""

    def __init__(self, options: Options, engine: Any, now: float, full: Any = fill) -> None:
        self.options = options
        self.engine = engine
        self.now = now
        self._full = full

    def run(self) -> Report:
        """Remove what is due. Raises PruneError before anything is removed when it is not known what to keep."""
        root = self.engine.root()
        report = Report(before=self._full(root))
        references = kept_references(self.options)
        images = self.engine.images()
        # Asked after the images: a container that was made meanwhile is seen, an image pulled meanwhile is not.
        keep = self.engine.used() | {self.engine.resolve(name) for name in references}
        ledger = self._ledger(images, keep)
        pressed = report.before >= self.options.watermark
        age = self.options.pressure_age if pressed else self.options.age
        for image in images:
            if image["Id"] in keep:
                report.kept += 1
            elif self.now - ledger[image["Id"]] < age:
                report.waiting += 1
            elif self._remove(image):
                report.removed.append((image.get("RepoTags") or image.get("RepoDigests") or [image["Id"]])[0])
        report.cache_bytes = self.engine.prune_cache(age)
        report.after = self._full(root)
        return report

    def _ledger(self, images: List[Dict[str, Any]], keep: Set[Optional[str]]) -> Dict[str, float]:
        """Bring the ledger up to date: what is used again starts anew, what is gone is forgotten."""
        known = read_ledger(self.options.ledger)
        # A clock that was set back must not make an image wait for ever.
        ledger = {
            image["Id"]: min(known.get(image["Id"], self.now), self.now) for image in images if image["Id"] not in keep
        }
        if ledger != known:
            write_ledger(self.options.ledger, ledger)
        return ledger

    def _remove(self, image: Dict[str, Any]) -> bool:
        """Remove every name of an image; without force, so that the engine refuses what has come into use."""
        tags = [name for name in image.get("RepoTags") or [] if name != "<none>:<none>"]
        digests = [name for name in image.get("RepoDigests") or [] if not name.startswith("<none>")]
        names = tags or digests or [image["Id"]]
        # Every name is tried, the first refusal does not end it.
        return all(list(map(self.engine.remove, names)))


def main(argv: List[str]) -> int:
    """Entry point; 0 when all went well and the disk has room."""
    try:
        options = Options.load(argv[1])
        os.makedirs(os.path.dirname(options.ledger), mode=0o700, exist_ok=True)
        with open(f"{options.ledger}.lock", "w", encoding="utf-8") as lock:
            # Two runs at a time (timer and hand) would only be in each other's way.
            fcntl.flock(lock, fcntl.LOCK_EX)
            report = Prune(options, Engine(options.sock), time.time()).run()
    except PruneError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    print("\n".join([f"removed {name}" for name in report.removed] + [report.sentence()]))
    if report.after >= options.watermark:
        sys.stderr.write(
            f"the disk below the images is {report.after} % full after pruning, the watermark is "
            f"{options.watermark} %; make room or take a bigger disk: du -xsh /var/lib/* /var/log\n"
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
