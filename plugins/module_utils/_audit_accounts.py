# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private: checks of users, groups, sudo rules and files that should be closed. Pure functions."""

from __future__ import annotations

from collections import Counter
from typing import Any, Callable, Dict, Iterator, List, Tuple

from ansible_collections.sapflux.hosting.plugins.module_utils._audit import (
    Facts,
    NotApplicableError,
    Verdict,
    equals,
    few,
    none_of,
    part,
    row,
)

NO_SHELLS = ("/usr/sbin/nologin", "/sbin/nologin", "/bin/false", "/usr/bin/false", "/bin/sync")
#: Users of packages that need a shell: PostgreSQL's programs change to this one.
SERVICE_SHELLS = ("postgres",)
#: Most that the system's own files may be open, by path.
MODES = {
    "/etc/passwd": 0o644,
    "/etc/group": 0o644,
    "/etc/shadow": 0o640,
    "/etc/gshadow": 0o640,
    "/etc/sudoers": 0o440,
    "/etc/ssh/sshd_config": 0o644,
    "/etc/crontab": 0o644,
    "/etc/docker/daemon.json": 0o644,
}


def _admins(facts: Facts) -> List[str]:
    admins: List[str] = facts["wanted"]["admins"]
    if not admins:
        raise NotApplicableError("nobody said who the administrators are (admins)")
    return admins


def _users(facts: Facts) -> List[Dict[str, Any]]:
    return list(part(facts, "users", "no users"))


def _root_password(facts: Facts) -> Verdict:
    state = next(user["password"] for user in _users(facts) if user["name"] == "root")
    return equals(state, "locked")


def _passwords(facts: Facts) -> Verdict:
    return none_of(user["name"] for user in _users(facts) if user["password"] == "set" and user["name"] != "root")  # noqa: S105


def _empty_passwords(facts: Facts) -> Verdict:
    return none_of(user["name"] for user in _users(facts) if user["password"] == "empty")  # noqa: S105


def _second_roots(facts: Facts) -> Verdict:
    return none_of(user["name"] for user in _users(facts) if user["uid"] == 0 and user["name"] != "root")


def _twice(facts: Facts) -> Verdict:
    uids = Counter(user["uid"] for user in _users(facts))
    names = Counter(user["name"] for user in _users(facts))
    return none_of([*(uid for uid, n in uids.items() if n > 1), *(name for name, n in names.items() if n > 1)])


def _system_shells(facts: Facts) -> Verdict:
    return none_of(
        user["name"]
        for user in _users(facts)
        if 0 < user["uid"] < 1000 and user["shell"] not in NO_SHELLS and user["name"] not in SERVICE_SHELLS
    )


def _people(facts: Facts) -> Verdict:
    admins = _admins(facts)
    return none_of(
        user["name"]
        for user in _users(facts)
        if 1000 <= user["uid"] < 65534 and user["shell"] not in NO_SHELLS and user["name"] not in admins
    )


def _rules(facts: Facts) -> Iterator[Tuple[str, str, str]]:
    """(file, who, whole line) of each sudo rule."""
    for path, lines in part(facts, "sudoers", "sudo is not installed")["rules"].items():
        for line in lines:
            who = line.split()[0]
            if who != "@includedir" and not who.startswith(("Defaults", "@", "#include")) and "_Alias" not in who:
                yield path, who, line


def _in_group(facts: Facts, group: str) -> List[str]:
    """Members of a group, those whose first group it is included."""
    found = facts["groups"].get(group)
    if found is None:
        return []
    return sorted({*found["members"], *(user["name"] for user in _users(facts) if user["gid"] == found["gid"])})


def _sudo_users(facts: Facts) -> Verdict:
    admins = _admins(facts)
    found = []
    for path, who, _line in _rules(facts):
        people = _in_group(facts, who[1:]) if who.startswith("%") else [who]
        found += [f"{name} ({path})" for name in people if name not in ("root", *admins)]
    return none_of(found)


def _sudo_groups(facts: Facts) -> Verdict:
    admins = _admins(facts)
    return none_of(
        f"{name} ({group})"
        for group in ("sudo", "wheel", "adm", "disk", "shadow", "lxd")
        for name in _in_group(facts, group)
        if name not in ("root", *admins)
    )


def _sudo_modes(facts: Facts) -> Verdict:
    files = part(facts, "sudoers", "sudo is not installed")["files"]
    return none_of(
        f"{path} {stat['mode']} {stat['owner']}"
        for path, stat in files.items()
        if int(stat["mode"], 8) & 0o137 or stat["owner"] != "root"
    )


def _sudo_syntax(facts: Facts) -> Verdict:
    return equals(part(facts, "sudoers", "sudo is not installed")["syntax"], "ok")


def _docker_group(facts: Facts) -> Verdict:
    if "docker" not in facts["groups"]:
        raise NotApplicableError("there is no group docker")
    return none_of(_in_group(facts, "docker"))


def _keys(facts: Facts) -> List[Dict[str, Any]]:
    return list(part(facts, "authorized_keys", "no keys"))


