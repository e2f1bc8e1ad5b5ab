"""A tab of the system's Chromium, and what a person does on the chat page."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Request, Route, expect, sync_playwright

from tests.support.programs import require
from tests.support.servers import Gateway

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-sync"]
CHAT = "**/v1/chat/completions"


@pytest.fixture
def browser() -> Iterator[Browser]:
    """The system's Chromium."""
    path = require("chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A tab that fails the test on any error of the page, what its policy of content refuses included."""
    tab = browser.new_page()
    with without_errors(tab):
        yield tab


class without_errors:  # noqa: N801 - it reads as a clause of `with`
    """At the end of the block the tab has seen no error."""

    def __init__(self, tab: Page) -> None:
        self._errors: list[str] = []
        tab.on("pageerror", lambda error: self._errors.append(str(error)))
        tab.on("console", lambda message: self._note(message.type, message.text))

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, *rest: object) -> None:
        if kind is None:
            assert self._errors == []

    def _note(self, kind: str, text: str) -> None:
        # Chromium logs each refused request as an error; a refusal is what some tests want.
        if kind == "error" and not text.startswith("Failed to load resource"):
            self._errors.append(text)


def enter(tab: Page, served: Gateway, **settings: object) -> None:
    """Open the page with its key; `settings` are what the reader has set before."""
    kept = json.dumps({"language": "en", "mode": "off", **settings})
    tab.add_init_script(
        f"localStorage.getItem('andante.settings') ?? localStorage.setItem('andante.settings', {kept!r})"
    )
    tab.goto(f"{served.url}/#key={served.key}")
    expect(tab.get_by_label("Model")).to_have_value("andante-emulated")


def ask(tab: Page, text: str) -> None:
    """Write a message and send it."""
    tab.get_by_label("Message", exact=True).fill(text)
    tab.get_by_role("button", name="Send", exact=True).click()


def answered(tab: Page, count: int = 1) -> None:
    """So many answers are complete."""
    expect(tab.locator(".assistant[aria-busy]")).to_have_count(0, timeout=30_000)
    expect(tab.locator(".assistant")).to_have_count(count)
    expect(tab.get_by_role("button", name="Send", exact=True)).to_be_enabled()


def with_fields(tab: Page, **fields: object) -> None:
    """Add fields to every chat request of the tab, such as how long the emulated engine speaks."""

    def send(route: Route) -> None:
        body: dict[str, Any] = json.loads(route.request.post_data or "{}")
        route.continue_(post_data=json.dumps({**body, **fields}))

    tab.route(CHAT, send)


def sent(request: Request) -> dict[str, Any]:
    """The body of a request."""
    body: dict[str, Any] = json.loads(request.post_data or "")
    return body


def events(*texts: str, first_id: int | None = None, done: bool = True) -> str:
    """The body of a stream that says these texts; `first_id` numbers its events."""
    data = [json.dumps({"choices": [{"delta": {"content": text}, "finish_reason": None}]}) for text in texts]
    lines = [*data, "[DONE]"] if done else data
    ids = ["" if first_id is None else f"id: {first_id + index}\n" for index in range(len(lines))]
    return "".join(f"{number}data: {line}\n\n" for number, line in zip(ids, lines, strict=True))
