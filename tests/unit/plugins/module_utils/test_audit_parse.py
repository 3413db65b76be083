"""What real programs print, taken apart for the audit; recorded on Debian 13."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.sapflux.hosting.plugins.module_utils import _audit_facts as facts
from ansible_collections.sapflux.hosting.plugins.module_utils import _audit_files as files
from ansible_collections.sapflux.hosting.plugins.module_utils import _audit_parse as parse


def test_sshd_settings_keep_every_value() -> None:
    """Some names come several times."""
    found = parse.sshd("port 22\nAllowUsers ops\nallowusers ann\nlistenaddress [::]:22\nbanner none\n")
    assert found["allowusers"] == ["ops", "ann"]
    assert found["listenaddress"] == ["[::]:22"]


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("256 SHA256:abc root@host (ED25519)\n", ("ED25519", 256)),
        ("3072 SHA256:abc no comment (RSA)\n", ("RSA", 3072)),
        ("256 SHA256:abc a (strange) comment (ECDSA)\n", ("ECDSA", 256)),
    ],
)
def test_host_keys(line: str, key: tuple[str, int]) -> None:
    """Kind and bits."""
    assert parse.host_key(line) == key


@pytest.mark.parametrize(
    ("field", "state"),
    [
        ("", "empty"),
        ("*", "locked"),
        ("!", "locked"),
        ("!$y$abc", "locked"),
        ("!*", "locked"),
        ("x", "locked"),
        ("$y$j9T$a", "set"),
    ],
)
def test_passwords_are_read_as_a_state(field: str, state: str) -> None:
    """Never as a hash."""
    assert parse.shadow_state(field) == state


def test_sudo_rules_without_comments_and_joined() -> None:
    """The old spelling of an include is no comment."""
    text = "# a comment\n\nDefaults x\nops ALL=(ALL) \\\n  NOPASSWD: ALL\n#includedir /etc/sudoers.d\n"
    assert parse.sudo_lines(text) == ["Defaults x", "ops ALL=(ALL)    NOPASSWD: ALL", "#includedir /etc/sudoers.d"]


def test_the_last_word_in_systemds_files_counts() -> None:
    """Comments do not; an empty value takes the default back."""
    text = "# /etc/x.conf\n[Journal]\n#Storage=auto\nStorage=auto\nSystemMaxUse=1G\nSystemMaxUse=\nStorage=persistent\n"
    assert parse.systemd_config(text) == {"Storage": "persistent"}


def test_units_by_name() -> None:
    """Blocks with an empty line between."""
    text = "Id=a.service\nActiveState=active\n\nId=b.timer\nResult=success\n"
    assert parse.unit_blocks(text) == {
        "a.service": {"Id": "a.service", "ActiveState": "active"},
        "b.timer": {"Id": "b.timer", "Result": "success"},
    }


def test_exposure_of_several_units() -> None:
    """The closing line of each."""
    line = "→ Overall exposure level for {}\n"
    text = f"  NAME\n{line.format('a.service: 1.1 OK :-)')}\n{line.format('b@x.service: 9.6 UNSAFE :-{')}"
    assert parse.overall(text) == {"a.service": 1.1, "b@x.service": 9.6}


def test_the_mount_that_is_seen_counts() -> None:
    """The last one on a point."""
    text = "none /tmp ext4 rw 0 0\ntmpfs /tmp tmpfs rw,nosuid,nodev 0 0\n"
    assert parse.mounts(text) == {"/tmp": {"type": "tmpfs", "options": ["rw", "nosuid", "nodev"]}}


def test_listeners() -> None:
    """Both families, a zone, and one that belongs to no program of this host."""
    text = (
        'tcp   LISTEN 0 128   0.0.0.0:22     0.0.0.0:*  users:(("sshd",pid=1,fd=6))\n'
        'tcp   LISTEN 0 4096  [::]:22        [::]:*     users:(("sshd",pid=1,fd=7),("systemd",pid=2,fd=3))\n'
        "udp   UNCONN 0 0     127.0.0.11:36633 0.0.0.0:*\n"
        'udp   UNCONN 0 0     [fe80::1]%eth0:546 [::]:* users:(("dhcpcd",pid=1,fd=6))\n'
        'tcp   LISTEN 0 4096  *:443          *:*        users:(("caddy",pid=1,fd=6))\n'
    )
    assert [(item["protocol"], item["address"], item["port"], item["program"]) for item in parse.listeners(text)] == [
        ("tcp", "0.0.0.0", 22, "sshd"),
        ("tcp", "::", 22, "sshd"),
        ("udp", "127.0.0.11", 36633, ""),
        ("udp", "fe80::1%eth0", 546, "dhcpcd"),
        ("tcp", "*", 443, "caddy"),
    ]


def test_apts_configuration_and_what_waits() -> None:
    """Lists end with ::; the origin tells a security update."""
    config = parse.apt_config('APT::X "1";\nAPT::X "0";\nA::List "";\nA::List:: "one two";\nA::List:: "three";\n')
    assert config["APT::X"] == ["1", "0"]
    assert config["A::List::"] == ["one two", "three"]
    text = (
        "Inst libc6 [2.41-12] (2.41-12+deb13u1 Debian-Security:13/stable-security [amd64])\n"
        "Inst new (1.0 Debian:13.2/stable [all]) []\n"
        "Conf libc6 (2.41-12+deb13u1 Debian-Security:13/stable-security [amd64])\n"
    )
    assert parse.pending(text) == [("libc6", "Debian-Security:13/stable-security"), ("new", "Debian:13.2/stable")]


@pytest.mark.parametrize(
    ("text", "bad"),
    [
        ("deb [trusted=yes] http://x y z", True),
        ("deb [arch=amd64 allow-insecure=yes] http://x y z", True),
        ("Types: deb\nTrusted: yes\n", True),
        ("# deb [trusted=yes] http://x y z", False),
        ("deb [signed-by=/usr/share/keyrings/trusted.gpg] http://x y z", False),
    ],
)
def test_sources_without_a_signature(text: str, bad: bool) -> None:
    """In both notations."""
    assert bool(parse.unsigned_sources({"/etc/apt/x": text})) is bad


def test_needrestarts_last_word() -> None:
    """A commented line is none."""
    assert parse.needrestart_mode("#$nrconf{restart} = 'i';\n") == "i"
    assert parse.needrestart_mode("$nrconf{restart} = 'a';\n$nrconf{restart} = 'l';\n") == "l"


INSPECTED: dict[str, Any] = {
    "Name": "/web",
    "RestartCount": 2,
    "State": {"Status": "running", "Health": {"Status": "starting"}},
    "Config": {"User": "", "Env": ["PASSWORD=marker"], "Cmd": ["serve", "--token=marker"]},
    "HostConfig": {
        "Privileged": True,
        "NetworkMode": "host",
        "PidMode": "host",
        "IpcMode": "private",
        "CapAdd": None,
        "CapDrop": None,
        "ReadonlyRootfs": False,
        "SecurityOpt": ["apparmor=unconfined", "label=disable", "no-new-privileges:false"],
        "Memory": 0,
        "LogConfig": {"Type": "splunk", "Config": {"max-size": "1m", "splunk-token": "marker"}},
    },
    "Mounts": [{"Type": "bind", "Source": "/etc"}, {"Type": "volume", "Source": "/var/lib/docker/volumes/x"}],
    "NetworkSettings": {"Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}], "81/tcp": None}},
}


def test_a_container_without_its_secrets() -> None:
    """How it is fenced in, and neither environment nor command nor a token of its log driver."""
    found = parse.containers([INSPECTED])
    assert "marker" not in str(found)
    assert found[0]["name"] == "web"
    assert found[0]["health"] == "starting"
    assert found[0]["mounts"] == ["/etc"]
    assert found[0]["ports"] == [{"ip": "0.0.0.0", "port": "8080->80/tcp"}]
    assert found[0]["unconfined"] == ["apparmor=unconfined", "no-new-privileges:false"]
    assert found[0]["log_options"] == {"max-size": "1m"}


def test_an_engine_without_its_secrets() -> None:
    """A proxy's password in daemon.json stays there."""
    info = {"ServerVersion": "26.1", "LiveRestoreEnabled": True, "LoggingDriver": "local", "SecurityOptions": None}
    config = {
        "proxies": {"http-proxy": "http://u:marker@p"},
        "ip": "127.0.0.1",
        "log-opts": {"max-file": 3, "x": "marker"},
    }
    found = parse.engine(info, config)
    assert "marker" not in str(found)
    assert found["config"] == {"ip": "127.0.0.1", "log-opts": {"max-file": "3"}}
    assert found["info"]["security"] == []


