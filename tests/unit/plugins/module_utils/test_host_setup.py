"""The administrator and the time zone: keys merged without losing anybody's, nothing written in check mode."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from ansible_collections.sapflux.hosting.plugins.module_utils import _host_setup as hs

ONE = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMAQPC0dleWCFPVz6e9C9gLilWQZUG/PPx3Kgxu+I3pc one"
TWO = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHWeBgkzRU7c3Jd0nJb4rv4KO1a5Jrj8GsyJ0LQ4kT2a two"
FOREIGN = 'from="10.0.0.0/8" ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJr0xGT6Vb1Xbm3pVtKQ8pNqTuHuZ6bqk5vC0gQ2n1rA bob'


class Fake(hs.Host):
    """A host in a directory, with one account owned by the user that runs the tests."""

    def __init__(self, root: Path, login: str = "/bin/bash", present: bool = True) -> None:
        super().__init__(root, self.program)
        self.calls: list[list[str]] = []
        self.login = login
        self.present = present
        self.fail = ""
        self.locales = ""
        for path in ("home/ops", "etc/sudoers.d", "usr/share/zoneinfo/Europe", "usr/share/zoneinfo/Etc"):
            (root / path).mkdir(parents=True)
        for zone in ("UTC", "Europe/Zurich", "Etc/UTC"):
            (root / "usr/share/zoneinfo" / zone).write_text("TZif2")
        (root / "home/ops").chmod(0o750)

    def program(self, argv: list[str]) -> subprocess.CompletedProcess[str]:
        """Record the call; fail the named program."""
        self.calls.append(argv)
        failed = argv[0] == self.fail
        out = self.locales if argv[0] == "locale" else ""
        return subprocess.CompletedProcess(argv, int(failed), out, "syntax error near line 2" if failed else "")

    def account(self, name: str) -> hs.Account | None:
        """The one account."""
        return hs.Account(name, os.getuid(), os.getgid(), Path("/home/ops"), self.login) if self.present else None


def act(changes: list[hs.Change]) -> list[str]:
    """Make the changes; return what they say."""
    for change in changes:
        change.act()
    return [change.summary for change in changes]


def keys_of(root: Path) -> Path:
    """Where the administrator's keys lie."""
    return root / "home/ops/.ssh/authorized_keys"


@pytest.mark.parametrize(
    ("before", "keys", "exclusive", "after"),
    [
        ("", [ONE], False, [hs.BEGIN, ONE, hs.END]),
        (f"{FOREIGN}\n", [ONE], False, [FOREIGN, hs.BEGIN, ONE, hs.END]),
        (f"{FOREIGN}\n", [ONE], True, [hs.BEGIN, ONE, hs.END]),
        (f"{hs.BEGIN}\n{ONE}\n{TWO}\n{hs.END}\n{FOREIGN}\n", [TWO], False, [FOREIGN, hs.BEGIN, TWO, hs.END]),
        (f"{ONE}\n# a note\n", [ONE], False, ["# a note", hs.BEGIN, ONE, hs.END]),
        (f"# {ONE}\n", [ONE], False, [f"# {ONE}", hs.BEGIN, ONE, hs.END]),
        ("not a key\n\n", [ONE], False, ["not a key", "", hs.BEGIN, ONE, hs.END]),
        ("", [ONE, f" {ONE} ", TWO], False, [hs.BEGIN, ONE, TWO, hs.END]),
        (f"{FOREIGN}\n{hs.BEGIN}\n{ONE}\n", [TWO], False, [FOREIGN, hs.BEGIN, TWO, hs.END]),
    ],
)
def test_merge_keys(before: str, keys: list[str], exclusive: bool, after: list[str]) -> None:
    """Ours are exactly the listed ones; other people's lines stay unless told otherwise; again changes nothing."""
    merged = hs.merge_keys(before, keys, exclusive)
    assert merged.splitlines() == after
    assert hs.merge_keys(merged, keys, exclusive) == merged


