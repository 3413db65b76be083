# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private: checks of the SSH server, from what `sshd -T` says. Pure functions."""

from __future__ import annotations

import re
from typing import Any, Callable, Dict, List

from ansible_collections.sapflux.hosting.plugins.module_utils._audit import (
    Check,
    Facts,
    NotApplicableError,
    Verdict,
    equals,
    few,
    none_of,
    part,
)

NO_SERVER = "no SSH server is installed"
WEAK_CIPHERS = re.compile(r"cbc|3des|arcfour|blowfish|cast128|rc4|none", re.IGNORECASE)
WEAK_MACS = re.compile(r"md5|sha1|umac-64|ripemd", re.IGNORECASE)
WEAK_EXCHANGES = re.compile(r"group1-|group14-sha1|group-exchange-sha1|gss-", re.IGNORECASE)
WEAK_KEYS = re.compile(r"^ssh-dss|^ssh-rsa(-cert.*)?$", re.IGNORECASE)
SAFE_FIRST = ("mlkem768x25519-sha256", "sntrup761x25519-sha512", "sntrup761x25519-sha512@openssh.com")


def _server(facts: Facts) -> Dict[str, List[str]]:
    """Settings by lower-case name, for an ordinary user."""
    return dict(part(facts, "sshd", NO_SERVER)["user"])


def _value(facts: Facts, key: str) -> str:
    return _server(facts).get(key, [""])[0]


def _is(key: str, *wanted: str) -> Callable[[Facts], Verdict]:
    return lambda facts: equals(_value(facts, key), *wanted)


def _at_most(key: str, most: int) -> Callable[[Facts], Verdict]:
    def judge(facts: Facts) -> Verdict:
        value = int(_value(facts, key))
        # For a time limit 0 means none at all.
        return Verdict(0 < value <= most, str(value))

    return judge


def _nothing_weak(key: str, weak: re.Pattern[str]) -> Callable[[Facts], Verdict]:
    return lambda facts: none_of(name for name in _value(facts, key).split(",") if weak.search(name))


def _root(facts: Facts) -> Verdict:
    part(facts, "sshd", NO_SERVER)
    return equals(facts["sshd"]["root"].get("permitrootlogin", [""])[0], "no")


def _restricted(facts: Facts) -> Verdict:
    server = _server(facts)
    named = [f"{key} {' '.join(server[key])}" for key in ("allowusers", "allowgroups") if server.get(key)]
    return Verdict(bool(named), few(named) if named else "everybody may")


def _exchange(facts: Facts) -> Verdict:
    first = _value(facts, "kexalgorithms").split(",")[0]
    return Verdict(first in SAFE_FIRST, first)


def _penalties(facts: Facts) -> Verdict:
    server = _server(facts)
    if "persourcepenaltyexemptlist" not in server:
        raise NotApplicableError("this OpenSSH has no penalties (they came with 9.8)")
    value = server["persourcepenaltyexemptlist"][0]
    return Verdict("100.64.0.0/10" in value.split(","), value)


def _one_owner(facts: Facts) -> Verdict:
    units = part(facts, "units", "no systemd")
    active = [name for name in ("ssh.service", "ssh.socket") if units.get(name, {}).get("ActiveState") == "active"]
    part(facts, "sshd", NO_SERVER)
    return Verdict(len(active) == 1, few(active))


def _host_key_kinds(facts: Facts) -> Verdict:
    keys: List[Dict[str, Any]] = part(facts, "sshd", NO_SERVER)["host_keys"]
    weak = [
        f"{key['type']} {key['bits']}"
        for key in keys
        if key["type"] not in ("ED25519", "RSA") or (key["type"] == "RSA" and key["bits"] < 3072)
    ]
    if not any(key["type"] == "ED25519" for key in keys):
        return Verdict(False, "no ED25519 key")
    return Verdict(not weak, few(weak or [f"{key['type']} {key['bits']}" for key in keys]))


def _host_key_modes(facts: Facts) -> Verdict:
    keys: List[Dict[str, Any]] = part(facts, "sshd", NO_SERVER)["host_keys"]
    return none_of(
        f"{key['path']} {key['mode']} {key['owner']}"
        for key in keys
        if int(key["mode"], 8) & 0o077 or key["owner"] != "root"
    )


