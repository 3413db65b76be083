# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private: checks of Docker and its containers, of PostgreSQL, and of units and timers. Pure functions."""

from __future__ import annotations

import ipaddress
import re
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

NO_DOCKER = "Docker is not installed"
NO_POSTGRES = "no PostgreSQL server runs"
#: What gives a container power over its host.
POWERS = {
    "ALL",
    "SYS_ADMIN",
    "SYS_MODULE",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "NET_ADMIN",
    "DAC_READ_SEARCH",
    "BPF",
    "SYS_BOOT",
}
#: Directories of the host that a container has no business in.
HOST_PATHS = (
    "/",
    "/etc",
    "/root",
    "/home",
    "/proc",
    "/sys",
    "/dev",
    "/boot",
    "/usr",
    "/var",
    "/var/lib",
    "/run",
    "/var/run",
)
#: A unit of ours that is more exposed than this, in systemd's reckoning from 0 to 10, has been forgotten.
EXPOSURE = 6.0
#: Units that say by their own that they are Debian's or a product's, or that only set the kernel up at boot.
NOT_SANDBOXED = re.compile(r"^sapflux-(kernel|swap|firewall|app@.*)\.service$")


def _engine(facts: Facts) -> Dict[str, Any]:
    return dict(part(facts, "docker", NO_DOCKER))


def _info(key: str, *wanted: Any) -> Callable[[Facts], Verdict]:
    return lambda facts: equals(_engine(facts)["info"].get(key), *wanted)


def _version(facts: Facts) -> Verdict:
    version = str(_engine(facts)["info"]["version"])
    return Verdict(int(version.split(".", maxsplit=1)[0]) >= 26, version)


def _option(key: str, *wanted: Any) -> Callable[[Facts], Verdict]:
    return lambda facts: equals(_engine(facts)["config"].get(key), *wanted)


def _no_new(facts: Facts) -> Verdict:
    options = _engine(facts)["info"]["security"]
    return Verdict(any("no-new-privileges" in option for option in options), few(options))


def _logs_bounded(facts: Facts) -> Verdict:
    engine = _engine(facts)
    driver, size = engine["info"]["log_driver"], engine["config"].get("log-opts", {}).get("max-size", "")
    # The driver local has a bound of its own, json-file has none, journald has the journal's.
    return Verdict(driver in ("local", "journald") or bool(size), f"{driver} {size}".strip())


def _compose_bind(facts: Facts) -> Verdict:
    bridge = _engine(facts)["config"].get("default-network-opts", {}).get("bridge", {})
    return equals(bridge.get("com.docker.network.bridge.host_binding_ipv4"), "127.0.0.1")


def _remote(facts: Facts) -> Verdict:
    """An engine that listens on TCP gives everybody who reaches it the host."""
    _engine(facts)
    return none_of(f"{item['address']}:{item['port']}" for item in facts["listeners"] if item["port"] in (2375, 2376))


def _socket(facts: Facts) -> Verdict:
    stat = _engine(facts)["socket"]
    return Verdict(int(stat["mode"], 8) & 0o007 == 0, f"{stat['mode']} {stat['owner']}:{stat['group']}")


def _registries(facts: Facts) -> Verdict:
    return none_of(name for name in _engine(facts)["config"].get("insecure-registries", []) if not _private(name))


def _private(name: str) -> bool:
    try:
        return ipaddress.ip_network(name.rsplit(":", 1)[0]).is_private
    except ValueError:
        return name.split(":")[0] == "localhost"


def _pruned(facts: Facts) -> Verdict:
    _engine(facts)
    return equals(facts["units"].get("sapflux-docker-prune.timer", {}).get("ActiveState"), "active")


def _held(facts: Facts) -> Verdict:
    _engine(facts)
    engines = {"docker.io", "docker-ce"}
    held = engines & set(part(facts, "apt", "no apt")["held"])
    return Verdict(bool(held), few(sorted(held)))


def _containers(facts: Facts) -> List[Dict[str, Any]]:
    found: List[Dict[str, Any]] = _engine(facts)["containers"]
    if not found:
        raise NotApplicableError("there are no containers")
    return found


def _running(facts: Facts) -> List[Dict[str, Any]]:
    found = [item for item in _containers(facts) if item["state"] in ("running", "restarting", "paused")]
    if not found:
        raise NotApplicableError("no container runs")
    return found


def _each(bad: Callable[[Dict[str, Any]], Any]) -> Callable[[Facts], Verdict]:
    """Good when `bad` is false for every running container; what it says otherwise is shown with the name."""

    def judge(facts: Facts) -> Verdict:
        found = [(item["name"], bad(item)) for item in _running(facts)]
        return none_of(name if value is True else f"{name}: {value}" for name, value in found if value)

    return judge


def _powers(item: Dict[str, Any]) -> str:
    return ", ".join(sorted({name.replace("CAP_", "") for name in item["cap_add"]} & POWERS))


def _sockets(item: Dict[str, Any]) -> str:
    return ", ".join(path for path in item["mounts"] if path.endswith(("docker.sock", "containerd.sock")))


