"""What the host pushes to Uptime Kuma: looked at for real, against the double."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.doubles.kuma import Double
from tests.doubles.kuma.core import COLUMNS

SOURCE = Path(__file__).resolve().parents[3] / "roles" / "monitoring" / "files" / "kuma_push.py"
TOKENS = {name: name[0] * 32 for name in ("api ready", "database app", "backups")}


def program() -> ModuleType:
    """The program as a module."""
    spec = importlib.util.spec_from_file_location("kuma_push", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["kuma_push"] = module
    spec.loader.exec_module(module)
    return module


kuma_push = program()


@pytest.fixture
def double() -> Iterator[Double]:
    """A server with a push monitor for each token."""
    double = Double()
    for number, (name, token) in enumerate(TOKENS.items(), 1):
        row = {**COLUMNS, "id": number, "name": name, "type": "push", "pushToken": token, "interval": 600}
        double.kuma.data["monitors"][str(number)] = {**row, "conditions": [], "tags": [], "notificationIDList": {}}
    with double.running():
        yield double


@pytest.fixture
def host(tmp_path: Path, double: Double, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment of a host that is well."""
    (tmp_path / "shop-api").write_text(double.url.removeprefix("http://"))
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (("psql", "exit 0"), ("pgsafe", "echo '{\"problems\": []}'")):
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setattr(kuma_push, "PGSAFE", str(programs / "pgsafe"))
    config: dict[str, Any] = {
        "url": double.url,
        "upstreams": str(tmp_path),
        "pushes": [
            {"name": "api ready", "kind": "url", "target": "upstream://shop-api/api/entry-page"},
            {"name": "database app", "kind": "postgres", "target": "app"},
            {"name": "backups", "kind": "archive", "target": ""},
        ],
        "secrets": json.dumps({"monitors": {name: {"pushToken": token} for name, token in TOKENS.items()}}),
    }
    (tmp_path / "kuma-push.json").write_text(json.dumps(config))
    return {"CREDENTIALS_DIRECTORY": str(tmp_path), "STATE_DIRECTORY": str(tmp_path)}


def heard(double: Double) -> dict[str, tuple[str, str]]:
    return {name: (double.kuma.pushed[t]["status"], double.kuma.pushed[t]["msg"]) for name, t in TOKENS.items()}


def test_a_host_that_is_well_says_so(double: Double, host: dict[str, str]) -> None:
    assert kuma_push.main(host) == 0
    assert heard(double) == dict.fromkeys(TOKENS, ("up", "OK"))


def test_what_is_not_well_is_pushed_with_the_reason(double: Double, host: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "shop-api").unlink()
    (tmp_path / "bin/psql").write_text("#!/bin/sh\necho 'connection refused' >&2; exit 2\n")
    (tmp_path / "bin/pgsafe").write_text('#!/bin/sh\necho \'{"problems": ["no backup", "no drill"]}\'; exit 1\n')
    assert kuma_push.main(host) == 0
    assert heard(double) == {
        "api ready": ("down", "it was never deployed"),
        "database app": ("down", "connection refused"),
        "backups": ("down", "no backup; no drill"),
    }
    # The archive is asked every ten minutes only.
    (tmp_path / "bin/pgsafe").write_text("#!/bin/sh\necho '{\"problems\": []}'\n")
    kuma_push.main(host)
    assert heard(double)["backups"] == ("down", "no backup; no drill")
    os.utime(tmp_path / "archive.json", (0, 0))
    kuma_push.main(host)
    assert heard(double)["backups"] == ("up", "OK")


def test_a_service_that_is_not_ready_and_programs_that_are_not_there(
    double: Double, host: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = json.loads((tmp_path / "kuma-push.json").read_text())
    config["pushes"][0]["target"] = f"{double.url}/nowhere"
    (tmp_path / "kuma-push.json").write_text(json.dumps(config))
    monkeypatch.setattr(kuma_push, "PGSAFE", "/no/such/program")
    monkeypatch.setenv("PATH", "/nowhere")
    assert kuma_push.main(host) == 0
    found = heard(double)
    assert found["api ready"] == ("down", "it answers 404")
    assert "psql" in found["database app"][1]
    assert "/no/such/program" in found["backups"][1]


def test_a_server_that_does_not_know_a_push_or_is_away_fails_without_its_token(
    double: Double, host: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    double.kuma.data["monitors"].pop("1")
    assert kuma_push.main(host) == 1
    assert "was not told of api ready: it answered 404; run the role monitoring again" in capsys.readouterr().out
    config = json.loads((tmp_path / "kuma-push.json").read_text())
    (tmp_path / "kuma-push.json").write_text(json.dumps({**config, "url": "http://127.0.0.1:1"}))
    assert kuma_push.main(host) == 1
    said = capsys.readouterr().out
    assert "was not told of backups" in said
    assert not any(token in said for token in TOKENS.values())
    (tmp_path / "kuma-push.json").unlink()
    assert kuma_push.main(host) == 1
