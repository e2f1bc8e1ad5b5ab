"""The search for the highest load: brackets, bisects, and says when there is nothing to find."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.pace import Pace
from loadgen.saturation import Goal, GoalError, readers, saturate
from loadgen.workload import Request, Workload

GOAL = Goal.of("avg_qoe>=0.95")


@given(st.floats(0.3, 15.0), st.integers(0, 8))
def test_the_limit_is_found_to_the_last_halving(limit: float, steps: int) -> None:
    """It lies between the highest load that kept and the lowest that missed, whose ratio is 2 to the 2^-steps."""
    found = saturate(lambda load: {"avg_qoe": 1.0 if load <= limit else 0.5}, GOAL, low=0.25, high=16.0, steps=steps)

    assert found.kept is not None
    assert found.missed is not None
    assert found.kept <= limit < found.missed
    assert found.missed / found.kept <= 2 ** (0.5**steps) * (1 + 1e-9)
    assert len(found.points) <= 7 + steps


def test_nothing_to_find() -> None:
    """Below the lowest load, or above the highest."""
    calls: list[float] = []

    def measured(load: float) -> Mapping[str, Any]:
        calls.append(load)
        return {"avg_qoe": 0.1}

    none = saturate(measured, GOAL, low=1.0, high=8.0, steps=5)
    every = saturate(lambda load: {"avg_qoe": 1.0}, GOAL, low=1.0, high=6.0, steps=5)

    assert (none.kept, none.missed, calls) == (None, 1.0, [1.0])
    assert (every.kept, every.missed, sorted(every.points)) == (6.0, None, [1.0, 2.0, 4.0, 6.0])


def test_goals() -> None:
    """From above or below; unknown is not kept; a measure that nobody has is an error."""
    assert Goal.of("ttft_p99_s <= 1").kept({"ttft_p99_s": 1.0})
    assert not Goal.of("ttft_p99_s<=1").kept({"ttft_p99_s": 1.01})
    assert not GOAL.kept({"avg_qoe": None})
    for text in ("avg_qoe", "avg_qoe=1", "avg_qoe>=x", "avg_qoe>=1e"):
        with pytest.raises(GoalError):
            Goal.of(text)
    with pytest.raises(GoalError, match="no measure"):
        GOAL.kept({"ttft": 1})


def test_readers_at_once() -> None:
    """Ten in 100 s, each there for 1 s of waiting and 100/5 s of reading: 2.1 at once."""
    pace = Pace("reading", 1.0, 5.0)
    requests = tuple(Request(k, 100 * k / 9, "c", 5, 100, pace) for k in range(10))

    assert readers(Workload("w", requests)) == pytest.approx(2.1)
    assert readers(Workload("w", ())) == 0.0
