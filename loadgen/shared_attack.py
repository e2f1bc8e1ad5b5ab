"""An attack shared among processes: all plan from one start, how they stand is told as a sum, their outcomes add up.

Each process says when it can begin; the start is set when all have said so. Ctrl-C is for the process that gathers:
it tells the others to stop, so that each ends in order and hands over what it has. A process whose gatherer is gone
stops too.
"""

import asyncio
import multiprocessing
import multiprocessing.resource_tracker
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection as Pipe
from multiprocessing.connection import wait
from typing import Final

from loadgen.connections import clock
from loadgen.loops import run_alone, run_loop
from loadgen.progress import EVERY_S, RECENT, Standing, line, show
from loadgen.sender import Attack, Outcome, Sender

START_S: Final = 0.2
"""From the decision to begin to the workload's 0."""

STOP: Final = None
"""The second order to a process, if there is one; the first is the clock's time of the workload's 0."""


class PartError(RuntimeError):
    """A process that ended without an outcome; the message says which."""


def perform_shared(attack: Attack, processes: int, live: bool) -> Outcome:
    """Share an attack among `processes`; with `live`, show how it goes. Called by the main thread. Raises PartError."""
    with _parts(attack, processes, live) as pipes:
        meeting = Meeting(pipes)
        with meeting.interruptible():
            shown_at = clock()
            while not meeting.over:
                meeting.hear(max(0.0, shown_at + EVERY_S - clock()))
                if live and clock() >= shown_at + EVERY_S:
                    shown_at = clock()
                    show(line(meeting.since_start(shown_at), meeting.standing))
        if live:
            show(f"{line(meeting.since_start(clock()), meeting.standing)}\n")
        return meeting.outcome()


class Meeting:
    """The gathering side; `pipes` are the processes' own by their names."""

    def __init__(self, pipes: Mapping[Pipe, str]) -> None:
        self.start: float | None = None
        """The clock's time of the workload's 0, once all are there."""
        self._names = pipes
        self._standings: dict[Pipe, Standing] = {}
        self._outcomes: dict[Pipe, Outcome] = {}
        self._stopping = False
        self._stopped = False

    @property
    def over(self) -> bool:
        """Whether all have handed over what came of their parts."""
        return len(self._outcomes) == len(self._names)

    @property
    def standing(self) -> Standing:
        """Of all together."""
        whole = Standing()
        for each in self._standings.values():
            whole = whole.plus(each)
        return whole

    def since_start(self, now: float) -> float:
        """Seconds; 0 before it is known."""
        return 0.0 if self.start is None else now - self.start

    def outcome(self) -> Outcome:
        """Of all together."""
        whole = Outcome()
        for each in self._outcomes.values():
            whole.merge(each)
        return whole

    def hear(self, timeout_s: float) -> None:
        """Wait so long for something to come, take it in, and give the orders that follow. Raises PartError."""
        waiting = [pipe for pipe in self._names if pipe not in self._outcomes]
        for pipe in wait(waiting, timeout_s):
            assert isinstance(pipe, Pipe)  # only these were asked about
            self._take(pipe)
        if self._stopping and not self._stopped:
            self._stopped = True
            self._order(STOP)
        elif not self._stopping and self.start is None and len(self._standings) == len(self._names):
            self.start = clock() + START_S
            self._order(self.start)

    def stop(self) -> None:
        """Let all end: told by the next `hear`, so that a signal may come at any time."""
        self._stopping = True

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """The first Ctrl-C stops all in order; a second one is a KeyboardInterrupt, as ever."""

        def interrupted(*_: object) -> None:
            signal.signal(signal.SIGINT, before)
            self.stop()

        before = signal.signal(signal.SIGINT, interrupted)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _take(self, pipe: Pipe) -> None:
        try:
            what: Standing | Outcome = pipe.recv()
        except EOFError:
            raise PartError(f"{self._names[pipe]} ended by itself, and its part of the figures is lost") from None
        if isinstance(what, Standing):
            self._standings[pipe] = what
            return
        planned, ended = self._standings[pipe].planned, len(what.records)
        self._standings[pipe] = Standing(planned, ended, 0, ended, what.records[-RECENT:])
        self._outcomes[pipe] = what

    def _order(self, order: float | None) -> None:
        for pipe in self._names:
            with suppress(BrokenPipeError):  # it is over, or its end will be heard
                pipe.send(order)


@contextmanager
def _parts(attack: Attack, processes: int, live: bool) -> Iterator[Mapping[Pipe, str]]:
    """The processes, which end with the block; Ctrl-C does not reach them."""
    context = multiprocessing.get_context("spawn")
    multiprocessing.resource_tracker.ensure_running()  # its own start would let SIGINT through again
    begun = []
    pipes = {}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        try:
            for number in range(processes):
                ours, theirs = context.Pipe()
                part = attack.part(number, processes)
                process = context.Process(target=_perform_part, args=(theirs, part, live), daemon=True)
                process.start()
                theirs.close()
                begun.append(process)
                pipes[ours] = f"process {number + 1} of {processes}"
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        yield pipes
    finally:
        for pipe in pipes:
            pipe.close()
        for process in begun:
            process.terminate()
            process.join()


def _perform_part(pipe: Pipe, attack: Attack, tells: bool) -> None:
    """All that a process does."""
    outcome = run_alone(Part(pipe, attack, tells).perform())
    with suppress(BrokenPipeError):  # nobody is there any more who would want it
        pipe.send(outcome)


class Part:
    """The sending side; with `tells` it says once a second how it stands."""

    def __init__(self, pipe: Pipe, attack: Attack, tells: bool) -> None:
        self._pipe = pipe
        self._attack = attack
        self._tells = tells

    async def perform(self) -> Outcome:
        """Say that it can begin, wait for the start, send; what came of it until the end, or until it was stopped."""
        loop = asyncio.get_running_loop()
        start: asyncio.Future[float] = loop.create_future()
        performing = asyncio.current_task()
        assert performing is not None  # this coroutine's own

        def hear() -> None:
            try:
                order: float | None = self._pipe.recv()
            except EOFError:
                order = STOP
                loop.remove_reader(self._pipe)
            if order is STOP:
                performing.cancel()
            else:
                start.set_result(order)

        loop.add_reader(self._pipe, hear)
        try:
            self._pipe.send(Standing(len(self._attack.requests)))
            return await self._sent(start)
        finally:
            loop.remove_reader(self._pipe)

    async def _sent(self, start: asyncio.Future[float]) -> Outcome:
        try:
            sender = Sender(self._attack, await start)
        except asyncio.CancelledError:
            return Outcome(interrupted=True)
        telling = asyncio.create_task(self._tell(sender))
        try:
            return await run_loop(sender)
        finally:
            telling.cancel()

    async def _tell(self, sender: Sender) -> None:
        with suppress(BrokenPipeError):
            while self._tells:
                await asyncio.sleep(EVERY_S)
                self._pipe.send(Standing.of(sender))
