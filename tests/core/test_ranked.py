"""What the policies that pause have in common, one by one: places, swaps, the cap, what pays."""

import pytest

from gateway.core.capacity import EngineCapacity
from gateway.core.events import LegEnded
from gateway.core.latency import IterationModel
from gateway.core.plan import Reason
from gateway.core.policies.places import PauseCap
from gateway.core.policies.ranked import Ranked
from tests.core.pool import PATIENT, RANKED, begun, finish, give, program, reader, scheduler, spec


@pytest.mark.parametrize("policy", RANKED)
def test_a_job_larger_than_the_watermark_runs_alone(policy: str) -> None:
    """950 of 1000 tokens on an idle engine; while others run it waits, and while it runs nobody joins it."""
    subject = scheduler(policy, {"e": EngineCapacity(4, 1000)}, PATIENT)
    subject.add(spec("large", prompt=950), 0.0)
    assert [move.job_id for move in subject.plan(0.0).start] == ["large"]
    subject.add(spec("small"), 1.0)
    assert not begun(subject.plan(1.0))
    finish(subject, "large", 2.0)
    assert [move.job_id for move in subject.plan(2.0).start] == ["small"]
    subject.add(spec("next", prompt=950), 3.0)
    assert not begun(subject.plan(3.0))
    finish(subject, "small", 4.0)

    assert [move.job_id for move in subject.plan(4.0).start] == ["next"]


@pytest.mark.parametrize("policy", RANKED)
def test_who_was_failed_by_the_only_engine_gets_it_again(policy: str) -> None:
    """Also while others wait for it: with nowhere else to go, the one that failed has to do."""
    subject = scheduler(policy, {"e": EngineCapacity(2)}, PATIENT)
    for name in ("a", "b"):
        subject.add(spec(name), 0.0)
    subject.plan(0.0)
    subject.engine("e", EngineCapacity(1), 0.0)
    for name in ("a", "b"):
        subject.leg_ended(name, LegEnded(failed=True), 0.0)

    assert len(begun(subject.plan(1.0))) == 1


@pytest.mark.parametrize("policy", RANKED)
def test_who_was_failed_waits_for_another_engine(policy: str) -> None:
    """One that is ready, if full; those behind it may start at the engine that failed it."""
    subject = scheduler(policy, {"bad": EngineCapacity(1), "full": EngineCapacity(1)}, PATIENT)
    for name in ("poison", "busy"):
        subject.add(spec(name), 0.0)
    where = {move.job_id: move.engine_id for move in subject.plan(0.0).start}
    subject.leg_ended("poison", LegEnded(failed=True), 0.0)
    subject.add(spec("good"), 0.5)
    subject.add(spec("more"), 0.5)
    (move,) = begun(subject.plan(1.0))

    assert move.job_id != "poison"
    assert move.engine_id == where["poison"]


def test_a_job_that_cannot_have_the_best_engine_takes_an_idle_one() -> None:
    """The best one could only give room by a pause that is not allowed; what is free elsewhere is taken."""
    engines = {"big": EngineCapacity(8, 10_000), "small": EngineCapacity(8, 1000)}
    subject = scheduler("andes", engines, PATIENT, cap=0.0)
    subject.add(reader("a", prompt=8800), 0.0)
    assert subject.plan(0.0).start[0].engine_id == "big"
    give(subject, "a", 80, 1.0)
    for name in ("b", "c"):
        subject.add(program(name, prompt=500), 1.0)
    plan = subject.plan(1.0)

    assert [move.engine_id for move in plan.start] == ["small"]


def test_who_has_just_begun_is_not_paused_by_the_same_plan() -> None:
    """Two need more than half of the memory each: the sum seems to fit, the second does not."""
    engines = {"x": EngineCapacity(2, 100), "y": EngineCapacity(1)}
    subject = scheduler("fair_qoe", engines, PATIENT, cap=10.0)
    for number in range(3):
        subject.add(program(f"p{number}", tenant=f"t{number}"), 0.0)
    for now in (0.0, 0.1, 0.2):
        plan = subject.plan(now)
        assert not {move.job_id for move in plan.pause} & {move.job_id for move in begun(plan)}
    assert (subject.running("x"), subject.running("y")) == (1, 1)


@pytest.mark.parametrize("policy", ["andes", "fair_qoe"])
def test_who_has_enough_to_read_gives_way_and_comes_back_in_time(policy: str) -> None:
    """The reader with 100 s of text yields to the one with none, and the place is taken when the leg has ended."""
    subject = scheduler(policy, {"e": EngineCapacity(1)}, PATIENT, cap=10.0)
    subject.add(reader("ahead", "a"), 0.0)
    subject.plan(0.0)
    give(subject, "ahead", 400, 1.0)
    subject.add(reader("new", "b"), 1.0)
    plan = subject.plan(1.0)
    assert [(move.job_id, move.engine_id) for move in plan.pause] == [("ahead", "e")]
    assert not begun(plan)
    assert not subject.plan(1.05)  # nobody is paused twice for one need
    subject.leg_ended("ahead", LegEnded(), 1.1)
    plan = subject.plan(1.1)
    assert [move.job_id for move in plan.start] == ["new"]
    assert not plan.resume
    give(subject, "new", 440, 2.0)
    plan = subject.plan(100.9)

    assert [move.job_id for move in plan.pause] == ["new"]


