"""The page at `/` in a real Chromium: a key from the link, an answer that streams, a stop that stops."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tests.support.programs import require
from tests.support.servers import Emulators, Gateways

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-sync"]


@pytest.fixture
def page() -> Iterator[Page]:
    """A tab of the system's Chromium that fails the test on any error of the page."""
    path = require("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        tab = browser.new_page()
        errors: list[str] = []
        tab.on("pageerror", lambda error: errors.append(str(error)))
        yield tab
        browser.close()
        assert errors == []


def test_a_newcomer_chats(page: Page, emulator: Emulators, gateway: Gateways) -> None:
    """The key comes with the link and leaves the address bar; an answer appears, then its time."""
    served = gateway([emulator()])

    page.goto(f"{served.url}/#key={served.key}")
    expect(page.get_by_label("Model")).to_have_value("andante-emulated")
    page.get_by_label("Message").fill("Tell me about rivers.")
    page.get_by_role("button", name="Send").click()

    expect(page.locator(".note")).to_contain_text(" s", timeout=30_000)
    assert served.key not in page.url
    assert len(page.locator(".assistant").inner_text()) > 20
    expect(page.get_by_role("button", name="Send")).to_be_enabled()


def test_stop_ends_the_generation(page: Page, emulator: Emulators, gateway: Gateways) -> None:
    """Stop is seen on the page and at the engine."""
    engine = emulator("--stall-after-tokens", "5", "--stall-s", "60")
    served = gateway([engine])
    page.goto(f"{served.url}/#key={served.key}")
    expect(page.get_by_label("Model")).to_have_value("andante-emulated")

    page.get_by_label("Message").fill("Go on for ever.")
    page.get_by_label("Message").press("Enter")
    expect(page.locator(".assistant")).not_to_be_empty()
    page.get_by_role("button", name="Stop").click()

    expect(page.locator(".note")).to_have_text("stopped")
    cancelled = "async () => (await (await fetch('/metrics')).text()).includes('cancelled')"
    page.wait_for_function(cancelled)
    assert engine.metrics().value("emulator:aborted_requests_total") == 1


def test_a_wrong_key_is_explained(page: Page, emulator: Emulators, gateway: Gateways) -> None:
    """The gateway's own words reach the reader."""
    served = gateway([emulator()])

    page.goto(f"{served.url}/#key=sk-wrong")

    expect(page.locator(".note")).to_contain_text("Incorrect API key")
