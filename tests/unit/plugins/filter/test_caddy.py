"""Site blocks of a Caddyfile: order of routes, denied paths, and everything that must not reach the file."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.sapflux.hosting.plugins.filter.caddy import (
    FilterModule,
    caddy_site_blocks,
    matcher_paths,
)

PROXY: dict[str, Any] = {"path": "/*", "action": "proxy", "upstream": "127.0.0.1:18080"}


def site(*routes: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """One good site with the given routes."""
    return {"hostname": "api.example.org", "routes": list(routes) or [PROXY], **changes}


def lines(*routes: dict[str, Any], **changes: Any) -> list[str]:
    """Lines of the block without indentation."""
    return [line.strip() for line in caddy_site_blocks([site(*routes, **changes)]).splitlines()]


def test_the_filter_is_offered_under_its_name() -> None:
    assert FilterModule().filters() == {"caddy_site_blocks": caddy_site_blocks}


def test_a_whole_block() -> None:
    assert caddy_site_blocks(
        [site({"path": "/admin/*", "action": "deny"}, PROXY, max_body_mb=5)], hsts_max_age=600
    ) == "\n".join(
        [
            "api.example.org {",
            "\ttls internal",
            "\timport access_log",
            "\tencode zstd gzip",
            "\trequest_body {",
            "\t\tmax_size 5MB",
            "\t}",
            "\theader {",
            '\t\tStrict-Transport-Security "max-age=600"',
            "\t\tX-Content-Type-Options nosniff",
            "\t\t?X-Frame-Options DENY",
            "\t\t?Referrer-Policy strict-origin-when-cross-origin",
            "\t\t-Server",
            "\t\t-X-Powered-By",
            "\t}",
            "\troute {",
            "\t\t@route0 path /admin /admin/*",
            "\t\thandle @route0 {",
            "\t\t\trespond 404",
            "\t\t}",
            "\t\thandle {",
            "\t\t\treverse_proxy 127.0.0.1:18080 {",
            "\t\t\t\tlb_try_duration 5s",
            "\t\t\t\tlb_try_interval 250ms",
            "\t\t\t\theader_up X-Real-Ip {client_ip}",
            "\t\t\t}",
            "\t\t}",
            "\t}",
            "}",
        ]
    )


def test_routes_keep_their_order() -> None:
    routes = [{"path": path, "action": "deny"} for path in ("/a/b/c", "/a/*", "/", "/z")]
    matchers = [line for line in lines(*routes, PROXY) if line.startswith("@")]
    assert matchers == ["@route0 path /a/b/c", "@route1 path /a /a/*", "@route2 path /", "@route3 path /z"]


def test_what_no_route_matches_is_answered_with_404() -> None:
    block = lines({"path": "/health", "action": "proxy", "upstream": "127.0.0.1:1"})
    assert block[-5:] == ["handle {", "respond 404", "}", "}", "}"]


def test_hsts_can_be_left_out() -> None:
    assert "Strict-Transport-Security" not in caddy_site_blocks([site()], hsts_max_age=0)


def test_no_site_is_no_text() -> None:
    assert caddy_site_blocks([]) == ""


@pytest.mark.parametrize(
    ("path", "action", "paths"),
    [
        ("/admin/*", "deny", ["/admin", "/admin/*"]),
        ("/admin/*", "proxy", ["/admin/*"]),
        ("/admin", "deny", ["/admin"]),
        ("/*", "deny", ["/*"]),
    ],
)
def test_a_denied_prefix_covers_its_bare_name(path: str, action: str, paths: list[str]) -> None:
    assert matcher_paths(path, action) == paths


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"hostname": "API.example.org"}, "hostname is 'API.example.org'; write a full host name in lower case"),
        ({"hostname": "example"}, "full host name"),
        ({"hostname": "a.b {"}, "full host name"),
        ({"hostname": "a.b\nimport x"}, "full host name"),
        ({"hostname": "*.example.org"}, "full host name"),
        ({"hostname": None}, "hostname is None"),
        ({"max_body_mb": 0}, "max_body_mb is 0; write a whole number from 1 to 100000"),
        ({"max_body_mb": True}, "max_body_mb is True"),
        ({"max_body_mb": "10MB"}, "max_body_mb is '10MB'"),
        ({"routes": []}, r"routes is empty; write at least one route"),
        ({"routes": "/x"}, "routes is a str; write a list"),
        ({"routs": []}, "unknown key 'routs'; known keys are hostname, max_body_mb, routes"),
        ({"routes": [PROXY, PROXY]}, r"routes\[1\] is never reached"),
        ({"routes": ["/x"]}, r"routes\[0\] is a str; write a dictionary with the keys action, path, upstream"),
        ({"routes": [{**PROXY, "path": "x"}]}, "path is 'x'; write an exact path"),
        ({"routes": [{**PROXY, "path": "/x y"}]}, "path is '/x y'"),
        ({"routes": [{**PROXY, "path": "/x*"}]}, "an exact path such as"),
        ({"routes": [{**PROXY, "path": "/*/x"}]}, "an exact path such as"),
        ({"routes": [{**PROXY, "path": "/{$HOME}"}]}, "an exact path such as"),
        ({"routes": [{**PROXY, "path": "//admin"}]}, "an exact path such as"),
        ({"routes": [{**PROXY, "path": "/%61dmin"}]}, "an exact path such as"),
        ({"routes": [{**PROXY, "action": "allow"}]}, "action is 'allow'; write one of proxy, deny"),
        ({"routes": [{**PROXY, "upstream": "127.0.0.1"}]}, "upstream is '127.0.0.1'; write host:port"),
        ({"routes": [{**PROXY, "upstream": "127.0.0.1:99999"}]}, "the port of .* is 99999"),
        ({"routes": [{**PROXY, "upstream": "a b:80"}]}, "write host:port"),
        ({"routes": [{"path": "/*", "action": "proxy"}]}, "upstream is None"),
        ({"routes": [{**PROXY, "action": "deny"}]}, "denies and names the upstream"),
        ({"routes": [{**PROXY, "port": 1}]}, "unknown key 'port'"),
    ],
)
def test_what_is_not_plainly_a_value_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(AnsibleFilterError, match=said):
        caddy_site_blocks([site(**changes)])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"sites": "x"}, "sites is a str"),
        ({"sites": [site(), site()]}, "api.example.org is given to two sites"),
        ({"sites": [], "tls_mode": "acme"}, "tls_mode is 'acme'; write one of internal"),
        ({"sites": [], "hsts_max_age": -1}, "hsts_max_age is -1"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(AnsibleFilterError, match=said):
        caddy_site_blocks(**arguments)