def _key_owners(facts: Facts) -> Verdict:
    admins = _admins(facts)
    return none_of(
        f"{item['user']} ({item['path']})" for item in _keys(facts) if item["keys"] and item["user"] not in admins
    )


def _key_modes(facts: Facts) -> Verdict:
    return none_of(
        f"{item['path']} {item['mode']} {item['owner']}"
        for item in _keys(facts)
        if int(item["mode"], 8) & 0o022 or item["owner"] not in ("root", item["user"])
    )


def _key_kinds(facts: Facts) -> Verdict:
    return none_of(
        f"{item['user']}: {key['type']} {key['bits']}"
        for item in _keys(facts)
        for key in item["keys"]
        if key["type"] in ("DSA", "RSA1") or (key["type"] == "RSA" and key["bits"] < 3072)
    )


def _homes(facts: Facts) -> Verdict:
    return none_of(f"{user['home']} {user['home_mode']}" for user in _users(facts) if _open_home(user))


def _open_home(user: Dict[str, Any]) -> bool:
    return bool(user["home_mode"]) and user["uid"] >= 1000 and bool(int(user["home_mode"], 8) & 0o022)


def _system_modes(facts: Facts) -> Verdict:
    files = facts["modes"]
    return none_of(
        f"{path} {files[path]['mode']} {files[path]['owner']}"
        for path, most in MODES.items()
        if path in files and (int(files[path]["mode"], 8) & ~most or files[path]["owner"] != "root")
    )


def _secrets(facts: Facts) -> Verdict:
    files: List[Dict[str, str]] = part(facts, "secrets", "no file here looks like a secret")
    return none_of(f"{item['path']} {item['mode']}" for item in files if int(item["mode"], 8) & 0o137)


def _listed(name: str) -> Callable[[Facts], Verdict]:
    return lambda facts: none_of(part(facts, "odd_files", "not looked for")[name])


def _crypt(facts: Facts) -> Verdict:
    value = facts["login_defs"].get("ENCRYPT_METHOD", "")
    return Verdict(value.upper() in ("YESCRYPT", "SHA512"), value or "not set")


def _crontabs(facts: Facts) -> Verdict:
    return Verdict(not facts["crontabs"], few(facts["crontabs"]))


CHECKS = [
    row("account-root-password", "root has no password", "locked", "passwd --status root", _root_password),
    row("account-passwords", "No other user has a password", "none", "passwd --status --all", _passwords),
    row("account-empty", "No password is empty", "none", "passwd --status --all", _empty_passwords),
    row("account-uid0", "root is the only user with number 0", "none", "getent passwd", _second_roots),
    row("account-twice", "No user number or name twice", "none", "getent passwd", _twice),
    row("account-shells", "Users of services have no shell", "none", "getent passwd", _system_shells),
    row("account-people", "Administrators are the only people", "none", "getent passwd", _people),
    row("account-homes", "Only the owner writes to a home", "none", "stat /home/*", _homes),
    row("account-crypt", "Passwords would be hashed well", "YESCRYPT or SHA512", "/etc/login.defs", _crypt),
    row("account-docker", "The group docker, as good as root, is empty", "none", "getent group docker", _docker_group),
    row(
        "account-groups",
        "Only administrators are in powerful groups",
        "none",
        "getent group sudo adm disk",
        _sudo_groups,
    ),
    row("sudo-users", "Only administrators become root", "none", "/etc/sudoers, /etc/sudoers.d/*", _sudo_users),
    row("sudo-modes", "sudo's files are closed", "0440 root", "stat /etc/sudoers.d/*", _sudo_modes),
    row("sudo-syntax", "sudo understands its rules", "ok", "visudo --check", _sudo_syntax),
    row("key-owners", "Only administrators have SSH keys", "none", "~/.ssh/authorized_keys", _key_owners, "note"),
    row("key-modes", "Only the owner writes to a file of SSH keys", "none", "stat ~/.ssh/authorized_keys", _key_modes),
    row("key-kinds", "No SSH key of a user is weak", "none", "ssh-keygen -l -f ~/.ssh/authorized_keys", _key_kinds),
    row("file-system", "The system's own files are closed", "none", "stat /etc/passwd /etc/shadow ...", _system_modes),
    row(
        "file-secrets",
        "Files that look like secrets are closed",
        "0640 at most",
        "find /etc /var/lib/sapflux /run/sapflux",
        _secrets,
    ),
    row(
        "file-setuid",
        "No program with setuid where none belongs",
        "none",
        "find / -xdev -perm /6000",
        _listed("setuid"),
    ),
    row(
        "file-writable",
        "No file that everybody can write",
        "none",
        "find /etc /usr /opt /srv -perm -0002",
        _listed("writable"),
    ),
    row(
        "file-sticky",
        "Directories for everybody are sticky",
        "none",
        "find / -xdev -type d -perm -0002 ! -perm -1000",
        _listed("sticky"),
    ),
    row(
        "file-orphans",
        "Every file has an owner",
        "none",
        "find /etc /usr /opt /srv -nouser",
        _listed("orphans"),
        "note",
    ),
    row("file-crontabs", "No user has a crontab", "none", "/var/spool/cron/crontabs", _crontabs, "note"),
]
