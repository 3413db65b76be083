"""From the document to what has to be there at Cloudflare."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.sapflux.hosting.plugins.filter import site as filters
from ansible_collections.sapflux.hosting.plugins.module_utils import _dns_plan, _ruleset, _zone_settings
from ansible_collections.sapflux.hosting.plugins.module_utils import _site_cloudflare as edge
from ansible_collections.sapflux.hosting.plugins.module_utils._site_complete import complete

from tests.unit.fixtures import SECRETS, Mutation, document, drop, put
from tests.unit.plugins.module_utils.site_cases import R2_MADE

FILTERS = filters.FilterModule().filters()
MADE = (
    *R2_MADE,
    put("backup.read_access_key_id", "${BACKUP_READ_ACCESS_KEY_ID}"),
    put("backup.read_secret_access_key", "${BACKUP_READ_SECRET_ACCESS_KEY}"),
)
NEVER, PUBLIC = "never", "public"


def resources(*mutations: Mutation, addresses: tuple[str, ...] = ()) -> dict[str, Any]:
    """What the valid document, changed, stands for."""
    return edge.resources(complete(document(*mutations)), addresses)


def rules_of(found: dict[str, Any], phase: str) -> list[dict[str, Any]]:
    """Our rules in a phase."""
    rules: list[dict[str, Any]] = next(each["rules"] for each in found["rules"] if each["phase"] == phase)
    return rules


def test_a_document_without_the_section_makes_nothing() -> None:
    nothing = resources(drop("cloudflare"))
    assert not any(nothing.values())
    assert set(nothing) == set(resources())
    assert not edge.enabled(complete(document(drop("cloudflare"))))
    assert edge.enabled(complete(document()))


def test_it_holds_no_secret_and_no_reference() -> None:
    text = json.dumps(resources(*MADE))
    assert "${" not in text
    assert [value for value in SECRETS.values() if value in text] == []


def test_public_names_are_proxied_to_the_addresses_of_the_edge() -> None:
    found = resources()["records"]
    names = [(each["type"], each["name"], each["content"]) for each in found if each.get("proxied")]
    assert names == [
        ("A", "api.sapflux.test", "192.0.2.10"),
        ("AAAA", "api.sapflux.test", "2001:db8::10"),
        ("A", "sapflux.test", "192.0.2.10"),
        ("AAAA", "sapflux.test", "2001:db8::10"),
    ]
    kinds = {(each["type"], each["name"]) for each in found}
    assert {("CNAME", "clerk"), ("CNAME", "clk._domainkey"), ("MX", "@"), ("TXT", "_dmarc"), ("CAA", "@")} <= kinds
    scope = _dns_plan.Scope("sapflux.test", edge.OWNER)
    assert len(_dns_plan.wishes(found, scope)) == len(found)


def test_a_name_that_nobody_may_see_is_not_published() -> None:
    hidden = resources(put("services[0].routes", [{"path": "/*", "visibility": NEVER}]))
    assert "api.sapflux.test" not in json.dumps(hidden["records"])


def test_addresses_come_from_the_document_or_from_the_inventory() -> None:
    empty = put("cloudflare.dns.addresses", [])
    assert resources(empty)["pending"] == ["api.sapflux.test", "sapflux.test"]
    assert not [each for each in resources(empty)["records"] if each["type"] in ("A", "AAAA")]
    found = resources(empty, addresses=("198.51.100.1",))
    assert found["pending"] == []
    assert [each["content"] for each in found["records"] if each["type"] == "A"] == ["198.51.100.1"] * 2
    assert "198.51.100.1" not in json.dumps(resources(addresses=("198.51.100.1",)))


@pytest.mark.parametrize(
    ("variables", "found"),
    [
        ({"ansible_host": "198.51.100.1"}, ["198.51.100.1"]),
        ({"ansible_host": "sapflux-1.tail1234.ts.net"}, []),
        ({"ansible_host": "100.64.0.7"}, []),
        ({"ansible_host": "10.20.0.2"}, []),
        ({"ansible_host": "fd7a:115c:a1e0::1"}, []),
        ({}, []),
        (
            {"ansible_host": "100.64.0.7", "public_ipv4": "198.51.100.1", "public_ipv6": "2001:db8::1"},
            ["198.51.100.1", "2001:db8::1"],
        ),
        ({"hcloud_ipv4": "198.51.100.2", "hcloud_ipv6": None}, ["198.51.100.2"]),
    ],
)
def test_an_address_that_visitors_cannot_reach_is_none(variables: dict[str, Any], found: list[str]) -> None:
    assert edge.public_addresses([variables]) == found
    site = complete(document(put("cloudflare.dns.addresses", [])))
    made = FILTERS["site_cloudflare"](site, {"one": variables}, {"edge": ["one"]})
    assert {each["content"] for each in made["records"] if each["type"] in ("A", "AAAA")} == set(found)


def test_settings_are_sane_and_the_document_has_the_last_word() -> None:
    found = resources()["settings"]
    assert _zone_settings.parse(found)
    assert (found["ssl"], found["min_tls_version"], found["early_hints"], found["0rtt"]) == ("full", "1.2", "on", "off")
    assert resources(put("cloudflare.settings", {"ssl": "strict"}))["settings"]["ssl"] == "strict"


def test_the_rules_fit_the_smallest_plan() -> None:
    found = resources()
    for phase in found["rules"]:
        wishes = [_ruleset.wish(rule, edge.PREFIX) for rule in phase["rules"]]
        assert _ruleset.problems(phase["phase"], "free", wishes, len(wishes)) == []
    (limit,) = rules_of(found, edge.RATE_LIMIT)
    assert limit["expression"].startswith("not (lower(http.request.uri.path)")
    assert limit["ratelimit"]["requests_per_period"] == 300
    assert rules_of(found, "http_request_dynamic_redirect")[0]["name"] == "www"


def test_rules_that_are_switched_off_are_removed() -> None:
    off = put("cloudflare.rules", {"hidden": False, "requests": 0, "cache": []})
    assert [each["rules"] for each in resources(off)["rules"]] == [[], [], []]
    counted = resources(put("cloudflare.rules.cache", []))
    assert rules_of(counted, edge.RATE_LIMIT)[0]["expression"] == '(starts_with(http.request.uri.path, "/"))'


@pytest.mark.parametrize(
    ("routes", "expression"),
    [
        ([("/*", PUBLIC)], ""),
        ([("/*", PUBLIC), ("/admin/*", NEVER)], ""),
        (
            [("/Admin/*", NEVER), ("/*", PUBLIC)],
            '(http.host eq "api.sapflux.test" and (lower(http.request.uri.path) eq "/admin" or '
            'starts_with(lower(http.request.uri.path), "/admin/")))',
        ),
        (
            [("/admin/health", PUBLIC), ("/admin/*", NEVER)],
            '(http.host eq "api.sapflux.test" and (lower(http.request.uri.path) eq "/admin" or '
            'starts_with(lower(http.request.uri.path), "/admin/")) and '
            'not (lower(http.request.uri.path) eq "/admin/health"))',
        ),
    ],
)
def test_what_is_hidden_at_the_edge_is_what_the_web_server_hides(
    routes: list[tuple[str, str]], expression: str
) -> None:
    given = [{"path": path, "visibility": visibility} for path, visibility in routes]
    web = put("services[1].routes", [{"path": "/*", "visibility": "public"}])
    assert edge.hidden_paths(complete(document(put("services[0].routes", given), web))) == expression


def test_buckets_and_what_they_are_used_with() -> None:
    found = resources(*MADE)
    assert [(each["name"], each["jurisdiction"], bool(each["cors"])) for each in found["buckets"]] == [
        ("sapflux-local", "default", False),
        ("sapflux-objects", "eu", True),
    ]
    assert [(each["name"], each["access"], each["names"]["secret_access_key"]) for each in found["credentials"]] == [
        ("sapflux backup", "write", "BACKUP_SECRET_ACCESS_KEY"),
        ("sapflux backup read", "read", "BACKUP_READ_SECRET_ACCESS_KEY"),
        ("sapflux sapflux-objects", "write", "APP_S3_SECRET_ACCESS_KEY"),
    ]
    (token,) = found["tokens"]
    assert (token["name"], token["zones"], token["names"]) == (
        "sapflux caddy",
        ["sapflux.test"],
        {"value": "CADDY_CLOUDFLARE_TOKEN"},
    )
    made = edge.made_secrets(complete(document(*MADE)))
    assert len(made) == 7
    assert {"BACKUP_ACCESS_KEY_ID", "APP_S3_ACCESS_KEY_ID", "CADDY_CLOUDFLARE_TOKEN"} < set(made)


def test_what_the_modules_get_of_the_secret_store() -> None:
    site = complete(document())
    secrets = FILTERS["site_cloudflare_secrets"](site, SECRETS)
    assert secrets == {
        "api_token": SECRETS["CLOUDFLARE_API_TOKEN"],
        "certificate": SECRETS["EDGE_CERTIFICATE"],
        "private_key": SECRETS["EDGE_PRIVATE_KEY"],
    }
    nothing = complete(document(drop("cloudflare")))
    assert FILTERS["site_cloudflare_secrets"](nothing, {}) == dict.fromkeys(secrets, "")
    store = FILTERS["site_cloudflare_store"](site, SECRETS)
    assert store["doppler"]["token"] == SECRETS["DOPPLER_TOKEN"]
    assert FILTERS["site_cloudflare_store"](nothing, {}) == {"file": "/opt/inventory/secrets.yml"}
