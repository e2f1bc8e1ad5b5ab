"""The exact QoE: closed forms, the worked example, endings, the reader's clock, what is monotone and what is not."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.pace import MACHINE, Pace
from gateway.core.qoe import Delivery, Ending, Segment, exact_qoe, reader_time, shown_times
from gateway.core.units import media_pace

PACE = Pace("custom", ttft_s=1.0, rate=4.0)
TIMES = st.lists(st.floats(0, 50), min_size=1, max_size=40).map(sorted)
PACES = st.builds(Pace, st.just("custom"), st.floats(0, 5), st.floats(0.5, 20))


def tokens(*times: float) -> list[Delivery]:
    return [Delivery(at) for at in times]


def steady(count: int, first: float, rate: float) -> list[Delivery]:
    return [Delivery(first + i / rate) for i in range(count)]


def test_the_worked_example() -> None:
    """S_delay 9.5 and S_whole 19.375 give 0.5097."""
    assert exact_qoe(PACE, tokens(2.0, 2.1, 2.2, 5.0, 5.1)) == pytest.approx(1 - 9.5 / 19.375, abs=1e-12)


@pytest.mark.parametrize(
    ("deliveries", "expected"),
    [
        (steady(20, 1.0, 4.0), 1.0),
        (steady(20, 0.2, 20.0), 1.0),
        (steady(20, 3.0, 20.0), 0.5556),
        (steady(20, 3.0, 4.0), 0.5556),
        (steady(20, 1.0, 2.0), 0.6724),
        ([*steady(10, 1.0, 4.0), *steady(10, 7.5, 4.0)], 0.6923),
        ([*tokens(*[1.0] * 10), *steady(10, 3.5, 4.0)], 1.0),
        (tokens(1.0), 1.0),
        (tokens(3.0), 0.0588),
    ],
    ids=["on time", "early", "late, then fast", "late", "half speed", "4 s stall", "burst", "one token", "one late"],
)
def test_table_of_short_streams(deliveries: list[Delivery], expected: float) -> None:
    """20 tokens (or one) at 4 tokens/s, expected after 1 s."""
    assert exact_qoe(PACE, deliveries) == pytest.approx(expected, abs=5e-5)


@given(n=st.integers(1, 300), rate=st.floats(0.5, 50), late=st.floats(0, 100), ttft=st.floats(0, 10))
def test_a_late_start_costs_its_delay_against_half_the_reading_time(
    n: int, rate: float, late: float, ttft: float
) -> None:
    """Late by d, otherwise fine: K/(d + K), K = n/(2*rate)."""
    k = n / (2 * rate)
    pace = Pace("custom", ttft, rate)

    assert exact_qoe(pace, [Delivery(ttft + late, n)]) == pytest.approx(k / (late + k), abs=1e-9)


@pytest.mark.parametrize("speed", [0.5, 1.0, 2.0, 3.9])
def test_a_steady_slow_stream_tends_to_its_limit(speed: float) -> None:
    """rate/(2*rate - g) for a long stream at g < rate."""
    assert exact_qoe(PACE, steady(20_000, 1.0, speed)) == pytest.approx(4.0 / (8.0 - speed), abs=1e-3)


@given(m=st.integers(1, 50), rest=st.integers(1, 50), stall=st.floats(0, 30))
def test_one_stall(m: int, rest: int, stall: float) -> None:
    """A stall of p seconds after token m, nothing buffered: 1 - (n-m)p / (np + n^2/(2*rate))."""
    n = m + rest
    deliveries = [*steady(m, 1.0, 4.0), *steady(rest, 1.0 + m / 4 + stall, 4.0)]

    assert exact_qoe(PACE, deliveries) == pytest.approx(1 - rest * stall / (n * stall + n**2 / 8), abs=1e-9)


@pytest.mark.parametrize(
    ("deliveries", "ending", "ended_at", "expected"),
    [
        ([], Ending.FAILED, 0.5, 0.0),
        (tokens(0.5), Ending.FAILED, 0.6, 0.0),
        ([], Ending.LEFT, 0.9, 1.0),
        ([], Ending.LEFT, 1.0 + 1e-12, 1.0),
        ([], Ending.LEFT, 1.1, 0.0),
        ([Delivery(0.5, 9, 0.5)], Ending.LEFT, 0.9, 1.0),
        ([Delivery(0.5, 9, 0.5)], Ending.LEFT, 2.0, 0.5),
        ([], Ending.FINISHED, 0.9, 1.0),
        ([], Ending.FINISHED, 1.1, 0.0),
        (tokens(0.1), Ending.LEFT, 1.0, 1.0),
        (tokens(*[1.0] * 20), Ending.LEFT, 3.0, 1.0),
        (tokens(*[2.0] * 20), Ending.LEFT, 3.0, 0.25),
        (tokens(1.0, 9.0), Ending.LEFT, 2.0, 0.4375),
    ],
)
def test_endings(deliveries: list[Delivery], ending: Ending, ended_at: float, expected: float) -> None:
    """Failed is 0 whatever was delivered; who leaves has what was due until then, and nothing of what came after."""
    assert exact_qoe(PACE, deliveries, ending, ended_at) == pytest.approx(expected)


def test_the_readers_clock_stands_still_while_away() -> None:
    """Each absence takes its length off; inside one it is the instant of leaving."""
    away = [(2.0, 5.0), (6.0, math.inf)]

    assert [reader_time(t, away) for t in (1.0, 2.0, 3.0, 5.0, 5.5, 6.0, 1e9)] == [1.0, 2.0, 2.0, 2.0, 2.5, 3.0, 3.0]


def test_an_absence_is_never_held_against_the_stream() -> None:
    """A stall that the reader did not see is none; text that came meanwhile lies ready."""
    whole = tokens(1.0, 1.25, 1.5, 1.75)
    stalled = tokens(1.0, 1.25, 60.0, 61.0)

    assert exact_qoe(PACE, stalled, away=[(1.4, 70.0)]) == 1.0 == exact_qoe(PACE, whole)
    assert exact_qoe(PACE, stalled) < 0.6


def test_who_gives_up_while_away_gets_nothing_after_that() -> None:
    """Although all of an absence is one instant on the reader's clock."""
    away, deliveries = [(2.0, 9.0)], [*tokens(1.0, 3.0), Delivery(5.0, 50, 0.5)]

    assert exact_qoe(PACE, deliveries, Ending.LEFT, 4.0, away) == exact_qoe(PACE, tokens(1.0), Ending.LEFT, 2.0)