def _host_paths(item: Dict[str, Any]) -> str:
    return ", ".join(path for path in item["mounts"] if (path.rstrip("/") or "/") in HOST_PATHS)


def _published(item: Dict[str, Any]) -> str:
    return ", ".join(
        f"{port['ip'] or 'every address'}:{port['port']}" for port in item["ports"] if not _loopback(port["ip"])
    )


def _loopback(address: str) -> bool:
    return bool(address) and ipaddress.ip_address(address).is_loopback


def _drift(facts: Facts) -> Verdict:
    engine = _engine(facts)
    driver, options = engine["info"]["log_driver"], engine["config"].get("log-opts", {})
    # A log driver of the container's own is a decision; one that was the engine's default once is drift.
    return none_of(
        f"{item['name']}: {item['log_driver']} {item['log_options']}"
        for item in _containers(facts)
        if (item["log_driver"] == driver and item["log_options"] != options)
        or item["log_driver"] == "json-file" != driver
    )


def _unwell(item: Dict[str, Any]) -> str:
    if item["state"] == "restarting" or item["restarts"] > 5:
        return f"restarted {item['restarts']} times"
    return "unhealthy" if item["health"] == "unhealthy" else ""


def _database(facts: Facts) -> Dict[str, Any]:
    return dict(part(facts, "postgres", NO_POSTGRES))


def _listening(facts: Facts) -> Verdict:
    addresses = [name.strip() for name in _database(facts)["settings"]["listen_addresses"].split(",")]
    return Verdict(not {"*", "0.0.0.0", "::"} & set(addresses), few(addresses))  # noqa: S104 - looked for


def _rules(facts: Facts) -> Iterator[Tuple[Dict[str, Any], str]]:
    for rule in _database(facts)["hba"]:
        yield rule, f"line {rule['line']}: {rule['type']} {rule['user']} {rule['address'] or 'local'} {rule['method']}"


def _methods(facts: Facts) -> Verdict:
    return none_of(text for rule, text in _rules(facts) if rule["method"] in ("trust", "md5", "password", "ident"))


def _world(facts: Facts) -> Verdict:
    return none_of(
        text
        for rule, text in _rules(facts)
        if rule["method"] != "reject" and rule["address"] in ("0.0.0.0", "::", "all")  # noqa: S104
    )


def _errors(facts: Facts) -> Verdict:
    return none_of(f"line {rule['line']}: {rule['error']}" for rule, _text in _rules(facts) if rule["error"])


def _superusers(facts: Facts) -> Verdict:
    return none_of(name for name in _database(facts)["superusers"] if name != "postgres")


def _setting(key: str, *wanted: str) -> Callable[[Facts], Verdict]:
    return lambda facts: equals(_database(facts)["settings"].get(key), *wanted)


def _passwords(facts: Facts) -> Verdict:
    return none_of(_database(facts)["weak_passwords"])


def _data(facts: Facts) -> Verdict:
    stat = _database(facts)["data"]
    return Verdict(int(stat["mode"], 8) & 0o027 == 0, f"{stat['mode']} {stat['owner']}")


def _failed(facts: Facts) -> Verdict:
    return none_of(part(facts, "failed_units", "no systemd"))


def _ours(facts: Facts, suffix: str) -> Dict[str, Dict[str, str]]:
    found = {
        name: unit for name, unit in facts["units"].items() if name.startswith("sapflux-") and name.endswith(suffix)
    }
    if not found:
        raise NotApplicableError(f"no {suffix[1:]} of ours is here")
    return found


def _timers(facts: Facts) -> Verdict:
    return none_of(
        f"{name} {unit['ActiveState']} {unit['UnitFileState']}"
        for name, unit in _ours(facts, ".timer").items()
        if unit["ActiveState"] != "active" or unit["UnitFileState"] not in ("enabled", "static", "transient")
    )


def _results(facts: Facts) -> Verdict:
    return none_of(
        f"{name} {unit['Result']}" for name, unit in _ours(facts, ".service").items() if unit.get("Result") != "success"
    )


def _exposure(facts: Facts) -> Verdict:
    scores = {
        name: score
        for name, score in part(facts, "exposure", "systemd does not say").items()
        if name.startswith("sapflux-") and not NOT_SANDBOXED.match(name)
    }
    if not scores:
        raise NotApplicableError("no service of ours that could be fenced in is here")
    bad = [f"{name} {score}" for name, score in scores.items() if score > EXPOSURE]
    return Verdict(not bad, few(bad or [f"{name} {score}" for name, score in scores.items()]))


