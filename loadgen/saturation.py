"""The highest load at which a goal still holds, found by bisection; pure but for the measurement that it is given.

The load is doubled until the goal is missed, then the interval between the highest load that kept it and the lowest
that did not is halved on a logarithmic scale. Every measurement is kept: they are the curve.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from loadgen.workload import Workload

GOAL: Final = re.compile(r"(\w+)\s*(>=|<=)\s*([0-9.eE+-]+)")


class GoalError(ValueError):
    """A goal that cannot be read or judged; the message says why."""


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound on one measure, such as `avg_qoe>=0.95` or `ttft_p99_s<=1`."""

    measure: str
    at_least: bool
    bound: float

    @classmethod
    def of(cls, text: str) -> "Goal":
        """MEASURE>=VALUE or MEASURE<=VALUE. GoalError if it is not."""
        found = GOAL.fullmatch(text.strip())
        if found is None:
            raise GoalError(f"goal {text!r} is not MEASURE>=VALUE or MEASURE<=VALUE")
        try:
            return cls(found[1], found[2] == ">=", float(found[3]))
        except ValueError as problem:
            raise GoalError(f"goal {text!r}: {problem}") from problem

    def kept(self, figures: Mapping[str, Any]) -> bool:
        """Whether a run kept it; a figure that is unknown did not. GoalError for a measure that does not exist."""
        if self.measure not in figures:
            raise GoalError(f"no measure is called {self.measure!r}")
        value = figures[self.measure]
        return value is not None and (value >= self.bound if self.at_least else value <= self.bound)


@dataclass(slots=True)
class Saturation:
    """What a search found: the figures at each load, the highest that kept the goal, the lowest that missed it."""

    points: dict[float, Mapping[str, Any]] = field(default_factory=dict)
    kept: float | None = None
    missed: float | None = None


def saturate(
    measure: Callable[[float], Mapping[str, Any]], goal: Goal, *, low: float, high: float, steps: int
) -> Saturation:
    """Search between the loads `low` and `high`, with at most `steps` halvings of the last interval.

    `kept` is None if even `low` missed the goal, `missed` if even `high` kept it.
    """
    found = Saturation()

    def keeps(load: float) -> bool:
        found.points[load] = measure(load)
        kept = goal.kept(found.points[load])
        if kept:
            found.kept = load
        else:
            found.missed = load
        return kept

    load = low
    while keeps(load) and load < high:
        load = min(high, 2 * load)
    for _ in range(steps):
        if found.kept is None or found.missed is None:
            break
        keeps(math.sqrt(found.kept * found.missed))
    return found


def readers(workload: Workload) -> float:
    """How many people read at once on average, if nobody has to wait: the load in a unit that people know.

    Each is there from arrival until its answer would be read at its pace, in a workload as long as its arrivals.
    """
    span_s = max((request.arrived_s for request in workload.requests), default=0.0)
    busy = sum(request.pace.ttft_s + request.output_tokens / request.pace.rate for request in workload.requests)
    return busy / span_s if span_s else 0.0
