"""site_check and preflight in real runs: all mistakes at once, no host asked, and the native play spec agrees."""

from __future__ import annotations

import pathlib
import re
import stat
from typing import Any

import pytest

from tests.doubles.doppler import doppler
from tests.unit.fixtures import SCHEMA, SECRETS, Mutation, document, drop, put
from tests.unit.fixtures.playbook import Project, Result, write

CHECK: dict[str, Any] = {"sapflux.hosting.site_check": {"document": "{{ site }}"}, "run_once": True}
PREFLIGHT: dict[str, Any] = {"sapflux.hosting.preflight": {"admin_user": "ops"}}


class Scene:
    """A project whose document is good up to `mutations`, on which every call of ssh leaves a mark."""

    def __init__(self, folder: pathlib.Path, *mutations: Mutation, secrets: dict[str, str] | None = None) -> None:
        program = folder / "caddy"
        program.write_bytes(b"program")
        right = (
            put("artifacts.caddy.file", str(program)),
            put("artifacts.caddy.sha256", "1310ca2c8932dbd118668bd97442558a3e1f546b5e15c69699dfbd6024f548d8"),
            put("secrets.file", "{{ inventory_dir }}/secrets.yml"),
        )
        self.project = Project(folder, document(*right, *mutations), SECRETS if secrets is None else secrets)
        self.folder = folder
        self.marker = folder / "ssh-was-called"
        self.ssh = folder / "ssh"

    def run(self, *tasks: dict[str, Any], arguments: tuple[str, ...] = (), ssh: str = "exit 255") -> Result:
        """Run tasks on the three groups with an ssh that does what ``ssh`` says."""
        self.ssh.write_text(f"#!/bin/sh\ntouch {self.marker}\n{ssh}\n", encoding="utf-8")
        self.ssh.chmod(0o755)
        play = {
            "hosts": "edge:app:db",
            "gather_facts": False,
            "vars": {"ansible_ssh_executable": str(self.ssh)},
            "tasks": list(tasks),
        }
        return self.project.run([play], *arguments)


@pytest.fixture
def scene(tmp_path: pathlib.Path) -> Scene:
    """A good document."""
    return Scene(tmp_path)


def sentences(result: Result) -> str:
    """What was printed, with the line breaks of the terminal taken out."""
    return re.sub(r"\s+", " ", result.output)


def test_many_mistakes_are_reported_in_one_run_and_no_host_is_asked(tmp_path: pathlib.Path) -> None:
    mistakes = (
        put("domian", "x"),
        put("postgres.users[0].password", "hunter2-literal"),
        put("services[0].image", "x:latest"),
        put("backup.keep_full", "many"),
        put("artifacts.walg", {"version": "3.0.9", "file": "/nowhere/wal-g", "sha256": "2" * 64}),
    )
    scene = Scene(tmp_path, *mistakes, secrets={**SECRETS, "REPORT_DB_PASSWORD": ""})
    result = scene.run(CHECK, PREFLIGHT)
    assert result.code == 2
    said = sentences(result)
    assert "The document has 6 problems; nothing was changed:" in said
    for line in (
        "site.domian: is not a key; did you mean domain?",
        "site.postgres.users[0].password: holds a literal secret; write",
        "site.postgres.users[1].password: ${REPORT_DB_PASSWORD} is empty in the secret store",
        "site.services[0].image: 'x:latest' is not pinned by digest",
        "site.backup.keep_full: 'many' is not a whole number",
        "site.artifacts.walg.file: '/nowhere/wal-g' cannot be read (no such file or directory)",
    ):
        assert line in said
    assert re.search(r"site\.services\[0\]\.image: [^\n]*\(site\.yml line \d+\)", result.output)
    assert "hunter2-literal" not in said
    assert not scene.marker.exists()


def test_a_good_document_passes_and_then_the_host_is_asked(scene: Scene) -> None:
    checked = {**CHECK, "register": "checked"}
    result = scene.run(checked, write(scene.folder, "checked"), PREFLIGHT)
    assert result.out["services"] == 2
    assert result.out["databases"] == 1
    assert result.out["secrets"] == len(SECRETS)
    assert result.out["files"] == [str(scene.folder / "caddy")]
    assert result.out["changed"] is False
    assert SECRETS["BACKUP_SECRET_ACCESS_KEY"] not in result.output
    # The same mark that must be absent above: it appears as soon as a host is asked.
    assert scene.marker.exists()
    assert result.code == 4
    assert "host sapflux-1 (192.0.2.1:22) does not answer SSH" in sentences(result)


def test_the_check_is_the_same_in_check_mode(scene: Scene) -> None:
    assert scene.run(CHECK, arguments=("--check", "--diff")).code == 0


def test_a_checked_document_is_completed_for_all_hosts_without_its_secrets(scene: Scene) -> None:
    result = scene.run(CHECK, write(scene.folder, "hostvars['sapflux-1']['__site']"))
    assert result.code == 0, result.output
    assert result.out["host"]["updates"]["enabled"] is True
    assert result.out["backup"]["secret_access_key"] == "${BACKUP_SECRET_ACCESS_KEY}"


def test_a_secret_store_that_is_open_to_others_is_refused(scene: Scene) -> None:
    scene.project.secrets.chmod(0o644)
    result = scene.run(CHECK)
    assert f"`chmod 0600 {scene.project.secrets}`" in sentences(result)
    assert stat.S_IMODE(scene.project.secrets.stat().st_mode) == 0o644


