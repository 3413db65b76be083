"""Hosts, network and SSH access of the bed."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from . import image
from .artifacts import default_cache
from .shell import BedError, run, say, text, wait_for

ROOT = Path(__file__).resolve().parents[2]
STATE = Path(os.environ.get("SAPFLUX_BED_STATE", ROOT / ".bed"))
NETWORK = "sapflux-bed"
PREFIX = os.environ.get("SAPFLUX_BED_PREFIX", "10.83")
ADMIN = "ops"
LABEL = "sapflux.bed"
# What the hosts find in /etc/hosts: the last number of a sidecar's address by its name. A name in there holds while the
# sidecar is down, as a name in the world's DNS would, and whatever becomes of Docker's own DNS.
NAMES = {"headscale.sapflux.test": 12, "pkgs.sapflux.test": 13}

# What systemd, nftables, a kernel tun device and Docker inside need; less than --privileged gives.
CAPABILITIES = (
    "SYS_ADMIN",
    "NET_ADMIN",
    "NET_RAW",
    "SYS_PTRACE",
    "DAC_READ_SEARCH",
    "AUDIT_WRITE",
    "SYS_NICE",
    "MKNOD",
)


@contextmanager
def locked(name: str, *, machine: bool = False) -> Iterator[None]:
    """Hold one of the bed's locks, so that scenarios that run at the same time share what is made once.

    With `machine` the other checkouts of this machine are kept out too.
    """
    folder = default_cache().parent / "locks" if machine else STATE
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / f".lock-{name}").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def container(name: str) -> str:
    """The container's name of a host."""
    return f"bed-{name}"


def exists(name: str) -> bool:
    """Tell whether the host is there (running or not)."""
    return run("docker", "container", "inspect", container(name), check=False).returncode == 0


def running(name: str) -> bool:
    """Tell whether the host is there and running."""
    return text("docker", "container", "inspect", "-f", "{{.State.Running}}", container(name), check=False) == "true"


def owner(name: str) -> Path:
    """The state directory of the bed (of this checkout or another) that started the host."""
    return Path(
        text("docker", "container", "inspect", "-f", f'{{{{index .Config.Labels "{LABEL}"}}}}', container(name))
    )


def revive(name: str) -> None:
    """Start a stopped host of this bed, and remove one that cannot be started or that a vanished bed left behind.

    Raises BedError when the host is in use by the bed of another checkout.
    """
    if not exists(name):
        return
    if owner(name) != STATE:
        if running(name) and owner(name).exists():
            raise BedError(
                f"a host named {name} belongs to the test bed {owner(name)}",
                hint=f"docker rm -fv {container(name)}  (or ./justw demo-down there)",
            )
        down(name)
    elif not running(name) and run("docker", "start", container(name), check=False).returncode != 0:
        down(name)


def address(name: str) -> str:
    """The host's IPv4 address on the bed's network."""
    return text(
        "docker",
        "container",
        "inspect",
        "-f",
        f'{{{{(index .NetworkSettings.Networks "{NETWORK}").IPAddress}}}}',
        container(name),
    )


def network() -> None:
    """Make the bed's network unless it is there."""
    with locked("network"):
        if run("docker", "network", "inspect", NETWORK, check=False).returncode == 0:
            return
        made = run(
            "docker",
            "network",
            "create",
            "--subnet",
            f"{PREFIX}.0.0/16",
            "--ip-range",
            f"{PREFIX}.128.0/17",
            "--gateway",
            f"{PREFIX}.0.1",
            NETWORK,
            check=False,
        )
        if made.returncode != 0:
            raise BedError(
                f"the network {PREFIX}.0.0/16 cannot be made: {made.stderr.decode().strip()}",
                hint="SAPFLUX_BED_PREFIX=10.99 picks another one",
            )


def key() -> Path:
    """The SSH key that opens every host of this bed, made once."""
    path = key_path()
    with locked("key"):
        if not path.exists():
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "sapflux-bed", "-f", str(path))
    return path


def public_key() -> str:
    """The public half of `key()`, one line."""
    return key().with_suffix(".pub").read_text().strip()


def ssh_config() -> Path:
    """The ssh_config that names every host of the bed."""
    path = STATE / "ssh_config"
    hosts = STATE / "hosts"
    hosts.mkdir(mode=0o700, parents=True, exist_ok=True)
    with locked("ssh"):
        if not path.exists():
            path.write_text(
                f"Include {hosts}/*.conf\n\nHost *\n  IdentityFile {key_path()}\n  IdentitiesOnly yes\n"
                f"  UserKnownHostsFile {hosts}/%k.known\n  StrictHostKeyChecking yes\n  LogLevel ERROR\n"
            )
    return path


def key_path() -> Path:
    """Where the bed's key lies, without making it."""
    return STATE / "id_ed25519"


def create_arguments(name: str, memory: str | None = None, at: str | None = None) -> list[str]:
    """What ``docker create`` and ``docker run`` make a host from; `at` is the address it is to have."""
    argv = [
        "--name",
        container(name),
        "--hostname",
        name,
        "--network",
        NETWORK,
        "--label",
        f"{LABEL}={STATE}",
        "--cgroupns=private",
        "--stop-signal",
        "SIGRTMIN+3",
        "--security-opt",
        "seccomp=unconfined",
        "--security-opt",
        "apparmor=unconfined",
        "--security-opt",
        "systempaths=unconfined",
        "--device",
        "/dev/net/tun",
        "--tmpfs",
        "/run:exec,mode=755",
        "--tmpfs",
        "/run/lock",
        "--tmpfs",
        "/tmp:exec,mode=1777",
        "--volume",
        "/var/lib/docker",
    ]
    for capability in CAPABILITIES:
        argv += ["--cap-add", capability]
    for alias, number in NAMES.items():
        argv += ["--add-host", f"{alias}:{PREFIX}.0.{number}"]
    if memory:
        argv += ["--memory", memory, "--memory-swap", memory]
    if at:
        argv += ["--ip", at]
    return argv


