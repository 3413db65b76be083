"""All of Cloudflare's modules in a real play: planned, done, done again, and nothing secret in what it prints."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.doubles.cloudflare import ACCOUNT, cloudflare, dns, origin, zones
from tests.doubles.web import Fault
from tests.unit.fixtures import ROOT
from tests.unit.plugins.modules import pems

TOKEN = "edge-token_that-must-not-show"
GROUPS = (
    *("Zone Read", "DNS Write", "Zone Settings Write", "Zone WAF Write", "SSL and Certificates Write"),
    "Account API Tokens Write",
)


def play(folder: Path, url: str, *arguments: str) -> tuple[int, int, str]:
    """(exit code, how many tasks changed something, all that was printed) of a run at -vvv."""
    variables = [f"folder={folder}", f"account={ACCOUNT}", f"ansible_python_interpreter={sys.executable}"]
    command = [
        str(Path(sys.executable).parent / "ansible-playbook"),
        "-i",
        "localhost,",
        "-c",
        "local",
        "-vvv",
        "--diff",
    ]
    command += [part for each in variables for part in ("-e", each)]
    environment = os.environ | {
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".ansible" / "collections"),
        "ANSIBLE_HOME": str(folder / "home"),
        "ANSIBLE_CONFIG": str(folder / "ansible.cfg"),
        "EDGE_TOKEN": TOKEN,
        "EDGE_URL": f"{url}/client/v4",
    }
    playbook = Path(__file__).with_name("cloudflare_edge.yml")
    done = subprocess.run(
        [*command, str(playbook), *arguments], env=environment, capture_output=True, text=True, check=False
    )
    changed = re.search(r"changed=(\d+)", done.stdout)
    return done.returncode, int(changed[1]) if changed else -1, done.stdout + done.stderr


def test_the_edge_from_nothing(tmp_path: Path) -> None:
    key = pems.new_key()
    (tmp_path / "ansible.cfg").write_text("[defaults]\n", encoding="utf-8")
    (tmp_path / "csr.pem").write_text(pems.request(pems.new_key()), encoding="utf-8")
    (tmp_path / "edge.pem").write_text(pems.certificate(key), encoding="utf-8")
    (tmp_path / "edge.key").write_text(pems.private(key), encoding="utf-8")
    secrets = [TOKEN, pems.private(key).splitlines()[1]]
    cloud = cloudflare()
    cloud.add_token(TOKEN, *GROUPS)
    zone = zones.add_zone(cloud, "example.org")
    cloud.part(origin.Pulls).delay = 0
    with cloud.running() as url:
        code, changed, said = play(tmp_path, url, "--check")
        assert (code, changed) == (0, 6), said[-3000:]
        assert [seen for seen in cloud.writes() if seen.query.get("dry_run") != "true"] == []
        # A batch whose answer is lost, and pages of a broken edge, on the way.
        cloud.faults = [Fault("lost", method="POST", path="batch"), Fault("page", method="GET", times=2, status=522)]
        code, changed, first = play(tmp_path, url)
        assert (code, changed) == (0, 6), first[-3000:]
        secrets += [token.value for token in cloud.tokens.values()]
        before = len(cloud.writes())
        code, changed, again = play(tmp_path, url)
        assert (code, changed) == (0, 0), again[-3000:]
        assert cloud.writes()[before:] == []
    assert len(secrets) == 4
    assert [secret for secret in secrets if secret in said + first + again] == []
    assert len(dns.records_of(cloud, zone)) == 11
