"""caddy_host with the real openssl: a key that stays, a request for it, and certificates for no other key."""

from __future__ import annotations

import json
import os
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.sapflux.hosting.plugins.module_utils import _caddy_host as host
from ansible_collections.sapflux.hosting.plugins.modules import caddy_host

from tests.doubles.cloudflare import cloudflare
from tests.doubles.cloudflare.zones import add_zone

ME = "me"
NAMES = ["example.org", "*.example.org"]


@pytest.fixture(autouse=True)
def _myself(monkeypatch: pytest.MonkeyPatch) -> None:
    """The account exists and is the one that runs the tests, which may give files to itself only."""
    entry = type("Entry", (), {"pw_gid": os.getgid()})()
    monkeypatch.setattr(caddy_host, "account", lambda user: entry if user == ME else None)
    monkeypatch.setattr(os, "chown", lambda *_args: None)
    monkeypatch.setattr(os, "fchown", lambda *_args: None)


def converge(folder: Path, check: bool = False, **changes: Any) -> dict[str, Any]:
    """Run the module's body."""
    params = {
        "user": ME,
        "home": "/var/lib/me",
        "origin_dir": str(folder / "origin"),
        "hostnames": NAMES,
        "certificate": None,
        "renew_days": 30,
        **changes,
    }
    return caddy_host.converge(params, check)


def signed(csr: str, days: int) -> str:
    """What Cloudflare's double signs."""
    cloud = cloudflare()
    add_zone(cloud, "example.org")
    cloud.add_token("t" * 40, "SSL and Certificates Write")
    body = {"csr": csr, "hostnames": NAMES, "request_type": "origin-ecc", "requested_validity": days}
    with cloud.running() as url:
        request = urllib.request.Request(
            f"{url}/client/v4/certificates",
            json.dumps(body).encode(),
            {"Authorization": f"Bearer {'t' * 40}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return str(json.load(answer)["result"]["certificate"])


def test_a_key_is_made_once_and_is_for_the_server_only(tmp_path: Path) -> None:
    first = converge(tmp_path)
    key = tmp_path / "origin" / "origin.key"
    assert first["changed"]
    assert (first["origin"]["issued"], first["origin"]["due"]) == (False, True)
    assert "BEGIN CERTIFICATE REQUEST" in first["origin"]["csr"]
    assert key.stat().st_mode & 0o777 == 0o640
    before = key.read_bytes()
    second = converge(tmp_path)
    assert (second["changed"], key.read_bytes()) == (False, before)
    assert second["origin"] == first["origin"]


def test_a_signed_certificate_is_installed_and_renewed_before_its_end(tmp_path: Path) -> None:
    csr = converge(tmp_path)["origin"]["csr"]
    long, short = signed(csr, 90), signed(csr, 7)
    installed = converge(tmp_path, certificate=long)
    assert (installed["changed"], installed["origin"]["issued"], installed["origin"]["due"]) == (True, True, False)
    assert installed["origin"]["hostnames"] == sorted(NAMES)
    assert not converge(tmp_path, certificate=long)["changed"]
    assert converge(tmp_path, certificate=short)["origin"]["due"]
    assert not converge(tmp_path, renew_days=3)["origin"]["due"]
    assert converge(tmp_path, hostnames=[*NAMES, "example.net"])["origin"]["due"]


def test_a_certificate_for_another_key_is_refused(tmp_path: Path) -> None:
    other = signed(converge(tmp_path / "other")["origin"]["csr"], 90)
    before = converge(tmp_path)["origin"]["sha256"]
    with pytest.raises(host.HostError, match="not for the key of this host"):
        converge(tmp_path, certificate=other)
    assert converge(tmp_path)["origin"]["sha256"] == before


def test_check_mode_writes_nothing(tmp_path: Path) -> None:
    found = converge(tmp_path, check=True)
    assert (found["changed"], found["origin"]["csr"], found["origin"]["due"]) == (True, "", True)
    assert list(tmp_path.iterdir()) == []


def test_the_account_is_made_when_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[str, str]] = []
    monkeypatch.setattr(caddy_host, "make_account", lambda user, home: made.append((user, home)))
    assert converge(tmp_path, user="nobody-yet", origin_dir=None) == {"changed": True, "origin": {}}
    assert converge(tmp_path, check=True, user="nobody-yet", origin_dir=None)["changed"]
    assert made == [("nobody-yet", "/var/lib/me")]


def test_names_are_needed(tmp_path: Path) -> None:
    with pytest.raises(host.HostError, match="hostnames is empty"):
        converge(tmp_path, hostnames=[])


def test_what_is_missing_on_the_host_is_named() -> None:
    with pytest.raises(host.HostError, match="no-such-program is not installed"):
        host.run("no-such-program", "x")
