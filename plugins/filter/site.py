# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters of the wiring, from the document ``site`` to variables of roles. The ``.yml`` files beside it say more."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.sapflux.hosting.plugins.module_utils import _secrets
from ansible_collections.sapflux.hosting.plugins.module_utils import _site_hcloud as hcloud
from ansible_collections.sapflux.hosting.plugins.module_utils import _site_kuma as kuma
from ansible_collections.sapflux.hosting.plugins.module_utils import _site_wiring as wiring
from ansible_collections.sapflux.hosting.plugins.module_utils._site_complete import complete


def site_document(site: Any) -> dict[str, Any]:
    """The document with every default filled in."""
    try:
        return complete(site)
    except TypeError as error:
        raise AnsibleFilterError(f"{error}; write it in group_vars of your inventory") from error


def site_resolve(value: Any, secrets: Mapping[str, str]) -> Any:
    """A value with every ``${NAME}`` replaced by the secret of that name."""
    try:
        return _secrets.resolve(value, secrets)
    except _secrets.SecretError as error:
        raise AnsibleFilterError(str(error)) from error


def site_optional(value: Any, secrets: Mapping[str, str]) -> str:
    """A secret that the document may leave out: empty then. A reference that is written must have a value."""
    return str(site_resolve(value or "", secrets))


def site_if_known(value: Any, secrets: Mapping[str, str]) -> str:
    """A secret that the store may have lost: empty then."""
    try:
        return str(_secrets.resolve(value or "", secrets))
    except _secrets.SecretError:
        return ""


def site_services(site: Mapping[str, Any], secrets: Mapping[str, str]) -> list[dict[str, Any]]:
    """The variable ``app_services``."""
    try:
        return wiring.services(site, secrets)
    except _secrets.SecretError as error:
        raise AnsibleFilterError(str(error)) from error


def site_status(site: Mapping[str, Any], groups: Sequence[str]) -> dict[str, Any]:
    """Options of ``host_status`` for a host in these groups."""
    return wiring.status_options(site, list(groups))


def site_hcloud(site: Mapping[str, Any], cloudflare: Sequence[str] = ()) -> dict[str, Any]:
    """The variable ``hetzner_resources``; ``cloudflare`` is what the word stands for in a list of networks."""
    return hcloud.resources(site, cloudflare=cloudflare)


def site_hcloud_hook(site: Mapping[str, Any], playbooks: str) -> str:
    """The variable ``firewall_lockdown_hook``: a task file below ``playbooks``, nothing where SSH stays open there."""
    closes = hcloud.enabled(site) and hcloud.may_close(site)
    return f"{playbooks}/tasks/hetzner_close.yml" if closes else ""


def site_cloudflare(
    site: Mapping[str, Any], hostvars: Mapping[str, Any], groups: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """The variable ``cloudflare_resources``; ``hostvars`` say where the edge is if the document does not."""
    # Every task loads this file, and no other needs what is behind this.
    from ansible_collections.sapflux.hosting.plugins.module_utils import _site_cloudflare as cloudflare

    written = site["cloudflare"]["dns"]["addresses"]
    hosts = [] if written or not site["cloudflare"]["zone"] else groups.get("edge", [])
    return cloudflare.resources(site, cloudflare.public_addresses([hostvars[host] for host in hosts]))


def site_cloudflare_secrets(site: Mapping[str, Any], secrets: Mapping[str, str]) -> dict[str, str]:
    """The variable ``cloudflare_secrets``: what is needed of the store, in clear, empty where it is not written."""
    section = site["cloudflare"]
    return {
        "api_token": site_optional(section["api_token"], secrets),
        "certificate": site_optional(section["origin"]["certificate"], secrets),
        "private_key": site_optional(section["origin"]["private_key"], secrets),
    }


def site_cloudflare_store(site: Mapping[str, Any], secrets: Mapping[str, str]) -> dict[str, Any]:
    """The variable ``cloudflare_store``: where key pairs and tokens are kept."""
    doppler = site["cloudflare"]["doppler"]
    store: dict[str, Any] = {"file": site["secrets"]["file"]} if site["secrets"]["provider"] == "file" else {}
    if doppler["token"]:
        store["doppler"] = {**doppler, "token": site_resolve(doppler["token"], secrets)}
    return store


def deploy_probes(site: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The variable ``app_probes``."""
    return wiring.probes(site, on_host=True)


def site_kuma_secrets(site: Mapping[str, Any], secrets: Mapping[str, str]) -> str:
    """The variable ``monitoring_kuma_secrets``."""
    try:
        return kuma.secrets(site, secrets)
    except _secrets.SecretError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """Filters of this file, by name."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Name to function."""
        return {
            "site_document": site_document,
            "site_resolve": site_resolve,
            "site_optional": site_optional,
            "site_if_known": site_if_known,
            "site_services": site_services,
            "site_hcloud": site_hcloud,
            "site_hcloud_hook": site_hcloud_hook,
            "site_cloudflare": site_cloudflare,
            "site_cloudflare_secrets": site_cloudflare_secrets,
            "site_cloudflare_store": site_cloudflare_store,
            "site_ssh_cidrs": wiring.ssh_cidrs,
            "site_tailnet": wiring.tailnet,
            "site_tailnet_host": wiring.tailnet_host,
            "site_probe_address": wiring.probe_address,
            "site_caddy": wiring.caddy_sites,
            "site_exempt_cidrs": wiring.exempt_cidrs,
            "site_trusted_proxies": wiring.trusted_proxies,
            "site_app_units": wiring.app_units,
            "site_docker": wiring.docker_options,
            "site_walg_prefix": wiring.walg_prefix,
            "site_kuma": kuma.wishes,
            "site_kuma_secrets": site_kuma_secrets,
            "site_status": site_status,
            "site_probes": wiring.probes,
            "site_deploy_probes": deploy_probes,
            "site_closed_ports": wiring.closed_ports,
            "site_firewall_input": wiring.firewall_input,
        }
