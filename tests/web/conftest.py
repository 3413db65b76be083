"""The application's containers, and pages of the browser that looks at them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from tests.bed import engine
from tests.web import stack as stacks
from tests.web.stack import Stack, ask

# A forest with its trees and its place: the same in every run, so that pictures are alike.
PLACES = (
    ("Harz", "Picea abies", 10.62, 51.80), ("Solling", "Fagus sylvatica", 9.57, 51.76),
    ("Tharandt", "Picea abies", 13.57, 50.96), ("Hainich", "Fagus sylvatica", 10.45, 51.08),
    ("Hyytiälä", "Pinus sylvestris", 24.29, 61.85), ("Norunda", "Pinus sylvestris", 17.48, 60.09),
    ("Soroe", "Fagus sylvatica", 11.64, 55.49), ("Loobos", "Pinus sylvestris", 5.74, 52.17),
    ("Vielsalm", "Fagus sylvatica", 6.00, 50.31), ("Hesse", "Fagus sylvatica", 7.06, 48.67),
    ("Puéchabon", "Quercus ilex", 3.60, 43.74), ("Davos", "Picea abies", 9.86, 46.82),
    ("Lägeren", "Fagus sylvatica", 8.36, 47.48), ("Renon", "Picea abies", 11.43, 46.59),
    ("Collelongo", "Fagus sylvatica", 13.59, 41.85), ("Białowieża", "Carpinus betulus", 23.86, 52.70),
)  # fmt: skip


def day(number: int) -> list[float]:
    """Sap flow of 24 hours: nothing at night, most after noon, and clouds at an hour of each place's own."""
    clouds = 10 + number % 6
    sun = [max(0.0, math.sin(math.pi * (hour - 6.5) / 13)) for hour in range(24)]
    return [round(12 * light**1.3 * (0.6 if hour == clouds else 1), 2) for hour, light in enumerate(sun)]


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The application with sixteen observations."""
    engine.ensure()
    with stacks.running() as made:
        for number, (name, species, longitude, latitude) in enumerate(PLACES):
            observation = {
                "longitude": longitude,
                "latitude": latitude,
                "observed_at": f"2026-05-{number + 1:02d}T12:00:00Z",
                "payload": {"site": name, "species": species, "depth_mm": 20 + number, "sap_flow": day(number)},
            }
            answer = ask(f"{made.api}/observations", "POST", observation, made.token())
            assert answer.status == 201, answer
        yield made


@pytest.fixture(autouse=True)
def _alone(request: pytest.FixtureRequest) -> Iterator[None]:
    """What a test stores is gone after it: the next one counts what the stack began with."""
    yield
    if "stack" in request.fixturenames:
        request.getfixturevalue("stack").forget(len(PLACES))


@pytest.fixture(scope="session")
def browser(stack: Stack) -> Iterator[Browser]:
    """The headless Chromium."""
    with sync_playwright() as playwright:
        found = playwright.chromium.connect_over_cdp(stack.browser(), timeout=stacks.PATIENCE * 1000)
        yield found
        found.close()


@dataclass
class Tab:
    """A page, and what the browser complained about on it."""

    page: Page
    complaints: list[str] = field(default_factory=list)

    def note(self, message: ConsoleMessage) -> None:
        """Keep warnings and errors: a violated policy is one of them."""
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text} ({message.location.get('url')})")

    def open(self, url: str) -> Page:
        """Go there and wait until the page has come to life."""
        self.page.goto(url)
        self.page.locator("[data-ready=true]").wait_for()
        return self.page


@pytest.fixture
def tab(browser: Browser) -> Iterator[Tab]:
    """A page of its own, without anybody's cookies."""
    context = browser.new_context(viewport={"width": 1200, "height": 720}, locale="en-GB", color_scheme="light")
    context.set_default_timeout(stacks.PATIENCE * 1000)
    made = Tab(context.new_page())
    made.page.on("console", made.note)
    made.page.on("pageerror", lambda error: made.complaints.append(f"exception: {error}"))
    yield made
    context.close()
