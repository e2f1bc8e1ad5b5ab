"""How often is looked for what stands still."""

import pytest

from gateway.runtime.caretaker import sweep_s
from gateway.runtime.pool import PoolSettings


@pytest.mark.parametrize(
    ("stall_s", "first_token_s", "every_s"),
    [(60.0, 300.0, 0.5), (2.0, 300.0, 0.2), (60.0, 3.0, 0.3), (0.2, 300.0, 0.1)],
)
def test_a_short_timeout_is_looked_at_more_often(stall_s: float, first_token_s: float, every_s: float) -> None:
    """A tenth of the shortest one of all pools, in bounds."""
    usual = PoolSettings("m", "fcfs")
    short = PoolSettings("m", "fcfs", stall_timeout_s=stall_s, first_token_timeout_s=first_token_s)

    assert sweep_s([usual, short]) == pytest.approx(every_s)
    assert sweep_s([]) == 0.5
