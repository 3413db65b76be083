"""The bed's tailnet: headscale with an embedded DERP as the control server, and an operator through whom one gets in.

Everything is the real program: hosts install Tailscale from :mod:`tests.bed.packages`, join with a key and talk over a
kernel tun. Control and DERP speak TLS under a name, as in production; the certificate comes from a CA of the bed that
`trust()` puts into a host's trust store. Nothing needs the internet: the DERP map is the embedded one, update checks
and log uploads are off (tailscaled looks for a resolver of its vendor when it first finds port 80 of control closed,
and goes on without). One control server serves every scenario and checkout of this machine; nodes bear the names of
their hosts, which are unique on the machine, so callers never meet. The way of a test::

    tailnet.control()                                  # start it (also: python -m tests.bed tailnet)
    tailnet.trust("web")                               # before tailscaled first starts there
    secret = tailnet.key(tags=("tag:server",))         # single use, one hour; to be given to the role in a file
    ...                                                # the role installs from packages.url() and joins LOGIN_SERVER
    tailnet.node("web").ipv4                           # what control knows about it
    tailnet.alias("web")                               # ssh -F .bed/ssh_config web-tailnet, by way of the operator

`join()` does what the role does, for hosts that are not what is tested. Faults of one node: `cut()` and `mend()` its
way to the control server, `expire()`, `delete()`, `rename()` it, give it a key with ``expiry="1s"``. A fault of them
all is `outage()`: no one joins, direct connections live on. A control server that was removed (`tests.bed down` in the
checkout that started it) is made anew without its nodes; `join()` and `operator()` then join again.
The tailnet's policy lets every node reach every port of every other: what is refused is refused by the host itself.
"""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import hosts, packages, pki, sidecars
from .archive import File
from .shell import BedError, run, say, text, wait_for

OPERATOR = "operator"
NAME = "headscale.sapflux.test"
LOGIN_SERVER = f"https://{NAME}"
DOMAIN = "tailnet.test"
USER = "bed"
TAGS = ("tag:server", "tag:operator", "tag:runner")
CONFIG = "etc/headscale"
# Changes nothing when the CA is the one that is trusted already.
PREPARE = """\
trusted=/usr/local/share/ca-certificates/sapflux-bed.crt
settings=/usr/local/lib/systemd/system/tailscaled.service.d
cat >$trusted.new
if cmp -s $trusted.new $trusted; then rm $trusted.new; exit 0; fi
mkdir -p $settings
printf '[Service]\\nEnvironment=TS_NO_LOGS_NO_SUPPORT=true\\n' >$settings/bed.conf
mv $trusted.new $trusted
update-ca-certificates >/dev/null 2>&1
systemctl daemon-reload
! systemctl --quiet is-active tailscaled || systemctl restart tailscaled
"""


class _Control(sidecars.Sidecar):
    def healthy(self) -> bool:
        """Tell whether it answers over TLS, with the certificate hosts will see."""
        try:
            context = ssl.create_default_context(cadata=ca())
            with urllib.request.urlopen(f"https://{self.endpoint}{self.health}", timeout=3, context=context) as answer:
                return bool(answer.status == 200)
        except (BedError, urllib.error.URLError, OSError):
            return False


CONTROL = _Control("headscale", hosts.NAMES[NAME], 443, "/health")


@dataclass(frozen=True)
class Node:
    """A machine as the control server knows it: `name` is its MagicDNS label, `hostname` what it calls itself.

    `expiry` is the moment its node key ends (seconds since 1970), None when it never does; `id` grows with each
    registration.
    """

    id: int
    name: str
    hostname: str
    addresses: tuple[str, ...]
    tags: tuple[str, ...]
    online: bool
    expiry: int | None

    @property
    def ipv4(self) -> str:
        """Its 100.64.0.0/10 address."""
        return next(address for address in self.addresses if "." in address)

    @property
    def ipv6(self) -> str:
        """Its fd7a:115c:a1e0::/48 address."""
        return next(address for address in self.addresses if ":" in address)

    @property
    def dns_name(self) -> str:
        """Its MagicDNS name, without the dot at the end."""
        return f"{self.name}.{DOMAIN}"


