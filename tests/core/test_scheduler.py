"""The scheduler's promises one by one; the machine in test_scheduler_machine.py looks for what is missing here."""

import pytest

from gateway.core.capacity import EngineCapacity
from gateway.core.events import LegEnded
from gateway.core.job import IllegalMove
from gateway.core.plan import Plan, Reason, Reject, Resume
from gateway.core.waiting_room import QueueLimits
from gateway.errors import QueueFull, QueueShareFull, RateLimited
from tests.core.pool import READING, finish, give, program, reader, scheduler, spec, start

IN_ORDER = ["fcfs", "round_robin", "lcf", "vtc", "vtc_predict"]


def test_a_job_waits_until_there_is_room() -> None:
    """One place: the second job starts when the first one's leg has ended, not when it was removed."""
    subject = scheduler(engines={"e": EngineCapacity(1)})
    subject.add(spec("a"), 0.0)
    subject.add(spec("b"), 0.0)
    assert subject.plan(0.0) == Plan(start=(start("a", "e"),), wake_at=60.0)
    assert (subject.place_in_queue("a"), subject.place_in_queue("b")) == (None, 0)
    subject.remove("a", 0.0)
    assert not subject.plan(1.0)
    subject.leg_ended("a", LegEnded(), 0.0)

    assert subject.plan(2.0) == Plan(start=(start("b", "e"),))
    assert (len(subject), subject.waiting, subject.running("e")) == (1, 0, 1)


def test_the_least_loaded_engine_is_taken() -> None:
    """By the larger of its two measures; equals by name."""
    engines = {"b": EngineCapacity(4, 10_000), "a": EngineCapacity(4, 10_000), "c": EngineCapacity(4, 1000)}
    subject = scheduler(engines=engines)
    for number in range(6):
        subject.add(spec(f"j{number}", prompt=200), 0.0)

    # 300 tokens each: on a and b a place is worth 0.25 and memory 0.03, on c 0.25 and 0.3.
    assert [each.engine_id for each in subject.plan(0.0).start] == ["a", "b", "c", "a", "b", "c"]


def test_the_watermark_holds_and_a_large_job_runs_alone() -> None:
    """Nine tenths of 1000 tokens; a job above that waits for an idle engine and keeps the others out."""
    subject = scheduler(engines={"e": EngineCapacity(10, 1000)})
    for name, prompt in (("a", 400), ("b", 300), ("large", 2000), ("c", 10)):
        subject.add(spec(name, prompt=prompt), 0.0)
    assert [each.job_id for each in subject.plan(0.0).start] == ["a", "b"]
    for name in ("a", "b"):
        assert not subject.plan(1.0)
        subject.remove(name, 0.0)
        subject.leg_ended(name, LegEnded(), 0.0)
    assert [each.job_id for each in subject.plan(1.0).start] == ["large"]
    subject.remove("large", 0.0)
    subject.leg_ended("large", LegEnded(), 0.0)

    assert [each.job_id for each in subject.plan(2.0).start] == ["c"]


def test_a_growing_job_takes_more_room() -> None:
    """What was assumed of an answer is corrected by what it becomes, and by the prompt's true length."""
    subject = scheduler(engines={"e": EngineCapacity(10, 1000)})
    subject.add(spec("a"), 0.0)
    subject.plan(0.0)
    assert subject._roster.fleet["e"].tokens == 110
    subject.observe("a", 90, 0.0)
    assert 110 <= subject._roster.fleet["e"].tokens <= 10 + 90 + 32
    subject.observe("a", 300, 0.0, prompt_tokens=500)
    assert 816 <= subject._roster.fleet["e"].tokens <= 832
    subject.add(spec("b"), 0.0)
    assert not subject.plan(0.0)
    subject.remove("a", 0.0)
    subject.leg_ended("a", LegEnded(), 0.0)

    assert subject._roster.fleet["e"].tokens == 0


def test_a_failed_leg_goes_elsewhere() -> None:
    """It waits for a full engine rather than go back to the one that failed it, unless that is the only one."""
    subject = scheduler(engines={"bad": EngineCapacity(1), "good": EngineCapacity(1)})
    subject.add(spec("a"), 0.0)
    subject.add(spec("b"), 0.0)
    assert subject.plan(0.0).start == (start("a", "bad"), start("b", "good"))
    subject.leg_ended("a", LegEnded(failed=True), 0.0)
    assert not subject.plan(0.0)
    subject.engine("good", EngineCapacity(1, ready=False), 0.0)
    assert subject.plan(0.0).start == (start("a", "bad"),)
    subject.engine("good", EngineCapacity(1), 0.0)
    subject.leg_ended("a", LegEnded(failed=True), 0.0)
    subject.remove("b", 0.0)
    subject.leg_ended("b", LegEnded(), 0.0)

    assert subject.plan(0.0).start == (start("a", "good"),)


