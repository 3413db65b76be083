"""``verify`` of ``sapflux.hosting.binary``: a program is asked what it is before anything leads to it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from ansible_collections.sapflux.hosting.plugins.module_utils._binary import Plan, Store, wanted_from
from ansible_collections.sapflux.hosting.plugins.module_utils._binary_fetch import BinaryError
from ansible_collections.sapflux.hosting.plugins.module_utils._binary_verify import verify

QUESTION = {"arguments": ["list-modules"], "contains": ["dns.providers.cloudflare"]}
WITH = b"#!/bin/sh\n[ $1 = list-modules ] && echo '  dns.providers.cloudflare'\n"
WITHOUT = b"#!/bin/sh\necho dns.providers.cloudflare.other\n"


def install(root: Path, content: bytes, version: str, question: dict[str, Any] | None) -> Plan:
    """Install a program through the real store and return the plan it carried out."""
    (root / "bin").mkdir(exist_ok=True)
    params = {
        "name": "prog",
        "version": version,
        "sha256": hashlib.sha256(content).hexdigest(),
        "url": None,
        "member": None,
        "link": str(root / "bin" / "prog"),
        "directory": str(root / "lib"),
        "keep": 1,
        "rehash": False,
        "verify": question,
        "state": "present",
    }
    store = Store(wanted_from(params))
    plan = store.plan()

    def fetch(handle: BinaryIO) -> None:
        handle.write(content)

    return store.apply(fetch) if plan.changed else plan


def test_the_right_program_is_linked_and_the_second_run_changes_nothing(tmp_path: Path) -> None:
    assert install(tmp_path, WITH, "1", QUESTION).install
    assert (tmp_path / "bin" / "prog").read_bytes() == WITH
    assert not install(tmp_path, WITH, "1", QUESTION).changed


def test_a_program_that_lacks_a_line_is_never_linked(tmp_path: Path) -> None:
    with pytest.raises(BinaryError, match=r"lacks dns\.providers\.cloudflare, as `prog list-modules`"):
        install(tmp_path, WITHOUT, "1", QUESTION)
    assert [path.name for path in tmp_path.rglob("*")] == ["bin"]


def test_a_refused_upgrade_leaves_the_version_in_use(tmp_path: Path) -> None:
    install(tmp_path, WITH, "1", QUESTION)
    with pytest.raises(BinaryError, match="was not touched"):
        install(tmp_path, WITHOUT, "2", QUESTION)
    assert (tmp_path / "bin" / "prog").read_bytes() == WITH
    assert not install(tmp_path, WITH, "1", QUESTION).changed


def test_a_new_question_is_asked_of_the_program_in_use(tmp_path: Path) -> None:
    install(tmp_path, WITHOUT, "1", None)
    with pytest.raises(BinaryError, match="lacks"):
        install(tmp_path, WITHOUT, "1", QUESTION)
    other = {"arguments": [], "contains": ["dns.providers.cloudflare.other"]}
    assert install(tmp_path, WITHOUT, "1", other).repair
    record = json.loads(next(tmp_path.glob("lib/prog/*/prog.json")).read_text())
    assert record["verified"] == other


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"#!/bin/sh\necho broken\nexit 4\n", r"ended with 4 \(broken\)"),
        (b"#!/bin/sh\nexit 1\n", r"ended with 1 \(it printed nothing\)"),
        (b"\x7fELF of another machine", "cannot be run"),
    ],
)
def test_a_program_that_cannot_answer_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    program = tmp_path / "prog"
    program.write_bytes(content)
    program.chmod(0o755)
    with pytest.raises(BinaryError, match=said):
        verify("prog", str(program), QUESTION)
