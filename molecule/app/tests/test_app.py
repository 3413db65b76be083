"""The application as the host runs it, and what happens to it when a deployment is no good."""

from __future__ import annotations

import hashlib
import json
import socket
import subprocess
import sys
import time
from typing import Any

import pytest
from testinfra.host import Host

from tests.scenario import ROOT, apply

IMAGES: dict[str, str] = json.loads((ROOT / ".bed" / "molecule-app.json").read_text())
SECRET, PASSWORD = "marker-of-the-first-secret", "marker-of-a-password"
BASE, RUN, UNIT = "/var/lib/sapflux/app/shop", "/run/sapflux/app/shop", "sapflux-app@shop.service"


def container(host: Host, project: str = "shop") -> dict[str, Any]:
    """The one container of a project, as Docker describes it."""
    label = f"label=com.sapflux.project={project}"
    found = host.check_output(f"docker ps --all --quiet --no-trunc --filter {label}").split()
    assert len(found) == 1
    return dict(json.loads(host.check_output(f"docker inspect {found[0]}"))[0])


def slot(host: Host) -> str:
    """Name of the slot that serves."""
    name = container(host)["Config"]["Labels"]["com.docker.compose.service"]
    return str(name)


def address(host: Host, project: str = "shop", service: str = "api") -> str:
    """Where Caddy would find a service."""
    return str(host.file(f"/etc/sapflux/upstreams/{project}-{service}").content_string)


def get(host: Host, path: str, project: str = "shop", service: str = "api") -> str:
    """Body of an answer of the slot that serves; fails for anything but 200."""
    port = address(host, project, service).rpartition(":")[2]
    fetch = f"import urllib.request as r; print(r.urlopen('http://127.0.0.1:{port}{path}', timeout=10).read().decode())"
    return str(host.check_output(f'python3 -c "{fetch}"')).strip()


def process(host: Host) -> dict[str, str]:
    """/proc/<pid>/status of the server in the container."""
    pid = host.check_output("pgrep -x server")
    lines = host.file(f"/proc/{pid}/status").content_string.splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def releases(host: Host) -> list[dict[str, Any]]:
    return [json.loads(line) for line in host.file(f"{BASE}/releases.jsonl").content_string.splitlines()]


def forget_migrations(host: Host) -> None:
    """Make the host forget which images it migrated, so that a test does not depend on those before it."""
    digests = "|".join(image.split("@")[1] for image in IMAGES.values())
    host.check_output(f"sed -i -E 's/{digests}/forgotten/g' {BASE}/state.json")


def dotenv(token: str = SECRET) -> bytes:
    return f"DATABASE_URL='postgres://shop:{PASSWORD}@localhost/shop'\nTOKEN='{token}'\n".encode()


def test_the_image_runs_by_digest_and_answers(host: Host) -> None:
    assert container(host)["Config"]["Image"] == IMAGES["v1"]
    assert get(host, "/health") == "v1"
    last = releases(host)[-1]
    assert (last["verdict"], last["services"]["api"]["digest"]) == ("ok", IMAGES["v1"].split("@")[1])


def test_the_container_can_do_little(host: Host) -> None:
    settings = container(host)["HostConfig"]
    assert settings["ReadonlyRootfs"] is True
    assert settings["CapDrop"] == ["ALL"]
    assert settings["Init"] is True
    assert settings["RestartPolicy"]["Name"] == "unless-stopped"
    assert settings["LogConfig"] == {"Type": "local", "Config": {"max-file": "3", "max-size": "10m"}}
    assert settings["Tmpfs"] == {"/tmp": "size=64m,mode=1777,noexec,nosuid,nodev"}  # noqa: S108 - in the container
    status = process(host)
    assert status["Uid"].split() == ["10001"] * 4
    assert (status["CapEff"], status["CapBnd"], status["NoNewPrivs"]) == ("0" * 16, "0" * 16, "1")
    assert host.file(f"/proc/{status['Pid']}/oom_score_adj").content_string.strip() == "500"


@pytest.mark.parametrize(
    ("controller", "wanted", "setting", "control", "limit", "support"),
    [
        ("memory", '"mem_limit": "64m"', "Memory", "memory.max", 64 * 2**20, "MemoryLimit"),
        ("pids", '"pids_limit": 256', "PidsLimit", "pids.max", 256, "PidsLimit"),
    ],
)
def test_limits_hold_as_far_as_the_kernel_can(
    host: Host, controller: str, wanted: str, setting: str, control: str, limit: int, support: str
) -> None:
    """On a test host whose kernel keeps a controller to cgroup v1 Docker drops the limit, and says that it does."""
    assert wanted in host.file(f"{BASE}/current/compose.json").content_string
    asked_for = container(host)["HostConfig"][setting]
    if controller in host.file("/sys/fs/cgroup/cgroup.controllers").content_string.split():
        group = host.file(f"/proc/{process(host)['Pid']}/cgroup").content_string.strip().removeprefix("0::")
        assert asked_for == limit
        assert host.file(f"/sys/fs/cgroup{group}/{control}").content_string.strip() == str(limit)
    else:
        assert not asked_for
        assert host.check_output(f"docker info --format '{{{{.{support}}}}}'") == "false"


