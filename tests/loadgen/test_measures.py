"""The measures in closed form: small runs whose figures can be told by hand."""

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.measures import Table, jain, service_differences, summarise
from loadgen.records import JobRecord, Outcome


def job(client: str = "a", arrived_s: float = 0.0, first_s: float = 1.0, last_s: float = 2.0, **more: Any) -> JobRecord:
    """A finished one of 100 tokens in and 50 out: 200 of service."""
    record = JobRecord(0, client, 1.0, arrived_s, 100, 50, "reading", 1.0, 5.0, "finished")
    done = {"started_s": first_s, "first_token_s": first_s, "last_token_s": last_s, "ended_s": last_s, "produced": 50}
    return dataclasses.replace(record, **(done | {"qoe": 1.0, "pauses": 0, "stall_after_pause_s": 0.0} | more))


def lost(client: str = "a", arrived_s: float = 0.0, outcome: Outcome = "rejected") -> JobRecord:
    """One that got nothing."""
    return dataclasses.replace(
        job(client, arrived_s), outcome=outcome, first_token_s=None, last_token_s=None, produced=0, qoe=0.0
    )


NAMES = {
    "avg_qoe",
    "p10_qoe",
    "perfect_share",
    "ttft_p50_s",
    "ttft_p90_s",
    "ttft_p99_s",
    "max_service_gap",
    "avg_service_diff",
    "max_service_diff",
    "throughput_tok_s",
    "preemptions_per_job",
    "worst_stall_after_pause_s",
    "jobs",
    "plan_ms_p50",
}


def test_everything_of_nothing_is_unknown() -> None:
    """No job, no figure, no division by zero."""
    summary = summarise([])

    assert summary.keys() >= NAMES
    assert summary["jobs"] == 0
    assert [summary[name] for name in NAMES - {"jobs"}] == [None] * (len(NAMES) - 1)


def test_quality_counts_every_job() -> None:
    """Ten jobs, one of them rejected and one at 0.9: the mean and shares are over all ten."""
    jobs = [job() for _ in range(8)] + [job(qoe=0.9), lost()]
    summary = summarise(jobs)

    assert summary["avg_qoe"] == pytest.approx(0.89)
    assert summary["p10_qoe"] == pytest.approx(0.81)
    assert (summary["perfect_share"], summary["perfect_share_99"]) == (0.8, 0.8)
    assert summary["outcomes"] == {"finished": 9, "rejected": 1}
    assert summary["unserved_share"] == pytest.approx(0.1)


def test_times_to_the_first_token() -> None:
    """Of those who got one; per client too."""
    jobs = [job("a", 10, 10 + k) for k in range(1, 12)] + [job("b", 0, 0.5), lost("b", outcome="failed")]
    summary = summarise(jobs)

    assert summary["ttft_p50_s"] == 5.5
    assert summary["ttft_p90_s"] == pytest.approx(9.9)
    assert summary["ttft_mean_by_client_s"] == {"a": 6.0, "b": 0.5}


def test_throughput_is_to_the_last_end() -> None:
    """Prompt and output of finished jobs; one that failed adds neither tokens nor time."""
    jobs = [job(last_s=20.0), job(last_s=10.0), dataclasses.replace(job(last_s=90.0), outcome="failed")]
    summary = summarise(jobs)

    assert (summary["throughput_tok_s"], summary["output_tok_s"]) == (15.0, 5.0)


def test_pauses_are_means_and_the_worst() -> None:
    """Unknown, for who cannot see them."""
    seen = summarise([job(), job(pauses=3, stall_after_pause_s=0.7, reprefilled_tokens=120)], 12.5, [1.0, 3.0])
    blind = summarise([job(pauses=None, stall_after_pause_s=None)])

    assert (seen["preemptions_per_job"], seen["worst_stall_after_pause_s"]) == (1.5, 0.7)
    assert (seen["max_service_gap"], seen["plan_ms_p50"], seen["reprefilled_tokens"]) == (12.5, 2.0, 120)
    assert (blind["preemptions_per_job"], blind["worst_stall_after_pause_s"]) == (None, None)


def steady(client: str, per_minute: int, served: int, minutes: int = 10) -> list[JobRecord]:
    """Arrivals at a constant rate of which the first `served` of each minute run, at once and for half a second."""
    jobs = []
    for minute, k in itertools.product(range(minutes + 1), range(per_minute)):
        at = 60 * minute + (k + 0.25) * 60 / per_minute
        jobs.append(job(client, at, at, at + 0.5) if k < served else lost(client, at, "failed"))
    return jobs


