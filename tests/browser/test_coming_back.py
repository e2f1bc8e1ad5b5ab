"""An answer goes on after a lost network, a reload and a hidden tab. The stream's protocol is played to a real page."""

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import CHAT, answered, ask, enter, events
from tests.support.servers import Emulators, Gateway, Gateways

WORDS = [f"word{number} " for number in range(40)]
TEXT = "".join(WORDS).strip()
STREAM = {"x-stream-id": "s-1", "x-stream-resume": "token"}


@dataclass
class Player:
    """Speaks `/v1/streams` to a page: the first connection breaks after `cut` words; `lost` keeps the network away."""

    page: Page
    cut: int = 10
    lost: bool = False
    asked: list[str | None] = field(default_factory=list)
    reports: list[dict[str, Any]] = field(default_factory=list)
    deleted: int = 0

    def play(self) -> None:
        self.page.route(CHAT, self._begin)
        self.page.route("**/v1/streams/s-1", self._again)
        self.page.route("**/v1/streams/s-1/reader", self._report)

    def _begin(self, route: Route) -> None:
        assert route.request.headers["x-stream-resumable"] == "1"
        self._stream(route, events(*WORDS[: self.cut], first_id=1, done=False))

    def _again(self, route: Route) -> None:
        if route.request.method == "DELETE":
            self.deleted += 1
            route.fulfill(status=204)
        elif self.lost:
            route.abort("internetdisconnected")
        else:
            last = route.request.headers.get("last-event-id")
            self.asked.append(last)
            self._stream(route, events(*WORDS[int(last or 0) :], first_id=int(last or 0) + 1))

    def _report(self, route: Route) -> None:
        self.reports.append(json.loads(route.request.post_data or "{}"))
        route.fulfill(status=204)

    def _stream(self, route: Route, body: str) -> None:
        route.fulfill(headers={**STREAM, "content-type": "text/event-stream"}, body=body)


@pytest.fixture
def served(emulator: Emulators, gateway: Gateways) -> Gateway:
    """The gateway that serves the page."""
    return gateway([emulator()])


@pytest.fixture
def player(page: Page) -> Player:
    """Plays the streams of the tab."""
    playing = Player(page)
    playing.play()
    return playing


def test_a_lost_network_is_explained_and_the_answer_goes_on(page: Page, served: Gateway, player: Player) -> None:
    """Behind the last event that came whole, so that no word is missing and none comes twice."""
    player.lost = True
    enter(page, served)

    ask(page, "Count.")
    expect(page.locator(".assistant .note")).to_contain_text("The connection is lost. Trying again in")
    player.lost = False
    page.evaluate("dispatchEvent(new Event('online'))")

    answered(page)
    assert page.locator(".assistant .text").inner_text() == TEXT
    assert player.asked == ["10"]


@pytest.mark.parametrize("pace", [{"mode": "off"}, {"mode": "reading", "words": 300}], ids=["at once", "paced"])
def test_a_reload_continues_the_answer(page: Page, served: Gateway, player: Player, pace: dict[str, Any]) -> None:
    """What was shown is there at once; the rest follows."""
    player.lost = True
    enter(page, served, **pace)
    ask(page, "Count.")
    expect(page.locator(".assistant .note")).to_contain_text("The connection is lost")
    expect(page.locator(".assistant .text")).to_contain_text("word1 ")

    page.reload()
    expect(page.locator(".assistant .text")).to_contain_text("word1 ")
    player.lost = False
    page.evaluate("dispatchEvent(new Event('online'))")
    if pace["mode"] == "reading":
        page.get_by_role("button", name="Show all now").click()

    answered(page)
    assert page.locator(".assistant .text").inner_text() == TEXT
    assert player.asked == ["10"]
    page.reload()
    page.get_by_role("button", name="Count.", exact=True).click()
    assert page.locator(".assistant .text").inner_text() == TEXT


def test_stop_after_a_reload_ends_the_stream(page: Page, served: Gateway, player: Player) -> None:
    """The page that came back can still tell the gateway to stop, and keeps what it has."""
    player.lost = True
    enter(page, served)
    ask(page, "Count.")
    expect(page.locator(".assistant .text")).to_contain_text("word9")
    page.reload()
    expect(page.locator(".assistant .text")).to_contain_text("word9")

    page.get_by_role("button", name="Stop").click()

    expect(page.locator(".assistant .note")).to_have_text("stopped")
    assert page.locator(".assistant .text").inner_text() == " ".join(TEXT.split()[:10])
    assert player.deleted == 1


