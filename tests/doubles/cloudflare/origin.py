"""Certificates between edge and origin: an Origin CA that really signs, and origin pulls that take their time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.doubles.cloudflare.core import PREFIX, Cloudflare, refuse
from tests.doubles.cloudflare.zones import Zones, zone_of
from tests.doubles.web import Reply, Request, Routes

routes = Routes()

CERTIFICATES = f"{PREFIX}/certificates"
PULLS = f"{PREFIX}/zones/{{zone}}/origin_tls_client_auth"
READ, WRITE = "SSL and Certificates Read", "SSL and Certificates Write"
VALIDITIES = (7, 30, 90, 365, 730, 1095, 5475)


class OriginCa:
    """A CA of this test, and what it signed, by serial number."""

    def __init__(self) -> None:
        self.issued: dict[str, dict[str, Any]] = {}
        self.zone_of: dict[str, str] = {}

    @cached_property
    def key(self) -> ec.EllipticCurvePrivateKey:
        return ec.generate_private_key(ec.SECP256R1())

    @property
    def name(self) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Origin CA of the test")])


class Pulls:
    """Client certificates of each zone, how many looks they take to become active, and whether pulls are on."""

    def __init__(self) -> None:
        self.of: dict[str, dict[str, dict[str, Any]]] = {}
        self.looks: dict[str, int] = {}
        self.enabled: dict[str, bool] = {}
        self.delay = 2
        self.ends_as = "active"


def _hostname(cloud: Cloudflare, name: str) -> str:
    """The zone of a name that may be signed. Refuses the others."""
    bare = name.removeprefix("*.")
    for zone in cloud.part(Zones).by_id.values():
        if "*" not in bare and (bare == zone["name"] or bare.endswith("." + zone["name"])):
            return str(zone["id"])
    return refuse(400, 1010, f"Failed to validate requested hostname {name}: This zone is not part of your account.")


@routes.on("POST", CERTIFICATES)
def sign(cloud: Cloudflare, request: Request) -> dict[str, Any]:
    """Sign the key of a request for names of zones of the account."""
    body, ca = request.body or {}, cloud.part(OriginCa)
    names = body.get("hostnames") or []
    zones = {_hostname(cloud, name) for name in names}
    if not names or len(names) > 200:
        refuse(400, 1005, "hostnames must hold 1 to 200 names")
    for zone in zones:
        if not cloud.may(cloud.token_of(request), WRITE, zone):
            refuse(403, 10000, "Authentication error")
    days = body.get("requested_validity", 5475)
    try:
        asked = x509.load_pem_x509_csr(str(body.get("csr", "")).encode())
        public = asked.public_key()
    except (ValueError, UnsupportedAlgorithm):
        refuse(400, 1001, "Failed to parse the certificate request")
    kind = "origin-ecc" if isinstance(public, ec.EllipticCurvePublicKey) else "origin-rsa"
    if days not in VALIDITIES or body.get("request_type") != kind or not asked.is_signature_valid:
        refuse(400, 1007, "request_type does not match the key, or the validity is not one of those offered")
    now = datetime.fromtimestamp(cloud.clock(), UTC)
    serial = x509.random_serial_number()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "CloudFlare Origin Certificate")]))
        .issuer_name(ca.name)
        .public_key(public)
        .serial_number(serial)
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .sign(ca.key, hashes.SHA256())
    )
    issued = {
        "id": str(serial),
        "certificate": certificate.public_bytes(serialization.Encoding.PEM).decode(),
        "csr": body["csr"],
        "hostnames": names,
        "request_type": kind,
        "requested_validity": days,
        # As the API writes it: not in the form of its schema.
        "expires_on": certificate.not_valid_after_utc.strftime("%Y-%m-%d %H:%M:%S +0000 UTC"),
    }
    ca.issued[issued["id"]] = issued
    ca.zone_of[issued["id"]] = zones.pop()
    return issued


@routes.on("GET", CERTIFICATES)
def listed(cloud: Cloudflare, request: Request) -> Reply:
    zone = request.query.get("zone_id", "")
    if not zone:
        refuse(400, 1003, "zone_id is required")
    if not cloud.may(cloud.token_of(request), READ, zone):
        refuse(403, 10000, "Authentication error")
    ca = cloud.part(OriginCa)
    return cloud.pages([each for key, each in ca.issued.items() if ca.zone_of[key] == zone], request)


@routes.on("GET", f"{CERTIFICATES}/{{certificate}}")
def read(cloud: Cloudflare, request: Request) -> dict[str, Any]:
    return _issued(cloud, request, READ)


@routes.on("DELETE", f"{CERTIFICATES}/{{certificate}}")
def revoke(cloud: Cloudflare, request: Request) -> dict[str, str]:
    found = _issued(cloud, request, WRITE)
    del cloud.part(OriginCa).issued[found["id"]]
    return {"id": found["id"], "revoked_at": cloud.now()}


def _issued(cloud: Cloudflare, request: Request, need: str) -> dict[str, Any]:
    ca, key = cloud.part(OriginCa), request.params["certificate"]
    if key not in ca.issued:
        refuse(404, 1101, "The certificate does not exist")
    if not cloud.may(cloud.token_of(request), need, ca.zone_of[key]):
        refuse(403, 10000, "Authentication error")
    return ca.issued[key]


def _pulls_of(cloud: Cloudflare, request: Request) -> dict[str, dict[str, Any]]:
    """The certificates of the zone; each look brings them nearer to the edge."""
    zone_of(cloud, request)
    pulls = cloud.part(Pulls)
    found = pulls.of.setdefault(request.params["zone"], {})
    for key, each in found.items():
        pulls.looks[key] = pulls.looks.get(key, 0) + 1
        if each["status"] in ("initializing", "pending_deployment"):
            each["status"] = pulls.ends_as if pulls.looks[key] > pulls.delay else "pending_deployment"
    return found


@routes.on("GET", PULLS, needs=READ)
def pulls_listed(cloud: Cloudflare, request: Request) -> Reply:
    return cloud.pages(list(_pulls_of(cloud, request).values()), request)


@routes.on("POST", PULLS, needs=WRITE)
def upload(cloud: Cloudflare, request: Request) -> dict[str, Any]:
    found = _pulls_of(cloud, request)
    body = request.body or {}
    try:
        certificate = x509.load_pem_x509_certificate(str(body.get("certificate", "")).encode())
        key = serialization.load_pem_private_key(str(body.get("private_key", "")).encode(), None)
    except (ValueError, UnsupportedAlgorithm):
        refuse(400, 1411, "The certificate or the private key cannot be parsed")
    if key.public_key() != certificate.public_key():
        refuse(400, 1412, "The private key is not that of the certificate")
    known = [each["certificate"] for each in found.values() if each["status"] != "pending_deletion"]
    if body["certificate"] in known:
        refuse(400, 1413, "The certificate has already been submitted")
    new = {
        "id": cloud.new_id(),
        "certificate": body["certificate"],
        "status": "initializing",
        "enabled": True,
        "issuer": certificate.issuer.rfc4514_string(),
        "signature": "ECDSAWithSHA256",
        "expires_on": certificate.not_valid_after_utc.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "uploaded_on": cloud.now(),
    }
    found[new["id"]] = new
    return new


@routes.on("GET", f"{PULLS}/settings", needs=READ)
def setting(cloud: Cloudflare, request: Request) -> dict[str, bool]:
    zone_of(cloud, request)
    return {"enabled": cloud.part(Pulls).enabled.get(request.params["zone"], False)}


@routes.on("PUT", f"{PULLS}/settings", needs=WRITE)
def switch(cloud: Cloudflare, request: Request) -> dict[str, bool]:
    zone_of(cloud, request)
    cloud.part(Pulls).enabled[request.params["zone"]] = bool((request.body or {})["enabled"])
    return {"enabled": cloud.part(Pulls).enabled[request.params["zone"]]}


def _pull(cloud: Cloudflare, request: Request) -> dict[str, Any]:
    found = _pulls_of(cloud, request).get(request.params["certificate"])
    if found is None:
        refuse(404, 1414, "The certificate does not exist")
    return found


@routes.on("GET", f"{PULLS}/{{certificate}}", needs=READ)
def pull_read(cloud: Cloudflare, request: Request) -> dict[str, Any]:
    return _pull(cloud, request)


@routes.on("DELETE", f"{PULLS}/{{certificate}}", needs=WRITE)
def pull_delete(cloud: Cloudflare, request: Request) -> dict[str, Any]:
    """It stays in the list for a while, on its way out."""
    found = _pull(cloud, request)
    found["status"] = "pending_deletion"
    return found
