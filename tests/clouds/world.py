"""An account of one's own: Cloudflare and Doppler as doubles on this machine, a document, and runs of the playbook."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.doubles.cloudflare import ACCOUNT, Cloudflare, cloudflare, origin, zones
from tests.doubles.doppler import Doppler, doppler
from tests.unit.fixtures import ROOT, SECRETS, Mutation, document, drop, put
from tests.unit.plugins.modules import pems

ZONE = "sapflux.test"
TOKEN = "cloudflare-token_that-must-not-show"
DOPPLER_TOKEN = f"dp.st.prd.{'A1' * 20}"
GROUPS = (
    *("Zone Read", "DNS Write", "Zone Settings Write", "Zone WAF Write", "Cache Settings Write"),
    *(
        "Dynamic URL Redirects Write",
        "SSL and Certificates Write",
        "Account API Tokens Write",
        "Workers R2 Storage Write",
    ),
)
MANY = 210
"""Records that are more than one batch of the plan Free takes."""
ADDRESS = "198.51.100.10"
KEPT = ("HCLOUD_TOKEN", "APP_DB_PASSWORD", "REPORT_DB_PASSWORD", "BACKUP_ENCRYPTION_KEY", "API_DOPPLER_TOKEN")
"""Secrets of the document that no cloud makes."""
BASE = (
    put("artifacts.caddy", {"version": "2.11.9", "url": "https://example.org/caddy", "sha256": "1" * 64}),
    put("secrets.file", "{{ inventory_dir }}/.secrets.yml"),
    drop("services[0].secrets.S3_SECRET_ACCESS_KEY"),
    drop("backup.read_access_key_id"),
    drop("backup.read_secret_access_key"),
)
"""The valid document with files of this machine that are there."""
COMMENT = "# Kept by hand; the playbook adds what it makes."


@dataclasses.dataclass(frozen=True)
class Run:
    """How a run of the playbook ended."""

    code: int
    changed: int
    text: str


class Account:
    """The doubles, and the folder with the inventory, the document and the secret store."""

    def __init__(self, folder: Path, cloud: Cloudflare, vault: Doppler, site: dict[str, Any]) -> None:
        self.folder, self.cloud, self.vault = folder, cloud, vault
        self.zone = zones.add_zone(cloud, ZONE)
        cloud.add_token(TOKEN, *GROUPS)
        cloud.part(origin.Pulls).delay = 0
        self.config = vault.add_config("sapflux", "prd", {"OTHER": "of-somebody-else"})
        vault.add_token(DOPPLER_TOKEN, ["sapflux/prd"], "read/write")
        self.store = folder / ".secrets.yml"
        key = pems.new_key()
        # What the playbook makes is not in the store yet.
        self.secrets = {name: SECRETS[name] for name in KEPT} | {
            "CLOUDFLARE_API_TOKEN": TOKEN,
            "DOPPLER_TOKEN": DOPPLER_TOKEN,
            "EDGE_CERTIFICATE": pems.certificate(key),
            "EDGE_PRIVATE_KEY": pems.private(key),
        }
        lines = [f"{name}: {json.dumps(value)}" for name, value in self.secrets.items()]
        self.store.write_text("\n".join([COMMENT, *lines]) + "\n", encoding="utf-8")
        self.store.chmod(0o600)
        self.write(site)
        hosts = {"hosts": {"sapflux-1": {"ansible_host": ADDRESS}}}
        here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        inventory = {"all": {"hosts": {"localhost": here}, "children": dict.fromkeys(("edge", "app", "db"), hosts)}}
        (folder / "hosts.yml").write_text(yaml.safe_dump(inventory), encoding="utf-8")
        (folder / "ansible.cfg").write_text("[defaults]\n", encoding="utf-8")

    def write(self, site: dict[str, Any]) -> None:
        """Make this the document."""
        self.site = site
        variables = self.folder / "group_vars" / "all"
        variables.mkdir(parents=True, exist_ok=True)
        (variables / "site.yml").write_text(yaml.safe_dump({"site": site}, sort_keys=False), encoding="utf-8")

    def run(self, *arguments: str) -> Run:
        """Run the playbook at -vvv."""
        environment = os.environ | {
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".ansible" / "collections"),
            "ANSIBLE_CONFIG": str(self.folder / "ansible.cfg"),
            "ANSIBLE_HOME": str(self.folder / "home"),
            "ANSIBLE_INJECT_FACT_VARS": "false",
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_PIPELINING": "1",
        }
        program = str(Path(sys.executable).parent / "ansible-playbook")
        command = [program, "-i", str(self.folder / "hosts.yml"), "-vvv", "--diff", *arguments]
        done = subprocess.run(
            [*command, str(ROOT / "playbooks" / "clouds.yml")],
            env=environment,
            capture_output=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        text = (done.stdout + done.stderr).decode(errors="replace")
        changed = re.search(r"changed=(\d+)", text)
        return Run(done.returncode, int(changed[1]) if changed else -1, text)

    def marks(self) -> list[str]:
        """Everything secret that there is by now, in pieces as they would show in one line."""
        values = [*self.secrets.values(), *self.kept().values()]
        values += [token.value for token in self.cloud.tokens.values()]
        lines = [line for value in values for line in value.splitlines() if not line.startswith("-----")]
        # The certificate and the access keys are no secrets; the private key and the rest are.
        open_ = {*self.secrets["EDGE_CERTIFICATE"].splitlines(), *self.cloud.tokens}
        return [line for line in dict.fromkeys(lines) if line not in open_ and len(line) > 8]

    def kept(self) -> dict[str, str]:
        """What the secret store holds."""
        held: dict[str, str] = yaml.safe_load(self.store.read_text(encoding="utf-8"))
        return held


def site_of(cloudflare_url: str, doppler_url: str, *mutations: Mutation) -> dict[str, Any]:
    """A document with everything that there is at Cloudflare, changed."""
    texts = [{"type": "TXT", "name": f"note-{number}", "content": f"number {number}"} for number in range(MANY)]
    return document(
        *BASE,
        put("cloudflare.base_url", f"{cloudflare_url}/client/v4"),
        put("cloudflare.account_id", ACCOUNT),
        put("cloudflare.doppler", {"token": "${DOPPLER_TOKEN}", "base_url": doppler_url}),
        put("cloudflare.dns.addresses", []),
        put("cloudflare.dns.records", texts),
        put("backup.r2.create", True),
        put("backup.endpoint", f"https://{ACCOUNT}.r2.cloudflarestorage.com"),
        put("backup.read_access_key_id", "${BACKUP_READ_ACCESS_KEY_ID}"),
        put("backup.read_secret_access_key", "${BACKUP_READ_SECRET_ACCESS_KEY}"),
        *mutations,
    )


@contextmanager
def account(folder: Path, *mutations: Mutation) -> Iterator[Account]:
    """An empty account while the block runs, and a document that asks for everything, changed."""
    cloud, vault = cloudflare(), doppler()
    with cloud.running() as url, vault.running() as other:
        yield Account(folder, cloud, vault, site_of(url, other, *mutations))
