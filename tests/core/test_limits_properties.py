"""Reserve, settle, release: what holds whatever happens in whatever order."""

from contextlib import suppress
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from gateway.core.limits import Limits, LimitState, RateLimiter, Reservation
from gateway.errors import RateLimited, TooManyStreams

TTL_S = 90.0
LIMITS = Limits(requests_per_minute=100, tokens_per_minute=1000, concurrent_streams=5)
RATE = 1000 / 60
KEYS = st.sampled_from(["a", "a", "b"])
# The corners come often: that is where buckets fill, empty and overflow.
ESTIMATES = st.sampled_from([0, 300, 1000]) | st.integers(0, 1000)
TOTALS = st.sampled_from([0, 300, 1000]) | st.integers(0, 1500)


@given(
    limit=st.integers(1, 10**9),
    start=st.floats(0, 1e7),
    before=st.floats(0, 1),
    estimate=st.floats(0, 1),
    used=st.floats(0, 1),
)
def test_a_refund_restores_exactly(limit: int, start: float, before: float, estimate: float, used: float) -> None:
    """Reserved, partly used and released in one moment: just the used part is missing."""
    limiter, limits = RateLimiter(), Limits(tokens_per_minute=limit)
    first = int(limit * before)
    limiter.release(limiter.reserve("key", limits, first, start), first, start)
    reserved = int((limit - first) * estimate)
    consumed = int(reserved * used)
    limiter.release(limiter.reserve("key", limits, reserved, start), consumed, start)
    tokens = limiter.state("key", limits, start).tokens

    assert tokens is not None
    assert tokens.remaining == limit - first - consumed


@given(
    used=st.lists(st.tuples(st.floats(0, 20), st.integers(0, 1000)), max_size=20),
    wanted=st.integers(0, 1000),
)
def test_the_stated_wait_is_exact(used: list[tuple[float, int]], wanted: int) -> None:
    """A refused request passes after retry_after_s, and not noticeably earlier."""
    limiter, limits, now = RateLimiter(ttl_s=1e9), Limits(tokens_per_minute=1000), 0.0
    for step, tokens in used:
        now += step
        with suppress(RateLimited):
            limiter.settle(limiter.reserve("key", limits, 0, now), tokens, now)
    wait = wait_for(limiter, limits, wanted, now)
    if wait > 0.002:
        with pytest.raises(RateLimited):
            limiter.reserve("key", limits, wanted, now + wait - 0.001)
    limiter.reserve("key", limits, wanted, now + wait)


def wait_for(limiter: RateLimiter, limits: Limits, tokens: int, now: float) -> float:
    """What a refusal asks to wait for, in seconds; 0 without one."""
    try:
        limiter.release(limiter.reserve("key", limits, tokens, now), 0, now)
    except RateLimited as refused:
        wait = refused.retry_after_s
    else:
        wait = 0.0
    assert wait is not None
    return wait


@dataclass
class Running:
    """The model of one reservation."""

    reservation: Reservation
    used: int
    last_news: float


@dataclass
class Usage:
    """The model of one key: what was used when, and what was held or in excess."""

    running: list[Running] = field(default_factory=list)
    used: list[int] = field(default_factory=list)
    excess: list[int] = field(default_factory=list)
    # Where a window can start: the time, how many uses came before, and what was reserved and not used then.
    starts: list[tuple[float, int, int]] = field(default_factory=lambda: [(0.0, 0, 0)])

    def settle(self, running: Running, total: int) -> None:
        """Book a new total."""
        more = max(total - running.used, 0)
        beyond = max(total - max(running.used, running.reservation.tokens), 0)
        running.used += more
        self.used.append(more)
        self.excess.append(beyond)

    def unused(self) -> int:
        """Reserved and not used yet."""
        return sum(max(each.reservation.tokens - each.used, 0) for each in self.running)


