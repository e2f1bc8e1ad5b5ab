"""The study of readers over the network: where its curves cross the goal."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.studies.live_readers import crossing


@given(st.floats(1.0, 99.0))
def test_a_line_is_crossed_where_it_is(limit: float) -> None:
    """A QoE that falls by 0.1 over 100 readers, sampled in any order."""
    curve = [(at, 0.95 + (limit - at) / 1000) for at in (100.0, 0.0, 50.0)]

    assert crossing(curve, 0.95) == pytest.approx(limit)


def test_nothing_is_crossed_outside_of_what_was_seen() -> None:
    assert crossing([(1.0, 0.99), (2.0, 0.96)], 0.95) is None
    assert crossing([(1.0, 0.9), (2.0, 0.8)], 0.95) is None
