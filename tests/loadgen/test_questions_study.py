"""The studies of the open questions: their parts, and small runs of each."""

from argparse import Namespace
from typing import Any

import pytest

from gateway.core.policies import find_policy
from gateway.core.tuning import Tuning
from loadgen.scenarios import load_scenario
from loadgen.simulator.setup import Setup
from loadgen.studies import questions, scaling
from loadgen.studies.table import Table
from loadgen.workload import Workload

QUICK = Namespace(seed=1, quick=True, out=None)


def column(table: Table, name: str) -> list[object]:
    return [row[table.columns.index(name)] for row in table.rows]


def busy_then_quiet() -> Workload:
    return load_scenario(
        "chat_readers", seed=1, rate_scale=3.0, overrides={"duration_s": 120, "period_s": 120, "intensity": 2.0}
    )


def test_hidden_readers_are_worth_telling() -> None:
    table = questions.hidden(QUICK)
    quality = dict(zip(column(table, "policy"), column(table, "average QoE"), strict=True))

    assert quality["fair_qoe"] > quality["fair_qoe, not told"] > quality["fcfs"]  # type: ignore[operator]


def test_every_kind_of_reader_is_in_the_table() -> None:
    table = questions.kinds(QUICK)

    assert len(table.rows) == len(questions.POLICIES)
    for kind in questions.KINDS:
        assert all(0 < quality <= 1 for quality in column(table, kind))  # type: ignore[operator]


def test_engines_come_late_and_go_again() -> None:
    """Ordered when people wait, ready after the delay, drained afterwards; all of their time is booked once."""
    setup = Setup((scaling.ENGINE,), find_policy("fcfs"), Tuning(assumed_output_tokens=0, tick_s=0.1))
    world = scaling.Scaled(busy_then_quiet(), setup, scaling.RULES["demand > 1.0"], 30.0)
    run = world.run()

    assert world.ups >= 1
    assert run.ended_s < run.engine_s < scaling.MOST * run.ended_s
    assert {job.outcome for job in run.jobs} == {"finished"}


@pytest.mark.parametrize("rule", scaling.RULES)
def test_a_quiet_pool_stays_small(rule: str) -> None:
    quiet = load_scenario("chat_readers", seed=1, rate_scale=0.1, overrides={"duration_s": 120, "intensity": 1.0})
    setup = Setup((scaling.ENGINE,), find_policy("fair_qoe"), Tuning(assumed_output_tokens=0))
    world = scaling.Scaled(quiet, setup, scaling.RULES[rule], 30.0)

    assert world.run().engine_s == pytest.approx(world.run_.ended_s)
    assert world.ups == 0


def test_who_lives_through_no_overload_counts_as_calm() -> None:
    setup = Setup((scaling.ENGINE,), find_policy("fair_qoe"), Tuning(assumed_output_tokens=0))
    world = questions.Watched(busy_then_quiet(), setup)
    records = world.run().records()
    calm = [record for record in records if world.calm(record)]

    assert world.overloads
    assert 0 < len(calm) < len(records)
    world.overloads = [(0.0, float("inf"))]
    assert not any(world.calm(record) for record in records)


def test_the_cost_of_quality_has_a_line_for_each_policy_and_rule() -> None:
    rows: list[list[Any]] = [
        ["2 engines", "fcfs", None, 0.5, 0.1, 3.0, 100.0, None, 0.0],
        ["4 engines", "fcfs", None, 0.9, 0.5, 1.0, 200.0, None, 0.0],
        ["demand > 1.0", "fair_qoe", 30.0, 0.8, 0.4, 2.0, 150.0, 3, 0.0],
    ]
    (axes,) = scaling.drawn(rows).axes

    assert axes.get_legend_handles_labels()[1] == ["fcfs, fixed", "fair_qoe, demand > 1.0"]


def test_a_network_is_in_the_table_told_and_not(capsys: pytest.CaptureFixture[str]) -> None:
    """What is lost on the way is lost to every policy: nobody reads better at the screen than at the gateway."""
    table = questions.networks(QUICK)

    assert len(table.rows) == 4 * len(questions.NETWORKS)
    assert "fair_qoe, told" in column(table, "policy")
    for screen, gateway in zip(column(table, "QoE at the screen"), column(table, "QoE at the gateway"), strict=True):
        assert screen <= gateway + 0.01  # type: ignore[operator]
    assert "bad" in capsys.readouterr().err
