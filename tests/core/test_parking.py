"""A reader leaves and comes back: its job wants nothing meanwhile, and nothing is counted twice."""

import pytest

from gateway.core.accounts import Delta
from gateway.core.capacity import EngineCapacity
from gateway.core.events import LegEnded, ReaderReport
from gateway.core.scheduler import Scheduler
from gateway.core.waiting_room import QueueLimits
from gateway.errors import QueueFull
from tests.core.pool import begun, give, reader, scheduler, spec

ONE = {"x": EngineCapacity(1)}


def parked(policy: str = "fair_qoe") -> Scheduler:
    """A job of 100 prompt tokens that said 20 within a second, when its reader left."""
    subject = scheduler(policy, ONE)
    subject.add(reader("job", "t", 100), 0.0)
    subject.plan(0.0)
    give(subject, "job", 20, 1.0)
    subject.park("job", 1.0)
    subject.leg_ended("job", LegEnded(), 1.05)
    return subject


@pytest.mark.parametrize("policy", ["fcfs", "vtc", "fair_qoe", "andes"])
def test_a_prompt_is_charged_once(policy: str) -> None:
    """100 + 2 x 20 before and after; the bill that was opened first is the one that is closed."""
    subject = parked(policy)
    account = subject._roster.counters.account("t")
    assert (account.counter, account.open_bills, account.wanting) == (140.0, 1, 0)
    subject.unpark("job", 50.0)
    (back,) = begun(subject.plan(60.0))
    assert back.job_id == "job"
    give(subject, "job", 30, 61.0)
    assert (account.counter, account.open_bills) == (160.0, 1)
    assert account.overhead == 120
    subject.remove("job", 61.0, finished=True)
    assert (account.counter, account.open_bills) == (160.0, 0)


def test_the_readers_clock_stands_still() -> None:
    """Whatever was said of the reader meanwhile: lead and QoE are after 49 s what they were."""
    subject = parked()
    tracker = subject._roster.jobs["job"].tracker
    lead, qoe = tracker.lead(1.0), tracker.qoe(1.5)
    subject.reader("job", ReaderReport(visible=True), 20.0)
    assert (tracker.lead(40.0), tracker.present) == (lead, False)
    subject.unpark("job", 50.0)
    assert tracker.lead(50.0) == pytest.approx(lead)
    assert tracker.qoe(50.5) == pytest.approx(qoe)


def test_who_is_away_is_neither_backlogged_nor_in_anybodys_way() -> None:
    """The others' floor and queue are as if the job were not there."""
    subject = parked()
    assert (subject.waiting, subject.backlogged(), subject.place_in_queue("job")) == (0, set(), None)
    subject.add(spec("other", "u"), 2.0)
    assert [each.job_id for each in begun(subject.plan(2.0))] == ["other"]
    subject.add(spec("third", "v"), 3.0)
    assert subject.backlogged() == {"v"}
    subject.unpark("job", 4.0)  # with five seconds of text
    subject.plan(4.0)
    assert subject.backlogged() == {"v"}
    subject.plan(9.0)
    assert subject.backlogged() == {"t", "v"}


def test_a_policy_that_never_pauses_serves_who_is_back_in_turn() -> None:
    """The tenant is backlogged at once, whatever text lies ready: nobody would look again."""
    subject = parked("vtc")
    subject.unpark("job", 2.0)
    assert subject.backlogged() == {"t"}
    assert [each.job_id for each in begun(subject.plan(2.0))] == ["job"]


def test_the_queues_timeout_stands_still_too() -> None:
    """Ten seconds in the queue are ten seconds with a reader; the full queue refuses who was never started."""
    subject = scheduler("fcfs", ONE, QueueLimits(max_jobs=1, timeout_s=10.0))
    subject.add(spec("runs"), 0.0)
    subject.plan(0.0)
    subject.add(spec("waits"), 0.0)
    subject.park("waits", 4.0)
    subject.add(spec("next"), 5.0)
    with pytest.raises(QueueFull):
        subject.unpark("waits", 6.0)
    subject.remove("next", 7.0)
    subject.unpark("waits", 34.0)
    assert subject.plan(39.9).reject == ()
    assert [each.job_id for each in subject.plan(40.0).reject] == ["waits"]


def inherited(policy: str, produced: int, limits: QueueLimits = QueueLimits()) -> Scheduler:  # noqa: B008 - frozen
    """A job of 100 prompt tokens that said so many at another gateway; its charges have been heard."""
    subject = scheduler(policy, ONE, limits)
    subject.counters.merge("dead", Delta({"t": 140.0}))
    subject.inherit(reader("job", "t", 100), produced, 10.0)
    return subject


@pytest.mark.parametrize("policy", ["fcfs", "vtc", "vtc_predict", "rpm(1)", "fair_qoe"])
def test_what_another_gateway_has_charged_is_not_charged_again(policy: str) -> None:
    subject = inherited(policy, 20)
    account = subject.counters.account("t")
    assert (account.counter, account.open_bills, account.wanting, len(subject)) == (140.0, 1, 0, 1)
    subject.unpark("job", 11.0)
    (back,) = subject.plan(12.0).resume
    give(subject, "job", 30, 13.0)
    assert (back.job_id, account.counter) == ("job", 160.0)
    subject.remove("job", 14.0, finished=True)
    assert (account.counter, account.open_bills) == (160.0, 0)


def test_an_inherited_job_that_never_said_anything_is_charged_at_its_start() -> None:
    subject = inherited("vtc", 0)
    subject.unpark("job", 11.0)
    assert len(subject.plan(12.0).start) == 1
    assert subject.counters.account("t").counter == 240.0


def test_what_was_inherited_counts_as_read_at_its_pace() -> None:
    """Its reader waits for the next word, and not until all of it would have been read once more."""
    subject = inherited("fair_qoe", 2000)
    subject.unpark("job", 11.0)
    subject.plan(11.0)
    tracker = subject._roster.jobs["job"].tracker
    assert tracker.lead(11.0) == 0.0
    assert tracker.qoe(10.0) == pytest.approx(1.0)
    assert subject.running("x") == 1


def test_an_inherited_job_lifts_nobody_and_needs_a_place_only_while_it_is_fresh() -> None:
    """What a tenant is behind it stays behind; a paused job has no place in the queue either."""
    subject = scheduler("vtc", ONE, QueueLimits(max_jobs=1))
    subject.add(spec("runs", "u", 500), 0.0)
    subject.plan(0.0)
    subject.add(spec("waits", "u"), 0.0)
    subject.counters.merge("dead", Delta({"t": 140.0}))
    subject.inherit(reader("old", "t"), 20, 1.0)
    assert subject.counters.account("t").counter == 140.0
    with pytest.raises(QueueFull):
        subject.inherit(reader("fresh", "t"), 0, 1.0)
    with pytest.raises(ValueError, match="already"):
        subject.inherit(reader("old", "t"), 20, 1.0)
