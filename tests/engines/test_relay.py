"""What of an engine's stream reaches the client, and what is counted on the way."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.engines.base import Usage
from gateway.engines.recording import RecordingRelay
from gateway.engines.relay import ChunkRelay, Renaming
from gateway.engines.sse import SseDecoder
from gateway.engines.transcript import Transcript

Json = dict[str, Any]
DONE = b"data: [DONE]\n\n"
ODD_COUNTS: list[Any] = [None, "3", -1, 7.5, True, [], {}, 2**80, 1e300]


def event(payload: object) -> bytes:
    return b"data: " + json.dumps(payload, separators=(",", ":"), ensure_ascii=False).encode() + b"\n\n"


def chat(index: int = 0, *, finish: str | None = None, **delta: object) -> Json:
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    return {"id": "c", "model": "engine-name", "choices": [choice]}


def text(value: str, ids: list[int] | None = None, finish: str | None = None) -> Json:
    choice: Json = {"index": 0, "text": value, "finish_reason": finish, "token_ids": ids}
    return {"id": "c", "model": "engine-name", "choices": [choice]}


def usage(prompt: int, completion: int) -> Json:
    return {"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": 0}}


@pytest.mark.parametrize(
    ("chunk", "tokens"),
    [
        (chat(role="assistant", content=""), 0),
        (chat(content="a"), 1),
        (chat(content=None), 0),
        (chat(reasoning_content="a"), 1),
        (chat(reasoning="a"), 1),
        (chat(refusal="a"), 1),
        (chat(tool_calls=[{"index": 0}]), 1),
        (chat(finish="stop"), 0),
        (chat(content="a", finish="length"), 1),
        (text("a"), 1),
        (text(""), 0),
        (text("", ids=[5]), 1),  # half a character
        (text("abc", ids=[5, 6, 7]), 3),
        (text("abc", ids=[]), 0),
        (usage(3, 4), 0),
    ],
)
def test_tokens_are_counted(chunk: Json, tokens: int) -> None:
    """By ids where the engine sends them, else one for each piece that says something."""
    relay = ChunkRelay()
    relay.feed(event(chunk))

    assert (relay.tokens, relay.failure) == (tokens, None)


@pytest.mark.parametrize("asked", [True, False])
def test_the_usage_is_read_and_shown_to_who_asked(asked: bool) -> None:
    """It is always asked of the engine."""
    relay = ChunkRelay(include_usage=asked)
    first, last = event(chat(content="a", finish="stop")), event(usage(3, 4))

    assert relay.feed(first + last + DONE) == first + (last if asked else b"")
    assert (relay.usage, relay.done, relay.finished, relay.failure) == (Usage(3, 4), True, True, None)


def test_every_answer_needs_its_end() -> None:
    """With three answers begun the stream is finished with the third finish reason, in whatever order."""
    relay = ChunkRelay()
    relay.feed(b"".join(event(chat(index, content="a")) for index in range(3)))
    for index in (2, 0, 1):
        assert not relay.finished
        relay.feed(event(chat(index, content="a", finish="stop")))
    assert relay.finished
    assert not relay.done


def test_an_engine_that_answers_less_than_was_asked_for() -> None:
    """Some ignore `n`: what was begun must end, and something must have been begun."""
    relay = ChunkRelay()
    assert not relay.finished
    relay.feed(event(chat(1, content="a")))
    assert not relay.finished
    relay.feed(event(chat(1, finish="stop")) + DONE)
    assert relay.finished


@pytest.mark.parametrize("odd", [{}, {"index": None}, {"index": []}, {"index": {}}, {"index": "0"}, {"index": 0.0}])
def test_a_choice_with_no_usable_index(odd: Json) -> None:
    """Is the only one."""
    relay = ChunkRelay()
    for delta, finish in (({"content": "a"}, None), ({}, "stop")):
        relay.feed(event({"choices": [{**odd, "delta": delta, "finish_reason": finish}]}))

    assert (relay.tokens, relay.finished, relay.failure) == (1, True, None)


@pytest.mark.parametrize("together", [True, False])
def test_an_empty_finish_reason_is_none(together: bool) -> None:
    """A stream that is cut while it says so is not finished."""
    relay = ChunkRelay()
    sent = event(chat(content="a", finish=""))
    for events in [sent + sent + DONE] if together else [sent, sent, DONE]:
        relay.feed(events)

    assert (relay.tokens, relay.done, relay.finished, relay.failure) == (2, True, False, None)


@pytest.mark.parametrize(
    ("odd", "seen"),
    [
        ({"choices": None, "usage": {"prompt_tokens": 3, "completion_tokens": 1}}, Usage(3, 1)),
        ({"usage": {"prompt_tokens": 3, "completion_tokens": 1}}, Usage(3, 1)),
        ({"choices": [], "usage": {"prompt_tokens": 7.0, "completion_tokens": 2.0}}, Usage(7, 2)),
        ({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": None}}, Usage(3, 0)),
        ({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": "many"}}, Usage(3, 0)),
        *(({"choices": [], "usage": {"prompt_tokens": count, "completion_tokens": 1}}, None) for count in ODD_COUNTS),
        *(({"choices": [], "usage": usage}, None) for usage in ("none", 5, 0.5, True, [3])),
    ],
)
@pytest.mark.parametrize("together", [True, False])
def test_odd_usage_is_ignored_where_it_is_of_no_use(odd: Json, seen: Usage | None, together: bool) -> None:
    """The client has its answer: the stream is good, and nobody sees the usage that only the gateway asked for."""
    relay = ChunkRelay()
    good = event(chat(content="a", finish="stop"))
    parts = [good + event(odd) + DONE] if together else [good, event(odd), DONE]

    assert b"".join(map(relay.feed, parts)) == good
    assert (relay.usage, relay.done, relay.finished, relay.failure) == (seen, True, True, None)


@pytest.mark.parametrize(
    ("fields", "tokens"),
    [
        ({"token_ids": "x", "text": "a"}, 1),
        ({"token_ids": [5.0, 6.0]}, 2),
        ({"text": 5}, 1),
        ({"delta": "a"}, 0),
        ({"delta": []}, 0),
        ({"delta": {"content": "a"}, "logprobs": 5}, 1),
    ],
)
def test_odd_choices_go_on_as_they_came(fields: Json, tokens: int) -> None:
    """They are the client's to judge."""
    relay = ChunkRelay()
    sent = event({"choices": [{"index": 0, **fields}], "error": ""})

    assert relay.feed(sent) + relay.feed(sent + sent) == sent * 3
    assert (relay.tokens, relay.failure) == (3 * tokens, None)


