# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From keys of the document ``site`` to variables of roles (private to this collection).

Every function takes a complete document (see ``_site_complete.complete``) and answers plain data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.sapflux.hosting.plugins.module_utils._secrets import resolve

Site = Mapping[str, Any]

FIRST_HOST_PORT = 18080
POSTGRES_PORT = 5432
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
    return {
        "units": ["sapflux-firewall.service", *units],
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


def closed_ports(site: Site) -> list[int]:
    """TCP ports that must not answer from outside: the database and every loopback port of a service."""
    return [POSTGRES_PORT, *(host_port(index) for index, _service in enumerate(site["services"]))]
