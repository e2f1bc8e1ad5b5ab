"""The chat at `/` in a real Chromium, before the real gateway and emulated engines."""

import json
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browser.conftest import answered, ask, enter, sent, with_fields
from tests.support.servers import Emulators, Gateways


def test_a_newcomer_chats(page: Page, emulator: Emulators, gateway: Gateways) -> None:
    """The key comes with the link and leaves the address bar; an answer appears at reading speed, and its strip."""
    served = gateway([emulator()])

    with_fields(page, ignore_eos=True, max_tokens=200)
    enter(page, served, mode="reading")
    page.get_by_role("button", name="Tell me about rivers.").click()
    expect(page.locator(".strip")).to_contain_text("lead")
    page.get_by_role("button", name="Show all now").click()

    answered(page)
    assert served.key not in page.url
    assert len(page.locator(".assistant .text").inner_text()) > 20
    expect(page.locator(".strip")).to_contain_text("QoE")


def test_stop_ends_the_generation(page: Page, emulator: Emulators, gateway: Gateways) -> None:
    """Stop is seen on the page and at the engine."""
    engine = emulator("--stall-after-tokens", "5", "--stall-s", "60")
    served = gateway([engine])
    enter(page, served)

    ask(page, "Go on for ever.")
    expect(page.locator(".assistant .text")).not_to_be_empty()
    page.get_by_role("button", name="Stop").click()

    expect(page.locator(".assistant .note")).to_have_text("stopped")
    page.wait_for_function("async () => (await (await fetch('/metrics')).text()).includes('cancelled')")
    assert engine.metrics().value("emulator:aborted_requests_total") == 1


def test_a_wrong_key_is_explained(page: Page, emulator: Emulators, gateway: Gateways) -> None:
    """The gateway's own words reach the reader."""
    served = gateway([emulator()])

    page.goto(f"{served.url}/#key=sk-wrong")

    expect(page.get_by_role("status")).to_contain_text("Incorrect API key")


def test_a_key_can_be_entered(page: Page, emulator: Emulators, gateway: Gateways) -> None:
    """Without a link; the models come, and the tab remembers the key."""
    served = gateway([emulator()])
    page.goto(served.url)

    page.get_by_role("button", name="Settings").click()
    page.get_by_label("API key").fill(served.key)
    page.get_by_role("button", name="Done").click()
    expect(page.get_by_label("Model")).to_have_value("andante-emulated")
    page.reload()

    expect(page.get_by_label("Model")).to_have_value("andante-emulated")


def test_a_conversation_is_kept_and_can_be_renamed_exported_deleted(
    page: Page, emulator: Emulators, gateway: Gateways, tmp_path: Path
) -> None:
    """It is there after a reload, under its name, and gone when it is deleted."""
    served = gateway([emulator()])
    enter(page, served)
    ask(page, "Tell me about <b>rivers</b>.")
    answered(page)
    text = page.locator(".assistant .text").inner_text()

    page.reload()
    expect(page.locator(".assistant")).to_have_count(0)
    page.get_by_role("button", name="Tell me about <b>rivers</b>.", exact=True).click()
    assert page.locator(".assistant .text").inner_text() == text
    expect(page.locator(".user .text")).to_have_text("Tell me about <b>rivers</b>.")

    page.get_by_role("button", name="More about").click()
    page.get_by_label("Name").fill("Water")
    page.get_by_role("button", name="Rename").click()
    expect(page.get_by_role("button", name="Water", exact=True)).to_be_visible()

    page.get_by_role("button", name="More about Water").click()
    with page.expect_download() as started:
        page.get_by_role("button", name="Export JSON").click()
    started.value.save_as(tmp_path / "water.json")
    assert [turn["role"] for turn in json.loads((tmp_path / "water.json").read_text())["turns"]] == [
        "user",
        "assistant",
    ]

    page.get_by_role("button", name="More about Water").click()
    page.get_by_role("button", name="Delete").click()
    expect(page.locator(".turn")).to_have_count(0)
    page.reload()
    expect(page.locator("#conversations li")).to_have_count(0)


def test_regenerate_edit_and_system_prompt(page: Page, emulator: Emulators, gateway: Gateways) -> None:
    """What is sent is the conversation up to the turn, with the system prompt before it."""
    served = gateway([emulator()])
    enter(page, served, system="Be brief.")
    ask(page, "First question.")
    answered(page)
    ask(page, "Second question.")
    answered(page, 2)

    with page.expect_request("**/v1/chat/completions") as again:
        page.get_by_role("button", name="Regenerate").last.click()
    answered(page, 2)
    messages = sent(again.value)["messages"]
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user"]
    assert messages[0]["content"] == "Be brief."

    page.get_by_label("Message", exact=True).press("ArrowUp")
    expect(page.get_by_label("Edit message")).to_have_value("Second question.")
    page.get_by_label("Edit message").press("Escape")
    page.get_by_role("button", name="Edit").first.click()
    page.get_by_label("Edit message").fill("Another question.")
    with page.expect_request("**/v1/chat/completions") as edited:
        page.get_by_role("button", name="Send again").click()
    answered(page)
    assert [message["content"] for message in sent(edited.value)["messages"]] == [
        "Be brief.",
        "Another question.",
    ]