@pytest.mark.parametrize(
    ("expiry", "said"), [(None, ""), ("0001-01-01T00:00:00Z", ""), ("2027-05-01T00:00:00Z", "2027-05-01T00:00:00Z")]
)
def test_a_node_of_the_tailnet(expiry: str | None, said: str) -> None:
    """Go's zero time is none."""
    status = {"BackendState": "Running", "Self": {"Tags": ["tag:server"], "KeyExpiry": expiry}, "Health": None}
    found = parse.tailnet(status, {"RunSSH": False})
    assert found == {"state": "Running", "tags": ["tag:server"], "expiry": said, "ssh": False, "health": []}
    assert parse.tailnet({"BackendState": "NeedsLogin"}, {})["tags"] == []


@pytest.mark.parametrize(
    ("name", "content", "secret"),
    [
        ("api.env", "", True),
        (".env", "", True),
        ("cf_token", "", True),
        ("hash.key", "", True),
        ("tls.key", "-----BEGIN PRIVATE KEY-----", True),
        ("tls.pem", "-----BEGIN CERTIFICATE-----", False),
        ("both.pem", "-----BEGIN CERTIFICATE-----\n-----BEGIN EC PRIVATE KEY-----", True),
        ("id_ed25519", "", True),
        ("id_ed25519.pub", "", False),
        ("secrets.py", "", False),
        ("sapflux-token.service", "", False),
        ("compose.yaml", "", False),
    ],
)
def test_secrets_are_known_by_name_or_content(tmp_path: Path, name: str, content: str, secret: bool) -> None:
    """A certificate is none."""
    (tmp_path / name).write_text(content)
    found = files.secrets([str(tmp_path)])
    assert [item["path"] for item in found or []] == ([str(tmp_path / name)] if secret else [])