def _create(name: str, memory: str | None) -> None:
    run("docker", "run", "--detach", *create_arguments(name, memory), image.host())


def borrow(name: str) -> None:
    """Make a running host of another checkout reachable from this one: its admin and root let this bed's key in."""
    public = public_key().encode() + b"\n"
    for home in ("/root", f"/home/{ADMIN}"):
        file = f"{home}/.ssh/authorized_keys"
        execute(name, f'read -r key; grep -qxF "$key" {file} || echo "$key" >>{file}', stdin=public)
    _write_ssh(name, admin=True)


def execute(name: str, script: str, stdin: bytes | None = None) -> str:
    """Run a shell script as root in the host, past SSH; for preparation and for faults, never for what is tested."""
    return run("docker", "exec", "-i", container(name), "sh", "-euc", script, stdin=stdin).stdout.decode().strip()


def _boot_state(name: str) -> str:
    return text("docker", "exec", container(name), "systemctl", "is-system-running", check=False)


def _prepare(name: str, admin: bool) -> None:
    """Give the host what a provider's first boot gives: host keys, root's key, and (with `admin`) the admin user."""
    try:
        wait_for(f"the boot of {name}", lambda: _boot_state(name) in {"running", "degraded"}, seconds=180)
    except BedError as error:
        log = run("docker", "logs", "--tail", "5", container(name), check=False)
        said = (log.stdout + log.stderr).decode(errors="replace").strip()
        raise BedError(f"{error} (state: {_boot_state(name)}) {said}", hint=f"docker logs {container(name)}") from error
    public = public_key().encode() + b"\n"
    execute(
        name,
        "install -d -m 0700 /root/.ssh; umask 077; cat >/root/.ssh/authorized_keys",
        stdin=public,
    )
    if admin:
        execute(
            name,
            f"id {ADMIN} >/dev/null 2>&1 || useradd --create-home --shell /bin/bash {ADMIN}; "
            f"install -d -m 0700 -o {ADMIN} -g {ADMIN} /home/{ADMIN}/.ssh; "
            f"cat >/home/{ADMIN}/.ssh/authorized_keys; "
            f"chown {ADMIN}:{ADMIN} /home/{ADMIN}/.ssh/authorized_keys; "
            f"echo '{ADMIN} ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/90-cloud-init-users",
            stdin=public,
        )


def _write_ssh(name: str, admin: bool) -> None:
    config = ssh_config()
    hosts = config.parent / "hosts"
    alias = container(name)
    keys = execute(name, "cat /etc/ssh/ssh_host_ed25519_key.pub")
    (hosts / f"{alias}.known").write_text(f"{alias} {' '.join(keys.split()[:2])}\n")
    (hosts / f"{name}.conf").write_text(
        f"Host {name}\n  HostName {address(name)}\n  HostKeyAlias {alias}\n  User {ADMIN if admin else 'root'}\n"
    )


def up(name: str, memory: str | None = None, admin: bool = True) -> None:
    """Start a host and wait until it answers over SSH; does nothing when it already does.

    `memory` bounds the whole host (Docker's notation, e.g. "2g"); without `admin` there is root only, as on a fresh
    server.
    """
    network()
    key()
    with locked(f"host-{name}"):
        revive(name)
        if not exists(name):
            # What is written about a host whose container somebody removed must not pass for this one's preparation.
            down(name)
            say(f"starting the host {name}")
            _create(name, memory)
        written = STATE / "hosts" / f"{name}.conf"
        prepared = written.read_text() if written.exists() else ""
        if not prepared:
            _prepare(name, admin)
        _write_ssh(name, admin or f"User {ADMIN}" in prepared)
        wait_for(f"an SSH answer of {name}", lambda: greets(address(name)) or _greets_itself(name), every=0.2)


def greets(host: str, port: int = 22) -> bool:
    """Tell whether an SSH server greets there; who may log in is the host's affair."""
    try:
        with socket.create_connection((host, port), timeout=5) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def _greets_itself(name: str) -> bool:
    """Tell whether a host's SSH server greets on its loopback; one that was locked down is closed from here."""
    asked = run(
        "docker", "exec", container(name), "bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/22; head -c 4 <&3", check=False
    )
    return asked.stdout == b"SSH-"


def inventory(name: str) -> str:
    """An inventory line for the host."""
    return f"{name} ansible_ssh_common_args='-F {ssh_config()}'"


def down(*names: str) -> None:
    """Remove hosts with their volumes and everything the bed wrote about them."""
    for name in names:
        if exists(name):
            run("docker", "rm", "--force", "--volumes", container(name))
        for written in (f"{name}.conf", f"{name}-tailnet.conf", f"{container(name)}.known"):
            (STATE / "hosts" / written).unlink(missing_ok=True)


def names() -> list[str]:
    """Every host of this bed."""
    listed = text("docker", "ps", "--all", "--filter", f"label={LABEL}={STATE}", "--format", "{{.Names}}")
    return sorted(line.removeprefix("bed-") for line in listed.splitlines())