def test_what_cannot_be_resumed_is_never_paused() -> None:
    """However much the newcomer would gain."""
    subject = scheduler("lqsf", {"e": EngineCapacity(1)}, PATIENT, cap=10.0)
    subject.add(spec("a", pace=reader("?").pace), 0.0)
    subject.plan(0.0)
    give(subject, "a", 400, 1.0)
    subject.add(reader("b"), 1.0)

    assert not any(subject.plan(1.0 + second).pause for second in range(30))


def test_a_resume_goes_home() -> None:
    """Where its prefix lies, though another engine is emptier; elsewhere if there is no room at home."""
    engines = {"home": EngineCapacity(2, 10_000), "other": EngineCapacity(2, 1000)}
    for full in (False, True):
        subject = scheduler("andes", engines, PATIENT)
        subject.add(reader("a", prompt=500), 0.0)
        assert subject.plan(0.0).start[0].engine_id == "home"
        give(subject, "a", 50, 1.0)
        subject.leg_ended("a", LegEnded(), 1.0)
        if full:
            subject.engine("home", EngineCapacity(2, 10_000, ready=False), 1.0)
        assert subject.plan(1.0).resume[0].engine_id == ("other" if full else "home")


def test_the_cap_counts_pauses_for_each_arrival() -> None:
    """On average over ten minutes: half a pause for each of four arrivals, and what is older counts no more."""
    cap = PauseCap(0.5)
    for _ in range(4):
        cap.arrived(0.0)
    assert cap.allows(2, 1.0)
    assert not cap.allows(3, 1.0)
    cap.paused(1.0)
    cap.paused(500.0)
    assert not cap.allows(1, 500.0)
    for _ in range(4):
        cap.arrived(590.0)
    assert cap.allows(2, 590.0)
    assert not cap.allows(3, 590.0)

    assert cap.allows(1, 602.0)  # four arrivals left the window, and one pause
    assert not cap.allows(2, 602.0)


def test_a_pool_without_a_cap_left_pauses_nobody() -> None:
    """Cap 0: the same need as above, and no pause."""
    subject = scheduler("andes", {"e": EngineCapacity(1)}, PATIENT, cap=0.0)
    subject.add(reader("ahead"), 0.0)
    subject.plan(0.0)
    give(subject, "ahead", 400, 1.0)
    subject.add(reader("new"), 1.0)

    assert not subject.plan(1.0)


@pytest.mark.parametrize(("prefill_s", "pauses"), [(0.0001, 1), (0.5, 0)])
def test_a_pause_must_gain_more_than_the_others_lose(prefill_s: float, pauses: int) -> None:
    """The refiner: three readers without text would stall while the newcomer's prompt is computed."""
    engine = EngineCapacity(4, model=IterationModel(0.01, 0.0, 0.0, prefill_s))
    subject = scheduler("andes", {"e": engine}, PATIENT, cap=10.0)
    for number in range(4):
        subject.add(reader(f"r{number}"), 0.0)
    subject.plan(0.0)
    give(subject, "r0", 400, 1.0)
    for number in range(1, 4):
        give(subject, f"r{number}", 4, 1.0)
    subject.add(reader("new", prompt=20), 1.5)

    assert len(subject.plan(1.5).pause) == pauses


@pytest.mark.parametrize("policy", RANKED)
def test_memory_that_is_overrun_is_relieved(policy: str) -> None:
    """Answers that grew beyond what was set aside: one is paused, not all, as soon as somebody waits."""
    subject = scheduler(policy, {"e": EngineCapacity(4, 1000)}, PATIENT, cap=10.0)
    for name in ("a", "b", "c"):
        subject.add(reader(name), 0.0)
    subject.plan(0.0)
    for name in ("a", "b", "c"):
        give(subject, name, 320, 1.0)
    subject.add(spec("d"), 1.0)
    plan = subject.plan(1.0)

    assert [move.reason for move in plan.pause] == [Reason.MEMORY]
    assert not begun(plan)


@pytest.mark.parametrize("policy", ["andes", "fair_qoe"])
@pytest.mark.parametrize(("prompt", "pays"), [(10, True), (30_000, False)])
def test_a_pause_must_pay_for_computing_the_victim_again(policy: str, prompt: int, pays: bool) -> None:
    """At 1000 tokens a second the long prompt takes 30 s of the engine to compute again, for a gain over 10 s."""
    slow = IterationModel(0.02, 0.0, 0.0, 1 / 1000)
    subject = scheduler(policy, {"e": EngineCapacity(1, model=slow)}, PATIENT, cap=10.0)
    subject.add(reader("ahead", "a", prompt=prompt), 0.0)
    subject.plan(0.0)
    give(subject, "ahead", 400, 40.0)
    subject.add(reader("new", "b"), 40.0)

    assert bool(subject.plan(40.0).pause) is pays


@pytest.mark.parametrize("policy", RANKED)
def test_nothing_is_remembered_of_jobs_that_found_room(policy: str) -> None:
    """A pool that is never full never ranks, and must not gather who came and went."""
    subject = scheduler(policy, {"e": EngineCapacity(4)}, PATIENT)
    for number in range(100):
        subject.add(reader(f"j{number}"), float(number))
        subject.plan(float(number))
        finish(subject, f"j{number}", number + 0.5)

    assert isinstance(subject._policy, Ranked)
    assert not subject._policy._hot


@pytest.mark.parametrize("policy", RANKED)
def test_a_prompt_of_nothing_can_be_ranked(policy: str) -> None:
    """An engine may count no token in an empty prompt."""
    subject = scheduler(policy, {"e": EngineCapacity(1)}, PATIENT)
    for name in ("first", "second", "third"):
        subject.add(reader(name, prompt=0), 0.0)

    assert len(begun(subject.plan(0.0))) == 1
