# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The few questions we ask the Docker engine, over its socket.

A question costs milliseconds, where a command line costs a tenth of a second.
Standard library only. Private to this collection.
"""

from __future__ import annotations

import http.client
import json
import socket
import typing as t
from urllib.parse import quote, urlencode


class DockerError(Exception):
    """The engine did not answer, or refused; one sentence with the way out."""


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


class DockerAPI:
    """Read-only client of the engine behind `path`; `timeout` in seconds for each question."""

    def __init__(self, path: str = "/run/docker.sock", timeout: float = 30.0) -> None:
        self._path = path
        self._timeout = timeout

    def _get(self, url: str) -> tuple[int, bytes]:
        connection = SocketConnection(self._path, self._timeout)
        try:
            # Without a version in the path the engine speaks its newest; what is read here is the same in all of them.
            connection.request("GET", url)
            answer = connection.getresponse()
            status, body = answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise DockerError(
                f"Docker does not answer at {self._path} ({error}); look at `systemctl status docker`"
            ) from error
        finally:
            connection.close()
        return status, body

    def _json(self, url: str) -> t.Any:
        status, body = self._get(url)
        if status != 200:
            raise DockerError(f"Docker refused {url.split('?')[0]} with {status}: {_message(body)}")
        return json.loads(body)

    def ask(self, url: str) -> t.Any:
        """The parsed answer to a GET. Raises DockerError when the engine refuses."""
        return self._json(url)

    def containers(self, project: str) -> list[dict[str, t.Any]]:
        """All containers of a Compose project, running or not, but none of `docker compose run`."""
        labels = [f"com.docker.compose.project={project}", "com.docker.compose.oneoff=False"]
        found = self._json("/containers/json?" + urlencode({"all": "1", "filters": json.dumps({"label": labels})}))
        return [dict(item) for item in found]

    def inspect(self, container: str) -> dict[str, t.Any]:
        """Everything the engine knows of one container."""
        return dict(self._json(f"/containers/{quote(container)}/json"))

    def has_image(self, reference: str) -> bool:
        """Whether the image is on this host already; `reference` is name@sha256:digest."""
        status, body = self._get(f"/images/{quote(reference, safe='/:@')}/json")
        if status not in (200, 404):
            raise DockerError(f"Docker refused to look for the image {reference} with {status}: {_message(body)}")
        return status == 200

    def image_labels(self, reference: str) -> dict[str, str]:
        """Labels of an image on this host; {} when it is not here or has none."""
        status, body = self._get(f"/images/{quote(reference, safe='/:@')}/json")
        found = (json.loads(body).get("Config") or {}).get("Labels") if status == 200 else None
        return {str(key): str(value) for key, value in (found or {}).items()}

    def image_command(self, reference: str) -> list[str]:
        """What an image on this host runs, its entrypoint first; [] when it is not here or runs nothing."""
        status, body = self._get(f"/images/{quote(reference, safe='/:@')}/json")
        config = (json.loads(body).get("Config") or {}) if status == 200 else {}
        return [str(word) for word in (*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ()))]

    def logs(self, container: str, lines: int = 30) -> str:
        """The newest lines a container wrote, both streams in order; '' when there are none."""
        status, body = self._get(
            f"/containers/{quote(container)}/logs?" + urlencode({"stdout": "1", "stderr": "1", "tail": str(lines)})
        )
        return demultiplex(body).decode("utf-8", "replace") if status == 200 else ""


def demultiplex(stream: bytes) -> bytes:
    """Contents of a log stream. Each piece has a header: stream number, three zeros, length as 4 bytes."""
    pieces: list[bytes] = []
    at = 0
    while at < len(stream):
        header = stream[at : at + 8]
        if len(header) < 8 or header[0] > 2 or header[1:4] != b"\0\0\0":
            # A container with a terminal sends plain text.
            return stream if at == 0 else b"".join(pieces)
        length = int.from_bytes(header[4:8], "big")
        pieces.append(stream[at + 8 : at + 8 + length])
        at += 8 + length
    return b"".join(pieces)


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return body.decode("utf-8", "replace").strip()[:200]