def test_done_alone_is_no_good_end() -> None:
    """vLLM sends it after a failure too: the caller asks for `finished`."""
    relay = ChunkRelay()
    relay.feed(event(chat(content="a")) + DONE)

    assert (relay.done, relay.finished) == (True, False)


@pytest.mark.parametrize(
    "payload",
    [
        b'{"error":{"message":"worker died","code":500}}',
        b'{"error":"worker died"}',
        b'{"object":"error","message":"worker died","code":500}',
        b'{"choices":[],"error":{"message":"worker died"}}',
        b'{"choices":[{"index":0,"text":"b"}],"error":{"message":"worker died"}}',
    ],
)
@pytest.mark.parametrize("together", [True, False])
def test_an_error_in_the_stream(payload: bytes, together: bool) -> None:
    """In every shape; what came before it counts, also when it came with it."""
    relay = ChunkRelay()
    good, bad = event(chat(content="a")), b"data: " + payload + b"\n\n" + DONE
    out = relay.feed(good + bad) if together else relay.feed(good) + relay.feed(bad)

    assert out == good
    assert relay.tokens == 1
    assert relay.failure is not None
    assert "worker died" in relay.failure.message
    assert not relay.done


@pytest.mark.parametrize("payload", [b"{", b"garbage", b"5", b"[]", b'"x"', b'{"choices":5}', b"\xff\xfe", b""])
def test_garbage(payload: bytes) -> None:
    """What is not a chunk is a failure of the engine."""
    relay = ChunkRelay()

    assert relay.feed(b"data: " + payload + b"\n\n") == b""
    assert relay.failure is not None


