"""Fair QoE by example, rule by rule, and what it promises on random traffic."""

from typing import Any
from unittest.mock import DEFAULT, patch

import pytest
from hypothesis import given, settings

from gateway.core.capacity import EngineCapacity
from gateway.core.events import LegEnded, ReaderReport
from gateway.core.job import Job
from gateway.core.pace import Pace
from gateway.core.plan import Reason
from gateway.core.policies.fair_qoe import FairQoe
from gateway.core.policies.turns import Steps
from gateway.core.roster import Roster
from gateway.core.tuning import Tuning
from loadgen.simulator.setup import Run
from loadgen.simulator.world import World
from loadgen.workload import Reader, Workload
from tests.core.pool import PATIENT, begun, charge, finish, give, program, reader, scheduler
from tests.loadgen.simulating import READING, WORKLOADS, engine, setup, workload


class Watched(World):
    """Looks at every pause when it is decided: what begins after it in the same plan slows the engine."""

    judged = 0

    def run(self) -> Run:
        (gateway,) = self._gateways
        roster = gateway.scheduler._roster
        with patch.object(roster, "pause", wraps=roster.pause, side_effect=self._judge):
            return super().run()

    def _judge(self, job: Job, reason: Reason) -> Any:
        (gateway,) = self._gateways
        roster, policy = gateway.scheduler._roster, gateway.scheduler._policy
        assert isinstance(policy, FairQoe)
        if not policy.overloaded and reason is not Reason.MEMORY and job.spec.pace.paced:
            self.judged += 1
            assert job.fresh or not roster.due(job, self.now)
        return DEFAULT


def test_nobody_is_paused_below_its_lead() -> None:
    """Eight readers on three seats that could serve many more: pauses, each of somebody with enough to read."""
    slow = Pace("reading", 1.0, 1.2)
    load = workload([(number / 2, "abc"[number % 3], 50, 80, slow, Reader()) for number in range(8)])
    world = Watched(load, setup(engines=[engine(3)]))
    run = world.run()

    assert world.judged >= 3
    assert max(job.experience()[1] for job in run.jobs) < 1.0  # nor does a resumed stream keep its reader waiting


@settings(deadline=None, max_examples=50)
@given(WORKLOADS)
def test_nobody_starves_nor_stalls_for_a_pause(load: Workload) -> None:
    """The last job has ended when all work was done one job after the other, pauses and their prefills included."""
    world = Watched(load, setup())
    run = world.run()
    tuning, iteration_s = Tuning(), 1 / 20 + 2 * 0.001
    work_s = sum(
        job.request.output_tokens * iteration_s
        + (job.legs + 1)
        * ((job.request.input_tokens + job.request.output_tokens) / 2000 + 4 * iteration_s + tuning.settle_s)
        + (job.legs + 1) * 2 * tuning.tick_s
        for job in run.jobs
    )

    assert run.ended_s <= load.requests[-1].arrived_s + work_s


def test_who_does_not_look_gives_way_first_and_goes_on_when_there_is_room() -> None:
    """Both have as much to read; the hidden one is paused, and comes back though nobody looks."""
    subject = scheduler("fair_qoe", {"e": EngineCapacity(2)}, PATIENT, cap=10.0)
    for name in ("here", "hidden"):
        subject.add(reader(name), 0.0)
    subject.plan(0.0)
    for name in ("here", "hidden"):
        give(subject, name, 200, 1.0)
    subject.reader("hidden", ReaderReport(visible=False), 1.0)
    subject.add(reader("new"), 1.0)
    assert [(move.job_id, move.reason) for move in subject.plan(1.0).pause] == [("hidden", Reason.AWAY)]
    subject.leg_ended("hidden", LegEnded(), 1.1)
    assert [move.job_id for move in begun(subject.plan(1.1))] == ["new"]
    assert subject.backlogged() == set()  # nobody reads it, so its tenant misses nothing
    finish(subject, "new", 2.0)

    assert [move.job_id for move in subject.plan(2.0).resume] == ["hidden"]


