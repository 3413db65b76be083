"""Prepare a host for the scenario: a control server it trusts, a repository of its own, an operator, a key to join."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import urllib.request
from urllib.parse import urlsplit

from tests.bed import hosts, packages, tailnet

FACTS = hosts.STATE / "molecule-tailscale.json"


def main(host: str) -> None:
    """Bring everything to where the scenario begins, whatever an earlier run has left, and note it in FACTS."""
    tailnet.operator()
    tailnet.trust(host)
    tailnet.delete(host)
    packages.publish(host, packages.current())
    # By its address, for this machine does not know the names that the hosts know.
    place = f"http://{packages.REPOSITORY.endpoint}{urlsplit(packages.key_url(host)).path}"
    with urllib.request.urlopen(place, timeout=30) as answer:
        digest = hashlib.sha256(answer.read()).hexdigest()
    known = {
        "login_server": tailnet.LOGIN_SERVER,
        "repository": packages.url(host),
        "repository_key_sha256": digest,
        "version": packages.current(),
        "key": tailnet.key(),
    }
    # It holds a key, so nobody else may read it at any time.
    fresh = FACTS.with_suffix(".new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as handle:
        json.dump(known, handle)
    fresh.rename(FACTS)


if __name__ == "__main__":
    main(sys.argv[1])
