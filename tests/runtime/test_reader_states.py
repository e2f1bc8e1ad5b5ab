"""What a reader is told of its stream, and what it tells."""

import pytest

from gateway.core.pace import pace_from_spec
from gateway.core.units import in_characters
from gateway.runtime.accounting import observe
from gateway.runtime.state import ReaderReport
from tests.runtime.fakes import FakeOutlet, job_request
from tests.runtime.house import ended, house
from tests.runtime.test_readers import READING_RATE, desk, engine, kept_events, last_words, states
from tests.support.waiting import eventually


async def test_states_tell_quality_lead_and_reason() -> None:
    """As the scheduler has them, in its units; the last one, before the end, has the whole answer's QoE."""
    async with house(engine()) as made:
        shelf, job = desk(made), made.dispatcher.submit(job_request(pace=pace_from_spec("reading")))
        name = shelf.open(job, "alice", last_words)
        outlet = FakeOutlet()
        shelf.follow(name, "alice", outlet, 0, last_words).start()
        (kept,) = shelf.kept
        leg = await made.leg()
        made.clock.advance(2.0)
        leg.token(tokens=20)
        observe(made.pool, job, made.watcher, made.clock.now())
        made.clock.advance(1.0)
        kept.show_state()
        leg.sink.completed()
        assert await ended(job) is None
        await eventually(lambda: len(kept_events(outlet)) == 2)

        running, last = states(outlet)
        assert (running["state"], running["reason"]) == ("running", "room")
        assert running["lead_s"] == pytest.approx(20 / READING_RATE - 1, abs=0.05)
        assert running["qoe"] == pytest.approx(0.25, abs=0.001)
        assert (last["state"], last["reason"], last["lead_s"]) == ("ended", None, None)
        assert running["qoe"] < last["qoe"] < 1


async def test_a_reader_tells_what_its_tokens_hold() -> None:
    """Of text with half as much in a token as usual the reader has half the lead."""
    async with house(engine()) as made:
        shelf, job = desk(made), made.dispatcher.submit(job_request(pace=pace_from_spec("reading")))
        name = shelf.open(job, "alice", last_words)
        shelf.follow(name, "alice", FakeOutlet(), 0, last_words).start()
        (await made.leg()).token(tokens=1000)
        usual = in_characters(pace_from_spec("reading")).rate
        characters = round(1000 * usual / READING_RATE / 2)
        shelf.report(name, "alice", ReaderReport(shown=10, buffered=characters - 10, rate=usual))
        observe(made.pool, job, made.watcher, made.clock.now())
        made.clock.advance(1.0)
        standing = made.dispatcher.standing(job)

        assert standing is not None
        assert standing.lead_s == pytest.approx(500 / READING_RATE - 1, rel=0.02)
        made.dispatcher.cancel(job)


@pytest.mark.parametrize(("rate", "held"), [(1e-6, 4.0), (100_000.0, 0.25)])
async def test_a_reader_cannot_claim_any_speed(rate: float, held: float) -> None:
    """Who says to read without end would come before everybody, and who says to read nothing would never be served."""
    async with house(engine()) as made:
        shelf, job = desk(made), made.dispatcher.submit(job_request(pace=pace_from_spec("reading")))
        name = shelf.open(job, "alice", last_words)
        shelf.follow(name, "alice", FakeOutlet(), 0, last_words).start()
        (await made.leg()).token(tokens=1000)
        shelf.report(name, "alice", ReaderReport(shown=10, buffered=4000, rate=rate))

        assert job.units_per_token == held
        made.dispatcher.cancel(job)
