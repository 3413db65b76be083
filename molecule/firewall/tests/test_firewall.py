"""The firewall as the outside sees it: neighbours, strangers, an operator, Cloudflare and the tailnet knock on it."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from testinfra.host import Host

from tests.scenario import blocked, connects, converge, python_image, reboot, sweep, table, unchanged, wait_until

# The addresses of files/host.ip, files/peer.ip and files/stranger.ip.
HOST = {4: "198.18.0.1", 6: "2001:db8:bed::1"}
TAILNET = {4: "100.64.0.1", 6: "fd7a:115c:a1e0::1"}
PEER = {4: "198.18.0.2", 6: "2001:db8:bed::2"}
OPERATOR = {4: "192.0.2.10", 6: "2001:db8:443::10"}
CLOUDFLARE = {4: "162.158.7.7", 6: "2606:4700::7"}
METADATA = {4: "169.254.169.254", 6: "fd00:ec2::254"}
BRIDGE = {4: "172.17.0.1", 6: "2001:db8:172::1"}
UNIT = "sapflux-firewall.service"
LISTEN = "python3 /scenario/listen.py"

ALL = "1-65535"
INTERESTING = "22,53,80,443,2375,5432,5353,8053,8054,8080,8081,8443,9100,41641"
CLOSED: tuple[set[int], set[int]] = (set(), set())
# What listens on the host, and ports 8080 and 8053 that a container publishes on every address: (TCP, UDP).
EVERYTHING = ({22, 443, 5432, 8080, 8443, 9100}, {53, 5353, 8053, 41641})
# From where, what is open with the firewall, and what without it.
VIEWS: dict[str, tuple[tuple[set[int], set[int]], tuple[set[int], set[int]]]] = {
    "stranger": ((set(), {41641}), EVERYTHING),
    "neighbour": ((set(), {41641}), EVERYTHING),
    "cloudflare": (({443}, {41641}), EVERYTHING),
    "operator": (({22}, {41641}), EVERYTHING),
    "tailnet": (({22, 443, 5432}, {41641}), EVERYTHING),
    "route to published": (CLOSED, ({80}, {53})),
    "route to loopback": (CLOSED, ({80}, {53})),
    # The kernel itself drops what comes from outside for ::1.
    "frame to loopback": (CLOSED, ({8080, 8081}, set())),
}


def jobs(host: Host, ports: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the neighbour and the stranger ask, by name: every view over both protocols and both families."""
    mac = json.loads(host.check_output("ip -json link show dev eth0"))[0]["address"]
    ours: dict[str, Any] = {}
    for family in (4, 6):
        ways: dict[str, dict[str, str]] = {
            "neighbour": {"address": HOST[family]},
            "cloudflare": {"address": HOST[family], "source": CLOUDFLARE[family]},
            "operator": {"address": HOST[family], "source": OPERATOR[family]},
            "tailnet": {"address": TAILNET[family]},
            "route to published": {"address": container_address(host, "published", family)},
            "route to loopback": {"address": container_address(host, "loopback", family)},
        }
        for protocol in ("tcp", "udp"):
            for name, way in ways.items():
                wide = name == "neighbour" and protocol == "tcp"
                job = {**way, "protocol": protocol, "ports": ports if wide else INTERESTING}
                ours[f"{name} {protocol}{family}"] = job
        loopback = "127.0.0.1" if family == 4 else "::1"
        frame = {"address": loopback, "through": HOST[family], "mac": mac, "protocol": "tcp", "ports": INTERESTING}
        ours[f"frame to loopback tcp{family}"] = frame
        ours[f"neighbour ping{family}"] = {"address": HOST[family], "protocol": "ping"}
    theirs = {
        f"stranger {protocol}{family}": {
            "address": HOST[family],
            "protocol": protocol,
            "ports": ports if protocol == "tcp" else INTERESTING,
        }
        for family in (4, 6)
        for protocol in ("tcp", "udp")
    }
    return ours, theirs


def look(host: Host, peer: Host, ports: str = INTERESTING) -> dict[str, dict[str, Any]]:
    """Knock from everywhere."""
    ours, theirs = jobs(host, ports)
    with ThreadPoolExecutor() as both:
        strangers = both.submit(sweep, peer, theirs, "stranger")
        return sweep(peer, ours) | strangers.result()


def look_well(host: Host, peer: Host, ports: str = INTERESTING, firewall: bool = True) -> dict[str, dict[str, Any]]:
    """Knock from everywhere, and again where less answered than shall.

    On a busy machine knocks get lost, and who asks a host that has just started still knows its former addresses. A
    port that answers although it shall not stays found.
    """
    found = look(host, peer, ports)
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        lost = [name for name, answer in found.items() if set(answer["open"]) < wanted(name, firewall)]
        if not lost:
            break
        again = look(host, peer, ports)
        found |= {name: again[name] for name in lost}
    return found


