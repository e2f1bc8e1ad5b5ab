"""Readers who go and come back to an answer: it is read on, and nothing may be missing or come twice."""

import asyncio
import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import EngineFailed
from loadgen import numbered
from loadgen.live_figures import Objectives, live_figures
from loadgen.numbered import NumberedEvents
from loadgen.scenarios import load_scenario
from loadgen.workload import Reader
from tests.loadgen.attacking import attacked, request
from tests.loadgen.scripted_server import SSE_HEAD, Handler, framed, refusal

NAMED = b'event: andante\ndata: {"state":"running","place":null}\n\n'
ALL = 6


def numbered_event(number: int, data: bytes) -> bytes:
    return b"id: %d\ndata: %s\n\n" % (number, data)


def log() -> list[bytes]:
    """A stream's data events: four tokens, the count of them, the end."""
    choices = [{"index": 0, "delta": {"content": "a "}, "token_ids": [7]}]
    parts: list[dict[str, Any]] = [{"choices": choices}] * 4
    parts.append({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 4}})
    return [*(json.dumps(part).encode() for part in parts), b"[DONE]"]


@given(st.lists(st.integers(1, 40), max_size=60), st.lists(st.integers(0, 30), max_size=8))
def test_a_stream_that_is_cut_anywhere_is_whole(steps: list[int], cuts: list[int]) -> None:
    """Whatever pieces it comes in and wherever it is cut: read on behind the last whole event, it is all there once."""
    events = NumberedEvents()
    got: list[bytes] = []
    for pieces in [*cuts, 1000]:
        rest = b"".join(NAMED + numbered_event(k + 1, data) for k, data in enumerate(log()) if k + 1 > events.last)
        for step in (steps * 40)[:pieces] or [len(rest)]:
            got += events.feed(rest[:step])
            rest = rest[step:]
        if pieces == 1000:
            got += events.feed(rest)
        events.cut()

    assert got == log()
    assert (events.last, events.lost, events.doubled) == (ALL, 0, 0)


def test_what_is_missing_or_comes_twice_is_counted() -> None:
    events = NumberedEvents()
    for number in (1, 2, 5, 5, 4, 6):
        events.feed(numbered_event(number, b"x"))

    assert (events.last, events.lost, events.doubled) == (6, 2, 2)


def test_an_event_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numbered, "MAX_EVENT_BYTES", 100)
    with pytest.raises(EngineFailed, match="too large"):
        NumberedEvents().feed(b"x" * 101)


def server(skip: int = 0, again: int = 0, *, forgets: bool = False) -> Handler:
    """Sends two events and falls silent; reads on behind the last one, but `skip` too far or `again` too early."""

    async def handler(asked: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        back = asked["_path"] == "/v1/streams/s1"
        assert back or asked["_resumable"]
        if back and forgets:
            writer.write(refusal(404, "stream_gone"))
            return
        first = asked["_last"] + skip - again if back else 0
        numbers = range(first, ALL if back else 2)
        body = b"".join(framed(NAMED + numbered_event(k + 1, log()[k])) for k in numbers)
        writer.write(SSE_HEAD + b"x-stream-id: s1\r\n\r\n" + body + (b"0\r\n\r\n" if back else b""))

    return handler


COMES_BACK = Reader(gone=((0.2, 0.3),))


@pytest.mark.parametrize(("skip", "again", "lost", "doubled"), [(0, 0, 0, 0), (1, 0, 2, 0), (0, 1, 0, 2)])
async def test_a_reader_reads_on(skip: int, again: int, lost: int, doubled: int) -> None:
    """A lost event that was a token counts twice: by its number, and by the server's own count of tokens."""
    outcome = await attacked(server(skip, again), request(tokens=4, reader=COMES_BACK))
    figures = live_figures(outcome, Objectives())

    assert figures["outcomes"] == {"finished": 1}
    assert (figures["came_back"], figures["lost_text"], figures["doubled_text"]) == (1, lost, doubled)
    assert (outcome.records[0].ended_s or 0) >= 0.3


async def test_a_stream_that_is_gone_is_a_failure() -> None:
    """The reader was there, and its answer was not."""
    outcome = await attacked(server(forgets=True), request(tokens=4, reader=COMES_BACK))

    assert (outcome.records[0].outcome, outcome.records[0].error) == ("failed", "404 stream_gone")
    assert live_figures(outcome, Objectives())["came_back"] is None


async def test_a_server_without_resumable_streams_is_left() -> None:
    async def handler(asked: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        writer.write(SSE_HEAD + b"\r\n" + framed(b"data: %s\n\n" % log()[0]))

    outcome = await attacked(handler, request(tokens=4, reader=COMES_BACK))

    assert (outcome.records[0].outcome, outcome.records[0].error) == ("left", "nothing to come back to")


@given(st.lists(st.integers(0, 60), max_size=8), st.lists(st.integers(0, 60), max_size=8))
def test_absence_is_away_or_gone(one: list[int], other: list[int]) -> None:
    """At every moment; the intervals are ascending and apart."""
    away, gone = (
        tuple((float(a), float(b)) for a, b in zip(sorted(set(edges))[::2], sorted(set(edges))[1::2], strict=False))
        for edges in (one, other)
    )
    absent = Reader(away=away, gone=gone).absent

    for moment in (k + 0.5 for k in range(61)):
        inside = [any(left < moment < back for left, back in spans) for spans in (away, gone, absent)]
        assert inside[2] == (inside[0] or inside[1])
    assert all(a[1] < b[0] for a, b in itertools.pairwise(absent))


def test_a_scenario_of_them() -> None:
    """Half of them go and come back; other scenarios have none."""
    readers = [each.reader for each in load_scenario("coming_back").requests]

    assert 0.4 < sum(bool(reader.gone) for reader in readers) / len(readers) < 0.6
    assert not any(each.reader.gone for each in load_scenario("bad_networks").requests)
