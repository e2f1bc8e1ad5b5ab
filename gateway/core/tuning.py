"""The numbers that steer the decisions, all in one frozen object; the defaults come out of the sweeps in
docs/benchmarks.md.
"""

import math
from dataclasses import dataclass
from typing import Final

from gateway.core.capacity import Fits, by_watermark
from gateway.core.costs import WEIGHTED_TOKENS, CostFunction
from gateway.core.latency import IterationModel

UNKNOWN_ENGINE: Final = IterationModel(0.015, 0.0001, 0.0, 1 / 20_000)
"""What is believed of an engine before it has been seen at work: a mid-sized model on one data-centre GPU."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """How a pool decides. Times in seconds.

    `tick_s`: how often a contended pool decides again. `horizon_s`: how far ahead a gain looks (Andes' delta t).
    `slack_s`: how far a tenant may run ahead of the others before they go first, in seconds of the pool's work divided
    by the backlogged tenants (0: always the one furthest behind; inf: never). `safety`: how many resume costs a lead
    must cover before its stream may stand still. `cap`: preemptions for each arrival, on average over ten minutes.
    `overhead`: the share of the engines' time that may go into computing again what pauses threw away.
    `hysteresis`: what running adds to a gain. `age_s`: after so long past its `ttft` a job that was never started
    counts as late, and late jobs share `age_share` of the starts, oldest first. `settle_s`: until an aborted stream's
    room is free. `assumed_output_tokens` are set aside for an answer of unknown length. `cached_price`: what a prompt
    token from the engine's prefix cache costs, as a share of a computed one's. `fits`: how policies that never pause
    judge an engine's room; a simulator may know more than a gateway. ValueError for a number out of range.
    """

    tick_s: float = 0.05
    horizon_s: float = 10.0
    slack_s: float = 1.0
    safety: float = 2.0
    cap: float = 1.0
    overhead: float = 0.06
    hysteresis: float = 0.1
    age_s: float = 30.0
    age_share: float = 0.01
    settle_s: float = 0.05
    assumed_output_tokens: int = 512
    cost: CostFunction = WEIGHTED_TOKENS
    cached_price: float = 0.0
    engine_prior: IterationModel = UNKNOWN_ENGINE
    fits: Fits = by_watermark

    def __post_init__(self) -> None:
        positive = (self.tick_s, self.horizon_s, self.age_s)
        others = (self.slack_s, self.safety, self.cap, self.hysteresis, self.settle_s, self.assumed_output_tokens)
        if not (all(0 < value < math.inf for value in positive) and all(value >= 0 for value in others)):
            raise ValueError("tick_s, horizon_s and age_s must be positive, nothing else negative")
        if not (0 <= self.age_share <= 1 and 0 <= self.cached_price <= 1):
            raise ValueError("age_share and cached_price are shares from 0 to 1")
