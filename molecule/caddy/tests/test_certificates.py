"""Certificates by DNS-01 with everything that can go wrong on the way, and the origin certificate behind them.

Pebble, the DNS and Cloudflare's double are those of tests/bed/acme.py. Each fault is put into the world, never into
Caddy.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography import x509
from testinfra.host import Host

from tests.bed import acme
from tests.edge import ORIGIN_TOKEN, STORAGE, TOKEN, ZONE, Client, pid, reach, wanted
from tests.scenario import apply, wait_until

API, WWW = "api.sapflux.test", "www.sapflux.test"
ORIGIN = "/var/lib/sapflux/origin"


@pytest.fixture(autouse=True)
def _healthy(world: acme.World) -> Iterator[None]:
    yield
    world.authority.mode = world.edge.mode = "pass"
    world.dns.delay = 0
    world.cloud.faults.clear()


@pytest.fixture(scope="module", autouse=True)
def _internal_again() -> Iterator[None]:
    yield
    assert apply().rc == 0


def shown(client: Client, name: str) -> x509.Certificate:
    """The certificate that is served for a name, whoever signed it."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    der = client.connect(name, context=context).getpeercert(binary_form=True)
    assert der is not None
    return x509.load_der_x509_certificate(der)


def issuer(client: Client, name: str) -> str:
    """Common name of the authority that signed what is served."""
    return shown(client, name).issuer.rfc4514_string()


def forget(host: Host) -> None:
    """As on a host that never had a certificate of this authority."""
    host.check_output("systemctl stop sapflux-certificates.timer sapflux-certificates.service caddy || true")
    host.check_output(f"rm -rf {STORAGE}/certificates/acme* {STORAGE}/acme /etc/caddy/fallback/*")
    host.check_output("rm -f /etc/caddy/Caddyfile && systemctl reset-failed caddy || true")


def settle(host: Host) -> dict[str, Any]:
    """What the timer does every other minute."""
    # Through the unit, whose sandbox is part of what must work.
    host.check_output("systemctl start sapflux-certificates.service")
    found: dict[str, Any] = json.loads(host.check_output("/usr/local/lib/sapflux/certificates report"))
    return found


def test_what_would_leave_a_site_without_any_certificate_is_put_back(client: Client, world: acme.World) -> None:
    before = issuer(client, API)
    assert "Caddy Local Authority" in before
    world.authority.mode = "down"
    result = reach(world, caddy_origin_token="", caddy_issue_budget=1)
    assert result.rc != 0
    assert "put back" in result.output
    assert issuer(client, API) == before
    assert client.ask(API, "/hello").status == 200


def test_dns01_issues_a_certificate_for_every_site(host: Host, client: Client, world: acme.World) -> None:
    forget(host)
    result = reach(world)
    assert result.rc == 0, result.output
    for name in (API, WWW):
        assert "Pebble" in issuer(client, name)
    client.trust(world.root())
    assert client.ask(API, "/hello").status == 200
    # The records are gone again, and were asked for at the authoritative server.
    assert [each for each in acme.records(world.cloud, ZONE) if each.kind == "TXT"] == []
    assert (f"_acme-challenge.{API}", "TXT") in world.dns.asked
    assert reach(world).changed == 0
    assert settle(host)["sites"] == {API: "own", WWW: "own"}


def test_the_token_is_where_only_the_server_can_read_it(host: Host) -> None:
    file = host.file("/etc/caddy/cloudflare_token")
    assert (file.user, file.mode, file.content_string) == ("root", 0o600, TOKEN)
    seen = host.check_output(f"cat /run/credentials/caddy.service/cloudflare_token; cat /proc/{pid(host)}/environ")
    assert seen.startswith(TOKEN)
    process = f"/proc/{pid(host)}"
    everywhere = host.check_output(
        f"tr '\\0' '\\n' <{process}/environ; tr '\\0' ' ' <{process}/cmdline; journalctl --no-pager -b; "
        "systemctl cat caddy.service; systemctl show caddy.service; cat /etc/caddy/Caddyfile"
    )
    assert TOKEN not in everywhere
    assert ORIGIN_TOKEN not in everywhere
    # The pattern does not match itself, for sudo logs commands.
    assert host.run("grep -rlE 'origin-token-marke[r]' /etc /var/lib /var/log /run").stdout == ""


@pytest.mark.parametrize("token", ["", "dns token with spaces 0123456789 abcdefgh"])
def test_what_is_no_token_is_refused_before_anything_changes(host: Host, world: acme.World, token: str) -> None:
    before = pid(host)
    result = reach(world, caddy_cloudflare_token=token)
    assert result.rc != 0
    assert "caddy_cloudflare_token is no API token of Cloudflare" in result.output
    assert token == "" or token not in result.output.replace(world.directory, "")
    assert pid(host) == before


