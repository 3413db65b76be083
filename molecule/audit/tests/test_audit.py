"""The audit of a real host: nothing fails on a converged one, and faults made for real are each found by name."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from testinfra.host import Host

from tests.scenario import ROOT, environment, python_image

SQL = "runuser -u postgres -- psql -Xqc"
SLEEP = "python3 -c 'import time; time.sleep(9999)'"


@dataclass(frozen=True)
class Audit:
    """How a run of audit.yml ended: exit code, what it printed, and the checks by id."""

    rc: int
    output: str
    checks: dict[str, dict[str, str]]

    def failed(self) -> set[str]:
        """Ids of the checks that failed, those included that are only notes."""
        return {name for name, check in self.checks.items() if check["result"] == "fail"}


def run(tmp_path: Path, *args: str, **variables: Any) -> Audit:
    """Run the playbook on the scenario's host."""
    written = tmp_path / "audit.json"
    written.unlink(missing_ok=True)
    asked = {"audit_hosts": "audit", "audit_json": str(written), **variables}
    extra = json.dumps({key: value for key, value in asked.items() if value is not None})
    done = subprocess.run(
        ["ansible-playbook", "-i", "molecule/inventory", "playbooks/audit.yml", "-e", extra, *args],
        cwd=ROOT,
        # As a person sees it: the checkout's own configuration, and not molecule's.
        env={**environment(), "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    document = json.loads(written.read_text()) if written.exists() else {"hosts": [{"checks": []}]}
    return Audit(done.returncode, done.stdout, {check["id"]: check for check in document["hosts"][0]["checks"]})


def test_a_converged_host_has_no_failure(host: Host, tmp_path: Path) -> None:
    """Exit code 0; most checks pass, and each that does not apply says why."""
    assert host.run("true").rc == 0
    done = run(tmp_path)
    counts = {name for name in done.failed() if done.checks[name]["severity"] == "fail"}
    assert (counts, done.rc) == (set(), 0), done.output
    results = [check["result"] for check in done.checks.values()]
    assert len(results) >= 60
    assert results.count("pass") >= 120
    assert all(check["found"] for check in done.checks.values() if check["result"] == "n/a")
    assert "audit-1" in done.output
    assert "checks: " in done.output


def test_it_changes_nothing(host: Host, tmp_path: Path) -> None:
    """The play says so, and the audited files are the same before and after."""
    stamp = "find /etc /var/lib/sapflux /usr/local -newer /root/stamp -type f"
    host.check_output("touch -d '1 second ago' /root/stamp")
    assert "changed=0 " in run(tmp_path, audit_json=None).output
    assert host.check_output(stamp) == ""


#: What is done to the host, what undoes it, and the checks that must find it.
FAULTS: dict[str, tuple[str, str, set[str]]] = {
    "a drop-in lets root and passwords in": (
        "printf 'PermitRootLogin yes\\nPasswordAuthentication yes\\n' >/etc/ssh/sshd_config.d/00-aaa.conf",
        "rm /etc/ssh/sshd_config.d/00-aaa.conf",
        {"ssh-root-login", "ssh-password"},
    ),
    "a Match block lets root in": (
        "printf 'Match User root\\n  PermitRootLogin yes\\n' >/etc/ssh/sshd_config.d/00-bbb.conf",
        "rm /etc/ssh/sshd_config.d/00-bbb.conf",
        {"ssh-root-login"},
    ),
    "the host key is open": (
        "chmod 0644 /etc/ssh/ssh_host_ed25519_key",
        "chmod 0600 /etc/ssh/ssh_host_ed25519_key",
        {"ssh-host-key-modes"},
    ),
    "root and another have passwords": (
        "useradd --create-home --password marker1 eve; usermod --password marker2 root",
        "usermod --password '*' root; userdel --remove eve",
        {"account-root-password", "account-passwords", "account-people"},
    ),
    "another may become root": (
        "useradd --system eve; echo 'eve ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/eve; chmod 0440 /etc/sudoers.d/eve",
        "rm /etc/sudoers.d/eve; userdel eve",
        {"sudo-users"},
    ),
    "a second root, and a member of docker": (
        "useradd --non-unique --uid 0 --no-create-home toor; gpasswd --add toor docker",
        "gpasswd --delete toor docker; userdel --force toor",
        {"account-uid0", "account-twice", "account-docker"},
    ),
    "secrets, a program and files are open": (
        "echo x >/etc/sapflux/app.env; chmod 0644 /etc/sapflux/app.env; "
        "install -m 4755 /bin/true /usr/local/bin/shell; "
        "touch /etc/open; chmod 0666 /etc/open; mkdir -m 0777 /srv/drop",
        "rm -r /etc/sapflux/app.env /usr/local/bin/shell /etc/open /srv/drop",
        {"file-secrets", "file-setuid", "file-writable", "file-sticky"},
    ),
    "the table is deleted": (
        "nft delete table inet sapflux",
        "systemctl reload-or-restart sapflux-firewall.service",
        {"firewall-loaded", "firewall-default", "firewall-published", "firewall-metadata"},
    ),
    "the firewall lets something in": (
        "nft insert rule inet sapflux input tcp dport 8080 accept; nft chain inet sapflux input '{ policy accept; }'",
        "systemctl reload-or-restart sapflux-firewall.service",
        {"firewall-public", "firewall-default"},
    ),
    "a program listens everywhere": (
        "systemd-run --quiet --unit=listener python3 -m http.server 9999; "
        "until ss -ltn | grep -q ':9999'; do sleep 0.1; done",
        "systemctl stop listener",
        {"port-known"},
    ),
    "the kernel forwards redirects": (
        "sysctl -qw net.ipv4.conf.all.send_redirects=1 net.ipv4.conf.all.accept_redirects=1",
        "sysctl -qw net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.all.accept_redirects=0",
        {"net-send-redirects", "net-redirects"},
    ),
    "updates are switched off": (
        'printf \'APT::Periodic::Unattended-Upgrade "0";\\nAPT::Get::AllowUnauthenticated "true";\\n'
        "#clear Unattended-Upgrade::Package-Blacklist;\\n' >/etc/apt/apt.conf.d/99evil; "
        "systemctl stop apt-daily-upgrade.timer; apt-mark unhold docker.io",
        "rm /etc/apt/apt.conf.d/99evil; systemctl start apt-daily-upgrade.timer; apt-mark hold docker.io",
        {"update-install", "update-verified", "update-blacklist", "update-timers", "docker-held"},
    ),
    "the journal may fill the disk": (
        "printf '[Journal]\\nStorage=volatile\\nSystemMaxUse=\\n' >/etc/systemd/journald.conf.d/99-evil.conf",
        "rm /etc/systemd/journald.conf.d/99-evil.conf",
        {"journal-kept", "journal-bounded"},
    ),
    "a unit failed, a timer is stopped": (
        "systemd-run --quiet --unit=broken false; systemctl stop sapflux-docker-prune.timer; "
        "until systemctl is-failed -q broken; do sleep 0.1; done",
        "systemctl reset-failed broken; systemctl start sapflux-docker-prune.timer",
        {"unit-failed", "unit-timers", "docker-prune"},
    ),
    "the engine's socket is open": (
        "chmod 0666 /run/docker.sock",
        "chmod 0660 /run/docker.sock",
        {"docker-socket"},
    ),
    "a privileged container holds the host": (
        "docker run --detach --name evil --privileged --network host --pid host --publish 0.0.0.0:80:80 "
        f"--volume /:/host --volume /run/docker.sock:/run/docker.sock IMAGE {SLEEP}",
        "docker rm --force evil",
        {
            "container-privileged",
            "container-host-net",
            "container-host-pid",
            "container-socket",
            "container-paths",
            "container-user",
            "container-read-only",
            "container-memory",
        },
    ),
    "a published container without its fences": (
        "docker run --detach --name evil --cap-add SYS_ADMIN --security-opt seccomp=unconfined "
        f"--publish 0.0.0.0:8081:80 --log-driver json-file IMAGE {SLEEP}",
        "docker rm --force evil",
        {"container-powers", "container-confined", "container-published", "container-logs"},
    ),
    "the database lets everybody in": (
        "cp -p /etc/postgresql/17/main/pg_hba.conf /root/pg_hba.conf; "
        "echo 'host all all 0.0.0.0/0 trust' >>/etc/postgresql/17/main/pg_hba.conf; "
        "chmod 0755 /var/lib/postgresql/17/main; "
        f"{SQL} \"SET password_encryption = 'md5'\" -c \"CREATE ROLE eve SUPERUSER LOGIN PASSWORD 'marker3'\"",
        f"{SQL} 'DROP ROLE eve'; cp -p /root/pg_hba.conf /etc/postgresql/17/main/pg_hba.conf; "
        "chmod 0700 /var/lib/postgresql/17/main",
        {"postgres-methods", "postgres-world", "postgres-superusers", "postgres-stored", "postgres-data"},
    ),
    "the engine was told otherwise": (
        'cp /etc/docker/daemon.json /root/daemon.json; printf \'{"ip": "0.0.0.0"}\' >/etc/docker/daemon.json; '
        "systemctl restart docker",
        "cp /root/daemon.json /etc/docker/daemon.json; systemctl restart docker",
        {"docker-bind", "docker-bind-compose", "docker-live-restore", "docker-logs", "docker-privileges"},
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_by_name(host: Host, tmp_path: Path, fault: str) -> None:
    """Each is named in the results, and the run ends with another exit code than 0."""
    make, undo, names = FAULTS[fault]
    image = python_image(host) if "IMAGE" in make else ""
    try:
        host.check_output(make.replace("IMAGE", image))
        done = run(tmp_path, audit_format="short")
    finally:
        host.run(undo)
    assert names <= done.failed(), {name: done.checks[name] for name in names - done.failed()}
    assert done.rc != 0
    assert all(name in done.output for name in names)
    assert "marker" not in done.output


def test_a_container_with_all_its_fences_passes(host: Host, tmp_path: Path) -> None:
    """Every check of containers passes, the notes included; a kernel that cannot bound memory is not taken on trust."""
    bounded = host.check_output("docker info --format '{{.MemoryLimit}}'") == "true"
    host.check_output(
        "docker run --detach --name good --user 10001:10001 --cap-drop ALL --read-only --memory 64m "
        f"--publish 127.0.0.1:8082:8080 {python_image(host)} {SLEEP}"
    )
    done = run(tmp_path)
    host.check_output("docker rm --force good")
    found = {name: check for name, check in done.checks.items() if name.startswith("container-")}
    assert {name for name, check in found.items() if check["result"] != "pass"} == (
        set() if bounded else {"container-memory"}
    )
    assert len(found) > 10


def test_afterwards_nothing_fails_again(tmp_path: Path) -> None:
    """So each of them was found for itself."""
    done = run(tmp_path)
    assert done.rc == 0, done.output


def test_a_decision_is_written_down_with_its_reason(host: Host, tmp_path: Path) -> None:
    """A skipped check does not fail, and its line says why; a name that does not exist is refused."""
    host.check_output("touch /etc/open; chmod 0666 /etc/open")
    done = run(tmp_path, audit_skip={"file-writable": "a shared board"})
    host.check_output("rm /etc/open")
    assert done.rc == 0
    assert done.checks["file-writable"]["result"] == "n/a"
    assert "by decision: a shared board" in done.output
    wrong = run(tmp_path, audit_skip={"file-writeable": "?"})
    assert wrong.rc != 0
    assert "skip names checks that do not exist: file-writeable" in wrong.output


def test_json_on_the_screen_and_other_forms_refused(tmp_path: Path) -> None:
    """The document is there for a person, too."""
    assert '"summary"' in run(tmp_path, audit_format="json").output
    refused = run(tmp_path, audit_format="xml")
    assert refused.rc != 0
    assert "write text, short" in refused.output