def test_a_hidden_tab_is_a_reader_who_is_away(page: Page, served: Gateway, player: Player) -> None:
    """The text stands still, the gateway is told; it goes on where it was."""
    player.lost = True
    enter(page, served, mode="reading")
    ask(page, "Count.")
    expect(page.locator(".assistant .text")).to_contain_text("word0 ")

    with page.expect_request("**/reader"):
        turn(page, "hidden")
    page.evaluate("window.away = performance.now()")
    before = page.locator(".assistant .text").text_content()
    page.wait_for_function("() => performance.now() - window.away > 1500")
    assert page.locator(".assistant .text").text_content() == before
    assert not player.reports[-1]["visible"]
    assert player.reports[-1]["shown"] == len((before or "").rstrip("\n"))  # Markdown ends its paragraph with one

    turn(page, "visible")
    expect(page.locator(".assistant .text")).to_contain_text("word2 ")
    page.wait_for_function("() => performance.now() - window.away > 4000")
    assert player.reports[-1]["visible"]
    assert [each["shown"] for each in player.reports] == sorted(each["shown"] for each in player.reports)


def turn(page: Page, state: str) -> None:
    """The tab is hidden, or seen again. A headless browser hides no tabs, so the page is told that it did."""
    page.evaluate(
        f"Object.defineProperty(document, 'visibilityState', {{ value: '{state}', configurable: true }});"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )


def test_a_plain_stream_that_a_reload_cuts_says_so(page: Page, emulator: Emulators, gateway: Gateways) -> None:
    """Where nothing can be continued, what came is kept, and the reader can ask again."""
    served = gateway([emulator("--stall-after-tokens", "5", "--stall-s", "60")])
    page.route(CHAT, lambda route: route.fulfill(content_type="text/event-stream", body=events(*WORDS[:5], done=False)))
    enter(page, served)
    ask(page, "Count.")

    expect(page.locator(".assistant .note.error")).to_contain_text("The stream ended before the answer did")
    expect(page.locator(".assistant .text")).to_have_text("word0 word1 word2 word3 word4")
    expect(page.get_by_role("button", name="Try again")).to_be_visible()


def test_a_reload_of_an_answer_that_came_whole_goes_on_where_the_reader_was(page: Page, served: Gateway) -> None:
    """The engine was done long before the reader: neither is the answer gone, nor is all of it there at once."""
    page.route(CHAT, lambda route: route.fulfill(content_type="text/event-stream", body=events(*WORDS)))
    enter(page, served, mode="reading", words=120)
    ask(page, "Count.")
    expect(page.locator(".assistant .text")).to_contain_text("word1 ")

    page.reload()

    expect(page.locator(".assistant .text")).to_contain_text("word1 ")
    expect(page.locator(".assistant .text")).not_to_contain_text("word30")
    page.get_by_role("button", name="Show all now").click()
    answered(page)
    assert page.locator(".assistant .text").inner_text() == TEXT


def test_an_answer_that_another_tab_has_begun_is_seen(page: Page, served: Gateway, player: Player) -> None:
    """While an answer runs here, the other's text so far; later it goes on here too."""
    player.lost = True
    enter(page, served)
    other = {"id": "b", "title": "The other", "changed": 1, "model": "m"}
    turns = [
        {"role": "user", "text": "Other?"},
        {"role": "assistant", "text": "So far", "status": "running", "stream": {"id": "s-2", "last": "2"}},
    ]
    page.route(
        "**/v1/streams/s-2",
        lambda route: route.fulfill(content_type="text/event-stream", body=events(" and on.", first_id=3)),
    )
    page.evaluate("text => localStorage.setItem('andante.conversation.b', text)", json.dumps({**other, "turns": turns}))
    ask(page, "Count.")
    expect(page.locator(".assistant .text")).to_contain_text("word9")

    page.get_by_role("button", name="The other", exact=True).click()
    expect(page.locator(".assistant .text")).to_have_text("So far")
    expect(page.locator(".assistant .note")).to_have_text("Not complete yet.")
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("button", name="Send", exact=True)).to_be_enabled()
    page.get_by_role("button", name="The other", exact=True).click()

    expect(page.locator(".assistant .text")).to_have_text("So far and on.")


def test_a_page_that_opens_behind_does_not_read(page: Page, served: Gateway, player: Player) -> None:
    """In a tab that nobody has looked at, the text stands still from the start."""
    player.lost = True
    enter(page, served, mode="reading", words=600)
    ask(page, "Count.")
    expect(page.locator(".assistant .text")).to_contain_text("word0 ")
    page.add_init_script("Object.defineProperty(document, 'visibilityState', { value: 'hidden', configurable: true })")

    page.reload()
    before = page.locator(".assistant .text").text_content()
    page.wait_for_function("() => performance.now() > 2500")

    assert page.locator(".assistant .text").text_content() == before
    turn(page, "visible")
    expect(page.locator(".assistant .text")).to_contain_text("word9")