def test_the_reading_speed_is_chosen_seen_and_remembered(page: Page, emulator: Emulators, gateway: Gateways) -> None:
    """In words a minute with a preview that moves; the request carries it."""
    served = gateway([emulator()])
    with_fields(page, ignore_eos=True, max_tokens=200)
    enter(page, served, mode="reading")

    page.get_by_role("button", name="words/min").click()
    expect(page.locator("#preview p")).not_to_be_empty()
    page.get_by_label("Language").select_option("de")
    page.get_by_label("Speed:").fill("300")
    page.get_by_role("button", name="Done").click()
    page.reload()
    expect(page.get_by_role("button", name="300 words/min")).to_be_visible()
    expect(page.get_by_label("Model")).to_have_value("andante-emulated")
    with page.expect_request("**/v1/chat/completions") as asked:
        ask(page, "Hallo.")

    assert sent(asked.value)["pace"] == {"kind": "reading", "language": "de", "words_per_minute": 300}
    page.get_by_role("button", name="Show all now").click()
    answered(page)


def test_a_refusal_is_explained_and_can_be_tried_again(page: Page, emulator: Emulators, gateway: Gateways) -> None:
    """The gateway's message stands where the answer would; Try again asks once more."""
    engine = emulator("--status", "400", "--count", "1")
    served = gateway([engine])
    enter(page, served)

    ask(page, "Tell me about rivers.")
    expect(page.locator(".assistant .note.error")).not_to_be_empty()
    page.get_by_role("button", name="Try again").click()

    answered(page)
    expect(page.locator(".assistant .text")).not_to_be_empty()


def test_an_answer_runs_on_while_another_conversation_is_open(
    page: Page, emulator: Emulators, gateway: Gateways
) -> None:
    """The reader looks elsewhere and comes back: it is the same answer, and the other conversation has none of it."""
    served = gateway([emulator()])
    with_fields(page, ignore_eos=True, max_tokens=200)
    enter(page, served, mode="reading")
    ask(page, "The first.")
    expect(page.locator(".assistant .text")).not_to_be_empty()

    page.get_by_role("button", name="New conversation").click()
    expect(page.locator(".turn")).to_have_count(0)
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    page.get_by_role("button", name="The first.", exact=True).click()
    page.get_by_role("button", name="Show all now").click()

    answered(page)
    assert len(page.locator(".assistant .text").inner_text()) > 500


def test_a_conversation_that_is_deleted_while_it_is_answered_stays_away(
    page: Page, emulator: Emulators, gateway: Gateways
) -> None:
    """The generation ends, and what still came of it brings nothing back."""
    served = gateway([emulator("--stall-after-tokens", "5", "--stall-s", "60")])
    enter(page, served)
    ask(page, "Go on for ever.")
    expect(page.locator(".assistant .text")).not_to_be_empty()

    page.get_by_role("button", name="More about").click()
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("button", name="Send", exact=True)).to_be_enabled()

    expect(page.locator("#conversations li")).to_have_count(0)
    page.reload()
    expect(page.locator("#conversations li")).to_have_count(0)


def test_a_new_link_in_the_same_tab_brings_its_key(page: Page, emulator: Emulators, gateway: Gateways) -> None:
    """The demo was started again, and its link is opened where the page is: the browser loads nothing."""
    served = gateway([emulator()])
    page.goto(f"{served.url}/#key=sk-old")
    expect(page.get_by_role("status")).to_contain_text("Incorrect API key")

    page.goto(f"{served.url}/#key={served.key}")

    expect(page.get_by_label("Model")).to_have_value("andante-emulated")
    expect(page.locator("#notice")).to_be_empty()
    assert served.key not in page.url


def test_conversations_are_there_before_the_gateway_answers(page: Page, emulator: Emulators, gateway: Gateways) -> None:
    """A network that hangs keeps nobody from what is in the browser."""
    served = gateway([emulator()])
    enter(page, served)
    ask(page, "Tell me.")
    answered(page)
    page.route("**/v1/models", lambda _: None)

    page.reload()

    expect(page.get_by_role("button", name="Tell me.", exact=True)).to_be_visible()
