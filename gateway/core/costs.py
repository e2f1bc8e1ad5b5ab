"""What a job costs its tenant: service as a function of its input and output tokens.

Any function h(input, output) that never falls in either argument will do (VTC, Sheng et al., OSDI'24, section 4.2); a
job is charged the growth of h as it grows, so that in the end exactly h(input, output) was charged.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

CostFunction = Callable[[float, float], float]
"""Service units of a job with so many input and output tokens; never falls in either."""


@dataclass(frozen=True, slots=True)
class WeightedTokens:
    """`input_weight` for each input token, `output_weight` for each output token (VTC: w_p = 1, w_q = 2).

    ValueError if a weight is negative.
    """

    input_weight: float = 1.0
    output_weight: float = 2.0

    def __post_init__(self) -> None:
        if min(self.input_weight, self.output_weight) < 0:
            raise ValueError("weights must not be negative")

    def __call__(self, input_tokens: float, output_tokens: float) -> float:
        return self.input_weight * input_tokens + self.output_weight * output_tokens


@dataclass(frozen=True, slots=True)
class Profiled:
    """A cost fitted to a profile: `base + x*input + y*output + xy*input*output + yy*output^2`.

    The mixed and the square term are the reading of the context for each output token. ValueError if a coefficient
    is negative.
    """

    base: float
    x: float
    y: float
    xy: float
    yy: float

    def __post_init__(self) -> None:
        if min(self.base, self.x, self.y, self.xy, self.yy) < 0:
            raise ValueError("coefficients must not be negative")

    def __call__(self, input_tokens: float, output_tokens: float) -> float:
        return (
            self.base
            + self.x * input_tokens
            + (self.y + self.xy * input_tokens + self.yy * output_tokens) * output_tokens
        )


WEIGHTED_TOKENS: Final = WeightedTokens()

LLAMA2_7B_A10G: Final = Profiled(base=11.46, x=2.1, y=1.0, xy=0.04, yy=0.032)
"""Llama-2-7B on one A10G, as printed in the VTC paper, section 4.2."""


def charged_input(prompt_tokens: float, cached_tokens: float, cached_price: float = 0.0) -> float:
    """Input tokens to charge when the engine had some of the prompt in its prefix cache.

    `cached_price` is what a cached token costs in computed ones: 0 charges what was computed, 1 gives no discount. More
    cached tokens than the prompt has count as all of it.
    """
    if not cached_tokens:
        return prompt_tokens
    cached = min(max(0.0, cached_tokens), prompt_tokens)
    return prompt_tokens - (1.0 - cached_price) * cached
