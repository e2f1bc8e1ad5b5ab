"""The comparison in a browser; the burst itself is played, the demo's own is in tests/e2e/test_demo.py."""

import json
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.browser.conftest import without_errors
from tests.browser.test_access import findings
from tests.support.servers import Emulators, Gateways

PLAN = {
    "sides": ["compare-fcfs", "compare-fair_qoe"],
    "tenants": ["large", "small1"],
    "readers": [[0, 0.1], [0, 0.2], [0, 0.3], [1, 0.4], [1, 0.5]],
}


def side(readers: str, qoe: float, perfect: float, *waits: float) -> dict[str, Any]:
    tenants = [{"qoe": qoe, "wait_s": wait, "tokens": 9} for wait in waits]
    return {"readers": readers, "qoe": qoe, "perfect": perfect, "tenants": tenants}


FRAMES = [
    {"t": 5.0, "sides": [side("rrrww", 0.6, 0.4, 1.0, 4.0), side("rrsr.", 0.9, 0.8, 1.5, 0.5)]},
    {"t": 60.0, "sides": [side("pdddx", 0.69, 0.1, 9.0, 7.0), side("ppddp", 0.85, 0.37, 5.0, 0.9)]},
]


class Player:
    """Speaks `/admin/compare`: nothing before it was begun, the whole burst after."""

    def __init__(self, page: Page) -> None:
        self.begun = 0
        self.whole = True
        page.route("**/admin/compare", self._answer)

    def _answer(self, route: Route) -> None:
        if route.request.headers.get("authorization") != "Bearer the-admin-key":
            route.fulfill(status=401, json={"error": {"message": "Incorrect admin key provided."}})
        elif route.request.method == "POST":
            self.begun += 1
            route.fulfill(status=202)
        else:
            lines = [{"plan": PLAN}, *({"frame": frame} for frame in FRAMES[: 2 if self.whole else 1])]
            lines += [{"end": {"t": 60.0}}] if self.whole else []
            body = "".join(f"data: {json.dumps(line)}\n\n" for line in lines if self.begun)
            route.fulfill(content_type="text/event-stream", body=body)


def opened(page: Page, url: str) -> Player:
    player = Player(page)
    page.goto(f"{url}/compare#admin=the-admin-key")
    return player


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_burst_is_begun_seen_and_told(browser: Browser, emulator: Emulators, gateway: Gateways, scheme: str) -> None:
    """Each reader by its sign, the figures of both sides, the outcome in a sentence; axe finds nothing serious."""
    served = gateway([emulator()])
    page = browser.new_page(color_scheme="dark" if scheme == "dark" else "light")
    with without_errors(page):
        player = opened(page, served.url)
        assert page.evaluate("location.hash") == ""
        assert findings(page) == []
        player.whole = False
        page.get_by_role("button", name="Send the crowd").click()

        first = page.locator(".side").first
        expect(first.locator(".reader.w")).to_have_count(2)
        expect(first).to_contain_text("60 %")
        expect(page.locator(".side").last.locator(".reader.absent")).to_have_count(1)
        expect(page.get_by_role("button", name="Send the crowd")).to_be_disabled()
        assert findings(page) == []
        player.whole = True
        expect(page.locator("#verdict")).to_contain_text("85 % instead of 69 %")
        expect(page.locator("#verdict")).to_contain_text("after 0.9 s instead of 7.0 s")
        expect(first.locator(".reader.x")).to_have_count(1)
        expect(page.get_by_role("button", name="Send the crowd again")).to_be_enabled()
        assert findings(page) == []
        assert player.begun == 1


def test_a_phone_is_wide_enough(browser: Browser, emulator: Emulators, gateway: Gateways) -> None:
    """Nothing sticks out at 360 pixels."""
    served = gateway([emulator()])
    page = browser.new_page(viewport={"width": 360, "height": 640}, reduced_motion="reduce")
    with without_errors(page):
        opened(page, served.url).begun = 1
        expect(page.locator("#verdict")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert page.evaluate("document.getAnimations().length") == 0


def test_without_a_key_it_is_asked_for(page: Page, emulator: Emulators, gateway: Gateways) -> None:
    """And with one it goes on."""
    served = gateway([emulator()])
    Player(page)
    page.goto(f"{served.url}/compare")

    expect(page.get_by_role("status").first).to_contain_text("needs the admin key")
    page.get_by_label("Admin key").fill("the-admin-key")
    page.get_by_role("button", name="Use it").click()
    expect(page.get_by_role("button", name="Send the crowd")).to_be_enabled()


def test_a_gateway_that_is_no_demo_says_so(page: Page, emulator: Emulators, gateway: Gateways) -> None:
    """The page is there, the burst is not, and the chat does not lead to it."""
    served = gateway([emulator()])
    page.goto(f"{served.url}/")
    expect(page.get_by_label("Model")).to_be_visible()
    expect(page.get_by_role("link", name="Compare")).to_be_hidden()
    page.goto(f"{served.url}/compare")
    expect(page.get_by_role("status").first).to_contain_text("scripts/demo")


def test_chat_and_comparison_lead_to_each_other(page: Page, emulator: Emulators, gateway: Gateways) -> None:
    """In the tab that has the demo's link."""
    served = gateway([emulator()])
    Player(page)
    page.goto(f"{served.url}/#key={served.key}&admin=the-admin-key")
    page.get_by_role("link", name="Compare two policies").click()
    expect(page.get_by_role("button", name="Send the crowd")).to_be_enabled()
    page.get_by_role("link", name="Chat").click()
    expect(page.get_by_label("Model")).to_have_value("andante-emulated")