def test_a_missing_secret_store_is_refused(scene: Scene) -> None:
    scene.project.secrets.unlink()
    result = scene.run(CHECK)
    assert "The document has 1 problem" in sentences(result)
    assert "make it with `install -m 0600 /dev/null" in sentences(result)


def test_secrets_of_a_run_come_from_doppler(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    double = doppler()
    double.add_config("app", "prd", SECRETS)
    token = double.add_token(f"dp.st.prd.{'A1' * 20}", ["app/prd"])
    scene = Scene(tmp_path, put("secrets", {"provider": "doppler"}))
    scene.project.secrets.unlink()
    with double.running() as url:
        monkeypatch.setenv("DOPPLER_API_HOST", url)
        monkeypatch.setenv("DOPPLER_TOKEN", token.value)
        result = scene.run(CHECK, write(tmp_path, "{'password': postgres_users[0].password}"))
        assert result.code == 0, result.output
        assert result.out == {"password": SECRETS["APP_DB_PASSWORD"]}
        assert len(double.log) == 1
        # What was put there since the last look, as by clouds.yml in the same run, is seen; else nothing is sent again.
        assert scene.run(CHECK, CHECK).code == 0
        assert [seen.status for seen in double.log[1:]] == [200, 304]
        double.tokens.clear()
        refused = sentences(scene.run(CHECK))
    assert "site.secrets.provider: doppler cannot be read: " in refused
    assert "check that the token is whole, neither revoked nor expired" in refused
    assert token.value not in refused


def test_keys_that_are_there_twice_are_refused_with_both_lines(scene: Scene) -> None:
    text = scene.project.document.read_text(encoding="utf-8")
    scene.project.document.write_text(text.replace("  domain:", "  name: other\n  domain:", 1), encoding="utf-8")
    result = scene.run(CHECK)
    assert result.code == 2
    assert re.search(r"site\.name: is there twice, on lines \d+ and \d+", sentences(result))


def test_another_digest_names_both(tmp_path: pathlib.Path) -> None:
    result = Scene(tmp_path, put("artifacts.caddy.sha256", "0" * 64)).run(CHECK)
    assert "0" * 64 in sentences(result)
    assert "its digest is 1310ca2c8932dbd1" in sentences(result)


@pytest.mark.parametrize(
    ("ssh", "says"),
    [
        ("echo 'ops@x: Permission denied (publickey).' >&2; exit 255", "lets ops or root in with none of your keys"),
        ("echo 'Host key verification failed.' >&2; exit 255", "SSH: Host key verification failed. Compare its key"),
        ("cat > /dev/null; echo 'SAPFLUX-NO-PYTHON debian 13'", "has no Python; run `apt-get install python3`"),
        ("cat > /dev/null; echo SAPFLUX-NO-SUDO", "ops may not become root without a password"),
    ],
)  # fmt: skip
def test_preflight_says_in_one_line_what_is_wrong(scene: Scene, ssh: str, says: str) -> None:
    result = scene.run(PREFLIGHT, ssh=ssh)
    assert result.code in (2, 4)
    line = next(line for line in result.output.splitlines() if line.startswith("[ERROR]"))
    assert says in line
    assert "Traceback" not in result.output


def test_preflight_tries_the_next_login_once_when_one_is_refused(scene: Scene) -> None:
    calls = scene.folder / "calls"
    note = f"for word; do case $word in User=*) echo $word >> {calls};; esac; done"
    refuse = "echo 'Permission denied (publickey).' >&2; exit 255"
    result = scene.run(PREFLIGHT, ssh=f"{note}; {refuse}", arguments=("-e", "ansible_ssh_retries=3"))
    assert result.code == 4
    assert calls.read_text(encoding="utf-8").split() == ['User="ops"', 'User="root"']


VALID: dict[str, tuple[Mutation, ...]] = {
    "every key": (),
    "least": (*(drop(key) for key in ("host", "network", "docker", "tls")), put("services", []), put("postgres", {})),
}
INVALID: dict[str, tuple[Mutation, str]] = {
    "first level": (put("databse", {}), "site.databse"),
    "second level": (put("host.timezon", "UTC"), "timezon"),
    "in a list": (put("services[0].imgae", "x"), "imgae"),
    "in a list in a list": (put("services[0].routes[0].visiblity", "never"), "visiblity"),
    "missing": (drop("backup.bucket"), "bucket"),
    "choice": (put("environment", "prod"), "prod"),
}


def native(folder: pathlib.Path, *mutations: Mutation) -> Result:
    """Run a play that has ansible-core validate the document with our schema."""
    play = {"hosts": "localhost", "gather_facts": False, "validate_argspec": "site", "tasks": []}
    project = Project(folder, document(*mutations))
    return project.run([play], "-i", "localhost,", "-e", f"@{project.document}", meta=SCHEMA)


@pytest.mark.parametrize("name", VALID)
def test_the_native_play_spec_takes_valid_documents(tmp_path: pathlib.Path, name: str) -> None:
    result = native(tmp_path, *VALID[name])
    assert result.code == 0, result.output
    assert "Validating arguments against arg spec site" in result.output


@pytest.mark.parametrize("name", INVALID)
def test_the_native_play_spec_refuses_what_the_check_refuses(tmp_path: pathlib.Path, name: str) -> None:
    mutation, says = INVALID[name]
    result = native(tmp_path, mutation)
    assert result.code == 2, result.output
    assert says in sentences(result)
