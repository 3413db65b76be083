"""The whole way: an empty host becomes a running production by one command, stays it, and can be looked at."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bed import hosts, sidecars
from tests.bed.https import request
from tests.bed.shell import run, wait_for
from tests.bed.stage import DOMAIN, Stage
from tests.site.conftest import ARGUMENTS, Run, play

API = f"api.{DOMAIN}"


def secrets_of(site: Stage) -> dict[str, str]:
    """The beginnings of the values nobody may see: however the rest is quoted, these would show."""
    store: dict[str, str] = json.loads((site.inventory / ".secrets.yml").read_text().removeprefix("---\n"))
    return {name: value[:24] for name, value in store.items() if len(value) > 12}


def test_first_run_converges_an_empty_host(first: tuple[Stage, Run]) -> None:
    _stage, run = first
    assert run.code == 0, "\n".join(run.output.splitlines()[-40:])
    assert run.changed > 0


def test_first_run_shows_no_secret(site: Stage, first: tuple[Stage, Run]) -> None:
    for name, value in secrets_of(site).items():
        assert value not in first[1].output, name


def test_first_run_puts_no_secret_into_an_argument(site: Stage) -> None:
    """Sampled all the way through the first run, the join of the tailnet included."""
    seen = hosts.execute(site.host, f"cat {ARGUMENTS}")
    assert "--login-server" in seen
    for name, value in secrets_of(site).items():
        assert value not in seen, name


def test_point_goes_in_and_comes_out_over_https(site: Stage) -> None:
    ca = site.ca()
    point = {"longitude": 10.5, "latitude": 59.9, "observed_at": "2026-05-01T12:00:00Z", "payload": {"tree": 7}}
    made = request(site.address, API, "/observations", ca, method="POST", body=point)
    assert made.status == 201, made.body
    inside = request(site.address, API, "/observations?bbox=10,59,11,60", ca).json()["features"]
    outside = request(site.address, API, "/observations?bbox=-10,-59,-9,-58", ca).json()["features"]
    assert [feature["id"] for feature in inside] == [made.json()["id"]]
    assert inside[0]["geometry"]["coordinates"] == [10.5, 59.9]
    assert outside == []
    stored = sidecars.s3().list_objects_v2(Bucket=site.bucket, Prefix="observations/")
    assert stored["KeyCount"] == 1


def test_admin_routes_are_not_there(site: Stage) -> None:
    answer = request(site.address, API, "/admin/migrate", site.ca(), method="POST", body={})
    assert answer.status == 404


def test_second_run_changes_nothing(site: Stage) -> None:
    run = play(site, "site.yml")
    assert run.code == 0
    assert run.changed == 0, run.changes()


def test_check_run_changes_nothing(site: Stage) -> None:
    run = play(site, "site.yml", "--check", "--diff")
    assert run.code == 0
    assert run.changed == 0, run.changes()


def test_status_is_one_screen_and_well(site: Stage) -> None:
    run = play(site, "playbooks/status.yml")
    assert run.code == 0
    assert run.changed == 0
    for word in ("postgres", "caddy", "docker", "disk", "memory", "certificate", "last backup", "archive lag"):
        assert word in run.output
    assert "all well" in run.output


def test_verify_notices_a_stopped_service_and_an_open_port(site: Stage) -> None:
    hosts.execute(site.host, "systemctl stop caddy")
    try:
        stopped = play(site, "playbooks/verify.yml")
    finally:
        hosts.execute(site.host, "systemctl start caddy")
    assert stopped.code != 0
    assert "caddy.service" in stopped.output
    hosts.execute(
        site.host,
        f"nft delete table inet sapflux; systemd-run --unit=leak python3 -m http.server --bind {site.address} 18080",
    )
    try:
        opened = play(site, "playbooks/verify.yml")
    finally:
        hosts.execute(site.host, "systemctl stop leak; systemctl restart sapflux-firewall")
    assert opened.code != 0
    assert "port 18080" in opened.output
    assert play(site, "playbooks/verify.yml").code == 0


def test_backup_and_restore_beside(site: Stage) -> None:
    assert play(site, "playbooks/backup.yml").code == 0
    before = site.sudo("-u postgres psql -Atc 'SELECT system_identifier FROM pg_control_system()'")
    restored = play(site, "playbooks/restore.yml")
    assert restored.code == 0
    assert site.sudo("-u postgres psql -Atc 'SELECT system_identifier FROM pg_control_system()'") == before
    assert play(site, "playbooks/verify.yml").code == 0


def test_no_secret_anywhere_it_must_not_be(site: Stage) -> None:
    """Arguments, environments, journal, container metadata, and every file that more than root and a group may read."""
    wide = (
        "find / -xdev -type f \\( -perm /007 -o -perm /020 \\) -size -2M "
        "-not -path '/proc/*' -not -path '/sys/*' -print0 | xargs -0 grep -lF -f - 2>/dev/null || true"
    )
    patterns = "\n".join(secrets_of(site).values()).encode() + b"\n"
    hosts.execute(site.host, "umask 077; cat >/root/patterns", stdin=patterns)
    try:
        found = hosts.execute(site.host, wide.replace("-f -", "-f /root/patterns"))
        assert found == ""
        assert hosts.execute(site.host, "journalctl --no-pager | grep -cF -f /root/patterns || true") == "0"
        assert hosts.execute(site.host, "docker inspect $(docker ps -aq) | grep -cF -f /root/patterns || true") == "0"
        assert (
            hosts.execute(site.host, "cat /proc/[0-9]*/cmdline | tr '\\0' '\\n' | grep -cF -f /root/patterns || true")
            == "0"
        )
        assert hosts.execute(site.host, "systemctl show '*' -p Environment | grep -cF -f /root/patterns || true") == "0"
    finally:
        hosts.execute(site.host, "rm -f /root/patterns")


def test_host_comes_back_after_a_reboot(site: Stage) -> None:
    """And is reached as it was left: over the tailnet, with SSH closed to the outside."""
    run("docker", "restart", hosts.container(site.host))
    ca_before = site.host
    hosts.up(site.host, admin=False)
    wait_for(
        "the application after a reboot",
        lambda: (
            run(
                "ssh",
                "-F",
                str(hosts.ssh_config()),
                "-l",
                hosts.ADMIN,
                f"{site.host}-tailnet",
                "sudo test -e /run/sapflux",
                check=False,
            ).returncode
            == 0
        ),
        seconds=180,
    )
    assert not hosts.greets(site.address)
    ca = site.ca()

    def answers() -> bool:
        try:
            return request(site.address, API, "/ready", ca).status == 200
        except OSError:
            return False

    wait_for(f"an answer of {API} after a reboot of {ca_before}", answers, seconds=180)
    again = play(site, "site.yml")
    assert again.code == 0
    assert again.changed == 0, again.changes()


def test_shipped_collection_does_the_same(site: Stage, tmp_path: Path) -> None:
    """The tarball, installed elsewhere, run by its full name: same document, nothing to change."""
    galaxy = str(Path(sys.executable).parent / "ansible-galaxy")
    run(galaxy, "collection", "build", "--output-path", str(tmp_path), cwd=hosts.ROOT)
    tarball = next(tmp_path.glob("*.tar.gz"))
    installed = tmp_path / "collections"
    run(galaxy, "collection", "install", "--offline", "--no-deps", "-p", str(installed), str(tarball), cwd=tmp_path)
    home = tmp_path / "home"
    shutil.copytree(site.inventory, home / "inventory")
    config = home / "ansible.cfg"
    config.write_text("[defaults]\ninject_facts_as_vars = false\n[ssh_connection]\npipelining = true\n")
    playbook = str(Path(sys.executable).parent / "ansible-playbook")
    for name, expected in (("sapflux.hosting.site", 0), ("sapflux.hosting.nothing", 1)):
        done = subprocess.run(
            [playbook, name, "-i", "inventory"],
            cwd=home,
            stdin=subprocess.DEVNULL,
            check=False,
            env=site.environment() | {"ANSIBLE_CONFIG": str(config), "ANSIBLE_COLLECTIONS_PATH": str(installed)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        output = done.stdout.decode()
        print(output)
        assert (done.returncode != 0) == bool(expected)
        if not expected:
            assert Run(0, output).changed == 0


@pytest.mark.parametrize("playbook", ["backup", "restore", "status", "verify", "converge", "deploy"])
def test_every_playbook_checks_the_document_first(site: Stage, playbook: str) -> None:
    document = site.inventory / "group_vars" / "all" / "site.yml"
    before = document.read_text()
    document.write_text(before.replace("timezone:", "timezon:", 1))
    try:
        refused = play(site, f"playbooks/{playbook}.yml")
    finally:
        document.write_text(before)
    assert refused.code != 0
    assert "site.host.timezon" in refused.output
    assert refused.changed == 0
