"""The loops against servers whose schedule the test writes: planned times, ends, counts, and who left."""

import asyncio
import itertools
from typing import Any

import pytest

from gateway.core.pace import Pace
from loadgen.connections import clock
from loadgen.live_job import Asking, LiveJob, Tally
from loadgen.loops import run_loop
from loadgen.records import JobRecord
from loadgen.sender import Attack, Outcome, Sender
from loadgen.workload import Reader
from tests.loadgen.attacking import attacked, one, request
from tests.loadgen.scripted_server import END, SSE_HEAD, chunk, event, framed, refusal, serving, usage, whole


async def test_an_answer_becomes_a_record() -> None:
    """Counted by its ids, not by its chunks; prompt tokens as the server says; a perfect QoE."""
    outcome = await attacked(whole, request(tokens=7))
    record = outcome.records[0]

    assert (record.outcome, record.produced, record.input_tokens, record.error) == ("finished", 7, 25, None)
    assert record.qoe == pytest.approx(1.0)
    assert 0 < (record.first_token_s or 0) <= (record.last_token_s or 0) <= (record.ended_s or 0) < 5
    assert outcome.tally.counting == {"ids": 1}
    assert outcome.tally.itl.count == 6


@pytest.mark.parametrize(
    ("events", "produced", "by"),
    [
        ((chunk("ab", ids=2), chunk("c", ids=4), usage(9, 6)), 6, "ids"),
        ((chunk("abcdefgh"), chunk("ij"), usage(9, 30)), 30, "usage"),
        ((chunk("x" * 446),), 100, "characters"),
        ((event({"choices": [{"text": "ab", "token_ids": [1]}]}), event({"choices": None})), 1, "ids"),
    ],
)
async def test_tokens_are_never_counted_by_chunks(events: tuple[bytes, ...], produced: int, by: str) -> None:
    """Ids first, then the server's own count, then the characters of English."""

    async def handler(asked: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        writer.write(SSE_HEAD + b"\r\n" + b"".join(events) + END)

    outcome = await attacked(handler, request())

    assert outcome.records[0].produced == produced
    assert outcome.tally.counting == {by: 1}


async def test_a_finish_reason_is_an_end_too() -> None:
    """Some servers send no [DONE]."""

    async def handler(asked: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        last = event({"choices": [{"delta": {}, "finish_reason": "length"}]})
        writer.write(SSE_HEAD + b"\r\n" + chunk("a", ids=1) + last + b"0\r\n\r\n")

    assert (await one(handler)).outcome == "finished"


async def test_reasoning_is_produced_and_not_read() -> None:
    """A second of thought, then the answer at once: the first token that counts is the first that is seen."""

    async def handler(asked: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        thought = event({"choices": [{"delta": {"reasoning_content": "hm"}, "token_ids": [1, 2, 3]}]})
        writer.write(SSE_HEAD + b"\r\n" + thought)
        await writer.drain()
        await asyncio.sleep(0.2)
        writer.write(chunk("yes", ids=1) + usage(9, 4) + END)

    record = await one(handler)

    assert record.produced == 4
    assert (record.first_token_s or 0) >= 0.2


@pytest.mark.parametrize(
    ("answer", "outcome", "error"),
    [
        (refusal(429, "rate_limit_exceeded"), "rejected", "429 rate_limit_exceeded"),
        (refusal(503, "queue_full"), "rejected", "503 queue_full"),
        (refusal(401, "invalid_api_key"), "failed", "401 invalid_api_key"),
        (b"HTTP/1.1 500 Oops\r\ncontent-length: 4\r\n\r\noops", "failed", "500"),
        (
            SSE_HEAD + b"\r\n" + chunk("a", ids=1) + event({"error": {"code": "engine_failed"}}) + END,
            "failed",
            "engine_failed",
        ),
        (SSE_HEAD + b"\r\n" + chunk("a", ids=1) + b"0\r\n\r\n", "failed", "cut short"),
        (SSE_HEAD + b"\r\n" + framed(b"data: {oops\n\n") + END, "failed", "garbage"),
        (b"no HTTP at all\r\n\r\n", "failed", "connection lost"),
    ],
)
async def test_errors_have_a_kind_and_no_quality(answer: bytes, outcome: str, error: str) -> None:
    """Refused for want of room is rejected, all else failed; QoE 0, never dropped."""

    async def handler(asked: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        writer.write(answer)

    record = await one(handler)

    assert (record.outcome, record.error, record.qoe) == (outcome, error, 0.0)


async def test_a_server_that_is_not_there() -> None:
    """Each request fails by itself."""
    async with serving(whole) as url:
        pass
    outcome = await run_loop(Sender(Attack(url, Asking("m"), (request(), request(1)), {}), clock()))

    assert [r.outcome for r in outcome.records] == ["failed", "failed"]
    assert {(r.error or "").split(":")[0] for r in outcome.records} == {"connect"}


async def test_a_kept_connection_that_was_closed_is_no_failure() -> None:
    """The server closes it after its answer, as servers do with idle ones: the request goes over a new one."""

    async def handler(asked: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        await whole(asked, writer)
        await writer.drain()
        writer.close()

    outcome = await attacked(handler, request(0, 0.0), request(1, 0.1), request(2, 0.1))

    assert [r.outcome for r in outcome.records] == ["finished"] * 3


async def test_each_client_has_its_key_and_asks_for_its_pace() -> None:
    """The common key for whoever has none; machines say so; lengths are exact."""
    seen: list[dict[str, Any]] = []

    async def handler(asked: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        seen.append(asked)
        await whole(asked, writer)

    machine = Pace("machine", 1.0, 10.0)
    requests = (request(0, client="a"), request(1, 0.05, client="b", pace=machine))
    await attacked(handler, *requests, keys={"a": "sk-a"}, key="sk-all")
    await attacked(handler, request(), asking=Asking("m", chat=False, plain=True))

    assert [asked["_key"] for asked in seen] == ["sk-a", "sk-all", ""]
    assert [asked.get("pace") for asked in seen] == [{"ttft": 1.0, "rate": 5.0}, "machine", None]
    assert [asked["_path"] for asked in seen] == ["/v1/chat/completions"] * 2 + ["/v1/completions"]
    assert all(asked["max_tokens"] == 3 and asked["stream_options"] == {"include_usage": True} for asked in seen)
    assert [asked.get("ignore_eos") for asked in seen] == [True, True, None]
    assert len({str(asked.get("messages")) for asked in seen}) == 3


async def test_nobody_waits_for_a_server_that_stalls() -> None:
    """No coordinated omission: the server says nothing to anybody until the 50th request is there.

    A client that waited for an answer before it asked again would wait for ever. At 100 requests a second the 50th
    comes after 0.49 s, and everybody before it is charged with the wait since its own planned time.
    """
    opened = asyncio.Event()
    asked_so_far = itertools.count(1)

    async def handler(asked: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        if next(asked_so_far) == 50:
            opened.set()
        await opened.wait()
        await whole(asked, writer)

    outcome = await attacked(handler, *(request(k, k / 100) for k in range(100)), timeout_s=30.0)
    waited = [(r.first_token_s or 0) - r.arrived_s for r in outcome.records]

    assert {r.outcome for r in outcome.records} == {"finished"}
    assert all(wait >= 0.489 - k / 100 for k, wait in enumerate(waited[:50]))


async def test_latency_counts_from_the_planned_time() -> None:
    """A generator that begins a fifth of a second late charges it to the measurement, and says so."""
    outcome = await attacked(whole, request(), start_in_s=-0.2)

    assert (outcome.records[0].first_token_s or 0) > 0.2
    assert outcome.bottleneck is not None


async def test_a_reader_leaves() -> None:
    """The connection is closed at that moment, and the QoE is that of what was due until then."""
    closed = asyncio.Event()

    async def handler(asked: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        writer.write(SSE_HEAD + b"\r\n" + chunk("a", ids=1))

    reader = request(pace=Pace("custom", 0.0, 10.0), reader=Reader(leaves_after_s=0.3))
    async with serving(handler, closed) as url:
        record = (await run_loop(Sender(Attack(url, Asking("m"), (reader,), {}), clock()))).records[0]
        await asyncio.wait_for(closed.wait(), 5)

    assert (record.outcome, record.error, record.produced) == ("left", None, 1)
    assert 0.29 < (record.ended_s or 0) < 2
    assert 0 < record.qoe < 1


async def test_patience_ends() -> None:
    """A job that takes too long is a failure of its own kind."""

    async def handler(asked: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    outcome = await attacked(handler, request(), timeout_s=0.05)

    assert (outcome.records[0].outcome, outcome.records[0].error) == ("failed", "timeout")


async def test_parts_add_up() -> None:
    """What several processes got is merged in order, and histograms are what one process would have made."""
    requests = tuple(request(k, k / 1000, tokens=5) for k in range(10))
    async with serving(whole) as url:
        attack = Attack(url, Asking("m"), requests, {})
        merged = Outcome()
        for number in range(3):
            merged.merge(await run_loop(Sender(attack.part(number, 3), clock())))

    assert [r.index for r in merged.records] == list(range(10))
    assert merged.tally.itl.count == 40
    assert merged.tally.counting == {"ids": 10}


async def test_a_fault_of_the_generator_ends_the_run() -> None:
    """A job that vanished would make the figures better than they were."""

    class Broken(LiveJob):
        def record(self, start: float, tally: Tally) -> JobRecord:
            raise ZeroDivisionError

    async with serving(whole) as url:
        sender = Sender(Attack(url, Asking("m"), (request(),), {}, timeout_s=5.0), clock(), Broken)
        with pytest.raises(ExceptionGroup):
            await run_loop(sender)


@pytest.mark.parametrize("think_s", [None, 1.0])
async def test_an_interrupted_run_tells_what_it_has(think_s: float | None) -> None:
    """Who was being served has left, and who was to come later was never sent."""
    served = asyncio.Event()

    async def handler(asked: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        writer.write(SSE_HEAD + b"\r\n" + chunk("word ", ids=1))
        served.set()

    async with serving(handler) as url:
        requests = (request(0, client="a"), request(1, arrived_s=3600.0, client="b"))
        sender = Sender(Attack(url, Asking("m"), requests, {}, think_s=think_s), clock())
        run = asyncio.create_task(run_loop(sender))
        await served.wait()
        run.cancel()
        outcome = await run

    assert outcome.interrupted
    assert [(r.index, r.outcome, r.error) for r in outcome.records] == [(0, "left", "interrupted")]
