"""Certificates of the Origin CA: really signed by the double, found again, replaced in time."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest
from ansible_collections.sapflux.hosting.plugins.module_utils import _certificates
from ansible_collections.sapflux.hosting.plugins.module_utils._cloudflare import CloudflareError
from ansible_collections.sapflux.hosting.plugins.modules import cloudflare_origin_certificate
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from tests.doubles.cloudflare import origin
from tests.doubles.web import Fault
from tests.unit.plugins.module_utils.scripted_http import Call
from tests.unit.plugins.modules import pems
from tests.unit.plugins.modules.cloud_module import CHECK, ZONE, Runner, found, good

WRITE = "SSL and Certificates Write"
KEY = pems.new_key()
CSR = pems.request(KEY)
DAY = 86400


@pytest.fixture
def runner(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Runner:
    return Runner(cloudflare_origin_certificate, capsys, monkeypatch)


def test_a_request_is_signed_for_the_zone_and_what_is_below_it(runner: Runner) -> None:
    body = {
        "csr": CSR,
        "hostnames": ["*.example.org", "example.org"],
        "request_type": "origin-ecc",
        "requested_validity": 365,
    }
    script = runner.script(
        found(),
        Call("GET", f"/certificates?zone_id={ZONE}&per_page=50", good([])),
        Call("POST", "/certificates", good({"id": "12", "certificate": pems.certificate(KEY)}), body=body),
    )
    result = runner(zone="example.org", csr=CSR)
    script.done()
    assert (result["id"], result["hostnames"]) == ("12", body["hostnames"])
    assert result["changes"] == ["create certificate for *.example.org, example.org"]


def test_check_mode_only_reads(runner: Runner) -> None:
    script = runner.script(found(), Call("GET", f"/certificates?zone_id={ZONE}&per_page=50", good([])))
    result = runner(zone="example.org", csr=CSR, **CHECK)
    script.done()
    assert (result["changed"], result["certificate"], result["not_after"]) == (True, "", "")


def test_another_key_in_the_answer_is_noticed(runner: Runner) -> None:
    strange = pems.certificate(pems.new_key())
    runner.script(
        found(),
        Call("GET", f"/certificates?zone_id={ZONE}&per_page=50", good([{"id": "1", "certificate": strange}])),
        Call("POST", "/certificates", good({"id": "12", "certificate": strange})),
    )
    assert "a certificate of another key" in runner.fails(zone="example.org", csr=CSR)


@pytest.mark.parametrize("kind", ["ecc", "rsa"])
def test_the_double_really_signs(runner: Runner, kind: str) -> None:
    key = pems.new_key(kind)
    with runner.double(WRITE) as (cloud, _zone):
        wish: dict[str, Any] = {"zone": "example.org", "csr": pems.request(key), "key_type": kind}
        result = runner.check_then_do(cloud, **wish)
        certificate = x509.load_pem_x509_certificate(result["certificate"].encode())
        ca = cloud.part(origin.OriginCa)
        ca.key.public_key().verify(
            certificate.signature,
            certificate.tbs_certificate_bytes,
            ec.ECDSA(hashes.SHA256()),
        )
        assert certificate.public_key() == key.public_key()
        assert result["not_after"] == certificate.not_valid_after_utc.strftime("%Y-%m-%dT%H:%M:%SZ")
        # Other names, the same key: another certificate. Then the first again.
        runner.check_then_do(cloud, hostnames=["bäume.example.org"], **wish)
        assert runner(**wish)["id"] == result["id"]
        gone = runner.check_then_do(cloud, state="absent", **wish)
        assert (len(gone["changes"]), gone["certificate"], ca.issued) == (2, "", {})


def test_a_certificate_that_ends_soon_is_replaced(runner: Runner) -> None:
    with runner.double(WRITE) as (cloud, _zone):
        cloud.clock = lambda: time.time() - 340 * DAY
        first = runner(zone="example.org", csr=CSR)
        cloud.clock = time.time
        again = runner.check_then_do(cloud, zone="example.org", csr=CSR)
        assert again["id"] != first["id"]
        assert "not less than validity_days" in runner.fails(zone="example.org", csr=CSR, validity_days=30)


def test_an_answer_that_is_lost_leaves_one_certificate(runner: Runner) -> None:
    with runner.double(WRITE) as (cloud, _zone):
        cloud.faults = [Fault("lost", method="POST")]
        runner.check_then_do(cloud, zone="example.org", csr=CSR)
        assert len(cloud.part(origin.OriginCa).issued) == 1
        cloud.faults = [Fault("cut", method="POST")]
        assert "could not be reached" in runner.fails(zone="example.org", csr=CSR, hostnames=["a.example.org"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"hostnames": ["example.net"]}, "example.net is not a name of the zone example.org"),
        ({"hostnames": ["192.0.2.1"]}, "192.0.2.1 is not a name of the zone"),
        ({"hostnames": ["a.*.example.org"]}, "a wildcard that is not its first label"),
        ({"hostnames": [f"n{number}.example.org" for number in range(201)]}, "201 names, and a certificate holds 200"),
    ],
)
def test_names_that_the_origin_ca_does_not_sign(runner: Runner, change: dict[str, Any], said: str) -> None:
    runner.script(found())
    assert said in runner.fails(zone="example.org", csr=CSR, **change)


@pytest.mark.parametrize(
    ("csr", "said"),
    [
        ("nonsense", "has no block BEGIN CERTIFICATE REQUEST"),
        (CSR.replace("MI", "M*", 1), "is damaged"),
        ("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----", "of another form"),
        ("-----BEGIN CERTIFICATE REQUEST-----\nMAIwAA==\n-----END CERTIFICATE REQUEST-----", "of another form"),
        ("-----BEGIN CERTIFICATE REQUEST-----\nMH8A\n-----END CERTIFICATE REQUEST-----", "is cut off"),
    ],
)
def test_what_is_no_request_is_refused_before_anything_is_asked(runner: Runner, csr: str, said: str) -> None:
    runner.script()
    assert said in runner.fails(zone="example.org", csr=csr)


@pytest.mark.parametrize("year", [1999, 2049, 2050, 2061])
def test_the_end_is_read_from_the_certificate_itself(year: int) -> None:
    """Before 2050 it is written with a year of two digits, then with four."""
    ends = datetime(year, 3, 4, 5, 6, 7, tzinfo=UTC)
    pem = pems.certificate(KEY, 10, ends)
    assert _certificates.stamp(_certificates.not_after(pem)) == f"{year}-03-04T05:06:07Z"
    assert _certificates.public_key(pem) == _certificates.requested_key(CSR)


def test_what_is_no_certificate_is_refused() -> None:
    with pytest.raises(CloudflareError, match="of another form"):
        _certificates.not_after("-----BEGIN CERTIFICATE-----\nMAIwAA==\n-----END CERTIFICATE-----")
