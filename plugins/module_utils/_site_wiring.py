# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From keys of the document ``site`` to variables of roles (private to this collection).

Every function takes a complete document (see ``_site_complete.complete``) and answers plain data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.sapflux.hosting.plugins.module_utils._lockdown import lockdown_ssh_cidrs
from ansible_collections.sapflux.hosting.plugins.module_utils._secrets import resolve

Site = Mapping[str, Any]

FIRST_HOST_PORT = 18080
SSH_PORT = 22
HTTPS_PORT = 443
POSTGRES_PORT = 5432
TAILNET_INTERFACE = "tailscale0"
CADDY_ROOT = "/var/lib/caddy/.local/share/caddy/pki/authorities/local/root.crt"
UNITS = {
    "edge": ("caddy.service",),
    "app": ("docker.service", "sapflux-app@{name}.service"),
    "db": ("postgresql@{version}-main.service", "sapflux-backup.timer"),
}
"""Units a host runs, by the group it is in."""


def covers(pattern: str, path: str) -> bool:
    """Whether a route matches ``path``; ``/a/*`` covers ``/a`` and everything below it."""
    if pattern.endswith("/*"):
        stem = pattern.removesuffix("/*").lower()
        return path.lower() == stem or path.lower().startswith(f"{stem}/")
    return pattern.lower() == path.lower()


def host_port(index: int) -> int:
    """Loopback port of service number ``index``. The odd port above it is for a second container beside it."""
    return FIRST_HOST_PORT + 2 * index


def services(site: Site, secrets: Mapping[str, str]) -> list[dict[str, Any]]:
    """``app_services``: the services with their secrets in clear. Raises ``SecretError``."""
    return [
        {
            "name": service["name"],
            "image": service["image"],
            "port": service["port"],
            "host_port": host_port(index),
            "health_path": service["health"]["path"],
            "health_timeout": service["health"]["timeout"],
            "ready_path": service["ready"] or "",
            "migrate_path": service["migrate"] or "",
            "memory_mb": service["memory_mb"],
            "user": service["user"],
            "read_only": service["read_only"],
            "tmpfs": service["tmpfs"],
            "env": service["env"],
            "secrets": resolve(service["secrets"], secrets),
            "secrets_path": service["secrets_path"],
            "database_socket": service["database"] is not None,
            "extra_hosts": [],
        }
        for index, service in enumerate(site["services"])
    ]


def caddy_sites(site: Site) -> list[dict[str, Any]]:
    """``caddy_sites``: one site for each service, on its host name, in the order of the document."""
    return [
        {
            "hostname": service["hostname"],
            "max_body_mb": service["max_body_mb"],
            "routes": [
                answer for route in service["routes"] for answer in _answers(route, f"127.0.0.1:{host_port(index)}")
            ],
        }
        for index, service in enumerate(site["services"])
    ]


def _answers(route: Mapping[str, str], upstream: str) -> list[dict[str, str]]:
    """Caddy's routes for one of the document. ``/a/*`` covers ``/a`` too; where it denies, the role sees to that."""
    path = route["path"]
    if route["visibility"] == "never":
        return [{"path": path, "action": "deny"}]
    bare = [path.removesuffix("/*")] if path.endswith("/*") and path != "/*" else []
    return [{"path": each, "action": "proxy", "upstream": upstream} for each in (*bare, path)]


def docker_options(site: Site) -> dict[str, Any]:
    """``docker_daemon_options``: what the document adds to the defaults of the role."""
    registries = site["docker"]["insecure_registries"]
    return {"insecure-registries": registries} if registries else {}


def walg_prefix(site: Site) -> str:
    """Where in the bucket the backups are: a new generation or major version never mixes with an old one."""
    return f"pg/{site['name']}/{site['postgres']['version']}/g{site['backup']['generation']}"


def app_units(site: Site) -> list[str]:
    """``walg_app_units``: the units that use the database, which a restore in place stops and starts again."""
    return [unit.format(name=site["name"]) for unit in UNITS["app"][1:]] if site["services"] else []


