"""What a reader gets of every plugin and role: `ansible-doc` renders it, and antsibull's linter has nothing to say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.fixtures import ROOT

COLLECTION = "sapflux.hosting"
BIN = Path(sys.executable).parent
ENVIRONMENT = {
    **os.environ,
    "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".ansible" / "collections"),
    "ANSIBLE_NOCOLOR": "1",
    "LC_ALL": "C.UTF-8",
    "PATH": os.pathsep.join([str(BIN), os.environ.get("PATH", os.defpath)]),
}
KINDS = ("module", "lookup", "filter", "inventory", "vars", "role")
FOLDERS = {"module": "modules"}


def names(kind: str) -> list[str]:
    """What there is of a kind: filters have a page each, roles their argument specs."""
    if kind == "role":
        return sorted(path.parents[1].name for path in (ROOT / "roles").glob("*/meta/argument_specs.yml"))
    folder = ROOT / "plugins" / FOLDERS.get(kind, kind)
    return sorted(path.stem for path in folder.glob("*.yml" if kind == "filter" else "*.py"))


def test_there_is_something_to_render() -> None:
    least = {"module": 25, "lookup": 3, "filter": 20, "role": 6}
    assert [kind for kind, count in least.items() if len(names(kind)) < count] == []
    # Pages of filters are not named after the files that hold them.
    assert not {path.name for path in (ROOT / "plugins").iterdir() if path.is_dir()} - {
        *("action", "doc_fragments", "module_utils", "plugin_utils"),
        *(FOLDERS.get(kind, kind) for kind in KINDS),
    }


@pytest.mark.parametrize("kind", [kind for kind in KINDS if names(kind)])
def test_ansible_doc_renders_it(kind: str) -> None:
    wanted = [f"{COLLECTION}.{name}" for name in names(kind)]
    done = subprocess.run(
        ["ansible-doc", "--type", kind, *wanted],
        env=ENVIRONMENT,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # A part of ansible-core itself has no version to show.
    assert [line for line in done.stderr.splitlines() if "WARNING" in line and "_protomatter" not in line] == []
    assert [name for name in wanted if name not in done.stdout and name.split(".")[-1] not in done.stdout] == []


def test_antsibull_has_nothing_to_say() -> None:
    done = subprocess.run(
        ["antsibull-docs", "lint-collection-docs", "--plugin-docs", "--validate-collection-refs=self", "."],
        env=ENVIRONMENT,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
