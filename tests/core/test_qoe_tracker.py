"""The online tracker against the exact formula, and its predictions against streams played out token by token."""

import math
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.pace import MACHINE, Pace
from gateway.core.qoe import Delivery, Ending, exact_qoe, shown_times
from gateway.core.tracker import QoeTracker
from gateway.core.units import media_pace

PACE = Pace("custom", ttft_s=1.0, rate=4.0)
ARRIVED = 1000.0


@dataclass(frozen=True)
class Case:
    """A random stream: gaps and sizes of its deliveries, absences, and how long after the last one it ended."""

    pace: Pace
    deliveries: tuple[Delivery, ...]
    away: tuple[tuple[float, float], ...]
    ended_at_s: float

    def tracked(self, until: float = math.inf) -> QoeTracker:
        """A tracker that heard of everything up to a time since arrival."""
        tracker, total = QoeTracker(self.pace, ARRIVED), 0.0
        events: list[tuple[float, int, Delivery | None]] = [(d.at_s, 1, d) for d in self.deliveries]
        events += [(left, 0, None) for left, _ in self.away] + [(back, 2, None) for _, back in self.away]
        for at, order, delivery in sorted(events, key=lambda event: event[:2]):
            if at > until:
                break
            if delivery is not None:
                total += delivery.units
                tracker.deliver(total, ARRIVED + at, delivery.quality)
            elif order == 0:
                tracker.leave(ARRIVED + at)
            else:
                tracker.back(ARRIVED + at)
        return tracker


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Streams with gaps, gulps, absences, start buffers and qualities. Times are whole milliseconds, so that the
    order of events is never a matter of rounding."""
    start = draw(st.sampled_from([0.0, 0.0, 3.0]))
    pace = Pace("custom", draw(st.integers(0, 5000)) / 1000, draw(st.floats(0.5, 20)), start_units=start)
    clock, deliveries, away = 0, [], []
    for _ in range(draw(st.integers(0, 30))):
        clock += draw(st.integers(1, 3000))
        if draw(st.integers(0, 5)) == 0:
            left, clock = clock, clock + draw(st.integers(2, 20_000))
            away.append((left / 1000, clock / 1000))
            if draw(st.booleans()):
                deliveries.append(Delivery((left + 1) / 1000, draw(st.integers(1, 9))))
            clock += 1
        deliveries.append(Delivery(clock / 1000, draw(st.integers(1, 9)), draw(st.sampled_from([1.0, 1.0, 0.5]))))
    return Case(pace, tuple(deliveries), tuple(away), (clock + draw(st.integers(1, 9000))) / 1000)


@given(case=cases())
def test_a_finished_stream_equals_the_exact_formula(case: Case) -> None:
    """To 1e-9, and later times change nothing."""
    tracker = case.tracked()
    expected = exact_qoe(case.pace, case.deliveries, Ending.FINISHED, case.ended_at_s, case.away)

    assert tracker.finish(ARRIVED + case.ended_at_s) == pytest.approx(expected, abs=1e-9)
    assert tracker.qoe(ARRIVED + case.ended_at_s + 1e6) == pytest.approx(expected, abs=1e-9)


@given(case=cases(), share=st.floats(0, 1))
def test_a_stream_that_is_left_equals_the_exact_formula(case: Case, share: float) -> None:
    """At any time; before the end that is the running QoE, which fails and leaves alike can no more change."""
    until = round(case.ended_at_s * share, 3)
    tracker = case.tracked(until)
    expected = exact_qoe(case.pace, case.deliveries, Ending.LEFT, until, case.away)

    assert tracker.qoe(ARRIVED + until) == pytest.approx(expected, abs=1e-6)
    assert tracker.quit(ARRIVED + until) == pytest.approx(expected, abs=1e-6)
    assert tracker.fail() == tracker.finish(ARRIVED + until + 5) == pytest.approx(expected, abs=1e-6)


@given(case=cases(), share=st.floats(0, 1), horizon=st.floats(0.1, 50))
def test_waiting_is_predicted_exactly(case: Case, share: float, horizon: float) -> None:
    """It is what the reader who gets nothing more and leaves at the horizon would have."""
    now = round(case.ended_at_s * share, 3)
    tracker = case.tracked(now)
    seen = tuple(d for d in case.deliveries if d.at_s <= now)
    away = tuple((left, min(back, now)) for left, back in case.away if left <= now)
    if tracker.present:
        expected = exact_qoe(case.pace, seen, Ending.LEFT, now + horizon, away)
    else:
        expected = tracker.qoe(ARRIVED + now)

    assert tracker.wait(horizon, ARRIVED + now) == pytest.approx(expected, abs=1e-6)


@settings(max_examples=300)
@given(
    rate=st.floats(2, 10),
    speed=st.floats(2, 40),
    delay=st.floats(0, 8),
    horizon=st.floats(2, 50),
    now=st.floats(0, 20),
    count=st.integers(0, 60),
    ttft=st.floats(0, 3),
)
def test_serving_is_predicted_within_a_slot(
    rate: float, speed: float, delay: float, horizon: float, now: float, count: int, ttft: float
) -> None:
    """Against the same stream played token by token: within 0.07."""
    pace = Pace("custom", ttft, rate)
    past = [Delivery(now * (i + 1) / (count + 1)) for i in range(count)]
    tracker = QoeTracker(pace, ARRIVED)
    for i, delivery in enumerate(past):
        tracker.deliver(i + 1, ARRIVED + delivery.at_s)
    future = [Delivery(now + delay + i / speed) for i in range(math.ceil(max(0.0, horizon - delay) * speed) + 1)]
    expected = exact_qoe(pace, past + future, Ending.LEFT, now + horizon)

    # Just after ttft a single token is most of what is due: there a fluid cannot be near.
    if now + horizon - ttft >= 2:
        assert tracker.serve(speed, delay, horizon, ARRIVED + now) == pytest.approx(expected, abs=0.07)


@given(case=cases(), share=st.floats(0, 1), speed=st.floats(0.1, 60), delay=st.floats(0, 10), horizon=st.floats(1, 50))
def test_the_gain_is_the_difference_of_both_predictions(
    case: Case, share: float, speed: float, delay: float, horizon: float
) -> None:
    """And never negative."""
    now = ARRIVED + round(case.ended_at_s * share, 3)
    tracker = case.tracked(now - ARRIVED)
    worth = tracker.delivered and tracker._worth / tracker.delivered
    difference = tracker.serve(speed, delay, horizon, now, worth or 1.0) - tracker.wait(horizon, now)

    assert tracker.gain(speed, delay, horizon, now) == pytest.approx(difference, abs=1e-6)
    assert tracker.gain(speed, delay, horizon, now) >= 0


@pytest.mark.parametrize(("waited", "gain"), [(0.0, 1.0), (5.0, 0.51), (30.0, 0.07)])
def test_a_job_without_a_token_loses_its_gain_while_it_waits(waited: float, gain: float) -> None:
    """The known hazard at 10 s: (horizon / (waited past ttft + horizon))^2, so that late jobs need ageing."""
    tracker = QoeTracker(Pace("custom", 1.0, 4.8), ARRIVED)
    now = ARRIVED + 1.0 + waited

    assert tracker.gain(20.0, 0.0, 10.0, now) == pytest.approx((10 / (waited + 10)) ** 2)
    # The figures at 5 s and 30 s are printed for a time since arrival, with a ttft of 1 s.
    assert tracker.gain(20.0, 0.0, 10.0, max(ARRIVED + 1, now - 1)) == pytest.approx(gain, abs=0.005)


def test_a_buffered_job_gains_nothing_until_its_text_runs_out() -> None:
    """25 s of text against a horizon of 10 s; then the later the more."""
    tracker = QoeTracker(PACE, ARRIVED)
    tracker.deliver(100, ARRIVED + 1)
    gains = [tracker.gain(20.0, 0.5, 10.0, ARRIVED + at) for at in (1.0, 10.0, 17.0, 22.0, 26.0)]

    assert gains[:2] == [0.0, 0.0]
    assert gains == sorted(gains)
    assert gains[-1] > 0


@given(case=cases(), share=st.floats(0, 1.5))
def test_the_lead_is_the_unshown_text(case: Case, share: float) -> None:
    """Against the pacer's own recurrence."""
    now = round(case.ended_at_s * share, 3)
    tracker = case.tracked(now)
    seen = [d for d in case.deliveries if d.at_s <= now]
    away = [(left, min(back, now)) for left, back in case.away if left <= now]
    if sum(d.units for d in seen) < case.pace.start_units:
        expected = sum(d.units for d in seen) / case.pace.rate
    else:
        segments = shown_times(case.pace, seen, away)
        clock = now - sum(back - left for left, back in away)
        last = segments[-1] if segments else None
        expected = max(0.0, last.read_from_s + last.units / case.pace.rate - clock) if last else 0.0

    assert tracker.lead(ARRIVED + now) == pytest.approx(expected, abs=1e-6)
    assert tracker.shown(ARRIVED + now) == pytest.approx(tracker.delivered - expected * case.pace.rate, abs=1e-5)