_JSON, _INFO, _ONE = "cat /etc/docker/daemon.json", "docker info", "docker inspect"
_HBA = "select * from pg_hba_file_rules"
CHECKS = [
    row("docker-version", "The engine is not too old", ">= 26", "docker version", _version),
    row(
        "docker-live-restore",
        "Containers live through a restart of the engine",
        "True",
        _INFO,
        _info("live_restore", True),
    ),
    row("docker-logs", "Logs of containers are bounded", "local, journald or max-size", _INFO, _logs_bounded),
    row(
        "docker-proxy",
        "No program stands between a port and its container",
        "False",
        _JSON,
        _option("userland-proxy", False),
    ),
    row("docker-privileges", "Programs in containers gain no privileges", "no-new-privileges", _INFO, _no_new),
    row("docker-bind", "Ports are published on loopback by default", "127.0.0.1", _JSON, _option("ip", "127.0.0.1")),
    row(
        "docker-bind-compose",
        "Ports on networks of Compose are published on loopback",
        "127.0.0.1",
        _JSON,
        _compose_bind,
    ),
    row("docker-remote", "The engine does not listen on the network", "none", "ss -ltn", _remote),
    row(
        "docker-socket",
        "The engine does not listen to everybody on this host",
        "0660 root:docker",
        "stat /run/docker.sock",
        _socket,
    ),
    row("docker-registries", "Registries outside are asked in TLS", "none", _JSON, _registries),
    row(
        "docker-prune",
        "Images that nothing uses are removed",
        "active",
        "systemctl is-active sapflux-docker-prune.timer",
        _pruned,
    ),
    row(
        "docker-held",
        "Only the role changes the engine's packages",
        "docker.io or docker-ce",
        "apt-mark showhold",
        _held,
    ),
    row("container-privileged", "No container is privileged", "none", _ONE, _each(lambda item: item["privileged"])),
    row(
        "container-host-net",
        "No container has the host's network",
        "none",
        _ONE,
        _each(lambda item: item["network"] == "host"),
    ),
    row(
        "container-host-pid",
        "No container sees the host's processes",
        "none",
        _ONE,
        _each(lambda item: "host" in (item["pid"], item["ipc"])),
    ),
    row("container-powers", "No container has a power over the host", "none", _ONE, _each(_powers)),
    row("container-socket", "No container holds the engine's socket", "none", _ONE, _each(_sockets)),
    row("container-paths", "No container has a directory of the host's own", "none", _ONE, _each(_host_paths)),
    row(
        "container-confined",
        "No container has put off its confinement",
        "none",
        _ONE,
        _each(lambda item: ", ".join(item["unconfined"])),
    ),
    row("container-published", "No container is published beyond loopback", "none", "docker ps", _each(_published)),
    row("container-well", "Every container is well", "none", "docker ps", _each(_unwell)),
    row(
        "container-user",
        "No container runs as root",
        "none",
        _ONE,
        _each(lambda item: item["user"].split(":")[0] in ("", "0", "root")),
        "note",
    ),
    row(
        "container-capabilities",
        "Each container gives up capabilities it does not need",
        "cap_drop ALL",
        _ONE,
        _each(lambda item: "ALL" not in item["cap_drop"]),
        "note",
    ),
    row(
        "container-read-only",
        "Each container has a read-only file system",
        "none",
        _ONE,
        _each(lambda item: not item["read_only"]),
        "note",
    ),
    row(
        "container-memory",
        "Each container has a bound of its memory",
        "none",
        _ONE,
        _each(lambda item: not item["memory"]),
        "note",
    ),
    row("container-logs", "Each container logs as the engine is told to now", "none", _ONE, _drift, "note"),
    row("postgres-listen", "PostgreSQL does not listen everywhere", "no *", "show listen_addresses", _listening),
    row(
        "postgres-methods",
        "Nobody gets into PostgreSQL without a good password",
        "no trust, md5, password",
        _HBA,
        _methods,
    ),
    row("postgres-world", "PostgreSQL lets nobody in from everywhere", "none", _HBA, _world),
    row("postgres-rules", "PostgreSQL understands its access rules", "none", _HBA, _errors),
    row("postgres-superusers", "postgres is the only superuser that logs in", "none", "\\du", _superusers),
    row(
        "postgres-encryption",
        "New passwords of PostgreSQL are stored as SCRAM",
        "scram-sha-256",
        "show password_encryption",
        _setting("password_encryption", "scram-sha-256"),
    ),
    row(
        "postgres-stored",
        "Every password of PostgreSQL is stored as SCRAM",
        "none",
        "select rolname from pg_authid",
        _passwords,
    ),
    row("postgres-data", "Only PostgreSQL reads its data", "0700 or 0750", "stat /var/lib/postgresql/17/main", _data),
    row("postgres-fsync", "PostgreSQL writes what it says it has written", "on", "show fsync", _setting("fsync", "on")),
    row(
        "postgres-full-page",
        "PostgreSQL heals a torn page",
        "on",
        "show full_page_writes",
        _setting("full_page_writes", "on"),
    ),
    row("unit-failed", "No unit has failed", "none", "systemctl --failed", _failed),
    row(
        "unit-timers",
        "Every timer of ours runs and starts at boot",
        "none stopped",
        "systemctl list-timers sapflux-*",
        _timers,
    ),
    row(
        "unit-results",
        "The last run of each service went well",
        "none failed",
        "systemctl show --property Result sapflux-*",
        _results,
    ),
    row(
        "unit-exposure", "Services of ours are fenced in", f"{EXPOSURE} or less", "systemd-analyze security", _exposure
    ),
]
