"""The engine as it runs: what it says about itself, and what becomes of real containers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from testinfra.host import Host

from tests.scenario import converge, python_image, unchanged, wait_until

SERVE = "python3 -m http.server 80"


def info(host: Host) -> dict[str, Any]:
    """What the engine says about itself."""
    return dict(json.loads(host.check_output("docker info --format '{{json .}}'")))


def engine_pid(host: Host) -> str:
    """The process of the engine."""
    return str(host.check_output("systemctl show --value --property MainPID docker.service"))


def started(host: Host, name: str) -> str:
    """When a container was started, and its process: both stay while it lives."""
    return str(host.check_output(f"docker inspect --format '{{{{.State.StartedAt}}}} {{{{.State.Pid}}}}' {name}"))


@pytest.fixture(scope="module")
def image(host: Host) -> str:
    """An image with Python in it."""
    return python_image(host)


@pytest.fixture(scope="module")
def server(host: Host, image: str) -> Iterator[str]:
    """A container that serves HTTP, started before the engine is touched."""
    host.run("docker rm --force server")
    host.check_output(f"docker run --detach --name server --init --publish 18080:80 {image} {SERVE}")
    yield "server"
    host.check_output("docker rm --force server")


def test_the_engine_runs_with_the_wanted_settings(host: Host) -> None:
    """Version, log driver, live-restore, privileges and the role's address pool, as the engine reports them."""
    found = info(host)
    assert int(found["ServerVersion"].split(".")[0]) >= 26
    assert found["LoggingDriver"] == "local"
    assert found["LiveRestoreEnabled"] is True
    assert found["CgroupVersion"] == "2"
    assert any("no-new-privileges" in option for option in found["SecurityOptions"])
    assert found["DefaultAddressPools"] == [{"Base": "172.30.0.0/16", "Size": 24}]
    assert found["Labels"] == ["scenario=docker"]


def test_it_starts_at_boot_and_nobody_is_root_by_group(host: Host) -> None:
    """Enabled; the group docker is empty."""
    assert host.service("docker").is_enabled
    assert host.group("docker").members == []


def test_a_container_runs_logs_compressed_and_gains_no_privileges(host: Host, image: str) -> None:
    """Output comes back from the local driver's file, which rotates; no_new_privs is set in the process."""
    host.run("docker rm --force once")
    script = 'print(open("/proc/self/status").read())'
    host.check_output(f"docker run --name once {image} python3 -c '{script}'")
    assert "NoNewPrivs:\t1" in host.check_output("docker logs once")
    config = json.loads(host.check_output("docker inspect --format '{{json .HostConfig.LogConfig}}' once"))
    assert config == {"Type": "local", "Config": {"max-file": "3", "max-size": "10m"}}
    host.check_output("docker rm once")


def test_ports_are_published_on_loopback_only(host: Host, server: str, image: str) -> None:
    """Without an address a port is on 127.0.0.1: on the default bridge and on a network of one's own."""
    assert host.check_output(f"docker port {server} 80") == "127.0.0.1:18080"
    host.run("docker rm --force own; docker network rm own")
    host.check_output("docker network create own")
    subnet = host.check_output("docker network inspect --format '{{(index .IPAM.Config 0).Subnet}}' own")
    assert subnet.startswith("172.30.")
    host.check_output(f"docker run --detach --name own --init --network own --publish 18082:80 {image} {SERVE}")
    assert host.check_output("docker port own 80") == "127.0.0.1:18082"
    host.check_output("docker rm --force own && docker network rm own")


def test_compose_runs_a_project(host: Host, image: str) -> None:
    """Compose v2 is there and brings a project up and down."""
    host.check_output(
        "mkdir -p /root/scenario && cat >/root/scenario/compose.yml <<'END'\n"
        f"services:\n  web:\n    image: {image}\n    command: {SERVE}\n    init: true\nEND"
    )
    host.check_output("docker compose --project-directory /root/scenario up --detach --wait --wait-timeout 60")
    assert host.check_output("docker ps --quiet --filter label=com.docker.compose.project=scenario")
    host.check_output("docker compose --project-directory /root/scenario down")


