"""The Andes study: its parts, and a small run that shows what the paper is about."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.policies import POLICIES
from gateway.emulator.profiles import PROFILES
from loadgen.studies.andes import Bench, crossing, highest, one_part, shared_out


@given(st.floats(0.01, 5.99))
def test_bisection_finds_the_edge(edge: float) -> None:
    assert highest(lambda value: value <= edge, 0.0, 6.0, 20) == pytest.approx(edge, abs=1e-4)


def test_a_curve_crosses_between_its_points() -> None:
    assert crossing([(1.0, 1.0), (2.0, 0.9)]) == pytest.approx(1.5)
    assert crossing([(1.0, 0.99), (2.0, 0.96)]) == 2.0
    assert crossing([(1.0, 0.9)]) is None


def test_a_part_of_an_engine_is_as_fast_with_its_part_of_the_batch() -> None:
    whole = PROFILES["a100x8-moe"]
    part = one_part(whole, 8)

    assert part.iteration_s(32, 48_000, 500) == pytest.approx(whole.iteration_s(256, 384_000, 4_000))


def test_tenants_take_turns_and_paces_stay() -> None:
    bench = Bench(PROFILES["a100x8-moe"], 8, 1)
    workload = bench.poisson(3.0, 60.0)

    assert shared_out(workload).requests[0].client == "tenant0"
    assert len({request.pace.rate for request in workload.requests}) > 1


def test_in_a_burst_andes_serves_readers_better_than_fcfs() -> None:
    bench = Bench(PROFILES["a100x8-moe"], 16, 1, tick_s=0.5)
    workload = bench.burst(3.7, 2.8)
    fcfs = bench.serve(workload, POLICIES["fcfs"])
    andes = bench.serve(workload, POLICIES["andes"])

    assert andes["jobs"] == fcfs["jobs"]
    assert andes["avg_qoe"] > 1.5 * fcfs["avg_qoe"]
    assert andes["preemptions_per_job"] <= 1.05
