"""How long an engine's iteration takes, and how that is learned from what it does.

The model, shared by the decisions, the emulator and the simulator, for a batch of B sequences:

    iteration_s = base + per_sequence*B + per_context_token*context_tokens + prefill_tokens/prefill_rate

The fit is recursive least squares with forgetting (a standard method; e.g. Ljung, System Identification, section
11.2) on means over a few iterations: a mean of iterations obeys the same linear model, and costs a fraction.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_SCALES: Final = (1.0, 32.0, 32_768.0, 2_048.0)  # typical sizes of the regressors, so that all count alike
_TERMS: Final = range(len(_SCALES))
_LARGEST_BATCH: Final = 1_000_000
_CAP: Final = 100.0  # of the covariance: how little the prior, or what has not varied for long, can weigh
_ERROR_GAIN: Final = 0.05
_SMALLEST_ERROR_S: Final = 1e-6  # keeps a perfect engine's usual error above 0


@dataclass(frozen=True, slots=True)
class IterationModel:
    """Seconds of one iteration; each `_s` for one of what its name says.

    ValueError for a coefficient that is negative or not finite.
    """

    base_s: float
    per_sequence_s: float = 0.0
    per_context_token_s: float = 0.0
    per_prefill_token_s: float = 0.0

    def __post_init__(self) -> None:
        terms = (self.base_s, self.per_sequence_s, self.per_context_token_s, self.per_prefill_token_s)
        if not all(0 <= term < math.inf for term in terms):
            raise ValueError("coefficients must be finite and not negative")

    @property
    def prefill_rate(self) -> float:
        """Prompt tokens per second; infinite where prefill costs nothing."""
        return 1 / self.per_prefill_token_s if self.per_prefill_token_s else math.inf

    def iteration_s(self, batch: int, context_tokens: float, prefill_tokens: float = 0.0) -> float:
        """Seconds of an iteration, which is also the time of one token for each sequence in the batch."""
        return (
            self.base_s
            + self.per_sequence_s * batch
            + self.per_context_token_s * context_tokens
            + self.per_prefill_token_s * prefill_tokens
        )

    def speed(self, batch: int, context_tokens: float) -> float:
        """Tokens per second of one sequence in such a batch; infinite for a model that takes no time."""
        seconds = self.iteration_s(batch, context_tokens)
        return 1 / seconds if seconds else math.inf

    def prefill_s(self, tokens: float) -> float:
        """Seconds that computing so many prompt tokens adds."""
        return self.per_prefill_token_s * tokens

    def largest_batch(self, iteration_s: float, mean_context_tokens: float) -> int:
        """The most sequences of this mean context whose iteration still takes at most `iteration_s`; at least 0."""
        each = self.per_sequence_s + self.per_context_token_s * mean_context_tokens
        room = iteration_s - self.base_s
        if room < 0:
            return 0
        # The tiny part more is for a quotient that rounding put just below a whole number.
        return min(_LARGEST_BATCH, math.floor(room / each * (1 + 1e-12))) if each else _LARGEST_BATCH


class LatencyFit:
    """The model of one engine, learned while it works.

    `prior` is believed until observations say otherwise. What was seen `memory` iterations ago counts 1/e of what is
    seen now; each step of the fit takes the mean of `every` iterations. Robust: an iteration further than `outlier`
    times the usual error from what was predicted counts only as far as that, so that a pause of the engine moves
    little, while a lasting change raises the usual error and is followed. Bounded: what is known about a term that
    does not vary stays as it was (the covariance is capped), and no coefficient is reported below 0. ValueError for
    settings out of range.
    """

    __slots__ = (
        "_batch",
        "_context",
        "_count",
        "_covariance",
        "_error",
        "_every",
        "_fits",
        "_forgetting",
        "_outlier",
        "_prefill",
        "_seconds",
        "_terms",
    )

    def __init__(self, prior: IterationModel, *, memory: int = 500, every: int = 16, outlier: float = 4.0) -> None:
        if not (1 <= every <= memory and outlier > 0):
            raise ValueError("every must be from 1 to memory, outlier positive")
        given = (prior.base_s, prior.per_sequence_s, prior.per_context_token_s, prior.per_prefill_token_s)
        self._terms = [term * scale for term, scale in zip(given, _SCALES, strict=True)]
        self._covariance = [[_CAP if i == j else 0.0 for j in _TERMS] for i in _TERMS]
        self._error = max(sum(self._terms) / 4, 1e-6)  # usual distance from the prediction; wide until known
        self._forgetting = math.exp(-every / memory)
        self._every = every
        self._outlier = outlier
        self._fits = 0
        self._count = 0
        self._seconds = self._batch = self._context = self._prefill = 0.0  # sums over the present mean

    def __repr__(self) -> str:
        return f"<LatencyFit {self.observations} iterations, {self.model}>"

    @property
    def observations(self) -> int:
        """Iterations that were taken into account."""
        return self._fits * self._every + self._count

    @property
    def model(self) -> IterationModel:
        """What is believed now."""
        return IterationModel(*(max(0.0, term) / scale for term, scale in zip(self._terms, _SCALES, strict=True)))

    def observe(self, iteration_s: float, batch: int, context_tokens: float, prefill_tokens: float = 0.0) -> None:
        """An iteration took so long with so much in it. What is not a positive finite time is left out.

        The gateway sees the time between two tokens of a stream, which is one iteration's.
        """
        if not 0 < iteration_s < math.inf:
            return
        _, scale_b, scale_c, scale_p = _SCALES
        x1, x2, x3 = batch / scale_b, context_tokens / scale_c, prefill_tokens / scale_p
        t0, t1, t2, t3 = self._terms
        off = iteration_s - (t0 + t1 * x1 + t2 * x2 + t3 * x3)
        size = abs(off)
        limit = self._outlier * self._error
        if size > limit:
            iteration_s += (limit - size) if off > 0 else (size - limit)
            size = limit
        self._error += _ERROR_GAIN * (size - self._error) + _SMALLEST_ERROR_S
        self._batch += x1
        self._context += x2
        self._prefill += x3
        self._seconds += iteration_s
        self._count += 1
        if self._count == self._every:
            count = self._count
            self._fit((1.0, self._batch / count, self._context / count, self._prefill / count), self._seconds / count)

    def _fit(self, x: Sequence[float], seconds: float) -> None:
        """One step of recursive least squares; starts the next mean."""
        covariance = self._covariance
        px = [sum(row[j] * x[j] for j in _TERMS) for row in covariance]
        scale = self._forgetting + sum(x[i] * px[i] for i in _TERMS)
        off = seconds - sum(self._terms[i] * x[i] for i in _TERMS)
        for i in _TERMS:
            gain = px[i] / scale
            self._terms[i] += gain * off
            row = covariance[i]
            for j in _TERMS:
                row[j] = (row[j] - gain * px[j]) / self._forgetting
        largest = max(covariance[i][i] for i in _TERMS)
        if largest > _CAP:
            shrink = _CAP / largest
            for row in covariance:
                row[:] = [value * shrink for value in row]
        self._fits += 1
        self._count = 0
        self._seconds = self._batch = self._context = self._prefill = 0.0
