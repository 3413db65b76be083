"""The demo: a throwaway production on this machine, from nothing to an answering application, with a receipt."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime

from tests.bed import artifacts, engine, hosts, image, images, sidecars, stage
from tests.bed.https import request
from tests.bed.shell import BedError, run, say, tell

HOST = "demo"
SITE, API = stage.DOMAIN, f"api.{stage.DOMAIN}"
POINT = {"longitude": -79.05, "latitude": 35.91, "payload": {"species": "Pinus taeda", "sap_flux_cm_h": 11.4}}
BBOX = "-80,35,-78,37"

RECEIPT = """
The demo is up.

  the map           https://{site}/
  the application   https://{api}/observations?bbox={bbox}
                    curl --cacert {ca} --resolve {api}:443:{address} 'https://{api}/observations?bbox={bbox}'
  in a browser      echo '{address} {site} {api}' | sudo tee -a /etc/hosts
                    sudo cp {ca} /usr/local/share/ca-certificates/sapflux-demo.crt && sudo update-ca-certificates
  the object store  http://{objects}  (access key {access_key}, secret key {secret_key}, bucket {bucket})
  psql              ./justw psql
  SSH               ./justw ssh
  restorable until  {restorable}
  last backup       {backup}

What to try next
  ./justw status              one screen about this host
  ./justw backup              a base backup now
  ./justw restore             the newest backup, restored beside the live data
  ./justw converge            again: nothing changes
  ./justw demo-down           remove every trace
"""


def _step(number: int, what: str, action: Callable[[], object]) -> None:
    began = time.monotonic()
    say(f"\n== {number}/5 {what}")
    try:
        action()
    except BedError as error:
        raise BedError(f"step {number} ({what}) failed: {error}", error.hint) from error
    say(f"   done in {time.monotonic() - began:.0f} s")


def _build() -> None:
    image.host()
    for name in artifacts.PROGRAMS:
        artifacts.artifact(name)
    for name in images.DEPLOYED:
        images.build(name)


def _converge(demo: stage.Stage) -> None:
    done = subprocess.run(demo.playbook("site.yml"), cwd=hosts.ROOT, env=demo.environment(), check=False)
    if done.returncode != 0:
        raise BedError(
            "ansible-playbook stopped; its last lines above name the task and the cause",
            hint="./justw demo  (it goes on where it stopped), or look around with ./justw ssh",
        )


def _prove(demo: stage.Stage) -> None:
    ca = demo.ca()
    point = POINT | {"observed_at": datetime.now(UTC).isoformat(timespec="seconds")}
    made = request(demo.address, API, "/observations", ca, method="POST", body=point)
    if made.status != 201:
        raise BedError(
            f"POST https://{API}/observations answered {made.status}: {made.body.decode(errors='replace')}",
            hint="./justw ssh, then: sudo docker ps; sudo docker logs <container>",
        )
    found = request(demo.address, API, f"/observations?bbox={BBOX}", ca)
    features = found.json().get("features", []) if found.status == 200 else []
    if not any(str(feature.get("id")) == str(made.json()["id"]) for feature in features):
        raise BedError(f"the point {made.json()['id']} was stored but GET /observations does not return it")
    drawn = request(demo.address, SITE, f"/api/observations?bbox={BBOX}", ca)
    page = request(demo.address, SITE, "/", ca)
    if (page.status, drawn.status) != (200, 200) or drawn.json().get("features") != features:
        raise BedError(
            f"the map at https://{SITE}/ answered {page.status}, and {drawn.status} for its points",
            hint="./justw logs web",
        )
    say(f"   POST 201, GET 200: {len(features)} point(s) in {BBOX}, and the map has them")
    (hosts.STATE / f"{HOST}-ca.crt").write_text(ca)


def _receipt(demo: stage.Stage) -> None:
    state = json.loads(demo.sudo("-u postgres /usr/local/lib/sapflux/walg/pgsafe status --json"))
    newest = state.get("newest_backup") or {}
    print(
        RECEIPT.format(
            site=SITE,
            api=API,
            bbox=BBOX,
            address=demo.address,
            ca=hosts.STATE / f"{HOST}-ca.crt",
            objects=sidecars.MINIO.endpoint,
            access_key=sidecars.ACCESS_KEY,
            secret_key=sidecars.SECRET_KEY,
            bucket=demo.bucket,
            restorable=state.get("newest_restorable") or "nothing yet",
            backup=newest.get("finish_time") or "none",
        )
    )


def up() -> None:
    """Build what is missing, converge, prove that the application answers, print the receipt."""
    demo = stage.Stage(HOST, stage.LOCAL)
    _step(1, "Docker and the tools of the test bed", engine.ensure)
    _step(2, "the test host's image, the programs and the application", _build)
    _step(3, "the host, the object store, the registry and the tailnet", demo.prepare)
    _step(4, "ansible-playbook site.yml -i inventory/local", lambda: _converge(demo))
    _step(5, "a point through https", lambda: _prove(demo))
    _receipt(demo)


def down(caches: bool) -> None:
    """Remove hosts, sidecars, network, keys and generated variables; with `caches` what was built, too."""
    stage.forget(stage.LOCAL)
    if engine.answers():
        # Its bucket and its node, too: they stay where the object store and the tailnet are another checkout's.
        stage.Stage(HOST, stage.LOCAL).remove()
        hosts.down(*hosts.names())
        run("docker", "network", "rm", hosts.NETWORK, check=False)
        if caches:
            listed = run("docker", "images", "--format", "{{.Repository}}:{{.Tag}}").stdout.decode().split()
            ours = [name for name in listed if name.startswith(("sapflux-", f"127.0.0.1:{sidecars.PUSH_PORT}/"))]
            if ours:
                run("docker", "rmi", "--force", *ours)
    shutil.rmtree(hosts.STATE, ignore_errors=True)
    if caches:
        shutil.rmtree(artifacts.default_cache(), ignore_errors=True)
    kept = "" if caches else "; built images and programs are kept (./justw demo-down --caches removes them, too)"
    say(f"the demo is gone{kept}")


def main() -> int:
    """Run the demo or remove it; 0 = done, 1 = a step failed and was named."""
    parser = argparse.ArgumentParser(prog="python -m tests.demo")
    parser.add_argument("verb", choices=["up", "down"])
    parser.add_argument("--caches", action="store_true", help="down: remove what was built, too")
    args = parser.parse_args()
    try:
        if args.verb == "up":
            up()
        else:
            down(args.caches)
    except BedError as error:
        return tell(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
