"""A deployment ends anywhere: its process, its controller, the power. What served serves, and the next one works.

The hosts are those of the scenario `deploy`, which shows one case of each fault; unit tests show every single step.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
from ansible_collections.sapflux.hosting.plugins.module_utils._compose_transaction import STEPS

from tests.bed import hosts
from tests.deploy_host import (
    HOST,
    controller_killed_at,
    deploy,
    image,
    killed_at,
    load,
    power_lost_at,
    serves,
    through_caddy,
)
from tests.scenario import ROOT, environment, wait_until

pytestmark = pytest.mark.soak

#: From here on the new release is the one that counts.
COMMITTED = STEPS[STEPS.index("commit") + 1 :]


def molecule(action: str) -> None:
    """One action of Molecule on the scenario."""
    subprocess.run(["molecule", action, "--scenario-name", "deploy"], cwd=ROOT, env=environment(), check=True)


@pytest.fixture(scope="module", autouse=True)
def _hosts() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOLECULE_SCENARIO_NAME", "deploy")
        molecule("converge")
        yield
        molecule("destroy")


@pytest.fixture(autouse=True)
def _first_release() -> None:
    """Every test begins with the first version, at rest."""
    assert deploy().rc == 0
    serves("v1")


def next_one_works(version: str) -> None:
    """The next deployment of a version takes over whatever is left, and leaves nothing to do."""
    done = deploy(molecule_image=version)
    assert done.rc == 0, done.output[-1500:]
    serves(version)
    assert "nothing was done" in " ".join(deploy(molecule_image=version).output.split())


@pytest.mark.parametrize("step", STEPS)
def test_its_process_is_killed(step: str) -> None:
    with load() as running:
        killed_at(step, molecule_image="v2")
        next_one_works("v2")
    assert running.report.errors() == {}


@pytest.mark.parametrize("step", STEPS)
def test_its_controller_is_killed(step: str) -> None:
    """The host goes on without it, or the next run does."""
    with load() as running:
        controller_killed_at(step, molecule_image="v2")
        next_one_works("v2")
    assert running.report.errors() == {}


@pytest.mark.parametrize("step", STEPS)
def test_the_power_goes(step: str) -> None:
    """After the boot serves what counted. A commit is a blink, so it may be over when the power is gone."""
    power_lost_at(step, molecule_image="v2", app_watch_seconds=5)
    if step == "commit":
        wait_until(lambda: through_caddy("/health") in ("200 v1", "200 v2"), "an answer", 180)
    else:
        serves("v2" if step in COMMITTED else "v1")
    next_one_works("v2")


def test_a_configuration_that_caddy_cannot_read_is_no_matter() -> None:
    """Nothing is reloaded by a deployment, so what is wrong on the disk harms no running route."""
    hosts.execute(HOST, "cp -a /etc/caddy/Caddyfile /root/; echo '}}} not a site' >/etc/caddy/Caddyfile")
    try:
        with load() as running:
            assert deploy(molecule_image="v2").rc == 0
        assert running.report.errors() == {}
        serves("v2")
    finally:
        hosts.execute(HOST, "cp -a /root/Caddyfile /etc/caddy/Caddyfile")


def test_an_image_that_is_gone_from_the_registry_can_be_gone_back_to() -> None:
    """What is kept is on the host."""
    assert deploy(molecule_image="v2").rc == 0
    assert image("v1") in hosts.execute(HOST, "docker image ls --digests --format '{{.Repository}}@{{.Digest}}'")
    back = deploy(molecule_tasks_from="release", app_action="rollback", app_release=image("v1").partition("@")[2][:20])
    assert back.rc == 0
    serves("v1")