def test_a_stream_that_has_just_begun_is_not_paused() -> None:
    """What it gains may be from before its first token, but whether it is due is of now."""
    subject = scheduler("fair_qoe", {"e": EngineCapacity(1)}, PATIENT, slack_s=0.0)
    subject.add(reader("first", "a"), 0.0)
    subject.plan(0.0)
    subject.add(reader("second", "b"), 0.4)
    subject.plan(0.5)
    give(subject, "first", 1, 0.55)
    charge(subject, "a", 10_000.0)

    assert subject._roster.due(subject._roster.jobs["first"], 0.6)
    assert not subject.plan(0.6).pause


def test_a_stream_whose_browser_has_shown_all_is_not_paused() -> None:
    """By what was sent it is far ahead of its reader; its browser says otherwise, and counts from the next plan on."""
    subject = scheduler("fair_qoe", {"e": EngineCapacity(1)}, PATIENT, slack_s=0.0)
    subject.add(reader("first", "a"), 0.0)
    subject.plan(0.0)
    give(subject, "first", 20, 0.4)
    subject.add(reader("second", "b", 200), 0.4)
    charge(subject, "b", 1_000.0)
    assert not subject.plan(0.5).pause
    subject.reader("first", ReaderReport(shown=20.0), 0.55)
    charge(subject, "a", 10_000.0)

    assert not subject.plan(0.6).pause


def test_an_engine_that_comes_is_filled_by_what_it_offers() -> None:
    """While there was none, nobody could gain anything; the first plan with one must not go by that."""
    subject = scheduler("fair_qoe", {}, PATIENT, assumed_output_tokens=0)
    subject.add(reader("large", prompt=8000), 0.0)
    for number in range(6):
        subject.add(reader(f"small{number}", prompt=50), 0.0)
    subject.plan(0.1)
    subject.engine("e", EngineCapacity(2), 0.2)

    assert all(move.job_id.startswith("small") for move in begun(subject.plan(0.2)))


def test_a_paused_stream_whose_browser_has_shown_all_goes_on() -> None:
    """It had a minute to read when it was paused; its browser says that all is shown, and it comes back for that."""
    subject = scheduler("fair_qoe", {"e": EngineCapacity(1)}, PATIENT)
    subject.add(reader("first", "a"), 0.0)
    subject.plan(0.0)
    give(subject, "first", 240, 0.4)
    subject.add(reader("second", "b"), 0.4)
    assert [move.job_id for move in subject.plan(0.5).pause] == ["first"]
    subject.leg_ended("first", LegEnded(), 0.55)
    subject.plan(0.55)
    give(subject, "second", 240, 0.6)
    assert not subject.plan(0.6).pause
    subject.reader("first", ReaderReport(shown=240.0), 0.65)

    assert [move.job_id for move in subject.plan(0.65).pause] == ["second"]


def test_a_program_is_never_paused_for_what_it_has_already() -> None:
    """It reads nothing, so it cannot be ahead; only another tenant that is behind may take its place."""
    subject = scheduler("fair_qoe", {"e": EngineCapacity(1)}, PATIENT, cap=10.0)
    subject.add(program("program"), 0.0)
    subject.plan(0.0)
    give(subject, "program", 400, 1.0)
    subject.add(reader("reader"), 1.0)

    assert not subject.plan(1.0).pause


@pytest.mark.parametrize(("share", "begins"), [(0.5, True), (0.0, False)])
def test_who_waited_long_comes_by_age(share: float, begins: bool) -> None:
    """Newcomers gain more than who has lost most; only a share of the starts goes by age."""
    subject = scheduler("fair_qoe", {"e": EngineCapacity(1)}, PATIENT, age_s=5.0, age_share=share)
    subject.add(reader("n0"), 0.0)
    subject.add(reader("old"), 0.0)
    subject.plan(0.0)
    running, late = "n0", []
    if "old" in subject._roster.fleet["e"].legs:
        running = "old"
    victim = "n0" if running == "old" else "old"
    for second in range(1, 30):
        subject.add(reader(f"n{second}"), float(second))
        finish(subject, running, float(second))
        plan = subject.plan(float(second))
        (move,) = begun(plan)
        running = move.job_id
        if move.job_id == victim:
            late.append((move.reason, second))

    assert late == ([(Reason.LATE, 7)] if begins else [])


