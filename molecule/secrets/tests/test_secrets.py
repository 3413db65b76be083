"""Secrets that containers have from the real Doppler CLI: where they are and are not, and what an outage does."""

from __future__ import annotations

import base64
import json
import shlex
from typing import Any

import pytest
from testinfra.host import Host

from tests.scenario import ROOT, apply, reboot, wait_until

IMAGES: dict[str, str] = json.loads((ROOT / ".bed" / "molecule-secrets-app.json").read_text())
BEGIN: dict[str, Any] = json.loads((ROOT / "molecule" / "secrets" / "doppler.json").read_text())
BASE, RUN, UNIT = "/var/lib/sapflux/app/shop", "/run/sapflux/app/shop", "sapflux-app@shop.service"
TOKEN: str = BEGIN["token"]
VALUES: dict[str, str] = BEGIN["values"]
# sudo notes every command in the journal, where secrets are searched: bodies are sent as base64.
ASK = """
import base64, sys, urllib.request as r
method, path, body = sys.argv[1:4]
data = base64.b64decode(body) if body else None
request = r.Request('http://127.0.0.1:8788' + path, data, {'Content-Type': 'application/json'}, method=method)
print(r.urlopen(request, timeout=10).read().decode())
"""


def doppler(host: Host, method: str, path: str, body: Any = None) -> Any:
    """One request to the double."""
    words = [method, path, base64.b64encode(json.dumps(body).encode()).decode() if body is not None else ""]
    return json.loads(host.check_output(f"python3 -c {shlex.quote(ASK)} {shlex.join(words)}") or "null")


def store(host: Host, **values: str) -> None:
    """Change secrets of the config."""
    doppler(host, "POST", "/_double/configs", {"project": "shop", "config": "prd", "values": {**VALUES, **values}})


def container(host: Host) -> dict[str, Any]:
    """The one container of the project, as Docker describes it."""
    found = host.check_output("docker ps --all --quiet --no-trunc --filter label=com.sapflux.project=shop").split()
    assert len(found) == 1
    return dict(json.loads(host.check_output(f"docker inspect {found[0]}"))[0])


def environment(host: Host) -> dict[str, str]:
    """What the server in the container has in its environment."""
    text = host.file(f"/proc/{host.check_output('pgrep -x server')}/environ").content.decode()
    return dict(entry.split("=", 1) for entry in text.split("\0") if entry)


def slot(host: Host) -> str:
    """The slot that serves."""
    return str(container(host)["Config"]["Labels"]["com.docker.compose.service"])


def healthy(host: Host) -> bool:
    """Whether the service that is active answers."""
    port = container(host)["HostConfig"]["PortBindings"]["8080/tcp"][0]["HostPort"]
    ask = f"import urllib.request as r; r.urlopen('http://127.0.0.1:{port}/health', timeout=5)"
    return bool(host.run(f'python3 -c "{ask}"').rc == 0)


@pytest.fixture
def begun(host: Host) -> Host:
    """A host on which the release of the inventory serves, and a Doppler that holds what it held in the beginning."""
    host.check_output("systemctl restart doppler-double")
    wait_until(lambda: host.run("ss -Hlnt 'sport = :8788' | grep -q .").succeeded, "Doppler's double")
    found = environment(host)
    if container(host)["Config"]["Image"] != IMAGES["v1"] or {name: found.get(name) for name in VALUES} != VALUES:
        result = apply()
        assert result.rc == 0, result.output
    return host


def test_the_process_has_all_of_the_config_as_it_is(host: Host) -> None:
    found = environment(host)
    assert {name: found.get(name) for name in VALUES} == VALUES
    assert (found["DOPPLER_CONFIG"], found["PLAIN"]) == ("prd", "a $dollar stays")
    assert [name for name in found if "TOKEN" in name or "PASSPHRASE" in name] == []


