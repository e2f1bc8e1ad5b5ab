"""The event loop's side of the batch model: lets each iteration take its time, then hands out the tokens."""

import asyncio
import itertools
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from gateway.emulator.answer import Answer, Piece
from gateway.emulator.model import EngineModel
from gateway.emulator.sequences import Sequence

MAX_LAG_S = 0.5
"""Iterations that are later than this are not caught up: the machine is too slow for the speed asked."""


@dataclass(slots=True, eq=False)
class Job:
    """One answer under way; `deliver` is called with each of its tokens and must not block."""

    answer: Answer
    sequence: Sequence
    ids: list[int]
    deliver: Callable[[Piece], None]


class Runner:
    """Owns the model. `speed`: how many seconds of the model pass in a second."""

    def __init__(self, model: EngineModel, speed: float = 1.0) -> None:
        self.model = model
        self.finished: dict[str, int] = {"stop": 0, "length": 0}
        self.aborted = 0
        self._speed = speed
        self._jobs: dict[str, Job] = {}
        self._names = itertools.count()
        self._work = asyncio.Event()

    def submit(
        self,
        ids: list[int],
        max_tokens: int,
        answer: Answer,
        deliver: Callable[[Piece], None],
        salt: Hashable,
        *,
        priority: int = 0,
    ) -> Job:
        """Queue an answer to the prompt `ids`, a list of its own, which grows. ValueError when it cannot fit."""
        name = str(next(self._names))
        sequence = self.model.add(name, len(ids), max_tokens, ids=ids, key=salt, priority=priority)
        job = self._jobs[name] = Job(answer, sequence, ids, deliver)
        self._work.set()
        return job

    def abort(self, job: Job) -> bool:
        """Stop an answer wherever it is; False when it had ended."""
        name = job.sequence.seq_id
        if self._jobs.pop(name, None) is None:
            return False
        self.model.remove(name)
        return True

    async def run(self) -> None:
        """Iterate until cancelled. Due times are absolute, so that late wake-ups do not add up."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            step = self.model.step()
            if step is None:
                self._work.clear()
                await self._work.wait()
                due = loop.time()
                continue
            due = max(due + step.duration_s / self._speed, loop.time() - MAX_LAG_S)
            await asyncio.sleep(max(0.0, due - loop.time()))
            self._hand_out(step.started)
            self._hand_out(step.decoded)

    def _hand_out(self, names: tuple[str, ...]) -> None:
        jobs = self._jobs
        for name in names:
            job = jobs.get(name)
            if job is None:
                continue
            piece = job.answer.next()
            job.ids.append(piece.token)
            if piece.finish is not None:
                del jobs[name]
                self.model.remove(name)
                self.finished[piece.finish] += 1
            job.deliver(piece)
