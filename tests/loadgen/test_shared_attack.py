"""Processes that share an attack: the meeting by hand, and one process's side against a server."""

import asyncio
import multiprocessing
from multiprocessing.connection import Connection as Pipe

import pytest

from loadgen.connections import clock
from loadgen.live_job import Asking
from loadgen.progress import Standing
from loadgen.sender import Attack, Outcome
from loadgen.shared_attack import STOP, Meeting, Part, PartError
from tests.loadgen.attacking import request
from tests.loadgen.scripted_server import serving, whole
from tests.loadgen.test_measures import job

Pair = tuple[Pipe, Pipe]


def meeting(count: int) -> tuple[Meeting, list[Pipe]]:
    """The gathering side, and the ends of the pipes that its processes would have."""
    pairs: list[Pair] = [multiprocessing.Pipe() for _ in range(count)]
    return Meeting({ours: f"process {n}" for n, (ours, _) in enumerate(pairs)}), [theirs for _, theirs in pairs]


def test_nobody_begins_before_all_are_there() -> None:
    """Then all have the same start, which is still to come."""
    gathering, (first, second, third) = meeting(3)
    for pipe in (first, third):
        pipe.send(Standing(planned=4))
        gathering.hear(0.0)
    assert not any(pipe.poll() for pipe in (first, second, third))

    second.send(Standing(planned=3))
    gathering.hear(0.0)

    assert [pipe.recv() for pipe in (first, second, third)] == [gathering.start] * 3
    assert (gathering.start or 0.0) > clock() - 0.2
    assert gathering.standing == Standing(planned=11, recent=[])


def test_progress_is_the_sum_and_the_last_jobs_of_all() -> None:
    """By the time at which they ended; a process that is through counts with what it handed over."""
    gathering, (first, second) = meeting(2)
    early, late = job("a", 0, 1, 3), job("b", 0, 2, 9)
    for pipe, standing in ((first, Standing(4, 3, 2, 1, [late])), (second, Standing(5, 5, 4, 1, [early]))):
        pipe.send(standing)
    gathering.hear(0.0)
    assert gathering.standing == Standing(9, 8, 6, 2, [early, late])

    first.send(Outcome(records=[early, late, late, late], cpu_share=0.5))
    gathering.hear(0.0)
    assert not gathering.over
    second.send(Outcome(records=[early] * 5, cpu_share=0.7))
    gathering.hear(0.0)

    assert gathering.over
    assert (gathering.standing.sent, gathering.standing.open, gathering.standing.done) == (9, 0, 9)
    assert (len(gathering.outcome().records), gathering.outcome().cpu_share) == (9, 0.7)


@pytest.mark.parametrize("there", [1, 2])
def test_whoever_is_stopped_is_told_once(there: int) -> None:
    """Before all are there no start comes any more."""
    gathering, pipes = meeting(2)
    for pipe in pipes[:there]:
        pipe.send(Standing(planned=1))
    gathering.hear(0.0)
    gathering.stop()
    for pipe in pipes:
        pipe.send(Standing(planned=1))
        gathering.hear(0.0)

    for pipe in pipes:
        orders = []
        while pipe.poll():
            orders.append(pipe.recv())
        assert orders == [gathering.start, STOP] if there == 2 else [STOP]


def test_a_process_that_dies_is_named() -> None:
    """What it had measured is lost, so there are no figures."""
    gathering, (first, second) = meeting(2)
    first.send(Standing(planned=1))
    second.close()
    with pytest.raises(PartError, match="process 1 ended by itself"):
        gathering.hear(0.0)


@pytest.mark.parametrize("order", ["start", "stop", "start and stop", "gone"])
async def test_a_process_does_as_it_is_told(order: str) -> None:
    """It says that it is there, waits, sends from the start on; stopped, or with nobody there, it tells what it has."""
    ours, theirs = multiprocessing.Pipe()
    async with serving(whole) as url:
        attack = Attack(url, Asking("m"), (request(0), request(1, arrived_s=0.0 if order == "start" else 1e6)), {})
        performing = asyncio.create_task(Part(theirs, attack, tells=False).perform())
        await asyncio.sleep(0)
        assert ours.recv() == Standing(planned=2)
        assert not performing.done()
        if "start" in order:
            ours.send(clock())
        if "stop" in order:
            ours.send(STOP)
        if order == "gone":
            ours.close()
        outcome = await asyncio.wait_for(performing, 10.0)

    assert outcome.interrupted is (order != "start")
    assert all(record.outcome == "finished" for record in outcome.records) or outcome.interrupted
    assert len(outcome.records) == {"start": 2}.get(order, len(outcome.records))
