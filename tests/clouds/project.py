"""An inventory of its own beside a cloud's double, and runs of the collection's playbooks on it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.bed import hosts
from tests.unit.fixtures import ROOT, SECRETS

HOST = "hetzner-1"
"""The one server, which becomes a host of the bed under this name."""


@dataclass(frozen=True)
class Run:
    """How a run ended: exit code, everything it printed, tasks that changed something by host."""

    code: int
    output: str
    changed: dict[str, int]

    @property
    def changes(self) -> int:
        """How many tasks changed something."""
        return sum(self.changed.values())


class Project:
    """A folder with a document, its secrets and an inventory in which only this machine is named."""

    def __init__(
        self, folder: Path, site: dict[str, Any], secrets: dict[str, str], known: Mapping[str, str] = SECRETS
    ) -> None:
        self.folder = folder
        self.inventory = folder / "inventory"
        self.known_hosts = folder / "known_hosts"
        self.secrets = {**known, **secrets}
        (self.inventory / "group_vars" / "all").mkdir(parents=True)
        self.reach(f"-i {hosts.key_path()} -o IdentitiesOnly=yes -o UserKnownHostsFile={self.known_hosts}")
        (folder / "ansible.cfg").write_text(
            "[defaults]\nhost_key_checking = true\ninterpreter_python = /usr/bin/python3\n"
            "[ssh_connection]\npipelining = true\nssh_args = -o ControlMaster=auto -o ControlPersist=60s\n"
        )
        self.write(site)

    def reach(self, ssh: str) -> None:
        """The inventory; servers are reached with these arguments of ssh."""
        local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        inventory = {"hosts": {"localhost": local}, "vars": {"ansible_ssh_common_args": ssh}}
        (self.inventory / "hosts.yml").write_text(yaml.safe_dump({"all": inventory}))

    def write(self, site: dict[str, Any]) -> None:
        """Another document."""
        self.site = site
        document = self.inventory / "group_vars" / "all" / "site.yml"
        document.write_text(yaml.safe_dump({"site": site}, sort_keys=False))
        store = self.folder / ".secrets.yml"
        store.write_text(yaml.safe_dump(self.secrets))
        store.chmod(0o600)

    def environment(self) -> dict[str, str]:
        """Of a run; no token but that of the secret store."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "HCLOUD_"))}
        return kept | {
            "ANSIBLE_CONFIG": str(self.folder / "ansible.cfg"),
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".ansible" / "collections"),
            "ANSIBLE_HOME": str(self.folder / "home"),
            "ANSIBLE_INJECT_FACT_VARS": "false",
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_LOCALHOST_WARNING": "false",
        }

    def run(self, playbook: str, *arguments: str) -> Run:
        """Run a playbook of the collection (or one somewhere else) to its end."""
        program = str(Path(sys.executable).parent / "ansible-playbook")
        path = playbook if playbook.startswith("/") else str(ROOT / "playbooks" / f"{playbook}.yml")
        argv = [program, "-i", str(self.inventory), path, *arguments]
        done = subprocess.run(argv, env=self.environment(), capture_output=True, check=False, stdin=subprocess.DEVNULL)
        output = (done.stdout + done.stderr).decode(errors="replace")
        recap = re.findall(r"^(\S+)\s*: ok=\d+\s+changed=(\d+)", output, re.MULTILINE)
        return Run(done.returncode, output, {name: int(count) for name, count in recap})

    def inventory_of(self, path: Path, token: str) -> dict[str, Any]:
        """What an inventory of the cloud says, asked of the endpoint of the document."""
        program = str(Path(sys.executable).parent / "ansible-inventory")
        endpoint = {"HCLOUD_TOKEN": token, "HCLOUD_ENDPOINT": self.site["hetzner"]["endpoint"]}
        argv = [program, "-i", str(path), "--list"]
        done = subprocess.run(argv, env=self.environment() | endpoint, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        # What comes from an API is marked as no template.
        told: dict[str, Any] = json.loads(done.stdout, object_hook=lambda found: found.get("__ansible_unsafe", found))
        return told

    def ssh_argv(self) -> list[str]:
        """ssh with our key, over host keys that are pinned, whatever this machine's user has set up."""
        options = ["IdentitiesOnly=yes", "StrictHostKeyChecking=yes", "BatchMode=yes", "ControlPath=none"]
        words = [f"UserKnownHostsFile={self.known_hosts}", *options]
        return ["ssh", "-F", "none", "-i", str(hosts.key_path()), *(part for word in words for part in ("-o", word))]

    def ssh(self, address: str, command: str) -> str:
        """What a command on the server says, as the admin, over a host key that is pinned. Fails where it is not."""
        argv = [*self.ssh_argv(), f"{hosts.ADMIN}@{address}", command]
        done = subprocess.run(argv, capture_output=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode().strip()
