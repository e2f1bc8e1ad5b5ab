"""The search for the highest load: brackets, bisects, and says when there is nothing to find."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.pace import Pace
from gateway.emulator.profiles import PROFILES
from loadgen.cli import main
from loadgen.saturation import Goal, GoalError, readers, saturate
from loadgen.simulate import engines_of
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


def test_seats_of_an_engine() -> None:
    """PROFILE[:SEATS][xN]; no seat and no engine are refused."""
    first, second, third = engines_of("a100x8-moe:16x2, a10g-7b")

    assert (first.max_num_seqs, second, third) == (16, first, PROFILES["a10g-7b"])
    for text in ("a10g-7b:0", "a10g-7bx0", "a10g-7b:", "no-such"):
        with pytest.raises(ValueError, match="PROFILE"):
            engines_of(text)


def test_policies_on_a_virtual_clock(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both policies have a curve and a sentence; without a server and without an engine there is nothing to do."""
    out, figure = tmp_path / "out.json", tmp_path / "curve.svg"
    words = ["saturate", "--scenario", "chat_readers", "--set", "duration_s=20", "--set", "period_s=20"]
    bounds = ["--low", "0.5", "--high", "4", "--steps", "1", "--json", str(out), "--svg", str(figure)]
    assert main([*words, "--engine", "a100x8-moe:4", *bounds]) == 0
    policies = json.loads(out.read_text())["policies"]

    assert set(policies) == {"fcfs", "fair_qoe"}
    assert all(each["kept"] is not None and len(each["load_curve"]) > 1 for each in policies.values())
    assert capsys.readouterr().out.count("holds up to") == 2
    assert figure.read_text().startswith("<?xml")
    assert main(words) == 1