def test_containers_live_through_a_restart_of_the_engine(host: Host, server: str) -> None:
    """live-restore: another engine, the same container process."""
    container, engine = started(host, server), engine_pid(host)
    host.check_output("systemctl restart docker.service")
    wait_until(lambda: host.run("docker info").rc == 0, "the engine's answer")
    assert engine_pid(host) != engine
    assert started(host, server) == container


def test_a_key_that_needs_no_restart_is_reloaded(host: Host, server: str) -> None:
    """A label reaches the running engine: same process; taken back, it is gone again."""
    container, engine = started(host, server), engine_pid(host)
    done = converge("docker", docker_daemon_options={"labels": ["scenario=other"]})
    assert done.returncode == 0, done.stdout
    assert info(host)["Labels"] == ["scenario=other"]
    assert converge("docker").returncode == 0
    assert info(host)["Labels"] == ["scenario=docker"]
    assert (started(host, server), engine_pid(host)) == (container, engine)


def test_a_key_that_needs_a_restart_gets_one(host: Host, server: str) -> None:
    """The log driver's size: another engine process, the container lives on; then nothing is left to do."""
    container, engine = started(host, server), engine_pid(host)
    done = converge("docker", docker_daemon_options={"log-opts": {"max-size": "5m"}})
    assert done.returncode == 0, done.stdout
    assert engine_pid(host) != engine
    assert converge("docker").returncode == 0
    assert started(host, server) == container
    assert unchanged(converge("docker"))


@pytest.mark.parametrize("check", [(), ("--check",)])
def test_an_unknown_key_is_refused_and_nothing_touched(host: Host, check: tuple[str, ...]) -> None:
    """dockerd's own words, the old file byte for byte, the same engine."""
    before, engine = host.file("/etc/docker/daemon.json").content, engine_pid(host)
    done = converge("docker", *check, docker_daemon_options={"log-drivr": "local"})
    assert done.returncode != 0
    assert "dockerd refuses this configuration" in done.stdout
    assert "log-drivr" in done.stdout
    assert host.file("/etc/docker/daemon.json").content == before
    assert engine_pid(host) == engine


def test_a_configuration_that_does_not_start_is_put_back(host: Host, server: str) -> None:
    """What only a start can tell (a data directory that is a file) ends with the old file and a running engine."""
    before, container = host.file("/etc/docker/daemon.json").content, started(host, server)
    done = converge("docker", docker_daemon_options={"data-root": "/etc/hostname"})
    assert done.returncode != 0
    assert "put back" in done.stdout
    assert host.file("/etc/docker/daemon.json").content == before
    assert info(host)["DockerRootDir"] == "/var/lib/docker"
    assert started(host, server) == container
    assert unchanged(converge("docker"))


def test_a_change_by_hand_is_taken_back(host: Host) -> None:
    """Somebody edits daemon.json and restarts the engine: the next run restores both."""
    host.check_output("""printf '{"live-restore": true, "log-driver": "json-file"}' >/etc/docker/daemon.json""")
    host.check_output("systemctl restart docker.service")
    assert info(host)["LoggingDriver"] == "json-file"
    assert converge("docker").returncode == 0
    assert info(host)["LoggingDriver"] == "local"


def test_members_of_the_group_are_exactly_the_listed(host: Host) -> None:
    """Listed users are put in, and taken out again when they are not listed any more."""
    assert converge("docker", docker_users=["ops"]).returncode == 0
    assert host.group("docker").members == ["ops"]
    assert converge("docker").returncode == 0
    assert host.group("docker").members == []


def test_absent_gives_the_engine_up_and_present_brings_it_back(host: Host, image: str) -> None:
    """Configuration and service go, images stay; the last test, for it stops the engine."""
    assert converge("docker", docker_state="absent").returncode == 0
    assert not host.file("/etc/docker/daemon.json").exists
    assert not host.service("docker").is_running
    assert not host.service("docker").is_enabled
    assert unchanged(converge("docker", docker_state="absent"))
    assert converge("docker").returncode == 0
    assert host.run(f"docker image inspect {image}").rc == 0
    assert info(host)["LoggingDriver"] == "local"
