"""Readers' networks: outages hold everything back, a slow line carries so many bytes a second."""

import asyncio
from typing import Any

import pytest

from loadgen.live_figures import Objectives, live_figures
from loadgen.loops import run_alone
from loadgen.scenarios import load_scenario
from loadgen.workload import Reader
from tests.loadgen.attacking import attacked, one, request
from tests.loadgen.scripted_server import END, SSE_HEAD, chunk, usage, whole


async def test_an_outage_holds_everything_back() -> None:
    """The server answers at once; the reader has it when the line is back, and not before."""
    record = await one(whole, reader=Reader(outages=((0.0, 0.3),)))

    assert (record.outcome, record.produced) == ("finished", 3)
    assert (record.first_token_s or 0) >= 0.3
    assert (record.ended_s or 0) >= 0.3


async def test_an_outage_in_the_middle() -> None:
    """What was sent before it came; what was sent during it comes at its end, and then all of it."""

    async def handler(asked: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        writer.write(SSE_HEAD + b"\r\n" + chunk("a", ids=1))
        await writer.drain()
        await asyncio.sleep(0.25)
        writer.write(chunk("b", ids=1) + usage(1, 2) + END)

    record = await one(handler, reader=Reader(outages=((0.2, 0.5),)))

    assert (record.first_token_s or 9) < 0.2
    assert (record.last_token_s or 0) >= 0.5


def test_an_outage_that_has_begun_already() -> None:
    """As when a reader comes back into it; on the event loop that attacks run on."""
    outcome = run_alone(attacked(whole, request(reader=Reader(outages=((0.0, 0.3),))), start_in_s=-0.1))

    assert outcome.records[0].outcome == "finished"
    assert (outcome.records[0].first_token_s or 0) > 0.29  # an event loop goes by whole milliseconds


async def test_a_slow_line_takes_its_time() -> None:
    """300 events at once, of some 80 bytes each, at 100,000 bytes a second: about a quarter of a second, evenly."""
    record = await one(whole, tokens=300, reader=Reader(bytes_per_s=100_000.0))
    span = (record.last_token_s or 0) - (record.first_token_s or 0)

    assert record.produced == 300
    assert 0.1 < span < 0.5
    assert (record.ended_s or 0) >= (record.last_token_s or 0)


async def test_a_connection_is_whole_again_for_the_next_reader() -> None:
    """One with an outage, then one without, over the same connection."""
    outcome = await attacked(whole, request(0, reader=Reader(outages=((0.0, 0.2),))), request(1, 0.4))

    assert [r.outcome for r in outcome.records] == ["finished"] * 2
    assert (outcome.records[1].first_token_s or 9) < 0.9


def test_a_scenario_has_bad_networks() -> None:
    """Its shares of them; other scenarios have none."""
    bad = [r.reader for r in load_scenario("bad_networks").requests]
    plain = [r.reader for r in load_scenario("hidden_tabs").requests]

    assert sum(bool(r.outages) for r in bad) / len(bad) == pytest.approx(0.3, abs=0.07)
    assert sum(r.bytes_per_s is not None for r in bad) / len(bad) == pytest.approx(0.2, abs=0.07)
    assert not any(r.outages or r.bytes_per_s for r in plain)


async def test_a_stall_is_the_longest_silence() -> None:
    """Two tokens are read in 0.4 s at 5 a second; the third comes 1.5 s after them. Who looks away has no stall."""

    async def handler(asked: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        writer.write(SSE_HEAD + b"\r\n" + chunk("ab", ids=2))
        await writer.drain()
        await asyncio.sleep(1.5)
        writer.write(chunk("c", ids=1) + usage(1, 3) + END)

    away = Reader(away=((0.1, 0.2),))
    outcome = await attacked(handler, request(), request(1, reader=away))
    figures = live_figures(outcome, Objectives())

    assert figures["worst_stall_s"] == pytest.approx(1.1, abs=0.3)
    assert figures["stalled_share"] == 1.0
    assert outcome.records[1].stall_s is None
