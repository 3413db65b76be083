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

SWITCHED: dict[str, Any] = {"path": "/*", "action": "proxy", "upstream_file": "/var/lib/sapflux/api.upstream"}


def site(*routes: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """One good site with the given routes."""
    return {"hostname": "api.example.org", "routes": list(routes) or [PROXY], **changes}


def lines(*routes: dict[str, Any], **changes: Any) -> list[str]:
    """Lines of the block without indentation."""
    return [line.strip() for line in caddy_site_blocks([site(*routes, **changes)]).splitlines()]


def test_the_filter_is_offered_under_its_name() -> None:
    assert FilterModule().filters()["caddy_site_blocks"] is caddy_site_blocks


def test_a_whole_block() -> None:
    assert caddy_site_blocks(
        [site({"path": "/admin/*", "action": "deny"}, PROXY, max_body_mb=5)], hsts_max_age=600
    ) == "\n".join(
        [
            "api.example.org {",
            "\timport certificate",
            "\timport access_log",
            "\tencode zstd gzip",
            "\theader {",
            '\t\tStrict-Transport-Security "max-age=600"',
            "\t\tX-Content-Type-Options nosniff",
            "\t\t?X-Frame-Options DENY",
            "\t\t?Referrer-Policy strict-origin-when-cross-origin",
            "\t\t?Cross-Origin-Opener-Policy same-origin-allow-popups",
            '\t\t?Permissions-Policy "camera=(), geolocation=(self), microphone=(), payment=(), usb=()"',
            "\t\t-Server",
            "\t\t-X-Powered-By",
            "\t}",
            "\troute {",
            "\t\t@route0 path /admin /admin/*",
            "\t\thandle @route0 {",
            "\t\t\trespond 404",
            "\t\t}",
            "\t\thandle {",
            "\t\t\trequest_body {",
            "\t\t\t\tmax_size 5MB",
            "\t\t\t}",
            "\t\t\treverse_proxy 127.0.0.1:18080 {",
            "\t\t\t\tlb_try_duration 5s",
            "\t\t\t\tlb_try_interval 250ms",
            "\t\t\t\theader_up X-Real-Ip {client_ip}",
            "\t\t\t}",
            "\t\t}",
            "\t}",
            "\thandle_errors {",
            "\t\theader {",
            '\t\t\tStrict-Transport-Security "max-age=600"',
            "\t\t\tX-Content-Type-Options nosniff",
            "\t\t\t?X-Frame-Options DENY",
            "\t\t\t?Referrer-Policy strict-origin-when-cross-origin",
            "\t\t\t?Cross-Origin-Opener-Policy same-origin-allow-popups",
            '\t\t\t?Permissions-Policy "camera=(), geolocation=(self), microphone=(), payment=(), usb=()"',
            "\t\t\t-Server",
            "\t\t\t-X-Powered-By",
            "\t\t}",
            "\t\trespond {err.status_code}",
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
    assert block[block.index("handle_errors {") - 4 :][:4] == ["handle {", "respond 404", "}", "}"]


def test_an_upstream_can_be_what_a_file_says() -> None:
    assert "reverse_proxy tcp/{file./var/lib/sapflux/api.upstream} {" in lines(SWITCHED)


def test_a_route_for_some_networks_is_404_for_everybody_else() -> None:
    block = lines({**PROXY, "path": "/inside", "from_cidrs": ["100.64.0.0/10", "fd7a:115c:a1e0::/48"]}, PROXY)
    start = block.index("@route0 path /inside")
    assert block[start : start + 7] == [
        "@route0 path /inside",
        "handle @route0 {",
        "@stranger0 not remote_ip 100.64.0.0/10 fd7a:115c:a1e0::/48",
        "handle @stranger0 {",
        "respond 404",
        "}",
        "handle {",
    ]


def test_maintenance_closes_what_is_proxied_and_nothing_else() -> None:
    block = lines({"path": "/admin/*", "action": "deny"}, PROXY, maintenance_file="/run/sapflux/closed")
    assert block[block.index("@maintenance file {") + 1 :][:3] == ["root /", "try_files /run/sapflux/closed", "}"]
    assert block.index("respond 404") < block.index("handle @maintenance {") < block.index("respond 503")
    assert block.count("handle @maintenance {") == 1


def test_a_route_may_have_its_own_limit_of_a_body() -> None:
    block = lines({**PROXY, "path": "/big", "max_body_mb": 500}, PROXY)
    assert [line for line in block if line.startswith("max_size")] == ["max_size 500MB", "max_size 10MB"]


def test_a_certificate_can_be_demanded_of_clients() -> None:
    block = [line.strip() for line in caddy_site_blocks([site()], exempt_cidrs=["127.0.0.0/8"]).splitlines()]
    start = block.index("@unproven {")
    assert block[start - 1] == "route {"
    assert block[start : start + 7] == [
        "@unproven {",
        'vars {http.request.tls.client.subject} ""',
        "not remote_ip 127.0.0.0/8",
        "}",
        "handle @unproven {",
        "error 403",
        "}",
    ]


def csp(**given: Any) -> dict[str, list[str]]:
    """The policy of a site by directive."""
    line = next(line for line in lines(csp=given) if line.startswith("?Content-Security-Policy"))
    return {each.split()[0]: each.split()[1:] for each in line.split('"')[1].split("; ")}


def test_a_policy_starts_strict() -> None:
    policy = csp()
    assert (policy["default-src"], policy["object-src"], policy["script-src"]) == (["'self'"], ["'none'"], ["'self'"])
    assert not any("unsafe" in source for sources in policy.values() for source in sources)


def test_a_policy_knows_clerk_and_umami() -> None:
    policy = csp(
        clerk="clerk.example.org", umami="stats.example.org", sources={"img-src": ["https://tiles.example.org"]}
    )
    assert policy["script-src"] == [
        "'self'",
        "https://clerk.example.org",
        "https://challenges.cloudflare.com",
        "https://stats.example.org",
    ]
    assert policy["connect-src"] == ["'self'", "https://clerk.example.org", "https://stats.example.org"]
    assert policy["worker-src"] == ["'self'", "blob:"]
    assert policy["frame-src"] == ["https://challenges.cloudflare.com"]
    assert policy["img-src"][-2:] == ["https://img.clerk.com", "https://tiles.example.org"]
    assert "'unsafe-inline'" not in policy["script-src"]


def test_a_policy_can_be_tried_out_first() -> None:
    assert any(line.startswith('?Content-Security-Policy-Report-Only "') for line in lines(csp={"report_only": True}))


def test_headers_replace_the_defaults_or_remove_them() -> None:
    block = lines(headers={"x-frame-options": "SAMEORIGIN", "Permissions-Policy": None, "X-Robots-Tag": "noindex"})
    assert 'x-frame-options "SAMEORIGIN"' in block
    assert "-Permissions-Policy" in block
    assert 'X-Robots-Tag "noindex"' in block
    assert not any(line.startswith(("?X-Frame-Options", "?Permissions-Policy")) for line in block)


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
        ({"routs": []}, "unknown key 'routs'; known keys are csp, headers, hostname"),
        ({"routes": [PROXY, PROXY]}, r"routes\[1\] is never reached"),
        (
            {"routes": ["/x"]},
            r"routes\[0\] is a str; write a dictionary with the keys action, from_cidrs, max_body_mb, path, upstream",
        ),
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
        ({"routes": [{"path": "/*", "action": "proxy"}]}, "write one of upstream .* and upstream_file"),
        ({"routes": [{**PROXY, "upstream_file": "/run/x"}]}, "write one of upstream .* and upstream_file"),
        ({"routes": [{**SWITCHED, "upstream_file": "run/x"}]}, "write an absolute path"),
        ({"routes": [{**SWITCHED, "upstream_file": "/run/{env.HOME}"}]}, "write an absolute path"),
        ({"routes": [{**SWITCHED, "upstream_file": "/run/../etc/shadow"}]}, "write an absolute path"),
        ({"routes": [{**SWITCHED, "upstream_file": "/run/x\n"}]}, "write an absolute path"),
        ({"routes": [{**SWITCHED, "upstream_file": "/tmp/x"}]}, "which the server does not see"),
        ({"routes": [{**SWITCHED, "action": "deny"}]}, "denies and names the upstream_file"),
        ({"maintenance_file": "/home/ops/closed"}, "which the server does not see"),
        ({"headers": {"strict-transport-security": "max-age=1"}}, "its one owner is caddy_hsts_max_age"),
        ({"headers": {"X-A": 'a" b'}}, "without quotes, braces and backslashes"),
        ({"headers": {"X-A": "{env.HOME}"}}, "without quotes, braces and backslashes"),
        ({"headers": {"X A": "b"}}, "write the name of a header"),
        ({"headers": ["x"]}, "headers is a list; write a dictionary"),
        ({"csp": {"clerk": "https://clerk.example.org"}}, "csp.clerk is .*; write a host name"),
        ({"csp": {"sources": {"img-src": "x"}}}, "write a list of sources"),
        ({"csp": {"sources": {"img-src": ["a b"]}}}, "write a source such as"),
        ({"csp": {"sources": {"img-src": ['"']}}}, "write a source such as"),
        ({"csp": {"sources": {"Img": []}}}, "write a directive such as"),
        ({"csp": {"scripts": []}}, "unknown key 'scripts'"),
        ({"routes": [{**PROXY, "max_body_mb": 0}]}, "max_body_mb is 0"),
        ({"routes": [{**PROXY, "from_cidrs": []}]}, r"from_cidrs is empty; write at least one network"),
        ({"routes": [{**PROXY, "from_cidrs": "10.0.0.0/8"}]}, r"from_cidrs is a str; write a list"),
        ({"routes": [{**PROXY, "from_cidrs": ["10.0.0.1/8"]}]}, r"from_cidrs\[0\] is '10.0.0.1/8'; write a network"),
        ({"routes": [{**PROXY, "from_cidrs": ["10.0.0.0/8 0.0.0.0/0"]}]}, "write a network"),
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
        ({"sites": [], "hsts_max_age": -1}, "hsts_max_age is -1"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(AnsibleFilterError, match=said):
        caddy_site_blocks(**arguments)
