"""From the document to resources of Pulumi, over the same pure derivations that the playbooks use.

What is made: the servers at Hetzner Cloud and what belongs to them; records, settings and rules of the zone at
Cloudflare; buckets of R2. What is not: key pairs, tokens and the certificate of the edge, because the state of the
stack would hold their secrets. The playbook clouds keeps those either way.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import names
import pulumi
import pulumi_cloudflare as cloudflare
import pulumi_hcloud as hcloud
import yaml
from ansible_collections.sapflux.hosting.plugins.module_utils import _ruleset, _site_cloudflare, _site_hcloud
from ansible_collections.sapflux.hosting.plugins.module_utils._site_complete import complete
from ansible_collections.sapflux.hosting.plugins.module_utils._site_validate import validate
from pulumi import Output, ResourceOptions

SSH = ("keep", "open", "closed")
MARKS = [f'labels["{mark}"]' for mark in _site_hcloud.MARKS]
FIXED = ["image", "location", "sshKeys", "userData"]
"""What only a rebuild changes: to Pulumi a change would mean another server, and this one's data gone."""


class DocumentError(Exception):
    """The document is not one that resources can be made from. Says everything that is wrong, and the way out."""


def read(path: pathlib.Path) -> dict[str, Any]:
    """The document in a file of the inventory. Raises :class:`DocumentError`."""
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DocumentError(
            f"there is no document {path} ({error.strerror}); name it with `pulumi config set document <file>`"
        ) from None
    except yaml.YAMLError:
        raise DocumentError(f"{path} is no YAML; `ansible-playbook playbooks/check.yml` shows where") from None
    if not isinstance(loaded, Mapping) or not isinstance(loaded.get("site"), Mapping):
        raise DocumentError(f"{path} has no mapping `site`; name the file of the document, group_vars/all/site.yml")
    return dict(loaded["site"])


def checked(document: Mapping[str, Any], ssh: str) -> dict[str, Any]:
    """The complete document. Raises :class:`DocumentError` with every mistake that the playbooks would refuse."""
    if ssh not in SSH:
        raise DocumentError(f"ssh is {ssh!r}; write one of: {', '.join(SSH)}")
    # The secret store is none of Pulumi's business, and is where a document is most often a template.
    given = {**document, "secrets": {"provider": "file", "file": "/nowhere"}}
    problems = [str(problem) for problem in validate(given)]
    if problems:
        raise DocumentError("the document has mistakes:\n  " + "\n  ".join(problems))
    return complete(given)


def build(document: Mapping[str, Any], ssh: str = "keep") -> None:
    """Declare every resource, and export ``hosts`` for the inventory. Raises :class:`DocumentError`."""
    site = checked(document, ssh)
    wanted = _site_hcloud.resources(site, "open" if ssh == "keep" else ssh)
    refuse_templates(wanted, _site_cloudflare.resources(site))
    addresses = servers(wanted, keep_ssh=ssh == "keep")
    pulumi.export("hosts", {server["name"]: host(server, addresses) for server in wanted["servers"]})
    edges = [server["name"] for server in wanted["servers"] if "edge" in server["groups"]]
    found = _site_cloudflare.resources(site, names.placeholders(edges))
    if found["zone"]:
        if found["pending"]:
            raise DocumentError("nobody says where the edge is; write site.hetzner.servers or cloudflare.dns.addresses")
        zone(found, {text: addresses[key] for key, text in names.placeholder_keys(edges).items()})
    buckets(found)


def refuse_templates(*wanted: Mapping[str, Any]) -> None:
    """Raise where a value is still a template, which only Ansible evaluates."""
    text = str(wanted)
    if "{{" in text:
        piece = text[text.index("{{") :].partition("}}")[0]
        raise DocumentError(f"the document has the template {piece}}}}} where Pulumi needs a value; write the value")


def host(server: Mapping[str, Any], addresses: Mapping[tuple[str, str], Output[str]]) -> dict[str, Any]:
    """What the inventory says of a server."""
    return {
        "groups": server["groups"],
        "tailnet_host": server["tailnet_host"],
        "ipv4": addresses[server["name"], "ipv4"],
        "ipv6": addresses[server["name"], "ipv6"],
    }


def number(resource: Any) -> Output[int]:
    """The id of a resource at Hetzner, as others refer to it."""
    return Output.from_input(resource.id).apply(int)


