"""The VTC artifact's server: exact admission, its cadence, and the oracles that run on it."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.pace import MACHINE
from gateway.core.tuning import Tuning
from gateway.emulator.profiles import FAST
from loadgen.scenarios import load_scenario
from loadgen.simulator.artifact import ArtifactWorld, ExactFit, peak_tokens, serve
from loadgen.simulator.oracles import ORACLES, RULES, find_rule
from loadgen.simulator.setup import Run, Setup
from loadgen.workload import Request, Workload

SECONDS = replace(FAST, a_s=1.0, prefill_tokens_per_s=1e12, prefix_cache=False)
"""An engine whose iterations take a second whatever is in them."""


def workload(*requests: tuple[float, str, int, int]) -> Workload:
    """(arrival, client, input, output) of each."""
    return Workload("test", tuple(Request(n, at, who, i, o, MACHINE) for n, (at, who, i, o) in enumerate(requests)))


def run(rule: str, pool: int, *requests: tuple[float, str, int, int]) -> Run:
    setup = Setup((SECONDS,), find_rule(rule), Tuning(fits=ExactFit(pool)))
    return ArtifactWorld(workload(*requests), setup).run()


def started(done: Run) -> list[float]:
    """When each job began, in order of arrival; what the first prefill's tokens cost is rounded away."""
    return [round(job.started_s, 3) for job in done.jobs if job.started_s is not None]


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 30)), min_size=1, max_size=12))
def test_the_peak_is_what_happens(jobs: list[tuple[int, int]]) -> None:
    """Step by step: everybody adds a token a step, and leaves after its last."""
    steps = range(max(left for _, left in jobs) + 1)
    happened = max(sum(context + step for context, left in jobs if left >= step) for step in steps)

    assert peak_tokens(jobs) == happened


def test_it_admits_every_ten_iterations() -> None:
    """Who comes while the batch runs waits for the tenth iteration since the last one was admitted; then all come."""
    done = run("fcfs", 10_000, (0.0, "a", 5, 25), (0.5, "b", 5, 25), (3.0, "c", 5, 25), (12.0, "d", 5, 5))

    assert started(done) == [0.0, 10.0, 10.0, 20.0]


def test_an_idle_server_admits_at_once() -> None:
    """No waiting for iterations that nobody makes."""
    assert started(run("fcfs", 10_000, (0.0, "a", 5, 5), (50.25, "b", 5, 5))) == [0.0, 50.25]


def test_it_asks_again_every_iteration_once_ten_have_passed() -> None:
    """The second fits when so little of the first is left that both stay below the pool."""
    done = run("fcfs", 100, (0.0, "a", 20, 40), (0.0, "b", 30, 30))

    # After k seconds the first has 39 - k tokens to add until it ends, at 59; the second would hold 30 + 39 - k then.
    # (Until k = 10 the second would end before, with 59, while the first held 49 + k.)
    assert started(done) == [0.0, next(float(k) for k in range(10, 40) if 59 + 30 + 39 - k < 100)]


@pytest.mark.parametrize("policy", ["fcfs", "vtc"])
def test_memory_is_never_overrun(policy: str) -> None:
    """At every iteration of a crowded run, those who run hold less than the pool."""
    arena = load_scenario("arena", overrides={"duration_s": 60})
    done = serve(arena, find_rule(policy), pool_tokens=3000)
    moments = sorted(
        {run[0][0] for job in done.jobs for run in job.runs} | {run[0][-1] for j in done.jobs for run in j.runs}
    )

    def held(at: float) -> int:
        return sum(
            job.request.input_tokens + sum(time <= at for time in run) - 1
            for job in done.jobs
            for run, _ in job.runs
            if run[0] <= at <= run[-1]
        )

    assert max(map(held, moments)) < 3000
    assert {job.outcome for job in done.jobs} == {"finished"}
    assert {len(job.runs) for job in done.jobs} == {1}


def test_shortest_first() -> None:
    """One place: of those who wait, the one whose answer is shortest, whoever came first."""
    setup = Setup((replace(SECONDS, max_num_seqs=1, max_batched_tokens=512),), find_rule("srpt_oracle"), Tuning())
    done = ArtifactWorld(workload((0, "a", 5, 12), (1, "b", 5, 9), (2, "c", 5, 2), (3, "d", 5, 5)), setup).run()

    assert [job.request.client for job in sorted(done.jobs, key=lambda job: job.started_s or 0)] == list("acdb")


@pytest.mark.parametrize(("rule", "starts"), [("vtc", [30, 45]), ("vtc_oracle", [45, 30])])
def test_the_oracle_charges_the_answer_at_selection(rule: str, starts: list[float]) -> None:
    """Two places: when b's short answer ends, a's long one has produced as much. The oracle knows that it will go on
    and gives b the place; without it a and b are even, and a has waited longer."""
    setup = Setup((replace(SECONDS, max_num_seqs=2),), find_rule(rule), Tuning())
    first = ((0.0, "x", 5, 10), (0.0, "y", 5, 10))  # all others come while these run
    jobs = workload(*first, (0.5, "a", 5, 60), (0.5, "b", 5, 20), (0.5, "a", 5, 15), (0.5, "b", 5, 15))

    assert started(ArtifactWorld(jobs, setup).run()) == [0, 0, 10, 10, *starts]


def test_every_rule_has_a_name() -> None:
    """The gateway's policies, the oracles and rpm(N); anything else is a KeyError."""
    assert {"fcfs", "fair_qoe", *ORACLES} <= set(RULES)
    assert find_rule("vtc_oracle") is ORACLES["vtc_oracle"]
    assert find_rule("rpm(5)").make is not None
    with pytest.raises(KeyError):
        find_rule("nobody")


def test_the_gap_is_between_clients_that_wait_without_a_break() -> None:
    """One that waits at the moment of every plan, but for nothing in between, has what it asks for: no gap grows."""
    setup = Setup((replace(SECONDS, max_num_seqs=4),), find_rule("vtc"), Tuning())
    light = [(10.0 * nth + 0.5, "light", 5, 1) for nth in range(20)]
    heavy = [(0.0, "heavy", 5, 10)] * 80
    done = ArtifactWorld(workload(*sorted([*light, *heavy])), setup).run()

    begun = zip(done.jobs, started(done), strict=True)

    assert {at for job, at in begun if job.request.client == "light"} == {10.0 * nth for nth in range(1, 21)}
    assert done.gap.largest <= 4 * 25  # what a full batch costs; the heavy one gets 75 more every ten seconds