TEXTS = st.text(max_size=20) | st.sampled_from(
    [
        ',"token_ids":[1,2]',
        '","token_ids":[1,2],"',
        '"prompt_token_ids":null',
        "\\",
        '\\","token_ids":[9]',
        "\u2028,é🌊",
    ]
)
IDS = st.none() | st.lists(st.integers(0, 200_000), max_size=5)


@settings(deadline=None)
@given(TEXTS, IDS, st.booleans(), st.booleans())
def test_token_ids_are_cut_out_and_nothing_else(said: str, ids: list[int] | None, spaced: bool, ended: bool) -> None:
    """To the byte, never out of a text that looks like them, however the engine spaces its JSON."""
    chunk: Json = text(said, ids, "stop" if ended else None)
    chunk["choices"][0]["prompt_token_ids"] = ids
    chunk["choices"][0]["after"] = said
    separators = (", ", ": ") if spaced else (",", ":")
    wanted = {**chunk, "choices": [{k: v for k, v in chunk["choices"][0].items() if not k.endswith("token_ids")}]}
    shown, sent = (b"data: " + json.dumps(each, separators=separators).encode() + b"\n\n" for each in (wanted, chunk))

    relay = ChunkRelay(strip_token_ids=True)
    assert relay.feed(sent) == shown
    assert relay.tokens == (len(ids) if ids is not None else bool(said))


@settings(deadline=None)
@given(TEXTS, st.sampled_from(["engine-name", 'we"ird\\name', "a/b.c*"]))
def test_the_model_is_renamed(said: str, name: str) -> None:
    """In the chunk's own field only, whatever the names and the text are."""
    said += '"model":"engine-name"'
    chunk = {**text(said), "model": name}
    relay = ChunkRelay(rename=Renaming(name, "shown"))

    assert relay.feed(event(chunk)) == event({**chunk, "model": "shown"})


CHUNKS = st.lists(
    st.builds(text, TEXTS, IDS)
    | st.builds(lambda said: chat(content=said), TEXTS)
    | st.builds(usage, st.integers(0, 9), st.just(1)),
    max_size=8,
)


@settings(deadline=None)
@given(CHUNKS, st.lists(st.integers(0, 2000), max_size=10), st.booleans(), st.booleans())
def test_cuts_change_nothing(chunks: list[Json], cuts: list[int], strip: bool, renamed: bool) -> None:
    """However the network cuts a stream, client and counters see the same events."""
    stream = b"".join(map(event, chunks)) + event(text("end", [1], "stop")) + DONE
    places = sorted({0, len(stream), *(min(cut, len(stream)) for cut in cuts)})
    rename = Renaming("engine-name", "shown") if renamed else None
    whole, cut = (ChunkRelay(strip_token_ids=strip, rename=rename) for _ in range(2))
    expected = whole.feed(stream)
    got = b"".join(cut.feed(stream[a:b]) for a, b in pairwise(places))

    assert SseDecoder().feed(got) == SseDecoder().feed(expected)
    assert (cut.tokens, cut.usage, cut.done, cut.finished) == (whole.tokens, whole.usage, True, True)
    assert whole.failure is cut.failure is None


@pytest.mark.parametrize("kind", ["plain", "recording"])
def test_a_chunk_on_several_lines_is_one_event_still(kind: str) -> None:
    """JSON may be written on many `data:` lines; each line of what goes on would need its mark."""
    relay = ChunkRelay() if kind == "plain" else RecordingRelay(Transcript())
    out = relay.feed(b'data: {"choices":[\ndata: {"index":0,"delta":{"content":"a"}}\ndata: ]}\n\n')
    assert out.startswith(b"data: ")
    assert out.count(b"\n") == 2
    assert json.loads(out[6:])["choices"][0]["delta"] == {"content": "a"}