def servers(wanted: Mapping[str, Any], *, keep_ssh: bool) -> dict[tuple[str, str], Output[str]]:
    """Everything at Hetzner. Answers the addresses by (server, ``ipv4`` or ``ipv6``)."""
    if not wanted["servers"]:
        return {}
    keys = {
        key["name"]: hcloud.SshKey(
            names.of("ssh-key", key["name"]), name=key["name"], public_key=key["public_key"], labels=key["labels"]
        )
        for key in wanted["ssh_keys"]
    }
    network, subnets = None, []
    if wanted["network"]:
        of = wanted["network"]
        network = hcloud.Network(
            names.of("network", of["name"]), name=of["name"], ip_range=of["ip_range"], labels=of["labels"]
        )
        subnets = [hcloud.NetworkSubnet(names.of("subnet", of["name"]), network_id=number(network), **of["subnet"])]
    group = hcloud.PlacementGroup(
        names.of("placement-group", wanted["placement_group"]["name"]), **wanted["placement_group"]
    )
    of = wanted["firewall"]
    firewall = hcloud.Firewall(
        names.of("firewall", of["name"]),
        name=of["name"],
        labels=of["labels"],
        rules=[{key: value for key, value in rule.items() if value is not None} for rule in of["rules"]],
        # Once SSH has moved the playbooks close it here, and a run of Pulumi must not open it again by the way.
        opts=ResourceOptions(ignore_changes=["rules", "labels"] if keep_ssh else None),
    )
    ips = {
        ip["name"]: hcloud.PrimaryIp(
            names.of("primary-ip", ip["name"]),
            assignee_type="server",
            opts=ResourceOptions(protect=ip["delete_protection"]),
            **{key: value for key, value in ip.items() if key not in ("server", "dns_ptr")},
        )
        for ip in wanted["primary_ips"]
    }
    addresses: dict[tuple[str, str], Output[str]] = {}
    for ip in wanted["primary_ips"]:
        address = first_address(ips[ip["name"]], ip["type"])
        addresses[ip["server"], ip["type"]] = address
        hcloud.Rdns(
            names.of("rdns", ip["name"]),
            primary_ip_id=number(ips[ip["name"]]),
            ip_address=address,
            dns_ptr=ip["dns_ptr"],
        )
    for server in wanted["servers"]:
        hcloud.Server(
            names.of("server", server["name"]),
            **{
                key: server[key]
                for key in ("name", "server_type", "image", "location", "labels", "backups", "user_data")
            },
            ssh_keys=[Output.from_input(keys[name].id) for name in server["ssh_keys"]],
            firewall_ids=[number(firewall)],
            placement_group_id=number(group),
            networks=[{"network_id": number(network)}] if network is not None else None,
            public_nets=[
                {
                    "ipv4_enabled": True,
                    "ipv4": number(ips[server["ipv4"]]),
                    "ipv6_enabled": True,
                    "ipv6": number(ips[server["ipv6"]]),
                }
            ],
            keep_disk=True,
            delete_protection=server["delete_protection"],
            rebuild_protection=server["rebuild_protection"],
            opts=ResourceOptions(
                ignore_changes=[*FIXED, *MARKS], protect=server["delete_protection"], depends_on=subnets
            ),
        )
    return addresses


def first_address(ip: Any, kind: str) -> Output[str]:
    """The address of a primary IP; of IPv6 Hetzner gives a network, whose first address the server takes."""
    address: Output[str] = ip.ip_address
    return address if kind == "ipv4" else address.apply(lambda text: f"{text}1" if text.endswith("::") else text)


def zone(found: Mapping[str, Any], addresses: Mapping[str, Output[str]]) -> None:
    """Records, settings and rules of the zone; ``addresses`` are those behind the placeholders in the records."""
    zone_id = cloudflare.get_zone_output(filter={"name": found["zone"]}).zone_id
    for name, body in names.records(found).items():
        known = {key: addresses.get(value, value) if key == "content" else value for key, value in body.items()}
        cloudflare.DnsRecord(name, zone_id=zone_id, **known)
    for setting, value in found["settings"].items():
        cloudflare.ZoneSetting(names.of("setting", setting), zone_id=zone_id, setting_id=setting, value=value)
    for phase in found["rules"]:
        rules = [_ruleset.wish(rule, _site_cloudflare.PREFIX) for rule in phase["rules"]]
        if rules:
            cloudflare.Ruleset(
                names.of("rules", phase["phase"]),
                zone_id=zone_id,
                kind="zone",
                name="default",
                phase=phase["phase"],
                rules=rules,
            )


def buckets(found: Mapping[str, Any]) -> None:
    """Buckets, with what scripts of other sites may do with them."""
    for bucket in found["buckets"]:
        where = {"account_id": found["account_id"], "jurisdiction": bucket["jurisdiction"]}
        made = cloudflare.R2Bucket(
            names.of("bucket", bucket["name"]),
            name=bucket["name"],
            location=bucket["location"],
            # Its objects are the backups, or somebody's work.
            opts=ResourceOptions(protect=True),
            **where,
        )
        if bucket["cors"]:
            cloudflare.R2BucketCors(
                names.of("cors", bucket["name"]), bucket_name=made.name, rules=cors(bucket["cors"]), **where
            )


def cors(rules: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """CORS rules in the form of the API."""
    return [
        {"allowed": {"origins": rule["origins"], "methods": rule["methods"], "headers": rule["headers"]}}
        for rule in rules
    ]
