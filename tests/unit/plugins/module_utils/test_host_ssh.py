"""Who may log in, host keys and the owner of the port: planned first, never in an order that keeps anybody out."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from ansible_collections.sapflux.hosting.plugins.module_utils import _host_setup as hs
from ansible_collections.sapflux.hosting.plugins.module_utils._host_ssh import SERVICE, SOCKET, TAKE_OVER, SshServer

GROUP = "sapflux-ssh"


class World(hs.Host):
    """A host in a directory; programs are recorded, and answer as told."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, self.program)
        self.calls: list[list[str]] = []
        self.users = {"ops", "bob"}
        self.fail: list[str] = []
        self.effective = ""
        self.states = (("active", "enabled"), ("inactive", "disabled"))
        self.bits: dict[str, str] = {}
        (root / "etc/ssh").mkdir(parents=True)

    def program(self, argv: list[str]) -> subprocess.CompletedProcess[str]:
        """Answer one call."""
        self.calls.append(argv)
        if argv == self.fail:
            return subprocess.CompletedProcess(argv, 1, "", "Job for ssh.service failed.")
        out = ""
        if argv[0] == "/usr/sbin/sshd":
            out = self.effective
        elif argv[0] == "ss":
            out = 'LISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:(("sshd",pid=86,fd=3))'
        elif argv[:2] == ["systemctl", "show"]:
            out = "\n".join("ActiveState={}\nUnitFileState={}\n".format(*state) for state in self.states)
        elif argv[:2] == ["ssh-keygen", "-l"]:
            answer = self.bits.get(Path(argv[-1]).name, "")
            return subprocess.CompletedProcess(argv, int(not answer), answer, "")
        elif argv[0] == "ssh-keygen":
            path = Path(argv[-1])
            path.write_text("new key")
            Path(f"{path}.pub").write_text("new public key")
        return subprocess.CompletedProcess(argv, 0, out, "")

    def account(self, name: str) -> hs.Account | None:
        """The accounts of this host."""
        return hs.Account(name, os.getuid(), os.getgid(), Path("/home"), "/bin/bash") if name in self.users else None

    def verbs(self) -> list[str]:
        """What systemctl was told."""
        return [" ".join(call[1:]) for call in self.calls if call[0] == "systemctl" and call[1] != "show"]