def test_a_job_with_tokens_is_resumed_and_never_times_out() -> None:
    """After the first token its place in the order is by arrival, and its clock has stopped."""
    subject = scheduler(limits=QueueLimits(timeout_s=5.0), engines={"e": EngineCapacity(1)})
    subject.add(spec("a"), 0.0)
    subject.plan(0.0)
    subject.add(spec("b"), 1.0)
    subject.observe("a", 3, 0.0)
    subject.leg_ended("a", LegEnded(), 0.0)

    plan = subject.plan(100.0)
    assert plan == Plan(resume=(Resume("a", "e", Reason.ROOM),), reject=(Reject("b", Reason.QUEUE_TIMEOUT),))
    assert len(subject) == 1


def test_the_queue_times_out_when_it_said() -> None:
    """A plan names its next deadline; at that moment the job is out, a moment before it is not."""
    subject = scheduler(limits=QueueLimits(timeout_s=5.0))
    subject.add(spec("a"), 1.0)
    subject.add(spec("b"), 2.0)
    assert subject.plan(2.0) == Plan(wake_at=6.0)
    assert subject.plan(5.999) == Plan(wake_at=6.0)
    assert subject.plan(6.0) == Plan(reject=(Reject("a", Reason.QUEUE_TIMEOUT),), wake_at=7.0)
    subject.remove("b", 0.0)

    assert subject.plan(6.0) == Plan()
    assert len(subject) == 0


def test_a_new_job_does_not_inherit_an_old_deadline() -> None:
    """A name that comes again is another job."""
    subject = scheduler(limits=QueueLimits(timeout_s=5.0))
    subject.add(spec("a"), 0.0)
    subject.remove("a", 0.0)
    subject.add(spec("a"), 4.0)

    assert subject.plan(6.0) == Plan(wake_at=9.0)


def test_the_queue_is_bounded() -> None:
    """One tenant's share, then all of it; who runs takes no place, and who comes back is let in."""
    limits = QueueLimits(max_jobs=3, max_jobs_per_tenant=2)
    subject = scheduler(limits=limits, engines={"e": EngineCapacity(1)})
    subject.add(spec("a1", "a"), 0.0)
    subject.plan(0.0)
    subject.add(spec("a2", "a"), 0.0)
    subject.add(spec("a3", "a"), 0.0)
    with pytest.raises(QueueShareFull) as share:
        subject.add(spec("a4", "a"), 0.0)
    subject.add(spec("b1", "b"), 0.0)
    with pytest.raises(QueueFull) as full:
        subject.add(spec("c1", "c"), 0.0)
    assert share.value.retry_after_s
    assert full.value.retry_after_s
    subject.leg_ended("a1", LegEnded(failed=True), 0.0)
    assert subject.waiting == 4
    subject.plan(0.0)
    subject.remove("a2", 0.0)

    subject.add(spec("c1", "c"), 0.0)
    assert len(subject) == 4


def test_an_engine_that_is_not_ready_gets_nothing_new() -> None:
    """Its legs go on; it can leave once they have ended, and not before."""
    subject = scheduler(engines={"e": EngineCapacity(2)})
    subject.add(spec("a"), 0.0)
    subject.plan(0.0)
    subject.engine("e", EngineCapacity(2, ready=False), 0.0)
    subject.add(spec("b"), 0.0)
    assert not subject.plan(0.0)
    with pytest.raises(ValueError, match="1 legs"):
        subject.engine("e", None, 0.0)
    assert subject.running("e") == 1
    subject.remove("a", 0.0)
    subject.leg_ended("a", LegEnded(), 0.0)
    subject.engine("e", None, 0.0)

    assert not subject.plan(0.0)
    assert subject.waiting == 1


def test_mistakes_of_the_caller_change_nothing() -> None:
    """A second job of the same name, an end without a leg, a second removal, unknown names."""
    subject = scheduler("rpm(3)", engines={"e": EngineCapacity(1)})
    subject.add(spec("a"), 0.0)
    subject.add(spec("b"), 0.0)
    subject.plan(0.0)
    with pytest.raises(ValueError, match="already here"):
        subject.add(spec("a"), 0.0)
    with pytest.raises(IllegalMove):
        subject.leg_ended("b", LegEnded(), 0.0)
    subject.remove("a", 0.0)
    with pytest.raises(IllegalMove):
        subject.remove("a", 0.0)
    with pytest.raises(KeyError):
        subject.remove("nobody", 0.0)
    with pytest.raises(KeyError):
        subject.leg_ended("nobody", LegEnded(), 0.0)

    assert (len(subject), subject.waiting, subject.running("e")) == (2, 1, 1)
    subject.add(spec("c"), 0.0)  # what was refused was no request