class LimiterMachine(RuleBasedStateMachine):
    """Random interleavings of everything that can happen, beside a plain model."""

    reservations: Bundle[tuple[str, Running]] = Bundle("reservations")

    def __init__(self) -> None:
        super().__init__()
        self.limiter = RateLimiter(ttl_s=TTL_S)
        self.now = 0.0
        self.keys = {"a": Usage(), "b": Usage()}

    @rule(target=reservations, key_id=KEYS, tokens=ESTIMATES)
    def reserve(self, key_id: str, tokens: int) -> tuple[str, Running]:
        """A request arrives; a refused one leaves something that is not held."""
        return self.reserve_one(key_id, tokens)

    def reserve_one(self, key_id: str, tokens: int) -> tuple[str, Running]:
        """Reserve in the limiter and in the model."""
        model = self.keys[key_id]
        self.forget_lost()
        full = LIMITS.concurrent_streams == len(model.running)
        try:
            reservation = self.limiter.reserve(key_id, LIMITS, tokens, self.now)
        except TooManyStreams:
            refused, as_expected = True, full
        except RateLimited:
            refused, as_expected = True, not full
        else:
            refused, as_expected = False, not full
        assert as_expected
        if refused:
            return key_id, Running(Reservation(-1, key_id, tokens, self.state(key_id)), 0, self.now)
        running = Running(reservation, 0, self.now)
        model.running.append(running)
        return key_id, running

    @rule(pair=reservations, total=TOTALS)
    def settle(self, pair: tuple[str, Running], total: int) -> None:
        """News of a stream, perhaps of one that ended, perhaps with an old total."""
        self.settle_one(pair, total)

    def settle_one(self, pair: tuple[str, Running], total: int) -> None:
        """Settle in the limiter and in the model."""
        key_id, running = pair
        self.forget_lost()
        held = running in self.keys[key_id].running
        assert self.limiter.settle(running.reservation, total, self.now) == held
        if held:
            self.keys[key_id].settle(running, total)
            running.last_news = self.now

    @rule(pair=reservations, total=TOTALS)
    def release(self, pair: tuple[str, Running], total: int) -> None:
        """A stream ends, perhaps again."""
        self.end(pair, total)

    @rule(pair=consumes(reservations), total=TOTALS)
    def release_for_good(self, pair: tuple[str, Running], total: int) -> None:
        """A stream ends and is not heard of again."""
        self.end(pair, total)

    @rule(key_id=KEYS, tokens=ESTIMATES, settled=TOTALS, total=TOTALS)
    def whole(self, key_id: str, tokens: int, settled: int, total: int) -> None:
        """A stream from its beginning to its end in one moment."""
        pair = self.reserve_one(key_id, tokens)
        self.settle_one(pair, settled)
        self.end(pair, total)

    @rule(seconds=st.sampled_from([60.0, 20.0]) | st.floats(0, 20))
    def wait(self, seconds: float) -> None:
        """Time goes by."""
        self.now += seconds
        self.forget_lost()

    @invariant()
    def nothing_is_above_its_limit(self) -> None:
        """What remains lies within 0 and the limit."""
        for key_id in self.keys:
            state = self.limiter.state(key_id, LIMITS, self.now)
            assert state.tokens is not None
            assert state.requests is not None
            assert 0 <= state.tokens.remaining <= 1000
            assert 0 <= state.requests.remaining <= 100

    @invariant()
    def no_slot_leaks(self) -> None:
        """The streams counted are those that run."""
        for key_id, model in self.keys.items():
            assert self.limiter.streams(key_id) == len(model.running)

    @invariant()
    def every_window_is_within_its_bound(self) -> None:
        """Over any window: used <= capacity + rate * T + held at its start + excess inside it."""
        for model in self.keys.values():
            model.starts.append((self.now, len(model.used), model.unused()))
            for start, before, held in model.starts:
                used, excess = sum(model.used[before:]), sum(model.excess[before:])
                assert used <= 1000 + RATE * (self.now - start) + held + excess + 1e-3

    def end(self, pair: tuple[str, Running], total: int) -> None:
        """Release in the limiter and in the model."""
        key_id, running = pair
        self.forget_lost()
        self.limiter.release(running.reservation, total, self.now)
        model = self.keys[key_id]
        if running in model.running:
            model.settle(running, total)
            model.running.remove(running)

    def forget_lost(self) -> None:
        """End what has been silent for too long, in the limiter and in the model."""
        self.limiter.expire(self.now)
        for model in self.keys.values():
            model.running = [each for each in model.running if each.last_news + TTL_S > self.now]

    def state(self, key_id: str) -> LimitState:
        """Where the key stands."""
        return self.limiter.state(key_id, LIMITS, self.now)


TestLimiter = LimiterMachine.TestCase
TestLimiter.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
