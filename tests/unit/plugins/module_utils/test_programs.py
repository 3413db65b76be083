"""Programs end in any case, and see nothing of the caller's environment."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from ansible_collections.sapflux.hosting.plugins.module_utils._programs import run


def test_a_program_that_hangs_is_stopped_with_its_children(tmp_path: Path) -> None:
    script = tmp_path / "hang.sh"
    script.write_text("echo begun; sleep 600 & wait\n")
    ran = run(["/bin/sh", str(script)], "", 1)
    assert (ran.code, ran.out) == (124, "begun\n")


def test_a_program_gets_its_input_and_a_small_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_CALLER", "x")
    ran = run([sys.executable, "-c", "import os, sys; print(sys.stdin.read(), sorted(os.environ))"], "key\n", 30)
    assert ran.code == 0
    assert ran.out.startswith("key\n")
    assert "SECRET" not in ran.out
    assert run(["/nowhere/tailscale"], "", 1).code == 127
