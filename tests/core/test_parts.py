"""A gateway that has a part of an engine: what it starts there, when it pauses for memory, and what a pause costs."""

import pytest

from gateway.core.capacity import EngineCapacity
from gateway.core.latency import IterationModel
from gateway.core.plan import Reason
from tests.core.pool import PATIENT, RANKED, begun, give, reader, scheduler


@pytest.mark.parametrize("policy", [*RANKED, "vtc"])
@pytest.mark.parametrize("part", [0, 1000])
def test_a_part_of_an_engine_holds_the_whole_job(policy: str, part: int) -> None:
    """What is not leased belongs to others: a larger job is not started on the part, nor anybody paused for it."""
    parts = (EngineCapacity(4, 10_000).shared(4, size, 10_000, 0.5) for size in (part, 1000))
    idle, busy = (scheduler(policy, {"e": each}, PATIENT) for each in parts)
    idle.add(reader("large", "b", prompt=2000), 0.0)
    assert not any(begun(idle.plan(0.1 * tick)) for tick in range(5))
    busy.add(reader("ahead", "a"), 0.0)
    busy.plan(0.0)
    give(busy, "ahead", 400, 1.0)
    busy.add(reader("large", "b", prompt=2000), 1.0)
    plans = [busy.plan(1.0 + 0.1 * tick) for tick in range(20)]

    assert not any(plan.pause or begun(plan) for plan in plans)


@pytest.mark.parametrize("policy", RANKED)
@pytest.mark.parametrize(("most", "full"), [(10_000, False), (1000, True)])
def test_legs_that_outgrow_their_part_run_on_while_the_engine_has_room(policy: str, most: int, full: bool) -> None:
    """A part of 1000 tokens, 1200 used; the other gateways leave all of the engine, or no more than the part."""
    subject = scheduler(policy, {"e": EngineCapacity(4, 10_000).shared(4, 1000, most, 0.5)}, PATIENT)
    for name in ("a", "b", "c"):
        subject.add(reader(name), 0.0)
    subject.plan(0.0)
    for name in ("a", "b"):
        give(subject, name, 590, 1.0)
    subject.plan(1.0)
    subject.add(reader("d", prompt=900), 1.5)
    plan = subject.plan(2.0)

    assert (Reason.MEMORY in {pause.reason for pause in plan.pause}) is full


@pytest.mark.parametrize("policy", ["andes", "fair_qoe"])
@pytest.mark.parametrize(("fraction", "pays"), [(1.0, True), (0.02, False)])
def test_what_a_pause_costs_the_readers_of_other_gateways_counts(policy: str, fraction: float, pays: bool) -> None:
    """One sequence is a fiftieth of the engine: as many others wait there while the victim is computed again."""
    part = EngineCapacity(50, model=IterationModel(0.02, 0.0, 0.0, 1 / 1000)).shared(1, 0, 0, fraction)
    subject = scheduler(policy, {"e": part}, PATIENT, cap=10.0)
    subject.add(reader("ahead", "a", prompt=100), 0.0)
    subject.plan(0.0)
    give(subject, "ahead", 400, 40.0)
    subject.add(reader("new", "b"), 40.0)

    assert bool(subject.plan(40.0).pause) is pays
