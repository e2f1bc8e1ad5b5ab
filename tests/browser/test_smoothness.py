"""What comes in bursts is shown evenly."""

from itertools import pairwise
from statistics import pstdev

from playwright.sync_api import Page

from tests.browser.conftest import ask, enter
from tests.support.programs import machine_is_quiet
from tests.support.servers import Emulators, Gateways

BURSTS = """
window.came = []
window.shown = []
const asked = window.fetch
window.fetch = (address, options) => {
  if (!String(address).includes('/chat/completions')) return asked(address, options)
  const encoder = new TextEncoder()
  const began = performance.now()
  let seed = 7
  const random = () => (seed = (seed * 48271) % 2147483647) / 2147483647
  const body = new ReadableStream({ start(stream) {
    const burst = (number) => {
      if (number > 100) return stream.close()
      for (let each = 0; each < 8; each += 1) came.push(performance.now())
      const choices = [{ delta: { content: 'eight ch' }, finish_reason: null }]
      stream.enqueue(encoder.encode(`data: ${JSON.stringify({ choices })}\\n\\n`))
      const due = began + (number + 1) * 250 + random() * 600 - 300
      setTimeout(burst, Math.max(0, due - performance.now()), number + 1)
    }
    burst(0)
  } })
  return Promise.resolve(new Response(body, { headers: { 'content-type': 'text/event-stream' } }))
}
"""

WATCH = """
new MutationObserver(() => {
  const length = document.querySelector('.assistant .text')?.textContent.length ?? 0
  while (shown.length < length) shown.push(performance.now())
}).observe(document.querySelector('#log'), { childList: true, subtree: true, characterData: true })
"""


def test_bursts_are_shown_evenly(page: Page, emulator: Emulators, gateway: Gateways) -> None:
    """Eight characters each quarter of a second, 300 ms early or late: their gaps, shown, spread a tenth at most.

    A fifth where other tests run and take frames away.

    Shown by the frame, of which there are some 60 a second; the first two seconds have no lead yet.
    """
    served = gateway([emulator()])
    page.add_init_script(BURSTS)
    enter(page, served, mode="reading")
    page.evaluate(WATCH)
    ask(page, "Tell me about rivers.")
    page.wait_for_function("() => shown.length > 360", timeout=60_000)

    came = spread(page.evaluate("came.slice(40, 360)"))
    shown: list[float] = page.evaluate("shown.slice(40, 360)")
    # Other tests take the cores away now and then: the calmest third of the answer tells what the pacer does.
    calmest = min(spread(shown[at : at + 107]) for at in (0, 107, 213))
    assert came > 50
    assert calmest <= came / (10 if machine_is_quiet() else 5), (calmest, came)


def spread(times: list[float]) -> float:
    """Standard deviation of the gaps, in milliseconds."""
    return pstdev(after - before for before, after in pairwise(times))
