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
KUMA_PORT = 3001
TAILNET_INTERFACE = "tailscale0"
#: Who reaches a route with the visibility `tailnet`: addresses of every tailnet, and of the host itself for none.
TAILNET_CIDRS = ("100.64.0.0/10", "fd7a:115c:a1e0::/48")
LOOPBACK = ("127.0.0.0/8", "::1/128")
UPSTREAMS = "/etc/sapflux/upstreams"
KUMA_UPSTREAM = f"{UPSTREAMS}/sapflux-kuma"
MAINTENANCE = "/etc/sapflux/maintenance"
CADDY_ROOT = "/var/lib/caddy/.local/share/caddy/pki/authorities/local/root.crt"
CA_FILES = {"internal": CADDY_ROOT, "origin": "/var/lib/sapflux/origin/origin.pem", "dns01": ""}
"""What vouches for the sites, by ``tls.mode``: the system's authorities where there is no file."""
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
    """Loopback port of service number ``index``. The odd port above it is that of its second slot."""
    return FIRST_HOST_PORT + 2 * index


def upstream_file(site: Site, service: Mapping[str, Any]) -> str:
    """The file that holds the address of the slot that serves."""
    return f"{UPSTREAMS}/{site['name']}-{service['name']}"


def _hostnames(site: Site) -> set[str]:
    """The public names of the services."""
    return {service["hostname"] for service in site["services"] if service["hostname"]}


def _own_names(site: Site, service: Mapping[str, Any]) -> list[str]:
    """The host's own sites, but the service's, for its containers: Caddy listens where they reach the host."""
    return [f"{name}:host-gateway" for name in sorted(_hostnames(site) - {service["hostname"]})]


def firewall_input(site: Site) -> list[dict[str, Any]]:
    """``firewall_input``: containers reach Caddy where a service has another one to ask by its public name."""
    # Every task loads this file, and no other function needs what is behind this.
    from ansible_collections.sapflux.hosting.plugins.module_utils._compose_model import bridge_name

    return (
        []
        if len(_hostnames(site)) < 2
        else [{"interface": bridge_name(site["name"]), "protocol": "tcp", "port": HTTPS_PORT}]
    )


def services(site: Site, secrets: Mapping[str, str]) -> list[dict[str, Any]]:
    """``app_services``: the services with their secrets in clear. Raises ``SecretError``."""
    internal = site["tls"]["mode"] == "internal"
    return [
        {
            "name": service["name"],
            "image": service["image"],
            "port": service["port"],
            "host_port": host_port(index),
            "standby_port": host_port(index) + 1,
            "blue_green": service["blue_green"],
            "health_path": service["health"]["path"],
            "health_timeout": service["health"]["timeout"],
            "ready_path": service["ready"] or "",
            "migrate_path": service["migrate"] or "",
            "migrate_irreversible": service["migrate_irreversible"],
            "drain_sql": service["drain"]["sql"],
            "drain_database": service["database"] if service["drain"]["sql"] else "",
            "drain_timeout": service["drain"]["timeout"],
            "stop_grace": service["drain"]["grace"],
            "assets": service["assets"],
            "memory_mb": service["memory_mb"],
            "user": service["user"],
            "read_only": service["read_only"],
            "tmpfs": service["tmpfs"],
            "env": service["env"],
            "secrets": resolve(service["secrets"], secrets),
            "secrets_path": service["secrets_path"],
            "doppler": _doppler(site, service["doppler"], secrets),
            "database_socket": service["database"] is not None,
            # Nobody else vouches for these names, and no resolver knows them.
            "ca_file": CADDY_ROOT if internal else "",
            "extra_hosts": _own_names(site, service) if internal else [],
        }
        for index, service in enumerate(site["services"])
    ]


def _doppler(site: Site, source: Mapping[str, Any], secrets: Mapping[str, str]) -> dict[str, Any]:
    """Where a service's secrets are in Doppler, and what Clerk's keys among them must be of; empty for none."""
    if not source["token"]:
        return {}
    where = {key: source[key] for key in ("only", "api_host")}
    token = resolve(source["token"], secrets)
    return {**where, "token": token, "environment": site["environment"], "domain": site["domain"]}


