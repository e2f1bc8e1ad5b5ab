"""The token bucket and its headers."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.buckets import Allowance, TokenBucket, format_duration, rate_limit_headers


def test_a_new_bucket_is_full() -> None:
    """A minute's allowance is there at once."""
    assert TokenBucket(60, now=5.0).allowance(5.0) == Allowance(limit=60, remaining=60, reset_s=0.0)


@pytest.mark.parametrize(
    ("elapsed_s", "level"),
    [(0.0, 10.0), (1.0, 11.0), (49.0, 59.0), (50.0, 60.0), (1e9, 60.0), (-5.0, 10.0)],
)
def test_a_bucket_refills_continuously_up_to_its_brim(elapsed_s: float, level: float) -> None:
    """60 a minute is one a second; more than the limit is never there; time that goes back stands still."""
    bucket = TokenBucket(60, now=100.0)
    bucket.charge(50, 100.0)

    assert bucket.level(100.0 + elapsed_s) == pytest.approx(level)


def test_a_bucket_below_zero_says_when_it_recovers() -> None:
    """Used beyond the limit: nothing remains, and the waits count from below zero."""
    bucket = TokenBucket(60, now=0.0)
    bucket.charge(90, 0.0)

    assert bucket.allowance(0.0) == Allowance(limit=60, remaining=0, reset_s=90.0)
    assert (bucket.wait(1, 0.0), bucket.wait(60, 0.0), bucket.wait(61, 0.0)) == (31.0, 90.0, math.inf)


def test_a_refund_never_goes_over_the_brim() -> None:
    """What was refilled meanwhile is not there twice."""
    bucket = TokenBucket(60, now=0.0)
    bucket.charge(60, 0.0)
    bucket.refund(60, 30.0)

    assert bucket.level(30.0) == 60.0


def test_a_changed_limit_keeps_the_share_that_is_used() -> None:
    """Half used stays half used, up and down."""
    bucket = TokenBucket(60, now=0.0)
    bucket.charge(30, 0.0)
    bucket.resize(600, 0.0)
    assert bucket.level(0.0) == 300.0
    bucket.resize(10, 0.0)
    assert bucket.level(0.0) == 5.0
    assert repr(bucket) == "<TokenBucket 5.000 of 10 at 0.000 s>"


@given(
    per_minute=st.integers(1, 10**9),
    start=st.floats(0, 1e7),
    charges=st.lists(st.tuples(st.floats(0, 100), st.floats(0, 1.5)), min_size=1, max_size=20),
    share=st.floats(0, 1),
)
def test_waiting_exactly_as_told_is_enough(
    per_minute: int, start: float, charges: list[tuple[float, float]], share: float
) -> None:
    """After any history, what was missing is there after the stated wait, whatever the rounding."""
    bucket, now = TokenBucket(per_minute, start), start
    for step, used in charges:
        now += step
        bucket.charge(int(per_minute * used), now)
    wanted = int(per_minute * share)

    assert bucket.wait(wanted, now + bucket.wait(wanted, now)) == 0.0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (-3, "0s"),
        (0.0001, "1ms"),
        (0.012, "12ms"),
        (0.0121, "13ms"),
        (0.9999, "1s"),
        (1, "1s"),
        (1.001, "2s"),
        (59.5, "1m0s"),
        (90, "1m30s"),
        (7205, "2h0m5s"),
    ],
)
def test_durations_read_as_in_openai_headers(seconds: float, text: str) -> None:
    """Rounded up: whoever waits that long has waited long enough."""
    assert format_duration(seconds) == text


def test_headers_name_only_what_is_limited() -> None:
    """Six headers at most, by their standard names."""
    assert rate_limit_headers(Allowance(60, 59, 1.0), Allowance(10_000, 0, 61.5)) == {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-reset-requests": "1s",
        "x-ratelimit-limit-tokens": "10000",
        "x-ratelimit-remaining-tokens": "0",
        "x-ratelimit-reset-tokens": "1m2s",
    }
    assert rate_limit_headers(None, None) == {}
