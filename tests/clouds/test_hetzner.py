"""The life of a server at Hetzner, from an empty project to an empty project, with the faults on the way.

The API is a double, the modules are Hetzner's own, and the server is a host of the bed with real cloud-init in it. The
tests are one story and run in their order.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import yaml

from tests.bed import hosts
from tests.clouds.conftest import TOKEN, Stage
from tests.clouds.project import HOST, Run
from tests.doubles.web import Fault
from tests.unit.fixtures import ROOT, put

MARKER = "/root/marker-of-the-first-disk"
OURS = {
    "ssh_keys": 1,
    "networks": 1,
    "placement_groups": 1,
    "firewalls": 1,
    "primary_ips": 2,
    "servers": 1,
}
FOREIGN = "somebody-elses"


def good(run: Run) -> Run:
    """The run ended well."""
    assert run.code == 0, run.output[-4000:]
    return run


def said(run: Run, text: str) -> None:
    """The run said this; line breaks of the terminal do not count."""
    assert text in " ".join(run.output.split()), run.output[-4000:]


def counted(stage: Stage) -> dict[str, int]:
    """How much there is of each kind that is ours."""
    return {
        kind: sum(each["labels"].get("site") == "sapflux" for each in stage.double.all(kind).values()) for kind in OURS
    }


def ssh_rule(stage: Stage) -> list[str]:
    """The networks that the firewall lets in to port 22."""
    rules = stage.double.named("firewalls", "sapflux")["rules"]
    return [cidr for rule in rules if rule["port"] == "22" for cidr in rule["source_ips"]]


def test_an_empty_project_is_looked_at_without_a_change(stage: Stage) -> None:
    simple = {"id": 1, "name": FOREIGN, "labels": {}, "rules": [], "created": stage.double.now()}
    stage.double.all("firewalls")[1] = simple
    run = good(stage.run("provision", "--check", "--diff"))
    for what in ("ssh key", "network", "placement group", "firewall", "address", "server hetzner-1"):
        assert f"create {what}" in run.output
    assert '+  "server hetzner-1": "cpx11, debian-13"' in run.output
    assert stage.double.writes() == []


def test_what_cannot_be_made_is_refused_before_anything_is(stage: Stage) -> None:
    stage.wish(put("hetzner.servers[0].type", "cpx22"))
    run = stage.run("provision")
    assert run.code != 0
    said(run, "Hetzner has no cpx22 in ash (it is not sold there); write cpx21")
    assert stage.double.writes() == []
    stage.wish()


def test_a_token_that_expires_half_way(stage: Stage) -> None:
    """In a storm of 429 besides: what was made stays, and nothing of it is made again."""
    stage.double.faults += [
        Fault("status", path="/ssh_keys$", times=2, status=429, headers={"RateLimit-Reset": "0"}),
        Fault("status", method="POST", path="/firewalls$", times=99, status=401),
    ]
    run = stage.run("provision")
    assert run.code != 0
    said(run, "unable to authenticate")
    assert (counted(stage)["networks"], counted(stage)["servers"]) == (1, 0)
    stage.double.faults.clear()


def test_a_server_that_cannot_be_made(stage: Stage) -> None:
    stage.double.break_action("create_server", "resource_unavailable", "no room in this location")
    stage.double.faults.append(Fault("status", method="GET", path="/locations", times=1, status=502))
    run = stage.run("provision")
    assert run.code != 0
    said(run, "The server hetzner-1 is not made: ")
    said(run, "no room in this location")
    said(run, "Run this again")
    assert counted(stage) == {**OURS, "servers": 0}


def test_an_answer_that_is_lost(stage: Stage) -> None:
    """The server is made, nobody hears of it, and the run says all that it can at -vvv: no secret is among it."""
    stage.double.faults.append(Fault("lost", method="POST", path="/servers$"))
    run = stage.run("provision", "-vvv")
    assert run.code != 0
    said(run, "The server hetzner-1 is not made")
    assert "PRIVATE KEY" not in run.output


def test_the_run_that_comes_after_all_of_it(stage: Stage) -> None:
    """It finds the server that it did not make, over the key that was pinned before, and gives it another."""
    born = stage.project.known_hosts.read_text()
    assert "first-contact" in born
    good(stage.run("provision", "-vvv"))
    assert counted(stage) == OURS
    met = stage.project.known_hosts.read_text()
    assert "first-contact" not in met
    assert met.split()[1:3] != born.split()[1:3]
    assert stage.project.ssh(stage.address(), "hostname; sudo id -u").split() == [HOST, "0"]


def test_the_server_is_as_the_document_says(stage: Stage) -> None:
    server = stage.server()
    assert server["protection"] == {"delete": True, "rebuild": True}
    pointers = {each["dns_ptr"][0]["dns_ptr"] for each in stage.double.all("primary_ips").values()}
    assert pointers == {"hetzner-1.sapflux.test"}
    assert ssh_rule(stage) == ["0.0.0.0/0", "::/0"]
    # The key that could be read from the metadata service opens nothing any more, and root is closed.
    assert "PRIVATE KEY" in str(server["user_data"])
    shown = stage.project.ssh(stage.address(), "sudo cat /etc/ssh/ssh_host_ed25519_key")
    assert shown.splitlines()[-2] not in str(server["user_data"])
    asked = subprocess.run(
        [*stage.project.ssh_argv(), f"root@{stage.address()}", "id"],
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert b"uid=0" not in asked.stdout


def test_the_inventory_reaches_the_server_by_its_name_on_the_tailnet(stage: Stage) -> None:
    """The file that ships, asked of the double."""
    told = stage.project.inventory_of(ROOT / "inventory" / "production" / "hcloud.yml", TOKEN)
    assert {group: told[group]["hosts"] for group in ("edge", "app", "db")} == {
        "edge": [HOST],
        "app": [HOST],
        "db": [HOST],
    }
    variables = told["_meta"]["hostvars"][HOST]
    assert variables["ansible_host"] == f"{HOST}.tail1234.ts.net"
    assert variables["sapflux_public_host"] == stage.address()


def test_no_run_shows_a_secret(stage: Stage) -> None:
    for run in stage.runs:
        assert TOKEN not in run.output
        assert "PRIVATE KEY" not in run.output


def test_a_second_run_changes_nothing(stage: Stage) -> None:
    before = len(stage.double.writes())
    run = good(stage.run("provision"))
    assert run.changes == 0
    assert stage.double.writes()[before:] == []


def test_drift_is_shown_with_the_way_to_apply_it(stage: Stage) -> None:
    stage.wish(
        put("hetzner.servers[0].type", "cpx21"),
        put("hetzner.servers[0].image", "debian-12"),
        put("hetzner.location", "hil"),
        put("admin.user", "anna"),
    )
    stage.double.named("firewalls", "sapflux")["rules"].pop()
    before = len(stage.double.writes())
    said = good(stage.run("drift")).output
    for line in (
        "change server hetzner-1: type cpx11 -> cpx21",
        "sapflux.hosting.resize",
        "change server hetzner-1: image debian-13 -> debian-12",
        "change server hetzner-1: cloud-init of the first boot",
        "sapflux.hosting.rebuild -e hetzner_confirm=hetzner-1",
        "change server hetzner-1: location ash -> hil",
        "a server cannot move",
        "change firewall sapflux: rules",
    ):
        assert line in said, line
    assert stage.double.writes()[before:] == []


def test_resize(stage: Stage) -> None:
    """It is shut down by its own button, and comes back with the address and the disk that it had."""
    stage.wish(put("hetzner.servers[0].type", "cpx21"))
    stage.project.ssh(stage.address(), f"sudo touch {MARKER}; sudo systemctl enable --quiet ssh")
    run = good(stage.run("resize"))
    assert run.changed["localhost"] > 0
    kind = stage.double.all("server_types")[int(str(stage.server()["server_type"]))]
    assert (kind["name"], stage.server()["primary_disk_size"]) == ("cpx21", 40)
    assert any(seen.path.endswith("/shutdown") for seen in stage.double.log)
    assert not any(seen.path.endswith("/poweroff") for seen in stage.double.log)
    assert stage.project.ssh(stage.address(), f"sudo ls {MARKER}") == MARKER
    # What provision may do while the server runs, it does: the rule that somebody removed.
    good(stage.run("provision"))
    assert len(stage.double.named("firewalls", "sapflux")["rules"]) == 3


def test_ssh_is_closed_in_the_firewall_once_the_tailnet_is_proven(stage: Stage, tmp_path: Path) -> None:
    """The hook of the role firewall is called by the play that proved it; here a play stands in for that one."""
    hook = {"name": "Hook", "ansible.builtin.include_tasks": str(ROOT / "playbooks" / "tasks" / "hetzner_close.yml")}
    play = {"hosts": "edge", "gather_facts": False, "tasks": [hook]}
    book = tmp_path / "close.yml"
    (tmp_path / "group_vars").symlink_to(ROOT / "playbooks" / "group_vars")
    for servers, closes in (({HOST: None, "other": None}, True), ({"other": None}, False)):
        book.write_text(yaml.safe_dump([play]))
        extra = tmp_path / "edge.yml"
        extra.write_text(yaml.safe_dump({"all": {"children": {"edge": {"hosts": servers}}}}))
        before = len(stage.double.writes())
        good(stage.run(str(book), "-i", str(extra)))
        assert (len(stage.double.writes()) > before) == closes
    # The way for emergencies stays.
    assert ssh_rule(stage) == ["203.0.113.0/24"]
    assert good(stage.run("provision")).changes == 0
    good(stage.run("provision", "-e", "hetzner_ssh=open"))
    assert ssh_rule(stage) == ["0.0.0.0/0", "::/0"]


def test_a_rebuild_without_the_name_is_refused(stage: Stage) -> None:
    before = len(stage.double.writes())
    run = stage.run("rebuild", "--tags", "hetzner")
    assert run.code != 0
    said(run, "type its name, -e hetzner_confirm=hetzner-1")
    assert stage.double.writes()[before:] == []


def test_a_rebuild_keeps_the_address_and_nothing_else(stage: Stage) -> None:
    address, met = stage.address(), stage.project.known_hosts.read_text()
    stage.double.named("firewalls", "sapflux")["labels"]["ssh"] = "closed"
    good(stage.run("rebuild", "-e", f"hetzner_confirm={HOST}", "--tags", "hetzner", "--skip-tags", "always"))
    assert stage.address() == address
    assert stage.project.known_hosts.read_text() != met
    assert "first-contact" not in stage.project.known_hosts.read_text()
    assert stage.project.ssh(address, f"sudo ls {MARKER} 2>&1 || true").endswith("No such file or directory")
    assert stage.server()["protection"] == {"delete": True, "rebuild": True}
    assert good(stage.run("provision")).changes == 0
    assert counted(stage) == OURS


def test_a_teardown_without_the_word_is_refused(stage: Stage) -> None:
    before = len(stage.double.writes())
    run = stage.run("teardown", "-e", f"hetzner_confirm={HOST}")
    assert run.code != 0
    said(run, "This removes servers hetzner-1; addresses hetzner-1-ipv4, hetzner-1-ipv6")
    said(run, "The archive in the object store stays")
    assert stage.double.writes()[before:] == []


def test_a_teardown_leaves_what_is_not_ours(stage: Stage) -> None:
    good(stage.run("teardown", "-e", "hetzner_confirm=sapflux"))
    assert counted(stage) == dict.fromkeys(OURS, 0)
    assert stage.double.names("firewalls") == [FOREIGN]
    assert not hosts.exists(HOST)
    assert stage.project.known_hosts.read_text() == ""