def test_a_certificate_is_renewed_in_time(host: Host, client: Client, world: acme.World) -> None:
    forget(host)
    # Without an origin certificate behind it, which would take over an hour before the end.
    result = reach(world, caddy_acme_profile="short", caddy_origin_token="", caddy_issue_budget=1)
    assert result.rc == 0, result.output
    first = shown(client, API)
    # It is due before the next of Caddy's looks, which are ten minutes apart; a start is one.
    host.check_output("systemctl restart caddy")
    wait_until(lambda: shown(client, API).serial_number != first.serial_number, "a renewal")
    assert shown(client, API).not_valid_after_utc > first.not_valid_after_utc


def managed(world: acme.World, name: str) -> str:
    """Where Caddy keeps the certificate of a site."""
    return f"{STORAGE}/certificates/{acme.NAME}-{world.authority.port}-dir/{name}/{name}.crt"


@pytest.mark.parametrize("fault", ["limited", "down", "token", "dns"])
def test_without_an_authority_the_origin_certificate_is_served_until_there_is_one(
    host: Host, client: Client, world: acme.World, fault: str
) -> None:
    forget(host)
    if fault in ("limited", "down"):
        world.authority.mode = fault
    elif fault == "dns":
        world.dns.delay = 3600
    token = "revoked-marker-0123456789-abcdefghijklmn" if fault == "token" else TOKEN
    result = reach(world, caddy_issue_budget=5, caddy_cloudflare_token=token)
    assert result.rc == 0, result.output
    assert f"{API} is served under the origin certificate" in " ".join(result.output.split())
    for name in (API, WWW):
        assert "Origin CA" in issuer(client, name)
    client.trust(None)
    assert client.ask(API, "/hello").status == 200
    assert TOKEN not in host.check_output("journalctl --no-pager -b -u caddy -u sapflux-certificates")
    # The fault ends; the next try is Caddy's, which a restart brings about sooner, and the switch back is the timer's.
    world.authority.mode, world.dns.delay = "pass", 0
    if fault == "token":
        assert reach(world).rc == 0
    host.check_output("systemctl restart caddy")
    wait_until(
        lambda: host.file(managed(world, API)).exists and host.file(managed(world, WWW)).exists, "its issuance", 120
    )
    assert settle(host)["sites"] == {API: "own", WWW: "own"}
    for name in (API, WWW):
        wait_until(lambda name=name: "Pebble" in issuer(client, name), "the switch back")  # type: ignore[misc]


def test_a_slow_dns_is_waited_for(host: Host, client: Client, world: acme.World) -> None:
    forget(host)
    world.dns.delay = 12
    result = reach(world)
    assert result.rc == 0, result.output
    assert "Pebble" in issuer(client, API)


def test_certificates_survive_a_rebuild_without_an_authority(client: Client, world: acme.World) -> None:
    before = {name: shown(client, name).serial_number for name in (API, WWW)}
    assert "Pebble" in issuer(client, API)
    assert apply({"caddy_state": "absent"}).rc == 0
    world.authority.mode = "down"
    result = reach(world)
    assert result.rc == 0, result.output
    assert {name: shown(client, name).serial_number for name in (API, WWW)} == before


def test_a_certificate_that_ends_is_replaced_by_the_origin_certificate(
    host: Host, client: Client, world: acme.World
) -> None:
    forget(host)
    # A certificate of one minute is within the hour before its end from the start.
    assert reach(world, caddy_acme_profile="short", caddy_issue_budget=5).rc == 0
    assert settle(host)["sites"] == {API: "origin", WWW: "origin"}
    assert "Origin CA" in issuer(client, API)


def test_origin_mode_signs_once_and_renews_before_the_end(host: Host, client: Client, world: acme.World) -> None:
    # A new key: the one there is has a certificate of three years, which is good.
    host.check_output(f"rm -rf {ORIGIN}")
    result = reach(world, caddy_tls_mode="origin", caddy_origin_validity_days=7, caddy_origin_renew_days=3)
    assert result.rc == 0, result.output
    client.trust(None)
    assert client.ask(API, "/hello").status == 200
    first = shown(client, API)
    assert "Origin CA" in first.issuer.rfc4514_string()
    same = {"caddy_tls_mode": "origin", "caddy_origin_validity_days": 7}
    assert reach(world, **same, caddy_origin_renew_days=3).changed == 0
    # Below the limit it is replaced, for the same key, without a restart.
    process, before = pid(host), host.file(f"{ORIGIN}/origin.key").content_string
    result = reach(world, caddy_tls_mode="origin", caddy_origin_validity_days=30, caddy_origin_renew_days=20)
    assert result.rc == 0, result.output
    assert shown(client, API).not_valid_after_utc > first.not_valid_after_utc
    assert pid(host) == process
    assert host.file(f"{ORIGIN}/origin.key").content_string == before
    assert (host.file(f"{ORIGIN}/origin.key").mode, host.file(f"{ORIGIN}/origin.key").group) == (0o640, "caddy")


def test_origin_mode_without_cloudflare_goes_on_with_what_is_there(client: Client, world: acme.World) -> None:
    result = apply(wanted(world, caddy_tls_mode="origin", caddy_origin_renew_days=1000, caddy_origin_token="x" * 40))
    assert result.rc == 0, result.output
    assert "could not be renewed" in result.output
    client.trust(None)
    assert client.ask(API, "/hello").status == 200
