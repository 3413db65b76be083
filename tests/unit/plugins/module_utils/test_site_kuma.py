"""From the document to what Uptime Kuma watches, and what of it is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.sapflux.hosting.plugins.filter.caddy import caddy_site_blocks
from ansible_collections.sapflux.hosting.plugins.module_utils import _site_kuma as kuma
from ansible_collections.sapflux.hosting.plugins.module_utils import _site_wiring as wiring
from ansible_collections.sapflux.hosting.plugins.module_utils._site_complete import complete
from ansible_collections.sapflux.hosting.plugins.module_utils._site_validate import validate

from tests.unit.fixtures import Mutation, document, put

IMAGE = f"louislam/uptime-kuma@sha256:{'7' * 64}"
ON = (
    put("monitoring", {"kuma": {}}),
    put("monitoring.kuma.enabled", True),
    put("monitoring.kuma.image", IMAGE),
    put("monitoring.kuma.password", "${KUMA_PASSWORD}"),
    put("monitoring.kuma.hostname", "kuma.sapflux.test"),
)
TELL = {"name": "operator", "type": "webhook", "secrets": {"webhookURL": "${KUMA_HOOK}"}}
GROUP = {"name": "g", "monitors": ["no"]}
STORE = {"KUMA_PASSWORD": "correct-horse-1", "KUMA_HOOK": "https://hooks.example.org/x"}


def site(*mutations: Mutation) -> dict[str, Any]:
    return complete(document(*ON, *mutations))


def test_the_obvious_monitors_follow_from_the_document() -> None:
    full = site(put("monitoring.kuma.notifications", [TELL]))
    want = kuma.wishes(full)
    by_name = {one["name"]: one for one in want["monitors"]}
    assert by_name["sapflux"] == {"name": "sapflux", "type": "group"}
    for service in full["services"]:
        public = [route["path"] for route in service["routes"] if route["visibility"] == "public"]
        assert (service["name"] in by_name) == bool(public)
        if public:
            web = by_name[service["name"]]
            assert web["url"].startswith(f"https://{service['hostname']}/")
            assert (web["expiryNotification"], web["parent"], web["notifications"]) == (True, "sapflux", ["operator"])
        assert (f"{service['name']} ready" in by_name) == bool(service["ready"])
    for database in full["postgres"]["databases"]:
        assert by_name[f"database {database['name']}"]["type"] == "push"
    assert by_name["backups"] == {
        "name": "backups", "type": "push", "interval": 1800, "parent": "sapflux", "notifications": ["operator"],
    }  # fmt: skip
    assert want["settings"]["keepDataPeriodDays"] == 60
    assert {one["name"] for one in want["pushes"]} == {one["name"] for one in want["monitors"] if one["type"] == "push"}


def test_what_nobody_outside_may_ask_is_pushed() -> None:
    hidden = site(put("services[0].ready", "/hidden"), put("services[0].routes", [
        {"path": "/hidden", "visibility": "never"}, {"path": "/*", "visibility": "public"},
    ]))  # fmt: skip
    name = hidden["services"][0]["name"]
    (push,) = (one for one in kuma.pushes(hidden) if one["kind"] == "url")
    assert (push["name"], push["target"]) == (f"{name} ready", f"upstream://sapflux-{name}/hidden")
    alone = site(put("services[0].routes", [{"path": "/*", "visibility": "tailnet"}]))
    assert name not in {one["name"] for one in kuma.wishes(alone)["monitors"]}


def test_secrets_go_apart_and_tokens_stay_the_same() -> None:
    full = site(put("monitoring.kuma.notifications", [TELL]))
    found = json.loads(kuma.secrets(full, STORE))
    assert found["notifications"] == {"operator": {"webhookURL": STORE["KUMA_HOOK"]}}
    tokens = {one["pushToken"] for one in found["monitors"].values()}
    assert len(tokens) == len(found["monitors"]) == len(list(kuma.pushes(full)))
    assert {len(token) for token in tokens} == {32}
    assert json.loads(kuma.secrets(full, STORE)) == found
    assert json.loads(kuma.secrets(full, STORE | {"KUMA_PASSWORD": "other-1"})) != found
    assert not any(token in json.dumps(kuma.wishes(full)) for token in tokens)
    assert kuma.secrets(complete(document()), {}) == "{}"


def test_its_pages_are_the_tailnets_and_wait_for_its_user() -> None:
    full = site()
    dashboard = wiring.caddy_sites(full)[-1]
    assert dashboard["hostname"] == "kuma.sapflux.test"
    assert [(one["upstream_file"], "100.64.0.0/10" in one["from_cidrs"]) for one in dashboard["routes"]] == [
        ("/etc/sapflux/upstreams/sapflux-kuma", True)
    ]
    assert 3001 in wiring.closed_ports(full, {})
    assert "kuma.sapflux.test" in caddy_site_blocks(wiring.caddy_sites(full))
    without = complete(document())
    assert len(wiring.caddy_sites(without)) == len(without["services"])
    assert 3001 not in wiring.closed_ports(without, {})


def test_the_document_is_good() -> None:
    own = [{"name": "docs", "type": "http", "url": "https://docs.example.org/"}]
    page = [{"slug": "status", "title": "Status", "groups": [{"name": "All", "monitors": ["docs", "backups"]}]}]
    full = document(*ON, put("monitoring.kuma.monitors", own), put("monitoring.kuma.status_pages", page))
    assert [str(problem) for problem in validate(full)] == []


@pytest.mark.parametrize(
    ("mutation", "said"),
    [
        (put("monitoring.kuma.password", None), "site.monitoring.kuma.password: is needed"),
        (put("monitoring.kuma.password", "literal-1"), "site.monitoring.kuma.password"),
        (put("monitoring.kuma.image", None), "site.monitoring.kuma.image: is needed"),
        (put("monitoring.kuma.image", "louislam/uptime-kuma:2"), "is not pinned by digest"),
        (put("monitoring.kuma.memory_mb", 64), "site.monitoring.kuma.memory_mb"),
        (put("monitoring.kuma.monitors", [{"name": "x", "type": "ping", "hostname": "localhost"}]), "x asks localhost"),
        (put("monitoring.kuma.monitors", [{"name": "backups", "type": "group"}]), "the monitor backups is there twice"),
        (put("monitoring.kuma.monitors", [{"name": "x", "type": "http"}]), "the monitor x of type http needs url"),
        (put("monitoring.kuma.status_pages", [{"slug": "a b", "title": "x"}]), "is no slug"),
        (put("monitoring.kuma.status_pages", [{"slug": "a", "title": "x", "groups": [GROUP]}]),
         "a shows the monitor no"),
    ],
)  # fmt: skip
def test_what_would_be_refused_later_is_refused_at_once(mutation: Mutation, said: str) -> None:
    found = "\n".join(str(problem) for problem in validate(document(*ON, mutation)))
    assert said in found
    assert "literal-1" not in found


def test_a_name_of_a_service_is_not_free() -> None:
    taken = complete(document())["services"][0]["hostname"]
    found = "\n".join(str(problem) for problem in validate(document(*ON, put("monitoring.kuma.hostname", taken))))
    assert "is the name of a service" in found


def test_a_broken_part_is_told_once_and_does_not_crash() -> None:
    assert len(validate(document(*ON, put("services", [{"name": "api"}])))) > 0