@pytest.mark.parametrize(
    "line",
    [
        "",
        "ssh-ed25519",
        "ssh-ed25519 !!!",
        "ssh-ed25519 AAAA me",
        "ssh-dss AAAAB3NzaC1kc3M= me",
        ONE.replace("ssh-ed25519 ", "ssh-rsa "),
        f"{ONE}\n{TWO}",
        "-----BEGIN OPENSSH PRIVATE KEY-----",
    ],
)
def test_what_is_no_key_is_refused(line: str) -> None:
    """The error says which one and never shows all of it."""
    with pytest.raises(hs.SetupError, match=r"authorized key 2 .* is no public key"):
        hs.check_keys([ONE, line])


def test_no_key_at_all_is_refused() -> None:
    """An empty list would lock everybody out."""
    with pytest.raises(hs.SetupError, match="nobody could log in"):
        hs.check_keys([])


@pytest.mark.parametrize("name", ["root", "Ops", "0ps", "a b", "x" * 33, "ops;id", ""])
def test_names_that_cannot_be_the_administrator(name: str) -> None:
    """root is refused with the reason, the rest by syntax."""
    with pytest.raises(hs.SetupError):
        hs.check_user(name)


def test_keys_are_installed_as_sshd_wants_them_and_stay(tmp_path: Path) -> None:
    """Modes 0700 and 0600; the second run plans nothing."""
    host = Fake(tmp_path)
    assert act(host.plan_keys("ops", [ONE], False)) == ["installed 1 keys of ops"]
    path = keys_of(tmp_path)
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert host.plan_keys("ops", [ONE], False) == []
    assert [entry.name for entry in path.parent.iterdir()] == ["authorized_keys"]


@pytest.mark.parametrize(
    ("part", "mode"), [("home/ops", 0o775), ("home/ops/.ssh", 0o755), ("home/ops/.ssh/authorized_keys", 0o644)]
)
def test_modes_that_sshd_refuses_are_mended(tmp_path: Path, part: str, mode: int) -> None:
    """With StrictModes a writable home alone makes every key useless."""
    host = Fake(tmp_path)
    act(host.plan_keys("ops", [ONE], False))
    (tmp_path / part).chmod(mode)
    assert len(act(host.plan_keys("ops", [ONE], False))) == 1
    assert host.plan_keys("ops", [ONE], False) == []
    assert not (tmp_path / part).stat().st_mode & 0o022


@pytest.mark.parametrize("part", [".ssh", ".ssh/authorized_keys"])
def test_symbolic_links_are_not_followed(tmp_path: Path, part: str) -> None:
    """root never writes where a user points it to."""
    host = Fake(tmp_path)
    act(host.plan_keys("ops", [ONE], False))
    path = tmp_path / "home/ops" / part
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(hs.SetupError, match="is a symbolic link"):
        host.plan_keys("ops", [TWO], False)


def test_a_missing_account_is_made_and_a_shell_given(tmp_path: Path) -> None:
    """useradd once; usermod where the shell lets nobody in; nothing otherwise."""
    host = Fake(tmp_path, present=False)
    assert act(host.plan_account("ops-of-this-test", "/bin/bash")) == ["made the user ops-of-this-test"]
    assert host.calls[0][0] == "useradd"
    assert "--user-group" in host.calls[0]
    assert [change.summary for change in host.plan_keys("ops-of-this-test", [ONE], False)] == [
        "installed 1 keys of ops-of-this-test"
    ]
    other = Fake(tmp_path / "other", login="/usr/sbin/nologin")
    assert act(other.plan_account("ops", "/bin/bash")) == ["gave ops the shell /bin/bash"]
    assert Fake(tmp_path / "third").plan_account("ops", "/bin/bash") == []


def test_an_own_group_that_is_there_is_used(tmp_path: Path) -> None:
    """useradd refuses --user-group when the group exists (a user that was removed leaves it)."""
    host = Fake(tmp_path, present=False)
    act(host.plan_account("daemon", "/bin/bash"))
    assert host.calls[0][-3:] == ["--gid", "daemon", "daemon"]


def test_the_sudo_rule_is_judged_before_it_is_installed(tmp_path: Path) -> None:
    """visudo sees the staged file; refused, nothing is left behind."""
    host = Fake(tmp_path)
    host.fail = "visudo"
    with pytest.raises(hs.SetupError, match="checking the sudo rule failed: syntax error near line 2"):
        act(host.plan_sudo("ops"))
    assert list((tmp_path / "etc/sudoers.d").iterdir()) == []
    host.fail = ""
    act(host.plan_sudo("ops"))
    path = tmp_path / "etc/sudoers.d" / hs.SUDOERS
    assert path.read_text().splitlines()[-1] == "ops ALL=(ALL:ALL) NOPASSWD: ALL"
    assert path.stat().st_mode & 0o777 == 0o440
    assert host.plan_sudo("ops") == []
    path.chmod(0o644)
    assert len(host.plan_sudo("ops")) == 1