def status_options(site: Site, groups: Sequence[str]) -> dict[str, Any]:
    """Options of ``host_status`` for a host that is in ``groups``."""
    edge, app = "edge" in groups, "app" in groups
    units = [
        unit.format(name=site["name"], version=site["postgres"]["version"])
        for group in UNITS
        if group in groups
        for unit in UNITS[group]
    ]
    urls = [
        f"http://127.0.0.1:{host_port(index)}{path}"
        for index, service in enumerate(site["services"])
        for path in (service["health"]["path"], service["ready"])
        if path
    ]
    tailscale = ["tailscaled.service"] if site["tailscale"]["enabled"] else []
    lifeline = ["sapflux-lockdown.timer"] if locks_down(site) else []
    return {
        "units": ["sapflux-firewall.service", *tailscale, *lifeline, *units],
        "hostnames": [service["hostname"] for service in site["services"]] if edge else [],
        "ca_file": CADDY_ROOT,
        "urls": urls if app else [],
        "project": site["name"] if app else "",
    }


def probes(site: Site) -> list[dict[str, Any]]:
    """Options ``routes`` of ``edge_probe``: what is meant to answer does, and what is meant to be hidden is."""
    asked: list[dict[str, Any]] = []
    for service in site["services"]:
        paths = [service["health"]["path"], service["ready"], service["migrate"]]
        paths += [
            route["path"].removesuffix("/*") or "/" for route in service["routes"] if route["visibility"] == "never"
        ]
        for path in dict.fromkeys(path for path in paths if path):
            open_ = visibility(service, path) == "public"
            # A migration is not for looking at: only that it is hidden is asked.
            if open_ and path == service["migrate"]:
                continue
            asked.append({"hostname": service["hostname"], "path": path, "status": 200 if open_ else 404})
    return asked


def visibility(service: Mapping[str, Any], path: str) -> str:
    """What the first matching route says about ``path``; a path without a route is reachable by nobody."""
    return next((route["visibility"] for route in service["routes"] if covers(route["path"], path)), "never")


def closed_ports(site: Site, facts: Mapping[str, Any]) -> list[int]:
    """TCP ports that must not answer from outside: the database and every loopback port of a service.

    On a host that is locked so is SSH, and 443 where only a proxy may ask. ``facts`` are those of preflight.
    """
    ssh = [] if ssh_cidrs(site, facts) else [SSH_PORT]
    https = [] if public(site["network"]["https_cidrs"]) else [HTTPS_PORT]
    return [*ssh, *https, POSTGRES_PORT, *(host_port(index) for index, _service in enumerate(site["services"]))]


def public(cidrs: Sequence[str]) -> bool:
    """Whether a list of networks lets everybody in."""
    return any(cidr.endswith("/0") for cidr in cidrs)


def probe_address(site: Site, facts: Mapping[str, Any], reached: str) -> str:
    """Where routes are asked: the public address, or, where only a proxy may ask there, where ``reached`` by SSH."""
    return str(facts["default_ipv4"]["address"]) if public(site["network"]["https_cidrs"]) else reached


def locks_down(site: Site) -> bool:
    """Whether SSH moves to the tailnet."""
    return bool(site["tailscale"]["enabled"] and site["tailscale"]["lockdown"])


def ssh_cidrs(site: Site, facts: Mapping[str, Any]) -> list[str]:
    """``firewall_ssh_cidrs``: the operator's networks until the host is locked. ``facts`` are those of preflight."""
    network = site["network"]
    state = facts.get("sapflux", {}).get("lockdown")
    return lockdown_ssh_cidrs(network["ssh_cidrs"], state, network["break_glass_cidrs"], locks_down(site))


def tailnet_host(tailscale: Mapping[str, Any], name: str) -> str:
    """Where SSH finds the host called ``name`` on the tailnet; empty where the document names no domain."""
    return f"{name}.{tailscale['domain']}" if tailscale["enabled"] and tailscale["domain"] else ""


def tailnet(site: Site) -> dict[str, Any]:
    """What the document's ``tailscale`` section means for the roles: states, interface and ports."""
    enabled = site["tailscale"]["enabled"]
    return {
        "lockdown": "present" if locks_down(site) else "absent",
        "interface": TAILNET_INTERFACE if enabled else "",
        # Whoever runs the server may look at the services although only a proxy may from outside.
        "ports": [HTTPS_PORT] if enabled else [],
    }