class Server(SshServer):
    """An SSH server whose groups are given."""

    def __init__(self, host: World, members: set[str] | None = None) -> None:
        super().__init__(host)
        self.world = host
        self.now = members

    def members(self, group: str) -> set[str] | None:  # noqa: ARG002
        """The members that were given."""
        return self.now

    def groups_of(self, user: str) -> set[str]:
        """The user's own group, and sudo."""
        return {user, "sudo"}


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A host with good keys."""
    host = World(tmp_path)
    for kind, bits in (("ed25519", "256 SHA256:x root@host (ED25519)"), ("rsa", "3072 SHA256:x root@host (RSA)")):
        (tmp_path / f"etc/ssh/ssh_host_{kind}_key").write_text("key")
        host.bits[f"ssh_host_{kind}_key"] = bits
    return host


def act(changes: list[hs.Change]) -> list[str]:
    """Make the changes; return what they say."""
    for change in changes:
        change.act()
    return [change.summary for change in changes]


def test_a_missing_group_is_made_and_filled(world: World) -> None:
    """Members in one call, so that there is no moment with half of them."""
    assert act(Server(world).plan_group(GROUP, ["ops", "bob"])) == ["let bob, ops log in over SSH"]
    assert world.calls == [["groupadd", "--system", GROUP], ["gpasswd", "--members", "bob,ops", GROUP]]


@pytest.mark.parametrize("members", [set(), {"ops", "mallory"}, {"mallory"}])
def test_members_are_exactly_the_listed_ones(world: World, members: set[str]) -> None:
    """A member too few and one too many are both mended; the group itself is not made again."""
    act(Server(world, members).plan_group(GROUP, ["ops"]))
    assert world.calls == [["gpasswd", "--members", "ops", GROUP]]


def test_the_right_members_are_left_alone(world: World) -> None:
    """Also where a user is listed twice."""
    assert Server(world, {"ops"}).plan_group(GROUP, ["ops", "ops"]) == []
    assert world.calls == []


def test_users_that_are_not_there_are_refused(world: World) -> None:
    """By name; the administrator may still be missing, for this run makes it."""
    with pytest.raises(hs.SetupError, match="ann shall log in over SSH and is not a user of this host"):
        Server(world).check("ops", ["bob", "ann"], GROUP, 22)
    world.users.clear()
    Server(world).check("ops", ["ops"], GROUP, 22)


@pytest.mark.parametrize(
    ("effective", "reason"),
    [("allowusers bob", "AllowUsers names bob and not ops"), ("denygroups sudo", "DenyGroups names sudo")],
)
def test_a_file_that_would_keep_the_administrator_out_is_refused(world: World, effective: str, reason: str) -> None:
    """Before anything is planned."""
    world.effective = f"port 22\n{effective}\n"
    with pytest.raises(hs.SetupError, match=f"ops could not log in any more: {reason}"):
        Server(world).check("ops", [], GROUP, 22)


def test_good_host_keys_never_change(world: World) -> None:
    """Clients know the server by them."""
    assert Server(world).plan_host_keys() == []


@pytest.mark.parametrize(
    ("kind", "answer", "summary"),
    [
        ("rsa", "2048 SHA256:x (RSA)", "replaced, for it had 2048 bits, the host key /etc/ssh/ssh_host_rsa_key"),
        ("rsa", "", "made the host key /etc/ssh/ssh_host_rsa_key"),
        ("ed25519", "", "made the host key /etc/ssh/ssh_host_ed25519_key"),
    ],
)
def test_short_and_unreadable_host_keys_are_replaced(world: World, kind: str, answer: str, summary: str) -> None:
    """Both halves, and sshd is told; nothing is left beside them."""
    path = world.root / f"etc/ssh/ssh_host_{kind}_key"
    world.bits[path.name] = answer
    assert act(Server(world).plan_host_keys()) == [summary]
    assert (path.read_text(), Path(f"{path}.pub").read_text()) == ("new key", "new public key")
    assert world.verbs() == [f"try-reload-or-restart {SERVICE}"]
    assert sorted(entry.name for entry in path.parent.iterdir() if entry.name.startswith(".")) == []


def test_a_missing_host_key_is_made(world: World) -> None:
    """As on an image that was made without."""
    (world.root / "etc/ssh/ssh_host_ed25519_key").unlink()
    assert act(Server(world).plan_host_keys()) == ["made the host key /etc/ssh/ssh_host_ed25519_key"]


@pytest.mark.parametrize(
    ("service", "socket", "moves"),
    [
        (("active", "enabled"), ("inactive", "disabled"), False),
        (("reloading", "enabled"), ("inactive", ""), False),
        (("active", "enabled"), ("inactive", "enabled"), True),
        (("active", "disabled"), ("active", "enabled"), True),
        (("active", "disabled"), ("inactive", "disabled"), True),
        (("inactive", "enabled"), ("inactive", "disabled"), True),
    ],
)
def test_the_service_alone_holds_the_port(
    world: World, service: tuple[str, str], socket: tuple[str, str], moves: bool
) -> None:
    """A socket that is active now or at the next boot gives the port up; so does a service that systemd lost."""
    world.states = (service, socket)
    changes = Server(world).plan_one_owner()
    assert act(changes) == (["gave the SSH port to ssh.service alone"] if moves else [])
    assert [call[-1] for call in world.calls if call[0] == "systemd-run"] == ([TAKE_OVER] if moves else [])


def test_the_port_is_not_touched_when_sshd_would_not_start(world: World) -> None:
    """sshd is asked about its files before anything is stopped."""
    world.states = (("active", "disabled"), ("active", "enabled"))
    world.fail = ["/usr/sbin/sshd", "-t"]
    with pytest.raises(hs.SetupError, match="checking the settings of sshd failed"):
        act(Server(world).plan_one_owner())
    assert not [call for call in world.calls if call[0] == "systemd-run"]


@pytest.mark.parametrize("starts", [True, False])
def test_the_socket_returns_when_the_service_does_not_start(tmp_path: Path, starts: bool) -> None:
    """The script itself, with a systemctl that only writes down what it is told: nobody is locked out by the move."""
    log = tmp_path / "log"
    fails = "false" if starts else f'test "$*" = "start {SERVICE}"'
    for name, last in (("systemctl", f"{fails} && exit 1 || exit 0"), ("pkill", "exit 1")):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\necho "{name} $*" >>{log}\n{last}\n')
        program.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    assert subprocess.run(["/bin/sh", "-c", TAKE_OVER], env=environment, check=False).returncode == int(not starts)
    said = log.read_text().splitlines()
    move = [
        f"systemctl stop {SOCKET} {SERVICE}",
        "pkill --ns 1 --nslist pid --full ^sshd: .* \\[listener\\]",
        f"systemctl --quiet disable {SOCKET}",
        f"systemctl --quiet enable {SERVICE}",
        f"systemctl start {SERVICE}",
    ]
    back = [
        f"systemctl reset-failed {SERVICE} {SOCKET}",
        f"systemctl --quiet enable {SOCKET}",
        f"systemctl start {SOCKET}",
    ]
    assert said == (move if starts else move + back)


def test_planning_writes_nothing(world: World) -> None:
    """Check mode is the plan alone."""
    world.states = (("active", "disabled"), ("active", "enabled"))
    world.bits["ssh_host_rsa_key"] = "1024 SHA256:x (RSA)"
    before = sorted((str(path), path.stat().st_mtime_ns) for path in world.root.rglob("*"))
    server = Server(world)
    assert [len(plan) for plan in (server.plan_group(GROUP, ["ops"]), server.plan_host_keys())] == [1, 1]
    assert len(server.plan_one_owner()) == 1
    assert sorted((str(path), path.stat().st_mtime_ns) for path in world.root.rglob("*")) == before
    assert world.verbs() == []


def test_the_report_holds_what_the_server_does_and_offers(world: World) -> None:
    """In the shape that the filters read."""
    world.effective = "port 22\n"
    report = Server(world).report("ops", 22)
    assert set(report) == {"effective", "error", "listeners", "offers"}
    assert report["effective"] == "port 22\n"