def test_the_port_is_open_on_the_loopback_address_alone(host: Host) -> None:
    port = int(address(host).rpartition(":")[2])
    listening = host.check_output(f"ss -Hlnt 'sport = :{port}'").splitlines()
    assert [line.split()[3] for line in listening] == [f"127.0.0.1:{port}"]
    outside = host.check_output("hostname -I").split()[0]
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((outside, port), 5)


def test_secrets_reach_the_process_and_nobody_else(host: Host) -> None:
    assert get(host, "/secrets-sha256") == hashlib.sha256(dotenv()).hexdigest()
    name = f"{slot(host)}.env"
    stored, given = host.file(f"{BASE}/current/secrets/{name}"), host.file(f"{RUN}/{name}")
    for one in (stored, given):
        assert (one.uid, one.gid, one.mode) == (10001, 10001, 0o400)
    assert stored.content == given.content == dotenv()
    for directory in (BASE, RUN):
        assert host.file(directory).mode == 0o700


def test_no_secret_is_where_others_can_read_it(host: Host) -> None:
    found = container(host)
    told = json.dumps(found) + host.check_output(f"docker logs {found['Id']} 2>&1")
    told += (
        host.file(f"{BASE}/current/compose.json").content_string + host.file(f"{BASE}/releases.jsonl").content_string
    )
    told += host.check_output(f"systemctl cat {UNIT}") + host.check_output("journalctl --no-pager --output=cat")
    told += host.check_output("cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
    told += host.check_output("docker inspect --format '{{json .}}' $(docker image ls --quiet)")
    for secret in (SECRET, PASSWORD):
        texts = (secret.encode(), dotenv())
        hashes = [hashlib.new(name, text).hexdigest() for name in ("md5", "sha1", "sha256") for text in texts]
        assert not [needle for needle in (secret, *hashes) if needle in told]
    # Brackets, because sudo notes every command in the journal, where the markers are searched too.
    search = f"grep -rlE '[{SECRET[0]}]{SECRET[1:]}|[{PASSWORD[0]}]{PASSWORD[1:]}' /etc /var/lib/sapflux /run/sapflux"
    wide = host.check_output(search).split()
    assert all(path.startswith((f"{BASE}/sets/", f"{BASE}/releases/", f"{RUN}/")) for path in wide), wide
    assert {host.file(path).mode for path in wide} <= {0o600, 0o400}


def test_plain_environment_arrives_as_written(host: Host) -> None:
    environment = container(host)["Config"]["Env"]
    assert {"PLAIN=a $dollar stays", "SECRETS_FILE=/run/secrets/env"} <= set(environment)


def test_the_project_has_a_bridge_of_its_own_with_a_fixed_name(host: Host) -> None:
    assert host.interface("br-shop").exists


def test_a_new_secret_alone_makes_a_new_container_and_no_new_migration(host: Host) -> None:
    forget_migrations(host)
    assert apply({"molecule_token": "marker-of-the-one-before"}).rc == 0
    assert get(host, "/migrations") == "1"
    before = container(host)
    result = apply({"molecule_token": "marker-of-another"}, "--diff")
    assert (result.rc, result.changed) == (0, 1), result.output
    assert "marker-of" not in result.output
    after = container(host)
    assert after["Id"] != before["Id"]
    assert get(host, "/secrets-sha256") == hashlib.sha256(dotenv("marker-of-another")).hexdigest()
    assert get(host, "/migrations") == "0"
    assert "marker-of" not in json.dumps(after)
    assert apply().rc == 0


def test_a_verbose_run_shows_no_secret() -> None:
    result = apply({"molecule_token": "marker-for-vvv"}, "-vvv", "--diff", "--check")
    assert (result.rc, result.changed) == (0, 1)
    assert "marker-" not in result.output


def test_an_image_that_cannot_be_pulled_stops_nothing(host: Host) -> None:
    before, lines = container(host), len(releases(host))
    result = apply({"molecule_image": IMAGES["v1"].split("@")[0] + "@sha256:" + "0" * 64})
    assert result.rc != 0
    assert "cannot be pulled" in result.output
    assert "serves, as before" in result.output
    after = container(host)
    assert (after["Id"], after["State"]["StartedAt"]) == (before["Id"], before["State"]["StartedAt"])
    assert [entry["verdict"] for entry in releases(host)[lines:]] == ["refused"]
    assert apply({}, "--check").changed == 0


def test_a_tag_is_refused_before_the_host_is_asked(host: Host) -> None:
    before = container(host)["Id"]
    result = apply({"molecule_image": "10.83.0.11:5000/test/app:v1"})
    assert result.rc != 0
    assert "a tag can change under you" in result.output
    assert container(host)["Id"] == before


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        ("exit", "did not become healthy: its container ends again and again"),
        ("unhealthy", "no good answer within 20 s; GET http://127.0.0.1:{port}/health says: 500 not well"),
        ("unmigratable", "could not migrate: POST http://127.0.0.1:{port}/admin/migrate says: 500"),
        ("unready", "GET http://127.0.0.1:{port}/ready says: 503 the database does not answer"),
    ],
)
def test_a_release_that_does_not_work_never_serves(host: Host, behaviour: str, said: str) -> None:
    forget_migrations(host)
    before = container(host)["Id"]
    said = said.format(port=18081 if address(host).endswith("18080") else 18080)
    result = apply({"molecule_image": IMAGES["v2"], "molecule_behaviour": behaviour})
    text = " ".join(result.output.split())
    assert result.rc != 0
    assert said in text
    assert "server v2" in text, "the log of the container is part of the error"
    assert "serves, as before" in text
    assert "marker-of" not in text
    assert (container(host)["Id"], get(host, "/health")) == (before, "v1")
    assert releases(host)[-1]["verdict"] == "failed"
    assert apply({}, "--check").changed == 0


