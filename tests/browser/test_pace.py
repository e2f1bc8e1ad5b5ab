"""The pace that a reader has set is kept."""

import os
from typing import Final

from playwright.sync_api import Page

from gateway.core.pace import pace_from_spec
from gateway.core.units import in_characters
from tests.browser.conftest import ask, enter, with_fields
from tests.support.servers import Emulators, Gateways

RATE = in_characters(pace_from_spec("reading")).rate
"""Characters a second."""

SPAN_S: Final = float(os.environ.get("TEST_PACE_S", "20"))

WATCH = """
window.shown = []
new MutationObserver(() => {
  const strip = [...document.querySelectorAll('.strip dl div')].map(each => each.textContent)
  const read = strip.find(each => each.startsWith('read'))
  if (read) shown.push([performance.now() / 1000, Number(read.slice(4))])
}).observe(document.querySelector('#log'), { childList: true, subtree: true })
"""


def test_the_pace_is_kept(page: Page, emulator: Emulators, gateway: Gateways) -> None:
    """Within 5 % while the answer runs, though the engine is more than twice as fast; the QoE is full."""
    served = gateway([emulator(speed=0.012)])  # some 12 tokens a second
    with_fields(page, ignore_eos=True, max_tokens=900)
    enter(page, served, mode="reading")
    page.evaluate(WATCH)

    ask(page, "Tell me about rivers.")
    page.wait_for_function(
        "least => shown.length && shown.at(-1)[0] - shown[0][0] > least", arg=SPAN_S + 3, timeout=(SPAN_S + 30) * 1000
    )
    shown: list[list[float]] = page.evaluate("shown")
    figures = page.locator(".strip dl").inner_text()
    page.get_by_role("button", name="Stop").click()

    (began, before), (ended, after) = next(each for each in shown if each[0] > shown[0][0] + 2), shown[-1]
    assert ended - began >= SPAN_S
    assert abs((after - before) / (ended - began) / RATE - 1) < 0.05
    assert float(figures.split("QoE")[1].split()[0]) > 0.98