@pytest.mark.parametrize("start", [0.0, 2.0, 4.0])
def test_media_start_when_their_buffer_is_full(start: float) -> None:
    """Segments of 2 s, one each second: with a buffer playing begins later and is due no later."""
    pace = media_pace(ttft_s=1.0, start_buffer_s=start)
    late = max(0.0, start / 2 - 1.0)

    assert exact_qoe(pace, [Delivery(t, 2.0) for t in (1.0, 2.0, 3.0)]) == pytest.approx(3.0 / (late + 3.0))


def test_a_short_answer_fills_no_buffer() -> None:
    """It starts with its last part."""
    pace = media_pace(ttft_s=1.0, start_buffer_s=60.0)

    assert exact_qoe(pace, [Delivery(1.0, 1.0), Delivery(2.0, 1.0)]) == pytest.approx(1.0 / (1.0 + 1.0))
    assert exact_qoe(pace, [Delivery(1.0, 1.0)], Ending.LEFT, 9.0) == 0.0


def test_lower_quality_scales_qoe() -> None:
    """By the mean over what was delivered."""
    pace = media_pace()

    assert exact_qoe(pace, [Delivery(1.0, 3.0), Delivery(2.0, 1.0, 0.5)]) == pytest.approx(0.875)


@given(pace=PACES, times=TIMES, left=st.floats(0, 60), start=st.floats(0, 10))
def test_qoe_is_a_share(pace: Pace, times: list[float], left: float, start: float) -> None:
    """In [0, 1], however a stream ends."""
    pace = Pace(pace.kind, pace.ttft_s, pace.rate, start_units=start)

    assert 0 <= exact_qoe(pace, tokens(*times)) <= 1
    assert 0 <= exact_qoe(pace, tokens(*times), Ending.LEFT, left) <= 1


@given(pace=PACES, times=TIMES, shares=st.lists(st.floats(0, 1), min_size=40, max_size=40), more=st.floats(0, 30))
def test_earlier_deliveries_never_hurt_up_to_a_fixed_time(
    pace: Pace, times: list[float], shares: list[float], more: float
) -> None:
    """Each token earlier by any amount: the QoE of who leaves at the same time is no lower."""
    earlier = sorted(t * s for t, s in zip(times, shares, strict=False))
    until = times[-1] + more
    late, soon = (exact_qoe(pace, tokens(*each), Ending.LEFT, until) for each in (times, earlier))

    assert soon >= late - 1e-9


@given(pace=PACES, times=TIMES, shift=st.floats(0, 20))
def test_a_whole_answer_earlier_is_never_worse(pace: Pace, times: list[float], shift: float) -> None:
    """All tokens by the same time."""
    later = [t + shift for t in times]

    assert exact_qoe(pace, tokens(*times)) >= exact_qoe(pace, tokens(*later)) - 1e-9


@given(pace=PACES, times=TIMES, shares=st.lists(st.floats(0, 1), min_size=40, max_size=40))
def test_earlier_deliveries_with_the_same_end_never_hurt(pace: Pace, times: list[float], shares: list[float]) -> None:
    """The last token stays where it is."""
    earlier = [*sorted(t * s for t, s in zip(times[:-1], shares, strict=False)), times[-1]]
    late, soon = exact_qoe(pace, tokens(*times)), exact_qoe(pace, tokens(*earlier))
    ends = [shown_end(pace, each) for each in (times, earlier)]

    if ends[0] == pytest.approx(ends[1], abs=1e-12):
        assert soon >= late - 1e-9


def shown_end(pace: Pace, times: list[float]) -> float:
    """When the last token has been read."""
    end = pace.ttft_s
    for at in times:
        end = max(end, at) + 1 / pace.rate
    return end


def test_a_late_answer_gains_by_a_later_end() -> None:
    """The measure's known flaw: what came before counts as read for longer. So no policy may be judged by QoE alone."""
    pace = Pace("custom", 0.0, 1.0)

    assert exact_qoe(pace, tokens(10.0, 10.0)) == pytest.approx(2 / 22)
    assert exact_qoe(pace, tokens(10.0, 20.0)) == pytest.approx(11 / 40)


def test_shown_begins_with_the_first_delivery() -> None:
    """Not with ttft; a machine is shown everything at once."""
    deliveries = [Delivery(0.2, 2), Delivery(0.3), Delivery(5.0)]

    shown = shown_times(PACE, deliveries)
    assert [s.read_from_s for s in shown] == pytest.approx([0.2, 0.7, 5.0])
    assert shown_times(MACHINE, deliveries) == [Segment(0.2, 2), Segment(0.3, 1.0), Segment(5.0, 1.0)]
    assert shown_times(PACE, []) == []