def configuration() -> dict[str, Any]:
    """Headscale's configuration."""
    return {
        "server_url": LOGIN_SERVER,
        "listen_addr": f"0.0.0.0:{CONTROL.port}",
        "metrics_listen_addr": "127.0.0.1:9090",
        "grpc_listen_addr": "127.0.0.1:50443",
        "tls_cert_path": f"/{CONFIG}/tls.crt",
        "tls_key_path": f"/{CONFIG}/tls.key",
        "noise": {"private_key_path": "/data/noise.key"},
        "prefixes": {"v4": "100.64.0.0/10", "v6": "fd7a:115c:a1e0::/48", "allocation": "sequential"},
        "derp": {
            "server": {
                "enabled": True,
                "region_id": 999,
                "region_code": "bed",
                "region_name": "Test bed",
                "verify_clients": True,
                "stun_listen_addr": "0.0.0.0:3478",
                "private_key_path": "/data/derp.key",
                "automatically_add_embedded_derp_region": True,
                "ipv4": CONTROL.address,
            },
            "urls": [],
            "paths": [],
            "auto_update_enabled": False,
        },
        "disable_check_updates": True,
        "logtail": {"enabled": False},
        # As the vendor's service does it: users' machines must log in again after half a year, tagged ones never.
        "node": {"expiry": "180d", "ephemeral": {"inactivity_timeout": "70s"}},
        "database": {"type": "sqlite", "sqlite": {"path": "/data/db.sqlite", "write_ahead_log": True}},
        "dns": {
            "magic_dns": True,
            "base_domain": DOMAIN,
            "override_local_dns": False,
            "nameservers": {"global": [], "split": {}},
            "search_domains": [],
            "extra_records": [],
        },
        "policy": {"mode": "file", "path": f"/{CONFIG}/policy.json"},
        "unix_socket": "/run/headscale.sock",
        "unix_socket_permission": "0700",
        "log": {"level": "info", "format": "text"},
    }


def policy() -> dict[str, Any]:
    """The tailnet's policy: whose the tags are, and that all may talk to all."""
    return {
        "tagOwners": {tag: [f"{USER}@"] for tag in TAGS},
        "acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}],
    }


def _files() -> dict[str, File]:
    issued = pki.issue("sapflux test bed", (NAME,), (CONTROL.address,))
    return {
        f"{CONFIG}/config.yaml": File(json.dumps(configuration(), indent=2).encode()),
        f"{CONFIG}/policy.json": File(json.dumps(policy(), indent=2).encode()),
        f"{CONFIG}/ca.crt": File(issued.ca.encode()),
        f"{CONFIG}/tls.crt": File(issued.certificate.encode()),
        f"{CONFIG}/tls.key": File(issued.key.encode(), 0o600),
    }


def control() -> sidecars.Sidecar:
    """Start the control server unless it runs."""
    sidecars.start(CONTROL, program="headscale", arguments=("serve",), files=_files)
    with hosts.locked("headscale-user", machine=True):
        if not any(user["name"] == USER for user in _ask("users", "list")):
            _ask("users", "create", USER)
    return CONTROL


def cut(host: str) -> None:
    """Take the way to control and DERP from one host, for a fault that no other scenario feels; a reboot ends it."""
    hosts.execute(host, f"ip route replace unreachable {CONTROL.address}/32")


def mend(host: str) -> None:
    """End the fault of `cut()`, if there is one."""
    hosts.execute(host, f"ip route flush exact {CONTROL.address}/32")


@contextmanager
def outage() -> Iterator[None]:
    """Stop the control server and its DERP for a while; every scenario of the machine feels it.

    Who wants it meanwhile waits for the end, so nothing in the block may ask it either.
    """
    with hosts.locked(f"sidecar-{CONTROL.name}", machine=True):
        run("docker", "stop", "--time", "5", hosts.container(CONTROL.name))
        try:
            yield
        finally:
            run("docker", "start", hosts.container(CONTROL.name))
            wait_for(f"an answer of {CONTROL.name} at {CONTROL.endpoint}", CONTROL.healthy)


