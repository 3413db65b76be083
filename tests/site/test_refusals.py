"""What must stop a run before anything is changed, each with one clear error that names the thing and the way out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.bed import hosts
from tests.bed.stage import Stage
from tests.site.conftest import Run, play


def refused(stage: Stage, *arguments: str, env: dict[str, str] | None = None) -> Run:
    """Run site.yml, which must fail without having changed a thing on the host."""
    run = play(stage, "site.yml", *arguments, env=env)
    assert run.code != 0
    assert run.changed == 0, run.changes()
    if hosts.running(stage.host):
        assert (
            hosts.execute(stage.host, "ls -d /var/lib/sapflux /etc/sapflux /etc/nftables.d 2>/dev/null || true") == ""
        )
    return run


@contextmanager
def generated(stage: Stage) -> Iterator[dict[str, dict[str, str]]]:
    """The `bed` variables of an environment, written back changed and restored afterwards."""
    path = stage.inventory / "group_vars" / "all" / "generated.yml"
    before = path.read_text()
    bed = json.loads(before.removeprefix("---\n"))["bed"]
    try:
        yield bed
    finally:
        path.write_text(before)


def write(stage: Stage, bed: dict[str, dict[str, str]]) -> None:
    (stage.inventory / "group_vars" / "all" / "generated.yml").write_text("---\n" + json.dumps({"bed": bed}))


def test_wrong_document_names_every_mistake(fresh: Stage, document: Path) -> None:
    text = document.read_text()
    document.write_text(text.replace("\n  postgres:\n", "\n  postgress:\n", 1).replace("timezone:", "timezon:", 1))
    run = refused(fresh)
    assert "site.postgress" in run.output
    assert "site.host.timezon" in run.output
    assert "timezone" in run.output
    assert "PLAY [Check the hosts]" not in run.output


def test_unreachable_host(fresh: Stage) -> None:
    nobody = f"{hosts.PREFIX}.0.250"
    run = refused(
        fresh,
        "-e",
        f"ansible_host={nobody}",
        "-e",
        "ansible_ssh_common_args='-o ConnectTimeout=3'",
        env={"ANSIBLE_SSH_RETRIES": "0"},
    )
    assert nobody in run.output
    assert "does not answer SSH" in run.output


def test_unreachable_port_of_a_living_host(fresh: Stage) -> None:
    run = refused(fresh, "-e", "ansible_port=2222", env={"ANSIBLE_SSH_RETRIES": "0"})
    assert "does not answer SSH" in run.output


def test_another_distribution(fresh: Stage) -> None:
    hosts.execute(
        fresh.host,
        "cp -a /usr/lib/os-release /root/os-release; "
        "sed -i 's/^ID=.*/ID=fedora/; s/^NAME=.*/NAME=Fedora/; s/^VERSION_ID=.*/VERSION_ID=42/' "
        "/usr/lib/os-release",
    )
    try:
        run = refused(fresh)
    finally:
        hosts.execute(fresh.host, "mv /root/os-release /usr/lib/os-release")
    assert "Debian" in run.output
    assert "42" in run.output


def test_full_disk(fresh: Stage) -> None:
    hosts.execute(fresh.host, "mkdir -p /var/lib/postgresql; mount -t tmpfs -o size=8M tmpfs /var/lib/postgresql")
    try:
        run = refused(fresh)
    finally:
        hosts.execute(fresh.host, "umount /var/lib/postgresql; rmdir /var/lib/postgresql")
    assert "/var/lib/postgresql" in run.output
    assert "MB" in run.output


def test_missing_artifact(fresh: Stage) -> None:
    with generated(fresh) as bed:
        bed["caddy"]["path"] = "/nowhere/caddy"
        write(fresh, bed)
        run = refused(fresh)
    assert "/nowhere/caddy" in run.output
    assert "site.artifacts.caddy.file" in run.output


def test_artifact_with_another_digest(fresh: Stage) -> None:
    wrong = "0" * 64
    with generated(fresh) as bed:
        right = bed["caddy"]["sha256"]
        bed["caddy"]["sha256"] = wrong
        write(fresh, bed)
        run = refused(fresh)
    assert wrong in run.output
    assert right in run.output


def test_missing_secret_is_named_and_not_shown(fresh: Stage) -> None:
    store = fresh.inventory / ".secrets.yml"
    before = store.read_text()
    secrets = json.loads(before.removeprefix("---\n"))
    value = secrets.pop("APP_DB_PASSWORD")
    store.write_text(json.dumps(secrets))
    try:
        run = refused(fresh)
    finally:
        store.write_text(before)
    assert "APP_DB_PASSWORD" in run.output
    assert value[:24] not in run.output
    assert all(other not in run.output for other in secrets.values() if len(other) > 12)


def test_secret_store_open_to_others(fresh: Stage) -> None:
    store = fresh.inventory / ".secrets.yml"
    store.chmod(0o644)
    try:
        run = refused(fresh)
    finally:
        store.chmod(0o600)
    assert "chmod" in run.output


@pytest.mark.parametrize("verb", [["tests.bed", "engine"], ["tests.demo", "up"]])
def test_no_docker(tmp_path: Path, verb: list[str]) -> None:
    """Without Docker and without the right to install it, the demo says so first."""
    env = {
        "PATH": str(tmp_path),
        "PYTHONPATH": str(hosts.ROOT),
        "HOME": str(tmp_path),
        "SAPFLUX_BED_STATE": str(tmp_path / "bed"),
    }
    site_packages = next(path for path in sys.path if path.endswith("site-packages"))
    code = (
        f"import sys, os, runpy; sys.path.insert(0, {site_packages!r}); os.geteuid = lambda: 1000; "
        f"sys.argv = {verb!r}; runpy.run_module({verb[0]!r}, run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], env=env, cwd=hosts.ROOT, capture_output=True, check=False)
    said = done.stderr.decode()
    assert done.returncode == 1, said
    assert "docker.io" in said
    assert "apt-get install" in said
    assert "Traceback" not in said
    assert os.geteuid() == 0 or "root" in said
