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


def test_a_key_that_is_taken_out_leaves_the_running_engine(host: Host, server: str) -> None:
    """Most keys survive a reload when they are only gone from the file, so the engine is restarted; containers live."""
    container = started(host, server)
    options = {"labels": ["scenario=docker"], "insecure-registries": ["192.0.2.7:5000"]}
    assert converge("docker", docker_daemon_options=options).returncode == 0
    assert "192.0.2.7:5000" in info(host)["RegistryConfig"]["IndexConfigs"]
    engine = engine_pid(host)
    assert converge("docker").returncode == 0
    assert "192.0.2.7:5000" not in info(host)["RegistryConfig"]["IndexConfigs"]
    assert engine_pid(host) != engine
    assert started(host, server) == container
    # A key whose default the engine brings back by itself is only reloaded.
    assert converge("docker", docker_daemon_options={"max-concurrent-downloads": 7}).returncode == 0
    engine = engine_pid(host)
    assert converge("docker").returncode == 0
    assert engine_pid(host) == engine


def test_user_namespaces_are_refused_once_there_are_images(host: Host, image: str) -> None:
    """The change would hide them; the sentence says how many, the engine is the same."""
    assert host.run(f"docker image inspect {image}").rc == 0
    engine = engine_pid(host)
    done = converge("docker", docker_daemon_options={"userns-remap": "default"})
    assert done.returncode != 0
    assert "userns-remap can only be changed on an empty engine: the engine holds" in done.stdout
    assert engine_pid(host) == engine
    assert unchanged(converge("docker"))


def test_the_packages_are_held(host: Host) -> None:
    """A run of apt by hand or by a timer leaves the engine alone; only the role changes it."""
    held = host.check_output("apt-mark showhold").split()
    assert held == ["containerd", "docker-cli", "docker-compose", "docker.io", "runc"]
    assert converge("docker", docker_hold=False).returncode == 0
    assert host.check_output("apt-mark showhold") == ""
    assert converge("docker").returncode == 0


def test_the_kernel_is_told_to_spare_the_engine(host: Host) -> None:
    """As Debian's units say; nothing of the role's is needed for it."""
    shown = "systemctl show --value --property OOMScoreAdjust"
    assert int(host.check_output(f"{shown} docker.service")) <= -500
    assert int(host.check_output(f"{shown} containerd.service")) <= -900


class Images:
    """Images of a scenario, made of next to nothing, and the program that removes them."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def make(self, name: str) -> None:
        """An image of its own content."""
        self.host.check_output(
            f"rm -rf /root/image && mkdir /root/image && echo {name} >/root/image/name && "
            f"tar --create --directory=/root/image name | docker import - {name}"
        )

    def there(self) -> set[str]:
        """Names of the images of these tests."""
        listed = self.host.check_output("docker images --format '{{.Repository}}:{{.Tag}}'").split()
        return {name for name in listed if name.startswith("prune/")}

    def run(self, **changes: Any) -> Any:
        """Start the unit with a changed configuration, then bring the role's own back."""
        path = "/etc/sapflux/docker-prune.json"
        text = self.host.file(path).content_string
        self.host.check_output(f"cat >{path} <<'END'\n{json.dumps({**json.loads(text), **changes})}\nEND")
        done = self.host.run("systemctl start sapflux-docker-prune.service")
        self.host.check_output(f"cat >{path} <<'END'\n{text}END")
        return done


@pytest.fixture
def images(host: Host) -> Iterator[Images]:
    """Five images: used by a stopped container, of the last release, kept by name, two that nothing needs."""
    made = Images(host)
    for name in ("prune/stopped:1", "prune/release:1", "prune/kept:1", "prune/old:1", "prune/old:2"):
        made.make(name)
    release = {"verdict": "ok", "services": {"api": {"image": "prune/release:1"}}}
    host.check_output(
        "docker create --name prune-stopped prune/stopped:1 /none >/dev/null; docker volume create prune-volume; "
        "echo 'prune/kept:1 # for a rollback' >/etc/sapflux/docker-keep.d/scenario; "
        "mkdir -p /var/lib/sapflux/app/prune; "
        f"echo '{json.dumps(release)}' >/var/lib/sapflux/app/prune/releases.jsonl"
    )
    yield made
    host.run(
        "docker rm prune-stopped; docker volume rm prune-volume; rm -r /var/lib/sapflux/app/prune; "
        "rm /etc/sapflux/docker-keep.d/scenario; docker image rm $(docker images --quiet 'prune/*')"
    )


def test_the_timer_removes_what_nothing_uses_and_nothing_else(host: Host, images: Images, server: str) -> None:
    """The unit as the timer starts it: nothing on first sight; later the unused go, the rest and the volume stay."""
    assert host.service("sapflux-docker-prune.timer").is_enabled
    everything = images.there()
    assert images.run().rc == 0
    assert images.there() == everything
    assert images.run(age_hours=0).rc == 0
    assert images.there() == {"prune/stopped:1", "prune/release:1", "prune/kept:1"}
    assert "prune-volume" in host.check_output("docker volume ls --quiet").split()
    assert host.run(f"docker inspect {server} prune-stopped").rc == 0


def test_a_full_disk_prunes_earlier_and_fails_loudly(host: Host, images: Images) -> None:
    """Above the watermark hours count; the unit fails when that was not enough, and says so."""
    assert images.run(watermark_percent=100, pressure_hours=0).rc == 0
    assert "prune/old:1" in images.there()
    assert images.run(watermark_percent=1, pressure_hours=0).rc != 0
    assert "prune/old:1" not in images.there()
    assert "full after pruning" in host.check_output("journalctl --unit sapflux-docker-prune --lines 20 --output cat")
    assert images.run().rc == 0


def test_a_broken_record_of_releases_stops_the_pruning(host: Host, images: Images) -> None:
    """It may name anything, so everything stays."""
    everything = images.there()
    host.check_output("echo nonsense >>/var/lib/sapflux/app/prune/releases.jsonl")
    assert images.run(age_hours=0).rc != 0
    assert images.there() == everything
    host.check_output("systemctl reset-failed sapflux-docker-prune.service")


def test_the_timer_goes_when_it_is_switched_off(host: Host) -> None:
    """And comes back."""
    assert converge("docker", docker_prune_enabled=False).returncode == 0
    assert not host.file("/etc/systemd/system/sapflux-docker-prune.timer").exists
    assert unchanged(converge("docker", docker_prune_enabled=False))
    assert converge("docker").returncode == 0
    assert host.service("sapflux-docker-prune.timer").is_running


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
