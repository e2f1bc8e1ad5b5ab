"""The scheduler's promises one by one; the machine in test_scheduler_machine.py looks for what is missing here."""

import pytest

from gateway.core.capacity import EngineCapacity
from gateway.core.job import IllegalMove, JobSpec
from gateway.core.plan import Plan, Reason, Reject, Resume, Start
from gateway.core.policies import POLICIES
from gateway.core.scheduler import LegEnded, Progress, QueueLimits, Scheduler
from gateway.errors import QueueFull, QueueShareFull


def scheduler(
    policy: str = "fcfs", limits: QueueLimits | None = None, engines: dict[str, EngineCapacity] | None = None
) -> Scheduler:
    made = Scheduler(POLICIES[policy](), limits or QueueLimits(), assumed_output_tokens=100)
    for name, capacity in (engines or {}).items():
        made.engine(name, capacity)
    return made


def spec(name: str, tenant: str = "t", prompt: int = 10, limit: int | None = None) -> JobSpec:
    return JobSpec(name, tenant, prompt, limit)


def start(job: str, engine: str) -> Start:
    return Start(job, engine, Reason.ROOM)


def test_a_job_waits_until_there_is_room() -> None:
    """One place: the second job starts when the first one's leg has ended, not when it was removed."""
    subject = scheduler(engines={"e": EngineCapacity(1)})
    subject.add(spec("a"), 0.0)
    subject.add(spec("b"), 0.0)
    assert subject.plan(0.0) == Plan(start=(start("a", "e"),), wake_at=60.0)
    assert (subject.place_in_queue("a"), subject.place_in_queue("b")) == (None, 0)
    subject.remove("a")
    assert not subject.plan(1.0)
    subject.leg_ended("a", LegEnded())

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
        subject.remove(name)
        subject.leg_ended(name, LegEnded())
    assert [each.job_id for each in subject.plan(1.0).start] == ["large"]
    subject.remove("large")
    subject.leg_ended("large", LegEnded())

    assert [each.job_id for each in subject.plan(2.0).start] == ["c"]


def test_a_growing_job_takes_more_room() -> None:
    """What was assumed of an answer is corrected by what it becomes, and by the prompt's true length."""
    subject = scheduler(engines={"e": EngineCapacity(10, 1000)})
    subject.add(spec("a"), 0.0)
    subject.plan(0.0)
    assert subject._engines["e"].tokens == 110
    subject.observe("a", Progress(produced=90))
    assert 110 <= subject._engines["e"].tokens <= 10 + 90 + 32
    subject.observe("a", Progress(produced=300, prompt_tokens=500))
    assert 816 <= subject._engines["e"].tokens <= 832
    subject.add(spec("b"), 0.0)
    assert not subject.plan(0.0)
    subject.remove("a")
    subject.leg_ended("a", LegEnded())

    assert subject._engines["e"].tokens == 0


def test_a_failed_leg_goes_elsewhere() -> None:
    """It waits for a full engine rather than go back to the one that failed it, unless that is the only one."""
    subject = scheduler(engines={"bad": EngineCapacity(1), "good": EngineCapacity(1)})
    subject.add(spec("a"), 0.0)
    subject.add(spec("b"), 0.0)
    assert subject.plan(0.0).start == (start("a", "bad"), start("b", "good"))
    subject.leg_ended("a", LegEnded(failed=True))
    assert not subject.plan(0.0)
    subject.engine("good", EngineCapacity(1, ready=False))
    assert subject.plan(0.0).start == (start("a", "bad"),)
    subject.engine("good", EngineCapacity(1))
    subject.leg_ended("a", LegEnded(failed=True))
    subject.remove("b")
    subject.leg_ended("b", LegEnded())

    assert subject.plan(0.0).start == (start("a", "good"),)


def test_a_job_with_tokens_is_resumed_and_never_times_out() -> None:
    """After the first token its place in the order is by arrival, and its clock has stopped."""
    subject = scheduler(limits=QueueLimits(timeout_s=5.0), engines={"e": EngineCapacity(1)})
    subject.add(spec("a"), 0.0)
    subject.plan(0.0)
    subject.add(spec("b"), 1.0)
    subject.observe("a", Progress(produced=3))
    subject.leg_ended("a", LegEnded())

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
    subject.remove("b")

    assert subject.plan(6.0) == Plan()
    assert len(subject) == 0


def test_a_new_job_does_not_inherit_an_old_deadline() -> None:
    """A name that comes again is another job."""
    subject = scheduler(limits=QueueLimits(timeout_s=5.0))
    subject.add(spec("a"), 0.0)
    subject.remove("a")
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
    subject.leg_ended("a1", LegEnded(failed=True))
    assert subject.waiting == 4
    subject.plan(0.0)
    subject.remove("a2")

    subject.add(spec("c1", "c"), 0.0)
    assert len(subject) == 4


def test_an_engine_that_is_not_ready_gets_nothing_new() -> None:
    """Its legs go on; it can leave once they have ended, and not before."""
    subject = scheduler(engines={"e": EngineCapacity(2)})
    subject.add(spec("a"), 0.0)
    subject.plan(0.0)
    subject.engine("e", EngineCapacity(2, ready=False))
    subject.add(spec("b"), 0.0)
    assert not subject.plan(0.0)
    with pytest.raises(ValueError, match="1 legs"):
        subject.engine("e", None)
    assert subject.running("e") == 1
    subject.remove("a")
    subject.leg_ended("a", LegEnded())
    subject.engine("e", None)

    assert not subject.plan(0.0)
    assert subject.waiting == 1


def test_mistakes_of_the_caller_change_nothing() -> None:
    """A second job of the same name, an end without a leg, a second removal, unknown names."""
    subject = scheduler(engines={"e": EngineCapacity(1)})
    subject.add(spec("a"), 0.0)
    subject.add(spec("b"), 0.0)
    subject.plan(0.0)
    with pytest.raises(ValueError, match="already here"):
        subject.add(spec("a"), 0.0)
    with pytest.raises(IllegalMove):
        subject.leg_ended("b", LegEnded())
    subject.remove("a")
    with pytest.raises(IllegalMove):
        subject.remove("a")
    for call in (subject.remove, lambda name: subject.leg_ended(name, LegEnded())):
        with pytest.raises(KeyError):
            call("nobody")

    assert (len(subject), subject.waiting, subject.running("e")) == (2, 1, 1)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_job_that_waits_for_another_engine_lets_others_by(policy: str) -> None:
    """The engine that failed it stands idle: jobs behind it start there, and it keeps its place for the other one."""
    subject = scheduler(policy, engines={"bad": EngineCapacity(1), "full": EngineCapacity(1)})
    for name in ("poison", "busy", "good"):
        subject.add(spec(name, tenant=name), 0.0)
    assert subject.plan(0.0).start == (start("poison", "bad"), start("busy", "full"))
    subject.leg_ended("poison", LegEnded(failed=True))

    assert subject.plan(1.0).start == (start("good", "bad"),)

    subject.remove("busy")
    subject.leg_ended("busy", LegEnded())
    assert subject.plan(2.0).start == (start("poison", "full"),)
