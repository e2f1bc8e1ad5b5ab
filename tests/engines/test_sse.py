"""Server-sent events however the network cuts them."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.engines.sse import MAX_EVENT_BYTES, SseDecoder
from gateway.errors import EngineFailed

STREAM = (
    b': hello\n\ndata: {"a":1}\n\nevent: x\nid: 7\ndata: one\ndata:two\ndata\n\n\n\n'
    b"retry: 5\n\ndata: \xc3\xa9\n\ndata: [DONE]\n\n"
)
PAYLOADS = [b'{"a":1}', b"one\ntwo\n", b"\xc3\xa9", b"[DONE]"]
ENDS = {"LF": b"\n", "CRLF": b"\r\n", "CR": b"\r"}


def decode(pieces: list[bytes]) -> list[bytes]:
    decoder = SseDecoder()
    return [payload for piece in pieces for payload in decoder.feed(piece)]


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_cut_anywhere(end: bytes) -> None:
    """In two at every byte, and byte by byte: the same events."""
    stream = STREAM.replace(b"\n", end)
    assert decode([stream]) == PAYLOADS
    assert decode([stream[at : at + 1] for at in range(len(stream))]) == PAYLOADS
    for cut in range(len(stream)):
        assert decode([stream[:cut], stream[cut:]]) == PAYLOADS, cut


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.binary(max_size=30), st.sampled_from(sorted(ENDS))), max_size=8),
    st.lists(st.integers(0, 400), max_size=10),
)
def test_any_payload_and_any_cuts(events: list[tuple[bytes, str]], cuts: list[int]) -> None:
    """Line ends may change from event to event; a payload is what stands after `data: `."""
    payloads = [payload.replace(b"\r", b"").replace(b"\n", b"") for payload, _ in events]
    lines = [(b"data: " + payload, ENDS[end]) for payload, (_, end) in zip(payloads, events, strict=True)]
    stream = b"".join(line + end + end for line, end in lines)
    places = sorted({0, len(stream), *(min(cut, len(stream)) for cut in cuts)})

    assert decode([stream[a:b] for a, b in pairwise(places)]) == payloads


def test_an_event_is_known_at_its_end() -> None:
    """Not one byte later."""
    for end in ENDS.values():
        decoder = SseDecoder()
        assert decoder.feed(b"data: x" + end) == []
        assert decoder.feed(end) == [b"x"]


def test_an_event_without_end_is_bounded() -> None:
    """Memory for one event, then the engine has failed."""
    decoder = SseDecoder()
    piece = b"data: " + b"x" * (1 << 20)
    for _ in range(MAX_EVENT_BYTES // len(piece)):
        assert decoder.feed(piece) == []
    with pytest.raises(EngineFailed, match="too large"):
        decoder.feed(piece)
    assert len(decoder.tail) <= MAX_EVENT_BYTES


@pytest.mark.parametrize("cut", [0, 1, 2, 3, 5])
def test_a_byte_order_mark_is_no_part_of_the_first_event(cut: int) -> None:
    """The standard takes one off at the beginning of a stream."""
    decoder = SseDecoder()
    whole = b"\xef\xbb\xbfdata: a\n\ndata: \xef\xbb\xbfb\n\n"
    assert decoder.feed(whole[:cut]) + decoder.feed(whole[cut:]) == [b"a", b"\xef\xbb\xbfb"]
