"""The simulator: nobody is lost, nothing is counted twice, and one workload gives one run."""

from array import array
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.pace import MACHINE, Pace
from gateway.core.policies import POLICIES
from gateway.core.qoe import Delivery, exact_qoe
from loadgen.simulator.job import SimJob
from loadgen.simulator.setup import INPUT_PRICE, OUTPUT_PRICE, Gateway, Run, Setup
from loadgen.simulator.world import World
from loadgen.workload import Reader, Request, Workload
from tests.loadgen.simulating import READING, WORKLOADS, engine, setup, workload

POLICY = st.sampled_from([*POLICIES, "rpm(2)"])


def check(run: Run, load: Workload) -> None:
    """Every request became one job, which ended once, with as many tokens as its outcome says, in order of time."""
    assert [job.request for job in run.jobs] == list(load.requests)
    for job in run.jobs:
        times = list(job.times())
        assert job.ended_s is not None
        assert all(earlier <= later for earlier, later in pairwise(times))
        assert len(times) == job.produced <= job.request.output_tokens
        if job.outcome == "finished":
            assert job.produced == job.request.output_tokens
            assert times[-1] == job.ended_s
        if times:
            assert job.request.arrived_s <= (job.started_s or 0.0) <= times[0]
            assert times[-1] <= job.ended_s
        assert 0.0 <= job.record().qoe <= 1.0


def service(world: World) -> dict[str, float]:
    """What the jobs got, counted from their histories."""
    total: dict[str, float] = {}
    for job in world.run_.jobs:
        if job.started_s is not None:
            got = INPUT_PRICE * job.request.input_tokens + OUTPUT_PRICE * len(list(job.times()))
            total[job.request.client] = total.get(job.request.client, 0.0) + got / job.request.weight
    return total


@settings(deadline=None, max_examples=60)
@given(load=WORKLOADS, policy=POLICY, engines=st.lists(st.integers(1, 3), min_size=1, max_size=2))
def test_every_job_ends_and_is_counted_once(load: Workload, policy: str, engines: list[int]) -> None:
    """Under every policy; pauses change who is served when, not how much anybody gets."""
    world = World(load, setup(policy, [engine(seats) for seats in engines]))
    check(world.run(), load)

    assert world._served == pytest.approx(service(world))
    if policy != "rpm(2)":
        assert not any(job.outcome == "rejected" for job in world.run_.jobs)


@settings(deadline=None, max_examples=20)
@given(load=WORKLOADS, policy=POLICY)
def test_one_workload_gives_one_run(load: Workload, policy: str) -> None:
    """Plan by plan, token by token."""
    first, second = (World(load, setup(policy), keep_plans=True).run() for _ in range(2))

    assert first.plans == second.plans
    assert [list(job.times()) for job in first.jobs] == [list(job.times()) for job in second.jobs]
    assert (first.ended_s, first.engine_s, first.gap.largest) == (second.ended_s, second.engine_s, second.gap.largest)


@settings(deadline=None, max_examples=30)
@given(load=WORKLOADS, gateways=st.integers(2, 3), policy=st.sampled_from(["vtc", "andes", "fair_qoe"]))
def test_several_gateways_lose_nobody(load: Workload, gateways: int, policy: str) -> None:
    """Each has its share of every engine; together they serve what one would."""
    world = World(load, setup(policy, [engine(3), engine(3)], gateways=gateways))
    check(world.run(), load)

    assert world._served == pytest.approx(service(world))
    assert {job.gateway for job in world.run_.jobs} == set(range(min(gateways, len(load.requests))))


@settings(deadline=None, max_examples=60)
@given(
    load=WORKLOADS,
    policy=POLICY,
    faults=st.lists(st.tuples(st.floats(0, 15), st.sampled_from(["lose", "drain", "add"])), max_size=4),
)
def test_engines_come_and_go_and_nobody_is_lost(load: Workload, policy: str, faults: list[tuple[float, str]]) -> None:
    """Engines are lost with what they run, drained, added; one stays, and everybody gets an answer in the end."""
    world = World(load, setup(policy, [engine(1)]))
    for number, (at, fault) in enumerate(faults):
        name = f"extra-{number}"
        world.at(at, lambda name: world.add_engine(name, engine(2)), name)
        if fault == "lose":
            world.at(at + 1.3, world.lose_engine, name)
        elif fault == "drain":
            world.at(at + 1.3, world.drain_engine, name)
    check(world.run(), load)

    assert world._served == pytest.approx(service(world))


