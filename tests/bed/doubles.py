"""Doubles of remote services beside the hosts, which reach them as they would reach the real ones.

A double runs from this checkout's `tests/doubles` with the libraries of its environment, in a container on the bed's
network, so that hosts and this machine see it at the same address.
"""

from __future__ import annotations

import hashlib
import json
import sysconfig
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import hosts, image, sidecars
from .shell import text

ROOT = Path(__file__).resolve().parents[2]
CONTENT = "sapflux.double"
HEALTHCHECKS = sidecars.Sidecar("healthchecks", 31, 8789, "/api/v3/status/")


def start(double: sidecars.Sidecar) -> sidecars.Sidecar:
    """Start a double unless it runs as it is here; its package in `tests/doubles` has the sidecar's name.

    One serves every checkout of this machine; who shares it tells its own things from others' by their names.
    """
    content = _content(double.name)
    if hosts.exists(double.name):
        label = f'{{{{index .Config.Labels "{CONTENT}"}}}}'
        if text("docker", "inspect", "--format", label, hosts.container(double.name)).strip() != content:
            hosts.down(double.name)
    sidecars.start(
        double,
        "--label",
        f"{CONTENT}={content}",
        "--volume",
        f"{ROOT / 'tests' / 'doubles'}:/srv/tests/doubles:ro",
        "--volume",
        f"{sysconfig.get_path('purelib')}:/srv/libraries:ro",
        "--env",
        "PYTHONPATH=/srv:/srv/libraries",
        "--env",
        "PYTHONDONTWRITEBYTECODE=1",
        arguments=(
            "python3",
            "-m",
            f"tests.doubles.{double.name}",
            "--host",
            double.address,
            "--port",
            str(double.port),
        ),
        bottom=image.host,
    )
    return double


def _content(name: str) -> str:
    """What the code of a double is, so that a changed one takes its place."""
    folder = ROOT / "tests" / "doubles"
    digest = hashlib.sha256()
    for path in sorted([folder / "web.py", *(folder / name).rglob("*.py")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def ask(double: sidecars.Sidecar, method: str, path: str, body: Any = None) -> Any:
    """What a double says of itself, below its control address."""
    return api(double, f"/_double/{path}", {}, body, method)


def api(
    double: sidecars.Sidecar, path: str, headers: Mapping[str, str], body: Any = None, method: str | None = None
) -> Any:
    """Ask a double as its clients do; the JSON of the answer."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://{double.endpoint}{path}", data, dict(headers), method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())