def test_the_real_cli_runs_the_application_and_little_else(host: Host) -> None:
    server = host.check_output("pgrep -x server")
    parent = host.check_output(f"ps -o ppid= -p {server}").strip()
    words = host.file(f"/proc/{parent}/cmdline").content_string.split("\0")
    assert words[:4] == ["/run/doppler/doppler", "run", "--silent", "--no-read-env"]
    assert words[-3:-1] == ["--", "/server"]
    assert host.check_output("doppler --version") == "3.66.0"
    status = host.file(f"/proc/{parent}/status").content_string
    assert "Uid:\t10001\t10001\t10001\t10001" in status
    assert "CapEff:\t0000000000000000" in status
    mounts = {mount["Destination"]: mount["RW"] for mount in container(host)["Mounts"]}
    assert mounts == {"/run/doppler/doppler": False, "/run/doppler/config": False}


def test_the_config_directory_is_its_users_alone(host: Host) -> None:
    for home in (RUN, f"{BASE}/current/secrets"):
        place = host.file(f"{home}/{slot(host)}.doppler")
        assert (place.uid, place.gid, place.mode) == (10001, 10001, 0o700)
        files = {name: host.file(f"{place.path}/{name}") for name in host.check_output(f"ls -A {place.path}").split()}
        assert sorted(files) == [".doppler.yaml", "mark", "secrets.json"]
        assert {(file.uid, file.gid, file.mode) for file in files.values()} == {(10001, 10001, 0o400)}