def _check(
    name: str,
    title: str,
    expected: str,
    judge: Callable[[Facts], Verdict],
    severity: str = "fail",
    shows: str = "sshd -T",
) -> Check:
    return Check(f"ssh-{name}", title, severity, shows, expected, judge)


CHECKS = [
    _check("root-login", "root cannot log in over SSH", "permitrootlogin no", _root, shows="sshd -T -C user=root"),
    _check("password", "Passwords open nothing", "passwordauthentication no", _is("passwordauthentication", "no")),
    _check(
        "keyboard",
        "Questions that PAM asks open nothing",
        "kbdinteractiveauthentication no",
        _is("kbdinteractiveauthentication", "no"),
    ),
    _check("empty-passwords", "Empty passwords open nothing", "no", _is("permitemptypasswords", "no")),
    _check("public-key", "Keys let users in", "pubkeyauthentication yes", _is("pubkeyauthentication", "yes")),
    _check(
        "methods",
        "A key is the only way in",
        "authenticationmethods publickey",
        _is("authenticationmethods", "publickey"),
    ),
    _check("host-based", "Other hosts vouch for nobody", "no", _is("hostbasedauthentication", "no")),
    _check("rhosts", "Files .rhosts count for nothing", "ignorerhosts yes", _is("ignorerhosts", "yes", "shosts-only")),
    _check(
        "strict-modes", "Key files that others can write do not count", "strictmodes yes", _is("strictmodes", "yes")
    ),
    _check("allowed-users", "Only named users or groups may log in", "allowusers or allowgroups", _restricted),
    _check("tries", "Few tries a connection", "maxauthtries 1 to 4", _at_most("maxauthtries", 4)),
    _check("grace", "A login takes a minute at most", "logingracetime 1 to 60", _at_most("logingracetime", 60)),
    _check("x11", "No X11 forwarding", "x11forwarding no", _is("x11forwarding", "no")),
    _check("agent", "No agent forwarding", "allowagentforwarding no", _is("allowagentforwarding", "no")),
    _check(
        "tcp-forwarding",
        "Forwarding goes out from the client only",
        "allowtcpforwarding local or no",
        _is("allowtcpforwarding", "local", "no"),
    ),
    _check("gateway", "Forwarded ports are not opened to others", "gatewayports no", _is("gatewayports", "no")),
    _check("tunnel", "No tunnels", "permittunnel no", _is("permittunnel", "no")),
    _check("environment", "Users bring no environment", "permituserenvironment no", _is("permituserenvironment", "no")),
    _check(
        "log-level", "The log names the key of each login", "loglevel verbose", _is("loglevel", "VERBOSE", "verbose")
    ),
    _check("exchange-first", "The first key exchange withstands quantum computers", few(SAFE_FIRST), _exchange),
    _check("exchange-weak", "No weak key exchange", "none", _nothing_weak("kexalgorithms", WEAK_EXCHANGES)),
    _check("ciphers", "No weak cipher", "none", _nothing_weak("ciphers", WEAK_CIPHERS)),
    _check("macs", "No weak message code", "none", _nothing_weak("macs", WEAK_MACS), severity="note"),
    _check("key-types", "No weak type of user key", "none", _nothing_weak("pubkeyacceptedalgorithms", WEAK_KEYS)),
    _check("penalties", "Failed logins from the tailnet bring no penalty", "100.64.0.0/10 exempt", _penalties),
    _check(
        "owner",
        "One unit owns the port",
        "ssh.service or ssh.socket, not both",
        _one_owner,
        shows="systemctl is-active ssh.service ssh.socket",
    ),
    _check(
        "host-keys",
        "Host keys are ED25519, or RSA of 3072 bits",
        "ED25519, RSA >= 3072",
        _host_key_kinds,
        shows="sshd -T, ssh-keygen -l -f <hostkey>.pub",
    ),
    _check(
        "host-key-modes",
        "Only root reads the host keys",
        "0600 root",
        _host_key_modes,
        shows="stat /etc/ssh/ssh_host_*_key",
    ),
]
