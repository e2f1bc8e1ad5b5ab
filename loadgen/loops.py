"""When requests are sent: on a plan whatever happens (open), or each after the answer before it (closed).

An open loop is what a public service sees, and what latencies should be measured with. A closed loop is a fixed number
of people who talk to it: each reads an answer, thinks, and asks again, so that a slow server gets fewer requests.
"""

import asyncio
import gc
import random
import time
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, TypeVar

import uvloop

from loadgen.connections import clock
from loadgen.records import JobRecord
from loadgen.sender import Outcome, Sender
from loadgen.workload import Request

T = TypeVar("T")


async def run_loop(sender: Sender) -> Outcome:
    """The loop that the attack asks for. Cancelled (Ctrl-C), it returns what came of it until then."""
    think_s = sender.attack.think_s
    return await (open_loop(sender) if think_s is None else closed_loop(sender, think_s))


async def open_loop(sender: Sender) -> Outcome:
    """Every request at its planned time, whatever became of the ones before. Returns when all have ended."""
    watch = _Watch()
    try:
        async with asyncio.TaskGroup() as group:  # a fault of the generator's own ends the run: no job may be missing
            for request in sender.attack.requests:
                message = sender.message(request)
                await sender.due(request)
                group.create_task(sender.send(request, message))
    except asyncio.CancelledError:
        sender.outcome.interrupted = True
    finally:
        sender.close()
    return watch.done(sender)


async def closed_loop(sender: Sender, think_s: float) -> Outcome:
    """Every client is one person who asks its requests in their order.

    The first at its planned time; each further one after the answer before was read, and a thinking time of `think_s`
    seconds on average (exponential). A request's `arrived_s` becomes the time at which it was really due.
    """
    watch = _Watch()
    clients: dict[str, list[Request]] = {}
    for request in sender.attack.requests:
        clients.setdefault(request.client, []).append(request)
    try:
        async with asyncio.TaskGroup() as group:
            for requests in clients.values():
                group.create_task(_session(sender, requests, think_s))
    except asyncio.CancelledError:
        sender.outcome.interrupted = True
    finally:
        sender.close()
    return watch.done(sender)


async def _session(sender: Sender, requests: list[Request], think_s: float) -> None:
    draw = random.Random(f"think:{sender.attack.seed}:{requests[0].client}")
    due_s = requests[0].arrived_s
    for request in requests:
        moved = replace(request, arrived_s=due_s)
        message = sender.message(moved)
        await sender.due(moved)
        record = await sender.send(moved, message)
        due_s = read_s(record, moved) + (draw.expovariate(1 / think_s) if think_s > 0 else 0.0)


def read_s(record: JobRecord, request: Request) -> float:
    """When a person is through with an answer: it has ended, and what came of it is read."""
    ended = record.ended_s or record.arrived_s
    if record.first_token_s is None or not request.pace.paced:
        return ended
    return max(ended, record.first_token_s + record.produced / request.pace.rate)


class _Watch:
    """How much of its core a run used."""

    def __init__(self) -> None:
        self._cpu, self._begun = time.process_time(), clock()

    def done(self, sender: Sender) -> Outcome:
        """The outcome, in order of the workload."""
        outcome = sender.outcome
        outcome.cpu_share = (time.process_time() - self._cpu) / max(clock() - self._begun, 1e-9)
        outcome.records.sort(key=lambda record: record.index)
        return outcome


def run_alone(measuring: Coroutine[Any, Any, T]) -> T:
    """Run on an event loop of its own, without pauses for garbage.

    A full collection looks through everything that was ever imported, a tenth of a second in which no time is taken.
    What exists is set aside; what a run makes is freed by counting, and its few cycles wait until it is over.
    """
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(measuring)
    finally:
        gc.enable()
        gc.unfreeze()
