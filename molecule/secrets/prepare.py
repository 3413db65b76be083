"""Build the Doppler CLI, note where it is in FACTS, and put Doppler's double on a host as a service of it."""

from __future__ import annotations

import json
import sys

from tests.bed import archive, hosts
from tests.bed.artifacts import artifact
from tests.bed.shell import run

FACTS = hosts.STATE / "molecule-secrets.json"
HOME = "opt/doppler-double"
UNIT = """\
[Service]
ExecStart=/usr/bin/python3 -B double.py
WorkingDirectory=/opt/doppler-double
DynamicUser=yes
"""


def main(host: str) -> None:
    """Bring both to where the scenario begins."""
    cli = artifact("doppler")
    FACTS.write_text(json.dumps({"version": cli.version, "path": str(cli.path), "sha256": cli.sha256}))
    sources = [
        hosts.ROOT / "tests" / "__init__.py",
        *(hosts.ROOT / "tests" / "doubles").glob("*.py"),
        *(hosts.ROOT / "tests" / "doubles" / "doppler").glob("*.py"),
    ]
    files = {f"{HOME}/{path.relative_to(hosts.ROOT)}": archive.File(path.read_bytes()) for path in sources}
    for name in ("double.py", "doppler.json"):
        files[f"{HOME}/{name}"] = archive.File((hosts.ROOT / "molecule" / "secrets" / name).read_bytes())
    files["etc/systemd/system/doppler-double.service"] = archive.File(UNIT.encode())
    run("docker", "cp", "-", f"{hosts.container(host)}:/", stdin=archive.tar(files))


if __name__ == "__main__":
    main(sys.argv[1])
