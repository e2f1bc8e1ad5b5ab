"""Small workloads and engines for tests of the simulator."""

from collections.abc import Sequence

from hypothesis import strategies as st

from gateway.core.pace import MACHINE, Pace
from gateway.core.policies import find_policy
from gateway.core.tuning import Tuning
from gateway.emulator.profiles import Profile
from loadgen.simulator.setup import Setup
from loadgen.workload import Reader, Request, Workload

READING = Pace("reading", ttft_s=1.0, rate=5.0)


def engine(seats: int = 2, kv_tokens: int = 1600, speed: float = 20.0) -> Profile:
    """An engine that gives each of its streams about `speed` tokens a second."""
    return Profile(
        name="tiny",
        source="assumed",
        a_s=1 / speed,
        b_s=0.001,
        c_s=0.0,
        prefill_tokens_per_s=2000.0,
        kv_tokens=kv_tokens,
        max_num_seqs=seats,
        max_model_len=kv_tokens,
        max_batched_tokens=512,
    )


def setup(policy: str = "fair_qoe", engines: Sequence[Profile] = (), *, gateways: int = 1, **tuning: float) -> Setup:
    return Setup(tuple(engines) or (engine(),), find_policy(policy), Tuning(**tuning), gateways=gateways)  # type: ignore[arg-type]


def workload(requests: Sequence[tuple[float, str, int, int, Pace, Reader]]) -> Workload:
    """Requests as (arrival, client, prompt, answer, pace, reader), in any order."""
    ordered = sorted(requests, key=lambda each: each[0])
    return Workload(
        "test",
        tuple(
            Request(index, at, client, prompt, answer, pace, reader=who)
            for index, (at, client, prompt, answer, pace, who) in enumerate(ordered)
        ),
    )


READERS = st.sampled_from(
    [
        Reader(),
        Reader(),
        Reader(((2.0, 5.0),)),
        Reader(((1.0, float("inf")),)),
        Reader((), 4.0),
        Reader(((0.5, 3.0),), 6.0),
    ]
)
WORKLOADS = st.lists(
    st.tuples(
        st.floats(0, 10),
        st.sampled_from(["a", "b", "c"]),
        st.integers(1, 200),
        st.integers(1, 60),
        st.sampled_from([READING, MACHINE, Pace("custom", 0.2, 30.0)]),
        READERS,
    ),
    min_size=1,
    max_size=16,
).map(workload)
