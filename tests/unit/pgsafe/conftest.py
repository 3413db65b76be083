"""A cluster that is only a control file, and a wal-g that answers from a script and notes what it was asked."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from roles.walg.files.pgsafe_parts.common import Config

IDENTIFIER = 7711397179132510257
OTHER = 7711169746513244607

_FAKE = """#!{python}
import json, os, pathlib, sys
home = pathlib.Path({home!r})
arguments = sys.argv[3:]
with (home / "calls").open("a") as file:
    file.write(json.dumps({{"arguments": arguments, "environment": dict(os.environ), "config": sys.argv[2]}}) + "\\n")
answers = json.loads((home / "answers.json").read_text())
for number, answer in enumerate(answers):
    if arguments[: len(answer["for"])] == answer["for"]:
        if answer.get("once"):
            del answers[number]
            (home / "answers.json").write_text(json.dumps(answers))
        if "write" in answer:
            pathlib.Path(arguments[-1]).write_text(answer["write"])
        if "sleep" in answer:
            import time
            time.sleep(answer["sleep"])
        if "signal" in answer:
            os.kill(os.getpid(), answer["signal"])
        sys.stdout.write(answer.get("stdout", ""))
        sys.stderr.write(answer.get("stderr", ""))
        sys.exit(answer.get("exit", 0))
sys.exit("no answer for " + repr(arguments))
"""


class Walg:
    """The scripted wal-g: the first answer whose ``for`` begins the arguments is given."""

    def __init__(self, home: Path) -> None:
        self.home, self.program = home, home / "wal-g"
        home.mkdir()
        self.program.write_text(_FAKE.format(python=sys.executable, home=str(home)))
        self.program.chmod(0o755)
        self.answers: list[dict[str, Any]] = []
        self._write()

    def _write(self) -> None:
        (self.home / "answers.json").write_text(json.dumps(self.answers))

    def answer(self, *begin: str, first: bool = False, **answer: Any) -> None:
        self.answers.insert(0 if first else len(self.answers), {"for": list(begin), **answer})
        self._write()

    def calls(self) -> list[dict[str, Any]]:
        path = self.home / "calls"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def asked(self) -> list[str]:
        """The commands, in order: `st cat`, `wal-push`, ..."""
        return [" ".join(call["arguments"][: 2 if call["arguments"][0] == "st" else 1]) for call in self.calls()]

    def holds_identity(self, identifier: int = IDENTIFIER, **more: str) -> None:
        identity = {"system_identifier": str(identifier), **more}
        self.answer("st", "cat", "IDENTITY.json", stdout=json.dumps(identity))

    def has_no_identity(self, **options: Any) -> None:
        self.answer(
            "st",
            "cat",
            "IDENTITY.json",
            exit=1,
            stderr="ERROR: download the file: object 'p' not found in storage",
            **options,
        )


@pytest.fixture
def walg(tmp_path: Path) -> Walg:
    return Walg(tmp_path / "walg")


@pytest.fixture
def config(tmp_path: Path, walg: Walg) -> Config:
    """Settings of a cluster in the temporary directory, also written to pgsafe.json there."""
    data = tmp_path / "data"
    (data / "global").mkdir(parents=True)
    (data / "global" / "pg_control").write_bytes(IDENTIFIER.to_bytes(8, sys.byteorder) + b"rest")
    for name in ("state", "restore", "reports", "bin"):
        (tmp_path / name).mkdir()
    values = {
        "cluster": "17-main",
        "version": 17,
        "data": str(data),
        "bin": str(tmp_path / "bin"),
        "walg": str(walg.program),
        "walg_config": str(tmp_path / "wal-g.json"),
        "prefix": "s3://bucket/pg/x/17/g1",
        "endpoint": "http://store",
        "state": str(tmp_path / "state"),
        "restores": str(tmp_path / "restore"),
        "reports": str(tmp_path / "reports"),
        "key_file": str(tmp_path / "libsodium.key"),
        "keep_full": 2,
        "keep_days": 14,
        "archive_limit": 5,
        "fetch_budget": 1,
    }
    path = tmp_path / "pgsafe.json"
    path.write_text(json.dumps(values))
    return Config(values, str(path))
