"""Leaving and coming back on the real gateway: what is lost is the connection, never the text."""

import json
from dataclasses import replace
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import answered, ask, enter, with_fields
from tests.support.relay import relayed
from tests.support.servers import Emulators, Engine, Gateway, Gateways

QUESTION = "Tell me about rivers."
SAME = {"temperature": 0, "ignore_eos": True, "max_tokens": 250}
TURNS = "() => JSON.parse(localStorage[Object.keys(localStorage).find(key => key.includes('conversation'))]).turns"


def slow(emulator: Emulators) -> Engine:
    """Some 60 tokens a second: four seconds for the answer."""
    return emulator(speed=0.06)


def expected(page: Page, served: Gateway, model: str) -> str:
    """The same answer in one piece."""
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": QUESTION}], **SAME})
    answer = page.request.post(
        f"{served.url}/v1/chat/completions", data=body, headers={**served.headers, "content-type": "application/json"}
    )
    text: str = answer.json()["choices"][0]["message"]["content"]
    return text


def begin(page: Page, served: Gateway) -> None:
    """An answer is half there."""
    with_fields(page, **SAME)
    enter(page, served)
    ask(page, QUESTION)
    page.wait_for_function("() => document.querySelector('.assistant .text')?.textContent.length > 150")


def test_a_reload_in_the_middle_continues_the_answer(page: Page, emulator: Emulators, gateway: Gateways) -> None:
    """To the letter, though the engine was released in between."""
    engine = slow(emulator)
    served = gateway([engine])
    begin(page, served)

    page.reload()
    expect(page.get_by_role("button", name="Stop")).to_be_visible()

    answered(page)
    assert page.evaluate(TURNS)[1]["text"] == expected(page, served, engine.model)


def test_a_lost_network_continues_the_answer(page: Page, emulator: Emulators, gateway: Gateways) -> None:
    """The page says what is wrong while it lasts."""
    engine = slow(emulator)
    served = gateway([engine])
    address = urlsplit(served.url)
    with relayed(address.hostname or "", address.port or 0) as network:
        begin(page, replace(served, url=f"http://127.0.0.1:{network.port}"))

        network.cut()
        expect(page.locator(".assistant .note")).to_contain_text("The connection is lost.")
        network.mend()

        answered(page)
    assert page.evaluate(TURNS)[1]["text"] == expected(page, served, engine.model)


def test_stop_stops_the_engine_and_nothing_is_left_to_come_back_to(
    page: Page, emulator: Emulators, gateway: Gateways
) -> None:
    """Leaving would only have paused it."""
    engine = slow(emulator)
    served = gateway([engine])
    begin(page, served)

    page.get_by_role("button", name="Stop").click()
    expect(page.locator(".assistant .note")).to_have_text("stopped")
    page.wait_for_function("async () => (await (await fetch('/metrics')).text()).includes('stopped')")
    page.reload()

    assert engine.running() == 0
    assert page.evaluate(TURNS)[1]["status"] == "stopped"
    expect(page.get_by_role("button", name="Stop")).to_be_hidden()


def test_the_queue_is_told_in_plain_words(browser: Browser, page: Page, emulator: Emulators, gateway: Gateways) -> None:
    """With the place; it goes away when the answer begins."""
    served = gateway([slow(emulator)], pool={"policy": "fcfs"}, engine={"max_running": 1})
    before = browser.new_page()
    begin(before, served)

    with_fields(page, max_tokens=20)
    enter(page, served)
    ask(page, "And me?")

    expect(page.locator(".assistant .note")).to_have_text(
        "Waiting: yours is the next answer to start. All engines are busy."
    )
    before.get_by_role("button", name="Stop").click()
    answered(page)
    expect(page.locator(".assistant .text")).not_to_be_empty()
