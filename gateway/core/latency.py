"""How long an engine's iteration takes, and how that is learned from what it does.

The model, shared by the decisions, the emulator and the simulator, for a batch of B sequences:

    iteration_s = base + per_sequence*B + per_context_token*context_tokens + prefill_tokens/prefill_rate

The fit is least squares with forgetting, no term below 0, on means over a few iterations: a mean of iterations obeys
the same linear model, and costs a fraction. The discounted normal equations are kept. Each step goes a few times
through the terms and sets each to its best while the others stay: coordinate descent, which never makes the fit worse
(Luo, Tseng, "On the convergence of the coordinate descent method", 1992). Steps are damped, so that a term that nothing
speaks about stays as it was, and one that little speaks about, as prefill where prompts are short, moves slowly: what
it would be set to is mostly noise. The recursive form, which carries the inverse, is cheaper, but rounding took all
meaning from it where an engine was at the same two loads for an hour.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import mul
from typing import Final

_SCALES: Final = (1.0, 32.0, 32_768.0, 2_048.0)  # typical sizes of the regressors, so that all count alike
_TERMS: Final = range(len(_SCALES))
_LARGEST_BATCH: Final = 1_000_000
_PRIOR_WEIGHT: Final = 0.01  # of an observation: what the prior counts for
_SWEEPS: Final = 4  # over the terms at each step; each step begins where the last one ended
_DAMPING: Final = 0.1  # of an observation: a term that only so much speaks about goes half of each step
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
    little, while a lasting change raises the usual error and is followed. A term that nothing seen speaks about
    stays as it was. ValueError for settings out of range.
    """

    __slots__ = (
        "_batch",
        "_context",
        "_count",
        "_error",
        "_every",
        "_fits",
        "_forgetting",
        "_moments",
        "_outlier",
        "_prefill",
        "_products",
        "_seconds",
        "_terms",
    )

    def __init__(self, prior: IterationModel, *, memory: int = 500, every: int = 16, outlier: float = 4.0) -> None:
        if not (1 <= every <= memory and outlier > 0):
            raise ValueError("every must be from 1 to memory, outlier positive")
        given = (prior.base_s, prior.per_sequence_s, prior.per_context_token_s, prior.per_prefill_token_s)
        self._terms = [term * scale for term, scale in zip(given, _SCALES, strict=True)]
        # The discounted sums of x[i]*x[j] and of x[i]*seconds.
        self._products = [[_PRIOR_WEIGHT if i == j else 0.0 for j in _TERMS] for i in _TERMS]
        self._moments = [_PRIOR_WEIGHT * term for term in self._terms]
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
        return IterationModel(*(term / scale for term, scale in zip(self._terms, _SCALES, strict=True)))

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
        """Take one more mean into the sums, and bring the terms nearer to what fits them best; starts the next mean."""
        keep, terms, moments = self._forgetting, self._terms, self._moments
        for i, row in enumerate(self._products):
            for j in _TERMS:
                row[j] = keep * row[j] + x[i] * x[j]
            moments[i] = keep * moments[i] + x[i] * seconds
        for _ in range(_SWEEPS):
            for i, row in enumerate(self._products):
                off = moments[i] - sum(map(mul, row, terms))
                terms[i] = max(0.0, terms[i] + off / (row[i] + _DAMPING))
        self._fits += 1
        self._count = 0
        self._seconds = self._batch = self._context = self._prefill = 0.0
