"""One job of a simulation, and what its reader saw of it."""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from gateway.core.job import JobSpec
from gateway.core.qoe import Delivery, Ending, exact_qoe
from gateway.emulator.sequences import Sequence
from loadgen.records import JobRecord, Outcome
from loadgen.workload import Reader, Request

_PRESENT: Final = Reader()


@dataclass(slots=True, eq=False)
class SimJob:
    """A request on its way. `runs` holds the delivery times of its tokens, with the number of the leg of each run."""

    request: Request
    id: str
    gateway: int
    produced: int = 0
    legs: int = 0
    started_s: float | None = None
    ended_s: float | None = None
    outcome: Outcome = "finished"
    pauses: int = 0
    reprefilled: int = 0
    engine_id: str | None = None
    sequence: Sequence | None = None
    runs: list[tuple["array[float]", int]] = field(default_factory=list)

    def spec(self) -> JobSpec:
        """The job as its gateway hears of it, and what only a simulator knows."""
        request = self.request
        return JobSpec(
            self.id,
            request.client,
            request.input_tokens,
            None,
            request.weight,
            request.pace,
            resumable=True,
            known_output=request.output_tokens,
        )

    def times(self) -> Iterator[float]:
        """When each token was delivered (seconds from the start of the run)."""
        for run, _ in self.runs:
            yield from run

    def record(self) -> JobRecord:
        """The job's row, once it has ended."""
        request = self.request
        qoe, stall_s = self.experience()
        first = self.runs[0][0][0] if self.runs else None
        last = self.runs[-1][0][-1] if self.runs else None
        return JobRecord(
            index=request.index,
            client=request.client,
            weight=request.weight,
            arrived_s=request.arrived_s,
            input_tokens=request.input_tokens,
            output_tokens=request.output_tokens,
            pace_kind=request.pace.kind,
            ttft_due_s=request.pace.ttft_s,
            rate=request.pace.rate,
            outcome=self.outcome,
            started_s=self.started_s,
            first_token_s=first,
            last_token_s=last,
            ended_s=self.ended_s,
            produced=self.produced,
            qoe=qoe,
            pauses=self.pauses,
            stall_after_pause_s=stall_s,
            reprefilled_tokens=self.reprefilled,
            engine=self.engine_id,
        )

    def experience(self) -> tuple[float, float]:
        """QoE, and the longest time that the reader had nothing to read because of a pause."""
        request = self.request
        if self.outcome in ("rejected", "failed"):
            return 0.0, 0.0
        plain = self.outcome == "finished" and request.reader == _PRESENT and not request.pace.start_units
        quality, stall_s = self._walk()
        if plain:
            return quality, stall_s
        deliveries = (Delivery(at - request.arrived_s) for at in self.times())
        ending = Ending.LEFT if self.outcome == "left" else Ending.FINISHED
        ended_s = (self.ended_s or request.arrived_s) - request.arrived_s
        return exact_qoe(request.pace, deliveries, ending, ended_s, request.reader.absent), stall_s

    def _walk(self) -> tuple[float, float]:
        """One pass over the tokens: QoE as `exact_qoe` has it for a reader who stays, and the worst stall by a pause.

        The stall is on the clock of who shows the text: from the first token on, at the reader's rate.
        """
        pace = self.request.pace
        slot, arrived = 1 / pace.rate, self.request.arrived_s
        free = due = pace.ttft_s  # when the metric's reader is free for the next token, and when that was due
        shown = self.runs[0][0][0] if self.runs else 0.0
        delay = stall_s = 0.0
        leg = self.runs[0][1] if self.runs else 0
        away = self.request.reader.absent
        for run, number in self.runs:
            if number != leg and pace.paced:
                leg = number
                gap = run[0] - max(shown, self._back(shown - arrived, away) + arrived)
                stall_s = max(stall_s, gap)
            for at in run:
                begin = at - arrived
                free = max(free, begin)
                delay += free - due
                free += slot
                due += slot
                shown = (max(at, shown)) + slot
        count = self.produced
        if not count:
            return 0.0, 0.0
        whole = count * (free - pace.ttft_s) - count**2 * slot / 2
        return min(1.0, max(0.0, 1 - delay / whole)), max(0.0, stall_s)

    @staticmethod
    def _back(at_s: float, away: tuple[tuple[float, float], ...]) -> float:
        """When a reader who would read at `at_s` is there again."""
        for left, back in away:
            if left <= at_s < back:
                return back
        return at_s
