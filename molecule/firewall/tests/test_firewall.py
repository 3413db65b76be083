"""The firewall as the outside sees it: a second host on the same network segment knocks."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from testinfra.host import Host

from tests.scenario import blocked, connects, converge, python_image, unchanged, wait_until

ALLOWED = "192.0.2.10"
METADATA = "169.254.169.254"
UNIT = "sapflux-firewall.service"
SERVE = "python3 -m http.server"


def address(host: Host) -> str:
    """The host's address on the network both hosts share."""
    shown = json.loads(host.check_output("ip -json -4 address show dev eth0"))
    return str(next(item["local"] for item in shown[0]["addr_info"] if item["prefixlen"] < 32))


def container_address(host: Host, name: str) -> str:
    """The address of a container on the default bridge."""
    return str(host.check_output(f"docker inspect --format '{{{{.NetworkSettings.IPAddress}}}}' {name}"))


def tables(host: Host, but: str = "sapflux") -> list[Any]:
    """All rules of the host except those of one table, without counters and handles."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items() if key not in ("packets", "bytes", "handle")}
        return [plain(item) for item in value] if isinstance(value, list) else value

    ruleset = json.loads(host.check_output("nft --json list ruleset"))["nftables"]
    bodies = [next(iter(item.values())) for item in ruleset]
    return [
        plain(item)
        for item, body in zip(ruleset, bodies, strict=True)
        if but not in (body.get("table"), body.get("name")) and "metainfo" not in item
    ]


@contextlib.contextmanager
def without_firewall(host: Host) -> Iterator[None]:
    """Take our table away, to show what it is there for."""
    host.check_output("nft delete table inet sapflux")
    try:
        yield
    finally:
        host.check_output(f"systemctl reload {UNIT}")


@pytest.fixture(scope="module")
def me(host: Host) -> str:
    """Where the peer finds the host."""
    return address(host)


@pytest.fixture(scope="module", autouse=True)
def services(host: Host, peer: Host, me: str) -> Iterator[None]:
    """Listeners on the host, containers with published ports, and routes that an evil neighbour would set."""
    image = python_image(host)
    for port in (443, 8443, 9100):
        host.run(f"systemctl stop listen-{port}.service")
        host.check_output(f"systemd-run --unit=listen-{port} --property=Restart=always {SERVE} {port}")
    for name, publish in (("published", "0.0.0.0:8080:80"), ("loopback", "127.0.0.1:8081:80")):
        host.run(f"docker rm --force {name}")
        host.check_output(f"docker run --detach --init --name {name} --publish {publish} {image} {SERVE} 80")
    for port in (443, 8443, 9100, 8080, 8081):
        wait_until(partial(connects, host, "127.0.0.1", port), f"the listener on {port}")
    host.check_output(f"ip route replace {ALLOWED} via {address(peer)}")
    host.check_output(f"ip route replace {METADATA} via {address(peer)}")
    peer.check_output(f"ip address replace {ALLOWED}/32 dev eth0 && ip address replace {METADATA}/32 dev lo")
    peer.check_output(f"ip route replace 172.17.0.0/16 via {me}")
    peer.run("systemctl stop listen-80.service")
    peer.check_output(f"systemd-run --unit=listen-80 --property=Restart=always {SERVE} 80")
    wait_until(lambda: connects(peer, "127.0.0.1", 80), "the peer's listener")
    yield
    host.check_output("docker rm --force published loopback")


def test_ssh_is_open(peer: Host, me: str) -> None:
    """The one way in."""
    assert connects(peer, me, 22)


def test_a_port_of_the_host_is_closed(host: Host, peer: Host, me: str) -> None:
    """A listener on every address is not reachable, and would be without the firewall."""
    assert blocked(peer, me, 8443)
    with without_firewall(host):
        assert connects(peer, me, 8443)
    assert blocked(peer, me, 8443)


def test_https_is_open_from_the_allowed_network_only(peer: Host, me: str) -> None:
    """The same peer gets in with an address of the list and not with another one."""
    assert connects(peer, me, 443, source=ALLOWED)
    assert blocked(peer, me, 443)


def test_a_published_container_port_is_closed(host: Host, peer: Host, me: str) -> None:
    """Published on 0.0.0.0 and yet closed from outside; open without our forward chain."""
    assert blocked(peer, me, 8080)
    with without_firewall(host):
        assert connects(peer, me, 8080)
    assert blocked(peer, me, 8080)


@pytest.mark.parametrize("name", ["published", "loopback"])
def test_a_neighbour_cannot_route_to_a_container(host: Host, peer: Host, name: str) -> None:
    """A route to the container network reaches published ports, loopback ones too, unless the firewall is there."""
    target = container_address(host, name)
    assert blocked(peer, target, 80)
    with without_firewall(host):
        assert connects(peer, target, 80)
    assert blocked(peer, target, 80)


def test_a_loopback_port_is_closed_from_outside(peer: Host, me: str) -> None:
    """127.0.0.1:8081 is nobody else's."""
    assert blocked(peer, me, 8081)


def test_the_host_reaches_its_containers(host: Host, me: str) -> None:
    """By published port, by loopback port, by the container's own address."""
    assert connects(host, "127.0.0.1", 8080)
    assert connects(host, "127.0.0.1", 8081)
    assert connects(host, me, 8080)
    assert connects(host, container_address(host, "published"), 80)


