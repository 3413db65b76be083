"""Write what `pulumi import --file` takes, for resources that the playbooks made.

    python infra/pulumi/adopt.py inventory/production/group_vars/all/site.yml > imports.json

Asks both clouds and changes nothing. CLOUDFLARE_API_TOKEN and HCLOUD_TOKEN are the tokens. What is not there yet is
left out: `pulumi up` makes it.
"""

from __future__ import annotations

import json
import os
import pathlib
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1] / ".ansible" / "collections"), str(HERE)]

import names  # noqa: E402
import yaml  # noqa: E402
from ansible_collections.sapflux.hosting.plugins.module_utils import (  # noqa: E402
    _dns_plan,
    _dns_records,
    _site_cloudflare,
    _site_hcloud,
)
from ansible_collections.sapflux.hosting.plugins.module_utils._cloudflare import (  # noqa: E402
    Cloudflare,
    CloudflareError,
)
from ansible_collections.sapflux.hosting.plugins.module_utils._http import Client, HttpError  # noqa: E402
from ansible_collections.sapflux.hosting.plugins.module_utils._site_complete import complete  # noqa: E402

Import = dict[str, str]
Listing = Callable[[str], list[dict[str, Any]]]
"""Gives everything of one kind (``servers``, ``primary_ips``, ...) that a project at Hetzner has."""


