"""Chunks that are made anew, event by event."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.engines.recording import MAX_HELD, RecordingRelay
from gateway.engines.relay import ChunkRelay, Relay
from gateway.engines.rewriting import RewritingRelay
from gateway.engines.stops import StopMatcher
from gateway.engines.transcript import Transcript

Json = dict[str, Any]
DONE = b"data: [DONE]\n\n"


def event(choice: Json, **fields: Any) -> bytes:
    chunk = {"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": [{"index": 0, **choice}], **fields}
    return b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n"


def text(value: str, ids: list[int] | None = None, finish: str | None = None) -> bytes:
    return event({"text": value, "token_ids": ids, "finish_reason": finish})


def chat(ids: list[int], finish: str | None = None, **delta: str) -> bytes:
    return event({"delta": delta, "token_ids": ids, "finish_reason": finish})


def choices(data: bytes) -> list[Json]:
    return [choice for line in data.split(b"\n\n") if line for choice in json.loads(line[6:])["choices"]]


def test_a_token_without_text_waits() -> None:
    """What ends inside a character is neither sent nor kept before its text is there."""
    transcript = Transcript()
    relay = RecordingRelay(transcript)
    assert relay.feed(chat([1], content="a"))
    assert relay.feed(chat([2], content="")) == relay.feed(chat([3], content="")) == b""
    assert (relay.tokens, list(transcript.token_ids)) == (1, [1])
    assert len(choices(relay.feed(chat([4], content="川")))) == 3
    assert (relay.tokens, list(transcript.token_ids), transcript.tokens) == (4, [1, 2, 3, 4], 4)


def test_tokens_that_never_get_a_text_are_not_held_for_ever() -> None:
    """They go out, and the stream cannot be cut any more."""
    transcript = Transcript()
    relay = RecordingRelay(transcript)
    out = b"".join(relay.feed(chat([number], content="")) for number in range(MAX_HELD))

    assert (len(choices(out)), relay.tokens) == (MAX_HELD, MAX_HELD)
    assert transcript.broken


@pytest.mark.parametrize("said", ["", "x"])
def test_held_tokens_leave_before_a_chunk_without_ids(said: str) -> None:
    """Some engines tell none with the finish reason: what waited is not lost, and keeps its place."""
    transcript = Transcript()
    relay = RecordingRelay(transcript)
    relay.feed(event({"delta": {"content": "a"}, "token_ids": [1], "finish_reason": None}, prompt_token_ids=[9]))
    assert relay.feed(chat([2], content="")) == b""
    out = relay.feed(event({"delta": {"content": said}, "finish_reason": "length"}))
    assert [choice.get("token_ids") for choice in choices(out)] == [[2], None]
    assert list(transcript.token_ids) == [1, 2]
    assert relay.tokens == 2 + bool(said)


def test_what_is_not_text_cannot_be_cut() -> None:
    """A tool call that the request did not announce."""
    transcript = Transcript()
    RecordingRelay(transcript).feed(event({"delta": {"tool_calls": [{"index": 0}]}, "token_ids": [1]}))
    assert transcript.broken


@pytest.mark.parametrize("kind", ["plain", "recording", "rewriting"])
def test_an_answer_that_the_engine_gave_up_is_a_failure(kind: str) -> None:
    """vLLM's finish reason "abort", which some ways to die produce: nothing of that event counts."""
    relays: dict[str, Relay] = {
        "plain": ChunkRelay(),
        "recording": RecordingRelay(Transcript()),
        "rewriting": RewritingRelay(Transcript(), chat=True, model="m"),
    }
    relay = relays[kind]
    assert relay.feed(chat([1], content="a"))
    assert relay.feed(chat([2], content="b", finish="abort") + DONE) == b""
    assert relay.failure is not None
    assert relay.tokens == 1


def test_reasoning_goes_on_in_its_field() -> None:
    """A completion's text goes where the chat was, until the mark at which its parser would have changed."""
    transcript = Transcript()
    first = RecordingRelay(transcript)
    first.feed(chat([1], reasoning="I think"))
    second = RewritingRelay(transcript, chat=True, model="m")
    out = second.feed(text(" so", [2])) + second.feed(text("</th", [3]))
    third = RewritingRelay(transcript, chat=True, model="m")
    out += third.feed(text("ink>Yes", [4])) + third.feed(text(".", [5], "stop"))
    deltas = [choice["delta"] for choice in choices(out)]

    assert "".join(delta.get("reasoning", "") for delta in deltas) == " so"
    assert "".join(delta.get("content", "") for delta in deltas) == "Yes."
    assert transcript.part == "content"


def test_reasoning_ends_where_the_model_ends_it() -> None:
    transcript = Transcript()
    RecordingRelay(transcript).feed(chat([1], reasoning="I think"))
    relay = RewritingRelay(transcript, chat=True, model="m", reasoning_end="</seed:think>")
    out = relay.feed(text(" </think> so</seed:", [2])) + relay.feed(text("think>Yes.", [3], "stop"))
    deltas = [choice["delta"] for choice in choices(out)]

    assert "".join(delta.get("reasoning", "") for delta in deltas) == " </think> so"
    assert "".join(delta.get("content", "") for delta in deltas) == "Yes."


