"""From the document to variables of roles: what each filter makes of it, and that the roles take it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.sapflux.hosting.plugins.filter import site as filters
from ansible_collections.sapflux.hosting.plugins.filter.caddy import FilterModule as CaddyFilters
from ansible_collections.sapflux.hosting.plugins.filter.postgres import FORBIDDEN
from ansible_collections.sapflux.hosting.plugins.module_utils import _site_wiring as wiring
from ansible_collections.sapflux.hosting.plugins.module_utils._compose_model import parse_services
from ansible_collections.sapflux.hosting.plugins.module_utils._site_complete import complete
from ansible_collections.sapflux.hosting.plugins.module_utils._site_rules import FORBIDDEN_SETTINGS

from tests.unit.fixtures import ROOT, SECRETS, Mutation, document, drop, put

FILTERS = filters.FilterModule().filters()


def site(*mutations: Mutation) -> dict[str, Any]:
    """The complete valid document, changed."""
    return complete(document(*mutations))


def test_services_have_their_ports_in_pairs_and_their_secrets_in_clear() -> None:
    api, web = FILTERS["site_services"](site(), SECRETS)
    assert (api["host_port"], web["host_port"]) == (18080, 18082)
    assert (api["standby_port"], web["standby_port"]) == (18081, 18083)
    assert (api["drain_sql"], api["drain_database"]) == ("SELECT count(*) FROM pg_locks", "app")
    assert (web["drain_sql"], web["drain_database"], web["drain_timeout"], web["stop_grace"]) == ("", "", 300, 30)
    assert api["secrets"] == {
        "DATABASE_URL": "postgres://app:p%40ss%2Fword@localhost/app?host=/var/run/postgresql",
        "S3_SECRET_ACCESS_KEY": "marker-secret-key",
    }
    assert api["env"]["WORKERS"] == "2"
    assert (api["ready_path"], web["ready_path"]) == ("/ready", "")
    assert (api["migrate_path"], web["migrate_path"]) == ("/admin/migrate", "")
    assert (api["database_socket"], web["database_socket"]) == (True, False)
    assert api["health_path"] == "/health"
    assert api["health_timeout"] == 60


def test_services_find_each_other_where_nobody_else_knows_their_names() -> None:
    api, web = FILTERS["site_services"](site(), SECRETS)
    assert (api["extra_hosts"], web["extra_hosts"]) == (
        ["sapflux.test:host-gateway"],
        ["api.sapflux.test:host-gateway"],
    )
    assert web["ca_file"].endswith("/pki/authorities/local/root.crt")
    public = site(put("tls.mode", "dns01"))
    assert [(each["extra_hosts"], each["ca_file"]) for each in FILTERS["site_services"](public, SECRETS)] == [
        ([], "")
    ] * 2


def test_containers_reach_the_edge_where_there_is_somebody_to_ask() -> None:
    assert FILTERS["site_firewall_input"](site()) == [{"interface": "br-sapflux", "protocol": "tcp", "port": 443}]
    assert FILTERS["site_firewall_input"](site(drop("services[1]"))) == []


def test_the_role_app_takes_the_services() -> None:
    taken = parse_services(FILTERS["site_services"](site(), SECRETS))
    assert [service.name for service in taken] == ["api", "web"]


def test_a_missing_secret_is_named() -> None:
    with pytest.raises(AnsibleFilterError, match="the secret store has no APP_DB_PASSWORD"):
        FILTERS["site_services"](site(), {"BACKUP_SECRET_ACCESS_KEY": "x"})
    with pytest.raises(AnsibleFilterError, match="has no A, B"):
        FILTERS["site_resolve"](["${A}", "${B}"], {})


def test_sites_of_caddy() -> None:
    api, web = FILTERS["site_caddy"](site())
    assert api == {
        "hostname": "api.sapflux.test",
        "max_body_mb": 10,
        "headers": {"X-Robots-Tag": "noindex"},
        "csp": {"clerk": "clerk.sapflux.test", "umami": "stats.sapflux.test", "sources": {}, "report_only": False},
        "maintenance_file": "/etc/sapflux/maintenance/sapflux",
        "routes": [
            {"path": "/admin/*", "action": "deny"},
            {"path": "/*", "action": "proxy", "upstream_file": "/etc/sapflux/upstreams/sapflux-api"},
        ],
    }
    assert (web["hostname"], web["headers"], web["csp"]) == ("sapflux.test", {}, None)
    assert web["routes"] == [
        {"path": "/admin/*", "action": "deny"},
        {"path": "/*", "action": "proxy", "upstream_file": "/etc/sapflux/upstreams/sapflux-web"},
    ]


def test_a_route_of_the_tailnet_is_for_its_addresses_alone() -> None:
    routes = [{"path": "/outputs/*", "visibility": "tailnet"}, {"path": "/*", "visibility": "public"}]
    api, _web = FILTERS["site_caddy"](site(put("services[0].routes", routes)))
    assert [route.get("from_cidrs") for route in api["routes"]] == [["100.64.0.0/10", "fd7a:115c:a1e0::/48"]] * 2 + [
        None
    ]
    assert [route["path"] for route in api["routes"]] == ["/outputs", "/outputs/*", "/*"]


def test_a_public_route_below_a_path_answers_on_the_path_as_well() -> None:
    routes = [{"path": "/app/*", "visibility": "public"}, {"path": "/exact", "visibility": "public"}]
    api, _web = FILTERS["site_caddy"](site(put("services[0].routes", routes)))
    assert [route["path"] for route in api["routes"]] == ["/app", "/app/*", "/exact"]


def test_the_role_caddy_takes_the_sites() -> None:
    render: Any = CaddyFilters().filters()["caddy_site_blocks"]
    blocks = render(FILTERS["site_caddy"](site()))
    assert "api.sapflux.test" in blocks
    assert "/etc/sapflux/upstreams/sapflux-web" in blocks


def test_docker_gets_registries_only_where_there_are_some() -> None:
    assert FILTERS["site_docker"](site()) == {"insecure-registries": ["10.83.0.11:5000"]}
    assert FILTERS["site_docker"](site(drop("docker"))) == {}


def test_the_prefix_tells_histories_apart() -> None:
    assert FILTERS["site_walg_prefix"](site()) == "pg/sapflux/17/g1"
    assert FILTERS["site_walg_prefix"](site(put("backup.generation", 3))) == "pg/sapflux/17/g3"


EVERYWHERE = ["sapflux-firewall.service", "tailscaled.service", "sapflux-lockdown.timer"]


@pytest.mark.parametrize(
    ("groups", "units", "names", "urls", "project"),
    [
        (["edge"], ["caddy.service"], 2, 0, ""),
        (["app"], ["docker.service", "sapflux-app@sapflux.service"], 0, 3, "sapflux"),
        (["db"], ["postgresql@17-main.service", "sapflux-backup.timer"], 0, 0, ""),
        ([], [], 0, 0, ""),
    ],
)
def test_status_asks_for_what_a_host_has(
    groups: list[str], units: list[str], names: int, urls: int, project: str
) -> None:
    options = FILTERS["site_status"](site(), groups)
    assert options["units"] == [*EVERYWHERE, *units]
    assert len(options["hostnames"]) == names
    assert len(options["urls"]) == urls
    assert options["project"] == project


def test_probes_ask_for_what_is_open_and_for_what_is_hidden() -> None:
    assert FILTERS["site_probes"](site()) == [
        {"hostname": "api.sapflux.test", "path": "/health", "status": 200},
        {"hostname": "api.sapflux.test", "path": "/ready", "status": 200},
        {"hostname": "api.sapflux.test", "path": "/admin/migrate", "status": 404},
        {"hostname": "api.sapflux.test", "path": "/admin", "status": 404},
        {"hostname": "sapflux.test", "path": "/health", "status": 200},
        {"hostname": "sapflux.test", "path": "/admin", "status": 404},
    ]


def test_routes_of_the_tailnet_are_hidden_from_whoever_is_not_on_it() -> None:
    routes = [{"path": "/outputs/*", "visibility": "tailnet"}, {"path": "/*", "visibility": "public"}]
    hidden = {"hostname": "api.sapflux.test", "path": "/outputs", "status": 404}
    told = put("services[0].routes", routes)
    assert hidden in FILTERS["site_deploy_probes"](site(told))
    assert hidden not in FILTERS["site_probes"](site(told)), "behind a proxy the controller asks over the tailnet"
    assert hidden in FILTERS["site_probes"](site(told, put("network.https_cidrs", ["0.0.0.0/0"])))


def test_a_public_migration_is_never_asked_for() -> None:
    asked = FILTERS["site_probes"](site(put("services[0].routes", [{"path": "/*", "visibility": "public"}])))
    assert [probe["path"] for probe in asked if probe["hostname"].startswith("api")] == ["/health", "/ready"]


def test_closed_ports() -> None:
    """On an open host those of the database and the services; SSH once it is locked; 443 behind a proxy."""
    everybody = put("network.https_cidrs", ["0.0.0.0/0"])
    assert FILTERS["site_closed_ports"](site(everybody), {}) == [5432, 18080, 18081, 18082, 18083]
    assert FILTERS["site_closed_ports"](site(), {}) == [443, 5432, 18080, 18081, 18082, 18083]
    assert FILTERS["site_closed_ports"](site(everybody, drop("network.break_glass_cidrs")), LOCKED)[0] == 22


LOCKED = {"default_ipv4": {"address": "203.0.113.10"}, "sapflux": {"lockdown": {"locked": True}}}


@pytest.mark.parametrize(
    ("mutations", "facts", "cidrs"),
    [
        ((), {}, ["192.0.2.0/24", "203.0.113.0/24"]),
        ((), LOCKED, ["203.0.113.0/24"]),
        ((put("network.break_glass_cidrs", []),), LOCKED, []),
        # Without the lockdown the host must not stay closed.
        ((put("tailscale.lockdown", False),), LOCKED, ["192.0.2.0/24", "203.0.113.0/24"]),
        ((put("tailscale.enabled", False),), LOCKED, ["192.0.2.0/24", "203.0.113.0/24"]),
    ],
)
def test_who_may_reach_ssh_from_outside(
    mutations: tuple[Mutation, ...], facts: dict[str, Any], cidrs: list[str]
) -> None:
    found = FILTERS["site_ssh_cidrs"](site(put("network.ssh_cidrs", ["192.0.2.0/24"]), *mutations), facts)
    assert found == cidrs


def test_routes_are_asked_where_somebody_may_ask() -> None:
    asked = FILTERS["site_probe_address"]
    assert asked(site(put("network.https_cidrs", ["0.0.0.0/0", "::/0"])), LOCKED, "web.tail1.ts.net") == "203.0.113.10"
    assert asked(site(put("network.https_cidrs", ["cloudflare"])), LOCKED, "web.tail1.ts.net") == "web.tail1.ts.net"


def test_what_the_tailnet_means() -> None:
    found = FILTERS["site_tailnet"]
    assert found(site()) == {"lockdown": "present", "interface": "tailscale0", "ports": [443]}
    assert found(site(put("tailscale.enabled", False))) == {"lockdown": "absent", "interface": "", "ports": []}
    assert FILTERS["site_tailnet_host"](site()["tailscale"], "web") == "web.tail1234.example.org"
    assert FILTERS["site_tailnet_host"](site(drop("tailscale.domain"))["tailscale"], "web") == ""


def test_a_key_for_the_tailnet_may_be_missing() -> None:
    """Only a host that has not joined needs one, and keys expire."""
    key = site()["tailscale"]["auth_key"]
    assert FILTERS["site_if_known"](key, {"TAILSCALE_AUTH_KEY": "tskey"}) == "tskey"
    assert FILTERS["site_if_known"](key, {}) == ""
    assert FILTERS["site_if_known"](None, {}) == ""


def test_a_secret_that_is_written_must_be_known() -> None:
    assert FILTERS["site_optional"](None, {}) == ""
    assert FILTERS["site_optional"]("${KEY}", {"KEY": "x"}) == "x"
    with pytest.raises(AnsibleFilterError, match="the secret store has no KEY"):
        FILTERS["site_optional"]("${KEY}", {})


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("/*", "/", True),
        ("/*", "/a/b", True),
        ("/admin/*", "/admin", True),
        ("/admin/*", "/ADMIN/x", True),
        ("/admin/*", "/administrator", False),
        ("/a", "/a", True),
        ("/a", "/a/", False),
    ],
)
def test_covers(pattern: str, path: str, expected: bool) -> None:
    assert wiring.covers(pattern, path) is expected


def test_something_that_is_no_document_is_refused_with_the_way_out() -> None:
    with pytest.raises(AnsibleFilterError, match="is not a mapping but 'x'; write it in group_vars"):
        FILTERS["site_document"]("x")


def test_the_document_refuses_every_setting_the_role_refuses() -> None:
    assert sorted(FORBIDDEN - FORBIDDEN_SETTINGS.keys()) == []


def test_every_filter_is_documented() -> None:
    for name in FILTERS:
        text = (ROOT / "plugins" / "filter" / f"{name}.yml").read_text(encoding="utf-8")
        assert yaml.safe_load(text)["DOCUMENTATION"]["name"] == name


def test_the_tailnet_is_answered_without_the_certificate_of_the_edge() -> None:
    assert FILTERS["site_exempt_cidrs"](site()) == ["127.0.0.0/8", "::1/128", "100.64.0.0/10", "fd7a:115c:a1e0::/48"]
    assert FILTERS["site_exempt_cidrs"](site(put("tailscale.enabled", False))) == ["127.0.0.0/8", "::1/128"]


def test_the_status_asks_for_what_vouches_for_the_certificates() -> None:
    status = FILTERS["site_status"](site(), ["edge"])
    assert status["ca_file"].endswith("/pki/authorities/local/root.crt")
    token = put("tls.origin_token", "${CLOUDFLARE_ORIGIN_TOKEN}")
    status = FILTERS["site_status"](site(put("tls.mode", "dns01"), token), ["edge"])
    assert (status["ca_file"], "sapflux-certificates.timer" in status["units"]) == ("", True)
    status = FILTERS["site_status"](site(put("tls.mode", "origin"), token), ["edge"])
    assert status["ca_file"] == "/var/lib/sapflux/origin/origin.pem"


def test_only_cloudflares_edge_is_a_proxy_that_is_believed() -> None:
    assert FILTERS["site_trusted_proxies"](site(put("network.https_cidrs", ["cloudflare", "192.0.2.7/32"]))) == [
        "cloudflare"
    ]
    assert FILTERS["site_trusted_proxies"](site(put("network.https_cidrs", ["0.0.0.0/0"]))) == []