def ca() -> str:
    """The certificate of the CA that control's TLS certificate comes from, PEM."""
    return text("docker", "exec", hosts.container(CONTROL.name), "cat", f"/{CONFIG}/ca.crt") + "\n"


def trust(host: str) -> None:
    """Prepare a host for this tailnet: the bed's CA in its trust store, and no upload of logs to the vendor.

    A tailscaled that runs already is restarted, else it sees neither.
    """
    hosts.execute(host, PREPARE, stdin=ca().encode())


def _ask(*arguments: str) -> Any:
    """Ask headscale's command line, with what it says as data; raises BedError with its words."""
    said = text("docker", "exec", hosts.container(CONTROL.name), "headscale", *arguments, "--output", "json")
    return json.loads(said) or []


def key(
    tags: Sequence[str] = ("tag:server",), *, reusable: bool = False, ephemeral: bool = False, expiry: str = "1h"
) -> str:
    """Make a pre-auth key (a secret); `tags` are among TAGS.

    Without tags the node becomes the user's: its node key expires. `expiry` is how long the key can be used to join.
    Raises BedError for a tag that the policy does not know; headscale would hand out a key for it all the same.
    """
    unknown = sorted(set(tags) - set(TAGS))
    if unknown:
        raise BedError(f"the tailnet's policy has no {', '.join(unknown)}: there are {', '.join(TAGS)}")
    argv = ["preauthkeys", "create", "--expiration", expiry]
    if tags:
        argv += ["--tags", ",".join(tags)]
    else:
        argv += ["--user", str(next(user["id"] for user in _ask("users", "list") if user["name"] == USER))]
    argv += ["--reusable"] * reusable + ["--ephemeral"] * ephemeral
    return str(_ask(*argv)["key"])


def parse(said: dict[str, Any]) -> Node:
    """A node from headscale's JSON."""
    expiry = said.get("expiry") or {}
    return Node(
        int(said["id"]),
        said.get("given_name", ""),
        said.get("name", ""),
        tuple(said.get("ip_addresses", ())),
        tuple(said.get("tags") or ()),
        bool(said.get("online", False)),
        expiry.get("seconds"),
    )


def nodes() -> list[Node]:
    """Every node, in the order of registration."""
    return sorted((parse(said) for said in _ask("nodes", "list")), key=lambda node: node.id)


def find(name: str) -> Node | None:
    """The newest node with this name (or hostname, when control had to give it another name), or None."""
    return next((node for node in reversed(nodes()) if name in {node.name, node.hostname}), None)


def node(name: str) -> Node:
    """As `find()`, but a node that is not there is a BedError."""
    found = find(name)
    if found is None:
        raise BedError(
            f"the tailnet has no node {name}", hint=f"docker exec {hosts.container(CONTROL.name)} headscale nodes list"
        )
    return found


def delete(name: str) -> None:
    """Remove every node of this name, if there are any.

    The machine has to join anew, and knows it at the latest when its tailscaled is started again: until then its
    requests are refused while its BackendState stays Running.
    """
    for found in nodes():
        if name in {found.name, found.hostname}:
            _ask("nodes", "delete", "--identifier", str(found.id), "--force")


def expire(name: str) -> None:
    """Let a node's key expire now."""
    _ask("nodes", "expire", "--identifier", str(node(name).id))


def rename(name: str, new: str) -> None:
    """Give a node another MagicDNS label; its hostname stays."""
    _ask("nodes", "rename", "--identifier", str(node(name).id), new)


