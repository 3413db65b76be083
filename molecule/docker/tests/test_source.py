"""From Debian's engine to that of another repository and back, with a signed stand-in of Docker's repository."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from testinfra.host import Host

from tests.scenario import converge, python_image, unchanged, wait_until

BUILD = Path(__file__).parents[1] / "repository.py"
SERVE = "python3 -m http.server 8099 --bind 127.0.0.1 --directory /srv/docker-ce"
KEYRING = "/etc/apt/keyrings/sapflux-docker.asc"


def installed(host: Host) -> set[str]:
    """The engines' packages that are installed."""
    listed = host.check_output("dpkg-query --show --showformat='${db:Status-Abbrev} ${Package}\\n'").splitlines()
    names = {line.split()[1] for line in listed if line.startswith(("ii", "hi"))}
    return names & {"docker.io", "docker-cli", "containerd", "runc", "docker-ce", "docker-ce-cli", "containerd.io"}


@pytest.fixture(scope="module")
def repository(host: Host) -> Iterator[dict[str, Any]]:
    """The variables that point the role to the stand-in."""
    host.check_output(
        "apt-get --quiet=2 update && apt-get --quiet=2 --yes install --no-install-recommends gpg gpg-agent"
    )
    host.check_output(f"cat >/root/repository.py <<'END'\n{BUILD.read_text()}\nEND")
    fingerprint = host.check_output("python3 /root/repository.py").split()[-1]
    host.check_output(f"systemd-run --quiet --unit=docker-repository {SERVE}")
    wait_until(lambda: host.socket("tcp://127.0.0.1:8099").is_listening, "the repository's answer")
    yield {
        "docker_source": "docker-ce",
        "docker_repository_url": "http://127.0.0.1:8099/",
        "docker_repository_fingerprint": fingerprint,
    }
    host.run("systemctl stop docker-repository")


def test_a_key_with_another_fingerprint_is_refused(host: Host, repository: dict[str, Any]) -> None:
    """Before anything is written: no key, no source, the same packages."""
    before = installed(host)
    done = converge("docker", **{**repository, "docker_repository_fingerprint": "A" * 40})
    assert done.returncode != 0
    assert f"has the fingerprint {repository['docker_repository_fingerprint']}, not {'A' * 40}" in done.stdout.replace(
        "\n", " "
    ).replace("        ", "")
    assert not host.file(KEYRING).exists
    assert installed(host) == before
    assert host.run("docker info").rc == 0


def test_the_engine_is_not_replaced_below_running_containers(host: Host, repository: dict[str, Any]) -> None:
    """Refused by name, in check mode too; the engine runs on, so does the container."""
    image = python_image(host)
    host.check_output(f"docker run --detach --name busy --init {image} python3 -m http.server 80")
    for check in ((), ("--check",)):
        done = converge("docker", *check, **repository)
        assert done.returncode != 0
        assert "1 container(s) run (busy)" in done.stdout
    assert installed(host) == {"docker.io", "docker-cli", "containerd", "runc"}
    assert host.check_output("docker inspect --format '{{.State.Running}}' busy") == "true"
    assert not host.file("/etc/apt/sources.list.d/sapflux-docker.sources").exists


def test_it_is_replaced_when_they_are_stopped(host: Host, repository: dict[str, Any]) -> None:
    """The other repository's packages, held; images and the stopped container are there; then nothing is left to do."""
    host.check_output("docker stop --time 1 busy")
    done = converge("docker", **repository)
    assert done.returncode == 0, done.stdout
    assert installed(host) == {"docker-ce", "docker-ce-cli", "containerd.io"}
    assert "docker-ce" in host.check_output("apt-mark showhold").split()
    assert host.check_output("docker info --format '{{.LoggingDriver}} {{.LiveRestoreEnabled}}'") == "local true"
    host.check_output("docker start busy")
    assert unchanged(converge("docker", **repository))


def test_the_repository_gives_what_is_listed_and_nothing_else(host: Host) -> None:
    """Its other packages are pinned away, so that it cannot replace one of the system."""
    policy = host.check_output("apt-cache policy")
    assert "-1 http://127.0.0.1:8099 trixie/stable" in policy.replace("  ", " ").replace("  ", " ")
    assert "5:26.1.5-1~debian.13~trixie" in host.check_output("apt-cache policy docker-ce | grep Candidate")


def test_and_back_again(host: Host) -> None:
    """Debian's packages and no trace of the other source; the stopped container starts."""
    host.check_output("docker stop --time 1 busy")
    done = converge("docker")
    assert done.returncode == 0, done.stdout
    assert installed(host) == {"docker.io", "docker-cli", "containerd", "runc"}
    assert not host.file("/etc/apt/sources.list.d/sapflux-docker.sources").exists
    host.check_output("docker start busy && docker rm --force busy")
    assert unchanged(converge("docker"))


def test_a_version_that_is_not_to_be_had_is_refused(host: Host) -> None:
    """In apt's terms; the engine that is there runs on."""
    done = converge("docker", docker_version="99.*")
    assert done.returncode != 0
    assert "apt did not install docker.io, docker-cli as wanted" in done.stdout
    assert host.run("docker info").rc == 0
    have = host.check_output("dpkg-query --show --showformat='${Version}' docker.io").split("+")[0]
    assert converge("docker", docker_version=f"{have}*").returncode == 0
    assert "Pin: version" in host.file("/etc/apt/preferences.d/60-sapflux-docker").content_string
    assert converge("docker").returncode == 0
    assert not host.file("/etc/apt/preferences.d/60-sapflux-docker").exists
