"""What holds of counters in any history."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.counters import Counters
from tests.core.accounting import STEPS, TENANTS, Step, act, differences


@given(steps=STEPS, every=st.integers(1, 10))
def test_rebasing_changes_nothing_that_is_asked(steps: list[Step], every: int) -> None:
    """Same order, lags, lifts and deltas, whether and whenever it is done."""
    plain, rebased = Counters(), Counters()
    for i, step in enumerate(steps):
        for counters in (plain, rebased):
            act(counters, step)
        if i % every == 0:
            rebased.rebase()
        assert plain.smallest() == rebased.smallest()
        assert [plain.lag(t) for t in TENANTS] == [rebased.lag(t) for t in TENANTS]
    if rebased.backlogged_tenants:
        rebased.rebase()
        assert rebased.floor() == 0.0

    assert differences(plain) == differences(rebased)
    assert plain.take_delta() == rebased.take_delta()
    assert plain.snapshot() == rebased.snapshot()


@given(steps=STEPS)
def test_the_smallest_is_the_smallest(steps: list[Step]) -> None:
    """The heap's answer is a plain search's."""
    counters = Counters()
    for step in steps:
        act(counters, step)
        expected = min(counters.backlog(), key=lambda a: (a.counter, a.since), default=None)

        assert counters.smallest() == (expected.tenant if expected else None)
        assert counters.backlogged_tenants == len(list(counters.backlog()))