SOURCE = """\
Types: deb
URIs: {url}
Suites: {suite}
Components: main
Signed-By: /usr/share/keyrings/tailscale-archive-keyring.gpg
"""
# Only the one source is asked, so that a preparation costs no look at Debian's archive.
INSTALL = """\
python3 -c 'import shutil, sys, urllib.request as request
with request.urlopen(sys.argv[1], timeout=30) as answer, open(sys.argv[2], "wb") as file:
    shutil.copyfileobj(answer, file)' {key} /usr/share/keyrings/tailscale-archive-keyring.gpg
cat >/etc/apt/sources.list.d/tailscale.sources
apt-get update -qq -o Dir::Etc::SourceList=/dev/null -o APT::Get::List-Cleanup=false \
  -o Dir::Etc::SourceParts=/dev/null -o Dir::Etc::SourceList=/etc/apt/sources.list.d/tailscale.sources
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends tailscale >/dev/null
"""


def install(host: str, track: str = packages.STABLE) -> None:
    """Install Tailscale in a host by the path of production, unless it is installed."""
    packages.repository()
    if run("docker", "exec", hosts.container(host), "test", "-x", "/usr/sbin/tailscaled", check=False).returncode == 0:
        return
    source = SOURCE.format(url=packages.url(track), suite=packages.SUITE)
    hosts.execute(host, INSTALL.format(key=packages.key_url(track)), stdin=source.encode())


def join(host: str, tags: Sequence[str] = ("tag:server",)) -> Node:
    """Install Tailscale in a host and join it, unless it has joined; for hosts that are not what is tested."""
    control()
    # A control server that was made anew does not know a node that still believes itself joined.
    if _status(host) != "Running" or find(host) is None:
        trust(host)
        install(host)
        delete(host)
        say(f"joining {host} to the tailnet")
        hosts.execute(
            host,
            "umask 077; cat >/run/tailnet.key; trap 'rm -f /run/tailnet.key' EXIT; "
            f"tailscale up --login-server={LOGIN_SERVER} --auth-key=file:/run/tailnet.key --hostname={host} "
            "--accept-dns=false --force-reauth --timeout=60s",
            stdin=key(tags).encode(),
        )
    wait_for(f"{host} on the tailnet", lambda: (found := find(host)) is not None and found.online)
    return node(host)


def _status(host: str) -> str:
    """The BackendState of a host's tailscaled; empty where none answers."""
    asked = run("docker", "exec", hosts.container(host), "tailscale", "status", "--json", check=False)
    try:
        return str(json.loads(asked.stdout)["BackendState"])
    except (ValueError, KeyError):
        return ""


def operator() -> Node:
    """Start the operator's machine and join it; one of another checkout is shared."""
    control()
    packages.repository()
    with hosts.locked(OPERATOR, machine=True):
        if hosts.running(OPERATOR) and hosts.owner(OPERATOR) != hosts.STATE:
            hosts.borrow(OPERATOR)
        else:
            hosts.up(OPERATOR)
        return join(OPERATOR, ("tag:operator",))


def alias(name: str, node_name: str = "") -> str:
    """Give a host the second SSH name `<name>-tailnet`, over the tailnet by way of the operator's machine.

    The host need not have joined yet. `node_name` is its name in the tailnet where it differs. The host's key and
    log-in are those of `name`. Returns the new name; the operator must have been started.
    """
    written = hosts.STATE / "hosts" / f"{name}.conf"
    if not written.exists():
        raise BedError(f"this bed has no host {name}", hint=f"python -m tests.bed up {name}")
    second = f"{name}-tailnet"
    place = written.with_name(f"{second}.conf")
    fresh = place.with_suffix(".new")
    fresh.write_text(ssh_alias(written.read_text(), second, f"{node_name or name}.{DOMAIN}", hosts.ssh_config()))
    fresh.rename(place)
    return second


def ssh_alias(config: str, name: str, dns_name: str, ssh_config: Path) -> str:
    """A host's ssh_config entry again, under another name, at its name in the tailnet, which the operator resolves."""
    kept = [line for line in config.splitlines() if line.split()[:1] in (["HostKeyAlias"], ["User"])]
    way = f"ssh -F {ssh_config} -o ControlPath=none {OPERATOR} sudo tailscale nc %h %p"
    return "\n".join([f"Host {name}", f"  HostName {dns_name}", f"  ProxyCommand {way}", *kept, ""])
