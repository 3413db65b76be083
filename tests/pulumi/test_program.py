"""The Pulumi program makes what the playbooks make, and neither plans a change after the other."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.sapflux.hosting.plugins.module_utils import _pulumi, _site_cloudflare, _site_hcloud
from ansible_collections.sapflux.hosting.plugins.module_utils._cloudflare import Cloudflare
from ansible_collections.sapflux.hosting.plugins.module_utils._site_complete import complete

from tests.clouds.world import TOKEN, account
from tests.doubles.cloudflare import ACCOUNT, dns, r2
from tests.doubles.web import Request, Routes, WebDouble
from tests.pulumi import mocks
from tests.pulumi.mocks import Declared
from tests.unit.fixtures import ROOT, SECRETS, document, drop, put

NOWHERE = put("cloudflare.dns.addresses", [])
CAA = put("cloudflare.dns.records", [{"type": "CAA", "name": "@", "content": '0 issue "letsencrypt.org"'}])
IN_THE_ZONE = (put("cloudflare.dns.addresses", ["198.51.100.10"]), CAA)


def snake(value: Any) -> Any:
    """Inputs by the names of the clouds' APIs, numbers whole again."""
    if isinstance(value, dict):
        return {re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", key).lower(): snake(item) for key, item in value.items()}
    if isinstance(value, list):
        return [snake(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def of(declared: list[Declared], kind: str) -> dict[str, dict[str, Any]]:
    """The inputs of all resources of a kind, by name."""
    return {each.name: snake(each.inputs) for each in declared if each.type.endswith(f":{kind}")}


def test_the_servers_are_those_of_the_playbooks() -> None:
    site = document(NOWHERE)
    declared, _outputs = mocks.run(site)
    wanted = _site_hcloud.resources(complete(site))
    (server,) = of(declared, "Server").values()
    (want,) = wanted["servers"]
    same = (
        "name",
        "server_type",
        "image",
        "location",
        "backups",
        "delete_protection",
        "rebuild_protection",
        "user_data",
    )
    assert {key: server[key] for key in same} == {key: want[key] for key in same}
    assert {key.replace("_", "-"): value for key, value in server["labels"].items()} == {
        key.replace("_", "-"): value for key, value in want["labels"].items()
    }
    (firewall,) = of(declared, "Firewall").values()
    rules = [{**rule, "port": rule.get("port")} for rule in firewall["rules"]]
    assert rules == wanted["firewall"]["rules"]
    ips = of(declared, "PrimaryIp")
    assert [(ip["name"], ip["type"], ip["auto_delete"]) for ip in ips.values()] == [
        (ip["name"], ip["type"], ip["auto_delete"]) for ip in wanted["primary_ips"]
    ]
    assert {each["dns_ptr"] for each in of(declared, "Rdns").values()} == {"sapflux-1.sapflux.test"}
    (subnet,) = of(declared, "NetworkSubnet").values()
    assert {key: subnet[key] for key in wanted["network"]["subnet"]} == wanted["network"]["subnet"]
    assert [each["public_key"] for each in of(declared, "SshKey").values()] == [
        key["public_key"] for key in wanted["ssh_keys"]
    ]
    assert len(of(declared, "PlacementGroup")) == 1


def test_names_of_services_point_to_the_servers_that_are_being_made() -> None:
    declared, _outputs = mocks.run(document(NOWHERE))
    records = of(declared, "DnsRecord").values()
    found = {(each["type"], each["name"], each["content"]) for each in records if each["type"] in ("A", "AAAA")}
    assert found == {
        (kind, name, address)
        for name in ("api.sapflux.test", "sapflux.test")
        for kind, address in (("A", mocks.IPV4), ("AAAA", mocks.IPV6))
    }


def test_no_secret_is_in_the_state() -> None:
    declared, outputs = mocks.run(document(NOWHERE))
    text = json.dumps([each.inputs for each in declared]) + json.dumps(outputs)
    assert "${" not in text
    assert [value for value in SECRETS.values() if value in text] == []
    assert not [each.type for each in declared if "oken" in each.type or "Certificate" in each.type]


def test_what_would_lose_data_is_protected_and_what_only_a_rebuild_changes_is_left() -> None:
    options = mocks.options(document(NOWHERE))
    server = options["server-sapflux-1"]
    assert server.protect
    assert {"image", "location", "sshKeys", "userData", 'labels["ssh-keys"]'} <= set(server.ignore_changes)
    assert options["bucket-sapflux-objects"].protect
    assert options["primary-ip-sapflux-1-ipv4"].protect
    assert options["firewall-sapflux"].ignore_changes == ["rules", "labels"]
    closed = mocks.options(document(NOWHERE), ssh="closed")
    assert not closed["firewall-sapflux"].ignore_changes
    declared, _outputs = mocks.run(document(NOWHERE), ssh="closed")
    (firewall,) = of(declared, "Firewall").values()
    ssh = [rule["source_ips"] for rule in firewall["rules"] if rule.get("port") == "22"]
    assert ssh == [["203.0.113.0/24"]]


def test_both_ways_give_the_same_inventory() -> None:
    """What the inventory of Hetzner Cloud says of a server follows from its name, its labels and its address."""
    site = document(NOWHERE)
    _declared, outputs = mocks.run(site)
    found = _pulumi.hosts(json.loads(json.dumps(outputs)), "hosts")
    (server,) = _site_hcloud.resources(complete(site))["servers"]
    groups = [key.removeprefix("group-") for key in server["labels"] if key.startswith("group-")]
    assert {name: host["groups"] for name, host in found.items()} == {server["name"]: groups}
    variables = found[server["name"]]["variables"]
    assert variables["ansible_host"] == "sapflux-1.tail1234.example.org"
    assert variables["sapflux_public_host"] == mocks.IPV4
    assert _site_cloudflare.public_addresses([variables]) == [mocks.IPV4, mocks.IPV6]


def load(cloud: Cloudflare, zone: str, declared: list[Declared]) -> None:
    """Make at Cloudflare what Pulumi would make there."""
    for record in of(declared, "DnsRecord").values():
        del record["zone_id"]
        cloud.result("POST", f"/zones/{zone}/dns_records", record)
    for setting in of(declared, "ZoneSetting").values():
        cloud.result("PATCH", f"/zones/{zone}/settings/{setting['setting_id']}", {"value": setting["value"]})
    for rules in of(declared, "Ruleset").values():
        cloud.result("PUT", f"/zones/{zone}/rulesets/phases/{rules['phase']}/entrypoint", {"rules": rules["rules"]})
    for bucket in of(declared, "R2Bucket").values():
        where = {"cf-r2-jurisdiction": bucket["jurisdiction"]}
        body = {"name": bucket["name"], "locationHint": bucket["location"]}
        cloud.ask("POST", f"/accounts/{ACCOUNT}/r2/buckets", body, headers=where)
    for cors in of(declared, "R2BucketCors").values():
        where = {"cf-r2-jurisdiction": cors["jurisdiction"]}
        path = f"/accounts/{ACCOUNT}/r2/buckets/{cors['bucket_name']}/cors"
        cloud.ask("PUT", path, {"rules": cors["rules"]}, headers=where)


def test_switching_at_cloudflare_plans_no_change(tmp_path: Path) -> None:
    import adopt

    with account(tmp_path, *IN_THE_ZONE) as here:
        declared, _outputs = mocks.run(here.site)
        cloud = Cloudflare(TOKEN, here.site["cloudflare"]["base_url"])
        load(cloud, here.zone, declared)
        # From Pulumi to the playbooks: what Pulumi leaves to them is all that they would make.
        planned = here.run("--check")
        assert planned.code == 0, planned.text[-3000:]
        made = re.findall(r"^ +\"((?:create|change|remove) [^\"]*)\"", planned.text, re.MULTILINE)
        assert [
            each
            for each in made
            if not re.match(r"create (token|key pair|client certificate)|change origin pulls", each)
        ] == []
        assert len([each for each in made if each.startswith("create")]) == 5
        # From the playbooks to Pulumi: everything that it would make is there to be adopted, by its name.
        found = adopt.imports(complete(here.site), cloud, None)["resources"]
        ours = {(each.type, each.name) for each in declared if each.type.startswith("cloudflare:")}
        assert {(each["type"], each["name"]) for each in found} == {
            each for each in ours if not each[0].endswith("R2BucketCors")
        }
        ids = {each["name"]: each["id"].rpartition("/")[2] for each in found if each["type"].endswith("DnsRecord")}
        held = dns.records_of(here.cloud, here.zone)
        assert {name: held[number]["name"] for name, number in ids.items()} == {
            each.name: each.inputs["name"] for each in declared if each.type.endswith("DnsRecord")
        }
        assert {(where, name) for where, name in here.cloud.part(r2.Buckets).all} == {
            tuple(reversed(each["id"].split("/")[1:])) for each in found if each["type"].endswith("R2Bucket")
        }


def test_everything_at_hetzner_is_there_to_be_adopted() -> None:
    import adopt

    site = document(drop("cloudflare"))
    declared, _outputs = mocks.run(site)
    kinds = {"SshKey": "ssh_keys", "Network": "networks", "PlacementGroup": "placement_groups", "Firewall": "firewalls"}
    kinds |= {"PrimaryIp": "primary_ips", "Server": "servers"}
    project: dict[str, list[dict[str, Any]]] = {kind: [] for kind in kinds.values()}
    for kind, plural in kinds.items():
        for each in of(declared, kind).values():
            project[plural].append({"id": 100 + len(project[plural]), **each})
    for network in project["networks"]:
        network["subnets"] = [{"ip_range": "10.20.0.0/24"}]
    for ip in project["primary_ips"]:
        ip |= {"ip": "198.51.100.10" if ip["type"] == "ipv4" else "2001:db8:1::/64", "dns_ptr": [{"dns_ptr": "x"}]}
    found = adopt.imports(complete(site), None, lambda kind: project[kind])["resources"]
    assert {(each["type"], each["name"]) for each in found} == {(each.type, each.name) for each in declared}
    ids = {each["name"]: each["id"] for each in found}
    assert ids["subnet-sapflux"] == "100-10.20.0.0/24"
    # In which order Pulumi makes things is its own affair.
    number = next(ip["id"] for ip in project["primary_ips"] if ip["type"] == "ipv6")
    assert ids["rdns-sapflux-1-ipv6"] == f"p-{number}-2001:db8:1::1"
    nothing = adopt.imports(complete(site), None, lambda _kind: [])
    assert nothing == {"resources": []}


pages = Routes()


@pages.on("GET", "/v1/servers")
def servers(_double: WebDouble, request: Request) -> dict[str, Any]:
    """Two pages of one server each."""
    page = int(request.query["page"])
    pagination = {"page": page, "next_page": 2 if page == 1 else None}
    return {"servers": [{"id": page, "name": f"server-{page}"}], "meta": {"pagination": pagination}}


def test_lists_of_hetzner_are_read_to_their_end() -> None:
    import adopt

    double = WebDouble(pages)
    with double.running() as url:
        listing = adopt.hetzner_listing("token", f"{url}/v1/")
        assert [each["name"] for each in listing("servers")] == ["server-1", "server-2"]
    assert {seen.method for seen in double.log} == {"GET"}


def test_the_command_says_what_it_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import adopt

    path = tmp_path / "site.yml"
    path.write_text(json.dumps({"site": document()}), encoding="utf-8")
    for name in ("CLOUDFLARE_API_TOKEN", "HCLOUD_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for arguments, says in (([], "usage:"), ([str(path)], "there is nothing to ask: set CLOUDFLARE_API_TOKEN")):
        monkeypatch.setattr("sys.argv", ["adopt.py", *arguments])
        with pytest.raises(SystemExit, match=says):
            adopt.main()


REFUSED = [
    (put("name", "A"), "the document has mistakes:\n  site.name"),
    (put("cloudflare.dns.clerk", "{{ clerk }}"), "the document has mistakes"),
    (
        put("cloudflare.rules.more[0].expression", "{{ mine }}"),
        "has the template {{ mine }} where Pulumi needs a value",
    ),
]


@pytest.mark.parametrize(("mutation", "says"), REFUSED, ids=lambda value: str(value)[:40])
def test_a_document_that_will_not_do_is_refused_before_anything_is_declared(mutation: Any, says: str) -> None:
    import program

    with pytest.raises(program.DocumentError) as refused:
        program.build(document(NOWHERE, mutation))
    assert says in str(refused.value)


def test_a_zone_whose_edge_nobody_knows_is_refused() -> None:
    import program

    with pytest.raises(program.DocumentError, match="nobody says where the edge is"):
        mocks.run(document(NOWHERE, drop("hetzner")))
    with pytest.raises(program.DocumentError, match="write one of: keep, open, closed"):
        program.build(document(), ssh="ajar")


def test_a_file_that_is_no_document_is_refused(tmp_path: Path) -> None:
    import program

    with pytest.raises(program.DocumentError, match="there is no document"):
        program.read(tmp_path / "site.yml")
    for text, says in (("a: [", "is no YAML"), ("other: 1", "has no mapping `site`")):
        (tmp_path / "site.yml").write_text(text, encoding="utf-8")
        with pytest.raises(program.DocumentError, match=says):
            program.read(tmp_path / "site.yml")
    example = program.read(ROOT / "inventory" / "production" / "group_vars" / "all" / "site.yml")
    declared, _outputs = mocks.run(example)
    assert len(of(declared, "Server")) == 1