def test_the_browsers_report_moves_the_lead_and_not_the_metric() -> None:
    """It may say more or less than the pacer was thought to have shown, never more than was delivered."""
    tracker = QoeTracker(PACE, ARRIVED)
    tracker.deliver(40, ARRIVED + 1)
    now = ARRIVED + 3
    before = tracker.qoe(now), tracker.digested(now)
    assert tracker.lead(now) == 8.0
    for shown, lead in ((4, 9.0), (20, 5.0), (99, 0.0), (-5, 10.0)):
        tracker.report(shown, now)
        assert tracker.lead(now) == pytest.approx(lead)

    assert (tracker.qoe(now), tracker.digested(now)) == before


def test_a_machines_lead_is_worth_nothing() -> None:
    """However much it has; its QoE is the same formula."""
    tracker = QoeTracker(MACHINE, ARRIVED)
    tracker.deliver(500, ARRIVED + 0.5)

    assert tracker.lead(ARRIVED + 1) == 0.0
    assert tracker.shown(ARRIVED + 1) == 500.0
    assert tracker.finish(ARRIVED + 1) == 1.0


def test_an_away_readers_job_has_nothing_to_gain() -> None:
    """The clock stands still: both predictions are the QoE as it is, and the lead waits."""
    tracker = QoeTracker(PACE, ARRIVED)
    tracker.deliver(4, ARRIVED + 1)
    tracker.leave(ARRIVED + 1.5)
    tracker.leave(ARRIVED + 3)
    later = ARRIVED + 500

    assert not tracker.present
    assert tracker.wait(10, later) == tracker.serve(9, 0, 10, later) == tracker.qoe(later) == 1.0
    assert tracker.gain(9, 0, 10, later) == 0.0
    assert tracker.lead(later) == 0.5
    tracker.back(later)
    tracker.back(later + 9)
    assert tracker.gain(9, 0, 10, later) > 0


