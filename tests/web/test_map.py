"""The map in a browser: what is stored is shown, and nothing breaks the page's policy."""

from __future__ import annotations

import re
import struct
from pathlib import Path

from playwright.sync_api import expect

from tests.bed.hosts import ROOT
from tests.bed.shell import run, wait_for
from tests.web.conftest import PLACES, Tab
from tests.web.stack import PATIENCE, Stack, answers, ask

PICTURE = ROOT / "docs" / "images" / "map.png"
OUTPUT = ROOT / "tests" / "output" / "map.png"
LARGEST = 200_000
"""Bytes of a picture in the documentation."""


def pixels(path: Path) -> tuple[int, int]:
    """Width and height of a PNG."""
    width, height = struct.unpack(">II", path.read_bytes()[16:24])
    return width, height


def test_every_observation_is_on_the_map_and_in_the_list(stack: Stack, tab: Tab) -> None:
    page = tab.open(stack.site)
    expect(page.locator(".points circle")).to_have_count(len(PLACES))
    expect(page.locator("ol li")).to_have_count(len(PLACES))
    expect(page.locator("ol li").first).to_contain_text("2026-05-16 12:00:00 UTC")
    expect(page.locator(".count")).to_contain_text(f"{len(PLACES)} observations in view")
    # Nothing lies outside: the view was fitted to what there is.
    for circle in page.locator(".points circle").all():
        box = circle.bounding_box()
        assert box is not None
        assert 0 < box["x"] < 1200
        assert 0 < box["y"] < 720
    expect(page.locator("path.land")).to_be_visible()
    assert tab.complaints == []


def test_a_site_without_a_way_to_the_api_shows_the_same(stack: Stack, tab: Tab) -> None:
    assert ask(f"{stack.apart}/ready").json() == {"status": "ready", "checks": {}}
    assert ask(f"{stack.apart}/api/observations").status == 404
    page = tab.open(stack.apart)
    expect(page.locator("ol li")).to_have_count(len(PLACES))
    expect(page.locator(".count")).to_contain_text(f"{len(PLACES)} observations in view")
    assert tab.complaints == []


def test_a_point_tells_what_was_measured(stack: Stack, tab: Tab) -> None:
    page = tab.open(stack.site)
    page.locator("ol li button").nth(len(PLACES) - 1).click()
    detail = page.get_by_role("region", name="Observation")
    expect(detail).to_contain_text("Harz")
    expect(detail).to_contain_text("51.8000° N, 10.6200° E")
    expect(detail.get_by_role("img", name="24 values")).to_be_visible()
    expect(page.locator("circle.chosen")).to_have_count(1)
    page.locator("circle:not(.chosen)").last.click()
    expect(detail).not_to_contain_text("Harz")
    expect(detail).to_contain_text("Carpinus betulus")
    assert tab.complaints == []


def test_the_list_follows_the_map(stack: Stack, tab: Tab) -> None:
    page = tab.open(stack.site)
    rows = page.locator("ol li")
    expect(rows).to_have_count(len(PLACES))
    for _ in range(4):
        page.get_by_role("button", name="Zoom in").click()
    expect(rows).not_to_have_count(len(PLACES))
    page.get_by_role("application").press("ArrowLeft")
    for _ in range(9):
        page.get_by_role("button", name="Zoom out").click()
    expect(rows).to_have_count(len(PLACES))
    page.get_by_role("button", name="Show all observations").click()
    page.mouse.move(400, 400)
    page.mouse.down()
    page.mouse.move(2400, 400, steps=5)
    page.mouse.up()
    expect(page.get_by_text("None here yet.")).to_be_visible()
    assert tab.complaints == []


def test_the_policy_is_strict_and_another_for_every_answer(stack: Stack, tab: Tab) -> None:
    policies = [ask(stack.site).headers["content-security-policy"] for _ in range(2)]
    nonces = [re.findall(r"'nonce-([^']+)'", policy) for policy in policies]
    assert len(nonces[0]) == 1
    assert nonces[0] != nonces[1]
    assert "unsafe" not in policies[0]
    assert "default-src 'none'" in policies[0]
    assert "frame-ancestors 'none'" in policies[0]
    page = tab.open(stack.site)
    # What somebody manages to write into the page does not run.
    page.evaluate("document.body.append(Object.assign(document.createElement('script'), {text: 'window.hurt = 1'}))")
    assert page.evaluate("window.hurt") is None
    assert any("Content Security Policy" in complaint for complaint in tab.complaints)


def test_a_page_comes_without_the_api_and_recovers(stack: Stack, tab: Tab) -> None:
    run("docker", "stop", stack.container("api"))
    try:
        assert ask(f"{stack.site}/health").status == 200
        assert ask(f"{stack.site}/ready").status == 503
        answer = ask(f"{stack.site}/api/observations")
        assert (answer.status, answer.json()["title"]) == (502, "Bad Gateway")
        page = tab.open(stack.site)
        expect(page.get_by_role("alert")).to_have_text("No observations: the API does not answer: try again later.")
    finally:
        run("docker", "start", stack.container("api"))
    wait_for("the API's return", lambda: answers(f"{stack.site}/ready"), PATIENCE)
    page.get_by_role("button", name="Zoom out").click()
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(page.locator("ol li")).to_have_count(len(PLACES))


def test_the_site_leads_to_nothing_but_observations(stack: Stack) -> None:
    for method, path in (("POST", "admin/migrate"), ("GET", "ready"), ("GET", "observations/1/../../ready")):
        answer = ask(f"{stack.site}/api/{path}", method)
        assert answer.status in (404, 405), (path, answer)
    assert ask(f"{stack.site}/api/observations?limit=0").json()["detail"].startswith("limit is")
    refused = ask(f"{stack.site}/api/observations", "POST", {})
    assert (refused.status, refused.headers["www-authenticate"]) == (401, "Bearer")


def test_the_picture_in_the_documentation(stack: Stack, tab: Tab) -> None:
    page = tab.open(stack.site)
    expect(page.locator("path.land")).to_be_visible()
    expect(page.locator("ol li")).to_have_count(len(PLACES))
    page.locator("ol li button").nth(4).click()
    expect(page.get_by_role("region", name="Observation").get_by_role("img")).to_be_visible()
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    page.mouse.move(600, 5)
    page.screenshot(path=OUTPUT, animations="disabled")
    assert PICTURE.stat().st_size < LARGEST
    # Not the pixels: fonts differ a little from one Debian to the next.
    assert pixels(OUTPUT) == pixels(PICTURE), f"look at {OUTPUT} and copy it to {PICTURE}"