def test_odd_files_are_found_in_one_pass(tmp_path: Path) -> None:
    """A real find on a real tree."""
    for name, mode in (("setuid", 0o4755), ("setgid", 0o2755), ("open", 0o666), ("plain", 0o644)):
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(mode)
    for name, mode in (("sticky", 0o1777), ("drop", 0o777)):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(mode)
    (tmp_path / "link").symlink_to("plain")
    found = files.odd_files(facts.run, str(tmp_path))
    assert found == {
        "setuid": [str(tmp_path / "setgid"), str(tmp_path / "setuid")],
        "writable": [str(tmp_path / "open")],
        "sticky": [str(tmp_path / "drop")],
        "orphans": [],
    }


def test_a_program_with_setuid_of_a_package_is_in_place() -> None:
    """Also where the package names the directory from before the merge of /usr."""

    def run(argv: list[str], codes: tuple[int, ...] = (0,)) -> str:
        if argv[0] == "find":
            return "setuid\t/usr/bin/sudo\nsetuid\t/usr/bin/su\nsetuid\t/usr/bin/evil\nsetuid\t/usr/local/bin/x\n"
        assert codes == (0, 1)
        return "sudo: /usr/bin/sudo\nutil-linux: /bin/su\n"

    assert files.odd_files(run)["setuid"] == ["/usr/bin/evil", "/usr/local/bin/x"]


def test_a_part_that_cannot_be_asked_does_not_fail_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing program is no fact; one that fails says why in one line."""

    def run(argv: list[str], *_args: Any, **_kwargs: Any) -> str:
        if argv[0] == "nft":
            raise facts.AskError("`nft` ended with 1: Operation not permitted")
        raise FileNotFoundError(argv[0])

    monkeypatch.setattr(facts, "run", run)
    monkeypatch.setattr(facts, "odd_files", lambda _run: {})
    monkeypatch.setattr(facts, "secrets", lambda: None)
    found = facts.gather({"admins": [], "firewall": True, "public_tcp": [], "skip": {}})
    assert found["nft"] == {"error": "`nft` ended with 1: Operation not permitted"}
    assert found["tailscale"] is None
    assert found["memory"]["total"] > 0
    assert "root" in {user["name"] for user in found["users"]}


def test_programs_are_run_without_a_shell_and_their_failure_is_one_line() -> None:
    """With the exit code; a program that is not there is another thing."""
    assert facts.run(["echo", "a b"]) == "a b\n"
    with pytest.raises(facts.AskError, match=r"`ls /nonexistent` ended with 2: .*No such file"):
        facts.run(["ls", "/nonexistent"])
    with pytest.raises(FileNotFoundError):
        facts.run(["/nonexistent/program"])