def test_containers_reach_the_outside_and_not_the_host(host: Host, peer: Host, me: str) -> None:
    """Out: yes. The host: only the ports that firewall_input opens for that interface."""
    assert connects(host, address(peer), 22, container="published")
    assert blocked(host, me, 22, container="published")
    assert blocked(host, "172.17.0.1", 443, container="published")
    assert connects(host, "172.17.0.1", 9100, container="published")


def test_what_is_open_for_containers_is_closed_for_others(peer: Host, me: str) -> None:
    """firewall_input holds for its interface."""
    assert blocked(peer, me, 9100)


def test_containers_cannot_ask_the_metadata_service(host: Host) -> None:
    """The provider's metadata holds the server's secrets: the host may ask, containers may not."""
    assert connects(host, METADATA, 80)
    assert blocked(host, METADATA, 80, container="published")


def test_ping_is_answered(host: Host, peer: Host, me: str) -> None:
    """Path MTU and reachability depend on ICMP: the rule is there and counts."""
    rules = host.check_output("nft list chain inet sapflux input")
    assert "icmp type" in rules
    assert "packet-too-big" in rules
    ping = (
        "import socket,struct; s=socket.socket(socket.AF_INET, socket.SOCK_RAW, 1); s.settimeout(5); "
        f's.sendto(bytes([8, 0, 247, 252, 0, 1, 0, 2]), ("{me}", 0)); print(s.recv(100)[20])'
    )
    assert peer.check_output(f"python3 -c '{ping}'") == "0"


def test_the_input_chain_drops_by_default(host: Host) -> None:
    """As the kernel has it."""
    listed = json.loads(host.check_output("nft --json list table inet sapflux"))["nftables"]
    chains = {item["chain"]["name"]: item["chain"] for item in listed if "chain" in item}
    assert (chains["input"]["hook"], chains["input"]["policy"]) == ("input", "drop")
    assert (chains["forward"]["hook"], chains["forward"]["prio"]) == ("forward", -1)


def test_other_tables_survive_reload_restart_and_stop(host: Host) -> None:
    """Docker's rules and a stranger's table stay as they are whatever happens to ours."""
    host.check_output("nft add table inet stranger && nft add chain inet stranger kept")
    before = tables(host)
    assert len(before) > 10
    for verb in ("reload", "restart", "stop", "start"):
        host.check_output(f"systemctl {verb} {UNIT}")
        assert tables(host) == before
    host.check_output("nft delete table inet stranger")
    assert not host.service("nftables").is_enabled


def test_containers_started_later_work_and_stay_closed(host: Host, peer: Host, me: str) -> None:
    """Docker adds its rules after ours are loaded, and after its own restart."""
    host.check_output("systemctl restart docker.service")
    wait_until(lambda: host.run("docker info").rc == 0, "the engine's answer")
    host.run("docker rm --force late")
    publish = "--publish 0.0.0.0:8090:80"
    host.check_output(f"docker run --detach --init --name late {publish} {python_image(host)} {SERVE} 80")
    wait_until(lambda: connects(host, "127.0.0.1", 8090), "the late container")
    assert blocked(peer, me, 8090)
    host.check_output("docker rm --force late")


@pytest.mark.parametrize(
    "damage",
    [
        "nft delete table inet sapflux",
        "nft flush chain inet sapflux forward",
        "nft insert rule inet sapflux input tcp dport 8443 accept",
        "nft chain inet sapflux input '{ policy accept; }'",
        "nft add element inet sapflux https4 '{ 10.0.0.0/8 }'",
    ],
)
def test_rules_changed_by_hand_are_noticed_and_mended(host: Host, peer: Host, me: str, damage: str) -> None:
    """The kernel is compared with the wanted rules, not the file."""
    host.check_output(damage)
    done = converge("firewall")
    assert done.returncode == 0, done.stdout
    assert "changed=1 " in done.stdout
    assert blocked(peer, me, 8443)
    assert blocked(peer, me, 443)


def test_check_mode_notices_and_touches_nothing(host: Host) -> None:
    """A missing table is predicted to be loaded, and is not."""
    host.check_output("nft delete table inet sapflux")
    assert "changed=1 " in converge("firewall", "--check").stdout
    assert host.run("nft list table inet sapflux").rc != 0
    host.check_output(f"systemctl reload {UNIT}")


def test_what_was_mended_stays(host: Host) -> None:
    """After all of that a run finds nothing to do."""
    assert host.service(UNIT).is_running
    assert unchanged(converge("firewall"))


def test_no_network_for_ssh_is_refused(host: Host, peer: Host, me: str) -> None:
    """It would lock everybody out, so nothing is changed."""
    before = host.check_output("nft --stateless list table inet sapflux")
    done = converge("firewall", firewall_ssh_cidrs=[])
    assert done.returncode != 0
    assert "firewall_ssh_cidrs is empty, which would lock everybody out" in done.stdout
    assert host.check_output("nft --stateless list table inet sapflux") == before
    assert connects(peer, me, 22)


def test_absent_takes_only_our_table_away(host: Host, peer: Host, me: str) -> None:
    """The last test: the table, its unit and its file go, Docker's rules stay; present brings it back."""
    before = tables(host)
    assert converge("firewall", firewall_state="absent").returncode == 0
    assert host.run("nft list table inet sapflux").rc != 0
    assert not host.file("/etc/nftables.d/sapflux.nft").exists
    assert not host.file(f"/etc/systemd/system/{UNIT}").exists
    assert tables(host) == before
    assert connects(peer, me, 8443)
    assert unchanged(converge("firewall", firewall_state="absent"))
    assert converge("firewall").returncode == 0
    assert blocked(peer, me, 8443)
