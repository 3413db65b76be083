"""The container engine the bed runs on: found, or installed and started."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from .shell import BedError, have, retry_download, run, say, wait_for

PACKAGES = ("docker.io", "iptables", "nftables", "iproute2", "debootstrap", "openssh-client")
PID_FILE = Path("/var/run/docker.pid")
LOG = Path("/var/log/dockerd-bed.log")
# Every systemd of the bed watches files; the kernel's default of 128 watchers a user ends at about ten hosts.
WATCHERS = Path("/proc/sys/fs/inotify/max_user_instances")
WATCHERS_WANTED = 1024


def answers() -> bool:
    """Tell whether a Docker daemon answers."""
    return have("docker") and run("docker", "info", check=False).returncode == 0


def _install() -> None:
    missing = [
        name
        for name, program in zip(PACKAGES, ("dockerd", "iptables", "nft", "ip", "debootstrap", "ssh"), strict=True)
        if not have(program)
    ]
    if not missing:
        return
    if os.geteuid() != 0:
        raise BedError(
            f"missing here: {', '.join(missing)}",
            hint=f"sudo apt-get install {' '.join(missing)}  (or run this as root)",
        )
    if not have("apt-get"):
        raise BedError(
            f"missing here: {', '.join(missing)}, and this is no Debian or Ubuntu machine",
            hint="install Docker by your distribution's means, then run this again",
        )
    say(f"installing {', '.join(missing)} with apt-get")
    # Third-party sources of this machine may be unreachable; only the installation itself has to work.
    run("apt-get", "update", "-qq", check=False)
    os.environ["DEBIAN_FRONTEND"] = "noninteractive"
    retry_download(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing])


def _clear_stale_pid_file() -> None:
    """A daemon that was cut off leaves its pid file; dockerd refuses to start while any process has that pid."""
    if not PID_FILE.exists():
        return
    pid = PID_FILE.read_text().strip()
    comm = Path(f"/proc/{pid}/comm")
    if not (comm.exists() and comm.read_text().strip() == "dockerd"):
        PID_FILE.unlink()


def _start() -> None:
    if Path("/run/systemd/system").is_dir():
        run("systemctl", "start", "docker.service")
    else:
        _clear_stale_pid_file()
        say(f"starting dockerd (its log: {LOG})")
        with LOG.open("ab") as log:
            subprocess.Popen(["dockerd"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_for("an answer of the Docker daemon", answers, seconds=120, every=0.5)
    except BedError as error:
        raise BedError(str(error), hint=f"tail {LOG}; systemctl status docker") from error


def _watchers() -> None:
    if os.geteuid() == 0 and int(WATCHERS.read_text()) < WATCHERS_WANTED:
        say(f"raising fs.inotify.max_user_instances to {WATCHERS_WANTED} until the next boot")
        WATCHERS.write_text(str(WATCHERS_WANTED))


def ensure() -> None:
    """Make sure a Docker daemon answers and the bed's tools are here.

    Installs and starts what is missing when run as root, and says so before it does. Raises BedError otherwise.
    """
    if answers():
        if not have("ssh", "ssh-keygen"):
            _install()
        _watchers()
        return
    if os.geteuid() != 0 and have("docker"):
        raise BedError(
            "the Docker daemon does not answer this user",
            hint="sudo systemctl start docker; sudo usermod -aG docker $USER, then log in again",
        )
    _install()
    _start()
    _watchers()
