"""The host that deployments are tested on: what it serves, what it remembers, and what kills a deployment at a step.

Used by the scenario `deploy` and by the soak tests.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from typing import Any

from testinfra.host import Host

from tests.bed import hosts
from tests.load import Load
from tests.scenario import ROOT, Applied, apply, environment, wait_until

HOST, PEER = "deploy-1", "deploy-peer"
BASE = "/var/lib/sapflux/app/shop"
BUILT = ROOT / ".bed" / "molecule-deploy.json"
#: GET https://HOSTNAME/PATH of ADDRESS from the second host, whoever signed the certificate.
ASK = (
    "import http.client,socket,ssl,sys; c=ssl._create_unverified_context(); "
    "s=c.wrap_socket(socket.create_connection((sys.argv[1],443),20),server_hostname=sys.argv[2]); "
    "k=http.client.HTTPConnection(sys.argv[2]); k.sock=s; k.request('GET',sys.argv[3]); "
    "a=k.getresponse(); print(a.status, a.read(200).decode().strip())"
)
#: Waits until a deployment is at a step, then runs what ends it.
AT_STEP = (
    "import subprocess,sys,time\n"
    'wanted = \'"step": "%s"\' % sys.argv[2]\n'
    "while True:\n"
    "    try:\n"
    "        if wanted in open(sys.argv[1]).read(): break\n"
    "    except FileNotFoundError: pass\n"
    "    time.sleep(0.01)\n"
    "sys.exit(subprocess.run(['sh', '-c', sys.argv[3]]).returncode)\n"
)
KILL = f"kill -9 $(find /proc/[0-9]*/fd -lname {BASE}/.lock 2>/dev/null | cut -d/ -f3 | sort -u)"


def image(version: str) -> str:
    """The reference of a version that was built for the scenario."""
    return str(json.loads(BUILT.read_text())["images"][version])


def deploy(*options: str, **variables: Any) -> Applied:
    """Deploy without looking at Caddy's configuration again."""
    return apply({"molecule_app_only": True, **variables}, *options)


def text(output: str) -> str:
    """What Ansible printed, without its line breaks."""
    return " ".join(output.split())


def through_caddy(path: str, hostname: str = "api.sapflux.test") -> str:
    """Status and the begin of the answer of a route as the second host sees it; "" when there is none."""
    argv = ["docker", "exec", hosts.container(PEER), "python3", "-c", ASK, hosts.address(HOST), hostname, path]
    return subprocess.run(argv, check=False, capture_output=True, text=True).stdout.strip()


def load(hostname: str = "api.sapflux.test", **options: Any) -> Load:
    """A load from the second host."""
    return Load(PEER, hosts.address(HOST), hostname, **options)


def at_step(step: str, command: str = "true") -> subprocess.Popen[bytes]:
    """Begin to wait, on the host, for the next deployment to be at a step, and then to run a command there."""
    hosts.execute(HOST, f"rm -f {BASE}/progress.jsonl")
    argv = ["docker", "exec", hosts.container(HOST), "python3", "-c", AT_STEP, f"{BASE}/progress.jsonl", step, command]
    return subprocess.Popen(argv, stderr=subprocess.DEVNULL)


def killed_at(step: str, **variables: Any) -> Applied:
    """A deployment whose process on the host is killed as soon as it is at that step."""
    with at_step(step, KILL) as killer:
        done = deploy(**variables)
        assert killer.wait() == 0, f"no process was there to be killed at {step}: {done.output[-1500:]}"
    return done


def begin(**variables: Any) -> subprocess.Popen[bytes]:
    """A deployment under way, in a process group of its own."""
    extra = json.dumps({"molecule_app_only": True, **variables})
    inventory, playbook = ROOT / "molecule" / "inventory", ROOT / "molecule" / "deploy" / "converge.yml"
    argv = ["ansible-playbook", "-i", str(inventory), "--limit", "deploy,localhost", str(playbook)]
    env = {**environment(), "MOLECULE_SCENARIO_NAME": "deploy"}
    env.pop("ANSIBLE_CALLBACKS_ENABLED", None)
    return subprocess.Popen(
        [*argv, "--extra-vars", extra],
        env=env,
        cwd=ROOT,
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def controller_killed_at(step: str, **variables: Any) -> None:
    """A deployment whose controller dies, with everything it had started, when the host is at that step."""
    with at_step(step) as watcher:
        run = begin(**variables)
        assert watcher.wait() == 0
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()


def power_lost_at(step: str, **variables: Any) -> None:
    """A deployment whose host loses its power at that step; waits until the host is up again."""
    with at_step(step) as watcher:
        run = begin(**variables)
        assert watcher.wait() == 0
        subprocess.run(["docker", "kill", hosts.container(HOST)], check=True, stdout=subprocess.DEVNULL)
        run.wait()
    hosts.up(HOST)


def serves(version: str, seconds: float = 180) -> None:
    """Wait until the application answers, with this version."""
    wait_until(lambda: through_caddy("/health") == f"200 {version}", f"an answer of {version}", seconds)


class Shop:
    """The project on the host under test."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def read(self, path: str) -> str:
        """A file of the host."""
        return str(self.host.file(path).content_string)

    def upstream(self, service: str = "api") -> str:
        """Where Caddy finds a service."""
        return self.read(f"/etc/sapflux/upstreams/shop-{service}")

    def receipts(self) -> list[dict[str, Any]]:
        """The record of deployments."""
        return [json.loads(line) for line in self.read(f"{BASE}/releases.jsonl").splitlines()]

    def slots(self) -> list[str]:
        """Names of the slots that run."""
        shown = '{{.Label "com.docker.compose.service"}}'
        asked = f"docker ps --filter label=com.sapflux.project=shop --format '{shown}'"
        return sorted(self.host.check_output(asked).split())

    def release(self, action: str, **options: Any) -> dict[str, Any]:
        """What `compose_release` answers, run on the host as the role runs it."""
        done = deploy(app_action=action, molecule_tasks_from="release", **options)
        return {"rc": done.rc, "changed": done.changed, "output": text(done.output)}