def hetzner_listing(token: str, base: str) -> Listing:
    """A :data:`Listing` that asks the API."""
    client = Client("Hetzner", base.rstrip("/"), {"Authorization": f"Bearer {token}"}, [token])

    def listing(kind: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        page: int | None = 1
        while page:
            body = client.request("GET", f"/{kind}", {"page": page, "per_page": 50}).body
            found += body[kind]
            page = ((body.get("meta") or {}).get("pagination") or {}).get("next_page")
        return found

    return listing


def imports(site: Mapping[str, Any], cloud: Cloudflare | None, listing: Listing | None) -> dict[str, list[Import]]:
    """What ``pulumi import --file`` takes. ``site`` is a complete document; a cloud that is None is left out."""
    found: list[Import] = []
    wanted = _site_hcloud.resources(site)
    held = {kind: {each["name"]: each for each in listing(kind)} for kind in KINDS} if listing else {}
    found += hetzner(wanted, held) if held else []
    edges = [server["name"] for server in wanted["servers"] if "edge" in server["groups"]]
    if cloud:
        addresses = [
            address(held["primary_ips"][f"{server}-{kind}"])
            for server in edges
            for kind in names.KINDS
            if held and f"{server}-{kind}" in held["primary_ips"]
        ]
        found += list(cloudflare(_site_cloudflare.resources(site, addresses), cloud))
    return {"resources": found}


KINDS = ("ssh_keys", "networks", "placement_groups", "firewalls", "primary_ips", "servers")


def entry(token: str, name: str, number: Any) -> Import:
    """One resource: its type, the name that the program gives it, and its id at the cloud."""
    return {"type": token, "name": name, "id": str(number)}


def hetzner(wanted: Mapping[str, Any], held: Mapping[str, Mapping[str, Any]]) -> list[Import]:
    """What of ``wanted`` is there, by name."""
    found: list[Import] = []

    def add(kind: str, token: str, label: str, name: str) -> None:
        if name in held[kind]:
            found.append(entry(f"hcloud:index/{token}", names.of(label, name), held[kind][name]["id"]))

    for key in wanted["ssh_keys"]:
        add("ssh_keys", "sshKey:SshKey", "ssh-key", key["name"])
    network = wanted["network"]
    if network:
        add("networks", "network:Network", "network", network["name"])
        there = held["networks"].get(network["name"]) or {"subnets": []}
        if network["subnet"]["ip_range"] in [subnet["ip_range"] for subnet in there["subnets"]]:
            number = f"{there['id']}-{network['subnet']['ip_range']}"
            found.append(entry("hcloud:index/networkSubnet:NetworkSubnet", names.of("subnet", network["name"]), number))
    if wanted["placement_group"]:
        add("placement_groups", "placementGroup:PlacementGroup", "placement-group", wanted["placement_group"]["name"])
        add("firewalls", "firewall:Firewall", "firewall", wanted["firewall"]["name"])
    for ip in wanted["primary_ips"]:
        add("primary_ips", "primaryIp:PrimaryIp", "primary-ip", ip["name"])
        there = held["primary_ips"].get(ip["name"]) or {}
        if there.get("dns_ptr"):
            number = f"p-{there['id']}-{address(there)}"
            found.append(entry("hcloud:index/rdns:Rdns", names.of("rdns", ip["name"]), number))
    for server in wanted["servers"]:
        add("servers", "server:Server", "server", server["name"])
    return found


def address(primary_ip: Mapping[str, Any]) -> str:
    """The address of a primary IP; of a network the first one, which its server takes."""
    text = str(primary_ip["ip"]).partition("/")[0]
    return f"{text}1" if text.endswith("::") else text


def cloudflare(found: Mapping[str, Any], cloud: Cloudflare) -> Iterator[Import]:
    """What of ``found`` (see ``_site_cloudflare.resources``) is there and ours."""
    if found["zone"]:
        zone = cloud.zone(found["zone"])["id"]
        yield from records(found, cloud, zone)
        for setting in found["settings"]:
            yield entry("cloudflare:index/zoneSetting:ZoneSetting", names.of("setting", setting), f"{zone}/{setting}")
        for phase in found["rules"]:
            there = cloud.find(f"/zones/{zone}/rulesets/phases/{phase['phase']}/entrypoint") or {}
            if phase["rules"] and there.get("rules"):
                name = names.of("rules", phase["phase"])
                yield entry("cloudflare:index/ruleset:Ruleset", name, f"zones/{zone}/{there['id']}")
    for bucket in found["buckets"]:
        where, account = bucket["jurisdiction"], found["account_id"]
        path = f"/accounts/{account}/r2/buckets"
        listed = cloud.pages(path, headers={"cf-r2-jurisdiction": where}, key="buckets")
        if bucket["name"] in [each["name"] for each in listed]:
            number = f"{account}/{bucket['name']}/{where}"
            yield entry("cloudflare:index/r2Bucket:R2Bucket", names.of("bucket", bucket["name"]), number)


def records(found: Mapping[str, Any], cloud: Cloudflare, zone: str) -> Iterator[Import]:
    """Those of our records that are wanted, each by what it says."""
    there: dict[tuple[str, str, str], str] = {}
    for raw in cloud.pages(f"/zones/{zone}/dns_records", size=1000):
        try:
            record = _dns_records.parse(raw, found["zone"])
        except CloudflareError:
            continue  # of a form that nothing here makes
        there[(*record.group, record.identity)] = str(raw["id"])
    scope = _dns_plan.Scope(found["zone"], _site_cloudflare.OWNER)
    for name, record in zip(names.records(found), _dns_plan.wishes(found["records"], scope), strict=True):
        number = there.get((*record.group, record.identity))
        if number:
            yield entry("cloudflare:index/dnsRecord:DnsRecord", name, f"{zone}/{number}")


def main() -> None:
    """The command."""
    if len(sys.argv) != 2:
        sys.exit("usage: python infra/pulumi/adopt.py <group_vars/all/site.yml> > imports.json")
    site = complete(yaml.safe_load(pathlib.Path(sys.argv[1]).read_text(encoding="utf-8"))["site"])
    token, other = os.environ.get("CLOUDFLARE_API_TOKEN"), os.environ.get("HCLOUD_TOKEN")
    try:
        cloud = Cloudflare(token, site["cloudflare"]["base_url"]) if token and _site_cloudflare.enabled(site) else None
        listing = hetzner_listing(other, site["hetzner"]["endpoint"]) if other and _site_hcloud.enabled(site) else None
        if cloud is None and listing is None:
            sys.exit("there is nothing to ask: set CLOUDFLARE_API_TOKEN or HCLOUD_TOKEN, for what the document names")
        print(json.dumps(imports(site, cloud, listing), indent=2))
    except (CloudflareError, HttpError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
