"""Readers behind networks: what is before them when, and what the gateway makes of a connection that is lost."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.simulator.networked import Line, Network, Networked
from loadgen.workload import Away, Reader, Workload
from tests.loadgen.simulating import READING, engine, setup, workload

PLAIN = Network("plain", round_trip_s=0.2, jitter_s=0.0)
TORN = Network("torn", 0.2, 0.05, stall_every_s=3.0, stall_s=0.5, cut_every_s=4.0, cut_s=2.0)


def line(network: Network = PLAIN, *, stalls: Away = (), cuts: Away = ()) -> Line:
    return Line(network, stalls, cuts, seed=1)


def test_a_plain_line_adds_its_round_trip() -> None:
    assert line().screen([0.0, 1.0, 1.0]) == pytest.approx([0.2, 1.2, 1.2])


def test_a_stall_holds_everything_back_until_its_end() -> None:
    seen = line(stalls=((1.0, 3.0),)).screen([0.5, 1.5, 2.5, 3.5])

    assert seen == pytest.approx([0.7, 3.1, 3.1, 3.7])


def test_after_a_cut_all_that_was_not_seen_comes_over_the_new_connection() -> None:
    """What was on its way when the connection was lost too: half a round trip to ask for it, half for it to come."""
    seen = line(cuts=((1.0, 3.0),)).screen([0.5, 0.95, 2.0, 3.5])

    assert seen == pytest.approx([0.7, 3.3, 3.3, 3.7])


@given(st.integers(0, 1000), st.lists(st.floats(0.0, 1.0), min_size=1, max_size=60))
def test_nothing_overtakes_and_nothing_comes_before_it_could(seed: int, gaps: list[float]) -> None:
    sent = [sum(gaps[: number + 1]) for number in range(len(gaps))]
    seen = TORN.line(seed, 0).screen(sent)

    assert seen == sorted(seen)
    assert all(at >= begun + TORN.round_trip_s - 1e-9 for begun, at in zip(sent, seen, strict=True))


def test_a_report_says_what_nearly_all_packets_are_delayed_by() -> None:
    """The 95th percentile of an exponential delay is three times its mean."""
    report = Network("noisy", 0.1, 0.2).line(seed=1, index=0).report()

    assert report.round_trip_s == 0.1
    assert 0.45 < report.jitter_s < 0.8


def many() -> Workload:
    return workload([(0.4 * number, f"c{number % 3}", 40, 60, READING, Reader()) for number in range(30)])


@pytest.mark.parametrize("policy", ["fcfs", "vtc", "andes", "fair_qoe"])
@pytest.mark.parametrize("told", [False, True])
def test_streams_that_lose_their_readers_are_finished_all_the_same(policy: str, told: bool) -> None:
    """Parked without a place while the reader is gone, whole at the end; one seed gives one run."""
    lines = {request.index: TORN.line(1, request.index) for request in many().requests}
    first, second = (Networked(many(), setup(policy, [engine(3)]), lines, told=told).run() for _ in range(2))

    assert [job.produced for job in first.jobs] == [60] * 30
    assert sum(job.legs for job in first.jobs) > 30
    assert [list(job.times()) for job in first.jobs] == [list(job.times()) for job in second.jobs]


def test_nobody_runs_while_its_reader_is_gone() -> None:
    load = workload([(0.0, "a", 10, 100, READING, Reader())])
    run = Networked(load, setup("fair_qoe"), {0: line(cuts=((2.0, 6.0),))}, told=False).run()

    times = list(run.jobs[0].times())
    assert not [at for at in times if 2.1 < at < 6.1]
    assert len(times) == 100


def test_a_told_line_keeps_a_larger_lead() -> None:
    """Two readers share one seat in turns: the slower a reader's line is said to be, the sooner its stream goes on."""
    load = workload([(0.0, "a", 10, 200, READING, Reader()), (0.5, "b", 10, 200, READING, Reader())])
    far = replace(PLAIN, round_trip_s=2.0)
    waits = []
    for told in (False, True):
        lines = {0: line(far), 1: line(far)}
        run = Networked(load, setup("fair_qoe", [engine(1, speed=40.0)]), lines, told=told).run()
        waits.append(max(job.record().stall_after_pause_s or 0.0 for job in run.jobs))

    assert waits[1] <= waits[0]