@pytest.mark.parametrize("policy", IN_ORDER)
def test_a_job_that_waits_for_another_engine_lets_others_by(policy: str) -> None:
    """The engine that failed it stands idle: jobs behind it start there, and it keeps its place for the other one."""
    subject = scheduler(policy, engines={"bad": EngineCapacity(1), "full": EngineCapacity(1)})
    for name in ("poison", "busy", "good"):
        subject.add(spec(name, tenant=name), 0.0)
    assert subject.plan(0.0).start == (start("poison", "bad"), start("busy", "full"))
    subject.leg_ended("poison", LegEnded(failed=True), 0.0)

    assert subject.plan(1.0).start == (start("good", "bad"),)

    subject.remove("busy", 0.0)
    subject.leg_ended("busy", LegEnded(), 0.0)
    assert subject.plan(2.0).start == (start("poison", "full"),)


def test_too_many_a_minute_are_refused() -> None:
    """rpm(2): the third within a minute is told when to come again; others are not touched, nor is the next minute."""
    subject = scheduler("rpm(2)")
    subject.add(spec("a1", "a"), 0.0)
    subject.add(spec("a2", "a"), 10.0)
    subject.add(spec("b1", "b"), 10.0)
    with pytest.raises(RateLimited) as refused:
        subject.add(spec("a3", "a"), 20.0)
    assert refused.value.retry_after_s == 40.0
    assert len(subject) == 3

    subject.add(spec("a3", "a"), 60.0)
    assert len(subject) == 4


def test_tokens_never_cause_a_plan() -> None:
    """After a plan the next is due with the next tick while somebody waits; what is produced does not move it."""
    subject = scheduler("fair_qoe", {"e": EngineCapacity(1)}, tick_s=0.1)
    subject.add(reader("a"), 0.0)
    assert subject.plan_at == 0.0
    subject.plan(0.0)
    assert subject.plan_at is None
    subject.add(reader("b"), 1.0)
    assert subject.plan(1.0).wake_at == subject.plan_at == 1.1
    for step in range(1, 6):
        give(subject, "a", step, 1.0 + step / 100)

    assert subject.plan_at == 1.1


def test_many_arrivals_are_one_decision() -> None:
    """Who joins others that wait is decided with the next tick; the end of a leg is answered a fifth of one later."""
    subject = scheduler("fair_qoe", {"e": EngineCapacity(1)}, tick_s=0.1)
    for name in ("a", "b"):
        subject.add(reader(name), 0.0)
    subject.plan(0.0)
    subject.add(reader("c"), 0.01)
    assert subject.plan_at == 0.1
    subject.remove("a", 0.015)
    assert subject.plan_at == 0.1
    subject.leg_ended("a", LegEnded(), 0.015)

    assert subject.plan_at == pytest.approx(0.02)


def test_backlogged_is_who_wants_service() -> None:
    """Who waits for a start; not who runs, nor whose reader has enough to read, until that is used up."""
    slow = READING
    subject = scheduler("andes", {"e": EngineCapacity(1)}, cap=10.0)
    subject.add(reader("a", "a", pace=slow), 0.0)
    subject.plan(0.0)
    assert subject.backlogged() == set()
    give(subject, "a", 400, 1.0)
    subject.add(reader("b", "b", pace=slow), 1.0)
    assert subject.backlogged() == {"b"}
    assert [each.reason for each in subject.plan(1.0).pause] == [Reason.AHEAD]
    subject.leg_ended("a", LegEnded(), 1.1)
    assert [each.job_id for each in subject.plan(1.2).start] == ["b"]
    assert subject.backlogged() == set()
    subject.plan(50.0)
    assert subject.backlogged() == set()
    subject.plan(101.0)

    assert subject.backlogged() == {"a"}


def test_who_loses_an_engine_wants_service_though_it_was_once_paused() -> None:
    """A pause is over when the job has begun again: what happens to its next leg is no pause."""
    subject = scheduler("andes", {"e": EngineCapacity(1)}, cap=10.0)
    subject.add(reader("a", "a"), 0.0)
    subject.plan(0.0)
    give(subject, "a", 400, 1.0)
    subject.add(program("b", "b"), 1.0)
    subject.plan(1.0)
    subject.leg_ended("a", LegEnded(), 1.1)
    subject.plan(1.2)
    finish(subject, "b", 2.0)
    assert [each.job_id for each in subject.plan(2.1).resume] == ["a"]
    subject.leg_ended("a", LegEnded(), 3.0)

    assert subject.backlogged() == {"a"}
