"""An empty project at Hetzner's double, whose servers are hosts of the bed, and an inventory that speaks of one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.bed import cloud, engine, hosts
from tests.clouds.project import HOST, Project, Run
from tests.doubles.hetzner import PREFIX, Hetzner, hetzner
from tests.doubles.hetzner.addresses import Pool
from tests.unit.fixtures import Mutation, document, put

TOKEN = "hcloud-token-that-must-not-show"


@dataclass
class Stage:
    """The double, the inventory, and every run so far."""

    double: Hetzner
    project: Project
    mutations: list[Mutation]
    runs: list[Run] = field(default_factory=list)

    def run(self, playbook: str, *arguments: str) -> Run:
        """Run a playbook and keep what it said."""
        done = self.project.run(playbook, *arguments)
        self.runs.append(done)
        return done

    def wish(self, *mutations: Mutation) -> None:
        """The document, changed."""
        self.project.write(document(*self.mutations, *mutations))

    def server(self) -> dict[str, object]:
        """The one server, as the double keeps it."""
        return self.double.named("servers", HOST)

    def address(self) -> str:
        """Its address."""
        return str(self.double.named("primary_ips", f"{HOST}-ipv4")["ip"])


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """One for all tests of the life of a server, in their order."""
    engine.ensure()
    hosts.network()
    folder = tmp_path_factory.mktemp("clouds")
    double = hetzner(machines=cloud.BedMachines())
    double.part(Pool).ipv4 = cloud.addresses()
    double.tokens[TOKEN] = "read-write"
    caddy = {"version": "2.11.9", "url": "https://example.org/caddy", "sha256": "1" * 64}
    with double.running() as url:
        mutations = [
            put("hetzner.endpoint", f"{url}{PREFIX}"),
            put("hetzner.servers[0].name", HOST),
            put("hetzner.known_hosts", str(folder / "known_hosts")),
            put("admin.authorized_keys", [hosts.public_key()]),
            put("secrets.file", str(folder / ".secrets.yml")),
            put("artifacts.caddy", caddy),
        ]
        project = Project(folder, document(*mutations), {"HCLOUD_TOKEN": TOKEN})
        try:
            yield Stage(double, project, mutations)
        finally:
            hosts.down(HOST)
