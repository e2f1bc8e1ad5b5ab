"""Reserve, settle, release: examples."""

import pytest

from gateway.core.buckets import Allowance
from gateway.core.limits import Limits, LimitState, RateLimiter
from gateway.errors import RateLimited, TooManyStreams

TOKENS = Limits(tokens_per_minute=600)  # ten a second


def left(limiter: RateLimiter, limits: Limits, now: float) -> int:
    """Tokens that remain for the key."""
    tokens = limiter.state("key", limits, now).tokens
    assert tokens is not None
    return tokens.remaining


def test_without_limits_everything_passes_and_no_header_is_sent() -> None:
    """A key without limits is never refused."""
    limiter = RateLimiter()
    reservations = [limiter.reserve("key", Limits(), 10**9, 0.0) for _ in range(100)]

    assert {reservation.state for reservation in reservations} == {LimitState(None, None)}
    assert reservations[0].state.headers() == {}
    assert limiter.streams("key") == 100


def test_requests_run_out_and_come_back() -> None:
    """The third of two requests a minute waits for exactly half a minute."""
    limiter, limits = RateLimiter(), Limits(requests_per_minute=2)
    first = limiter.reserve("key", limits, 0, 0.0)
    limiter.reserve("key", limits, 0, 0.0)
    with pytest.raises(RateLimited) as refused:
        limiter.reserve("key", limits, 0, 0.0)

    assert first.state.requests == Allowance(limit=2, remaining=1, reset_s=30.0)
    assert refused.value.retry_after_s == 30.0
    assert "requests per minute" in refused.value.message
    limiter.reserve("key", limits, 0, 30.0)


def test_tokens_run_out_and_come_back() -> None:
    """Waiting for tokens takes what is missing divided by the rate."""
    limiter = RateLimiter()
    limiter.reserve("key", TOKENS, 500, 0.0)
    with pytest.raises(RateLimited) as refused:
        limiter.reserve("key", TOKENS, 150, 1.0)

    assert refused.value.retry_after_s is not None
    assert refused.value.retry_after_s == pytest.approx(4.0)
    assert "tokens per minute" in refused.value.message
    limiter.reserve("key", TOKENS, 150, 1.0 + refused.value.retry_after_s)


def test_a_request_larger_than_the_limit_can_never_pass() -> None:
    """It is refused with a message that says so and without a time to retry, even while the key is idle."""
    with pytest.raises(RateLimited, match="601 tokens, more than the key's limit of 600") as refused:
        RateLimiter().reserve("key", TOKENS, 601, 0.0)

    assert refused.value.retry_after_s is None


def test_streams_are_counted_until_they_are_released() -> None:
    """One stream too many is refused; each end makes room for one, once."""
    limiter, limits = RateLimiter(), Limits(concurrent_streams=2)
    first = limiter.reserve("key", limits, 0, 0.0)
    limiter.reserve("key", limits, 0, 0.0)
    with pytest.raises(TooManyStreams) as refused:
        limiter.reserve("key", limits, 0, 0.0)
    assert refused.value.retry_after_s == 1.0
    limiter.release(first, 0, 0.0)
    limiter.release(first, 0, 0.0)
    limiter.reserve("key", limits, 0, 0.0)

    with pytest.raises(TooManyStreams):
        limiter.reserve("key", limits, 0, 0.0)


@pytest.mark.parametrize(
    "limits",
    [
        Limits(requests_per_minute=10, tokens_per_minute=600, concurrent_streams=1),
        Limits(requests_per_minute=10, tokens_per_minute=150),
        Limits(requests_per_minute=1, tokens_per_minute=600),
    ],
)
def test_a_refusal_takes_nothing(limits: Limits) -> None:
    """Refused for whichever limit: the others stay as they were, and no stream is counted."""
    limiter = RateLimiter()
    limiter.reserve("key", limits, 100, 0.0)
    before = limiter.state("key", limits, 0.0)
    for _ in range(3):
        with pytest.raises((RateLimited, TooManyStreams)):
            limiter.reserve("key", limits, 100, 0.0)

    assert limiter.state("key", limits, 0.0) == before
    assert limiter.streams("key") == 1


def test_keys_do_not_share_limits() -> None:
    """One key's use is not another's."""
    limiter = RateLimiter()
    limiter.reserve("key", TOKENS, 600, 0.0)

    assert limiter.reserve("other", TOKENS, 600, 0.0).key_id == "other"


def test_settling_within_the_estimate_charges_nothing_more() -> None:
    """The estimate was charged already; at the end the rest comes back."""
    limiter = RateLimiter()
    reservation = limiter.reserve("key", TOKENS, 200, 0.0)
    assert limiter.settle(reservation, 50, 0.0)
    assert left(limiter, TOKENS, 0.0) == 400
    limiter.release(reservation, 120, 0.0)

    assert left(limiter, TOKENS, 0.0) == 480


