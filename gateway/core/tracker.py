"""QoE while a stream runs: O(1) for each delivery, each question and each prediction.

Definitions and rules: qoe.py. Rules of this file:

1. Reading is fluid: at `rate` while delivered text lasts, from `ttft` on (for the metric) or from the first delivery on
   (for the lead: the real pacer starts at once). So all of it follows from the present run, the time since which
   reading has not paused, and nothing is stepped through time.
2. All times are kept relative to `ttft` on the reader's clock.
3. Sums of positive areas only; no difference of large numbers, so that hours of stream lose no digits.
"""

from gateway.core.pace import Pace
from gateway.core.qoe import INSTANT_S


class QoeTracker:
    """The QoE of one stream. `arrived` and every `now` are seconds on the caller's clock, and never go back.

    Amounts are in the pace's unit. The first of `finish`, `quit` and `fail` fixes the QoE for good.
    """

    __slots__ = (
        "_area",
        "_away_since",
        "_before",
        "_delivered",
        "_end",
        "_final",
        "_last",
        "_open",
        "_origin",
        "_paced",
        "_rate",
        "_run",
        "_shown_end",
        "_start",
        "_worth",
        "present",
    )

    def __init__(self, pace: Pace, arrived: float) -> None:
        self._rate = pace.rate
        self._paced = pace.paced
        self._start = pace.start_units
        self._origin = arrived + pace.ttft_s
        self._away_since: float | None = None
        self.present = True  # whether the reader is here; `leave` and `back` say so
        self._final: float | None = None
        self._delivered = 0.0
        self._worth = 0.0  # delivered units, each times the value of its quality
        self._last = 0.0  # time of the last delivery
        self._open = False  # reading may begin: the start buffer has been full
        self._run = 0.0  # when the present run of reading began, units read and area before it, and when it ends
        self._before = 0.0
        self._area = 0.0
        self._end = 0.0
        self._shown_end = 0.0

    def __repr__(self) -> str:
        state = "open" if self._final is None else f"QoE {self._final:.4f}"
        return f"<QoeTracker {self._delivered:g} delivered, {state}>"

    # ---- events

    def deliver(self, total: float, now: float, quality: float = 1.0) -> None:
        """So many units in all have been delivered, the new ones at this quality. A total that did not grow changes
        nothing."""
        units = total - self._delivered
        if units <= 0 or self._final is not None:
            return
        at = self._time(now)
        if self._open:
            self._take(units, at)
        self._delivered = total
        self._worth += units * quality
        self._last = at
        if not self._open and total >= self._start:
            self._begin(at)

    def leave(self, now: float) -> None:
        """The reader is away from now on: the reader's clock stands still."""
        if self._away_since is None:
            self._away_since = now
            self.present = False

    def back(self, now: float) -> None:
        """The reader is here again."""
        if self._away_since is not None:
            self._origin += now - self._away_since
            self._away_since = None
            self.present = True

    def report(self, shown: float, now: float) -> None:
        """The browser says how many units it has shown; moves the lead, not the metric."""
        unshown = self._delivered - min(max(0.0, shown), self._delivered)
        self._shown_end = self._time(now) + unshown / self._rate

    def finish(self, now: float) -> float:
        """The answer is complete; returns its QoE."""
        if self._final is None:
            if not self._delivered:
                self._final = 1.0 if self._time(now) <= INSTANT_S else 0.0
            else:
                if not self._open:
                    self._begin(self._last)
                due = self._delivered * self._end - self._delivered**2 / (2 * self._rate)
                self._final = min(1.0, self._area_at(self._end) / due) * self._quality
        return self._final

    def quit(self, now: float) -> float:
        """The reader gave up; returns the QoE of what was due until now."""
        self._final = self.qoe(now)
        return self._final

    def fail(self) -> float:
        """Failed or rejected: 0, unless it had ended before."""
        if self._final is None:
            self._final = 0.0
        return self._final

    @property
    def ended(self) -> bool:
        return self._final is not None

    # ---- state

    @property
    def delivered(self) -> float:
        return self._delivered

    def lead(self, now: float) -> float:
        """Delivered and unshown text, in seconds of reading; 0 for a machine, which has no use for it."""
        if not self._paced:
            return 0.0
        if not self._open:
            return self._delivered / self._rate
        left = self._shown_end - (now if self._away_since is None else self._away_since) + self._origin
        return left if left > 0 else 0.0

    def shown(self, now: float) -> float:
        """Units that the reader has seen."""
        return self._delivered - self._rate * self.lead(now)

    def digested(self, now: float) -> float:
        """Units that the metric counts as read."""
        at = self._time(now)
        if at >= self._end:
            return self._delivered if self._open else 0.0
        return self._before + self._rate * max(0.0, at - self._run)

    def area(self, now: float) -> float:
        """Area under the digestion curve so far (units times seconds)."""
        return self._area_at(max(0.0, self._time(now)))

    def qoe(self, now: float) -> float:
        """QoE so far, as if the length were unknown; the final one after the end."""
        if self._final is not None:
            return self._final
        return self._judge(self._time(now), 0.0, self._quality)

    # ---- predictions: QoE at now + horizon, in seconds of the reader's clock

    def wait(self, horizon_s: float, now: float) -> float:
        """If nothing more is delivered until then. Exact.

        While the reader is away the clock stands still, so that both predictions are the QoE as it is.
        """
        if self._final is not None:
            return self._final
        at = self._time(now)
        return self._judge(at + horizon_s if self._away_since is None else at, 0.0, self._quality)

    def serve(self, speed: float, start_delay_s: float, horizon_s: float, now: float, quality: float = 1.0) -> float:
        """If `speed` units per second come after `start_delay_s` (queue, prefill), at this quality.

        Fluid, so it comes to within one unit's slot of a delivery token by token (tests: within 0.07).
        """
        if self._final is not None:
            return self._final
        at = self._time(now)
        if self._away_since is not None or speed <= 0:
            return self.wait(horizon_s, now)
        horizon, first = at + horizon_s, at + start_delay_s
        if horizon <= INSTANT_S:
            return 1.0
        extra = self._extra(first, speed, horizon)
        mix = self._quality
        if mix != 1.0 or quality != 1.0:
            fresh = speed * max(0.0, horizon - first)
            total = self._delivered + fresh
            mix = (self._worth + quality * fresh) / total if total else 1.0
        return self._judge(horizon, extra, mix)

    def gain(self, speed: float, start_delay_s: float, horizon_s: float, now: float) -> float:
        """`serve` less `wait`, at the present quality, for a fraction of their cost: what is read already cancels."""
        if self._final is not None or self._away_since is not None:
            return 0.0
        at = now - self._origin
        horizon = at + horizon_s
        if horizon <= INSTANT_S or speed <= 0:
            return 0.0
        first = at + start_delay_s
        if speed < self._rate or self._worth != self._delivered or (self._start and not self._open):
            extra = self._extra(first, speed, horizon)
            return extra / (self._rate * horizon * horizon / 2) * self._quality
        # By far the most frequent case: the engine is faster than the reader.
        reading = horizon - max(first, self._end)
        return (reading / horizon) ** 2 if reading > 0 else 0.0

    # ---- inside

    def _time(self, now: float) -> float:
        """Seconds since `ttft` on the reader's clock."""
        return (now if self._away_since is None else self._away_since) - self._origin

    @property
    def _quality(self) -> float:
        return 1.0 if self._worth == self._delivered else self._worth / self._delivered

    def _begin(self, at: float) -> None:
        """Reading may begin, with all that is there."""
        self._open = True
        self._run = self._end = max(at, 0.0)
        self._end += self._delivered / self._rate
        self._shown_end = at + self._delivered / self._rate

    def _take(self, units: float, at: float) -> None:
        """So many more units; a new run begins if the reader had run out of text."""
        slot = units / self._rate
        if at > self._end:
            self._area = self._area_at(at)
            self._before = self._delivered
            self._run = self._end = at
        self._end += slot
        self._shown_end = max(self._shown_end, at) + slot

    def _area_at(self, at: float) -> float:
        """Area up to `at`, not before the present run, if nothing more comes."""
        if not self._open:
            return 0.0
        reading = min(at, self._end) - self._run
        area = self._area + (self._before + self._rate * reading / 2) * reading
        return area + self._delivered * (at - self._end) if at > self._end else area

    def _extra(self, first: float, speed: float, horizon: float) -> float:
        """Area under what comes from `first` on: read after what is there, at `rate` while it lies ready, then as fast
        as it comes."""
        held, begin = 0.0, max(first, self._end)
        if self._start and not self._open:
            held = self._delivered
            begin = max(first + max(0.0, self._start - held) / speed, 0.0)
        reading = horizon - begin
        if reading <= 0:
            return 0.0
        if speed >= self._rate:
            return self._rate * reading * reading / 2
        full = (held + speed * (begin - first)) / (self._rate - speed)
        if full >= reading:
            return self._rate * reading * reading / 2
        rest = reading - full
        return self._rate * full * (full / 2 + rest) + speed * rest * rest / 2

    def _judge(self, horizon: float, extra: float, quality: float) -> float:
        """The unfinished QoE at `horizon` with this much area more."""
        if horizon <= INSTANT_S:
            return 1.0
        due = self._rate * horizon * horizon / 2
        return min(1.0, (self._area_at(horizon) + extra) / due) * quality