@settings(deadline=None, max_examples=200)
@given(
    gaps=st.lists(st.floats(0, 8), min_size=1, max_size=40),
    cuts=st.lists(st.integers(1, 39), max_size=3),
    pace=st.builds(Pace, st.just("custom"), st.floats(0, 5), st.floats(0.2, 20)),
    away=st.sampled_from([(), ((1.0, 4.0),), ((0.0, 2.0), (9.0, 30.0))]),
)
def test_the_quality_of_a_job_is_the_reference(
    gaps: list[float], cuts: list[int], pace: Pace, away: tuple[tuple[float, float], ...]
) -> None:
    """However its tokens are spread over legs, and whether or not its reader was away."""
    at, arrived = 0.0, 3.0
    times = [arrived + (at := at + gap) for gap in gaps]
    edges = sorted({0, *(cut for cut in cuts if cut < len(times)), len(times)})
    runs = [(array("d", times[low:high]), leg) for leg, (low, high) in enumerate(pairwise(edges), start=1)]
    job = SimJob(
        Request(0, arrived, "a", 10, len(times), pace, reader=Reader(away)),
        "j",
        0,
        produced=len(times),
        ended_s=times[-1],
        runs=runs,
    )

    exact = exact_qoe(pace, [Delivery(at - arrived) for at in times], ended_at_s=times[-1] - arrived, away=away)
    assert job.experience()[0] == pytest.approx(exact, abs=1e-9)


@pytest.mark.parametrize(
    ("second", "leg", "pace", "away", "stall_s"),
    [
        ([5.0], 2, READING, (), 4.0),  # five tokens from 0 on are read at 1
        ([0.9], 2, READING, (), 0.0),  # in time
        ([5.0], 1, READING, (), 0.0),  # the same leg: the engine was slow, it was no pause
        ([5.0], 2, MACHINE, (), 0.0),  # a program reads nothing
        ([5.0], 2, READING, ((0.5, 4.0),), 1.0),  # away until 4: what was missed before does not count
    ],
)
def test_a_stall_is_what_a_pause_keeps_from_a_reader(
    second: list[float], leg: int, pace: Pace, away: tuple[tuple[float, float], ...], stall_s: float
) -> None:
    """From the moment that the reader has read what was there until the first token of the next leg."""
    request = Request(0, 0.0, "a", 10, 6, pace, reader=Reader(away))
    runs = [(array("d", [0.0] * 5), 1), (array("d", second), leg)]
    job = SimJob(request, "j", 0, produced=6, ended_s=second[-1], runs=runs)

    assert job.experience()[1] == pytest.approx(stall_s)


def test_a_lost_engine_is_paid_until_it_is_lost() -> None:
    """Engine seconds: one engine for the whole run, one for two seconds of it."""
    load = workload([(0.0, "a", 10, 100, READING, Reader()), (0.0, "b", 10, 100, READING, Reader())])
    world = World(load, Setup((engine(2), engine(2)), setup().rule, setup().tuning))
    world.at(2.0, world.lose_engine, "engine-1")
    run = world.run()

    assert run.engine_s == pytest.approx(run.ended_s + 2.0)
    assert [job.outcome for job in run.jobs] == ["finished", "finished"]


def test_records_are_the_same_whether_jobs_are_kept_or_given_away() -> None:
    """Given away when they end, so in another order; nothing is kept then."""
    load = workload([(0.3 * n, f"c{n % 3}", 30, 40, READING, Reader()) for n in range(20)])
    kept = World(load, setup("fair_qoe", [engine(3)])).run()
    given_away: list[SimJob] = []
    run = World(load, setup("fair_qoe", [engine(3)]), ended=given_away.append).run()

    assert not run.jobs
    assert sorted((job.record() for job in given_away), key=lambda each: each.index) == kept.records()
    assert run.ended_s == kept.ended_s


def test_who_rested_between_two_samples_was_not_backlogged_throughout() -> None:
    """Sampled once a second: `b` had nothing waiting at a half, so that what happened before does not count for it."""
    (gateway,) = [Gateway.of(0, setup())]
    run = Run()
    for now, waits, service in (
        (0.0, {"a", "b"}, 0.0),
        (0.5, {"a"}, 50.0),
        (1.0, {"a", "b"}, 100.0),
        (2.0, {"a", "b"}, 130.0),
        (3.0, {"a", "b"}, 170.0),
    ):
        gateway.backlogged = waits
        run.sample_gap(now, {"a": service, "b": 0.0}, [gateway], 1.0)

    assert run.gap.largest == 40.0
