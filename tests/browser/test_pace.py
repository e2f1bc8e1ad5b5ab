"""The pace that a reader has set is kept, and a very long answer does not hold the page up."""

from playwright.sync_api import Page, expect

from gateway.core.pace import pace_from_spec
from gateway.core.units import in_characters
from tests.browser.conftest import answered, ask, enter, with_fields
from tests.support.servers import Emulators, Gateways

RATE = in_characters(pace_from_spec("reading")).rate
"""Characters a second."""

WATCH = """
window.shown = []
new MutationObserver(() => {
  const strip = [...document.querySelectorAll('.strip dl div')].map(each => each.textContent)
  const read = strip.find(each => each.startsWith('read'))
  if (read) shown.push([performance.now() / 1000, Number(read.slice(4))])
}).observe(document.querySelector('#log'), { childList: true, subtree: true })
"""

TASKS = """
window.long = []
new PerformanceObserver(list => long.push(...list.getEntries().map(each => each.duration)))
  .observe({ type: 'longtask', buffered: true })
"""


def test_the_pace_is_kept_over_a_minute(page: Page, emulator: Emulators, gateway: Gateways) -> None:
    """Within 5 % while the answer runs, though the engine is more than twice as fast; the QoE is full."""
    served = gateway([emulator(speed=0.012)])  # some 12 tokens a second
    with_fields(page, ignore_eos=True, max_tokens=900)
    enter(page, served, mode="reading")
    page.evaluate(WATCH)

    ask(page, "Tell me about rivers.")
    page.wait_for_function("() => shown.length && shown.at(-1)[0] - shown[0][0] > 63", timeout=90_000)
    shown: list[list[float]] = page.evaluate("shown")
    figures = page.locator(".strip dl").inner_text()
    page.get_by_role("button", name="Stop").click()

    (began, before), (ended, after) = next(each for each in shown if each[0] > shown[0][0] + 2), shown[-1]
    assert ended - began >= 60
    assert abs((after - before) / (ended - began) / RATE - 1) < 0.05
    assert float(figures.split("QoE")[1].split()[0]) > 0.98


def test_a_very_long_answer_does_not_hold_the_page_up(page: Page, emulator: Emulators, gateway: Gateways) -> None:
    """20,000 tokens as fast as they come. A frame that drew all of it again would take longer and longer.

    On a quiet machine no task is over 50 ms but the page's first; here the engine, the gateway and other tests take the
    cores away in between, so the sum is bounded, at a tenth of what the answer takes.
    """
    served = gateway([emulator("--max-model-len", "30000", speed=2)])
    with_fields(page, ignore_eos=True, max_tokens=20_000)
    enter(page, served)
    page.evaluate(TASKS)

    ask(page, "Write a long letter.")
    expect(page.locator(".assistant .text")).not_to_be_empty()
    expect(page.locator(".assistant[aria-busy]")).to_have_count(0, timeout=120_000)

    answered(page)
    long: list[float] = page.evaluate("long")
    assert len(page.locator(".assistant .text").inner_text()) > 60_000
    assert sum(long) < 2000, sorted(long)