def test_a_chunk_of_both_fields_is_two() -> None:
    """Neither part is lost where stop strings are matched here."""
    transcript = Transcript(stops=StopMatcher(["nothing of it"]))
    relay = RewritingRelay(transcript, chat=True, model="m")
    out = relay.feed(chat([1], reasoning="a", content="b", finish="stop"))
    deltas = [choice["delta"] for choice in choices(out)]
    said = {name: "".join(delta.get(name, "") for delta in deltas) for name in ("reasoning", "content")}
    assert said == {"reasoning": "a", "content": "b"}
    assert list(transcript.token_ids) == [1]
    assert (transcript.tokens, relay.tokens) == (1, 1)


def test_reasoning_that_waits_for_a_stop_string_stays_reasoning() -> None:
    """Its last characters might have begun one; they do not move to the answer."""
    transcript = Transcript(stops=StopMatcher(["nothing of it"]))
    relay = RewritingRelay(transcript, chat=True, model="m")
    out = relay.feed(chat([1], reasoning="I think of it")) + relay.feed(chat([2], content="Yes, that is it."))
    out += relay.feed(chat([3], finish="stop", content=""))
    deltas = [choice["delta"] for choice in choices(out)]
    said = {name: "".join(delta.get(name, "") for delta in deltas) for name in ("reasoning", "content")}
    assert said == {"reasoning": "I think of it", "content": "Yes, that is it."}


@pytest.mark.parametrize("stops", [None, StopMatcher(["nothing of it"])])
def test_reasoning_under_two_names_is_one_text(stops: StopMatcher | None) -> None:
    """Some versions of vLLM send both, the old name for old clients: both go on, and its tokens count once."""
    transcript = Transcript(stops=stops)
    first = (RecordingRelay if stops is None else _chat_relay)(transcript)
    out = first.feed(chat([1], reasoning="I think", reasoning_content="I think"))
    second = _chat_relay(transcript)
    out += second.feed(text(" so</think>Yes.", [2], "stop"))
    deltas = [choice["delta"] for choice in choices(out)]
    for name in ("reasoning", "reasoning_content"):
        assert "".join(delta.get(name, "") for delta in deltas) == "I think so"
    assert "".join(delta.get("content", "") for delta in deltas) == "Yes."
    assert transcript.tokens == len(transcript.token_ids) == 2


def _chat_relay(transcript: Transcript) -> RewritingRelay:
    return RewritingRelay(transcript, chat=True, model="m")


def test_a_role_that_comes_with_text_is_kept() -> None:
    """Some engines have no first chunk for the role alone."""
    relay = _chat_relay(Transcript())
    out = relay.feed(chat([1], role="assistant", content="a")) + relay.feed(chat([2], role="assistant", content="b"))
    deltas = [choice["delta"] for choice in choices(out)]
    assert [delta["role"] for delta in deltas if "role" in delta] == ["assistant"]
    assert "".join(delta.get("content", "") for delta in deltas) == "ab"


@pytest.mark.parametrize(
    "odd", [b"data: 3\n\n", b"data: {\n\n", b'data: {"choices":[5]}\n\n', b'data: {"error":"x"}\n\n']
)
def test_odd_events_are_failures(odd: bytes) -> None:
    """Whatever comes that is no chunk of an answer."""
    relay = RewritingRelay(Transcript(), chat=True, model="m")
    relay.feed(odd)
    assert relay.failure is not None


def test_a_broken_connection_behind_the_end_is_no_failure() -> None:
    """The finish reason was there: the usage that is missing is counted here."""
    for show in (True, False):
        transcript = Transcript()
        relay = RecordingRelay(transcript, include_usage=show)
        assert relay.conclude() is None
        relay.feed(
            event({"delta": {"content": "a"}, "token_ids": [5], "finish_reason": "stop"}, prompt_token_ids=[1, 2])
        )
        rest = relay.conclude()
        assert rest is not None
        assert (b'"completion_tokens":1' in rest) is show


@given(st.text("ab.", max_size=30), st.lists(st.text("ab.", min_size=1, max_size=4), min_size=1, max_size=3), st.data())
def test_stop_strings_are_found_wherever_the_text_is_cut(whole: str, stops: list[str], data: st.DataObject) -> None:
    """The first match ends the answer, and what left before is the text before it, in whatever pieces it came."""
    pieces, rest = [], whole
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        pieces.append(rest[:size])
        rest = rest[size:]
    first = min((at for stop in stops if (at := whole.find(stop)) >= 0), default=None)
    for include in (False, True):
        matcher, out, met = StopMatcher(stops, include=include), "", None
        for number, piece in enumerate(pieces, start=1):
            said, met = matcher.feed(piece, number)
            out += said
            if met is not None:
                break
        else:
            out += matcher.rest()
        if first is None:
            assert (out, met) == (whole, None)
        else:
            assert met is not None
            assert len(out) <= len(whole)
            assert (out.endswith(met) if include else not any(stop in out for stop in stops)) or len(stops) > 1
