"""Authenticated origin pulls: the edge shows the certificate before it is demanded, and the way back is the reverse."""

from __future__ import annotations

import datetime
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from testinfra.host import Host

from tests.bed import acme
from tests.doubles.cloudflare.origin import Pulls
from tests.doubles.web import Fault
from tests.edge import Client, inside, reach
from tests.scenario import apply

API = "api.sapflux.test"


def pair() -> tuple[str, str]:
    """A certificate signed by its own key, and the key; PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "edge of sapflux.test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=365))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return made.public_bytes(serialization.Encoding.PEM).decode(), secret.decode()


CERTIFICATE, KEY = pair()
PULLS = {
    "caddy_tls_mode": "internal",
    "caddy_origin_pulls_certificate": CERTIFICATE,
    "caddy_origin_pulls_private_key": KEY,
}


@pytest.fixture(scope="module", autouse=True)
def _without_again() -> Iterator[None]:
    yield
    assert apply().rc == 0


def show(client: Client, tmp_path: Path, certificate: str, key: str) -> None:
    """Let the client show a certificate from now on."""
    (tmp_path / "c.pem").write_text(certificate + key)
    client.context.load_cert_chain(tmp_path / "c.pem")


@pytest.fixture(autouse=True)
def _healthy(world: acme.World) -> Iterator[None]:
    yield
    world.cloud.faults.clear()


def test_nothing_is_demanded_that_the_edge_does_not_show(client: Client, world: acme.World) -> None:
    world.cloud.faults.append(Fault("status", "POST", "origin_tls_client_auth", times=50, status=503))
    result = reach(world, **PULLS, caddy_origin_pulls_state="present")
    assert result.rc != 0
    assert client.ask(API, "/").status == 200


def test_the_certificate_is_demanded_once_the_edge_shows_it(
    host: Host, client: Client, world: acme.World, tmp_path: Path
) -> None:
    result = reach(world, **PULLS, caddy_origin_pulls_state="present")
    assert result.rc == 0, result.output
    assert list(world.cloud.part(Pulls).enabled.values()) == [True]
    assert client.ask(API, "/", X_Forwarded_For="127.0.0.1", Cf_Connecting_Ip="127.0.0.1").status == 403
    assert client.ask(API, "/admin/x").status == 403
    # The host itself may look.
    assert inside(host, API, "/")[0] == 200
    show(client, tmp_path, CERTIFICATE, KEY)
    assert client.ask(API, "/").status == 200
    assert reach(world, **PULLS, caddy_origin_pulls_state="present").changed == 0
    assert "PRIVATE KEY" not in host.check_output("cat /etc/caddy/origin-pulls.pem /etc/caddy/Caddyfile")


def test_another_certificate_opens_nothing(client: Client, tmp_path: Path) -> None:
    show(client, tmp_path, *pair())
    with pytest.raises(ssl.SSLError):
        client.ask(API, "/")


def test_the_way_back_drops_the_demand_first(client: Client, world: acme.World) -> None:
    world.cloud.faults.append(Fault("status", "PUT", "origin_tls_client_auth", times=50, status=503))
    result = reach(world, caddy_tls_mode="internal", caddy_origin_pulls_state="absent")
    assert result.rc != 0
    assert client.ask(API, "/").status == 200
    world.cloud.faults.clear()
    assert reach(world, caddy_tls_mode="internal", caddy_origin_pulls_state="absent").rc == 0
    assert list(world.cloud.part(Pulls).enabled.values()) == [False]