def test_two_clients_by_hand() -> None:
    """60 a minute each, all of one and half of the other served: 200 and 100 a second; D = min(100, |200-100|)."""
    half = service_differences(Table.of(steady("a", 60, 60) + steady("b", 60, 30)))
    light = service_differences(Table.of(steady("a", 60, 60) + steady("b", 6, 6)))

    assert half["avg_service_diff"] == pytest.approx(100, rel=0.12)
    assert light["max_service_diff"] == pytest.approx(0.0, abs=4.0)


def reference(jobs: list[JobRecord]) -> list[float]:
    """D(t) as the definition reads, job by job and client by client."""
    kept = [r for r in jobs if r.outcome != "rejected"]
    end = max(r.arrived_s for r in kept)
    found = []
    for t in np.linspace(30, end, 21)[1:20]:
        got, asked = {r.client: 0.0 for r in kept}, {r.client: 0.0 for r in kept}
        for r in kept:
            if t - 30 <= r.arrived_s < t + 30:
                asked[r.client] += (r.input_tokens + 2 * r.output_tokens) / 60
            if r.first_token_s is not None and r.last_token_s is not None:
                part = max(0.0, min(r.last_token_s, t + 30) - max(r.first_token_s, t - 30))
                got[r.client] += (r.input_tokens + 2 * r.produced) * part / (r.last_token_s - r.first_token_s) / 60
        best = max(got.values())
        found.append(sum(min(best - got[c], abs(asked[c] - got[c])) for c in got))
    return found


JOBS = st.lists(
    st.one_of(
        st.builds(
            lambda c, at, wait, length: job(c, at, at + wait, at + wait + length),
            st.sampled_from("abc"),
            st.floats(0, 200),
            st.floats(0, 100),
            st.floats(0.1, 90),
        ),
        st.builds(lost, st.sampled_from("abc"), st.floats(0, 200), st.sampled_from(["rejected", "failed"])),
    ),
    min_size=1,
    max_size=20,
)


@given(JOBS)
def test_the_differences_are_the_artifacts(jobs: list[JobRecord]) -> None:
    """Against the definition written out, with jobs that failed or were rejected among them."""
    jobs = [*jobs, job("a", 60.0, 61.0, 62.0)]
    expected, found = reference(jobs), service_differences(Table.of(jobs))

    assert found["avg_service_diff"] == pytest.approx(np.mean(expected), abs=1e-9)
    assert found["max_service_diff"] == pytest.approx(max(expected), abs=1e-9)
    assert found["var_service_diff"] == pytest.approx(np.var(expected), abs=1e-6)


def test_a_short_run_has_no_differences() -> None:
    """Half a minute of arrivals does not fill a window."""
    assert service_differences(Table.of([job(arrived_s=30.0)]))["avg_service_diff"] is None


def test_jain_by_hand() -> None:
    """Equal demand: all to one of two is 1/2, half each is 1. A light client that is served in full is fair."""
    end = job("a", 100.0, 101.0, 102.0)
    one = [job("a", 0, 1, 2), job("b", 0, 200, 201), end]
    both = [job("a", 0, 1, 2), job("b", 0, 3, 4), end]
    light = [job("a", 0, 1, 2), *(job("b", 0, k, k + 1) for k in (1, 200, 300)), job("c", 100.0, 101, 102)]

    assert jain(Table.of([*one, job("b", 99, 201, 202)])) == pytest.approx(0.5)
    assert jain(Table.of([*both, job("b", 99, 201, 202)])) == pytest.approx(1.0)
    assert jain(Table.of([r for r in light if r.client != "c"] + [job("b", 50, 400, 401)])) == pytest.approx(1.0)
    assert jain(Table.of([])) is None


def test_weights_share_in_proportion() -> None:
    """A client of weight 3 that gets three times as much is treated as fairly as one of weight 1."""
    heavy = [job("h", 0, k, k + 1, weight=3.0) for k in (1, 2, 3, 200, 201)]
    plain = [job("p", 0, k, k + 1) for k in (1, 200, 201, 202, 203)]

    assert jain(Table.of([*heavy, *plain, job("p", 100, 300, 301)])) == pytest.approx(1.0)
