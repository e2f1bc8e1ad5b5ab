"""The server of the VTC paper's artifact: S-LoRA on one A10G (github.com/Ying1123/VTC-artifact, slora/server/router).

What sets it apart from a gateway before an engine:

1. It knows how long each answer will be, and admits by it: at every coming end of an answer, what all those still
   running hold by then must be below the pool. No watermark, no reserve. At once it admits 3072 prompt tokens at most.
2. It admits between iterations only: when the batch is empty, or when at least ten iterations have passed since it last
   admitted somebody.
3. Its KV blocks have one token, and it caches no prefixes.
"""

from dataclasses import dataclass, replace
from typing import Any, Final

from gateway.core.capacity import EngineLoad
from gateway.core.job import Job
from gateway.core.policies import PolicyRule
from gateway.core.tuning import Tuning
from gateway.emulator.blocks import BLOCK_TOKENS
from gateway.emulator.profiles import A10G_7B, Profile
from loadgen.simulator.engine import SimEngine
from loadgen.simulator.setup import Gateway, Run, Setup
from loadgen.simulator.world import World
from loadgen.workload import Workload

ADMIT_EVERY: Final = 10
_MOST_RUNNING: Final = 512  # more than ever run at once


@dataclass(frozen=True, slots=True)
class ExactFit:
    """Admission by exact final lengths into a pool of so many tokens (req_queue.py of the artifact).

    `prompt_tokens` at most are admitted at once; who was admitted before has produced something by now.
    """

    pool_tokens: int
    prompt_tokens: int = A10G_7B.max_batched_tokens

    def __call__(self, load: EngineLoad, job: Job, _tokens: int) -> bool:
        if not load.capacity.ready or load.running >= load.capacity.max_running:
            return False
        if job.prompt_tokens + sum(leg.prompt_tokens for leg in load.legs.values() if leg.fresh) > self.prompt_tokens:
            return False
        return peak_tokens([_held(job), *map(_held, load.legs.values())]) < self.pool_tokens


def peak_tokens(jobs: list[tuple[int, int]]) -> int:
    """The most tokens that jobs of (context now, tokens left to add) hold together at any time, if none joins.

    They grow in step, so the peak is where one ends, with all those that have as much or more left still there.
    """
    held = peak = 0
    for number, (context, left) in enumerate(sorted(jobs, key=lambda each: -each[1]), start=1):
        held += context
        peak = max(peak, held + number * left)
    return peak


def _held(job: Job) -> tuple[int, int]:
    """Context and what it grows by: the last token of an answer is never read, so it takes no room."""
    output = job.spec.known_output
    if output is None:
        raise ValueError(f"job {job.spec.id}: exact admission needs the length of its answer")
    return job.context_tokens, max(0, output - job.produced - 1)


class ArtifactWorld(World):
    """A world with one gateway and one engine that plans when the artifact's server does."""

    def __init__(self, workload: Workload, setup: Setup) -> None:
        self._planning = False
        self._admitted_at = 0  # iterations that had ended by then
        super().__init__(workload, setup)

    def _consider(self, gateway: Gateway) -> None:
        if not any(engine.legs for engine in self._engines.values()):
            super()._consider(gateway)

    def _step(self, engine: SimEngine) -> None:
        if self._planning:
            return  # everybody who is admitted now is in the same iteration
        if engine.busy_until is None and engine.legs and len(engine.ends) - self._admitted_at >= ADMIT_EVERY:
            gateway = self._gateways[0]
            gateway.next_plan = self.now
            self._admit(gateway, engine)
        super()._step(engine)

    def _plan(self, gateway: Gateway) -> None:
        engine = next(iter(self._engines.values()))
        self._admit(gateway, engine)
        super()._step(engine)

    def _admit(self, gateway: Gateway, engine: SimEngine) -> None:
        running = len(engine.legs)
        self._planning = True
        super()._plan(gateway)
        self._planning = False
        if len(engine.legs) > running:
            self._admitted_at = len(engine.ends)


def server(pool_tokens: int = A10G_7B.kv_tokens) -> Profile:
    """The artifact's engine: what admission lets in must fit, blocks that are not full and all prompts in one iteration
    beside the tokens of those who run.
    """
    return replace(
        A10G_7B,
        kv_tokens=pool_tokens + _MOST_RUNNING * BLOCK_TOKENS,
        max_batched_tokens=A10G_7B.max_batched_tokens + _MOST_RUNNING,
        prefix_cache=False,
    )


def serve(workload: Workload, rule: PolicyRule, *, pool_tokens: int = A10G_7B.kv_tokens, **tuning: Any) -> Run:
    """The workload on the artifact's server under this rule."""
    setup = Setup((server(pool_tokens),), rule, Tuning(fits=ExactFit(pool_tokens), **tuning))
    return ArtifactWorld(workload, setup).run()