def wanted(name: str, firewall: bool) -> set[int]:
    """The ports that shall answer a job."""
    view, _space, what = name.rpartition(" ")
    if what.startswith("ping"):
        return {0}
    if not firewall and view == "frame to loopback" and what == "tcp6":
        return set()
    tcp, udp = VIEWS[view][0 if firewall else 1]
    return tcp if what.startswith("tcp") else udp


def wrong(found: dict[str, dict[str, Any]], firewall: bool = True) -> dict[str, list[int]]:
    """What answers differently from what it shall."""
    return {name: answer["open"] for name, answer in found.items() if set(answer["open"]) != wanted(name, firewall)}


def container_address(host: Host, name: str, family: int = 4) -> str:
    """The address of a container on the default bridge."""
    key = "IPAddress" if family == 4 else "GlobalIPv6Address"
    return str(host.check_output(f"docker inspect --format '{{{{.NetworkSettings.{key}}}}}' {name}"))


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


PUBLISH = {
    "published": ("0.0.0.0:8080:80", "[::]:8080:80", "0.0.0.0:8053:53/udp", "[::]:8053:53/udp"),
    "loopback": ("127.0.0.1:8081:80", "[::1]:8081:80", "127.0.0.1:8054:53/udp", "[::1]:8054:53/udp"),
}


def run_container(host: Host, name: str, *publish: str) -> None:
    """Start a container that listens on 80/tcp and 53/udp, after a reboot too."""
    host.run(f"docker rm --force {name}")
    options = " ".join(f"--publish {one}" for one in publish)
    host.check_output(
        f"docker run --detach --init --restart always --name {name} {options} "
        f"--volume /usr/local/lib/scenario:/scenario:ro {python_image(host)} {LISTEN} 80 53/udp"
    )


@pytest.fixture(scope="module", autouse=True)
def containers(host: Host) -> Iterator[None]:
    """One with ports for everybody, one with ports on loopback."""
    for name, publish in PUBLISH.items():
        run_container(host, name, *publish)
    for port in (8080, 8081):
        wait_until(partial(connects, host, "127.0.0.1", port), f"the container on {port}")
    yield
    host.check_output("docker rm --force published loopback")


@pytest.fixture(scope="module", autouse=True)
def tailscale_chains(host: Host) -> Iterator[None]:
    """The chains of Tailscale, which accept everything from the tailnet; the scenario tailscale has the real ones."""
    accept_tailnet(host)
    yield
    for family in ("iptables", "ip6tables"):
        host.check_output(f"{family} --wait --delete INPUT --jump ts-input")


def accept_tailnet(host: Host) -> None:
    """What tailscaled does when it starts: its chain first in INPUT."""
    for family in ("iptables", "ip6tables"):
        change = f"{family} --wait"
        host.run(f"{change} --delete INPUT --jump ts-input; {change} --new-chain ts-input")
        host.check_output(
            f"{change} --flush ts-input && {change} --append ts-input --in-interface tailscale0 --jump ACCEPT "
            f"&& {change} --insert INPUT --jump ts-input"
        )


def test_only_what_is_named_is_open(host: Host, peer: Host) -> None:
    """All TCP ports and the interesting UDP ports, from everywhere, by IPv4 and IPv6, without the table and with it."""
    with without_firewall(host):
        before = look_well(host, peer, ALL, firewall=False)
    after = look_well(host, peer, ALL, firewall=True)

    def cell(answer: dict[str, Any]) -> str:
        return " ".join(map(str, answer["open"])) or "-"

    table(
        "Open ports without the firewall and with it, and how many stayed silent with it",
        ("from", "without", "with", "silent"),
        [(name, cell(before[name]), cell(after[name]), str(after[name]["silent"])) for name in sorted(after)],
    )
    assert wrong(before, firewall=False) == {}
    assert wrong(after) == {}
    # A refusal would tell a stranger that there is somebody.
    assert {name: answer["closed"] for name, answer in after.items() if answer["closed"]} == {}


def restart_docker(host: Host) -> None:
    """Docker writes its rules anew."""
    host.check_output("systemctl restart docker.service")
    wait_until(lambda: host.run("docker info").rc == 0, "the engine's answer")


def restart_host(host: Host) -> None:
    """Everything that is only in memory is made again."""
    reboot("firewall-1")
    wait_until(lambda: host.run("systemctl is-active scenario-listen docker").rc == 0, "the services' start", 120)
    wait_until(partial(connects, host, "127.0.0.1", 8080), "the container's start", 120)
    accept_tailnet(host)


EVENTS = {
    "docker restart": restart_docker,
    "nft reload": lambda host: host.check_output(f"systemctl reload {UNIT}"),
    "tailscaled restart": accept_tailnet,
    "reboot": restart_host,
}


@pytest.mark.parametrize("event", EVENTS)
def test_it_stays_so_after(host: Host, peer: Host, event: str) -> None:
    """Whoever writes rules last: a drop of ours is final."""
    EVENTS[event](host)
    assert wrong(look_well(host, peer)) == {}