def test_totals_that_do_not_grow_and_what_comes_after_the_end_are_ignored() -> None:
    """A repeated or late report changes nothing."""
    tracker = QoeTracker(PACE, ARRIVED)
    assert repr(tracker) == "<QoeTracker 0 delivered, open>"
    tracker.deliver(3, ARRIVED + 1)
    tracker.deliver(3, ARRIVED + 2)
    tracker.deliver(2, ARRIVED + 2)
    assert (tracker.delivered, tracker.digested(ARRIVED + 1.5), tracker.area(ARRIVED + 1.5)) == (3, 2.0, 0.5)
    assert not tracker.ended
    assert tracker.finish(ARRIVED + 3) == 1.0
    tracker.deliver(9, ARRIVED + 4)

    assert (tracker.ended, tracker.delivered, tracker.fail()) == (True, 3, 1.0)
    assert QoeTracker(PACE, ARRIVED).fail() == 0.0
    assert repr(tracker) == "<QoeTracker 3 delivered, QoE 1.0000>"


def test_a_day_of_stream_loses_no_digits() -> None:
    """Tokens in gulps for 24 hours, the clock far from zero."""
    arrived, tracker, total = 1e7, QoeTracker(PACE, 1e7), 0
    deliveries = []
    for i in range(20_000):
        at = i * 4.32 + 0.5
        total += 1 + i % 23
        tracker.deliver(total, arrived + at)
        deliveries.append(Delivery((arrived + at) - arrived, 1 + i % 23))

    assert tracker.finish(arrived + 86_400) == pytest.approx(exact_qoe(PACE, deliveries), abs=1e-9)


def test_a_lower_quality_is_predicted_by_its_mean() -> None:
    """Ten seconds in full are there; ten more at half value."""
    tracker = QoeTracker(media_pace(start_buffer_s=2.0), ARRIVED)
    tracker.deliver(10, ARRIVED + 1)

    assert tracker.serve(1.0, 0.0, 10.0, ARRIVED + 1) == pytest.approx(1.0)
    assert tracker.serve(1.0, 0.0, 10.0, ARRIVED + 1, quality=0.5) == pytest.approx(0.75)


def test_serving_fills_the_start_buffer_first() -> None:
    """At 2 s of media a second, 4 s are there after 2 s; waiting shows nothing at all."""
    tracker = QoeTracker(media_pace(ttft_s=0.0, start_buffer_s=4.0), ARRIVED)
    tracker.deliver(2, ARRIVED)

    assert tracker.wait(10.0, ARRIVED) == 0.0
    assert tracker.serve(2.0, 1.0, 10.0, ARRIVED) == pytest.approx(0.64)
    assert tracker.serve(0.0, 1.0, 10.0, ARRIVED) == tracker.gain(0.0, 1.0, 10.0, ARRIVED) == 0.0