def test_a_new_version_is_deployed_and_the_old_one_comes_back_without_a_migration(host: Host) -> None:
    forget_migrations(host)
    assert apply({"molecule_image": IMAGES["v2"]}).rc == 0
    assert (get(host, "/health"), get(host, "/migrations")) == ("v2", "1")
    assert apply({"molecule_token": "marker-of-the-old-version"}).rc == 0
    assert apply({"molecule_image": IMAGES["v2"]}).rc == 0
    assert (get(host, "/health"), get(host, "/migrations")) == ("v2", "0")
    assert apply().rc == 0
    assert (get(host, "/health"), get(host, "/migrations")) == ("v1", "0")


def test_a_stopped_container_is_started_again(host: Host) -> None:
    host.check_output(f"docker stop {container(host)['Id']}")
    assert apply().changed == 1
    assert get(host, "/health") == "v1"


def test_the_unit_brings_back_what_a_reboot_takes(host: Host) -> None:
    host.check_output(f"systemctl stop {UNIT}")
    assert not container(host)["State"]["Running"]
    host.check_output("rm -r /run/sapflux")
    host.check_output(f"systemctl start {UNIT}")
    given = host.file(f"{RUN}/{slot(host)}.env")
    assert (given.uid, given.mode, given.content) == (10001, 0o400, dotenv())
    deadline = time.monotonic() + 60
    port = address(host).rpartition(":")[2]
    while time.monotonic() < deadline and not host.run(f"ss -Hlnt 'sport = :{port}' | grep -q .").succeeded:
        time.sleep(0.2)
    assert get(host, "/secrets-sha256") == hashlib.sha256(dotenv()).hexdigest()


def test_a_restart_of_the_engine_leaves_the_application_alone(host: Host) -> None:
    before = container(host)["State"]["StartedAt"]
    host.check_output("systemctl restart docker")
    assert container(host)["State"]["StartedAt"] == before
    assert host.service(UNIT).is_running


def test_the_application_is_back_after_a_reboot(host: Host) -> None:
    """The whole host goes down and comes up; its memory-backed directories are empty then."""
    subprocess.run(["docker", "restart", "bed-app-1"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([sys.executable, "-m", "tests.bed", "up", "app-1"], cwd=ROOT, check=True)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not host.service(UNIT).is_running:
        time.sleep(0.5)
    assert get(host, "/secrets-sha256") == hashlib.sha256(dotenv()).hexdigest()
    assert apply({}, "--check").changed == 0


def test_another_project_comes_and_goes_without_touching_the_first(host: Host) -> None:
    first = container(host)["Id"]
    spare = {"name": "spare", "image": IMAGES["v2"], "port": 8080, "host_port": 18090, "memory_mb": 64}
    assert apply({"app_project": "spare", "app_services": [spare]}).rc == 0
    assert get(host, "/health", "spare", "spare") == "v2"
    ways: list[dict[str, object]] = [{"app_services": []}, {"app_state": "absent", "app_services": [spare]}]
    for absent in ways:
        result = apply({"app_project": "spare", **absent})
        assert result.rc == 0, result.output
    assert result.changed == 0
    left = host.check_output("docker ps --all --format '{{.Names}}' && docker network ls --format '{{.Name}}'")
    assert "spare" not in left
    assert set(host.file("/var/lib/sapflux/app/spare").listdir()) - {".lock"} == {"releases.jsonl"}
    assert not host.file("/etc/systemd/system/sapflux-app@spare.service").exists
    assert not host.file("/run/sapflux/app/spare").exists
    assert not host.file("/etc/sapflux/upstreams/spare-spare").exists
    assert container(host)["Id"] == first
