"""A job that travels to another gateway is the same job there."""

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.limits import LimitState, Reservation
from gateway.core.pace import pace_from_spec
from gateway.engines.base import Endpoint, LegRequest, Resumability, ResumeLevel
from gateway.engines.stops import StopMatcher
from gateway.engines.transcript import Transcript
from gateway.runtime.accounting import observe
from gateway.runtime.handover import StreamTale, packed, transcript_of, unpacked
from gateway.stores.stream_exchange import Position
from tests.runtime.fakes import FakeEngine, job_request
from tests.runtime.house import house

IDS = st.lists(st.integers(0, 2**32 - 1), max_size=5)
STEPS = st.lists(st.tuples(IDS, st.text(max_size=5), st.sampled_from(["send", "lose", "twice", "again"])), max_size=20)


def facts(transcript: Transcript) -> list[Any]:
    """All that a next leg goes on from."""
    shown = {
        name: getattr(transcript, name) for name in Transcript.__dataclass_fields__ if name not in ("stops", "text")
    }
    return [shown, transcript.said, None if transcript.stops is None else transcript.stops.packed()]


@given(IDS, STEPS, st.booleans())
async def test_what_was_said_comes_together_again(prompt: list[int], steps: list[Any], stops: bool) -> None:
    """Piece by piece, whether pieces are lost before they count as sent, come twice, or all is sent again."""
    async with house(FakeEngine("a")) as made:
        job = made.submit()
        transcript = job.course.transcript = Transcript()
        transcript.prompt(prompt)
        tale, sent, mark = StreamTale(job), list[bytes](), (0, 0)
        for ids, text, fate in [*steps, ([1], "end", "send")]:
            transcript.add_ids(ids, len(ids))
            transcript.add_text(text, 1)
            transcript.unsplit = text
            if stops:
                transcript.stops = transcript.stops or StopMatcher(["never", "no"])
                transcript.stops.feed(text, transcript.tokens)
            start: Position = (0, 0) if fate == "again" else mark
            piece, after = tale.progress(start)
            if fate != "lose":
                sent += [piece] * (2 if fate == "twice" else 1)
                mark = after
        there = transcript_of(sent)
        assert there is not None
        assert facts(there) == facts(transcript)
        made.dispatcher.cancel(job)


async def test_a_gap_is_noticed() -> None:
    """What cannot be whole is not gone on with."""
    async with house(FakeEngine("a")) as made:
        job = made.submit()
        transcript = job.course.transcript = Transcript()
        transcript.add_ids([1, 2], 2)
        _, mark = StreamTale(job).progress((0, 0))
        transcript.add_ids([3], 1)
        late, _ = StreamTale(job).progress(mark)
        there = transcript_of([late])
        assert there is not None
        assert there.broken
        made.dispatcher.cancel(job)
    assert transcript_of([]) is None


def test_a_request_is_the_same_there() -> None:
    """But for the meter, which is the other gateway's own."""
    body = {"messages": [{"role": "user", "content": "川 👩‍👩‍👧‍👦"}], "temperature": 0.5, "stop": None}
    request = replace(
        job_request(pace=pace_from_spec({"kind": "reading", "language": "de"})),
        leg=LegRequest("a" * 32, Endpoint.CHAT, body, stream=True, include_usage=True),
        reservation=Reservation(2**61, "key", 500, LimitState(None, None)),
    )
    there = unpacked(packed(request))
    assert replace(there, meter=request.meter) == request


async def test_what_goes_on_here_is_charged_from_where_it_came_on() -> None:
    """Prompt and answer so far are in the tenant's sum already; a transcript without tokens is a new beginning."""
    engine = FakeEngine("a", max_running=2)
    engine.resumability = Resumability(ResumeLevel.REPLAY)
    async with house(engine) as made:
        transcript = Transcript()
        transcript.add_ids([1] * 20, 20)
        heirs = [made.dispatcher.adopt(job_request(), said, 1) for said in (transcript, None)]
        account = made.pool.scheduler.counters.account("t")
        made.watcher.produced += 20  # at the other gateway
        made.dispatcher.unpark(heirs[0])
        (await made.leg()).token(tokens=5)
        observe(made.pool, heirs[0], made.watcher, made.clock.now())
        assert account.counter == 2 * 5
        made.dispatcher.unpark(heirs[1])
        assert account.counter == 2 * 5 + 10
        for heir in heirs:
            made.dispatcher.cancel(heir)
