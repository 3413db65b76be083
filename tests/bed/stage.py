"""A whole throwaway environment: host, sidecars, programs, images, and the inventory that describes them.

The document itself is `inventory/local/group_vars/all/site.yml`; what differs from machine to machine (addresses,
digests, keys) is written beside it as `generated.yml` and `secrets.yml`.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from . import hosts, images, packages, sidecars, tailnet, walg
from .artifacts import artifact
from .shell import text

LOCAL = hosts.ROOT / "inventory" / "local"
DOMAIN = "sapflux.test"
CADDY_ROOT = "/var/lib/caddy/.local/share/caddy/pki/authorities/local/root.crt"


@dataclass(frozen=True)
class Stage:
    """One environment: `host` is a host of the bed, `inventory` the directory Ansible is given."""

    host: str
    inventory: Path

    @property
    def address(self) -> str:
        """The host's IPv4 address."""
        return hosts.address(self.host)

    @property
    def bucket(self) -> str:
        """The bucket its archive goes to."""
        return f"sapflux-{self.host}"

    def prepare(self, *, memory: str | None = "2g") -> None:
        """Start what is not there yet and write the inventory's variables. Safe to repeat: nothing is replaced."""
        sidecars.minio()
        references = {name: sidecars.push(images.build(name), f"sapflux/{name}") for name in images.DEPLOYED}
        program = walg.program()
        sidecars.bucket(self.bucket)
        packages.repository()
        tailnet.operator()
        hosts.up(self.host, memory=memory, admin=False)
        tailnet.trust(self.host)
        tailnet.alias(self.host)
        self._inventory(references, program)

    def _inventory(self, references: dict[str, str], program: walg.Program) -> None:
        variables = self.inventory / "group_vars" / "all"
        variables.mkdir(parents=True, exist_ok=True)
        if self.inventory != LOCAL:
            shutil.copyfile(LOCAL / "group_vars" / "all" / "site.yml", variables / "site.yml")
            (self.inventory / "hosts.yml").write_text(
                (LOCAL / "hosts.yml").read_text().replace("demo:", f"{self.host}:")
            )
        store = self.inventory / ".secrets.yml"
        values = json.loads(store.read_text().removeprefix("---\n")) if store.exists() else self._secrets()
        if tailnet.find(self.host) is None:
            # A key is good for one node: a host that was made anew needs another one.
            values["TAILSCALE_AUTH_KEY"] = tailnet.key()
        self._write(store, values, 0o600)
        caddy = artifact("caddy")
        # JSON is YAML; written atomically, so that an interrupted demo leaves no half a file.
        self._write(
            variables / "generated.yml",
            {
                "bed": {
                    "ssh_config": str(hosts.ssh_config()),
                    "admin_key": hosts.public_key(),
                    "caddy": {"path": str(caddy.path), "sha256": caddy.sha256, "version": caddy.version},
                    "walg": {"path": str(program.path), "sha256": program.sha256, "version": program.version},
                    "images": references,
                    "objects_endpoint": f"http://{sidecars.MINIO.endpoint}",
                    "registry": sidecars.REGISTRY.endpoint,
                    "bucket": self.bucket,
                    # A person computes it from the second copy of the key.
                    "key_fingerprint": hashlib.sha256(values["BACKUP_ENCRYPTION_KEY"].encode()).hexdigest()[:16],
                    "tailnet": {
                        "login_server": tailnet.LOGIN_SERVER,
                        "repository": packages.url(),
                        "key_sha256": packages.key_sha256(),
                        "version": packages.current(),
                    },
                }
            },
            0o644,
        )

    @staticmethod
    def _secrets() -> dict[str, str]:
        return {
            # With characters that break whoever quotes a secret carelessly.
            "APP_DB_PASSWORD": f"{secrets.token_urlsafe(24)}'\"%&\\ $x",
            "BACKUP_ENCRYPTION_KEY": secrets.token_hex(32),
            "BACKUP_ACCESS_KEY_ID": sidecars.ACCESS_KEY,
            "BACKUP_SECRET_ACCESS_KEY": sidecars.SECRET_KEY,
            "APP_S3_ACCESS_KEY_ID": sidecars.ACCESS_KEY,
            "APP_S3_SECRET_ACCESS_KEY": sidecars.SECRET_KEY,
        }

    @staticmethod
    def _write(path: Path, content: object, mode: int) -> None:
        fresh = path.with_suffix(".new")
        fresh.write_text("---\n" + json.dumps(content, indent=2) + "\n")
        fresh.chmod(mode)
        fresh.rename(path)

    def playbook(self, name: str, *arguments: str) -> list[str]:
        """The command that runs a playbook of this checkout on this environment."""
        return [str(Path(sys.executable).parent / "ansible-playbook"), name, "-i", str(self.inventory), *arguments]

    def environment(self) -> dict[str, str]:
        """The process environment Ansible is run with."""
        return os.environ | {"ANSIBLE_CONFIG": str(hosts.ROOT / "ansible.cfg"), "PYTHONUNBUFFERED": "1"}

    def sudo(self, command: str) -> str:
        """Run a command as root over SSH, the way in that is left after the lockdown, and return what it prints."""
        name = f"{self.host}-tailnet"
        return text("ssh", "-F", str(hosts.ssh_config()), "-l", hosts.ADMIN, name, f"sudo {command}")

    def ca(self) -> str:
        """The root certificate of the host's own CA, PEM."""
        return self.sudo(f"cat {CADDY_ROOT}") + "\n"

    def remove(self) -> None:
        """Remove the host and its bucket's content; the sidecars stay for others."""
        hosts.down(self.host)
        if tailnet.CONTROL.healthy():
            tailnet.delete(self.host)
        if sidecars.MINIO.healthy():
            sidecars.drop_bucket(self.bucket)


def forget(inventory: Path) -> None:
    """Remove what was generated into an inventory."""
    for name in (".secrets.yml", "group_vars/all/generated.yml"):
        (inventory / name).unlink(missing_ok=True)
