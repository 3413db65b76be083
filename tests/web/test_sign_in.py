"""Signing in: Clerk's script in the browser, tokens at the API, and what remains when the service is down."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.bed.shell import wait_for
from tests.doubles.web import Fault
from tests.web.conftest import PLACES, Tab
from tests.web.stack import PATIENCE, Stack, ask

OBSERVATION = {"longitude": 1.0, "latitude": 2.0, "observed_at": "2026-04-01T12:00:00Z", "payload": {}}


# Through the site, and at the API's own name.
@pytest.mark.parametrize("name", ["full", "apart"])
def test_a_visitor_reads_and_a_person_writes(stack: Stack, tab: Tab, name: str) -> None:
    page = tab.open(getattr(stack, name))
    expect(page.locator("ol li").first).to_be_visible()
    expect(page.get_by_role("button", name="Add observation")).to_have_count(0)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("Ada Forester")).to_be_visible()

    page.get_by_role("button", name="Add observation").click()
    page.get_by_label("Longitude").fill("-3.5")
    page.get_by_label("Latitude").fill("40.4")
    page.get_by_label("Time (UTC)").fill("2026-06-01T08:30:00")
    page.get_by_label("Payload (JSON)").fill('{"site": "Retiro"')
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert")).to_have_text("The payload is not JSON.")
    page.get_by_label("Payload (JSON)").fill('{"site": "Retiro"}')
    page.get_by_role("button", name="Save").click()
    detail = page.get_by_role("region", name="Observation")
    expect(detail).to_contain_text("Retiro")
    expect(detail).to_contain_text("40.4000° N, 3.5000° W")
    stored = ask(f"{stack.api}/observations?limit=1").json()["features"][0]
    assert stored["geometry"]["coordinates"] == [-3.5, 40.4]

    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    # The tiles of this site are made up: their 404 are the only complaints.
    assert [complaint for complaint in tab.complaints if "/tiles/" not in complaint and "/s.js" not in complaint] == []


def test_the_policy_names_what_is_on(stack: Stack) -> None:
    answer = ask(stack.full)
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    double = stack.clerk.url
    assert double in policy["script-src"]
    assert double in policy["connect-src"]
    assert double in policy["img-src"]
    assert "https://example.accounts.dev" in policy["connect-src"]
    assert policy["worker-src"] == "'self' blob:"
    assert "unsafe" not in policy["script-src"]
    page = answer.body.decode()
    assert re.search(r'<script defer="" src="/s\.js" data-website-id="5e1a1b8e-0b57-5d1c-9c59-0c8a8f3a3c11"', page)
    assert "umami" not in ask(stack.site).body.decode().replace("umami:null", "")


def test_tokens_are_refused_for_what_is_wrong_with_them(stack: Stack) -> None:
    for changes, status, words in (
        ({}, 201, ""),
        ({"azp": "https://evil.example.org"}, 401, "another site"),
        ({"azp": None}, 401, "another site"),
        ({"life": -60}, 401, "expired"),
        ({"iss": "https://clerk.example.com"}, 401, "another sign-in service"),
        ({"sts": "pending"}, 401, "pending"),
    ):
        answer = ask(f"{stack.api}/observations", "POST", OBSERVATION, stack.token(**changes))
        assert answer.status == status, (changes, answer)
        if status != 201:
            assert answer.headers["content-type"] == "application/problem+json"
            assert words in answer.json()["detail"]


def test_a_rotated_key_is_taken_and_the_old_one_is_not(stack: Stack) -> None:
    old = stack.token()
    assert ask(f"{stack.api}/me", token=old).status == 200
    stack.clerk.rotate()
    # The keys are fetched again for a name that is not known, but no more often than every ten seconds.
    wait_for("the new key", lambda: ask(f"{stack.api}/me", token=stack.token()).status == 200, PATIENCE)
    assert ask(f"{stack.api}/me", token=old).status == 401


def test_known_keys_serve_and_the_map_stays_while_clerk_is_down(stack: Stack, tab: Tab) -> None:
    assert ask(f"{stack.api}/me", token=stack.token()).status == 200
    stack.clerk.faults.append(Fault("status", times=1_000_000))
    try:
        assert ask(f"{stack.api}/me", token=stack.token()).status == 200
        page = tab.open(stack.full)
        expect(page.get_by_text("Signing in is not possible now")).to_be_visible()
        assert page.locator("ol li").count() >= len(PLACES)
    finally:
        stack.clerk.faults.clear()