def test_steps_go_up_at_once_and_down_half_a_step_late() -> None:
    """Phi is the slack times the pool's service over the backlogged tenants; at least 1."""
    roster = Roster(Tuning(slack_s=0.0))  # phi is 1
    counters, steps = roster.counters, Steps()
    for tenant in ("a", "b"):
        counters.enter(tenant)
        counters.arrive(tenant)
    seen = []
    for ahead in (0.5, 1.1, 0.6, 0.4, 3.7, 2.6, 2.4, 0.0):
        counters.account("b").counter = ahead
        steps.sort(roster, 1.0)
        seen.append(steps.after("b", 0.0, runs=False))

    assert seen == [0, 1, 1, 0, 3, 3, 2, 0]
    assert steps.after("a", 0.0, runs=False) == 0
    assert [steps.after("a", service, runs=False) for service in (0.9, 1.0, 7.5)] == [0, 1, 7]
    assert [steps.after("a", service, runs=True) for service in (0.9, 1.4, 1.5)] == [0, 0, 1]
    assert steps.after("a", float("inf"), runs=False) >= 1e9


def test_the_smaller_the_slack_the_nearer_the_tenants() -> None:
    """One tenant floods the pool, another asks steadily: the service gap by slack."""
    flood = [(0.0, "a", 100, 60, READING, Reader()) for _ in range(20)]
    steady = [(number * 2.0, "b", 100, 60, READING, Reader()) for number in range(10)]
    gaps = [
        World(workload(flood + steady), setup(slack_s=slack)).run().gap.largest for slack in (0.0, 5.0, float("inf"))
    ]
    vtc = World(workload(flood + steady), setup("vtc")).run().gap.largest

    assert gaps[0] <= gaps[1] <= gaps[2]
    assert gaps[0] < gaps[2]
    assert gaps[0] <= vtc + 100 + 2 * 60  # within one job of it


def test_who_was_away_while_it_waited_has_not_waited_longer_than_it_was_there() -> None:
    """A minute without a reader makes nobody late; who has been there all that time is."""
    subject = scheduler("fair_qoe", {"e": EngineCapacity(1)}, PATIENT, age_s=5.0, age_share=1.0, cap=0.0)
    subject.add(reader("first"), 0.0)
    subject.plan(0.0)
    subject.add(reader("away"), 0.0)
    subject.park("away", 0.1)
    subject.add(reader("stays"), 0.2)
    subject.unpark("away", 60.0)
    policy = subject._policy
    assert isinstance(policy, FairQoe)
    policy._late_credit = 1.0
    jobs = list(subject._roster.waiting.values())

    late = [bid.job.spec.id for bid in policy.rank(jobs, 60.0) if bid.begins is Reason.LATE]
    assert late == ["stays"]


def test_a_program_that_nobody_waited_for_is_not_older_for_it() -> None:
    """What it gains by a place falls with the time that it has been waited for."""
    subject = scheduler("fair_qoe", {"e": EngineCapacity(1)}, PATIENT)
    subject.add(program("first"), 0.0)
    subject.plan(0.0)
    subject.add(program("away"), 0.0)
    subject.park("away", 0.0)
    subject.unpark("away", 60.0)
    subject.add(program("new"), 60.0)

    policy = subject._policy
    assert isinstance(policy, FairQoe)
    bids = policy.rank(list(subject._roster.waiting.values()), 60.0)
    assert bids[0].gain == bids[1].gain
