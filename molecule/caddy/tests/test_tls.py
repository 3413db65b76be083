"""What sslyze finds, judging by Mozilla's profile "intermediate"; and that it would find what is weak."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sslyze import (
    CertificateInfoExtraArgument,
    ScanCommandsExtraArguments,
    Scanner,
    ServerNetworkConfiguration,
    ServerNetworkLocation,
    ServerScanRequest,
    ServerScanResult,
)
from sslyze.mozilla_tls_profile.tls_config_checker import (
    MozillaTlsConfiguration,
    ServerNotCompliantWithTlsConfiguration,
    TlsConfigurationEnum,
    check_server_against_tls_configuration,
)
from testinfra.host import Host

from tests.bed import pki
from tests.edge import STORAGE, Client
from tests.scenario import table

API = "api.sapflux.test"
OLD = ("ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1")


def scan(address: str, port: int, name: str, authority: str, folder: Path) -> ServerScanResult:
    """Everything sslyze knows to ask, of a server that is trusted by this authority (PEM)."""
    (folder / "ca.pem").write_text(authority)
    scanner = Scanner(per_server_concurrent_connections_limit=4)
    scanner.queue_scans(
        [
            ServerScanRequest(
                ServerNetworkLocation(hostname=name, port=port, ip_address=address),
                ServerNetworkConfiguration(tls_server_name_indication=name, network_timeout=20),
                scan_commands_extra_arguments=ScanCommandsExtraArguments(
                    certificate_info=CertificateInfoExtraArgument(folder / "ca.pem")
                ),
            )
        ]
    )
    (found,) = scanner.get_results()
    return found


def findings(found: ServerScanResult) -> dict[str, str]:
    """What Mozilla's profile has against it; {} for nothing."""
    try:
        check_server_against_tls_configuration(
            found, MozillaTlsConfiguration.get(TlsConfigurationEnum.MOZILLA_INTERMEDIATE)
        )
    except ServerNotCompliantWithTlsConfiguration as refused:
        return refused.issues
    return {}


def suites(found: ServerScanResult, version: str) -> set[str]:
    """The suites of one version of the protocol that the server accepts."""
    result = getattr(found.scan_result, f"{version}_cipher_suites").result
    return {each.cipher_suite.name for each in result.accepted_cipher_suites}


@pytest.fixture(scope="module")
def found(host: Host, tmp_path_factory: pytest.TempPathFactory) -> ServerScanResult:
    root = host.file(f"{STORAGE}/pki/authorities/local/root.crt").content_string
    return scan(Client(host).address, 443, API, root, tmp_path_factory.mktemp("tls"))


def test_mozillas_profile_has_nothing_against_it(found: ServerScanResult) -> None:
    assert findings(found) == {}


def test_only_tls_1_2_and_1_3_with_authenticated_ciphers_and_forward_secrecy(found: ServerScanResult) -> None:
    assert {version: suites(found, version) for version in OLD} == {version: set() for version in OLD}
    assert suites(found, "tls_1_2") == {
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    }
    assert suites(found, "tls_1_3") == {
        "TLS_AES_128_GCM_SHA256",
        "TLS_AES_256_GCM_SHA384",
        "TLS_CHACHA20_POLY1305_SHA256",
    }


def test_no_request_can_be_replayed_and_no_client_can_ask_for_handshakes_without_end(found: ServerScanResult) -> None:
    result = found.scan_result
    assert result is not None
    assert result.tls_1_3_early_data.result is not None
    assert result.session_renegotiation.result is not None
    assert not result.tls_1_3_early_data.result.supports_early_data
    assert not result.session_renegotiation.result.is_vulnerable_to_client_renegotiation_dos


def test_the_figures_of_the_scan(found: ServerScanResult) -> None:
    result = found.scan_result
    assert result is not None
    assert result.elliptic_curves.result is not None
    curves = sorted(each.name for each in result.elliptic_curves.result.supported_curves or [])
    assert curves == ["X25519", "secp256r1"]
    rows = [(version, ", ".join(sorted(suites(found, version)))) for version in ("tls_1_2", "tls_1_3")]
    table("sslyze", ("what", "found"), [*rows, ("curves", ", ".join(curves))])


def test_keys_are_exchanged_so_that_what_is_recorded_today_stays_secret(host: Host) -> None:
    # sslyze does not know the hybrid with ML-KEM yet; the host's own openssl does.
    asked = f"openssl s_client -groups X25519MLKEM768 -connect 127.0.0.1:443 -servername {API} </dev/null"
    assert "Negotiated TLS1.3 group: X25519MLKEM768" in host.check_output(asked)


@contextmanager
def weak(folder: Path, issued: pki.Issued) -> Iterator[int]:
    """A server that still speaks old versions, with ciphers of their time; gives its port."""
    (folder / "weak.crt").write_text(issued.certificate)
    (folder / "weak.key").write_text(issued.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "weak.crt", folder / "weak.key")
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.set_ciphers("ALL:@SECLEVEL=0")
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            while True:
                try:
                    plain = listening.accept()[0]
                except OSError:
                    return
                try:
                    with context.wrap_socket(plain, server_side=True) as secure:
                        secure.recv(1)
                except OSError:
                    plain.close()

        for _ in range(4):
            threading.Thread(target=answer, daemon=True).start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)


def test_the_scan_finds_what_is_weak(tmp_path: Path) -> None:
    issued = pki.issue("a weak one", [API], ["127.0.0.1"])
    with weak(tmp_path, issued) as port:
        against = findings(scan("127.0.0.1", port, API, issued.ca, tmp_path))
    assert {"tls_versions", "ciphers"} <= set(against)
    assert "TLSv1.1" in against["tls_versions"]