def test_the_host_reaches_its_containers(host: Host) -> None:
    """By published port, by loopback port, by the container's own address."""
    assert connects(host, "127.0.0.1", 8080)
    assert connects(host, "127.0.0.1", 8081)
    assert connects(host, HOST[4], 8080)
    for family in (4, 6):
        assert connects(host, container_address(host, "published", family), 80)


@pytest.mark.parametrize("family", [4, 6])
def test_containers_reach_the_outside_and_not_the_host(host: Host, family: int) -> None:
    """Out: yes. The host: only the ports that firewall_input opens for that interface."""
    assert connects(host, PEER[family], 22, container="published")
    for target, port in ((HOST[family], 22), (BRIDGE[family], 443), (TAILNET[family], 5432)):
        assert blocked(host, target, port, container="published")
    assert connects(host, BRIDGE[family], 9100, container="published")


@pytest.mark.parametrize("family", [4, 6])
def test_containers_cannot_ask_the_metadata_service(host: Host, family: int) -> None:
    """The provider's metadata holds the server's secrets: the host may ask, containers may not."""
    assert connects(host, METADATA[family], 80)
    assert blocked(host, METADATA[family], 80, container="published")
    with without_firewall(host):
        assert connects(host, METADATA[family], 80, container="published")


def test_loopback_stays_closed_where_the_kernel_would_route_it(host: Host, peer: Host) -> None:
    """With route_localnet, which other software turns on, frames for 127.0.0.1 reach the host's own services, too."""
    ours, _theirs = jobs(host, INTERESTING)
    frame = {"frame": ours["frame to loopback tcp4"]}
    host.check_output("sysctl --write net.ipv4.conf.eth0.route_localnet=1")
    try:
        with without_firewall(host):
            assert {443, 5432, 8081} <= set(sweep(peer, frame)["frame"]["open"])
        assert sweep(peer, frame)["frame"]["open"] == []
    finally:
        host.check_output("sysctl --write net.ipv4.conf.eth0.route_localnet=0")


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


DAMAGE = {
    "table deleted": ("nft delete table inet sapflux",),
    "rule replaced": (
        "nft --handle list chain inet sapflux forward",
        "nft replace rule inet sapflux forward handle {handle} iifname eth0 counter accept",
    ),
    "policy, rule, set and element": (
        "nft chain inet sapflux forward '{ policy accept; }'",
        "nft insert rule inet sapflux input tcp dport 8443 accept",
        "nft add set inet sapflux mine '{ type ipv4_addr; }'",
        "nft add element inet sapflux https4 '{ 198.18.0.0/24 }'",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_rules_changed_by_hand_are_noticed_and_mended(host: Host, peer: Host, damage: str) -> None:
    """The kernel is compared with the wanted rules, not the file; unit tests have every kind of change."""
    handle = ""
    for command in DAMAGE[damage]:
        printed = host.check_output(command.replace("{handle}", handle))
        found = re.search(r'"published container ports" # handle (\d+)', printed)
        handle = found[1] if found else handle
    done = converge("firewall")
    assert done.returncode == 0, done.stdout
    assert "changed=1 " in done.stdout
    assert wrong(look_well(host, peer)) == {}


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


@pytest.mark.parametrize(
    ("tailnet", "reason"), [("", "no tailnet interface is named"), ("wg9", "the host has no interface wg9")]
)
def test_no_way_in_is_refused(host: Host, tailnet: str, reason: str) -> None:
    """It would lock everybody out, so nothing is changed."""
    before = host.check_output("nft --stateless list table inet sapflux")
    done = converge("firewall", firewall_ssh_cidrs=[], firewall_tailnet_interface=tailnet)
    assert done.returncode != 0
    assert f"firewall_ssh_cidrs is empty and {reason}" in done.stdout
    assert host.check_output("nft --stateless list table inet sapflux") == before


def test_ssh_of_the_outside_can_be_closed_where_the_tailnet_is(host: Host) -> None:
    """The interface is there, so it is no lockout. Only predicted: this test comes from outside."""
    done = converge("firewall", "--check", firewall_ssh_cidrs=[])
    assert done.returncode == 0, done.stdout
    assert "changed=1 " in done.stdout
    assert "ssh4" in host.check_output("nft list table inet sapflux")


def test_absent_takes_only_our_table_away(host: Host, peer: Host) -> None:
    """The last test: the table, its unit and its file go, Docker's rules stay; present brings it back."""
    before = tables(host)
    assert converge("firewall", firewall_state="absent").returncode == 0
    assert host.run("nft list table inet sapflux").rc != 0
    assert not host.file("/etc/nftables.d/sapflux.nft").exists
    assert not host.file(f"/etc/systemd/system/{UNIT}").exists
    assert tables(host) == before
    assert wrong(look_well(host, peer, firewall=False), firewall=False) == {}
    assert unchanged(converge("firewall", firewall_state="absent"))
    assert converge("firewall").returncode == 0
    assert wrong(look_well(host, peer)) == {}