def test_the_time_zone_is_a_link_and_follows_drift(tmp_path: Path) -> None:
    """Set, kept, set again after somebody changed it; /etc/timezone only where there is one."""
    host = Fake(tmp_path)
    link = tmp_path / "etc/localtime"
    act(host.plan_timezone("UTC"))
    assert str(link.readlink()) == "/usr/share/zoneinfo/UTC"
    assert host.plan_timezone("UTC") == []
    assert not (tmp_path / "etc/timezone").exists()
    link.unlink()
    link.write_text("TZif2")
    (tmp_path / "etc/timezone").write_text("Etc/UTC\n")
    assert act(host.plan_timezone("Europe/Zurich")) == [
        "set the time zone to Europe/Zurich",
        "wrote Europe/Zurich to /etc/timezone",
    ]
    assert str(link.readlink()) == "/usr/share/zoneinfo/Europe/Zurich"
    assert (tmp_path / "etc/timezone").read_text() == "Europe/Zurich\n"
    assert host.plan_timezone("Europe/Zurich") == []


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../../etc/passwd", "", "/etc/passwd", "Europe/"])
def test_unknown_time_zones_are_refused(tmp_path: Path, zone: str) -> None:
    """No link to anywhere else."""
    with pytest.raises(hs.SetupError, match="time zone"):
        Fake(tmp_path).plan_timezone(zone)


@pytest.mark.parametrize(
    ("secret", "locked"), [("!", True), ("*", True), ("!$y$j9T$abc", True), ("$y$j9T$abc", False), ("", False)]
)
def test_roots_password_is_locked_unless_it_is(tmp_path: Path, secret: str, locked: bool) -> None:
    """An empty field is a password that everybody knows."""
    host = Fake(tmp_path)
    (tmp_path / "etc/shadow").write_text(f"daemon:$y$x:1::::::\nroot:{secret}:20000:0:99999:7:::\n")
    assert act(host.plan_root_lock()) == ([] if locked else ["locked root's password"])
    assert host.calls == ([] if locked else [["usermod", "--lock", "root"]])


def test_the_locale_is_set_and_other_lines_stay(tmp_path: Path) -> None:
    """C.UTF-8 is on every host; LC_* of somebody else stays; the second run plans nothing."""
    host = Fake(tmp_path)
    path = tmp_path / "etc/locale.conf"
    path.write_text("LC_TIME=en_DK.UTF-8\nLANG=en_US.UTF-8\n")
    host.locales = "C\nC.utf8\nPOSIX\n"
    assert act(host.plan_locale("C.UTF-8")) == ["set the locale to C.UTF-8"]
    assert path.read_text() == "LANG=C.UTF-8\nLC_TIME=en_DK.UTF-8\n"
    assert host.plan_locale("C.UTF-8") == []


@pytest.mark.parametrize("locale", ["tlh_QO.UTF-8", "C.UTF-8\nLD_PRELOAD=x", ""])
def test_locales_that_the_host_lacks_are_refused(tmp_path: Path, locale: str) -> None:
    """And nothing is written."""
    host = Fake(tmp_path)
    host.locales = "C\nC.utf8\n"
    with pytest.raises(hs.SetupError, match="locale"):
        host.plan_locale(locale)
    assert not (tmp_path / "etc/locale.conf").exists()


def test_planning_writes_nothing(tmp_path: Path) -> None:
    """Check mode is the plan alone."""
    host = Fake(tmp_path)
    before = sorted(str(path) for path in tmp_path.rglob("*"))
    plans = [
        host.plan_account("ops", "/bin/bash"),
        host.plan_keys("ops", [ONE], True),
        host.plan_sudo("ops"),
        host.plan_timezone("UTC"),
    ]
    assert [len(plan) for plan in plans] == [0, 1, 1, 1]
    assert sorted(str(path) for path in tmp_path.rglob("*")) == before
    assert host.calls == []