def test_settling_is_idempotent_in_the_running_total() -> None:
    """Totals repeat, and may arrive late: only the largest counts."""
    limiter = RateLimiter()
    reservation = limiter.reserve("key", TOKENS, 100, 0.0)
    for total in (150, 150, 90, 150):
        limiter.settle(reservation, total, 0.0)
    limiter.release(reservation, 10, 0.0)

    assert left(limiter, TOKENS, 0.0) == 450


def test_an_excess_is_charged_at_once_and_may_go_below_zero() -> None:
    """The stream runs on; the next request waits until the debt is refilled."""
    limiter = RateLimiter()
    reservation = limiter.reserve("key", TOKENS, 100, 0.0)
    assert limiter.settle(reservation, 700, 0.0)
    assert left(limiter, TOKENS, 0.0) == 0
    with pytest.raises(RateLimited) as refused:
        limiter.reserve("key", TOKENS, 50, 0.0)

    assert refused.value.retry_after_s == pytest.approx(15.0)


def test_an_aborted_request_stays_counted() -> None:
    """Tokens come back on abort, the request does not."""
    limiter, limits = RateLimiter(), Limits(requests_per_minute=60, tokens_per_minute=600)
    limiter.release(limiter.reserve("key", limits, 300, 0.0), 0, 0.0)

    assert limiter.state("key", limits, 0.0) == LimitState(Allowance(60, 59, 1.0), Allowance(600, 600, 0.0))


def test_a_lost_reservation_is_given_back_after_its_lifetime() -> None:
    """Without news for ttl_s the slot and the unused tokens return; later news is not counted."""
    limiter, limits = RateLimiter(ttl_s=10.0), Limits(tokens_per_minute=600, concurrent_streams=1)
    lost = limiter.reserve("key", limits, 600, 0.0)
    limiter.settle(lost, 100, 5.0)
    with pytest.raises(TooManyStreams):
        limiter.reserve("key", limits, 1, 14.9)
    limiter.reserve("key", limits, 600, 15.0)

    assert not limiter.settle(lost, 600, 15.0)
    limiter.release(lost, 600, 15.0)
    assert limiter.streams("key") == 1


def test_a_settled_stream_lives_on() -> None:
    """Each settlement, also of the same total, starts the lifetime anew."""
    limiter, limits = RateLimiter(ttl_s=10.0), Limits(concurrent_streams=1)
    reservation = limiter.reserve("key", limits, 0, 0.0)
    silent = limiter.reserve("other", limits, 0, 0.0)
    for now in range(9, 100, 9):
        assert limiter.settle(reservation, 7, float(now))

    assert limiter.expire(99.0) == 1
    assert not limiter.settle(silent, 0, 99.0)
    assert limiter.streams("key") == 1


def test_a_changed_limit_holds_from_the_next_request_on() -> None:
    """Raised: half used stays half used. Taken away: no limit. A running stream refunds what it was charged."""
    limiter = RateLimiter()
    running = limiter.reserve("key", TOKENS, 300, 0.0)
    raised = Limits(tokens_per_minute=6000)

    assert left(limiter, raised, 0.0) == 3000
    limiter.reserve("key", Limits(), 10**6, 0.0)
    limiter.release(running, 0, 0.0)
    assert left(limiter, TOKENS, 0.0) == 600


def test_full_idle_keys_are_forgotten() -> None:
    """A key that would be the same anew takes no memory."""
    limiter = RateLimiter()
    for n in range(100):
        limiter.release(limiter.reserve(f"key{n}", TOKENS, 10, 0.0), 10, 0.0)
    assert repr(limiter) == "<RateLimiter 0 streams, 0 keys busy, 100 idle>"
    for _ in range(25):
        limiter.expire(60.0)

    assert repr(limiter) == "<RateLimiter 0 streams, 0 keys busy, 0 idle>"


def test_the_number_of_idle_keys_is_bounded() -> None:
    """Even keys that all used something within the minute do not add up."""
    limiter = RateLimiter(max_idle_keys=10)
    for n in range(1000):
        limiter.release(limiter.reserve(f"key{n}", TOKENS, 600, 0.0), 600, 0.0)
    limiter.expire(0.0)

    assert repr(limiter) == "<RateLimiter 0 streams, 0 keys busy, 10 idle>"


def test_a_busy_key_is_never_forgotten() -> None:
    """Its stream still holds what it holds, however many keys come and go."""
    limiter, limits = RateLimiter(max_idle_keys=1), Limits(tokens_per_minute=600, concurrent_streams=1)
    limiter.reserve("busy", limits, 600, 0.0)
    for n in range(100):
        limiter.release(limiter.reserve(f"key{n}", limits, 1, 0.0), 1, 0.0)

    with pytest.raises(TooManyStreams):
        limiter.reserve("busy", limits, 0, 0.0)


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_is_a_mistake(limit: int) -> None:
    """No use at all is said by revoking the key."""
    with pytest.raises(ValueError, match="revoke"):
        Limits(tokens_per_minute=limit)


def test_a_negative_estimate_is_a_mistake() -> None:
    """It would fill the bucket."""
    with pytest.raises(ValueError, match="-1 tokens"):
        RateLimiter().reserve("key", TOKENS, -1, 0.0)
