"""Applies a scenario's role once more from within its tests, with other variables, the way a person would."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_RECAP = re.compile(r"ok=(\d+)\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)")


@dataclass(frozen=True)
class Applied:
    """How a run ended: exit code of ansible-playbook, number of changed tasks, everything it printed."""

    rc: int
    changed: int
    output: str


def apply(variables: dict[str, object] | None = None, *options: str) -> Applied:
    """Run the converge playbook with `variables` on top of the inventory's; `options` are for ansible-playbook."""
    scenario = os.environ["MOLECULE_SCENARIO_NAME"]
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".ansible" / "collections"),
        "MOLECULE_PROJECT_DIRECTORY": str(ROOT),
        "ANSIBLE_FORCE_COLOR": "false",
        "ANSIBLE_NOCOLOR": "true",
        "PYTHONPATH": str(ROOT),
    }
    # The scenario's own callback fails a check run that predicts a change; here such a run may be what is asked for.
    environment.pop("ANSIBLE_CALLBACKS_ENABLED", None)
    with tempfile.NamedTemporaryFile("w", suffix=".json") as extra:
        # A file, because what is in argv can be read by everybody on this machine.
        json.dump(variables or {}, extra)
        extra.flush()
        done = subprocess.run(
            [
                str(Path(sys.executable).parent / "ansible-playbook"),
                "--inventory", str(ROOT / "molecule" / "inventory"),
                "--limit", f"{scenario},localhost",
                "--extra-vars", f"@{extra.name}",
                *options,
                str(ROOT / "molecule" / "shared" / "converge.yml"),
            ],
            cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, check=False, timeout=600,
        )  # fmt: skip
    recap = _RECAP.search(done.stdout)
    return Applied(done.returncode, int(recap[2]) if recap else 0, done.stdout)