def caddy_sites(site: Site) -> list[dict[str, Any]]:
    """``caddy_sites``: one site for each service, on its host name, in the order of the document, and Uptime Kuma's."""
    kuma = site["monitoring"]["kuma"]
    dashboard = {
        "hostname": kuma["hostname"],
        # The file is there once the server has its user: before, whoever came first would be it.
        "routes": _answers({"path": "/*", "visibility": "tailnet"}, KUMA_UPSTREAM),
    }
    return [
        {
            "hostname": service["hostname"],
            "max_body_mb": service["max_body_mb"],
            "headers": service["headers"],
            "csp": _policy(service["csp"]),
            "maintenance_file": f"{MAINTENANCE}/{site['name']}",
            "routes": [
                answer for route in service["routes"] for answer in _answers(route, upstream_file(site, service))
            ],
        }
        for service in site["services"]
    ] + ([dashboard] if kuma["enabled"] and kuma["hostname"] else [])


def _policy(csp: Mapping[str, Any]) -> dict[str, Any] | None:
    """A site's ``csp``; None where the service has none."""
    return {key: csp[key] for key in ("clerk", "umami", "sources", "report_only")} if csp["enabled"] else None


def _answers(route: Mapping[str, str], upstream: str) -> list[dict[str, Any]]:
    """Caddy's routes for one of the document. ``/a/*`` covers ``/a`` too; where it denies, the role sees to that."""
    path = route["path"]
    if route["visibility"] == "never":
        return [{"path": path, "action": "deny"}]
    bare = [path.removesuffix("/*")] if path.endswith("/*") and path != "/*" else []
    some = {"from_cidrs": list(TAILNET_CIDRS)} if route["visibility"] == "tailnet" else {}
    return [{"path": each, "action": "proxy", "upstream_file": upstream, **some} for each in (*bare, path)]


def exempt_cidrs(site: Site) -> list[str]:
    """``caddy_origin_pulls_exempt_cidrs``: who is answered without the edge's certificate, the host and the tailnet."""
    return [*LOOPBACK, *(TAILNET_CIDRS if site["tailscale"]["enabled"] else ())]


def trusted_proxies(site: Site) -> list[str]:
    """``caddy_trusted_proxies``: Cloudflare's edge, where only it may connect. Others who may connect are clients."""
    return [cidr for cidr in site["network"]["https_cidrs"] if cidr == "cloudflare"]


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
        # Which slot serves is known on the host only.
        f"upstream://{site['name']}-{service['name']}{path}"
        for service in site["services"]
        for path in (service["health"]["path"], service["ready"])
        if path
    ]
    tailscale = ["tailscaled.service"] if site["tailscale"]["enabled"] else []
    lifeline = ["sapflux-lockdown.timer"] if locks_down(site) else []
    falls_back = site["tls"]["mode"] == "dns01" and site["tls"]["origin_token"]
    certificates = ["sapflux-certificates.timer"] if edge and falls_back else []
    return {
        "units": ["sapflux-firewall.service", *tailscale, *lifeline, *certificates, *units],
        "hostnames": [service["hostname"] for service in site["services"]] if edge else [],
        "ca_file": CA_FILES[site["tls"]["mode"]],
        "urls": urls if app else [],
        "project": site["name"] if app else "",
    }


def probes(site: Site, on_host: bool = False) -> list[dict[str, Any]]:
    """Options ``routes`` of ``edge_probe``: what is meant to answer does, and what is meant to be hidden is.

    Whether the routes of the tailnet are hidden is asked ``on_host``, and by the controller only where it asks at the
    public address: else it is reached over the tailnet, for which they are open.
    """
    stranger = on_host or public(site["network"]["https_cidrs"])
    asked: list[dict[str, Any]] = []
    for service in site["services"]:
        paths = [service["health"]["path"], service["ready"], service["migrate"]]
        paths += [
            route["path"].removesuffix("/*") or "/" for route in service["routes"] if route["visibility"] != "public"
        ]
        for path in dict.fromkeys(path for path in paths if path):
            seen = visibility(service, path)
            open_ = seen == "public"
            if seen == "tailnet" and not stranger:
                continue
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
    slots = [
        port for index, _service in enumerate(site["services"]) for port in (host_port(index), host_port(index) + 1)
    ]
    kuma = [KUMA_PORT] if site["monitoring"]["kuma"]["enabled"] else []
    return [*ssh, *https, POSTGRES_PORT, *slots, *kuma]


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
