"""Every difference has a name and a way to be applied; none is invented, and nothing is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.sapflux.hosting.plugins.filter.hcloud import FilterModule
from ansible_collections.sapflux.hosting.plugins.module_utils import _hcloud_offer as offer
from ansible_collections.sapflux.hosting.plugins.modules import hcloud_drift

from tests.doubles.hetzner import Hetzner, catalogue
from tests.doubles.web import Fault
from tests.unit.fixtures import Mutation, drop, put
from tests.unit.plugins.modules.hcloud_module import CHECK, TOKEN, Runner, wanted

SCREEN = FilterModule().filters()["hcloud_screen"]


@pytest.fixture
def runner(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Runner:
    return Runner(hcloud_drift, capsys, monkeypatch)


def texts(result: dict[str, Any], way: str) -> list[str]:
    """The differences that are applied in one way."""
    return [each["text"] for each in result["differences"] if each["apply"] == way]


def test_a_document_without_servers_asks_nothing(runner: Runner) -> None:
    with runner.double(empty=True) as double:
        result = runner(resources=wanted(drop("hetzner")))
        assert (result["differences"], result["servers"], double.log) == ([], [], [])


def test_an_empty_project_needs_everything(runner: Runner) -> None:
    with runner.double(empty=True) as double:
        result = runner(resources=wanted(), **CHECK)
        assert double.writes() == []
    assert result["changed"] is False
    kinds = ["ssh key", "network", "placement group", "firewall", "address", "address", "server"]
    assert [each["kind"] for each in result["differences"]] == kinds
    assert {each["apply"] for each in result["differences"]} == {"provision"}
    (new,) = result["todo"]["new_servers"]
    assert (new["firewalls"], new["private_networks"]) == (["sapflux"], ["sapflux"])
    assert '"server sapflux-1": "cpx11, debian-13"' in result["diff"]["after"]
    assert result["servers"][0]["new"] is True
    assert not any(result["there"].values())


def test_what_is_as_it_is_wanted_has_no_difference(runner: Runner) -> None:
    with runner.double() as double:
        result = runner(resources=wanted(), strict=True)
        assert (result["differences"], result["todo"], result["problems"]) == ([], {}, [])
        assert "diff" not in result
        # Six lists and nothing else: a run with nothing to do is cheap.
        assert [seen.method for seen in double.log] == ["GET"] * 6
    (server,) = result["servers"]
    assert (server["ipv4"], server["ipv6"], server["new"]) == ("203.0.113.1", "2001:db8::1", False)
    assert result["there"]["servers"] == ["sapflux-1"]
    assert SCREEN(result) == ["nothing differs"]


def test_labels_of_others_are_kept(runner: Runner) -> None:
    with runner.double() as double:
        double.named("networks", "sapflux")["labels"]["theirs"] = "1"
        assert runner(resources=wanted())["differences"] == []
        del double.named("networks", "sapflux")["labels"]["site"]
        (todo,) = runner(resources=wanted())["todo"]["networks"]
        assert (todo["labels"]["theirs"], todo["labels"]["site"]) == ("1", "sapflux")


BY_PROVISION: dict[str, tuple[Callable[[Hetzner], Any], str]] = {
    "rules": (
        lambda cloud: cloud.named("firewalls", "sapflux")["rules"].pop(),
        "change firewall sapflux: rules",
    ),
    "order of rules": (
        lambda cloud: cloud.named("firewalls", "sapflux")["rules"].reverse(),
        "change firewall sapflux: rules",
    ),
    "subnet": (lambda cloud: cloud.named("networks", "sapflux").update(subnets=[]), "create subnet sapflux"),
    "reverse name": (
        lambda cloud: cloud.named("primary_ips", "sapflux-1-ipv6")["dns_ptr"].clear(),
        "change reverse DNS 2001:db8::1: name nothing -> sapflux-1.sapflux.test",
    ),
    "protection of an address": (
        lambda cloud: cloud.named("primary_ips", "sapflux-1-ipv4").update(protection={"delete": False}),
        "change address sapflux-1-ipv4: delete_protection false -> true",
    ),
    "an address that goes with its server": (
        lambda cloud: cloud.named("primary_ips", "sapflux-1-ipv4").update(auto_delete=True),
        "change address sapflux-1-ipv4: auto_delete true -> false",
    ),
    "protection of the server": (
        lambda cloud: cloud.named("servers", "sapflux-1").update(protection={"delete": False, "rebuild": False}),
        "change server sapflux-1: delete protection false -> true",
    ),
    "a server that is off": (
        lambda cloud: cloud.named("servers", "sapflux-1").update(status="off"),
        "change server sapflux-1: status off -> running",
    ),
    "no firewall": (
        lambda cloud: cloud.named("servers", "sapflux-1")["firewalls"].clear(),
        "change server sapflux-1: firewall nothing -> sapflux",
    ),
    "no network": (
        lambda cloud: cloud.named("servers", "sapflux-1")["private_net"].clear(),
        "change server sapflux-1: network nothing -> sapflux",
    ),
}


@pytest.mark.parametrize("name", BY_PROVISION)
def test_what_provision_applies(runner: Runner, name: str) -> None:
    spoil, text = BY_PROVISION[name]
    with runner.double() as double:
        spoil(double)
        result = runner(resources=wanted())
        assert any(found.startswith(text) for found in texts(result, "provision")), result["differences"]
        assert result["todo"]
        assert double.writes() == []


OTHERWISE: dict[str, tuple[Mutation, str, str, str]] = {
    "type": (put("hetzner.servers[0].type", "cpx21"), "resize", "type cpx11 -> cpx21", "hosting.resize"),
    "image": (
        put("hetzner.servers[0].image", "debian-12"),
        "rebuild",
        "image debian-13 -> debian-12",
        "hosting.rebuild",
    ),
    "cloud-init": (
        put("admin.user", "anna"),
        "rebuild",
        "cloud-init of the first boot",
        "-e hetzner_confirm=sapflux-1",
    ),
    "SSH keys": (
        put(
            "admin.authorized_keys[0]",
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIC",
        ),
        "replace",
        "SSH keys of root at the first boot",
        "nothing to do",
    ),
    "location": (put("hetzner.location", "hil"), "replace", "location ash -> hil", "a server cannot move"),
    "network": (
        put("hetzner.network", "10.30.0.0/24"),
        "replace",
        "ip_range 10.20.0.0/24 -> 10.30.0.0/24",
        "cannot move",
    ),
}


@pytest.mark.parametrize("name", OTHERWISE)
def test_what_hetzner_ignores_in_silence(runner: Runner, name: str) -> None:
    wish, way, text, how = OTHERWISE[name]
    with runner.double():
        result = runner(resources=wanted(wish))
    found = [each for each in result["differences"] if text in each["text"]]
    assert [each["apply"] for each in found] == [way] * len(found) != []
    assert how in found[-1]["how"]
    # The mark of what it was made with stays until it is made anew.
    assert not any("labels" in each for each in result["todo"].get("servers", []))
    assert any(how in line for line in SCREEN(result))
    assert SCREEN(result, ["person"]) == ["nothing differs"]


def test_backups_are_never_switched_off_by_a_run(runner: Runner) -> None:
    """With them every backup goes."""
    with runner.double() as double:
        double.named("servers", "sapflux-1")["backup_window"] = "22-02"
        result = runner(resources=wanted())
        assert texts(result, "person") == ["change server sapflux-1: backups true -> false"]
        assert "servers" not in result["todo"]
        double.named("servers", "sapflux-1")["backup_window"] = None
        assert (
            runner(resources=wanted(put("hetzner.servers[0].backups", True)))["todo"]["servers"][0]["backups"] is True
        )


def test_addresses_that_somebody_changed(runner: Runner) -> None:
    with runner.double() as double:
        mine, other = double.named("primary_ips", "sapflux-1-ipv4"), {"id": 7, "name": "theirs"}
        double.all("servers")[7] = {**double.named("servers", "sapflux-1"), **other}
        mine["assignee_id"] = 7
        result = runner(resources=wanted())
        assert texts(result, "person") == ["change address sapflux-1-ipv4: server theirs -> sapflux-1"]
        assert texts(result, "resize") == ["change server sapflux-1: address ipv4 nothing -> sapflux-1-ipv4"]
        assert result["todo"]["resize"] == [{"name": "sapflux-1", "ipv4": "sapflux-1-ipv4"}]


def test_a_key_that_is_there_under_another_name_is_used(runner: Runner) -> None:
    with runner.double(empty=True) as double:
        key = wanted()["ssh_keys"][0]
        double.all("ssh_keys")[1] = {"id": 1, **key, "name": "laptop", "created": double.now()}
        result = runner(resources=wanted())
        assert "ssh_keys" not in result["todo"]
        assert result["todo"]["new_servers"][0]["ssh_keys"] == ["laptop"]
        double.all("ssh_keys")[1] |= {"name": key["name"], "fingerprint": "00"}
        assert "is another key in this project" in runner.fails(resources=wanted(), strict=True)


def test_ssh_stays_closed_until_it_is_opened_or_a_server_is_missing(runner: Runner) -> None:
    with runner.double() as double:
        wall = double.named("firewalls", "sapflux")
        wall["labels"]["ssh"], wall["rules"] = "closed", wanted(ssh="closed")["firewall"]["rules"]
        result = runner(resources=wanted())
        assert (result["ssh"], result["differences"]) == ("closed", [])
        result = runner(resources=wanted(), ssh="open")
        assert (result["ssh"], result["todo"]["firewalls"][0]["labels"]["ssh"]) == ("open", "open")
        # A second server is met from outside.
        more = put("hetzner.servers[+]", {"name": "sapflux-2", "type": "cpx11"})
        assert runner(resources=wanted(more))["ssh"] == "open"
        assert runner(resources=wanted(put("hetzner.lockdown", False)))["ssh"] == "open"


def test_closing_it_by_hand(runner: Runner) -> None:
    with runner.double():
        result = runner(resources=wanted(), ssh="closed")
        assert "ssh: open" in texts(result, "provision")[0]
        (todo,) = result["todo"]["rules"]
        assert [rule["description"] for rule in todo["rules"]] == ["ssh", "https", "icmp"]
        assert todo["rules"][0]["source_ips"] == ["203.0.113.0/24"]


GONE = {"announced": "2024-01-01T00:00:00+00:00", "unavailable_after": "2024-06-01T00:00:00+00:00"}


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda cloud: catalogue.withdraw(cloud, "cpx11", "ash"), "it is not sold there"),
        (lambda cloud: catalogue.offer(cloud, "cpx11", "ash", available=False), "it is sold out there"),
        (lambda cloud: catalogue.offer(cloud, "cpx11", "ash", deprecation=GONE), "cannot be had after 2024-06-01"),
    ],
)
def test_a_type_that_cannot_be_had_is_refused_with_others(
    runner: Runner, spoil: Callable[[Hetzner], None], reason: str
) -> None:
    with runner.double(empty=True) as double:
        spoil(double)
        said = runner.fails(resources=wanted(), strict=True)
        assert reason in said
        assert "write cpx21 (3 cores, 4 GB) or cpx31 (4 cores, 8 GB)" in said
        assert double.writes() == []
        assert runner(resources=wanted())["problems"] == [said]


def test_what_is_not_there_at_all(runner: Runner) -> None:
    with runner.double(empty=True) as double:
        said = runner.fails(resources=wanted(put("hetzner.servers[0].type", "cpx99")), strict=True)
        assert "there is no such type" in said
        assert "write cpx11" in said
        said = runner.fails(resources=wanted(put("hetzner.servers[0].image", "debian-14")), strict=True)
        assert "the image debian-14 is not there for x86; write debian-12 or debian-13" in said
        double.named("images", "debian-12")["deprecated"] = "2024-01-01T00:00:00+00:00"
        assert "the image debian-12" in runner.fails(
            resources=wanted(put("hetzner.servers[0].image", "debian-12")), strict=True
        )


def test_no_type_at_all() -> None:
    assert offer.alternatives({}, None, "ash") == "take another location"


def test_a_type_that_is_given_up_goes_on_running(runner: Runner) -> None:
    with runner.double() as double:
        catalogue.offer(double, "cpx11", "ash", deprecation=GONE)
        result = runner(resources=wanted(), strict=True)
        assert result["differences"] == []
        assert "server sapflux-1 is a cpx11: it is given up there" in result["notes"][0]
        assert "write cpx21" in result["notes"][0]
        assert SCREEN(result) == [f"note: {result['notes'][0]}"]
        assert "Hetzner has no cpx21" not in str(runner(resources=wanted(put("hetzner.servers[0].type", "cpx21"))))


def test_a_server_that_was_not_met_yet(runner: Runner, tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    with runner.double():
        assert runner(resources=wanted(), known_hosts=str(file))["servers"][0]["pending"] is False
        file.write_text("sapflux-1 ssh-ed25519 AAAA sapflux.hosting/sapflux-1 first-contact\n")
        assert runner(resources=wanted(), known_hosts=str(file))["servers"][0]["pending"] is True


def test_faults_are_waited_for_and_refusals_are_not(runner: Runner) -> None:
    with runner.double() as double:
        double.faults += [Fault("status", status=429, times=2), Fault("page", status=502), Fault("cut")]
        assert runner(resources=wanted())["differences"] == []
        double.left = 0.0
        assert "is asked too often" in runner.fails(resources=wanted())
        double.left = 99.0
        double.tokens.clear()
        assert "it does not know the token" in runner.fails(resources=wanted())


def test_the_token_may_come_from_the_environment(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HCLOUD_TOKEN", TOKEN)
    with runner.double():
        monkeypatch.setenv("HCLOUD_ENDPOINT", runner.base)
        with patch_module_args({"resources": wanted()}), pytest.raises(SystemExit):
            hcloud_drift.main()
    text = runner.capsys.readouterr().out
    assert json.loads(text)["differences"] == []
    assert TOKEN not in text
