"""A reader who does not look gives way first, on the real gateway, and goes on where it was."""

from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import answered, ask, enter, with_fields
from tests.browser.test_coming_back import turn
from tests.browser.test_resumable import QUESTION, SAME, TURNS, expected
from tests.support.servers import Emulators, Gateways

LONG = {**SAME, "max_tokens": 400}


def test_a_hidden_tab_gives_way_first_and_goes_on_when_it_is_back(
    browser: Browser, page: Page, emulator: Emulators, gateway: Gateways
) -> None:
    """Two places, three readers: the hidden one loses its place and no other does; back, it is read to its end."""
    engine = emulator("--max-num-seqs", "2", speed=0.03)  # some 30 tokens a second for each
    served = gateway([engine], engine={"max_running": 2})
    other, third = browser.new_page(), browser.new_page()
    for tab in (page, other):
        with_fields(tab, **LONG)
        enter(tab, served, mode="reading")
        ask(tab, QUESTION)
        expect(tab.locator(".assistant .text")).not_to_be_empty()
    with page.expect_response("**/reader") as told:
        turn(page, "hidden")
    assert told.value.status == 204
    page.evaluate("window.away = performance.now()")
    page.wait_for_function("() => performance.now() - window.away > 1500")
    before = page.locator(".assistant .text").text_content()

    with_fields(third, **SAME)
    enter(third, served, mode="reading")
    ask(third, QUESTION)
    expect(third.locator(".assistant .text")).not_to_be_empty()
    expect(page.locator(".assistant .note")).to_contain_text("Nobody was looking")
    metrics = served.metrics()
    assert metrics.value("andante_legs_paused_total") == metrics.value("andante_legs_paused_total", reason="away") == 1
    assert page.locator(".assistant .text").text_content() == before

    turn(page, "visible")
    page.wait_for_function(f"() => document.querySelector('.assistant .text').textContent.length > {len(before or '')}")
    page.get_by_role("button", name="Show all now").click()
    answered(page)
    text = page.evaluate(TURNS)[1]["text"]
    assert text.startswith(expected(page, served, engine.model))
