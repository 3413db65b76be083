"""Where Caddy's certificates come from: the directive, and what is refused before Caddy sees it."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.sapflux.hosting.plugins.module_utils import _caddy_tls as tls

DNS01: dict[str, Any] = {
    "mode": "dns01",
    "ca": tls.LETS_ENCRYPT,
    "ca_root": False,
    "profile": "",
    "resolvers": [],
    "propagation_delay": 10,
    "propagation_timeout": 300,
}


def test_dns01_names_a_file_and_no_token() -> None:
    assert tls.certificate_lines(DNS01) == [
        "tls {",
        "\tissuer acme {",
        "\t\tdir https://acme-v02.api.letsencrypt.org/directory",
        "\t\tdns cloudflare {file.{$SAPFLUX_CADDY_CREDENTIALS:/run/credentials/caddy.service}/cloudflare_token}",
        "\t\tpropagation_delay 10s",
        "\t\tpropagation_timeout 300s",
        "\t}",
        "}",
    ]


def test_dns01_with_everything() -> None:
    lines = tls.certificate_lines(
        {**DNS01, "ca_root": True, "profile": "shortlived", "resolvers": ["1.1.1.1", "dns.example.org:5353"]}
    )
    assert "\t\ttrusted_roots {$SAPFLUX_CADDY_ETC:/etc/caddy}/acme-root.pem" in lines
    assert "\t\tprofile shortlived" in lines
    assert "\t\tresolvers 1.1.1.1 dns.example.org:5353" in lines


def test_origin_and_internal() -> None:
    origin = {"mode": "origin", "origin_dir": "/o"}
    assert tls.certificate_lines(origin) == ["tls /o/origin.pem /o/origin.key"]
    assert tls.certificate_lines({"mode": "internal"}) == ["tls {", "\tissuer internal", "}"]
    assert tls.certificate_lines({**origin, "client_ca": True}) == [
        "tls /o/origin.pem /o/origin.key {",
        "\tclient_auth {",
        "\t\tmode verify_if_given",
        "\t\ttrust_pool file {$SAPFLUX_CADDY_ETC:/etc/caddy}/origin-pulls.pem",
        "\t}",
        "}",
    ]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"mode": "acme"}, "caddy_tls_mode is 'acme'; write one of dns01, origin, internal"),
        ({"ca": "http://acme.example.org/dir"}, "caddy_acme_ca is .*; write the https URL"),
        ({"ca": "https://acme.example.org/dir }"}, "caddy_acme_ca is"),
        ({"profile": "a b"}, "caddy_acme_profile is 'a b'"),
        ({"resolvers": ["1.1.1.1 }"]}, r"caddy_dns_resolvers\[0\] is '1.1.1.1 }'"),
        ({"resolvers": ["1.1.1.1:0"]}, "write a port from 1 to 65535"),
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(tls.TlsError, match=said):
        tls.certificate_lines({**DNS01, **changes})


@pytest.mark.parametrize("token", ["A" * 40, "a-B_9" * 8, "cfut_" + "x" * 60, "cfat_" + "x" * 32])
def test_tokens_of_both_kinds_are_known(token: str) -> None:
    tls.check_token(token, "token")


@pytest.mark.parametrize(
    "token", ["", "short", "A" * 51, "A" * 39 + " ", "A" * 40 + "\n", "cfut_short", '"' + "A" * 40]
)
def test_what_is_no_token_is_refused_without_being_shown(token: str) -> None:
    with pytest.raises(tls.TlsError, match="caddy_cloudflare_token is no API token") as refused:
        tls.check_token(token, "caddy_cloudflare_token")
    assert not token.strip() or token not in str(refused.value)


@pytest.mark.parametrize(
    ("ca", "folder"),
    [
        (tls.LETS_ENCRYPT, "acme-v02.api.letsencrypt.org-directory"),
        ("https://Acme.example.org:14000/dir/", "acme.example.org-14000-dir"),
        ("https://acme.example.org", "acme.example.org"),
        ("https://acme.example.org/a/b", "acme.example.org-a-b"),
    ],
)
def test_certificates_are_looked_for_where_caddy_keeps_them(ca: str, folder: str) -> None:
    assert tls.storage_folder(ca) == folder


def test_caddy_goes_on_trying_although_another_certificate_is_loaded() -> None:
    assert tls.auto_https("dns01", True) == "disable_redirects ignore_loaded_certs"
    assert tls.auto_https("dns01", False) == tls.auto_https("internal", False) == "disable_redirects"
    assert tls.auto_https("origin", False) == "disable_redirects disable_certs"
