"""Everybody can use the page: axe finds nothing serious, the keyboard suffices, a phone is wide enough."""

import json

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import answered, ask, enter, with_fields, without_errors
from tests.support.node import CLIENT, installed
from tests.support.servers import Emulators, Gateways

SERIOUS = {"serious", "critical"}


def findings(page: Page) -> list[str]:
    """What axe calls serious or critical."""
    installed(CLIENT)
    page.evaluate((CLIENT / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("axe.run()")["violations"]
    return [f"{each['id']}: {json.dumps(each['nodes'][0]['target'])}" for each in found if each["impact"] in SERIOUS]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser: Browser, emulator: Emulators, gateway: Gateways, scheme: str) -> None:
    """On the empty page, while an answer comes, after it, and in each dialog."""
    served = gateway([emulator()])
    page = browser.new_page(color_scheme="dark" if scheme == "dark" else "light")
    with without_errors(page):
        with_fields(page, ignore_eos=True, max_tokens=200)
        enter(page, served, mode="reading")
        assert findings(page) == []
        ask(page, "Tell me about rivers.")
        expect(page.locator(".assistant .text")).not_to_be_empty()
        assert findings(page) == []
        page.get_by_role("button", name="Show all now").click()
        answered(page)
        assert findings(page) == []
        for opener in ("words/min", "Settings", "More about"):
            page.get_by_role("button", name=opener).click()
            assert findings(page) == [], opener
            page.keyboard.press("Escape")


def test_the_keyboard_suffices(page: Page, emulator: Emulators, gateway: Gateways) -> None:
    """/ goes to the message, Enter sends, Escape stops, Ctrl+Shift+O begins anew."""
    engine = emulator("--stall-after-tokens", "5", "--stall-s", "60")
    served = gateway([engine])
    enter(page, served)

    page.keyboard.press("/")
    page.keyboard.type("Tell me about rivers.")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("At length.")
    page.keyboard.press("Enter")
    expect(page.locator(".user .text")).to_have_text("Tell me about rivers.\nAt length.")
    expect(page.locator(".assistant .text")).not_to_be_empty()
    page.keyboard.press("Escape")
    expect(page.locator(".assistant .note")).to_have_text("stopped")

    page.keyboard.press("Control+Shift+O")
    expect(page.locator(".turn")).to_have_count(0)
    expect(page.get_by_label("Message", exact=True)).to_be_focused()


def test_screen_readers_hear_sentences(page: Page, emulator: Emulators, gateway: Gateways) -> None:
    """The polite region holds whole sentences and not the growing text."""
    served = gateway([emulator()])
    enter(page, served)
    page.evaluate(
        "window.heard = []; new MutationObserver(all => all.forEach(one => one.addedNodes.forEach(node => "
        "heard.push(node.textContent.trim())))).observe(document.querySelector('#heard'), { childList: true })"
    )

    ask(page, "Tell me about rivers.")
    answered(page)

    heard = page.evaluate("heard")
    assert heard
    assert all(each.rstrip("\"”'")[-1] in ".!?:;,—" or len(each) > 20 for each in heard[:-1])
    assert " ".join(heard).split() == page.locator(".assistant .text").inner_text().split()


def test_a_phone_is_wide_enough(browser: Browser, emulator: Emulators, gateway: Gateways) -> None:
    """Nothing sticks out at 360 pixels; the conversations are behind a button."""
    served = gateway([emulator()])
    page = browser.new_page(viewport={"width": 360, "height": 640}, has_touch=True)
    with without_errors(page):
        enter(page, served)
        ask(page, "Tell me about a riverwithaverylongnamethatdoesnotbreakbyitself" * 3)
        answered(page)

        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        page.get_by_role("button", name="Conversations").click()
        expect(page.get_by_role("button", name="New conversation")).to_be_visible()
        page.get_by_role("button", name="New conversation").click()
        expect(page.get_by_role("button", name="New conversation")).to_be_hidden()


def test_little_motion_means_sentences(browser: Browser, emulator: Emulators, gateway: Gateways) -> None:
    """Who asks the system for little motion gets sentence after sentence."""
    served = gateway([emulator()])
    page = browser.new_page(reduced_motion="reduce")
    with without_errors(page):
        with_fields(page, ignore_eos=True, max_tokens=60)
        enter(page, served, mode="reading", words=900)
        ask(page, "Tell me about rivers.")
        page.evaluate(
            "window.sizes = []; new MutationObserver(() => sizes.push("
            "document.querySelector('.assistant .text').textContent.length))"
            ".observe(document.querySelector('.assistant .text'), { childList: true, subtree: true })"
        )
        answered(page)

        text = page.locator(".assistant .text").inner_text()
        assert len(set(page.evaluate("sizes"))) <= text.count(".") + text.count("\n\n") + 3