def test_no_secret_is_where_others_can_read_it(host: Host) -> None:
    told = json.dumps(container(host)) + host.check_output(f"docker logs shop-{slot(host)}-1 2>&1")
    told += host.check_output(f"docker compose --file {BASE}/current/compose.json config")
    told += host.check_output(f"systemctl cat {UNIT}") + host.check_output(f"systemctl show {UNIT}")
    told += host.check_output("journalctl --no-pager --output=cat")
    told += host.check_output("cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
    told += host.check_output("docker inspect --format '{{json .}}' $(docker image ls --quiet)")
    passphrase = json.loads(host.file(f"{RUN}/{slot(host)}.doppler/.doppler.yaml").content_string)
    needles = [
        TOKEN,
        passphrase["scoped"]["/"]["token"],
        "marker-of-a-key",
        "marker-of-a-line",
        "sk_live_marker0of0clerk",
    ]
    assert [number for number, needle in enumerate(needles) if needle in told] == []


def test_neither_values_nor_token_are_in_any_file_or_in_anothers_environment(host: Host) -> None:
    # Brackets, because sudo notes every command in the journal, where the markers are searched too.
    search = "'[m]arker-of-a-|[m]arker0of0'"
    files = f"grep -rlE --devices=skip {search} /etc /home /opt /root /run /srv /tmp /usr/local /var || true"
    assert [path for path in host.check_output(files).split() if "/opt/doppler-double/" not in path] == []
    holders = host.check_output(f"grep -lE {search} /proc/[0-9]*/environ || true").split()
    assert holders == [f"/proc/{host.check_output('pgrep -x server')}/environ"]


def test_a_verbose_run_shows_no_secret(begun: Host) -> None:
    store(begun, API_KEY="marker-for-vvv")
    result = apply({}, "-vvv", "--diff", "--check")
    assert (result.rc, result.changed) == (0, 1), result.output
    assert "marker" not in result.output


def test_one_request_tells_whether_anything_changed(begun: Host) -> None:
    doppler(begun, "DELETE", "/_double/log")
    before = container(begun)["Id"]
    assert apply().changed == 0
    assert container(begun)["Id"] == before
    asked = doppler(begun, "GET", "/_double/log")
    assert [(seen["path"], seen["status"]) for seen in asked] == [("/v3/configs/config/secrets/download", 200)]


def test_a_signal_reaches_the_application(begun: Host) -> None:
    host = begun
    pid = host.check_output("pgrep -x server")
    host.check_output(f"kill -TERM $(ps -o ppid= -p {pid})")
    wait_until(lambda: host.run(f"test -d /proc/{pid}").rc != 0, "the end of the application")
    wait_until(lambda: healthy(host), "another one")


def test_the_application_comes_back_while_doppler_is_down(begun: Host) -> None:
    host = begun
    host.check_output("systemctl stop doppler-double")
    host.check_output(f"docker restart {container(host)['Id']}")
    wait_until(lambda: healthy(host), "the application")
    assert environment(host)["API_KEY"] == VALUES["API_KEY"]


def test_a_new_image_is_deployed_while_doppler_is_down(begun: Host) -> None:
    host = begun
    host.check_output("systemctl stop doppler-double")
    result = apply({"molecule_image": IMAGES["v2"]})
    assert result.rc == 0, result.output
    assert "Doppler does not answer; api keeps the secrets it serves with" in " ".join(result.output.split())
    assert container(host)["Config"]["Image"] == IMAGES["v2"]
    assert environment(host)["API_KEY"] == VALUES["API_KEY"]


def test_the_application_is_back_after_a_reboot_without_doppler(begun: Host) -> None:
    host = begun
    reboot("secrets-1")
    wait_until(lambda: host.service(UNIT).is_running, "the project's unit", 120)
    assert not host.service("doppler-double").is_running
    wait_until(lambda: healthy(host), "the application")
    assert environment(host)["SIGNING_KEY"] == VALUES["SIGNING_KEY"]


def test_a_rotation_brings_the_changed_secret_and_nothing_else(begun: Host) -> None:
    host = begun
    before = container(host)
    assert apply({"app_only_secrets": True, "molecule_image": IMAGES["v2"]}).changed == 0
    store(host, API_KEY="marker-of-the-next-key")
    result = apply({"app_only_secrets": True, "molecule_image": IMAGES["v2"]}, "--diff")
    assert (result.rc, result.changed) == (0, 1), result.output
    assert "marker" not in result.output
    after = container(host)
    assert (after["Config"]["Image"], environment(host)["API_KEY"]) == (IMAGES["v1"], "marker-of-the-next-key")
    assert after["Id"] != before["Id"]
    left = host.run(f"ls -d {RUN}/*.doppler").stdout.split()
    assert left == [f"{RUN}/{slot(host)}.doppler"]
    last = json.loads(host.file(f"{BASE}/releases.jsonl").content_string.splitlines()[-1])
    assert (last["kind"], last["verdict"]) == ("rotate", "ok")


def test_a_revoked_token_is_refused_with_the_way_out_and_nothing_is_touched(begun: Host) -> None:
    host = begun
    before = container(host)
    store(host, API_KEY="marker-of-the-next-key")
    doppler(host, "POST", "/v3/auth/revoke", {"token": TOKEN})
    result = apply({"app_only_secrets": True})
    text = " ".join(result.output.split())
    assert result.rc != 0
    assert "Doppler refuses its token: Invalid Service token. Nothing was changed, what ran before still runs." in text
    assert "Make a new service token of the config" in text
    assert TOKEN not in text
    after = container(host)
    assert (after["Id"], after["State"]["StartedAt"]) == (before["Id"], before["State"]["StartedAt"])
    host.check_output(f"docker restart {after['Id']}")
    wait_until(lambda: healthy(host), "the application")
    assert environment(host)["API_KEY"] == VALUES["API_KEY"]
    doppler(host, "POST", "/_double/tokens", {"value": "dp.st.prd.marker1another1token", "configs": ["shop/prd"]})
    assert apply({"molecule_token": "dp.st.prd.marker1another1token"}).rc == 0
    assert environment(host)["API_KEY"] == "marker-of-the-next-key"


def test_only_the_names_that_are_asked_for_arrive_and_all_of_them_must_be_there(begun: Host) -> None:
    host = begun
    assert apply({"molecule_only": ["API_KEY"]}).rc == 0
    found = environment(host)
    assert ("API_KEY" in found, "SIGNING_KEY" in found) == (True, False)
    before = container(host)["Id"]
    result = apply({"molecule_only": ["API_KEY", "NOT_THERE"]})
    assert result.rc != 0
    assert "do not exist in your config: - NOT_THERE. Nothing was changed" in " ".join(result.output.split())
    assert container(host)["Id"] == before


def test_keys_of_another_clerk_instance_are_refused_before_anything_starts(begun: Host) -> None:
    host = begun
    before = container(host)["Id"]
    result = apply({"molecule_domain": "example.net"})
    text = " ".join(result.output.split())
    assert result.rc != 0
    assert "PUBLIC_CLERK_PUBLISHABLE_KEY belongs to clerk.example.org and not to clerk.example.net" in text
    assert container(host)["Id"] == before
